//! Topics that come out of messages and that nobody made.

use std::time::Duration;

use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::devices::sent::Sent;
use crate::support::kafka::{PARTITIONS, shared, unused_topic};
use crate::support::mosquitto::Mosquitto;
use crate::support::mqtt::Link;
use crate::support::oracle::{Oracle, PATIENCE};
use crate::support::payload::{USUAL_BYTES, payload};
use crate::support::scene::FILTER;

const STATUS_LIMIT: Duration = Duration::from_mins(1);

struct Rogue {
    mosquitto: Mosquitto,
    /// Gets a record of each message.
    healthy: String,
    /// In front of the device in the topic of the second route.
    prefix: String,
    daemon: Daemon,
    link: Link,
    sent: Sent,
    next: u64,
}

impl Rogue {
    fn start(change: impl FnOnce(Config) -> Config) -> Self {
        let mosquitto = Mosquitto::start();
        let (healthy, prefix) = (shared().fresh_topic("healthy"), unused_topic("of"));
        let config = Config::new(shared())
            .broker("local", "5", &mosquitto)
            .route("devices/{device}/telemetry", &healthy)
            .route("devices/{device}/telemetry", &format!("{prefix}-{{device}}"));
        let mark = mosquitto.mark();
        let daemon = Daemon::start(&change(config.impatient()));
        mosquitto.until_subscribed(FILTER, mark);
        let link = Link::connect(mosquitto.port(), "odd", true).expect("it accepts");
        Self {
            mosquitto,
            healthy,
            prefix,
            daemon,
            link,
            sent: Sent::new(),
            next: 1,
        }
    }

    fn topic_of(&self, device: &str) -> String {
        format!("{}-{device}", self.prefix)
    }

    /// One message of each device.
    fn publish(&mut self, devices: &[&str]) {
        for device in devices {
            let topic = self.sent.topic_of(device, self.next);
            self.link
                .publish(&topic, &payload(device, self.next, USUAL_BYTES));
            self.sent.note(device, self.next);
        }
        self.next += 1;
    }

    fn until(&self, what: &str, parts: &[&str]) {
        let fits = |status: &str| parts.iter().all(|part| status.contains(part));
        self.daemon.notify().until_status(what, STATUS_LIMIT, fits);
    }

    /// Every message has one record by the healthy route, and no more.
    fn judge(mut self) {
        let mut oracle = Oracle::new(shared(), &self.healthy);
        oracle.until_all_there(&self.sent, PATIENCE);
        self.daemon.terminate();
        drop(self.mosquitto);
        oracle.verdict(&self.sent).assert_clean_without_duplicates();
    }
}

#[test]
fn a_rogue_publisher_does_not_block_the_gateway() {
    let mut rogue = Rogue::start(|config| config.kafka("unknown_topic_after = \"5s\""));
    let good = rogue.topic_of("good");
    shared().create_topic(&good, PARTITIONS, &[]);
    for _ in 0..5 {
        rogue.publish(&["good", "rogue1", "rogue2", "rogue3"]);
    }
    rogue.until(
        "the missing topic is named",
        &["NOT READY", &rogue.topic_of("rogue1")],
    );
    rogue.until(
        "all of them are given up together",
        &["dead letters 15", "backlog 0", "kafka: up"],
    );
    assert_eq!(Oracle::new(shared(), &good).first(5).len(), 5);

    // Somebody makes one of them: its messages flow as soon as that is seen.
    let made = rogue.topic_of("rogue2");
    assert_eq!(shared().partitions(&made), None, "edgeferry never creates topics");
    shared().create_topic(&made, PARTITIONS, &[]);
    let mut oracle = Oracle::new(shared(), &made);
    crate::support::wait::until("a message gets through", STATUS_LIMIT, || {
        rogue.publish(&["rogue2"]);
        (oracle.available() > 0).then_some(())
    });
    oracle.first(1);
    rogue.judge();
}

#[test]
fn a_topic_that_is_made_in_time_gets_all_its_messages() {
    let mut rogue = Rogue::start(|config| config);
    let late = rogue.topic_of("late");
    rogue.publish(&["late"]);
    rogue.publish(&["late"]);
    rogue.until(
        "the missing topic is named, and what will become of its messages",
        &["NOT READY", &late, "dead letters after 10m"],
    );
    // Several probes, none of which sends the healthy record again.
    crate::support::wait::let_pass("the topic is missing", Duration::from_secs(5));
    shared().create_topic(&late, PARTITIONS, &[]);
    assert_eq!(Oracle::new(shared(), &late).first(2).len(), 2);
    rogue.judge();
}
