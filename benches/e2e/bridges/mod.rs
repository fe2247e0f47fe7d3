//! What carries messages from Mosquitto to Kafka. Measures know only [`Bridge`]: each is a process of its own.

pub mod direct;
mod edgeferry;
pub mod telegraf;

use std::path::Path;

use crate::support::config::Config;
use crate::support::kafka::Kafka;
use crate::support::mosquitto::Mosquitto;
use crate::support::scene::FILTER;
use telegraf::Telegraf;

/// A bridge in its place; not started by being made.
pub trait Bridge {
    /// Starts its process, and waits for nothing.
    fn start(&mut self);
    /// Stops it; the broker keeps its session.
    fn stop(&mut self);
    /// The process, while it runs.
    fn id(&self) -> u32;
    /// Waits until it holds so many messages that Kafka does not have. One without a store holds none.
    fn until_queued(&self, messages: u64) {
        let _: u64 = messages;
    }
}

/// Where a bridge stands.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub kafka: &'a Kafka,
    pub mosquitto: &'a Mosquitto,
    /// Kafka topic.
    pub topic: &'a str,
}

/// Which bridge.
#[derive(Debug, Clone)]
pub struct Kind {
    /// In tables.
    pub name: String,
    program: Program,
}

#[derive(Debug, Clone)]
enum Program {
    Edgeferry(Settings),
    Direct(Settings),
    Telegraf(Telegraf),
}

/// What differs from the shipped settings.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// MQTT 3.1.1 instead of 5.
    pub is_old_mqtt: bool,
    /// Lines of `[[mqtt]]`.
    pub mqtt: Vec<String>,
    /// Lines of `[[route]]`.
    pub route: String,
    /// Routes ahead of that one, for messages that never come.
    pub other_routes: usize,
    /// Ports of brokers beside the first.
    pub other_brokers: Vec<u16>,
    /// The port where Kafka is reached, if not its own.
    pub through: Option<u16>,
    /// Lines of `[queue]`.
    pub queue: Vec<String>,
    /// Lines of `[kafka]`.
    pub kafka: Vec<String>,
    /// How much later every `fdatasync` and `fsync` ends, milliseconds. Only edgeferry has any.
    pub sync_delay_ms: u64,
}

impl Settings {
    /// With a line more in `[queue]`.
    pub fn queue(mut self, line: &str) -> Self {
        self.queue.push(line.into());
        self
    }

    /// With a line more in `[kafka]`.
    pub fn kafka(mut self, line: &str) -> Self {
        self.kafka.push(line.into());
        self
    }

    /// With MQTT 3.1.1.
    pub fn old_mqtt(mut self) -> Self {
        self.is_old_mqtt = true;
        self
    }

    fn config(&self, place: Place<'_>) -> Config {
        let version = if self.is_old_mqtt { "3.1.1" } else { "5" };
        let lines = self.mqtt.join("\n");
        let config = Config::new(place.kafka).broker_with("local", version, place.mosquitto, &lines);
        let config = match self.through {
            Some(port) => config.bootstrap(&format!("127.0.0.1:{port}")),
            None => config,
        };
        let config = self.other_brokers.iter().fold(config, |config, port| {
            config.broker_at(
                &format!("at-{port}"),
                version,
                &format!("mqtt://127.0.0.1:{port}"),
                &lines,
            )
        });
        let config = (0..self.other_routes).fold(config, |config, number| {
            config.route(&format!("plants/{number}/{{device}}/state"), place.topic)
        });
        let config = config.route_with("devices/{device}/telemetry", place.topic, &self.route);
        let config = self.queue.iter().fold(config, |config, line| config.queue(line));
        self.kafka.iter().fold(config, |config, line| config.kafka(line))
    }
}

impl Settings {
    /// The whole file.
    pub fn config_text(&self, place: Place<'_>, store: &Path) -> String {
        self.config(place).text(store)
    }
}

impl Kind {
    pub fn edgeferry(name: &str, settings: Settings) -> Self {
        Self {
            name: name.into(),
            program: Program::Edgeferry(settings),
        }
    }

    /// edgeferry's own source, route and sink without its store.
    pub fn direct(name: &str, settings: Settings) -> Self {
        Self {
            name: name.into(),
            program: Program::Direct(settings),
        }
    }

    pub fn telegraf(program: &Path) -> Self {
        Self {
            name: "Telegraf, disk buffer with sync".into(),
            program: Program::Telegraf(Telegraf::at(program)),
        }
    }

    pub const fn is_edgeferry(&self) -> bool {
        matches!(self.program, Program::Edgeferry(_))
    }

    /// Puts it in a place.
    pub fn at(&self, place: Place<'_>) -> Box<dyn Bridge> {
        match &self.program {
            Program::Edgeferry(settings) => Box::new(edgeferry::Edgeferry::new(settings, place)),
            Program::Direct(settings) => Box::new(direct::Direct::new(settings, place)),
            Program::Telegraf(telegraf) => Box::new(telegraf.at_place(place)),
        }
    }
}

/// Starts a bridge and waits until it has subscribed: what is published before that is nobody's.
pub fn start_subscribed(bridge: &mut dyn Bridge, mosquitto: &Mosquitto) {
    let mark = mosquitto.mark();
    bridge.start();
    mosquitto.until_subscribed(FILTER, mark);
}
