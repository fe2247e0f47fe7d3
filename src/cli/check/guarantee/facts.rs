//! What can be seen of the surroundings: this machine, and with `--live` the brokers and Kafka.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::mosquitto::{self, Mosquitto};
use super::place::{self, Place};
use super::unit::{self, Unit};
use crate::clock;
use crate::config::Config;
use crate::ops::certificates;
use crate::ops::state::Certificate;
use crate::sink::admin::Topic;
use crate::source::Capabilities;

/// `systemd-timesyncd` makes this file; see [`crate::clock`].
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";

/// Everything that was seen. What was not looked at, or does not say, is `None` or empty.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Now.
    pub unix_ms: i64,
    /// The file system of `data_dir`.
    pub place: Option<Place>,
    /// Free there for edgeferry.
    pub free_bytes: Option<u64>,
    /// What the store has taken already.
    pub store_bytes: Option<u64>,
    /// systemd's unit.
    pub unit: Option<Unit>,
    /// The Mosquitto of this machine.
    pub local_mosquitto: Option<Mosquitto>,
    /// Whether each broker is on this machine, by place in the file.
    pub local_brokers: Vec<bool>,
    /// What each broker said, by place in the file; with `--live`.
    pub brokers: Vec<Option<Seen>>,
    /// The topics; with `--live`.
    pub topics: Vec<SeenTopic>,
    /// `offsets.retention.minutes`; with `--live` and `exactly-once`.
    pub offsets_retention: Option<Duration>,
    /// Certificates that the file names.
    pub certificates: Vec<Certificate>,
    /// Whether `systemd-timesyncd` has synchronised the clock; `None` where it does not run.
    pub is_clock_synchronised: Option<bool>,
}

/// What a broker said of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// `[[mqtt]] name`
    pub name: String,
    /// How long it keeps a session, when that is less than was asked for (MQTT 5).
    pub session_expiry: Option<Duration>,
    /// The highest QoS that it gives, when that is less than 2 (MQTT 5).
    pub max_qos: Option<u8>,
    /// Messages that it has dropped, for any client.
    pub dropped: Option<u64>,
}

impl Seen {
    /// From its CONNACK, and its own topics.
    pub fn of(name: &str, capabilities: Option<Capabilities>, dropped: Option<u64>) -> Self {
        let said = capabilities.unwrap_or_default();
        Self {
            name: name.to_owned(),
            session_expiry: said.session_expiry,
            max_qos: said.max_qos,
            dropped,
        }
    }
}

/// A topic that is there, and what waits for it.
#[derive(Debug, Clone)]
pub struct SeenTopic {
    /// Its name.
    pub name: String,
    /// As it is.
    pub topic: Topic,
    /// The longest that a message for it may wait: the largest `max_age`; `None` without limit.
    pub longest_wait: Option<Duration>,
}

impl Facts {
    /// Of this machine; connects nowhere.
    pub fn of_this_machine(config: &Config) -> Self {
        let data_dir = existing(&config.gateway.data_dir);
        let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let is_local = |broker: &crate::source::Config| broker.endpoint.is_local();
        let local_brokers: Vec<bool> = config.brokers.iter().map(is_local).collect();
        Self {
            unix_ms: clock::unix_ms(),
            place: place::place(&mountinfo, &data_dir),
            free_bytes: crate::queue::free_bytes(&data_dir).ok(),
            store_bytes: used_by(config),
            unit: unit::of_this_machine(),
            local_mosquitto: mosquitto::of_this_machine(),
            local_brokers,
            brokers: Vec::new(),
            topics: Vec::new(),
            offsets_retention: None,
            certificates: certificates::named(config)
                .iter()
                .map(certificates::read)
                .collect(),
            is_clock_synchronised: Path::new("/run/systemd/timesync")
                .is_dir()
                .then(|| Path::new(SYNCHRONISED).exists()),
        }
    }

    /// What the broker at this place in the file said.
    pub fn broker(&self, index: usize) -> Option<&Seen> {
        self.brokers.get(index)?.as_ref()
    }

    /// The Mosquitto that the broker at this place in the file is, as far as that can be told: the one of this machine.
    pub fn mosquitto(&self, index: usize) -> Option<&Mosquitto> {
        let is_local = self.local_brokers.get(index).copied().unwrap_or(false);
        self.local_mosquitto.as_ref().filter(|_| is_local)
    }
}

/// The part of a path that is there, without links.
fn existing(path: &Path) -> PathBuf {
    let mut above = path.ancestors();
    let found = above.find_map(|above| std::fs::canonicalize(above).ok());
    found.unwrap_or_else(|| PathBuf::from("/"))
}

/// What the lanes' folders take; `None` when there are none to look at.
fn used_by(config: &Config) -> Option<u64> {
    let mut folders = vec![config.gateway.data_dir.clone()];
    let mut bytes = 0_u64;
    // A store has a few dozen files in two levels of folders.
    for _ in 0..4096 {
        let Some(folder) = folders.pop() else { break };
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                let blocks = std::os::unix::fs::MetadataExt::blocks(&metadata);
                bytes = bytes.saturating_add(blocks.saturating_mul(512));
            }
        }
    }
    (bytes > 0).then_some(bytes)
}
