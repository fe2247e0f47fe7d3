//! One processor from end to end. The scenarios are those of `tests/parts`, with a load that is scaled and assertions that are not.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fleet::{load, number, report, until_lane};
use crate::machine::{ALLOCATOR, Machine};
use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::devices::Devices;
use crate::support::kafka::secure::{self, Certificate};
use crate::support::kafka::{Brokers, Kafka, shared};
use crate::support::mosquitto::Mosquitto;
use crate::support::mosquitto::guarded::{self, Guarded};
use crate::support::oracle::{Oracle, PATIENCE};
use crate::support::ports;
use crate::support::scene::{ACK_LIMIT, FILTER, Scene};
use crate::support::seed::Seed;
use crate::support::wait;

/// SIGKILLs of one test; `packaging/emulation.sh --kills N` sets the variable.
const KILLS: u64 = 8;
/// A life, milliseconds: the shortest ends while the emulator still loads the program, the longest at full load.
const LIFE_MS: (u64, u64) = (50, 5_000);

fn kills() -> u64 {
    std::env::var("EDGEFERRY_KILLS").map_or(KILLS, |text| text.parse().expect("EDGEFERRY_KILLS is a number"))
}

macro_rules! on_each_processor {
    ($($scenario:ident),+ $(,)?) => {
        mod aarch64 {
            $(
                #[test]
                #[ignore = "needs what ./dev cross builds: ./dev package-test"]
                fn $scenario() {
                    super::$scenario(crate::machine::Machine::Aarch64);
                }
            )+
        }

        mod armv7 {
            $(
                #[test]
                #[ignore = "needs what ./dev cross builds: ./dev package-test"]
                fn $scenario() {
                    super::$scenario(crate::machine::Machine::Armv7);
                }
            )+
        }
    };
}

on_each_processor!(
    messages_pass_and_every_command_answers,
    killed_again_and_again_under_load_it_loses_nothing,
    an_outage_of_kafka_with_a_kill_in_it_costs_nothing,
    tls_on_both_sides_with_client_certificates,
    exactly_once_over_kills_no_message_comes_twice,
    its_second_start_is_the_same_process_and_settles_the_allocator,
);

/// Status code and body of one answer by HTTP.
fn get(port: u16, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the daemon listens");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
    )
    .expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers in text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let code = head.split(' ').nth(1).expect("a status line");
    (code.parse().expect("a number"), body.to_owned())
}

fn messages_pass_and_every_command_answers(machine: Machine) {
    let began = Instant::now();
    let kafka = shared();
    let port = ports::free();
    let http = format!("listen = \"127.0.0.1:{port}\"");
    let mut scene = Scene::start_by(&machine.program(), "5", kafka, Mosquitto::start(), |config| {
        config.http(&http)
    });
    let devices = scene.devices(&load());
    devices.until_acked(500, ACK_LIMIT);

    let daemon = &mut scene.daemon;
    let (code, said, complaints) = daemon.ask("status", &["--json"]);
    assert_eq!(code, Some(0), "{said}{complaints}");
    let state: Value = serde_json::from_str(&said).expect("one line of JSON");
    assert_eq!(state["health"]["is_ready"], Value::Bool(true), "{state}");
    let ledger = &state["lanes"][0]["ledger"];
    assert_eq!(
        number(ledger, "received"),
        number(ledger, "delivered") + number(ledger, "queued"),
        "{state}"
    );
    let (code, said, complaints) = daemon.ask("check", &[]);
    assert!(matches!(code, Some(0)), "{code:?}: {said}{complaints}");
    assert_eq!(daemon.reload().0, Some(0));
    daemon.queue(&["verify"]);
    daemon.queue(&["peek", "--limit", "3"]);
    daemon.queue(&["export", "--device", "d1"]);
    assert_eq!(get(port, "/health/ready").0, 200);
    let (code, metrics) = get(port, "/metrics");
    assert!(code == 200 && metrics.contains("edgeferry_"), "{code}: {metrics}");
    // The lock on the store is the kernel's, and holds between processes of several emulators.
    let held = daemon.store();
    let rival = Config::usual("5", &scene.mosquitto, kafka, "nowhere").data_dir(&held);
    let (status, log) = Daemon::refused_by(&machine.program(), &rival);
    assert!(
        !status.success() && log.contains("is in use by another edgeferry"),
        "{log}"
    );

    let verdict = scene.conclude(kafka, devices);
    verdict.assert_clean_without_duplicates();
    report(machine, "all commands, one orderly stop", began, &verdict);
}

fn killed_again_and_again_under_load_it_loses_nothing(machine: Machine) {
    let began = Instant::now();
    let mut seed = Seed::of_this_run(&format!("{machine}: killed again and again"));
    let kafka = shared();
    let mut scene = Scene::start_by(&machine.program(), "5", kafka, Mosquitto::start(), |config| {
        config
    });
    let devices = scene.devices(&load());
    let kills = kills();
    for kill in 1..=kills {
        let life = Duration::from_millis(seed.between(LIFE_MS.0, LIFE_MS.1));
        wait::let_pass(&format!("{machine}: life {kill} of {kills}"), life);
        scene.daemon.kill();
        if seed.between(0, 3) == 0 {
            scene.daemon.launch();
        } else {
            scene.daemon.restart();
        }
    }
    let verdict = scene.conclude(kafka, devices);
    verdict.assert_clean();
    report(machine, &format!("{kills} SIGKILLs"), began, &verdict);
}

fn an_outage_of_kafka_with_a_kill_in_it_costs_nothing(machine: Machine) {
    let began = Instant::now();
    let mut kafka = Kafka::start();
    let mut scene = Scene::start_by(
        &machine.program(),
        "5",
        &kafka,
        Mosquitto::start(),
        Config::impatient,
    );
    let devices = scene.devices(&load());
    devices.until_acked(500, ACK_LIMIT);
    kafka.kill();
    devices.until_acked(1_000, ACK_LIMIT);
    scene.daemon.kill();
    scene.daemon.restart();
    devices.until_acked(1_000, ACK_LIMIT);
    let queued = number(&scene.daemon.lane(), "queued");
    assert!(queued > 500, "only {queued} messages wait while Kafka is away");
    kafka.restart();
    let verdict = scene.conclude(&kafka, devices);
    verdict.assert_clean();
    report(machine, "Kafka away, one SIGKILL meanwhile", began, &verdict);
}

fn lines(certificate: &Certificate, ca: &Path) -> [String; 3] {
    let line = |key: &str, path: &Path| format!("{key} = \"{}\"", path.display());
    [
        line("ca_file", ca),
        line("cert_file", &certificate.cert),
        line("key_file", &certificate.key),
    ]
}

fn tls_on_both_sides_with_client_certificates(machine: Machine) {
    let began = Instant::now();
    let (guarded, secure) = (Guarded::start(), secure::shared());
    let topic = secure.fresh_topic("telemetry");
    let to_broker = lines(
        &guarded.authority().certificate("gw-emulated"),
        &guarded.authority().ca(),
    );
    let to_kafka = lines(
        &secure.authority().certificate("gw-emulated"),
        &secure.authority().ca(),
    );
    let config = Config::new(secure)
        .broker_at(
            "local",
            "5",
            &guarded.url(guarded::Door::MutualTls),
            &to_broker.join("\n"),
        )
        .route("devices/{device}/telemetry", &topic)
        .bootstrap(&secure.door(secure::Door::MutualTls))
        .impatient();
    let config = to_kafka.iter().fold(config, |config, line| config.kafka(line));
    let mark = guarded.mosquitto.mark();
    let mut daemon = Daemon::start_by(&machine.program(), &config);
    guarded.mosquitto.until_subscribed(FILTER, mark);
    let devices = Devices::start(&guarded.mosquitto, &load());
    devices.until_acked(500, ACK_LIMIT);
    daemon.kill();
    daemon.restart();
    devices.until_acked(500, ACK_LIMIT);
    let sent = devices.finish(ACK_LIMIT);
    let mut oracle = Oracle::new(secure, &topic);
    oracle.until_all_there(&sent, PATIENCE);
    daemon.terminate();
    let verdict = oracle.verdict(&sent);
    verdict.assert_clean();
    report(machine, "mutual TLS on both sides, one SIGKILL", began, &verdict);
}

fn exactly_once_over_kills_no_message_comes_twice(machine: Machine) {
    let began = Instant::now();
    let mut seed = Seed::of_this_run(&format!("{machine}: exactly-once"));
    let kafka = shared();
    let mut scene = Scene::start_by(
        &machine.program(),
        "5",
        kafka,
        Mosquitto::start(),
        Config::exactly_once,
    );
    let devices = scene.devices(&load());
    let kills = kills() / 2 + 1;
    for _ in 0..kills {
        devices.until_acked(seed.between(50, 800), ACK_LIMIT);
        scene.daemon.kill();
        scene.daemon.restart();
    }
    let verdict = scene.conclude(kafka, devices);
    verdict.assert_clean();
    // Messages may come twice from MQTT, marked; edgeferry itself repeats none.
    assert_eq!(
        verdict.duplicates.same_id, 0,
        "sent twice by edgeferry:\n{verdict}"
    );
    report(
        machine,
        &format!("exactly-once, {kills} SIGKILLs"),
        began,
        &verdict,
    );
}

/// The daemon starts itself once more with settings for the allocator. That is the same process, and it has them. A kernel that was not told how
/// (binfmt_misc) cannot start a program of another processor, so there this cannot be tried.
fn its_second_start_is_the_same_process_and_settles_the_allocator(machine: Machine) {
    if !machine.runs_by_itself() {
        eprintln!("{machine}: SKIPPED: this kernel does not start programs of that processor by itself");
        return;
    }
    let kafka = shared();
    let scene = Scene::start_by(
        &machine.bare_program(),
        "5",
        kafka,
        Mosquitto::start(),
        |config| config,
    );
    let devices = scene.devices(&load());
    devices.until_acked(300, ACK_LIMIT);
    until_lane(&scene.daemon, "delivered", 300);
    let environment = std::fs::read(format!("/proc/{}/environ", scene.daemon.id())).expect("it runs");
    let environment = String::from_utf8_lossy(&environment);
    for (name, value) in ALLOCATOR {
        let setting = format!("{name}={value}");
        assert!(
            environment.split('\0').any(|found| found == setting),
            "{setting}: {environment}"
        );
    }
    scene.conclude(kafka, devices).assert_clean_without_duplicates();
}
