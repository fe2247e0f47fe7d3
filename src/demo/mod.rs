//! `edgeferry demo`: the real pipeline between an MQTT broker and a mock Kafka cluster in this process.
//!
//! Only the two ends are stand-ins. Between them runs the daemon as `edgeferry run` runs it, from a configuration
//! text and with a store of its own in a temporary folder.

mod broker;
mod devices;
mod kafka;
mod pipeline;
mod screen;
mod story;
mod tally;

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::app::AppError;
use crate::config::{self, Config, LoadError};
use crate::exit::Exit;
use crate::interrupt::{Interrupt, Interrupted};
use crate::mock::Cluster;
use crate::ops::logging;
use broker::Broker;
use devices::Fleet;
use kafka::Reader;
use pipeline::Pipeline;
use screen::Screen;
use story::{Outcome, Scene, Story};

/// Name of the configuration in problems; there is no such file.
const CONFIG_NAME: &str = "demo.toml";

/// Why the demo could not go on.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    /// A folder, a thread or a port cannot be had, or nobody reads what is shown.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The MQTT broker in this process does not come up.
    #[error("the MQTT broker in this process does not start")]
    Broker,
    /// The mock cluster or its reader.
    #[error("mock Kafka cluster: {0}")]
    Kafka(#[from] rdkafka::error::KafkaError),
    /// The demo's own configuration.
    #[error(transparent)]
    Config(#[from] LoadError),
    /// The path of the temporary folder cannot be written in TOML.
    #[error("the path of the temporary folder is not UTF-8")]
    FolderName,
    /// The pipeline.
    #[error(transparent)]
    App(#[from] AppError),
    /// Nothing got through before the start.
    #[error("no message found its way through within {0:?}")]
    NoWayThrough(std::time::Duration),
    /// Ctrl-C or SIGTERM, or the pipeline ended.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl DemoError {
    /// Whether the reader of what is shown has gone, as `head` does.
    fn is_closed_output(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// Runs the demo; with `keep` it stays after its table until it is interrupted.
#[must_use]
pub fn run(keep: bool) -> Exit {
    logging::init_quiet();
    match show(keep) {
        Ok(exit) => exit,
        Err(error) if error.is_closed_output() => Exit::Stopped,
        Err(error) => {
            tracing::error!(%error, "the demo cannot go on");
            Exit::Failure
        }
    }
}

/// What is started later ends earlier, also on an error: the folder goes last.
fn show(keep: bool) -> Result<Exit, DemoError> {
    let mut screen = Screen::new(io::stdout().lock());
    let interrupt = Arc::new(Interrupt::default());
    let folder = tempfile::Builder::new().prefix("edgeferry-demo-").tempdir()?;
    let broker = Broker::start()?;
    let cluster = Cluster::start([kafka::TOPIC], kafka::PARTITIONS)?;
    let config = configuration(folder.path(), &broker, &cluster)?;
    let pipeline = Pipeline::start(config, Arc::clone(&interrupt))?;
    let reader = Reader::start(&cluster.bootstrap_servers(), devices::names())?;
    let view = pipeline.view().clone();
    let fleet = Fleet::start(broker.address(), move || view.stored() > 0)?;
    let scene = Scene {
        broker: &broker,
        cluster: &cluster,
        view: pipeline.view(),
        look: pipeline.look(),
        fleet: &fleet,
        reader: &reader,
        interrupt: &interrupt,
    };
    let told = Story::new(scene, &mut screen).tell(keep);
    fleet.stop();
    // What waits can still leave, so that the pipeline stops at once.
    cluster.bring_back()?;
    pipeline.stop()?;
    match told {
        Ok(Outcome::Complete) => Ok(Exit::Stopped),
        Ok(Outcome::Missing) => Ok(Exit::Failure),
        Err(DemoError::Interrupted(_)) => {
            screen.say("Stopped.")?;
            Ok(Exit::Stopped)
        }
        Err(error) => Err(error),
    }
}

/// Read as `edgeferry run` reads its file.
fn configuration(folder: &Path, broker: &Broker, cluster: &Cluster) -> Result<Config, DemoError> {
    let text = configuration_text(folder, broker, cluster)?;
    let (config, warnings) = config::parse(Path::new(CONFIG_NAME), &text)?;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    Ok(config)
}

/// What a person would write.
fn configuration_text(folder: &Path, broker: &Broker, cluster: &Cluster) -> Result<String, DemoError> {
    let folder = folder.to_str().ok_or(DemoError::FolderName)?;
    Ok(format!(
        r#"
[gateway]
id = "demo"
data_dir = {data_dir}

[[mqtt]]
url = "mqtt://{broker}"
version = "3.1.1"
receive_maximum = {inflight}

[[route]]
from = "{from}"
topic = "{topic}"

[kafka]
bootstrap_servers = ["{bootstrap_servers}"]

[http]
listen = "off"

[kafka.properties]
# Nobody wants to watch a longer pause.
"reconnect.backoff.max.ms" = 1000
"#,
        // A JSON string is a TOML string.
        data_dir = serde_json::Value::from(folder),
        broker = broker.address(),
        inflight = broker::MAX_INFLIGHT,
        from = devices::topic("{device}"),
        topic = kafka::TOPIC,
        bootstrap_servers = cluster.bootstrap_servers(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_one_that_loads_without_warnings() {
        let broker = Broker::start().unwrap();
        let cluster = Cluster::start([kafka::TOPIC], kafka::PARTITIONS).unwrap();
        let folder = Path::new("/tmp/a \"quoted\" folder");
        let text = configuration_text(folder, &broker, &cluster).unwrap();
        let (config, warnings) = config::parse(Path::new(CONFIG_NAME), &text).unwrap();
        assert_eq!(warnings, []);
        assert_eq!(config.gateway.data_dir, folder);
        let server = config.brokers[0].endpoint.server().map(|server| server.port);
        assert_eq!(server, Some(broker.address().port()));
        assert_eq!(config.kafka.bootstrap_servers, [cluster.bootstrap_servers()]);
    }
}
