//! `[[mqtt]]`: one broker.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::settings::{Period, Problems, Section, Size, is_plain_name};

mod endpoint;
mod security;
pub mod status_topic;

pub use endpoint::{Endpoint, Server};
pub use security::{ClientCertificate, Tls};

const DEFAULT_SESSION_EXPIRY: Period = Period::secs(30 * 24 * 60 * 60);
const DEFAULT_RECEIVE_MAXIMUM: u64 = 1000;
/// Mosquitto's `max_inflight_messages`.
const ASSUMED_RECEIVE_MAXIMUM: u64 = 20;
const DEFAULT_MAX_PACKET_SIZE: Size = Size::mib(1);
const MAX_PACKET_SIZE: RangeInclusive<Size> = Size::kib(1)..=Size::mib(16);
const DEFAULT_KEEP_ALIVE: Period = Period::secs(30);
/// From what a slow link needs for an answer, to what the protocol's 16 bits of seconds can say.
const KEEP_ALIVE: RangeInclusive<Period> = Period::secs(5)..=Period::secs(18 * 60 * 60);

/// Groups in which the FIWARE IoT Agents for JSON and for Ultralight 2.0 share their subscriptions.
const TAKEN_GROUPS: [&str; 2] = ["json", "ul"];

/// MQTT protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 3.1.1
    V3_1_1,
    /// 5
    V5,
}

/// `[[mqtt]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `name`, unique; default `"default"` for a single broker.
    pub name: String,
    /// `url`
    pub endpoint: Endpoint,
    /// `ca_file`, `cert_file`, `key_file`; `None` without TLS.
    pub tls: Option<Tls>,
    /// `version`: `"5"` (default) or `"3.1.1"`.
    pub version: Version,
    /// `client_id`; `None` means `edgeferry-<gateway id>`. The lane's name is appended (`<client_id>-<lane>`).
    pub client_id: Option<String>,
    /// `username`
    pub username: Option<String>,
    /// `password_file`: contents without the line end are the password; needs `username`.
    pub password_file: Option<PathBuf>,
    /// `session_expiry`: how long the broker keeps the session while we are away; default 30 days, whole
    /// seconds, 1 s to 2³² - 1 s. MQTT 5 only.
    pub session_expiry: Duration,
    /// `receive_maximum`: unacknowledged messages the broker may send; default 1000. MQTT 5 announces it,
    /// with 3.1.1 it is only the number we assume (default 20, Mosquitto's `max_inflight_messages`).
    pub receive_maximum: u16,
    /// `max_packet_size`: largest payload that is forwarded, bytes; default 1 MiB, 1 KiB to 16 MiB.
    pub max_packet_size: usize,
    /// `keep_alive`; default 30 s, whole seconds, 5 s to 18 h.
    pub keep_alive: Duration,
    /// `status_topic`: where the gateway says how it is, `{gateway}` still in place; default nowhere.
    pub status_topic: Option<String>,
    /// `watch_broker`: a connection of its own listens to what the broker says it dropped (`$SYS`); default true.
    pub watch_broker: bool,
    /// `shared_group`: all filters are subscribed as `$share/<group>/<filter>` (MQTT 5, 4.8.2).
    pub shared_group: Option<String>,
}

impl Config {
    /// What the client ids of the gateway's connections begin with; `-` and a lane's name come behind it.
    #[must_use]
    pub fn client_id_of(&self, gateway: &str) -> String {
        let chosen = self.client_id.clone();
        chosen.unwrap_or_else(|| format!("edgeferry-{gateway}"))
    }

    /// It is the same table, or another one for the same broker.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        self.name == other.name || self.endpoint.is_same_place(&other.endpoint)
    }

    /// Whoever was let in with one is let in with the other: the same place, and the same proof of who comes.
    pub(crate) fn is_same_way_in(&self, other: &Self) -> bool {
        let way_in = |config: &Self| {
            (
                config.version,
                config.tls.clone(),
                config.client_id.clone(),
                config.username.clone(),
                config.password_file.clone(),
            )
        };
        self.endpoint == other.endpoint && way_in(self) == way_in(other)
    }
}

/// `[[mqtt]]` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Raw {
    name: Option<String>,
    url: Option<String>,
    version: Option<String>,
    client_id: Option<String>,
    username: Option<String>,
    password_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    session_expiry: Option<Period>,
    receive_maximum: Option<u64>,
    max_packet_size: Option<Size>,
    keep_alive: Option<Period>,
    status_topic: Option<String>,
    watch_broker: Option<bool>,
    shared_group: Option<String>,
}

/// Checks all `[[mqtt]]` tables. Every table gives a configuration, so that routes can be checked against
/// it; where there is a problem, it holds a stand-in.
pub(crate) fn resolve(tables: Vec<Raw>, problems: &mut Problems<'_>) -> Vec<Config> {
    if tables.is_empty() {
        problems.section("").error(
            "mqtt",
            "is missing",
            "write a table [[mqtt]] with the url of a broker",
        );
    }
    let only = tables.len() == 1;
    let mut brokers: Vec<Config> = Vec::new();
    for (index, raw) in tables.into_iter().enumerate() {
        let mut section = problems.section(format!("mqtt[{index}]"));
        let broker = resolve_one(raw, only, &mut section);
        for (earlier, other) in brokers.iter().enumerate() {
            check_apart(&broker, other, earlier, &mut section);
        }
        brokers.push(broker);
    }
    brokers
}

fn resolve_one(raw: Raw, only: bool, section: &mut Section<'_, '_>) -> Config {
    check_texts(&raw, section);
    let right = "write for example url = \"mqtt://127.0.0.1:1883\"";
    let url = section.required("url", raw.url.clone(), right);
    let endpoint = url.map_or_else(Endpoint::unknown, |url| endpoint::resolve(&url, section));
    let tls = security::resolve(&raw, &endpoint, section);
    security::warn_of_clear_text(&raw, &endpoint, section);
    let versions = [("5", Version::V5), ("3.1.1", Version::V3_1_1)];
    let version = section.one_of("version", raw.version.as_deref(), &versions, &[], Version::V5);
    let max_packet_size = section.within(
        "max_packet_size",
        raw.max_packet_size,
        DEFAULT_MAX_PACKET_SIZE,
        MAX_PACKET_SIZE,
    );
    let keep_alive = section.within("keep_alive", raw.keep_alive, DEFAULT_KEEP_ALIVE, KEEP_ALIVE);
    Config {
        name: resolve_name(raw.name, only, section),
        endpoint,
        tls,
        version,
        client_id: raw.client_id,
        username: raw.username,
        password_file: raw.password_file,
        session_expiry: resolve_session_expiry(raw.session_expiry, version, section),
        receive_maximum: resolve_receive_maximum(raw.receive_maximum, version, section),
        max_packet_size: usize::try_from(max_packet_size.0).unwrap_or(usize::MAX),
        keep_alive: keep_alive.whole_secs(),
        status_topic: status_topic::resolve(raw.status_topic, section),
        watch_broker: raw.watch_broker.unwrap_or(true),
        shared_group: resolve_shared_group(raw.shared_group, section),
    }
}

fn resolve_name(name: Option<String>, only: bool, section: &mut Section<'_, '_>) -> String {
    if name.is_none() && only {
        return "default".to_owned();
    }
    let right = "with several [[mqtt]] tables each needs a name of its own";
    let name = section.required("name", name, right).unwrap_or_default();
    if !is_plain_name(&name) {
        section.error(
            "name",
            format!("{name:?} is no name"),
            "use letters, digits, '.', '_' and '-'",
        );
    }
    name
}

fn check_texts(raw: &Raw, section: &mut Section<'_, '_>) {
    if raw.password_file.is_some() && raw.username.is_none() {
        section.error(
            "username",
            "is missing",
            "MQTT sends a password only together with a user name",
        );
    }
    for (key, value) in [
        ("client_id", &raw.client_id),
        ("username", &raw.username),
        ("name", &raw.name),
    ] {
        let is_bad = |text: &String| text.is_empty() || text.contains('\0');
        if value.as_ref().is_some_and(is_bad) {
            section.error(
                key,
                "is empty or contains the character U+0000",
                "leave it out for the default",
            );
        }
    }
}

fn resolve_session_expiry(
    value: Option<Period>,
    version: Version,
    section: &mut Section<'_, '_>,
) -> Duration {
    if value.is_some() && version == Version::V3_1_1 {
        let what = "has no effect with version = \"3.1.1\"";
        section.warn(
            "session_expiry",
            what,
            "the broker alone decides there how long it keeps the session",
        );
    }
    let bounds = Period::secs(1)..=Period::secs(u64::from(u32::MAX));
    section
        .within("session_expiry", value, DEFAULT_SESSION_EXPIRY, bounds)
        .whole_secs()
}

fn resolve_receive_maximum(value: Option<u64>, version: Version, section: &mut Section<'_, '_>) -> u16 {
    let default = match version {
        Version::V5 => DEFAULT_RECEIVE_MAXIMUM,
        Version::V3_1_1 => ASSUMED_RECEIVE_MAXIMUM,
    };
    let value = section.within("receive_maximum", value, default, 1..=u64::from(u16::MAX));
    u16::try_from(value).unwrap_or(u16::MAX)
}

/// Several gateways in one group share the messages: each goes to one of them.
fn resolve_shared_group(group: Option<String>, section: &mut Section<'_, '_>) -> Option<String> {
    let group = group?;
    if TAKEN_GROUPS.iter().any(|taken| group.eq_ignore_ascii_case(taken)) {
        let wrong = format!(
            "{group:?} is the group of the FIWARE IoT Agents: edgeferry would take their messages away"
        );
        section.error(
            "shared_group",
            wrong,
            "write a name of your own, for example \"edgeferry\"",
        );
        return None;
    }
    if group.is_empty() || group.contains(['/', '+', '#', '\0']) {
        section.error(
            "shared_group",
            format!("{group:?} is no name of a group"),
            "write one or more characters other than '/', '+', '#' and U+0000, for example \"edgeferry\"",
        );
        return None;
    }
    section.warn(
        "shared_group",
        "a device's messages are spread over the gateways of the group, and come to Kafka in no order between them",
        "leave it out where the order of a device's messages matters",
    );
    Some(group)
}

/// Refuses what two brokers cannot share.
fn check_apart(broker: &Config, other: &Config, earlier: usize, section: &mut Section<'_, '_>) {
    if broker.name == other.name {
        let right = "give each [[mqtt]] table a name of its own";
        section.error(
            "name",
            format!("{:?} is the name of mqtt[{earlier}] already", broker.name),
            right,
        );
    }
    let same_place = broker.endpoint.is_same_place(&other.endpoint);
    if same_place && broker.client_id == other.client_id && !broker.endpoint.is_unknown() {
        let wrong = format!("mqtt[{earlier}] is the same client on the same broker");
        section.error(
            "client_id",
            wrong,
            "the broker would end one connection for the other: use two client ids",
        );
    }
}
