//! What is compared: one lane without TLS, and what each thing more adds to it.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::config::Config;
use crate::support::kafka::Kafka;
use crate::support::kafka::secure::{self, Secure};
use crate::support::mosquitto::guarded::{self, Guarded};
use crate::support::ports;

/// The brokers on both sides, each with a door with TLS beside the plain one.
pub struct Parts {
    pub mqtt: Guarded,
    /// The one that goes away in an outage.
    pub kafka: Kafka,
    pub secure: Secure,
}

impl Parts {
    pub fn start() -> Self {
        Self {
            mqtt: Guarded::start(),
            kafka: Kafka::start_for_benchmark(),
            secure: Secure::start(),
        }
    }
}

/// A configuration of one lane and one broker with a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// As shipped, but without HTTP.
    Plain,
    /// Without the connection that listens to the broker's `$SYS` topics.
    Unwatched,
    /// With HTTP, and nobody looks.
    Http,
    /// With HTTP, and a browser shows the page.
    Page,
    /// Two lanes, each with half of the messages.
    SecondLane,
    ExactlyOnce,
    /// To the broker and to Kafka.
    Tls,
}

pub const VARIANTS: [Variant; 7] = [
    Variant::Plain,
    Variant::Unwatched,
    Variant::Http,
    Variant::Page,
    Variant::SecondLane,
    Variant::ExactlyOnce,
    Variant::Tls,
];

/// A configuration, and what belongs to it.
pub struct Setup {
    pub config: Config,
    /// MQTT topics that its devices publish to.
    pub topics: &'static [&'static str],
    /// Where its page is.
    pub http: Option<u16>,
}

/// The broker has no work with gateways that have ended.
const SHORT_SESSION: &str = "session_expiry = \"10s\"";
/// Of each lane in turn.
const TOPICS: [&str; 2] = ["devices/{device}/telemetry", "more/{device}/telemetry"];

impl Variant {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "one lane, no TLS",
            Self::Unwatched => "watch_broker = false",
            Self::Http => "HTTP",
            Self::Page => "HTTP, page open",
            Self::SecondLane => "a second lane",
            Self::ExactlyOnce => "exactly-once",
            Self::Tls => "TLS on both sides",
        }
    }

    /// Another gateway for each, because they run at the same time, and because a broker keeps for a former one what the devices
    /// of others publish: it would all come at the start.
    pub fn setup(self, parts: &Parts) -> Setup {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let topic = match self {
            Self::Tls => parts.secure.open_topic("footprint"),
            _ => parts.kafka.fresh_topic("footprint"),
        };
        let config = Config::new(&parts.kafka).gateway(&format!("gw-{number}"));
        let config = match self {
            Self::Tls => config
                .broker_at(
                    "local",
                    "5",
                    &parts.mqtt.url(guarded::Door::Tls),
                    &format!("{}\n{SHORT_SESSION}", ca(&parts.mqtt.authority().ca())),
                )
                .bootstrap(&parts.secure.door(secure::Door::Tls))
                .kafka(&ca(&parts.secure.authority().ca())),
            Self::Unwatched => config.broker_with(
                "local",
                "5",
                &parts.mqtt.mosquitto,
                &format!("watch_broker = false\n{SHORT_SESSION}"),
            ),
            _ => config.broker_with("local", "5", &parts.mqtt.mosquitto, SHORT_SESSION),
        };
        let config = match self {
            Self::SecondLane => config.lane("second", "").route(TOPICS[0], &topic).route_with(
                TOPICS[1],
                &topic,
                "lane = \"second\"",
            ),
            _ => config.route(TOPICS[0], &topic),
        };
        let http = matches!(self, Self::Http | Self::Page).then(ports::free);
        let config = match http {
            Some(port) => config.http(&format!("listen = \"127.0.0.1:{port}\"")),
            None => config,
        };
        Setup {
            config: if self == Self::ExactlyOnce {
                config.exactly_once()
            } else {
                config
            },
            topics: &TOPICS[..if self == Self::SecondLane { 2 } else { 1 }],
            http,
        }
    }
}

fn ca(path: &Path) -> String {
    format!("ca_file = \"{}\"", path.display())
}
