//! `packaging/Containerfile` and what `docs/container.md` says about it, by an engine: the commands of the page make and run the image.

use std::path::PathBuf;
use std::time::Duration;

use crate::support::config::Config;
use crate::support::daemon::binary;
use crate::support::devices::{Devices, Plan};
use crate::support::engine::Engine;
use crate::support::kafka::{self, Kafka};
use crate::support::manual::{commands, marked};
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Oracle, PATIENCE};
use crate::support::scene::{ACK_LIMIT, FILTER};
use crate::support::wait;

const LIMIT: Duration = Duration::from_mins(1);
/// Where the recipe's health check asks.
const PORT: &str = "127.0.0.1:8484";
/// The page leaves its commands to it.
const TEST: &str = "tests/parts/systemd/image.rs::\
                    the_recipe_for_containers_makes_a_gateway_that_is_healthy_and_stops_in_order";

/// A gateway of the page, in an engine.
struct Gateway {
    engine: Engine,
    /// What starts it.
    start: String,
}

impl Gateway {
    /// The image is made, and the configuration written.
    fn prepare(config: &Config) -> Option<Self> {
        let engine = Engine::start()?;
        let here = engine.folder();
        let put = |from: PathBuf, to: &str| {
            let to = here.join(to);
            std::fs::create_dir_all(to.parent().expect("it has one")).expect("it is ours");
            std::fs::copy(&from, &to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        };
        let packaging = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("packaging");
        for recipe in ["Containerfile", "Containerfile.dockerignore"] {
            put(packaging.join(recipe), &format!("packaging/{recipe}"));
        }
        put(binary(), "target/release/edgeferry");
        std::fs::create_dir_all(here.join("etc")).expect("it is ours");
        let text = config.text("/var/lib/edgeferry".as_ref());
        std::fs::write(here.join("etc/edgeferry.toml"), text).expect("it is ours");

        let typed = commands(&marked("docs/container.md", TEST));
        let [build, start] = &typed[..] else {
            panic!("one builds and one starts: {typed:?}")
        };
        // Debian's image has what the recipe installs, and a test should not need the mirrors.
        let offline = "podman build --network host --volume /bin/true:/usr/bin/apt-get:ro ";
        let gateway = Self {
            start: start.replace(
                "--volume /etc/edgeferry:",
                &format!("--volume {}/etc:", here.display()),
            ),
            engine,
        };
        gateway.shell(&build.replace("podman build ", offline));
        Some(gateway)
    }

    fn shell(&self, line: &str) {
        let done = self.engine.command("sh").args(["-e", "-c", line]).output();
        let done = done.expect("there is a shell");
        assert!(
            done.status.success(),
            "{line}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
    }

    fn exit_code(&self, container: &str) -> String {
        self.engine
            .run(&["inspect", container, "--format", "{{.State.ExitCode}}"])
    }

    fn log(&self, container: &str) -> String {
        String::from_utf8_lossy(&self.engine.attempt(&["logs", container]).stderr).into_owned()
    }

    fn is_healthy(&self) -> bool {
        self.engine
            .attempt(&["healthcheck", "run", "edgeferry"])
            .status
            .success()
    }
}

#[test]
fn the_recipe_for_containers_makes_a_gateway_that_is_healthy_and_stops_in_order() {
    let (kafka, mosquitto) = (kafka::shared(), Mosquitto::start());
    let topic = kafka.fresh_topic("image");
    let config = Config::usual("5", &mosquitto, kafka, &topic).http(&format!("listen = \"{PORT}\""));
    let Some(gateway) = Gateway::prepare(&config) else {
        return;
    };
    let engine = &gateway.engine;
    let mark = mosquitto.mark();
    gateway.shell(&gateway.start);
    mosquitto.until_subscribed(FILTER, mark);
    wait::until("the recipe's check is content", LIMIT, || {
        gateway.is_healthy().then_some(())
    });
    let said = engine.run(&["exec", "edgeferry", "edgeferry", "reload"]);
    assert!(said.contains("reloaded"), "{said}");
    let rights = engine.run(&["exec", "edgeferry", "grep", "CapEff", "/proc/1/status"]);
    assert!(rights.ends_with("\t0000000000000000"), "{rights}");

    let devices = Devices::start(&mosquitto, &Plan::default());
    devices.until_acked(500, ACK_LIMIT);
    engine.run(&["stop", "edgeferry"]);
    assert_eq!(
        gateway.exit_code("edgeferry"),
        "0",
        "{}",
        gateway.log("edgeferry")
    );
    assert!(!gateway.is_healthy(), "nobody answers there");
    let volume = engine.run(&["volume", "inspect", "edgeferry", "--format", "{{.Mountpoint}}"]);
    let lock = std::fs::metadata(format!("{volume}/lock")).expect("it has a store");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&lock), 10_001);

    engine.run(&["start", "edgeferry"]);
    let sent = devices.finish(ACK_LIMIT);
    let mut oracle = Oracle::new(kafka, &topic);
    oracle.until_all_there(&sent, PATIENCE);
    oracle.verdict(&sent).assert_clean();
}

#[test]
fn a_second_container_on_the_same_volume_ends_with_74() {
    let (kafka, mosquitto) = (Kafka::absent(), Mosquitto::start());
    let config = Config::usual("5", &mosquitto, &kafka, "telemetry").http("listen = \"off\"");
    let Some(gateway) = Gateway::prepare(&config) else {
        return;
    };
    let mark = mosquitto.mark();
    gateway.shell(&gateway.start);
    mosquitto.until_subscribed(FILTER, mark);
    gateway.shell(&gateway.start.replace("--name edgeferry ", "--name second "));
    let ended = gateway
        .engine
        .command("timeout")
        .args(["60", "podman", "wait", "second"])
        .output();
    let ended = ended.expect("podman starts");
    assert!(ended.status.success(), "it goes on: {}", gateway.log("second"));
    assert_eq!(gateway.exit_code("second"), "74", "{}", gateway.log("second"));
}
