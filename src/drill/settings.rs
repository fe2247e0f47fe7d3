//! The configuration of the drill's daemon: the user's, with everything taken out that leads to the world outside.
//!
//! A list of what stays, never of what goes: a setting that this list does not know cannot reach a broker, a Kafka, a file or a
//! port, also one that a later version has. What stays is what decides how messages are kept and shaped.

use std::path::Path;

use toml::{Table, Value};

use super::broker::CLIENT;
use crate::settings::Size;

/// The gateway's id in the drill.
pub(super) const GATEWAY: &str = "drill";
/// Of `[[mqtt]]`.
const MQTT: [&str; 7] = [
    "name",
    "version",
    "session_expiry",
    "receive_maximum",
    "max_packet_size",
    "keep_alive",
    "shared_group",
];
/// Of `[kafka]`.
const KAFKA: [&str; 8] = [
    "preset",
    "max_rate",
    "unknown_topic_after",
    "on_partition_change",
    "partitioner",
    "record_timestamp",
    "compression",
    "cursor_topic",
];
/// Of `[kafka.properties]`: how it sends, never where to, as whom, or with which files.
const PROPERTIES: [&str; 12] = [
    "linger.ms",
    "queue.buffering.max.ms",
    "batch.size",
    "batch.num.messages",
    "message.max.bytes",
    "message.copy.max.bytes",
    "compression.level",
    "retry.backoff.ms",
    "retry.backoff.max.ms",
    "request.timeout.ms",
    "socket.nagle.disable",
    "sticky.partitioning.linger.ms",
];
/// Of `[queue]` and `[[lane]]`, apart from the names of key files.
const QUEUE: [&str; 12] = [
    "name",
    "weight",
    "max_rate",
    "max_bytes",
    "min_free_bytes",
    "max_age",
    "on_full",
    "commit_interval",
    "commit_interval_max",
    "flash_budget",
    "compression",
    "key_file",
];
/// Of `[dead_letter]`.
const DEAD_LETTER: [&str; 3] = ["max_bytes", "on_full", "topic"];
/// Tables and settings that have nothing to say in a drill, so that nobody needs to hear that they are left out.
const SILENT: [&str; 4] = ["http", "status", "log", "gateway"];
/// Nobody wants to wait longer for a Kafka that is back.
const RECONNECT_MAX_MS: i64 = 1000;
/// Nobody wants to wait longer for a Kafka that refused.
const KEY_BYTES: usize = 32;

/// Where the daemon of the drill finds things.
#[derive(Debug)]
pub(super) struct Places<'a> {
    /// The scratch directory.
    pub(super) folder: &'a Path,
    /// Of the mock cluster.
    pub(super) bootstrap_servers: &'a str,
}

impl Places<'_> {
    /// The socket of a `[[mqtt]]` table.
    pub(super) fn socket(&self, number: usize) -> std::path::PathBuf {
        self.folder.join(format!("mqtt-{number}"))
    }

    /// The store.
    pub(super) fn data_dir(&self) -> std::path::PathBuf {
        self.folder.join("data")
    }

    /// A key that was made for the drill.
    pub(super) fn key_file(&self) -> std::path::PathBuf {
        self.folder.join("key")
    }
}

/// The text of the configuration, and what is said about the difference.
///
/// # Errors
/// What is wrong with the text, which was read before; or the folder's name is no text.
pub(super) fn derive(text: &str, places: &Places<'_>) -> Result<(String, Vec<String>), String> {
    let mut user: Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    let mut notes = Vec::new();
    let mut own = Table::new();
    own.insert("gateway".to_owned(), gateway(places)?.into());
    let brokers = tables(user.remove("mqtt"))
        .into_iter()
        .enumerate()
        .map(|(number, table)| mqtt(&table, number, places).map(Value::from));
    own.insert(
        "mqtt".to_owned(),
        Value::Array(brokers.collect::<Result<_, _>>()?),
    );
    let kafka_table = table(user.remove("kafka"));
    own.insert("kafka".to_owned(), kafka(&kafka_table, places, &mut notes).into());
    if let Some(routes) = user.remove("route") {
        own.insert("route".to_owned(), routes);
    }
    if let Some(queue) = user.remove("queue") {
        own.insert(
            "queue".to_owned(),
            kept_queue(&table(Some(queue)), places)?.into(),
        );
    }
    if let Some(lanes) = user.remove("lane") {
        let lanes = tables(Some(lanes)).into_iter();
        let lanes = lanes.map(|lane| kept_queue(&lane, places).map(Value::from));
        own.insert("lane".to_owned(), Value::Array(lanes.collect::<Result<_, _>>()?));
    }
    if let Some(letters) = user.remove("dead_letter") {
        own.insert(
            "dead_letter".to_owned(),
            kept(&table(Some(letters)), &DEAD_LETTER).into(),
        );
    }
    let left: Vec<&str> = user
        .keys()
        .map(String::as_str)
        .filter(|name| !SILENT.contains(name))
        .collect();
    if !left.is_empty() {
        notes.push(format!("left out of the drill: {}", left.join(", ")));
    }
    Ok((own.to_string(), notes))
}

/// Bytes of a made-up key.
pub(super) fn key() -> [u8; KEY_BYTES] {
    rand::random()
}

fn gateway(places: &Places<'_>) -> Result<Table, String> {
    let mut own = Table::new();
    own.insert("id".to_owned(), GATEWAY.into());
    own.insert("data_dir".to_owned(), path(&places.data_dir())?);
    Ok(own)
}

fn mqtt(user: &Table, number: usize, places: &Places<'_>) -> Result<Table, String> {
    let mut own = kept(user, &MQTT);
    let socket = places.socket(number);
    let socket = socket
        .to_str()
        .ok_or("the scratch directory's name is not UTF-8")?;
    own.insert("url".to_owned(), format!("unix://{socket}").into());
    own.insert("client_id".to_owned(), CLIENT.into());
    Ok(own)
}

fn kafka(user: &Table, places: &Places<'_>, notes: &mut Vec<String>) -> Table {
    let mut own = kept(user, &KAFKA);
    own.insert(
        "bootstrap_servers".to_owned(),
        Value::Array(vec![places.bootstrap_servers.into()]),
    );
    if user.get("delivery").and_then(Value::as_str) == Some("exactly-once") {
        notes.push(
            "delivery = \"exactly-once\" runs as at-least-once: the mock cluster cannot show what a read_committed reader sees"
                .to_owned(),
        );
    }
    let given = table(user.get("properties").cloned());
    let mut properties = kept(&given, &PROPERTIES);
    let left: Vec<&str> = given
        .keys()
        .map(String::as_str)
        .filter(|name| !PROPERTIES.contains(name))
        .collect();
    if !left.is_empty() {
        notes.push(format!("left out of [kafka.properties]: {}", left.join(", ")));
    }
    properties.insert("reconnect.backoff.max.ms".to_owned(), RECONNECT_MAX_MS.into());
    own.insert("properties".to_owned(), properties.into());
    own
}

fn kept_queue(user: &Table, places: &Places<'_>) -> Result<Table, String> {
    let mut own = kept(user, &QUEUE);
    if let Some(key_file) = own.get_mut("key_file") {
        *key_file = path(&places.key_file())?;
    }
    Ok(own)
}

fn kept(user: &Table, names: &[&str]) -> Table {
    let pairs = user.iter().filter(|(name, _)| names.contains(&name.as_str()));
    pairs.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn path(path: &Path) -> Result<Value, String> {
    let text = path.to_str().ok_or("the scratch directory's name is not UTF-8")?;
    Ok(text.into())
}

fn table(value: Option<Value>) -> Table {
    match value {
        Some(Value::Table(table)) => table,
        _ => Table::new(),
    }
}

fn tables(value: Option<Value>) -> Vec<Table> {
    match value {
        Some(Value::Array(elements)) => elements.into_iter().map(|element| table(Some(element))).collect(),
        _ => Vec::new(),
    }
}

/// For people.
pub(super) fn size(bytes: u64) -> String {
    Size(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config;

    fn derived(text: &str) -> (String, Vec<String>) {
        let places = Places {
            folder: Path::new("/var/tmp/a \"quoted\" folder"),
            bootstrap_servers: "127.0.0.1:1",
        };
        derive(text, &places).unwrap()
    }

    const LIVE: &str = r#"
[gateway]
id = "live"
data_dir = "/var/lib/edgeferry"
[[mqtt]]
name = "one"
url = "mqtts://live.example.com:8883"
client_id = "live-client"
username = "live-user"
password_file = "/etc/live-password"
ca_file = "/etc/live-ca"
cert_file = "/etc/live-cert"
key_file = "/etc/live-key"
status_topic = "live/status"
receive_maximum = 7
[[mqtt]]
name = "two"
url = "unix:///run/live.sock"
version = "3.1.1"
[kafka]
bootstrap_servers = ["live-kafka:9092"]
tls = true
ca_file = "/etc/live-kafka-ca"
sasl = "scram-sha-512"
username = "live-kafka-user"
password_file = "/etc/live-kafka-password"
preset = "throughput"
delivery = "exactly-once"
[kafka.properties]
"linger.ms" = 3
"client.rack" = "live-rack"
"ssl.ca.location" = "/etc/live-location"
[queue]
max_bytes = "32 MiB"
on_full = "drop-oldest"
key_file = "/etc/live-seal-key"
old_key_files = ["/etc/live-old-key"]
[[lane]]
name = "alarms"
key_file = "/etc/live-lane-key"
[[route]]
from = "a/{device}"
topic = "t"
[[route]]
from = "b/{device}"
topic = "t"
lane = "alarms"
[route.add_headers]
x = "{device}"
[dead_letter]
topic = "letters"
"#;

    #[test]
    fn nothing_leads_outside_and_what_shapes_messages_stays() {
        let (text, notes) = derived(LIVE);
        assert!(!text.contains("live"), "{text}");
        assert!(!text.contains("/etc/") && !text.contains("/var/lib"), "{text}");
        let (config, _) = config::parse(Path::new("drill.toml"), &text).unwrap();
        let folder = PathBuf::from("/var/tmp/a \"quoted\" folder");
        assert_eq!(config.gateway.data_dir, folder.join("data"));
        assert_eq!(config.brokers[0].receive_maximum, 7);
        assert_eq!(config.kafka.preset, crate::sink::Preset::Throughput);
        assert_eq!(config.queue.max_bytes, 32 * 1024 * 1024);
        assert_eq!(config.queue.on_full, crate::queue::OnFull::DropOldest);
        assert_eq!(config.queue.key_file, Some(folder.join("key")));
        assert_eq!(config.routes[1].add_headers.len(), 1);
        assert_eq!(config.dead_letter.topic.as_deref(), Some("letters"));
        let notes = notes.join("\n");
        assert!(
            notes.contains("exactly-once") && notes.contains("client.rack, ssl.ca.location"),
            "{notes}"
        );
    }

    #[test]
    fn a_setting_that_is_not_known_here_does_not_stay() {
        let more = LIVE.replace(
            "[queue]",
            "[http]\nlisten = \"0.0.0.0:1\"\n[brand_new]\nurl = \"x\"\n[queue]",
        );
        let (text, notes) = derived(&more);
        assert!(!text.contains("0.0.0.0") && !text.contains("brand_new"), "{text}");
        assert!(notes.iter().any(|note| note.contains("brand_new")), "{notes:?}");
    }

    #[test]
    fn without_a_key_none_is_made_up() {
        let without: String = LIVE
            .lines()
            .filter(|line| !line.contains("key_file"))
            .collect::<Vec<_>>()
            .join("\n");
        let (text, _) = derived(&without);
        assert!(!text.contains("key_file"), "{text}");
    }
}
