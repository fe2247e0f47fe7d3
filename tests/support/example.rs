//! The shipped examples, run as they are: only addresses and the store are those of the test, and what belongs to another
//! broker alone is left out.

use std::collections::BTreeSet;
use std::path::Path;

use super::config::Config;
use super::kafka::Brokers;
use super::mosquitto::Mosquitto;

/// Settings that only the user's own MQTT broker needs.
const OF_THE_BROKER: [&str; 5] = ["username", "password_file", "ca_file", "cert_file", "key_file"];

/// An example, and what it subscribes to.
#[derive(Debug)]
pub struct Example {
    /// For [`super::daemon::Daemon::start`].
    pub config: Config,
    /// Filters of its routes.
    pub filters: BTreeSet<String>,
}

/// `config/examples/NAME.toml`
pub fn example(name: &str, mosquitto: &Mosquitto, kafka: &impl Brokers) -> Example {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("config/examples/{name}.toml"));
    let text = std::fs::read_to_string(&path).expect("the example is there");
    let (parsed, _) = edgeferry::config::parse(&path, &text).expect("the example loads");
    let filters = parsed
        .routes
        .iter()
        .map(|route| route.from.filter().to_owned())
        .collect();
    let mut table = "";
    let lines = text.lines().filter_map(|line| {
        if line.starts_with('[') {
            table = line;
        }
        let setting = line.split_once(" = ").map_or("", |(name, _)| name);
        match setting {
            "url" => Some(format!("url = \"mqtt://127.0.0.1:{}\"", mosquitto.port())),
            "bootstrap_servers" => Some(format!("bootstrap_servers = [\"{}\"]", kafka.bootstrap())),
            "id" if table == "[gateway]" => None,
            own if OF_THE_BROKER.contains(&own) => None,
            _ if line == "[gateway]" => Some(format!("{line}\nid = \"gw-{name}\"")),
            _ => Some(line.to_owned()),
        }
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    Example {
        config: Config::whole(kafka, &text),
        filters,
    }
}
