//! The usual set-up: a Mosquitto, a topic, the daemon between them, and the end that every test shares.

use std::time::Duration;

use super::config::Config;
use super::daemon::Daemon;
use super::devices::sent::Sent;
use super::devices::{Devices, Plan};
use super::kafka::Brokers;
use super::mosquitto::Mosquitto;
use super::oracle::{Oracle, PATIENCE, Verdict};
use super::program::Program;

/// The filter that follows from the usual route.
pub const FILTER: &str = "devices/+/telemetry";
/// How long devices may wait for their last PUBACK at the end of a test.
pub const ACK_LIMIT: Duration = Duration::from_mins(2);

/// A daemon between a broker of its own and a topic of its own.
#[derive(Debug)]
pub struct Scene {
    /// The broker, alone in this test.
    pub mosquitto: Mosquitto,
    /// The Kafka topic, alone in this test.
    pub topic: String,
    /// The daemon, subscribed.
    pub daemon: Daemon,
}

impl Scene {
    /// The usual set-up with a configuration that `change` adapts.
    pub fn start(
        version: &str,
        kafka: &impl Brokers,
        mosquitto: Mosquitto,
        change: impl FnOnce(Config) -> Config,
    ) -> Self {
        Self::start_by(&Program::native(), version, kafka, mosquitto, change)
    }

    /// The same with another program than the one for this machine.
    pub fn start_by(
        program: &Program,
        version: &str,
        kafka: &impl Brokers,
        mosquitto: Mosquitto,
        change: impl FnOnce(Config) -> Config,
    ) -> Self {
        let topic = kafka.fresh_topic("telemetry");
        let config = change(Config::usual(version, &mosquitto, kafka, &topic));
        let mark = mosquitto.mark();
        let daemon = Daemon::start_by(program, &config);
        // What is published before the first subscription is nobody's: the protocol says so.
        mosquitto.until_subscribed(FILTER, mark);
        Self {
            mosquitto,
            topic,
            daemon,
        }
    }

    /// Lets devices publish.
    pub fn devices(&self, plan: &Plan) -> Devices {
        Devices::start(&self.mosquitto, plan)
    }

    /// Ends the load, waits until Kafka has all of it, stops the daemon in order, and judges.
    pub fn conclude(mut self, kafka: &impl Brokers, devices: Devices) -> Verdict {
        let sent = devices.finish(ACK_LIMIT);
        self.judge(kafka, &sent)
    }

    /// Waits until Kafka has all that was sent, stops the daemon in order, and judges.
    pub fn judge(&mut self, kafka: &impl Brokers, sent: &Sent) -> Verdict {
        let mut oracle = Oracle::new(kafka, &self.topic);
        oracle.until_all_there(sent, PATIENCE);
        self.daemon.assert_alive();
        self.daemon.terminate();
        let verdict = oracle.verdict(sent);
        eprintln!("{}:\n{verdict}", self.topic);
        verdict
    }
}
