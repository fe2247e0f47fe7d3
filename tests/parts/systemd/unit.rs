//! A unit in a container, by `systemctl` and `journalctl` as an operator has them.

use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::config::Config;
use crate::support::container::Container;
use crate::support::wait;

/// What a unit needs to start, fail or restart on a busy machine.
pub const LIMIT: Duration = Duration::from_mins(1);

/// `edgeferry.service` or an instance of `edgeferry@.service`.
#[derive(Debug)]
pub struct Unit<'a> {
    /// The system that it belongs to.
    pub machine: &'a Container,
    /// With its ending.
    pub name: String,
    /// Its configuration file, in the system.
    pub config: String,
    /// Its `data_dir`, in the system.
    pub store: String,
}

impl<'a> Unit<'a> {
    /// The one gateway of a machine.
    pub fn only(machine: &'a Container) -> Self {
        Self {
            machine,
            name: "edgeferry.service".into(),
            config: "/etc/edgeferry/edgeferry.toml".into(),
            store: "/var/lib/edgeferry".into(),
        }
    }

    /// One of several.
    pub fn instance(machine: &'a Container, name: &str) -> Self {
        Self {
            machine,
            name: format!("edgeferry@{name}.service"),
            config: format!("/etc/edgeferry/{name}.toml"),
            store: format!("/var/lib/edgeferry-{name}"),
        }
    }

    /// Writes its configuration file.
    pub fn configure(&self, config: &Config) {
        self.machine
            .write(&self.config, &config.text(self.store.as_ref()));
    }

    /// Adds lines to `[Service]`, in the place of former ones.
    pub fn drop_in(&self, lines: &str) {
        let path = format!("/etc/systemd/system/{}.d/test.conf", self.name);
        self.machine.write(&path, &format!("[Service]\n{lines}\n"));
        self.machine.run(&["systemctl", "daemon-reload"]);
    }

    /// Starts it; when this returns it has said that it is ready.
    pub fn start(&self) {
        let output = self.try_start();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(self.property("ActiveState"), "active");
    }

    /// Starts it, or not.
    pub fn try_start(&self) -> Output {
        self.machine.try_run(&["systemctl", "start", &self.name])
    }

    /// Stops it; how long that took.
    pub fn stop(&self) -> Duration {
        let asked = Instant::now();
        self.machine.run(&["systemctl", "stop", &self.name]);
        asked.elapsed()
    }

    /// `systemctl reload`; it must succeed.
    pub fn reload(&self) {
        self.machine.run(&["systemctl", "reload", &self.name]);
    }

    /// `systemctl show` of one property.
    pub fn property(&self, name: &str) -> String {
        let option = format!("--property={name}");
        let said = self
            .machine
            .run(&["systemctl", "show", "--value", &option, &self.name]);
        said.trim().to_owned()
    }

    /// Waits until a property is what `wanted` says.
    pub fn until(&self, name: &str, wanted: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        let found = wait::or_give_up(LIMIT, || {
            last = self.property(name);
            wanted(&last).then(|| last.clone())
        });
        found.unwrap_or_else(|| panic!("{}: {name} is still {last:?}\n{}", self.name, self.log()))
    }

    /// How its main process ended last, or whether it runs.
    pub fn main_status(&self) -> String {
        self.property("ExecMainStatus")
    }

    /// The entries of the journal about it.
    pub fn journal(&self) -> Vec<Value> {
        // What was sent a moment ago is there as well.
        self.machine.run(&["journalctl", "--sync"]);
        let said = self
            .machine
            .run(&["journalctl", "--output=json", "--all", "--unit", &self.name]);
        let entries = said.lines().map(serde_json::from_str);
        entries.map(|entry| entry.expect("JSON")).collect()
    }

    /// The same as text, for a look.
    pub fn log(&self) -> String {
        let line = |entry: &Value| format!("{}\n", entry["MESSAGE"].as_str().unwrap_or_default());
        self.journal().iter().map(line).collect()
    }

    /// Runs the program in the system with this unit's configuration, as a user.
    pub fn cli(&self, user: &str, arguments: &[&str]) -> Output {
        let mut command = vec!["setpriv", "--reuid", user, "--regid", user, "--clear-groups"];
        command.push("edgeferry");
        command.extend(arguments);
        command.extend(["--config", &self.config]);
        self.machine.try_run(&command)
    }
}

impl Drop for Unit<'_> {
    /// A daemon without its brokers would only disturb the other tests.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = self.machine.attempt(&["journalctl", "--unit", &self.name]);
            let said = said.map(|said| said.stdout).unwrap_or_default();
            eprintln!("{}", String::from_utf8_lossy(&said));
        }
        drop(
            self.machine
                .attempt(&["systemctl", "stop", "--no-block", &self.name]),
        );
    }
}
