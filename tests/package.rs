//! What can be seen of the package in a minute: made of the binary under test, installed in a clean root, removed, purged. And what a
//! release needs of its changelog. `./dev package-test` does all of it with what is shipped.
#![expect(clippy::expect_used, reason = "the helpers of a test may give up")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

const BINARY: &str = env!("CARGO_BIN_EXE_edgeferry");

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(source(path)).expect("it is there")
}

/// Runs a script of the project; what it says when it fails.
fn run(script: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(source(script))
        .args(arguments)
        .output()
        .expect("the script is there");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() {
        Ok(said)
    } else {
        Err(said)
    }
}

/// The clean system that `./dev setup` makes; none where nobody could install anything in it, which is said then.
fn root() -> Option<String> {
    let root = std::env::var("EDGEFERRY_MACHINE_ROOT").unwrap_or_default();
    let reason = if !rustix::process::geteuid().is_root() {
        "only root can install it in a clean root"
    } else if !Path::new(&root).is_dir() {
        "EDGEFERRY_MACHINE_ROOT names no system: ./dev test does"
    } else if std::env::consts::ARCH != "x86_64" {
        "the trial package is made on x86-64 only"
    } else {
        return Some(root);
    };
    let required = std::env::var_os("EDGEFERRY_SYSTEMD_TESTS").is_some_and(|word| word == "required");
    assert!(!required, "the package: {reason}");
    // Past the test harness, which shows only what failed tests say.
    drop(writeln!(std::io::stderr(), "SKIPPED: the package: {reason}"));
    None
}

#[test]
fn a_package_of_this_binary_is_installed_removed_and_purged_in_a_clean_root() {
    let Some(root) = root() else { return };
    let out = tempfile::tempdir().expect("there is room");
    let into = out.path().join("packages");
    let into = into.to_str().expect("it is UTF-8");
    let made = run(
        "packaging/build.sh",
        &["--trial", "+smoke", "--binary", BINARY, "--out", into, "amd64"],
    );
    assert!(made.is_ok(), "{made:?}");
    let package = format!(
        "{into}/edgeferry_{}+smoke_amd64.deb",
        env!("CARGO_PKG_VERSION").replace('-', "~")
    );
    let lived = run("packaging/tests/inside.sh", &[&root, "smoke.sh", &package]);
    assert_eq!(lived.as_deref().map(str::trim), Ok("installed, removed, purged"));
}

#[test]
fn a_debug_build_is_packed_for_tests_only() {
    // It looks at the libraries first, and those are not all linked in.
    if cfg!(feature = "static") || std::env::consts::ARCH != "x86_64" {
        return;
    }
    let out = tempfile::tempdir().expect("there is room");
    let into = out.path().join("packages");
    let into = into.to_str().expect("it is UTF-8");
    let said = run(
        "packaging/build.sh",
        &["--binary", BINARY, "--out", into, "amd64"],
    );
    let said = said.expect_err("it is no program for gateways");
    assert!(
        said.contains("which not every gateway has") && said.contains("only be packed with --trial"),
        "{said}"
    );
    assert!(!Path::new(into).exists(), "nothing is made");
}

#[test]
fn a_folder_that_has_more_in_it_than_packages_is_not_replaced() {
    let home = tempfile::tempdir().expect("there is room");
    let kept = home.path().join("letters.txt");
    std::fs::write(&kept, "mine").expect("there is room");
    let into = home.path().to_str().expect("it is UTF-8");
    let refused =
        || run("packaging/build.sh", &["--out", into, "amd64"]).expect_err("it is somebody's folder");
    let said = refused();
    assert!(said.contains("is not empty, and has no packages"), "{said}");
    std::fs::write(home.path().join("SHA256SUMS"), "").expect("there is room");
    let said = refused();
    assert!(
        said.contains("has more in it than packages") && said.contains("letters.txt"),
        "{said}"
    );
    assert_eq!(std::fs::read_to_string(&kept).expect("it is there"), "mine");
}

/// Around it there may be somebody's repository, whose time and number are not those of these sources.
#[test]
fn sources_without_git_are_packed_only_when_time_and_commit_are_said() {
    let home = tempfile::tempdir().expect("there is room");
    let archive = home.path().join("edgeferry");
    std::fs::create_dir(&archive).expect("there is room");
    let done = Command::new("sh")
        .args(["-ec", "cp -r Cargo.toml cross packaging scripts \"$0\" && cd \"$0\"/.. && git init -q . && git -c user.name=me -c user.email=me@localhost commit -q --allow-empty -m theirs"])
        .arg(&archive)
        .current_dir(source("."))
        .status();
    assert!(done.expect("a shell").success());
    let packed = |variables: &[(&str, &str)]| {
        let mut command = Command::new(archive.join("packaging/build.sh"));
        command.arg("amd64");
        for name in ["SOURCE_DATE_EPOCH", "EDGEFERRY_COMMIT", "CARGO_TARGET_DIR"] {
            command.env_remove(name);
        }
        let output = command.envs(variables.iter().copied()).output();
        let output = output.expect("the script is there");
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = packed(&[]);
    assert!(
        said.contains("set SOURCE_DATE_EPOCH to the time of the commit"),
        "{said}"
    );
    let time = ("SOURCE_DATE_EPOCH", "1790000000");
    let said = packed(&[time]);
    assert!(
        said.contains("set EDGEFERRY_COMMIT to the number of the commit"),
        "{said}"
    );
    let said = packed(&[time, ("EDGEFERRY_COMMIT", "v0.1")]);
    assert!(
        said.contains("set EDGEFERRY_COMMIT to the number of the commit"),
        "{said}"
    );
}

#[test]
fn an_engine_is_sent_what_the_recipe_for_containers_copies_and_nothing_else() {
    let recipe = read("packaging/Containerfile");
    let copied: Vec<&str> = recipe
        .lines()
        .filter_map(|line| line.strip_prefix("COPY ")?.split(' ').next())
        .collect();
    let ignored = read("packaging/Containerfile.dockerignore");
    let rules: Vec<&str> = ignored.lines().filter(|line| !line.starts_with('#')).collect();
    let (all, kept) = rules.split_first().expect("it has rules");
    assert_eq!(*all, "*");
    let kept: Vec<&str> = kept.iter().filter_map(|rule| rule.strip_prefix('!')).collect();
    assert_eq!(kept, copied);
}

#[test]
fn what_cannot_be_packed_is_refused_before_anything_is_built() {
    let said = run("packaging/build.sh", &["--binary", BINARY, "amd64", "arm64"]);
    let said = said.expect_err("one program is not for two machines");
    assert!(said.contains("--binary is the program of one ARCH"), "{said}");
    let said = run("packaging/build.sh", &["sparc"]).expect_err("there is no such package");
    assert!(
        said.contains("'sparc' is no architecture of these packages"),
        "{said}"
    );
}

#[test]
fn the_changelog_has_the_version_or_something_unreleased_on_top() {
    let changelog = read("CHANGELOG.md");
    let headings: Vec<&str> = changelog
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .collect();
    let version = env!("CARGO_PKG_VERSION");
    let top = headings.first().copied().unwrap_or_default();
    let of_version = |heading: &str| heading.split(' ').next() == Some(version);
    assert!(
        top == "Unreleased" || of_version(top),
        "on top is {top:?}: write Unreleased, or {version} and its date"
    );
    for heading in headings.iter().filter(|heading| **heading != "Unreleased") {
        let date = heading
            .split_once(" (")
            .and_then(|(_, date)| date.strip_suffix(')'));
        let is_date = |date: &str| date.len() == 10 && date.split('-').map(str::len).eq([4, 2, 2]);
        assert!(
            date.is_some_and(is_date),
            "{heading:?}: write VERSION (YYYY-MM-DD)"
        );
    }
    let (_, below) = changelog.split_once("\n## ").expect("it has a heading");
    let part = below.split("\n## ").next().unwrap_or_default();
    assert!(
        part.lines().any(|line| line.starts_with("* ")),
        "{top} says nothing"
    );
}

#[test]
fn every_exception_of_deny_has_its_reason() {
    let deny = read("deny.toml");
    let reasons = deny.matches("reason = ").count();
    let exceptions = deny.matches("{ crate = ").count() + deny.matches("{ id = ").count();
    assert_eq!(reasons, exceptions, "every exception of deny.toml has its reason");
}
