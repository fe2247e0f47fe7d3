//! What holds for every verb, also for those of tomorrow.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use clap::{ArgMatches, Command, CommandFactory, Parser};

use super::{Cli, pages};

/// Every command from the top to the last verb, with the names that lead to it.
fn commands() -> Vec<(Vec<String>, Command)> {
    fn walk(command: &Command, path: &[String], all: &mut Vec<(Vec<String>, Command)>) {
        all.push((path.to_vec(), command.clone()));
        for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
            walk(verb, &[path, &[verb.get_name().to_owned()]].concat(), all);
        }
    }
    let mut top = Cli::command();
    top.build();
    let mut all = Vec::new();
    walk(&top, &[], &mut all);
    all
}

/// The words of a line as a shell takes them; what is behind a pipe or an arrow is not ours.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for letter in line.chars() {
        match (quote, letter) {
            (None, '|' | '>') => break,
            (None, '\'' | '"') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            (None, ' ') => words.push(String::new()),
            _ => words.last_mut().expect("there is one").push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The verbs that a command line led to.
fn verbs(matches: &ArgMatches) -> Vec<String> {
    let mut path = Vec::new();
    let mut at = matches;
    while let Some((name, below)) = at.subcommand() {
        path.push(name.to_owned());
        at = below;
    }
    path
}

/// The lines below "Example" in a text that are commands.
fn examples(help: &str) -> Vec<Vec<String>> {
    let (_, below) = help.split_once("Example").unwrap_or_default();
    let lines = below.lines().filter_map(|line| line.strip_prefix("  "));
    lines.flat_map(|line| line.split(" && ").map(words)).collect()
}

#[test]
fn every_verb_has_an_example_that_its_own_parser_takes() {
    let commands = commands();
    assert!(commands.len() > 15, "{}", commands.len());
    for (path, command) in commands {
        let verb = path.join(" ");
        let help = command.get_after_help().map(ToString::to_string);
        let help =
            help.unwrap_or_else(|| panic!("edgeferry {verb}: --help has no example; after_help says one"));
        let examples = examples(&help);
        assert!(!examples.is_empty(), "edgeferry {verb}: {help:?}");
        let mut leads_here = false;
        for words in examples {
            assert_eq!(words.first().map(String::as_str), Some("edgeferry"), "{words:?}");
            let matches = Cli::command()
                .try_get_matches_from(&words)
                .unwrap_or_else(|error| panic!("edgeferry {verb}: {words:?}: {error}"));
            leads_here |= verbs(&matches).starts_with(&path);
            Cli::try_parse_from(&words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
        }
        assert!(leads_here, "edgeferry {verb} is not in its own example: {help:?}");
    }
}

/// What a person is to type: the lines of a document's blocks in `sh`, and those behind a `$` in others, joined where they go on.
fn typed_lines(text: &str) -> Vec<String> {
    let text = text.replace("\\\n", " ");
    let mut typed = Vec::new();
    for block in text.split("\n```").skip(1).step_by(2) {
        let is_shell = block.starts_with("sh\n");
        let lines = block
            .lines()
            .skip(1)
            .filter_map(|line| line.strip_prefix("$ ").or(is_shell.then_some(line)));
        typed.extend(lines.map(str::to_owned));
    }
    typed
}

/// The command line of edgeferry in a line that a person would type, without what runs it as somebody else.
fn command_line(line: &str) -> Option<Vec<String>> {
    let line = line.split(" # ").next()?;
    let words = words(line);
    let name = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["sudo", "-u", _, ..] => 3,
        ["sudo", ..] => 1,
        _ => 0,
    };
    let command = words.get(name..)?;
    let is_ours = command
        .first()
        .is_some_and(|name| name == "edgeferry" || (name.ends_with("/edgeferry") && !name.contains('=')));
    is_ours.then(|| command.to_vec())
}

#[test]
fn every_command_that_the_documents_show_is_taken_by_the_real_parser() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for folder in [root.to_owned(), root.join("docs"), root.join("docs/decisions")] {
        for entry in fs::read_dir(folder).expect("a folder of the project") {
            let path = entry.expect("readable").path();
            if path.extension().is_none_or(|extension| extension != "md") {
                continue;
            }
            let text = fs::read_to_string(&path).expect("readable");
            let lines = typed_lines(&text);
            for words in lines.iter().filter_map(|line| command_line(line)) {
                seen += 1;
                let parsed = Cli::try_parse_from(&words);
                parsed.unwrap_or_else(|error| panic!("{}: {words:?}: {error}", path.display()));
            }
        }
    }
    assert!(seen > 15, "only {seen} commands found");
}

#[test]
fn what_a_shell_would_take_apart_is_taken_apart() {
    assert_eq!(words("a 'b c' --d \"e f\" | g"), ["a", "b c", "--d", "e f"]);
    assert_eq!(
        examples("Example, of three:\n  a b\n\nand\n  c > d && e"),
        [vec!["a", "b"], vec!["c"], vec!["e"]]
    );
}

#[test]
fn every_verb_has_a_page_of_the_manual_that_names_its_options_and_its_example() {
    let pages = pages::pages(Cli::command()).expect("memory can be written");
    let names: BTreeSet<String> = pages.iter().map(|(name, _)| name.clone()).collect();
    let wanted: BTreeSet<String> = commands()
        .into_iter()
        .filter(|(_, command)| !command.is_hide_set())
        .map(|(path, _)| {
            let name: Vec<String> = ["edgeferry".to_owned()].into_iter().chain(path).collect();
            format!("{}.1", name.join("-"))
        })
        .collect();
    assert_eq!(names, wanted);
    for (name, text) in pages {
        let text = String::from_utf8(text).expect("text");
        assert!(text.contains(".SH EXAMPLES"), "{name}: {text}");
        assert!(!text.contains(".SH EXTRA"), "{name}");
        if name == "edgeferry-queue-peek.1" {
            assert!(
                text.contains("\\-\\-payload") && text.contains("\\-\\-device"),
                "{text}"
            );
        }
    }
}
