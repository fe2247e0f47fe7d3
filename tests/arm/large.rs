//! What 32 bits could limit: queues of more than 100 MB, files of more than 4 GiB.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Instant;

use crate::fleet::{load, number, publish, report, until_lane};
use crate::machine::Machine;
use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::devices::{Devices, Plan};
use crate::support::kafka::shared;
use crate::support::mosquitto::{Mark, Mosquitto};
use crate::support::oracle::{Oracle, PATIENCE};
use crate::support::ports;
use crate::support::scene::{ACK_LIMIT, FILTER};

const MACHINE: Machine = Machine::Armv7;
/// 126 MB.
const MESSAGES: u64 = 2_800;
const MESSAGE_BYTES: usize = 45_000;
/// Behind what an offset of 32 bits can say.
const FAR: u64 = 5 << 30;

#[test]
#[ignore = "needs what ./dev cross builds: ./dev package-test"]
fn a_queue_of_more_than_a_hundred_megabytes_on_32_bits_is_delivered_over_two_kills() {
    let began = Instant::now();
    let (kafka, mosquitto) = (shared(), Mosquitto::start());
    let topic = kafka.fresh_topic("large");
    // More than 32 bits can say, in each setting that is a number of bytes on a disk.
    let config = Config::usual("5", &mosquitto, kafka, &topic)
        .queue("max_bytes = \"8 GiB\"")
        .queue("compression = \"none\"")
        .impatient();
    let nowhere = format!("127.0.0.1:{}", ports::free());
    let mut daemon = Daemon::start_by(&MACHINE.program(), &config.clone().bootstrap(&nowhere));
    mosquitto.until_subscribed(FILTER, Mark::default());
    let plan = Plan {
        messages: Some(MESSAGES),
        rate: None,
        bytes: MESSAGE_BYTES,
        ..load()
    };
    let sent = Devices::start(&mosquitto, &plan).finish(ACK_LIMIT * 3);
    until_lane(&daemon, "queued", MESSAGES);
    let bytes = number(&daemon.lane(), "bytes");
    assert!(bytes > 100_000_000, "the queue has {bytes} bytes");
    daemon.kill();
    daemon.reconfigure(&config);
    daemon.restart();
    until_lane(&daemon, "delivered", MESSAGES / 3);
    daemon.kill();
    daemon.restart();
    let mut oracle = Oracle::new(kafka, &topic);
    oracle.until_all_there(&sent, PATIENCE);
    let resident = daemon.peak_rss();
    daemon.terminate();
    let verdict = oracle.verdict(&sent);
    verdict.assert_clean();
    report(
        MACHINE,
        &format!("{bytes} bytes of queue, 2 SIGKILLs"),
        began,
        &verdict,
    );
    eprintln!("figures: {MACHINE}: {resident} bytes resident at most, QEMU and its translations included");
}

#[test]
#[ignore = "needs what ./dev cross builds: ./dev package-test"]
fn messages_behind_four_gibibytes_of_a_file_are_found_on_32_bits() {
    const FEW: u64 = 50;
    let (kafka, mosquitto) = (shared(), Mosquitto::start());
    let nowhere = format!("127.0.0.1:{}", ports::free());
    let config = Config::usual("5", &mosquitto, kafka, "nowhere").bootstrap(&nowhere);
    let mut daemon = Daemon::start_by(&MACHINE.program(), &config);
    mosquitto.until_subscribed(FILTER, Mark::default());
    publish(&mosquitto, "far", FEW);
    until_lane(&daemon, "queued", FEW);
    daemon.terminate();
    // An image of a card: nothing at its beginning, and what a generation holds far behind.
    let image = daemon.beside("image");
    let file = File::create(&image).expect("the folder is writable");
    let mut at = FAR;
    for generation in generations(&daemon) {
        let bytes = fs::read(generation.join("db")).expect("a database");
        file.write_all_at(&bytes, at).expect("a hole costs nothing");
        at += bytes.len() as u64;
    }
    let path = image.to_str().expect("test folders have plain names");
    let bare = MACHINE
        .program()
        .command()
        .args([
            "queue",
            "salvage",
            path,
            "--lane",
            "default",
            "--gateway",
            "gw-test",
        ])
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&bare.stdout);
    let messages = said.lines().filter(|line| line.contains("\"seq\"")).count();
    assert_eq!(
        messages as u64,
        FEW,
        "{}: {}",
        bare.status,
        String::from_utf8_lossy(&bare.stderr)
    );
}

fn generations(daemon: &Daemon) -> Vec<PathBuf> {
    let lane = daemon.store().join("lanes/default");
    let entries = fs::read_dir(lane).expect("a lane");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.join("db").is_file()).collect()
}
