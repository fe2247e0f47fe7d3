//! A page of the documentation as somebody follows it: commands, files, lines to edit.
//!
//! | in the page | is |
//! | --- | --- |
//! | a fence in `sh` | commands, run as root in the order of the page |
//! | a fence whose first line is `# /a/path` | a file to write there |
//! | a fence in `toml edit` | lines to change in `/etc/edgeferry/edgeferry.toml` |
//! | `<!-- not run: REASON -->` above a fence | nobody can run it in a container |
//! | `<!-- run by: tests/FILE::TEST -->` above a fence | that test does, and takes it from the page ([`marked`]) |

use std::path::Path;

/// What a page wants of its reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Lines for a shell.
    Commands(String),
    /// A file, and what shall be in it.
    File(String, String),
    /// Lines of the configuration.
    Edits(Vec<String>),
    /// Commands that are not for a container, and why; or the test that runs them.
    Elsewhere(String),
}

/// Above a fence.
const NOT_RUN: &str = "<!-- not run: ";
const RUN_BY: &str = "<!-- run by: ";
const END: &str = " -->";

/// A page of `docs/`, or `README.md`.
pub fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The part of a page below a heading, up to the next one of the same level.
pub fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let (_, below) = page
        .split_once(&format!("\n{heading}\n"))
        .expect("it has that heading");
    let level = heading.split(' ').next().expect("it begins with #");
    below
        .split(&format!("\n{level} "))
        .next()
        .expect("there is a first part")
}

/// The commands of the page `name` that the mark above them leaves to `test`, one fence behind the other.
pub fn marked(name: &str, test: &str) -> String {
    let whole = page(name);
    let mark = format!("{RUN_BY}{test}{END}\n```sh\n");
    let fences: Vec<&str> = whole.split(&mark).skip(1).collect();
    assert!(!fences.is_empty(), "{name} leaves nothing to {test}");
    fences
        .iter()
        .filter_map(|rest| rest.split("```").next())
        .collect()
}

/// What the marks `run by` of a page name.
pub fn left_to(page: &str) -> Vec<&str> {
    let marks = page.lines().filter_map(|line| line.strip_prefix(RUN_BY));
    marks.filter_map(|mark| mark.strip_suffix(END)).collect()
}

/// Every step of a page, in its order.
pub fn steps(page: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut parts = page.split("\n```");
    let mut before = parts.next().unwrap_or_default();
    while let (Some(block), after) = (parts.next(), parts.next()) {
        let (language, text) = block.split_once('\n').expect("a fence ends with its line");
        steps.extend(step(before, language.trim(), text));
        before = after.unwrap_or_default();
    }
    steps
}

fn step(before: &str, language: &str, text: &str) -> Option<Step> {
    let above = before.lines().next_back().unwrap_or_default();
    let path = text.lines().next().and_then(|line| line.strip_prefix("# /"));
    if let Some(reason) = above
        .strip_prefix(NOT_RUN)
        .and_then(|rest| rest.strip_suffix(END))
    {
        assert!(reason.len() > 10, "{above:?}: say why");
        return Some(Step::Elsewhere(reason.to_owned()));
    }
    if let Some(test) = above.strip_prefix(RUN_BY).and_then(|rest| rest.strip_suffix(END)) {
        return Some(Step::Elsewhere(test.to_owned()));
    }
    assert!(!above.starts_with("<!--"), "{above:?} is no mark that is known");
    match (language, path) {
        ("sh", _) => Some(Step::Commands(text.to_owned())),
        ("toml edit", _) => Some(Step::Edits(edits(text))),
        (_, Some(path)) => Some(Step::File(format!("/{path}"), format!("{text}\n"))),
        _ => {
            let typed = text.lines().any(|line| line.starts_with("$ "));
            assert!(!typed, "commands stand in a fence of their own, in sh: {text}");
            None
        }
    }
}

/// Whether `tests/FILE::TEST` is a test of a file that reads the page `name`.
pub fn is_test_of(name: &str, test: &str) -> bool {
    let Some((file, test)) = test
        .split_once("::")
        .filter(|(file, _)| file.starts_with("tests/"))
    else {
        return false;
    };
    let source = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file));
    source.is_ok_and(|source| {
        source.contains(&format!("#[test]\nfn {test}() {{\n")) && source.contains(&format!("\"{name}\""))
    })
}

fn edits(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| line.contains('='));
    lines.map(str::to_owned).collect()
}

/// The commands of some lines for a shell: continued lines are one, comments are none.
pub fn commands(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let lines = joined.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .flat_map(|line| line.split(" && ").map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// The configuration with one of its lines changed: the one marked `<<<` that sets the same key.
pub fn edited(config: &str, line: &str) -> String {
    let key = |line: &str| line.split_once(" = ").map(|(key, _)| key.to_owned());
    let wanted = key(line).unwrap_or_else(|| panic!("{line:?} sets nothing"));
    let is_meant = |old: &&str| old.ends_with("# <<<") && key(old).as_ref() == Some(&wanted);
    assert_eq!(
        config.lines().filter(is_meant).count(),
        1,
        "one line marked <<< sets {wanted}"
    );
    let lines = config.lines().map(|old| if is_meant(&old) { line } else { old });
    lines.flat_map(|line| [line, "\n"]).collect()
}
