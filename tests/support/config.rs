//! The daemon's configuration file, built line by line.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::kafka::Brokers;
use super::mosquitto::Mosquitto;

/// Gateway id of every daemon in the tests; client ids begin with `edgeferry-gw-test`.
pub const GATEWAY: &str = "gw-test";
/// How the MQTT client id begins that the daemon uses by default.
pub const CLIENT_ID: &str = "edgeferry-gw-test";

/// One configuration; [`Config::text`] is the file.
#[derive(Debug, Clone)]
pub struct Config {
    /// A file that somebody else wrote, with a `data_dir`; nothing can be added to it.
    whole: Option<String>,
    gateway: String,
    data_dir: Option<PathBuf>,
    brokers: Vec<String>,
    bootstrap: String,
    kafka: Vec<String>,
    properties: Vec<(String, String)>,
    queue: Vec<String>,
    dead_letter: Vec<String>,
    log: Vec<String>,
    status: Vec<String>,
    lanes: Vec<String>,
    routes: Vec<String>,
    http: Vec<String>,
}

impl Config {
    /// The smallest useful file without brokers and routes.
    pub fn new(kafka: &impl Brokers) -> Self {
        Self {
            whole: None,
            gateway: GATEWAY.into(),
            data_dir: None,
            brokers: Vec::new(),
            bootstrap: kafka.bootstrap(),
            kafka: Vec::new(),
            properties: Vec::new(),
            queue: Vec::new(),
            dead_letter: Vec::new(),
            log: Vec::new(),
            status: Vec::new(),
            lanes: Vec::new(),
            routes: Vec::new(),
            http: Vec::new(),
        }
    }

    /// A file as it is, but for its `data_dir`.
    pub fn whole(kafka: &impl Brokers, text: &str) -> Self {
        Self {
            whole: Some(text.to_owned()),
            ..Self::new(kafka)
        }
    }

    /// One broker, and `devices/{device}/telemetry` to `topic` by device.
    pub fn usual(version: &str, mosquitto: &Mosquitto, kafka: &impl Brokers, topic: &str) -> Self {
        Self::new(kafka)
            .broker("local", version, mosquitto)
            .route("devices/{device}/telemetry", topic)
    }

    /// Adds an `[[mqtt]]` table.
    pub fn broker(self, name: &str, version: &str, mosquitto: &Mosquitto) -> Self {
        self.broker_with(name, version, mosquitto, "")
    }

    /// Adds an `[[mqtt]]` table with further lines.
    pub fn broker_with(self, name: &str, version: &str, mosquitto: &Mosquitto, lines: &str) -> Self {
        self.broker_at(
            name,
            version,
            &format!("mqtt://127.0.0.1:{}", mosquitto.port()),
            lines,
        )
    }

    /// Adds an `[[mqtt]]` table for any url, with further lines.
    pub fn broker_at(mut self, name: &str, version: &str, url: &str, lines: &str) -> Self {
        self.brokers.push(format!(
            "name = \"{name}\"\nurl = \"{url}\"\nversion = \"{version}\"\n{lines}\n"
        ));
        self
    }

    /// Adds a `[[route]]` table with defaults for everything else.
    pub fn route(self, from: &str, topic: &str) -> Self {
        self.route_with(from, topic, "")
    }

    /// Adds a `[[route]]` table with further lines.
    pub fn route_with(mut self, from: &str, topic: &str, lines: &str) -> Self {
        self.routes
            .push(format!("from = \"{from}\"\ntopic = \"{topic}\"\n{lines}\n"));
        self
    }

    /// Reaches Kafka at another address, or at several with commas between them.
    pub fn bootstrap(mut self, address: &str) -> Self {
        address.clone_into(&mut self.bootstrap);
        self
    }

    /// Adds a line to `[kafka]`.
    pub fn kafka(mut self, line: &str) -> Self {
        self.kafka.push(line.into());
        self
    }

    /// Records and cursor as one transaction.
    pub fn exactly_once(self) -> Self {
        self.kafka("delivery = \"exactly-once\"")
    }

    /// Adds a librdkafka property.
    pub fn property(mut self, name: &str, value: &str) -> Self {
        self.properties.push((name.into(), value.into()));
        self
    }

    /// Lowers librdkafka's own timeouts to a few seconds, so that an outage outlasts every one of them.
    pub fn impatient(self) -> Self {
        self.property("socket.timeout.ms", "5000")
            .property("socket.connection.setup.timeout.ms", "5000")
            .property("request.timeout.ms", "5000")
            .property("topic.metadata.propagation.max.ms", "5000")
            .property("metadata.max.age.ms", "10000")
            .property("reconnect.backoff.max.ms", "1000")
    }

    /// Adds a line to `[queue]`.
    pub fn queue(mut self, line: &str) -> Self {
        self.queue.push(line.into());
        self
    }

    /// Adds a line to `[dead_letter]`.
    pub fn dead_letter(mut self, line: &str) -> Self {
        self.dead_letter.push(line.into());
        self
    }

    /// Adds a line to `[log]`.
    pub fn log(mut self, line: &str) -> Self {
        self.log.push(line.into());
        self
    }

    /// Adds a line to `[status]`.
    pub fn status(mut self, line: &str) -> Self {
        self.status.push(line.into());
        self
    }

    /// Adds a line to `[http]`. Without any there is no HTTP: all daemons of a test run would want the same port.
    pub fn http(mut self, line: &str) -> Self {
        self.http.push(line.into());
        self
    }

    /// Adds a `[[lane]]` table with further lines.
    pub fn lane(mut self, name: &str, lines: &str) -> Self {
        self.lanes.push(format!("name = \"{name}\"\n{lines}\n"));
        self
    }

    /// Another gateway id than the usual one.
    pub fn gateway(mut self, id: &str) -> Self {
        id.clone_into(&mut self.gateway);
        self
    }

    /// Uses the store of another daemon instead of one of its own.
    pub fn data_dir(mut self, path: &Path) -> Self {
        self.data_dir = Some(path.to_path_buf());
        self
    }

    /// The file, with `data_dir` where none was chosen.
    pub fn text(&self, data_dir: &Path) -> String {
        let data_dir = self.data_dir.as_deref().unwrap_or(data_dir);
        if let Some(text) = &self.whole {
            return text.replace("/var/lib/edgeferry", &data_dir.display().to_string());
        }
        let mut text = format!(
            "[gateway]\nid = \"{}\"\ndata_dir = \"{}\"\n\n",
            self.gateway,
            data_dir.display()
        );
        let mut tables = |name: &str, bodies: &[String]| {
            for body in bodies {
                writeln!(text, "[[{name}]]\n{body}").expect("text can grow");
            }
        };
        tables("mqtt", &self.brokers);
        tables("route", &self.routes);
        tables("lane", &self.lanes);
        if !self.queue.is_empty() {
            write!(text, "[queue]\n{}\n\n", self.queue.join("\n")).expect("text can grow");
        }
        if !self.dead_letter.is_empty() {
            write!(text, "[dead_letter]\n{}\n\n", self.dead_letter.join("\n")).expect("text can grow");
        }
        if !self.log.is_empty() {
            write!(text, "[log]\n{}\n\n", self.log.join("\n")).expect("text can grow");
        }
        let http = match self.http.is_empty() {
            true => "listen = \"off\"".to_owned(),
            false => self.http.join("\n"),
        };
        write!(text, "[http]\n{http}\n\n").expect("text can grow");
        if !self.status.is_empty() {
            write!(text, "[status]\n{}\n\n", self.status.join("\n")).expect("text can grow");
        }
        write!(
            text,
            "[kafka]\nbootstrap_servers = [\"{}\"]\n{}\n\n[kafka.properties]\n",
            self.bootstrap.replace(',', "\", \""),
            self.kafka.join("\n")
        )
        .expect("text can grow");
        for (name, value) in &self.properties {
            writeln!(text, "\"{name}\" = \"{value}\"").expect("text can grow");
        }
        text
    }
}
