//! Holds the table against the sources, and docs/logs.md against the table.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::*;

/// Fields and what they mean, as docs/logs.md has them: a name means the same everywhere.
fn documented_fields(text: &str) -> BTreeSet<String> {
    let section = text.split("## Fields").nth(1).expect("there is one");
    let section = section.split("\n## ").next().expect("it ends");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.filter_map(|row| row.split(" |").next());
    names
        .flat_map(|names| names.split(", "))
        .map(|name| name.trim_matches('`').to_owned())
        .collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .expect("text")
            .to_owned();
        // Demo and drill show what happens in a way of their own.
        if path.is_dir() && !["tests", "demo", "drill"].contains(&name.as_str()) {
            sources(&path, into);
        } else if path.extension().is_some_and(|end| end == "rs") && name != "tests.rs" {
            into.push(path);
        }
    }
}

/// A line as the sources say it.
type Said = (String, String, Vec<String>);

/// All calls of the macros in one source.
fn said(text: &str) -> Vec<Said> {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut found = Vec::new();
    for level in ["info", "warn", "error"] {
        let call = format!("{level}!(");
        for (at, _) in text.match_indices(&call) {
            let (before, rest) = text.split_at(at);
            let before = before.chars().next_back().unwrap_or(' ');
            if before.is_alphanumeric() || before == '_' {
                continue;
            }
            let rest = rest.strip_prefix(&call).expect("it begins so");
            found.extend(read_call(rest, level));
        }
    }
    found
}

/// The arguments of one call: `None` when there is no message in it.
fn read_call(rest: &str, level: &str) -> Option<Said> {
    let arguments = arguments(rest);
    let message = arguments.iter().find(|argument| argument.starts_with('"'))?;
    let fields = arguments.iter().filter(|argument| !argument.starts_with('"'));
    let fields = fields.map(|field| {
        let name = field.split(" = ").next().unwrap_or_default();
        let name = name.trim_start_matches(['%', '?']);
        name.rsplit('.').next().unwrap_or_default().to_owned()
    });
    let mut words = String::new();
    // Its own quotes alone: there may be others right inside.
    let message = message.strip_prefix('"')?.strip_suffix('"')?;
    let mut letters = message.chars().peekable();
    while let Some(letter) = letters.next() {
        match (letter, letters.peek()) {
            ('\\', Some('\n')) => while letters.next_if(|next| next.is_whitespace()).is_some() {},
            ('\\', Some('"')) => {}
            _ => words.push(letter),
        }
    }
    Some((level.to_owned(), words, fields.collect()))
}

/// Splits at the commas of the outermost level, up to the parenthesis that ends the call.
fn arguments(rest: &str) -> Vec<String> {
    let (mut depth, mut quoted, mut escaped) = (1, false, false);
    let mut all = vec![String::new()];
    for letter in rest.chars() {
        let last = all.last_mut().expect("never empty");
        if quoted {
            quoted = escaped || letter != '"';
            escaped = !escaped && letter == '\\';
            last.push(letter);
            continue;
        }
        match letter {
            '"' => quoted = true,
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        match letter {
            ',' if depth == 1 => all.push(String::new()),
            letter => last.push(letter),
        }
    }
    let all = all.iter().map(|argument| argument.trim().to_owned());
    all.filter(|argument| !argument.is_empty()).collect()
}

fn in_the_sources() -> BTreeSet<Said> {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let texts = files
        .iter()
        .map(|file| fs::read_to_string(file).expect("readable"));
    texts.flat_map(|text| said(&text)).collect()
}

#[test]
fn the_sources_are_read_right() {
    let text = "warn!(a, b = %c.d(e, \"f\"), ?g.h, \"it is \\\"so\\\", \\\n     and so\"); debug!(\"not this\"); a_warn!(\"nor this\");";
    let want = (
        "warn".to_owned(),
        "it is \"so\", and so".to_owned(),
        ["a", "b", "h"].map(str::to_owned).to_vec(),
    );
    assert_eq!(said(text), [want]);
}

#[test]
fn every_line_of_the_log_is_in_the_table_and_no_other() {
    let sources = in_the_sources();
    assert!(sources.len() > 100, "only {} lines found", sources.len());
    let table: BTreeSet<Said> = KNOWN
        .iter()
        .map(|known| {
            let fields = known.fields.iter().map(|field| (*field).to_owned());
            (known.level.to_owned(), known.message.to_owned(), fields.collect())
        })
        .collect();
    let missing: Vec<_> = sources.difference(&table).collect();
    let gone: Vec<_> = table.difference(&sources).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "not in src/ops/events/known.rs: {missing:#?}\nin it, but not said: {gone:#?}"
    );
}

#[test]
fn whatever_is_no_mere_news_says_what_to_do() {
    for known in KNOWN {
        let is_news = known.level == "info";
        assert_eq!(known.todo.is_empty(), is_news, "{}", known.message);
        assert!(!known.message.contains(['{', '}']), "{}", known.message);
        assert!(!known.message.ends_with('.'), "{}", known.message);
    }
    let mut levels: BTreeMap<&str, &str> = BTreeMap::new();
    for known in KNOWN {
        let before = levels.insert(known.message, known.level);
        assert_eq!(
            before.unwrap_or(known.level),
            known.level,
            "{}: one level for one message",
            known.message
        );
    }
}

#[test]
fn the_document_has_every_line_and_every_field() {
    let text = fs::read_to_string(root().join("docs/logs.md")).expect("readable");
    let rows: BTreeSet<String> = text.lines().map(str::to_owned).collect();
    let missing: Vec<String> = KNOWN.iter().map(row).filter(|row| !rows.contains(row)).collect();
    assert!(
        missing.is_empty(),
        "write into docs/logs.md:\n{}",
        missing.join("\n")
    );
    let known: BTreeSet<String> = KNOWN.iter().map(row).collect();
    let old: Vec<&String> = rows
        .iter()
        .filter(|row| {
            ["| info |", "| warn |", "| error |"]
                .iter()
                .any(|level| row.starts_with(level))
        })
        .filter(|row| !known.contains(*row))
        .collect();
    assert!(old.is_empty(), "not said any more: {old:#?}");
    let fields = documented_fields(&text);
    let used: BTreeSet<String> = KNOWN
        .iter()
        .flat_map(|known| known.fields)
        .map(|field| (*field).to_owned())
        .collect();
    let unknown: Vec<_> = used.difference(&fields).collect();
    assert!(
        unknown.is_empty(),
        "fields without a meaning in docs/logs.md: {unknown:?}"
    );
}

/// A line of the document's table.
fn row(known: &Known) -> String {
    let fields: Vec<String> = known.fields.iter().map(|field| format!("`{field}`")).collect();
    let todo = if known.todo.is_empty() { "–" } else { known.todo };
    format!(
        "| {} | {} | {} | {todo} |",
        known.level,
        known.message.replace('|', "\\|"),
        fields.join(" ")
    )
}
