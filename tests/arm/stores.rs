//! A store that goes from one processor to another, as when a card is put into another board, or a board gets a system of
//! 64 bits: everything that is in it, in every form that it can have, is the same there.

use std::fs;
use std::path::Path;
use std::time::Instant;

use serde_json::Value;

use crate::fleet::{letters, load, number, publish, report, until_lane};
use crate::machine::Machine;
use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::devices::Devices;
use crate::support::kafka::shared;
use crate::support::mosquitto::{Mark, Mosquitto};
use crate::support::mqtt::Link;
use crate::support::oracle::{Oracle, PATIENCE};
use crate::support::ports;
use crate::support::scene::{ACK_LIMIT, FILTER};
use crate::support::scratch::Scratch;

/// What its route makes of it is no name for a Kafka topic.
const BAD: &str = "named/no topic/x";
const BAD_FILTER: &str = "named/+/x";
const LETTERS: u64 = 5;
/// Messages that reach Kafka before the backlog, that wait as they came, and that wait sealed.
const DELIVERED: u64 = 200;
const PLAIN: u64 = 300;
const SEALED: u64 = 300;

macro_rules! carries {
    ($($name:ident: $writer:ident => $reader:ident),+ $(,)?) => {
        $(
            #[test]
            #[ignore = "needs what ./dev cross builds: ./dev package-test"]
            fn $name() {
                a_store_is_the_same_on_another_processor(Machine::$writer, Machine::$reader);
            }
        )+
    };
}

carries!(
    from_armv7_to_x86_64: Armv7 => X86_64,
    from_armv7_to_aarch64: Armv7 => Aarch64,
    from_aarch64_to_armv7: Aarch64 => Armv7,
    from_aarch64_to_x86_64: Aarch64 => X86_64,
    from_x86_64_to_armv7: X86_64 => Armv7,
    from_x86_64_to_aarch64: X86_64 => Aarch64,
);

/// What the commands say of a store on which nobody runs.
#[derive(Debug, PartialEq, Eq)]
struct Contents {
    /// All that waits, as a portable file, line by line; without the first line, which has the time of the export, and the
    /// last one, which has the checksum of that.
    waiting: Vec<String>,
    /// The dead letters, in the same form.
    letters: Vec<String>,
    /// Numbers of the account.
    account: Vec<u64>,
}

impl Contents {
    fn of(daemon: &Daemon) -> Self {
        let lane = daemon.lane();
        let account = ["received", "delivered", "dead_lettered", "queued"];
        daemon.queue(&["verify"]);
        Self {
            waiting: messages(&daemon.queue(&["export"])),
            letters: messages(&daemon.dead_letter(&["export"])),
            account: account.map(|name| number(&lane, name)).to_vec(),
        }
    }
}

/// The messages of a portable file.
fn messages(file: &str) -> Vec<String> {
    let lines: Vec<&str> = file.lines().collect();
    let [first, messages @ .., last] = lines.as_slice() else {
        panic!("an export has a first and a last line: {file}");
    };
    assert!(
        first.contains("edgeferry-export") && last.contains("\"end\""),
        "{file}"
    );
    messages.iter().map(ToString::to_string).collect()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("test folders have plain names")
}

fn a_store_is_the_same_on_another_processor(writer: Machine, reader: Machine) {
    let began = Instant::now();
    let (kafka, mosquitto, keys) = (shared(), Mosquitto::start(), Scratch::new("keys"));
    let topic = kafka.fresh_topic("carried");
    fs::write(keys.join("key"), format!("{}c7\n", "5b".repeat(31))).expect("writes");
    let usual = Config::usual("5", &mosquitto, kafka, &topic)
        .route_with("named/{name}/x", "named-{name}", "key = \"{name}\"")
        .impatient();
    let sealed = usual
        .clone()
        .queue(&format!("key_file = \"{}\"", keys.join("key").display()));
    let nowhere = format!("127.0.0.1:{}", ports::free());

    // Some of it is done, and some of that became dead letters.
    let mut daemon = Daemon::start_by(&writer.program(), &usual);
    mosquitto.until_subscribed(FILTER, Mark::default());
    mosquitto.until_subscribed(BAD_FILTER, Mark::default());
    let mut sent = publish(&mosquitto, "done", DELIVERED);
    let mut link = Link::connect(mosquitto.port(), "bad", true).expect("the broker is there");
    (0..LETTERS).for_each(|number| link.publish(BAD, format!("letter {number}").as_bytes()));
    until_lane(&daemon, "delivered", DELIVERED);
    until_lane(&daemon, "dead_lettered", LETTERS);
    daemon.terminate();

    // The rest waits, partly sealed, and was never closed in order.
    daemon.reconfigure(&usual.clone().bootstrap(&nowhere));
    daemon.restart();
    sent.merge(publish(&mosquitto, "plain", PLAIN));
    until_lane(&daemon, "queued", PLAIN);
    daemon.kill();
    daemon.reconfigure(&sealed.clone().bootstrap(&nowhere));
    daemon.restart();
    sent.merge(publish(&mosquitto, "sealed", SEALED));
    until_lane(&daemon, "queued", PLAIN + SEALED);
    daemon.kill();

    let written = Contents::of(&daemon);
    assert!(
        written.waiting.len() as u64 >= PLAIN + SEALED && written.letters.len() as u64 == LETTERS,
        "{written:?}"
    );
    let exported = daemon.beside("export.jsonl");
    daemon.queue(&["export", "--output", text(&exported)]);
    daemon.change_program(&reader.program());
    assert_eq!(
        Contents::of(&daemon),
        written,
        "{reader} reads what {writer} wrote"
    );
    an_exported_file_is_taken(reader, &sealed.clone().gateway("gw-other"), &exported, &written);

    daemon.reconfigure(&sealed);
    daemon.restart();
    let more = Devices::start(&mosquitto, &load());
    more.until_acked(100, ACK_LIMIT);
    sent.merge(more.finish(ACK_LIMIT));
    let mut oracle = Oracle::new(kafka, &topic);
    oracle.until_all_there(&sent, PATIENCE);
    assert_eq!(letters(&daemon), LETTERS);
    daemon.terminate();
    let verdict = oracle.verdict(&sent);
    verdict.assert_clean();
    let what = format!("a store of {writer}, {SEALED} of it sealed, {LETTERS} dead letters");
    report(reader, &what, began, &verdict);
}

/// Into a new store of `reader`'s own, from which it comes out again with the same ids and payloads.
fn an_exported_file_is_taken(reader: Machine, config: &Config, exported: &Path, written: &Contents) {
    let mut other = Daemon::configured(config);
    other.change_program(&reader.program());
    let said = other.queue(&["import", text(exported)]);
    let wanted = format!("{} messages taken, 0 were here already\n", written.waiting.len());
    assert_eq!(said, wanted);
    let again = messages(&other.queue(&["export"]));
    let essence = |line: &String| {
        let message: Value = serde_json::from_str(line).expect("JSON");
        let field = |name: &str| message[name].clone();
        [
            "gateway",
            "epoch",
            "lane",
            "seq",
            "topic",
            "payload",
            "payload_base64",
            "arrival",
            "boot_ms",
        ]
        .map(field)
    };
    let (theirs, ours): (Vec<_>, Vec<_>) = (
        written.waiting.iter().map(essence).collect(),
        again.iter().map(essence).collect(),
    );
    assert_eq!(ours, theirs, "{reader} imports");
}
