//! What the devices did: the yardstick of the oracle.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::support::wait::wall_clock;

/// One message as its device saw it.
#[derive(Debug, Clone, Copy)]
pub struct Sending {
    /// How often it was put on the wire: more than once when a connection broke before the PUBACK.
    pub times: u32,
    /// When it was first sent.
    pub first: SystemTime,
    /// Whether the broker acknowledged it.
    pub acked: bool,
}

/// All that one device sent, by sequence number.
pub type DeviceLog = BTreeMap<u64, Sending>;

/// All that a fleet sent.
#[derive(Debug, Clone, Default)]
pub struct Sent {
    /// MQTT topic with `{device}` and `{seq}` in place.
    pub topic: String,
    /// By device.
    pub devices: BTreeMap<String, DeviceLog>,
}

/// The usual MQTT topic.
pub const TOPIC: &str = "devices/{device}/telemetry";

impl Sent {
    /// Nothing yet, on the usual topic.
    pub fn new() -> Self {
        Self {
            topic: TOPIC.into(),
            devices: BTreeMap::new(),
        }
    }

    /// Notes a message that was sent once and acknowledged.
    pub fn note(&mut self, device: &str, seq: u64) {
        let sending = Sending {
            times: 1,
            first: wall_clock(),
            acked: true,
        };
        self.devices
            .entry(device.into())
            .or_default()
            .insert(seq, sending);
    }

    /// Takes over what others sent.
    pub fn merge(&mut self, other: Self) {
        self.topic = other.topic;
        for (device, log) in other.devices {
            self.devices.entry(device).or_default().extend(log);
        }
    }

    /// The MQTT topic of one message.
    pub fn topic_of(&self, device: &str, seq: u64) -> String {
        fill(&self.topic, device, seq)
    }

    /// Messages that the broker acknowledged.
    pub fn acked(&self) -> impl Iterator<Item = (&str, u64)> {
        self.devices.iter().flat_map(|(device, log)| {
            log.iter()
                .filter(|(_, sending)| sending.acked)
                .map(|(seq, _)| (device.as_str(), *seq))
        })
    }

    /// Messages that were put on the wire more than once.
    pub fn resent(&self) -> usize {
        self.devices
            .values()
            .flat_map(BTreeMap::values)
            .filter(|sending| sending.times > 1)
            .count()
    }

    /// Only messages of which `is_required` is true must arrive; all others still may.
    pub fn require_only(&mut self, is_required: impl Fn(&str, u64) -> bool) {
        for (device, log) in &mut self.devices {
            for (seq, sending) in log {
                sending.acked = is_required(device, *seq);
            }
        }
    }
}

/// The topic with `{device}` and `{seq}` filled in.
pub fn fill(pattern: &str, device: &str, seq: u64) -> String {
    pattern
        .replace("{device}", device)
        .replace("{seq}", &seq.to_string())
}
