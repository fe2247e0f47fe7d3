//! Records byte for byte: the samples of other systems, and those in `docs/formats.md`.
//!
//! Both are Markdown. A block `toml` holds routes; each block `mqtt` behind it a message, and the blocks `kafka` behind that the
//! records that come of it, complete with all headers, or one line `refused` with the reason. Everything arrives at 2026-11-20T11:00:00.000Z
//! at the gateway `gw-7`, in the epoch 0123456789abcdef at sequence 42.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of a test may give up"
)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use edgeferry::clock::Told;
use edgeferry::message::{Arrival, Epoch, Properties, Seq, Stamp, Stored};
use edgeferry::route::{KafkaRecord, Router};

const HEAD: &str = "[gateway]\nid = \"gw-7\"\ndata_dir = \"/tmp/x\"\n[[mqtt]]\nurl = \"mqtt://127.0.0.1\"\n\
                    [kafka]\nbootstrap_servers = [\"127.0.0.1:9092\"]\n";
/// 2026-11-20T11:00:00.000Z
const ARRIVAL_MS: i64 = 1_795_172_400_000;

#[test]
fn the_samples_of_other_systems_come_out_byte_for_byte() {
    assert!(check("tests/golden/interop.md") >= 12);
}

#[test]
fn the_samples_in_the_document_are_what_comes_out() {
    assert!(check("docs/formats.md") >= 8);
}

#[test]
fn the_tables_in_the_shipped_file_load_and_say_the_defaults() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config/edgeferry.toml");
    let text = fs::read_to_string(path).expect("readable");
    let lines = text.lines().filter_map(|line| line.strip_prefix("#   "));
    let lines = lines.collect::<Vec<_>>().join("\n");
    let mut formats = Vec::new();
    for table in lines.split("[route.").skip(1) {
        let (format, settings) = table.split_once("]\n").expect("a header");
        // What is commented out behind the last format is another table.
        let settings = settings.split("[[").next().expect("one part at least");
        let route = |settings: &str| {
            let begin = "[[route]]\nfrom = \"a/{device}/{name}\"\n";
            // WASP reads no other topic, which is a warning.
            let topic = if format == "wasp" { "raw-payloads" } else { "t" };
            let text = format!(
                "{HEAD}{begin}topic = \"{topic}\"\nformat = \"{format}\"\n[route.{format}]\n{settings}"
            );
            let parsed = edgeferry::config::parse(Path::new("shipped.toml"), &text);
            let (config, warnings) = parsed.unwrap_or_else(|error| panic!("{text}\n{error}"));
            assert_eq!(warnings, []);
            config.routes
        };
        route(settings);
        let is_example = |line: &&str| line.contains("example, default none");
        let defaults: Vec<&str> = settings.lines().filter(|line| !is_example(line)).collect();
        let required: Vec<&str> = settings
            .lines()
            .filter(|line| line.contains("required"))
            .collect();
        assert_eq!(
            route(&defaults.join("\n")),
            route(&required.join("\n")),
            "{format}"
        );
        formats.push(format);
    }
    assert_eq!(formats, ["cloudevents", "wasp", "ngsiv2"]);
}

/// Checks all samples of a document; says how many messages there were.
fn check(file: &str) -> usize {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = fs::read_to_string(&path).expect("readable");
    let mut router = None;
    let mut messages: Vec<(Vec<String>, String)> = Vec::new();
    for (language, block) in blocks(&text) {
        match language {
            "toml" => router = Some(load(block)),
            "mqtt" => {
                let router = router.as_ref().expect("routes come before messages");
                messages.push((outcome(router, &message(block)), String::new()));
            }
            "kafka" => {
                let (_, expected) = messages.last_mut().expect("a message comes before its records");
                expected.push_str(block);
            }
            _ => {}
        }
    }
    for (found, expected) in &messages {
        assert_eq!(found.concat(), *expected, "in {file}");
    }
    messages.len()
}

/// The fenced blocks with their languages.
fn blocks(text: &str) -> Vec<(&str, &str)> {
    let fenced = text.split("```").skip(1).step_by(2);
    fenced.filter_map(|block| block.split_once('\n')).collect()
}

fn load(routes: &str) -> Router {
    let parsed = edgeferry::config::parse(Path::new("sample.toml"), &format!("{HEAD}{routes}"));
    let (config, warnings) = parsed.unwrap_or_else(|error| panic!("{routes}\n{error}"));
    assert_eq!(warnings, [], "{routes}");
    Router::new(config.routes, "gw-7", "default")
}

fn message(block: &str) -> Stored {
    let (mut topic, mut payload) = (String::new(), Bytes::new());
    let mut properties = Properties::default();
    for (name, value) in block.lines().map(line) {
        match name {
            "topic" => value.clone_into(&mut topic),
            "payload" => payload = Bytes::from(value.to_owned()),
            "hex" => payload = hex(value),
            "content-type" => properties.content_type = Some(value.to_owned()),
            "property" => {
                let (name, value) = value.split_once('=').expect("name=value");
                properties.user.push((name.to_owned(), value.to_owned()));
            }
            other => panic!("{other:?} in an mqtt block"),
        }
    }
    let arrival = Arrival {
        properties: Some(Box::new(properties)),
        stamp: Stamp::right(ARRIVAL_MS),
        ..Arrival::trial(1, topic, payload)
    };
    Stored {
        seq: Seq(42),
        epoch: Epoch(0x0123_4567_89ab_cdef),
        arrival,
    }
}

/// Name and value of a line, with any space between them.
fn line(line: &str) -> (&str, &str) {
    let (name, value) = line.split_once(' ').unwrap_or((line, ""));
    (name, value.trim_start())
}

fn hex(text: &str) -> Bytes {
    let digits: Vec<u32> = text
        .chars()
        .map(|c| c.to_digit(16).expect("a hex digit"))
        .collect();
    let (pairs, _) = digits.as_chunks::<2>();
    let bytes = pairs
        .iter()
        .map(|[high, low]| u8::try_from(high * 16 + low).expect("a byte"));
    bytes.collect()
}

/// What becomes of a message, as blocks write it.
fn outcome(router: &Router, message: &Stored) -> Vec<String> {
    let outcome = router.route(message, &Told::as_it_stood(&message.arrival.stamp));
    let records = outcome.records.iter().map(|made| record(made));
    let refusals = outcome
        .refusals
        .iter()
        .map(|refusal| format!("refused  {refusal}\n"));
    records.chain(refusals).collect()
}

fn record(record: &KafkaRecord) -> String {
    assert_eq!(record.timestamp_ms, ARRIVAL_MS);
    let mut text = format!("topic    {}\nkey      {}\n", record.topic, record.key);
    for header in &record.headers {
        let value = String::from_utf8_lossy(&header.value);
        writeln!(text, "header   {}={value}", header.name).expect("writes");
    }
    let value = std::str::from_utf8(&record.payload).expect("the samples are text");
    format!("{text}value    {value}\n")
}
