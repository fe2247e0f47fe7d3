//! What the documents say: links lead somewhere, configurations load, commands exist.
#![expect(clippy::expect_used, reason = "the helpers of a test may give up")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All Markdown files of the project, with their contents.
fn documents() -> Vec<(PathBuf, String)> {
    let folders = ["", "docs", "docs/decisions", "cross"].map(|folder| root().join(folder));
    let files = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).expect("a folder of the project"));
    let paths = files.map(|entry| entry.expect("readable").path());
    let documents = paths.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    documents
        .map(|path| (path.clone(), fs::read_to_string(&path).expect("readable")))
        .collect()
}

/// The fenced blocks of one language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    text.split(fence.as_str())
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect()
}

#[test]
fn links_in_the_documents_lead_to_files_of_the_project() {
    let mut checked = 0;
    for (path, text) in documents() {
        let folder = path.parent().expect("has one");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = target.split('#').next().unwrap_or_default();
            if !target.starts_with("http") {
                checked += 1;
                assert!(folder.join(target).exists(), "{}: {target}", path.display());
            }
        }
    }
    assert!(checked > 5, "only {checked} links found");
}

/// Names in backquotes in the last column of a page's tables whose head says `test`.
fn named_tests(page: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    let mut is_named = false;
    for line in page.lines() {
        let Some(last) = line.strip_suffix(" |").and_then(|line| line.rsplit('|').next()) else {
            is_named = false;
            continue;
        };
        is_named |= last.trim() == "test";
        if is_named {
            names.extend(last.split('`').skip(1).step_by(2));
        }
    }
    names
}

/// All sources below a folder, one behind the other.
fn sources(folder: &Path) -> String {
    let entries = fs::read_dir(folder).expect("a folder of the project");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    let texts = paths.iter().map(|path| match path.extension() {
        _ if path.is_dir() => sources(path),
        Some(extension) if extension == "rs" => fs::read_to_string(path).expect("readable"),
        _ => String::new(),
    });
    texts.collect()
}

#[test]
fn every_test_that_the_page_on_security_names_is_there() {
    let page = fs::read_to_string(root().join("docs/security.md")).expect("readable");
    let names = named_tests(&page);
    assert!(names.len() > 40, "only {} tests are named", names.len());
    let sources = ["src", "tests"]
        .map(|folder| sources(&root().join(folder)))
        .concat();
    for name in names {
        let (before, _) = sources
            .split_once(&format!("fn {name}("))
            .unwrap_or_else(|| panic!("there is no test {name}"));
        // Its attributes are between the end of what stands before it and its name.
        let attributes = before.rsplit('}').next().unwrap_or_default();
        assert!(attributes.contains("test]"), "{name} is no test");
    }
}

/// The anchor that a heading has on GitHub and elsewhere.
fn anchor(heading: &str) -> String {
    let letters = heading.chars().filter_map(|letter| match letter {
        ' ' => Some('-'),
        '-' | '_' => Some(letter),
        _ if letter.is_alphanumeric() => Some(letter.to_ascii_lowercase()),
        _ => None,
    });
    letters.collect()
}

/// The anchors of a document: its headings outside of fences.
fn anchors(text: &str) -> BTreeSet<String> {
    let outside = text.split("\n```").step_by(2).flat_map(str::lines);
    let headings = outside.filter(|line| line.starts_with('#'));
    headings
        .map(|line| anchor(line.trim_start_matches('#').trim()))
        .collect()
}

#[test]
fn links_into_a_document_lead_to_one_of_its_headings() {
    let mut checked = 0;
    for (path, text) in documents() {
        let folder = path.parent().expect("has one");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let Some((file, place)) = target.split_once('#') else {
                continue;
            };
            if target.starts_with("http") {
                continue;
            }
            checked += 1;
            let there = if file.is_empty() {
                path.clone()
            } else {
                folder.join(file)
            };
            let known = anchors(&fs::read_to_string(&there).expect("another test says so"));
            assert!(
                known.contains(place),
                "{}: {target}; there are {known:?}",
                path.display()
            );
        }
    }
    assert!(checked > 20, "only {checked} such links found");
}

/// The constants of `docs/capacity.md`, by name.
fn constants(page: &str) -> BTreeMap<&str, f64> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let pairs = rows.filter_map(|row| {
        let (name, rest) = row.split_once('`')?;
        let number = rest.split('|').nth(1)?.trim().replace(',', "");
        Some((name, number.parse().ok()?))
    });
    pairs.collect()
}

/// Bytes a day that `docs/capacity.md` reckons with.
fn wear(rate: f64, bytes: f64, interval_s: f64) -> f64 {
    let groups = rate.min(1.0 / interval_s);
    (groups * 6_000.0 + 0.32 * rate * bytes) * 86_400.0
}

fn in_bytes(bytes: f64) -> String {
    match bytes {
        1e12.. => format!("{:.1} TB", bytes / 1e12),
        1e9.. => format!("{:.1} GB", bytes / 1e9),
        1e6.. => format!("{:.1} MB", bytes / 1e6),
        _ => format!("{:.0} KB", bytes / 1e3),
    }
}

fn in_words(seconds: f64) -> String {
    match seconds {
        86_400.0.. => format!("{:.1} days", seconds / 86_400.0),
        3_600.0.. => format!("{:.1} h", seconds / 3_600.0),
        60.0.. => format!("{:.1} min", seconds / 60.0),
        _ => format!("{seconds:.0} s"),
    }
}

#[test]
fn every_row_of_the_table_for_planning_is_what_its_formulas_give() {
    const INTERVAL_S: f64 = 0.1;
    const BOARD: f64 = 5_000.0;
    let page = fs::read_to_string(root().join("docs/capacity.md")).expect("readable");
    let known = constants(&page);
    let constant = |name: &str| *known.get(name).unwrap_or_else(|| panic!("{name} is missing"));
    let (_, table) = page.split_once("\n## The table\n").expect("it has one");
    let mut rows = 0;
    for line in table
        .split("\n## ")
        .next()
        .expect("there is a first part")
        .lines()
    {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, rate, bytes, days, disk, worn, thin, wide, _] = cells[..] else {
            continue;
        };
        let number = |text: &str| text.replace(',', "").parse::<f64>();
        let (Ok(rate), Ok(size), Ok(days)) = (number(rate), number(bytes), number(days)) else {
            continue;
        };
        let bytes = bytes.replace(',', "");
        let backlog = rate * 86_400.0 * days;
        let alone = constant("disk_alone") - constant("disk_200");
        let each = constant(&format!("disk_{bytes}")) + alone / (rate * INTERVAL_S).max(1.0);
        let link = constant(&format!("link_{bytes}_thrifty"));
        let drained = |bytes_per_s: f64| {
            let over = BOARD.min(constant("link_used") * bytes_per_s / link) - rate;
            if over > 0.0 {
                in_words(backlog / over)
            } else {
                "never".into()
            }
        };
        let wanted = [
            in_bytes(backlog * each),
            in_bytes(wear(rate, size, INTERVAL_S)),
            drained(32_000.0),
            drained(125_000.0),
        ];
        assert_eq!(
            [disk, worn, thin, wide],
            wanted.each_ref().map(String::as_str),
            "{line}"
        );
        rows += 1;
    }
    assert!(rows >= 10, "only {rows} rows");
}

#[test]
fn the_formula_for_wear_is_within_a_quarter_of_what_was_measured() {
    let page = fs::read_to_string(root().join("docs/benchmarks.md")).expect("readable");
    let (_, below) = page.split_once("\nJSON:\n").expect("it has the figures for JSON");
    let table = below.split("\nRandom:\n").next().expect("there is a first part");
    let mut compared = 0;
    for line in table.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, rate, _, ten, hundred, second, _] = cells[..] else {
            continue;
        };
        let Ok(rate) = rate.replace(',', "").parse::<f64>() else {
            continue;
        };
        for (interval_s, cell) in [(0.01, ten), (0.1, hundred), (1.0, second)] {
            let measured: f64 = cell
                .split(' ')
                .next()
                .and_then(|text| text.parse().ok())
                .expect("a number");
            let formula = wear(rate, 200.0, interval_s) / (rate * 200.0 * 86_400.0);
            let off = (formula / measured - 1.0).abs();
            assert!(
                off < 0.25,
                "{rate}/s, {interval_s} s: {formula:.2}, measured {measured}"
            );
            compared += 1;
        }
    }
    assert_eq!(compared, 12);
}

#[test]
fn the_configuration_in_the_readme_loads_without_a_warning() {
    let readme = fs::read_to_string(root().join("README.md")).expect("readable");
    let configurations = blocks(&readme, "toml");
    assert_eq!(configurations.len(), 1);
    for text in configurations {
        let (_, warnings) = edgeferry::config::parse(Path::new("README.md"), text).expect("loads");
        assert_eq!(warnings, []);
    }
}

fn help_of_dev() -> String {
    let help = Command::new(root().join("dev")).arg("help").output();
    String::from_utf8(help.expect("runs").stdout).expect("text")
}

#[test]
fn the_verbs_of_dev_that_the_documents_name_exist() {
    let help = help_of_dev();
    let offered: BTreeSet<&str> = help
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .collect();
    let mut named = BTreeSet::new();
    for (_, text) in documents() {
        let verbs = text.split("./dev ").skip(1).filter_map(|rest| {
            let end = rest.find(|letter: char| !letter.is_ascii_lowercase())?;
            rest.split_at_checked(end).map(|(verb, _)| verb.to_owned())
        });
        named.extend(verbs);
    }
    assert!(named.contains("test") && named.contains("demo"), "{named:?}");
    for verb in &named {
        assert!(
            offered.contains(verb.as_str()),
            "./dev {verb} is named, but not in ./dev help: {offered:?}"
        );
    }
}

#[test]
fn the_verbs_of_edgeferry_that_documents_and_unit_name_exist() {
    let help = Command::new(env!("CARGO_BIN_EXE_edgeferry"))
        .arg("--help")
        .output()
        .expect("runs");
    let help = String::from_utf8(help.stdout).expect("text");
    let unit = fs::read_to_string(root().join("systemd/edgeferry.service")).expect("readable");
    for line in unit
        .lines()
        .filter_map(|line| line.split_once("=/usr/bin/edgeferry "))
    {
        let verb = line.1.split(' ').next().expect("has one");
        assert!(
            help.contains(&format!("  {verb} ")),
            "the unit runs `edgeferry {verb}`:\n{help}"
        );
    }
    for verb in ["run", "check", "demo"] {
        assert!(help.contains(&format!("  {verb} ")), "{help}");
    }
}

#[test]
fn the_options_of_the_sample_consumer_that_the_documents_name_exist() {
    const CALL: &str = "cargo run --example consumer -- ";
    let source = fs::read_to_string(root().join("examples/consumer/main.rs")).expect("readable");
    let texts = documents().into_iter().map(|(_, text)| text).chain([source]);
    let lines: Vec<String> = texts
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .filter(|line| line.contains(CALL))
        .collect();
    assert!(lines.len() >= 3, "{lines:?}");
    let help = Command::new(env!("CARGO"))
        .args([
            "run",
            "--quiet",
            "--locked",
            "--example",
            "consumer",
            "--",
            "--help",
        ])
        .current_dir(root())
        .output();
    let help = String::from_utf8(help.expect("it runs").stdout).expect("text");
    let known: BTreeSet<&str> = help
        .split_whitespace()
        .map(|word| word.trim_end_matches(','))
        .collect();
    for line in &lines {
        let (_, arguments) = line.split_once(CALL).expect("it is there");
        for option in arguments.split(' ').filter(|word| word.starts_with('-')) {
            assert!(known.contains(option), "{line}: {option} is not in\n{help}");
        }
    }
}

#[test]
fn what_the_readme_checks_and_tries_works() {
    const BINARY: &str = "./target/release/edgeferry ";
    let readme = fs::read_to_string(root().join("README.md")).expect("readable");
    let lines = blocks(&readme, "sh").concat().replace("\\\n", " ");
    let calls = lines.lines().filter_map(|line| line.strip_prefix(BINARY));
    let calls: Vec<&str> = calls
        .filter(|call| call.starts_with("check ") || call.starts_with("try "))
        .collect();
    assert!(calls.len() >= 3, "{calls:?}");
    for call in calls {
        let done = Command::new("sh")
            .args(["-c", &format!("{} {call}", env!("CARGO_BIN_EXE_edgeferry"))])
            .current_dir(root())
            .output()
            .expect("it runs");
        assert!(done.status.success(), "{call}: {done:?}");
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        let is_record = said.contains("key        berlin/press-7");
        assert_eq!(is_record, call.starts_with("try "), "{call}: {said}");
    }
}

#[test]
fn the_readme_lists_exactly_the_examples_that_are_run_end_to_end() {
    let readme = fs::read_to_string(root().join("README.md")).expect("readable");
    let listed: BTreeSet<&str> = readme
        .lines()
        .filter(|line| line.starts_with("| "))
        .filter_map(|line| line.split_once("](config/examples/")?.1.split_once(".toml)"))
        .map(|(name, _)| name)
        .collect();
    let tests = fs::read_to_string(root().join("tests/parts/interop.rs")).expect("readable");
    let run: BTreeSet<&str> = tests
        .split("example: \"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert!(run.len() >= 10, "{run:?}");
    assert_eq!(listed, run);
}

/// What a fence that is a part of a file is put into.
const WHOLE: &str = r#"
[gateway]
id = "gw-7"
data_dir = "/var/lib/edgeferry"

[[mqtt]]
url = "mqtt://127.0.0.1:1883"

[kafka]
bootstrap_servers = ["127.0.0.1:9092"]

[[route]]
from = "devices/{device}/telemetry"
topic = "telemetry"
"#;

/// `part` over `whole`: tables by their keys, the first of each list of tables over the first.
fn laid_over(whole: &mut toml::Table, part: toml::Table) {
    use toml::Value;
    for (key, value) in part {
        match (whole.get_mut(&key), value) {
            (Some(Value::Table(whole)), Value::Table(part)) => laid_over(whole, part),
            (Some(Value::Array(whole)), Value::Array(part)) if part.iter().all(Value::is_table) => {
                let base = whole.first().cloned();
                *whole = part
                    .into_iter()
                    .map(|part| match (base.clone(), part) {
                        (Some(Value::Table(mut base)), Value::Table(part)) => {
                            laid_over(&mut base, part);
                            Value::Table(base)
                        }
                        (_, part) => part,
                    })
                    .collect();
            }
            (_, value) => drop(whole.insert(key, value)),
        }
    }
}

#[test]
fn every_configuration_in_the_documents_loads_as_a_part_of_a_whole_file() {
    const MARK: &str = "<!-- not loaded: ";
    let (mut loaded, mut wrong) = (0, Vec::new());
    for (path, text) in documents() {
        let mut parts = text.split("\n```");
        let mut before = parts.next().unwrap_or_default();
        while let (Some(block), after) = (parts.next(), parts.next()) {
            let (language, body) = block.split_once('\n').expect("a fence ends with its line");
            let above = before.lines().next_back().unwrap_or_default();
            before = after.unwrap_or_default();
            if language != "toml" {
                continue;
            }
            if let Some(reason) = above.strip_prefix(MARK) {
                assert!(reason.len() > 15, "{}: {above}: say why", path.display());
                continue;
            }
            let part: toml::Table = body
                .parse()
                .unwrap_or_else(|error| panic!("{}: {error}\n{body}", path.display()));
            let mut whole: toml::Table = WHOLE.parse().expect("it is one");
            laid_over(&mut whole, part);
            let whole = whole.to_string();
            match edgeferry::config::parse(&path, &whole) {
                Ok(_) => loaded += 1,
                Err(error) => wrong.push(format!("{error:?}\n{body}\n{whole}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n---\n"));
    assert!(loaded > 15, "only {loaded} configurations found");
}

#[test]
fn a_setting_that_is_no_more_is_found_in_a_part_of_a_file() {
    let mut whole: toml::Table = WHOLE.parse().expect("it is one");
    laid_over(
        &mut whole,
        "[queue]\nflash_budjet = \"2 GiB/day\"".parse().expect("TOML"),
    );
    let said = edgeferry::config::parse(Path::new("part"), &whole.to_string());
    assert!(format!("{said:?}").contains("flash_budjet"), "{said:?}");
}

#[test]
fn every_verb_of_dev_is_in_the_list_for_those_who_work_on_it() {
    let help = help_of_dev();
    let contributing = fs::read_to_string(root().join("CONTRIBUTING.md")).expect("readable");
    let verbs = help
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| line.starts_with(|letter: char| letter.is_ascii_lowercase()))
        .map(|line| {
            let mut words = line.split(' ');
            let verb = words.next().expect("there is a first word");
            match words.next() {
                Some(what) if verb == "bench" => format!("{verb} {what}"),
                _ => verb.to_owned(),
            }
        });
    let verbs: BTreeSet<String> = verbs.collect();
    assert!(verbs.len() > 20, "{verbs:?}");
    for verb in verbs.iter().filter(|verb| *verb != "help") {
        let is_there = contributing
            .lines()
            .any(|line| line.contains(&format!("./dev {verb}")));
        assert!(is_there, "CONTRIBUTING.md does not name ./dev {verb}");
    }
}
