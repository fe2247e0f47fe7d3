//! `[[mqtt]]`: one broker.

use std::path::PathBuf;
use std::time::Duration;

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
    /// Host of `url`.
    pub host: String,
    /// Port of `url`; default 1883.
    pub port: u16,
    /// `version`: `"5"` (default) or `"3.1.1"`.
    pub version: Version,
    /// `client_id`; `None` means `edgeferry-<gateway id>`. The lane's name is appended (`<client_id>-<lane>`).
    pub client_id: Option<String>,
    /// `username`
    pub username: Option<String>,
    /// `password_file`: contents without the line end are the password; needs `username`.
    pub password_file: Option<PathBuf>,
    /// `session_expiry`: how long the broker keeps the session while we are away; default 30 days. MQTT 5 only.
    pub session_expiry: Duration,
    /// `receive_maximum`: unacknowledged messages the broker may send; default 1000. MQTT 5 announces it,
    /// with 3.1.1 it is only the number we assume (default 20, Mosquitto's `max_inflight_messages`).
    pub receive_maximum: u16,
    /// `max_packet_size`: largest payload that is forwarded, bytes; default 1 MiB, at most 16 MiB.
    pub max_packet_size: usize,
    /// `keep_alive`; default 30 s, at least 5 s.
    pub keep_alive: Duration,
}
