//! A subscriber that only acknowledges: what the MQTT broker gives, live or from a queue. MQTT 3.1.1, so its broker has to allow a
//! window of its own ([`WINDOW`]).

use std::time::Duration;

use rumqttc::PubAck;
use rumqttc::mqttbytes::v4::Packet;
use serde_json::{Value, json};

use crate::child;
use crate::support::mosquitto::Mosquitto;
use crate::support::mqtt::Link;
use crate::support::process::Process;
use crate::support::scene::FILTER;
use crate::support::scratch::Scratch;
use crate::support::wait;

/// A line for its broker: the window that edgeferry asks for with MQTT 5.
pub const WINDOW: &str = "max_inflight_messages 1000";
/// Acknowledged together: a write for each would be the limit.
const GROUP: usize = 64;
/// How long it looks for more before it acknowledges what it has.
const GLANCE: Duration = Duration::from_millis(1);
/// Only failures wait so long.
const LIMIT: Duration = Duration::from_mins(2);

/// One that is subscribed, seen from the benchmark.
pub struct Subscriber {
    process: Process,
    /// Its log; removed with it.
    _folder: Scratch,
}

impl Subscriber {
    /// Subscribes, and ends when it has `messages`. Its session stays with the broker.
    pub fn start(mosquitto: &Mosquitto, messages: u64) -> Self {
        let mark = mosquitto.mark();
        let subscriber = Self::resume(mosquitto, messages);
        mosquitto.until_subscribed(FILTER, mark);
        subscriber
    }

    /// The same with the session of an earlier one, and what waits in it.
    pub fn resume(mosquitto: &Mosquitto, messages: u64) -> Self {
        let folder = Scratch::new("subscriber");
        let case = json!({ "role": "subscriber", "port": mosquitto.port(), "messages": messages });
        Self {
            process: child::spawn("subscriber", &case, &folder.join("log")),
            _folder: folder,
        }
    }

    /// Waits until it has them all.
    pub fn finish(mut self) {
        let status = wait::until("the subscriber has all messages", LIMIT, || self.process.ended());
        assert!(status.success(), "the subscriber failed: {}", self.process.log());
    }
}

/// The process from inside.
pub fn run(case: &Value) {
    let port = case["port"].as_u64().expect("a number");
    let messages = case["messages"].as_u64().expect("a number");
    let port = u16::try_from(port).expect("a port");
    let mut link = Link::connect(port, "reference", false).expect("the broker is there");
    if !link.session_present() {
        link.subscribe(FILTER);
    }
    let (mut taken, mut owed) = (0, 0);
    while taken < messages || owed > 0 {
        if let Some(Packet::Publish(publish)) = link.receive(GLANCE).expect("the broker stays") {
            link.queue(&Packet::PubAck(PubAck::new(publish.pkid)));
            taken += 1;
            owed += 1;
            if owed < GROUP && taken < messages {
                continue;
            }
        }
        link.flush().expect("the broker stays");
        owed = 0;
    }
}
