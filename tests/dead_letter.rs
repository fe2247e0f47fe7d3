//! `edgeferry dead-letter` on a stopped store, as a person runs it.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "the helpers of a test may give up"
)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use edgeferry::message::{Arrival, Epoch, Properties, Seq, Stamp, Stored};
use edgeferry::queue::seal::Keys;
use edgeferry::route::Refusal;
use edgeferry::sink::DeadLetters;
use serde_json::Value;

/// Epoch of the letters: of a store that was here before.
const EPOCH: Epoch = Epoch(0xab);

/// What a command said.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    /// Its lines of JSON.
    fn answers(&self) -> Vec<Value> {
        let lines = self.out.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }
}

/// A configuration, and a store that nobody runs on.
struct Gateway {
    folder: tempfile::TempDir,
}

impl Gateway {
    /// With six letters of the lane `default`: 1 to 4 refused by Kafka, 5 cut, 6 without a route.
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("temp dir");
        let gateway = Self { folder };
        gateway.configure("");
        let said = gateway.run("queue", &["import", &gateway.empty_export()]);
        assert_eq!(said.code, 0, "{said:?}");
        let letters = gateway.letters("default");
        for seq in 1..=4 {
            let refusal = Refusal::Rejected {
                topic: "t".to_owned(),
                code: "MessageSizeTooLarge".to_owned(),
            };
            letters
                .keep(&stored(seq, "telemetry", None), vec![refusal])
                .expect("keeps");
        }
        let cut = Refusal::Oversize { bytes: 9_000_000 };
        letters
            .keep(&stored(5, "telemetry", Some(9_000_000)), vec![cut])
            .expect("keeps");
        letters
            .keep(&stored(6, "unknown", None), vec![Refusal::NoRoute])
            .expect("keeps");
        gateway
    }

    fn configure(&self, more: &str) {
        let text = format!(
            "[gateway]\nid = \"gw-a\"\ndata_dir = \"{}\"\n[[mqtt]]\nurl = \"mqtt://127.0.0.1\"\n\
             [kafka]\nbootstrap_servers = [\"127.0.0.1:9092\"]\n{more}\n\
             [[route]]\nfrom = \"devices/{{device}}/telemetry\"\ntopic = \"t\"\n",
            self.path("store").display()
        );
        fs::write(self.path("edgeferry.toml"), text).expect("writes");
    }

    fn letters(&self, lane: &str) -> DeadLetters {
        let folder = self.path("store").join("dead-letters").join(lane);
        DeadLetters::open(&folder, EPOCH, 1 << 26, Keys::default()).expect("opens")
    }

    /// A file without messages: taking it makes the store.
    fn empty_export(&self) -> String {
        let path = self.path("empty.jsonl");
        let head = "{\"format\":\"edgeferry-export\",\"version\":1,\"gateway\":\"x\",\"epoch\":\"0000000000000001\",\
                    \"exported_at\":\"2026-01-01T00:00:00Z\",\"still_queued\":false,\"lanes\":[]}\n";
        let crc = crc32fast::hash(head.as_bytes());
        let end = format!("{{\"end\":{{\"messages\":0,\"crc32\":\"{crc:08x}\"}}}}\n");
        fs::write(&path, format!("{head}{end}")).expect("writes");
        path.to_str().expect("text").to_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, verb: &str, arguments: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edgeferry"));
        command.arg(verb).args(arguments);
        command.arg("--config").arg(self.path("edgeferry.toml"));
        let output = command.output().expect("runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said {
            code: output.status.code().expect("it ended by itself"),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// `edgeferry dead-letter`, which must do what it is told.
    fn dead(&self, arguments: &[&str]) -> Said {
        let said = self.run("dead-letter", arguments);
        assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
        said
    }

    /// How the letters of a lane stand.
    fn state(&self, lane: &str) -> Value {
        let said = self.dead(&["ls", "--json", "--lane", lane]);
        said.answers()[0]["letters"].clone()
    }

    /// Ids of what is queued, in order.
    fn queued(&self) -> Vec<String> {
        let said = self.run("queue", &["peek", "--json", "--limit", "1000"]);
        let answers = said.answers().into_iter();
        answers
            .map(|answer| answer["message"]["id"].as_str().expect("has one").to_owned())
            .collect()
    }
}

fn stored(seq: u64, kind: &str, oversize: Option<u64>) -> Stored {
    Stored {
        seq: Seq(seq),
        epoch: EPOCH,
        arrival: Arrival {
            oversize,
            properties: Some(Box::new(Properties {
                content_type: Some("text/plain".to_owned()),
                ..Properties::default()
            })),
            stamp: Stamp::right(i64::try_from(seq).expect("small") * 1000),
            ..Arrival::trial(
                seq,
                format!("devices/d{}/{kind}", seq % 2),
                format!("payload {seq}"),
            )
        },
    }
}

fn id(seq: u64) -> String {
    format!("{EPOCH}-default-{seq}")
}

#[test]
fn letters_are_listed_by_reason_and_shown_whole() {
    let gateway = Gateway::new();
    let said = gateway.dead(&["ls"]);
    assert!(said.out.starts_with("default: 6 dead letters, "), "{said:?}");
    assert!(
        said.out.contains("  rejected: 4\n")
            && said.out.contains("  oversize: 1\n")
            && said.out.contains("  no-route: 1\n")
            && said
                .out
                .contains("arrived from 1970-01-01T00:00:01.000Z to 1970-01-01T00:00:06.000Z"),
        "{said:?}"
    );
    let said = gateway.dead(&["show", &id(3)]);
    for part in [
        "id: 00000000000000ab-default-3\n",
        "topic: devices/d1/telemetry\n",
        "payload: payload 3\n",
        "arrival: 1970-01-01T00:00:03.000Z\n",
        "text/plain",
        "MessageSizeTooLarge",
    ] {
        assert!(said.out.contains(part), "{part}: {said:?}");
    }
    let said = gateway.run("dead-letter", &["show", &id(77)]);
    assert!(
        said.code == 64 && said.err.contains("no dead letter with the id"),
        "{said:?}"
    );
    let said = gateway.run("dead-letter", &["show", "77"]);
    assert!(said.code == 64 && said.err.contains("no message id"), "{said:?}");
}

#[test]
fn redriven_letters_are_queued_in_order_with_their_ids_and_cut_ones_stay() {
    let gateway = Gateway::new();
    let said = gateway.dead(&["redrive", "--reason", "rejected"]);
    assert_eq!(
        said.out,
        "default: 4 dead letters went back into the queue of default\n"
    );
    assert_eq!(gateway.queued(), [id(1), id(2), id(3), id(4)]);
    assert_eq!(gateway.state("default")["letters"], 2);
    let said = gateway.dead(&["redrive", "--all", "--json"]);
    let redriven = &said.answers()[0]["redriven"];
    assert_eq!((&redriven["letters"], &redriven["cut"]), (&1.into(), &1.into()));
    assert_eq!(gateway.queued().len(), 5);
    let state = gateway.state("default");
    assert_eq!(
        (&state["letters"], &state["reasons"]["oversize"]),
        (&1.into(), &1.into())
    );
    let said = gateway.dead(&["redrive", "--all"]);
    assert!(
        said.out.contains("1 stay: they were over max_packet_size"),
        "{said:?}"
    );
}

#[test]
fn a_letter_that_failed_again_is_redriven_again() {
    let gateway = Gateway::new();
    for round in 1..=3 {
        gateway.dead(&["redrive", "--id", &id(2)]);
        assert_eq!(gateway.queued(), [id(2)], "round {round}");
        // Kafka refuses it again.
        let file = gateway.path("file.jsonl");
        let said = gateway.run("queue", &["export", "--output", file.to_str().expect("text")]);
        assert_eq!(said.code, 0, "{said:?}");
        let line = fs::read_to_string(&file).expect("reads");
        let line: Value = serde_json::from_str(line.lines().nth(1).expect("a message")).expect("JSON");
        assert_eq!(line["seq"], 2);
        let said = gateway.run("queue", &["purge", "--all", "--yes"]);
        assert_eq!(said.code, 0, "{said:?}");
        let mut again = stored(100 + round, "telemetry", None);
        again.arrival.origin = Some(Box::new(edgeferry::message::Origin {
            gateway: "gw-a".to_owned(),
            epoch: EPOCH,
            lane: "default".to_owned(),
            seq: Seq(2),
        }));
        gateway
            .letters("default")
            .keep(&again, vec![Refusal::NoRoute])
            .expect("keeps");
    }
    assert_eq!(gateway.state("default")["letters"], 6);
}

#[test]
fn filters_pick_and_without_one_nothing_is_done() {
    let gateway = Gateway::new();
    for arguments in [
        &["redrive"][..],
        &["purge", "--yes"],
        &["purge", "--lane", "default"],
    ] {
        let said = gateway.run("dead-letter", arguments);
        assert!(
            said.code == 64 && said.err.contains("--all"),
            "{arguments:?}: {said:?}"
        );
    }
    let said = gateway.run("dead-letter", &["purge", "--all", "--device", "d1"]);
    assert_eq!(said.code, 64, "{said:?}");
    let said = gateway.run("dead-letter", &["export", "--reason", "nonsense"]);
    assert!(said.code == 64 && said.err.contains("no-route, "), "{said:?}");
    let said = gateway.dead(&["purge", "--device", "d1"]);
    assert!(
        said.out.contains("3 messages would be removed") && said.out.contains("nothing was removed"),
        "{said:?}"
    );
    assert_eq!(gateway.state("default")["letters"], 6);
    let said = gateway.dead(&[
        "purge",
        "--device",
        "d1",
        "--until",
        "1970-01-01T00:00:04Z",
        "--yes",
    ]);
    assert!(said.out.contains("2 messages removed"), "{said:?}");
    let said = gateway.dead(&["purge", "--topic", "devices/+/unknown", "--yes"]);
    assert!(said.out.contains("1 messages removed"), "{said:?}");
    let state = gateway.state("default");
    assert_eq!(
        (&state["letters"], &state["reasons"]["rejected"]),
        (&3.into(), &2.into())
    );
}

#[test]
fn an_export_has_the_reasons_and_brings_back_what_was_purged() {
    let gateway = Gateway::new();
    let file = gateway.path("letters.jsonl");
    let file = file.to_str().expect("text");
    gateway.dead(&["export", "--reason", "rejected", "--output", file]);
    let text = fs::read_to_string(file).expect("reads");
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!((lines.len(), &lines[0]["still_queued"]), (6, &false.into()));
    assert_eq!(lines[1]["reasons"][0]["reason"], "rejected");
    assert!(
        lines[1]["reasons"][0]["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("MessageSizeTooLarge"))
    );
    gateway.dead(&["purge", "--reason", "rejected", "--yes"]);
    let said = gateway.run("queue", &["import", file]);
    assert_eq!(said.out, "4 messages taken, 0 were here already\n", "{said:?}");
    assert_eq!(gateway.queued(), [id(1), id(2), id(3), id(4)]);
}

#[test]
fn letters_of_a_lane_that_is_no_more_go_where_they_are_told_to() {
    let gateway = Gateway::new();
    gateway
        .letters("old")
        .keep(&stored(9, "telemetry", None), vec![Refusal::NoRoute])
        .expect("keeps");
    assert_eq!(gateway.state("old")["letters"], 1);
    let said = gateway.run("dead-letter", &["redrive", "--lane", "old", "--all"]);
    assert!(said.code == 64 && said.err.contains("--into"), "{said:?}");
    gateway.dead(&["redrive", "--lane", "old", "--all", "--into", "default"]);
    assert_eq!(gateway.queued(), [format!("{EPOCH}-old-9")]);
    assert_eq!(gateway.state("old")["letters"], 0);
}

#[test]
fn there_is_no_store_to_look_into() {
    let folder = tempfile::tempdir().expect("temp dir");
    let gateway = Gateway { folder };
    gateway.configure("");
    for arguments in [&["ls"][..], &["redrive", "--all"]] {
        let said = gateway.run("dead-letter", arguments);
        assert!(said.code == 74 && said.err.contains("no store"), "{said:?}");
    }
}

#[test]
fn a_topic_that_readers_would_misunderstand_is_refused() {
    let gateway = Gateway::new();
    for (topic, why) in [
        ("raw-payloads-dlq", "raw-payloads"),
        ("raw_errors", "raw_errors"),
        ("smc_raw_errors", "raw_errors"),
        ("no topic", "not a legal"),
        ("t", "is the topic of route[0]"),
    ] {
        gateway.configure(&format!("[dead_letter]\ntopic = \"{topic}\"\n"));
        let said = gateway.run("check", &[]);
        let text = format!("{}{}", said.out, said.err);
        assert!(
            said.code == 64 && text.contains("dead_letter.topic") && text.contains(why),
            "{text}"
        );
    }
    gateway.configure("[dead_letter]\ntopic = \"edge.dead-letter\"\non_full = \"drop-oldest\"\n");
    assert_eq!(gateway.run("check", &[]).code, 0);
}
