//! A daemon with its devices, and somebody who looks at its page.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::daemon::Daemon;
use crate::support::devices::{Devices, Plan};
use crate::support::mosquitto::Mosquitto;
use crate::support::wait;
use crate::variant::{Parts, Setup, Variant};

/// Far more than anything takes; only failures wait so long.
const LIMIT: Duration = Duration::from_mins(3);
/// A lane connects to Kafka when it first has something for it.
const FIRST: u64 = 100;
/// What the page asks for, and how often (`src/ops/http/page.html`).
const STATE_EVERY: Duration = Duration::from_secs(2);
const HISTORY_EVERY: u64 = 5;

/// See the module documentation.
pub struct Gateway {
    pub daemon: Daemon,
    topics: &'static [&'static str],
    sent: u64,
    viewer: Option<Viewer>,
}

impl Gateway {
    /// A daemon that has delivered its first messages.
    pub fn start(variant: Variant, parts: &Parts) -> Self {
        let mosquitto = &parts.mqtt.mosquitto;
        let Setup { config, topics, http } = variant.setup(parts);
        let mark = mosquitto.mark();
        let daemon = Daemon::start(&config);
        for topic in topics {
            mosquitto.until_subscribed(&topic.replace("{device}", "+"), mark);
        }
        let mut gateway = Self {
            daemon,
            topics,
            sent: 0,
            viewer: http.filter(|_| variant == Variant::Page).map(Viewer::open),
        };
        gateway.deliver(mosquitto, FIRST, None);
        gateway
    }

    pub fn id(&self) -> u32 {
        self.daemon.id()
    }

    /// Publishes so many messages, at a rate or as fast as the broker takes them.
    pub fn publish(&mut self, mosquitto: &Mosquitto, messages: u64, rate: Option<u32>) {
        let lanes = self.topics.len() as u64;
        // Each connection publishes its whole part.
        let connections = Plan::default().connections as u64;
        let each = messages / lanes / connections * connections;
        let fleets: Vec<Devices> = self
            .topics
            .iter()
            .zip(["d", "e"])
            .map(|(topic, prefix)| {
                let plan = Plan {
                    topic,
                    prefix,
                    messages: Some(each),
                    rate: rate.map(|rate| rate / lanes as u32),
                    ..Plan::default()
                };
                Devices::start(mosquitto, &plan)
            })
            .collect();
        for fleet in fleets {
            drop(fleet.finish(LIMIT));
        }
        self.sent += each * lanes;
    }

    /// Waits until Kafka has all that was published.
    pub fn until_delivered(&self) {
        let all = self.sent;
        self.daemon
            .notify()
            .until_status("all is delivered", LIMIT, |status| delivered(status) >= all);
    }

    pub fn deliver(&mut self, mosquitto: &Mosquitto, messages: u64, rate: Option<u32>) {
        self.publish(mosquitto, messages, rate);
        self.until_delivered();
    }

    /// Waits until the queue holds all that was published since Kafka went away.
    pub fn until_queued(&self, messages: u64) {
        self.daemon
            .notify()
            .until_status("all is queued", LIMIT, |status| {
                numbers(status, "backlog ").sum::<u64>() >= messages
            });
    }

    pub fn end(mut self) {
        drop(self.viewer.take());
        self.daemon.terminate();
    }
}

/// Of all lanes.
fn delivered(status: &str) -> u64 {
    numbers(status, "delivered ").sum()
}

fn numbers<'a>(status: &'a str, label: &'a str) -> impl Iterator<Item = u64> + 'a {
    status.split(label).skip(1).filter_map(|behind| {
        let end = behind
            .find(|letter: char| !letter.is_ascii_digit())
            .unwrap_or(behind.len());
        behind[..end].parse::<u64>().ok()
    })
}

/// Asks as a browser does that shows the page.
struct Viewer {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Viewer {
    fn open(port: u16) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            let began = Instant::now();
            get(port, "/");
            for round in 0_u32.. {
                get(port, "/api/status");
                if u64::from(round).is_multiple_of(HISTORY_EVERY) {
                    get(port, "/api/history");
                }
                let next = STATE_EVERY * (round + 1);
                let is_open = wait::or_give_up(next.saturating_sub(began.elapsed()), || {
                    over.load(Ordering::Relaxed).then_some(())
                });
                if is_open.is_some() {
                    return;
                }
            }
        });
        Self {
            is_over,
            thread: Some(thread),
        }
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn get(port: u16, path: &str) {
    let mut answer = Vec::new();
    let read = TcpStream::connect(("127.0.0.1", port)).and_then(|mut stream| {
        write!(stream, "GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n")?;
        stream.read_to_end(&mut answer)
    });
    let is_good = read.is_ok() && answer.windows(5).take(20).any(|word| word == b" 200 ");
    assert!(is_good, "{path}: {read:?} {}", String::from_utf8_lossy(&answer));
}
