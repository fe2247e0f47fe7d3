//! Telegraf, the peer that Go's ordinary client can install: its MQTT consumer, a disk buffer with sync, and its Kafka output, set for
//! the least loss it knows.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use super::{Bridge, Place};
use crate::support::process::Process;
use crate::support::scene::FILTER;
use crate::support::scratch::Scratch;

/// It writes what it has before it ends.
const STOP_LIMIT: Duration = Duration::from_mins(1);

/// The program.
#[derive(Debug, Clone)]
pub struct Telegraf(PathBuf);

impl Telegraf {
    pub fn at(program: &Path) -> Self {
        Self(program.to_owned())
    }

    pub fn at_place(&self, place: Place<'_>) -> Running {
        let folder = Scratch::new("telegraf");
        let text = configuration(place, &folder.join("buffer"));
        std::fs::write(folder.join("telegraf.conf"), text).expect("the folder is writable");
        Running {
            program: self.0.clone(),
            folder,
            process: None,
        }
    }
}

/// In its place.
pub struct Running {
    program: PathBuf,
    folder: Scratch,
    process: Option<Process>,
}

impl Bridge for Running {
    fn start(&mut self) {
        let config = self.folder.join("telegraf.conf");
        let log = self.folder.join("log");
        self.process = Some(Process::spawn("telegraf", &self.program, &log, |command| {
            command.arg("--config").arg(config);
        }));
    }

    fn stop(&mut self) {
        let process = self.process.take().expect("it runs");
        let _: ExitStatus = process.terminate(STOP_LIMIT);
    }

    fn id(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }
}

/// As it was measured before (`docs/benchmarks.md` has the settings): a payload becomes a field and comes out as it was, the device is
/// the key, a batch is the broker's window, every write to the buffer is synced (1.37 always does; later ones are told with `buffer_disk_sync`),
/// and an acknowledgement waits for Kafka.
fn configuration(place: Place<'_>, buffer: &Path) -> String {
    format!(
        r#"
[agent]
  interval = "1s"
  flush_interval = "1s"
  metric_batch_size = 20
  metric_buffer_limit = 1000000
  buffer_strategy = "disk"
  buffer_directory = "{buffer}"
  omit_hostname = true

[[inputs.mqtt_consumer]]
  servers = ["tcp://127.0.0.1:{port}"]
  topics = ["{FILTER}"]
  qos = 1
  client_id = "telegraf"
  persistent_session = true
  max_undelivered_messages = 1000
  data_format = "value"
  data_type = "string"
  [[inputs.mqtt_consumer.topic_parsing]]
    topic = "devices/+/telemetry"
    tags = "_/device/_"

[[outputs.kafka]]
  brokers = ["{kafka}"]
  topic = "{topic}"
  routing_tag = "device"
  required_acks = -1
  idempotent_writes = true
  data_format = "template"
  template = '{{{{ .Field "value" }}}}'
"#,
        buffer = buffer.display(),
        port = place.mosquitto.port(),
        kafka = place.kafka.bootstrap(),
        topic = place.topic,
    )
}
