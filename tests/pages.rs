//! What `edgeferry completions` and `edgeferry man` print is understood by those who read it: a shell, a formatter.
#![expect(clippy::expect_used, reason = "the helpers of a test may give up")]

use std::collections::BTreeSet;
use std::process::{Command, Output, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_edgeferry");

fn edgeferry(arguments: &[&str]) -> Output {
    Command::new(BINARY).args(arguments).output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The verbs that `edgeferry VERB… --help` lists.
fn verbs(of: &[&str]) -> BTreeSet<String> {
    let help = edgeferry(&[of, &["--help"]].concat());
    let help = text(&help.stdout);
    let (_, list) = help.split_once("Commands:\n").expect("it has verbs");
    let lines = list.lines().take_while(|line| !line.is_empty());
    // What a verb does goes on further to the right.
    let lines = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    lines
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect()
}

/// What bash offers behind these words.
fn offered(words: &[&str]) -> BTreeSet<String> {
    let script = r#"
        source <("$0" completions bash) || exit 1
        COMP_WORDS=("$@")
        COMP_CWORD=$(($# - 1))
        complete -p edgeferry >/dev/null || exit 1
        _edgeferry edgeferry "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let output = Command::new("bash")
        .args(["--norc", "-c", script, BINARY])
        .args(words)
        .output()
        .expect("bash is there");
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_every_verb_and_option() {
    let top = verbs(&[]);
    assert!(top.contains("run") && top.contains("completions"), "{top:?}");
    assert!(offered(&["edgeferry", ""]).is_superset(&top));
    assert!(offered(&["edgeferry", "queue", ""]).is_superset(&verbs(&["queue"])));
    assert_eq!(offered(&["edgeferry", "comp"]), ["completions".to_owned()].into());
    assert_eq!(
        offered(&["edgeferry", "check", "--conf"]),
        ["--config".to_owned()].into()
    );
}

#[test]
fn each_shell_gets_words_for_every_verb() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = edgeferry(&["completions", shell]);
        assert!(output.status.success(), "{shell}: {}", text(&output.stderr));
        let words = text(&output.stdout);
        for verb in verbs(&[]) {
            assert!(words.contains(&verb), "{shell}: {verb}");
        }
    }
    let output = edgeferry(&["completions", "tcsh"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(
        text(&output.stderr).contains("bash, elvish, fish"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_shell_that_is_installed_takes_what_it_gets() {
    for shell in ["bash", "zsh", "fish"] {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("completions");
        std::fs::write(&file, edgeferry(&["completions", shell]).stdout).expect("writes");
        let mut check = Command::new(shell);
        // -n: read and do not run.
        match check.arg("-n").arg(&file).output() {
            Ok(output) => assert!(output.status.success(), "{shell}: {}", text(&output.stderr)),
            Err(_) => eprintln!("SKIPPED: {shell} is not installed"),
        }
    }
}

#[test]
fn the_manual_is_one_page_for_each_verb_and_formatters_have_nothing_to_say() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("text");
    let output = edgeferry(&["man", path]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let pages: Vec<_> = std::fs::read_dir(folder.path()).expect("lists").collect();
    let pages: BTreeSet<_> = pages
        .into_iter()
        .map(|page| page.expect("a page").path())
        .collect();
    for verb in verbs(&[]).iter().filter(|verb| *verb != "help") {
        let page = folder.path().join(format!("edgeferry-{verb}.1"));
        assert!(pages.contains(&page), "{}", page.display());
    }
    let mut looked = false;
    for formatter in [
        &["mandoc", "-T", "lint", "-W", "error"][..],
        &["groff", "-man", "-ww", "-z"],
        &["man", "--warnings", "-E", "UTF-8", "-l", "-Z"],
    ] {
        let (program, arguments) = formatter.split_first().expect("it has a name");
        for page in &pages {
            let Ok(output) = Command::new(program).args(arguments).arg(page).output() else {
                eprintln!("SKIPPED: {program} is not installed");
                break;
            };
            looked = true;
            let said = text(&output.stderr);
            assert!(
                output.status.success() && said.is_empty(),
                "{program} {}: {said}{}",
                page.display(),
                text(&output.stdout)
            );
        }
    }
    eprintln!("pages were formatted: {looked}");
    // The one that is printed is the one that is written.
    let printed = edgeferry(&["man"]).stdout;
    assert_eq!(
        printed,
        std::fs::read(folder.path().join("edgeferry.1")).expect("it is there")
    );
}

#[test]
fn a_folder_that_is_missing_is_named_and_a_closed_pipe_is_no_error() {
    let output = edgeferry(&["man", "/no/such/folder"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains("/no/such/folder/") && said.contains("write a folder that is there"),
        "{said}"
    );
    for verb in [&["man"][..], &["completions", "zsh"]] {
        let mut child = Command::new(BINARY)
            .args(verb)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{verb:?}: {}",
            text(&output.stderr)
        );
    }
}

#[test]
fn the_version_is_one_line_and_what_it_is_made_of_is_there_for_people_and_programs() {
    let said = |arguments: &[&str]| {
        let output = edgeferry(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let short = said(&["--version"]);
    assert_eq!(short.lines().count(), 1, "{short}");
    assert!(
        short.starts_with(concat!("edgeferry ", env!("CARGO_PKG_VERSION"))),
        "{short}"
    );
    assert_eq!(said(&["-V"]), short);
    let long = said(&["--version", "--verbose"]);
    assert_eq!(said(&["-Vv"]), long);
    let json: serde_json::Value =
        serde_json::from_str(&said(&["--version", "--verbose", "--json"])).expect("it is JSON");
    for name in [
        "version",
        "target",
        "c_library",
        "openssl",
        "zstd",
        "rustls",
        "sled",
    ] {
        let value = json[name].as_str().expect(name);
        assert!(long.contains(value), "{name}: {value} in {long}");
    }
    // What is asked for support has the same words.
    let report = said(&["report", "--config", "/no/such/file"]);
    assert!(report.contains(&long), "{report}");
}

#[test]
fn options_of_the_version_without_it_or_with_a_verb_are_refused_and_say_what_is_missing() {
    for (arguments, hint) in [
        (&["--verbose"][..], "--version"),
        (&["--version", "--json"], "--verbose"),
        (&["--version", "run"], "'run' cannot be used with '--version'"),
        (&["--"], "Usage: edgeferry"),
        (&[], "Usage: edgeferry"),
    ] {
        let output = edgeferry(arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        let said = text(&output.stderr);
        assert!(said.contains(hint), "{arguments:?}: {said}");
    }
}
