//! Stores of released formats: this edgeferry opens each, and reads from it exactly what was put in.
//!
//! `tests/fixtures/store-vN.tar.gz` is a `data_dir`, `store-vN.json` beside it lists what waits in it. `./dev fixture` makes
//! the one of the present format; those of released formats are never made again.
#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use edgeferry::app::DataDir;
use edgeferry::identity::{self, Machine};
use edgeferry::message::{Arrival, Delivery, Epoch, Origin, Properties, Seq, SessionTag, Stamp, Stored};
use edgeferry::queue::codec::{Block, Encoder};
use edgeferry::queue::generations::{Generations, Waker};
use edgeferry::queue::ledger::{Hole, Ledger};
use edgeferry::queue::marks::Marks;
use edgeferry::queue::seal::Keys;
use edgeferry::queue::store::Store;
use edgeferry::queue::{self, Compression, Config, Passed, Queue, Reason};
use edgeferry::route::Refusal;
use edgeferry::sink::DeadLetters;
use serde_json::{Value, json};

const PRESENT: u32 = 2;
/// Of no use for anything else.
const KEYS: [(&str, &str); 2] = [
    (
        "first",
        "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f1",
    ),
    (
        "second",
        "00112233445566778899aabbccddeeffffeeddccbbaa99887766554433221100",
    ),
];
const LANES: [&str; 2] = ["default", "alarms"];
const DEAD_LETTERS_MAX: u64 = 16 << 20;
const PATIENCE: Duration = Duration::from_secs(30);

fn fixture(version: u32, extension: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    folder.join(format!("store-v{version}.{extension}"))
}

/// The formats of which there are stores.
fn versions() -> Vec<u32> {
    let folder = fixture(PRESENT, "json");
    let files = fs::read_dir(folder.parent().unwrap()).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let number = |name: String| name.strip_prefix("store-v")?.strip_suffix(".json")?.parse().ok();
    names.filter_map(number).collect()
}

/// A folder for a store, and the keys beside it.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, key) in KEYS {
            fs::write(dir.path().join(name), key).unwrap();
        }
        fs::create_dir(dir.path().join("store")).unwrap();
        Self(dir)
    }

    fn store(&self) -> PathBuf {
        self.0.path().join("store")
    }

    fn lane(&self, name: &str) -> PathBuf {
        self.store().join("lanes").join(name)
    }

    fn dead_letters(&self) -> PathBuf {
        self.store().join("dead-letters/default")
    }

    fn config(&self, current: Option<&str>, old: &[&str]) -> Config {
        let file = |name: &str| self.0.path().join(name);
        Config {
            key_file: current.map(file),
            old_key_files: old.iter().map(|name| file(name)).collect(),
            ..Config::default()
        }
    }

    fn keys(&self) -> Keys {
        Keys::load(
            Some(&self.0.path().join("second")),
            &[self.0.path().join("first")],
        )
        .unwrap()
    }

    /// What the store holds, as the file beside it lists it.
    fn contents(&self) -> Value {
        let lanes = LANES.map(|name| (name.to_owned(), self.lane_contents(name)));
        let letters = DeadLetters::open(&self.dead_letters(), Epoch(0), DEAD_LETTERS_MAX, self.keys());
        let letters = letters.unwrap().list().unwrap().into_iter().map(|letter| {
            let reasons: Vec<_> = letter.reasons.iter().map(Refusal::to_string).collect();
            let stored = Stored {
                seq: letter.seq,
                epoch: letter.epoch,
                arrival: letter.arrival,
            };
            json!({ "reasons": reasons, "message": describe(&stored) })
        });
        let letters = letters.collect::<Vec<_>>();
        let lanes = lanes.into_iter().collect::<serde_json::Map<_, _>>();
        json!({ "lanes": lanes, "dead_letters": letters })
    }

    fn lane_contents(&self, name: &str) -> Value {
        let mut queue = queue::open(
            &self.lane(name),
            Epoch(0),
            &self.config(Some("second"), &["first"]),
        )
        .unwrap();
        let waiting: Vec<_> = drain(&mut queue).iter().map(describe).collect();
        let balance = queue.monitor.status().balance;
        let removed = Reason::ALL.map(|reason| (reason.name().to_owned(), json!(balance.removed.of(reason))));
        let removed = removed.into_iter().filter(|(_, count)| *count != json!(0));
        let removed = removed.collect::<serde_json::Map<_, _>>();
        json!({
            "received": balance.received,
            "delivered": balance.delivered,
            "dead_lettered": balance.dead_lettered,
            "removed": removed,
            "queued": balance.queued,
            "waiting": waiting,
        })
    }
}

fn drain(queue: &mut Queue) -> Vec<Stored> {
    let deadline = Instant::now() + PATIENCE;
    let mut all: Vec<Stored> = Vec::new();
    while all.last().is_none_or(|last| last.seq < queue.reader.tail()) {
        assert!(Instant::now() < deadline, "drained as far as {:?}", all.last());
        match queue.reader.read_next().unwrap() {
            Some(stored) => all.push(stored),
            None => queue.reader.wait(Duration::from_millis(100)),
        }
    }
    all
}

/// Field by field: what later versions add to a message must not change what is expected.
fn describe(stored: &Stored) -> Value {
    let arrival = &stored.arrival;
    let (delivery, stamp) = (&arrival.delivery, &arrival.stamp);
    let origin = arrival.origin.as_deref();
    json!({
        "id": format!("{}-{}", stored.epoch, stored.seq),
        "broker": *arrival.broker,
        "topic": arrival.topic,
        "payload": payload(&arrival.payload),
        "oversize": arrival.oversize,
        "properties": arrival.properties.as_deref().map(describe_properties),
        "session": delivery.session.0,
        "position": delivery.position,
        "packet_id": delivery.packet_id,
        "flags": (delivery.qos, delivery.dup, delivery.retained),
        "fingerprint": delivery.fingerprint,
        "stamp": (stamp.unix_ms, stamp.boot_ms, stamp.boot, stamp.synchronised),
        "origin": origin.map(|origin| format!("{} {}-{}-{}", origin.gateway, origin.epoch, origin.lane, origin.seq)),
    })
}

fn describe_properties(properties: &Properties) -> Value {
    json!({
        "payload_format": properties.payload_format,
        "expiry_s": properties.expiry_s,
        "content_type": properties.content_type,
        "response_topic": properties.response_topic,
        "correlation_data": properties.correlation_data.as_deref(),
        "user": properties.user,
        "subscription_ids": properties.subscription_ids,
    })
}

fn payload(bytes: &[u8]) -> Value {
    match str::from_utf8(bytes) {
        Ok(text) if bytes.len() < 100 => json!(text),
        _ => json!({ "bytes": bytes.len(), "xxh3": xxhash_rust::xxh3::xxh3_64(bytes) }),
    }
}

fn tar(arguments: &[&str], archive: &Path, folder: &Path) {
    let mut command = Command::new("tar");
    command
        .arg("-C")
        .arg(folder)
        .arg("-f")
        .arg(archive)
        .args(arguments);
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

#[test]
fn stores_of_all_released_formats_open_and_give_what_was_put_in() {
    let versions = versions();
    assert!(versions.contains(&PRESENT), "{versions:?}");
    for version in versions {
        let bench = Bench::new();
        tar(&["-xz"], &fixture(version, "tar.gz"), &bench.store());
        DataDir::take(&bench.store()).unwrap();
        let expected: Value = serde_json::from_slice(&fs::read(fixture(version, "json")).unwrap()).unwrap();
        assert_eq!(bench.contents(), expected, "version {version}");
        // And once more, after a start has put everything in order.
        assert_eq!(bench.contents(), expected, "version {version}, second start");
    }
}

#[test]
#[ignore = "makes the fixture anew: ./dev fixture"]
fn make_the_fixture() {
    let bench = Bench::new();
    let taken = DataDir::take(&bench.store()).unwrap();
    let identity = identity::open(taken.path(), "gw-fixture".to_owned(), &Machine::default(), false).unwrap();
    make_default(&bench, identity.epoch);
    make_alarms(&bench, identity.epoch);
    make_dead_letters(&bench, identity.epoch);
    let contents = bench.contents();
    let waiting = |lane: &str| contents["lanes"][lane]["waiting"].as_array().unwrap().len();
    assert_eq!((waiting("default"), waiting("alarms")), (21, 15));
    drop(taken);
    fs::write(fixture(PRESENT, "json"), format!("{contents:#}\n")).unwrap();
    let arguments = [
        "-czS",
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--exclude=lock",
        ".",
    ];
    tar(&arguments, &fixture(PRESENT, "tar.gz"), &bench.store());
}

/// Three generations with all kinds of plain blocks, a hole between two of them, and the cursor within a block.
fn make_default(bench: &Bench, epoch: Epoch) {
    let folder = bench.lane("default");
    let store = Generations::open(&folder, Config::default().max_bytes, Waker::new(|| {}))
        .unwrap()
        .store;
    let encoder = |compression| Encoder::new(epoch, compression, &Keys::default()).unwrap();
    let mut zstd = encoder(Compression::Zstd);
    for first in (1..=16).step_by(5) {
        let messages: Vec<_> = (first..first + 5).map(arrival).collect();
        store
            .append(&zstd.encode(Seq(first), &messages).unwrap())
            .unwrap();
    }
    store.seal();
    // Not compressed, so that it takes several chunks.
    let long = Arrival {
        payload: Bytes::from("0123456789abcdef".repeat(1_500)),
        ..arrival(21)
    };
    store
        .append(&encoder(Compression::None).encode(Seq(21), [&long]).unwrap())
        .unwrap();
    let sparse = |first, last, left: &[u64]| Block {
        first: Seq(first),
        last: Seq(last),
        epoch,
        messages: left.iter().map(|seq| (Seq(*seq), arrival(*seq))).collect(),
    };
    store
        .append(&zstd.encode_sparse(&sparse(22, 31, &[23, 27])).unwrap())
        .unwrap();
    store.seal();
    let messages = [
        arrival(41),
        with_properties(42),
        Arrival {
            oversize: Some(5_000_000),
            ..arrival(43)
        },
        imported(44),
        arrival(45),
    ];
    store.append(&zstd.encode(Seq(41), &messages).unwrap()).unwrap();
    store
        .append(&zstd.encode_sparse(&sparse(46, 50, &[])).unwrap())
        .unwrap();
    let messages: Vec<_> = (51..=55).map(arrival).collect();
    store.append(&zstd.encode(Seq(51), &messages).unwrap()).unwrap();

    let (marks, _) = Marks::open(&folder).unwrap();
    marks.reserve(Seq(55)).unwrap();
    marks.set_durable(Seq(55), 0).unwrap();
    let passed = Passed {
        delivered: 11,
        dead_lettered: 1,
        ..Passed::default()
    };
    marks.set_cursor(Seq(12), passed).unwrap();
    marks.sync().unwrap();
    let (ledger, _) = Ledger::open(&folder.join("ledger")).unwrap();
    let hole = Hole {
        first: Seq(32),
        last: Seq(40),
        reason: Reason::DroppedOldest,
    };
    ledger.record(hole, Seq::ZERO).unwrap();
    ledger.count(Reason::Superseded, 13, true).unwrap();
}

/// Messages that are plain, sealed with the first and sealed with the second key, five each.
fn make_alarms(bench: &Bench, epoch: Epoch) {
    let configs = [
        bench.config(None, &[]),
        bench.config(Some("first"), &[]),
        bench.config(Some("second"), &["first"]),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for (run, config) in (0..).zip(configs) {
        let Queue { writer, door, .. } = queue::open(&bench.lane("alarms"), epoch, &config).unwrap();
        let intake = door.intake();
        drop(door);
        let thread = std::thread::spawn(move || writer.run());
        runtime.block_on(async {
            for number in 5 * run + 1..=5 * run + 5 {
                let arrival = arrival(number);
                let room = intake.reserve(arrival.cost()).await.unwrap();
                intake.offer(arrival, room, true).unwrap();
            }
        });
        drop(intake);
        thread.join().unwrap();
    }
}

fn make_dead_letters(bench: &Bench, epoch: Epoch) {
    let letters = DeadLetters::open(&bench.dead_letters(), epoch, DEAD_LETTERS_MAX, bench.keys()).unwrap();
    for seq in [7, 8] {
        let stored = Stored {
            seq: Seq(seq),
            epoch,
            arrival: arrival(seq),
        };
        letters
            .keep(&stored, vec![Refusal::NoRoute, Refusal::EmptyKey { route: 1 }])
            .unwrap();
    }
}

fn arrival(number: u64) -> Arrival {
    Arrival {
        broker: Arc::from("local"),
        topic: format!("devices/d{}/telemetry", number % 3),
        payload: Bytes::from(format!("{{\"number\":{number}}}")),
        oversize: None,
        properties: None,
        delivery: Delivery {
            session: SessionTag(0x0123_4567_89AB_CDEF),
            position: number,
            packet_id: 9,
            qos: 1,
            dup: number.is_multiple_of(2),
            retained: number.is_multiple_of(3),
            fingerprint: u64::MAX - number,
        },
        stamp: Stamp {
            unix_ms: 1_763_600_000_000,
            boot_ms: 1_000 * number,
            boot: 7,
            synchronised: !number.is_multiple_of(5),
        },
        origin: None,
    }
}

fn with_properties(number: u64) -> Arrival {
    let properties = Properties {
        payload_format: Some(1),
        expiry_s: Some(3_600),
        content_type: Some("application/json".to_owned()),
        response_topic: Some("answers".to_owned()),
        correlation_data: Some(Bytes::from_static(b"\0\xff")),
        user: vec![("name".to_owned(), "value".to_owned())],
        subscription_ids: vec![3, 70_000],
    };
    Arrival {
        properties: Some(Box::new(properties)),
        ..arrival(number)
    }
}

fn imported(number: u64) -> Arrival {
    let origin = Origin {
        gateway: "gw-elsewhere".to_owned(),
        epoch: Epoch(0xFEDC_BA98_7654_3210),
        lane: "default".to_owned(),
        seq: Seq(1_234_567),
    };
    Arrival {
        origin: Some(Box::new(origin)),
        ..arrival(number)
    }
}
