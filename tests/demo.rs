//! `edgeferry demo` as a person runs it.
#![cfg(test)]
#![cfg(feature = "demo")]

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

const AWAY: &str = "Kafka is taken away";
const BACK: &str = "Kafka is back";

/// The demo, not to outlive the test.
struct Demo(Child);

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_edgeferry"))
            .arg("demo")
            .args(arguments)
            .env_remove("EDGEFERRY_LOG")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn lines(&mut self) -> std::io::Lines<BufReader<ChildStdout>> {
        BufReader::new(self.0.stdout.take().unwrap()).lines()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// One line of the running table.
#[derive(Debug, PartialEq)]
struct Numbers {
    published: u64,
    backlog: u64,
    kafka: String,
}

/// `None` for every other kind of line.
fn numbers(line: &str) -> Option<Numbers> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, "s", published, _stored, backlog, _in_kafka, _mqtt, kafka] = fields[..] else {
        return None;
    };
    Some(Numbers {
        published: published.parse().ok()?,
        backlog: backlog.parse().ok()?,
        kafka: kafka.to_owned(),
    })
}

/// The value in the closing table.
fn result<'a>(text: &'a str, what: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(what));
    line.unwrap_or_else(|| panic!("no {what:?} in\n{text}")).trim()
}

fn run() -> Output {
    Command::new(env!("CARGO_BIN_EXE_edgeferry"))
        .arg("demo")
        .env_remove("EDGEFERRY_LOG")
        .output()
        .unwrap()
}

#[test]
fn the_backlog_grows_while_kafka_is_away_and_nothing_is_missing_in_the_end() {
    let output = run();
    let text = String::from_utf8(output.stdout).unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{text}\n{log}", output.status);
    assert_eq!(log, "", "a quiet log");

    let (_, outage) = text.split_once(AWAY).unwrap();
    let (outage, after) = outage.split_once(BACK).unwrap();
    let away: Vec<Numbers> = outage.lines().filter_map(numbers).collect();
    let [first, .., last] = &away[..] else {
        panic!("lines while Kafka is away: {away:?}\n{text}");
    };
    assert!(first.backlog < last.backlog, "{away:?}");
    assert!(last.published > first.published, "{away:?}");
    assert_eq!(last.kafka, "away");
    let end = after.lines().filter_map(numbers).next_back().unwrap();
    assert_eq!((end.backlog, end.kafka.as_str()), (0, "up"), "{text}");

    assert_eq!(result(&text, "missing"), "0");
    let published = result(&text, "published by the devices");
    assert_eq!(result(&text, "in Kafka, each counted once"), published);
    assert_eq!(result(&text, "acknowledged by the MQTT broker"), published);
    assert!(text.contains("no proof of order"), "{text}");
}

#[test]
fn a_signal_ends_it_also_while_kafka_is_away() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut demo = Demo::start(&[]);
        let mut lines = demo.lines().map(Result::unwrap);
        assert!(lines.any(|line| line.starts_with(AWAY)));
        assert!(lines.any(|line| numbers(&line).is_some_and(|line| line.backlog > 0)));
        demo.signal(signal);
        let rest: Vec<String> = lines.collect();
        assert!(rest.iter().any(|line| line == "Stopped."), "{rest:?}");
        assert!(demo.0.wait().unwrap().success());
    }
}

#[test]
fn ends_quietly_when_nobody_reads_any_more() {
    let mut demo = Demo::start(&[]);
    let mut lines = demo.lines().map(Result::unwrap);
    assert!(lines.any(|line| numbers(&line).is_some()));
    drop(lines);
    assert!(demo.0.wait().unwrap().success());
    let mut log = BufReader::new(demo.0.stderr.take().unwrap()).lines();
    assert!(log.next().is_none());
}

#[test]
fn with_keep_the_devices_go_on_and_it_says_where_to_publish() {
    let mut demo = Demo::start(&["--keep"]);
    let mut lines = demo.lines().map(Result::unwrap);
    assert!(lines.any(|line| line.starts_with("Nothing is missing")));
    assert!(lines.any(|line| line.contains("mosquitto_pub -h 127.0.0.1 -p ")));
    let mut published = lines
        .by_ref()
        .filter_map(|line| numbers(&line))
        .map(|line| line.published);
    let before = published.next().unwrap();
    assert!(
        published.take(30).any(|now| now > before),
        "the devices do not go on"
    );
    demo.signal(Signal::INT);
    assert!(demo.0.wait().unwrap().success());
}
