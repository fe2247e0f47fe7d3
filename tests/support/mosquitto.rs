//! A Mosquitto of our own. [`guarded`] has more ways in than the plain one.

pub mod guarded;

use std::net::TcpStream;
use std::time::Duration;

use rustix::process::Signal;

use super::process::{Process, program, read_log};
use super::scratch::Scratch;
use super::{ports, wait};

/// Far more than Mosquitto needs on a busy machine; only failures wait this long.
const LIMIT: Duration = Duration::from_secs(20);

/// Persistent, without a limit on queued messages, open to everybody on one loopback port.
const BASE: &str = "\
allow_anonymous true
persistence true
max_queued_messages 0
user root
log_dest stderr
log_timestamp false
";

/// Connections, subscriptions and trouble. Packets are left out: at full speed they would be the load.
const LOG: &str = "\
log_type error
log_type warning
log_type notice
log_type information
log_type subscribe
";

/// One broker: a port, a store and at most one process.
#[derive(Debug)]
pub struct Mosquitto {
    port: u16,
    folder: Scratch,
    process: Option<Process>,
}

/// A place in the broker's log, to look only at what comes later.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mark(usize);

impl Mosquitto {
    /// A running broker.
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// A running broker with further lines in its configuration.
    pub fn start_with(lines: &str) -> Self {
        let mut broker = Self::absent_behind("", lines);
        broker.restart();
        broker
    }

    /// A broker that is not there yet: its port refuses connections.
    pub fn absent() -> Self {
        Self::absent_behind("", "")
    }

    /// Some settings count only when they come before everything else.
    fn absent_behind(first: &str, lines: &str) -> Self {
        let folder = Scratch::new("mosquitto");
        let port = ports::free();
        std::fs::create_dir(folder.join("store")).expect("the folder is new");
        let store = folder.join("store");
        let text = format!(
            "{first}listener {port} 127.0.0.1\npersistence_location {}/\n{BASE}{LOG}{lines}\n",
            store.display()
        );
        std::fs::write(folder.join("mosquitto.conf"), text).expect("the folder is writable");
        Self {
            port,
            folder,
            process: None,
        }
    }

    /// A running broker with a configuration of its own; told its port and its folder, which has a `store` in it. It logs to standard
    /// error what [`Mosquitto::log`] looks for.
    pub fn start_as(configuration: impl FnOnce(u16, &std::path::Path) -> String) -> Self {
        let mut broker = Self::absent();
        let text = configuration(broker.port, broker.folder.path());
        let text = format!("user root\nlog_dest stderr\nlog_timestamp false\n{LOG}{text}");
        std::fs::write(broker.folder.join("mosquitto.conf"), text).expect("the folder is writable");
        broker.restart();
        broker
    }

    /// Has it write its database, as it does every `autosave_interval`; returns when it has.
    pub fn save(&mut self) {
        const WRITTEN: &str = "Saving in-memory database";
        let before = self.log().matches(WRITTEN).count();
        let process = self.process.as_mut().expect("mosquitto is running");
        process.signal(Signal::USR1);
        wait::until("mosquitto saves its database", LIMIT, || {
            (self.log().matches(WRITTEN).count() > before).then_some(())
        });
        // It has one thread, and answers nobody before it has written.
        drop(super::mqtt::Link::knock(self.port));
    }

    /// The port that clients use.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts it with the store that it left; waits until it accepts connections.
    pub fn restart(&mut self) {
        assert!(self.process.is_none(), "mosquitto is running");
        let config = self.folder.join("mosquitto.conf");
        let mut process = Process::spawn(
            "mosquitto",
            &program("mosquitto"),
            &self.folder.join("log"),
            |command| {
                command.arg("-c").arg(config);
            },
        );
        wait::until("mosquitto accepts connections", LIMIT, || {
            assert!(
                process.ended().is_none(),
                "mosquitto ended at once: {}",
                process.log()
            );
            TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
        self.process = Some(process);
    }

    /// SIGTERM: it saves its store and ends.
    pub fn stop(&mut self) {
        self.process
            .take()
            .expect("mosquitto is running")
            .terminate(LIMIT);
    }

    /// SIGKILL: whatever it had not saved is gone.
    pub fn kill(&mut self) {
        self.process.take().expect("mosquitto is running").kill();
    }

    /// SIGSTOP: connections stay open, and nothing answers.
    pub fn pause(&mut self) {
        self.process
            .as_mut()
            .expect("mosquitto is running")
            .signal(Signal::STOP);
    }

    /// SIGHUP: passwords and rights are read again.
    pub fn reload(&mut self) {
        self.process
            .as_mut()
            .expect("mosquitto is running")
            .signal(Signal::HUP);
    }

    /// SIGCONT
    pub fn resume(&mut self) {
        self.process
            .as_mut()
            .expect("mosquitto is running")
            .signal(Signal::CONT);
    }

    /// What it saved and has read again is deleted; it goes on with what it has in memory.
    pub fn forget_saved(&self) {
        let saved = self.folder.join("store").join("mosquitto.db");
        std::fs::remove_file(saved).expect("it was stopped in order before");
    }

    /// Forgets all sessions and messages; only while it is stopped.
    pub fn wipe(&mut self) {
        assert!(self.process.is_none(), "mosquitto is running");
        let store = self.folder.join("store");
        std::fs::remove_dir_all(&store).expect("our own folder");
        std::fs::create_dir(&store).expect("our own folder");
    }

    /// Everything it has logged, over all starts.
    pub fn log(&self) -> String {
        read_log(&self.folder.join("log"))
    }

    /// The end of the log now.
    pub fn mark(&self) -> Mark {
        Mark(self.log().len())
    }

    /// Waits until somebody has subscribed to `filter` since `mark`: from then on nothing that the broker
    /// takes can miss edgeferry.
    pub fn until_subscribed(&self, filter: &str, mark: Mark) {
        let ending = format!(" 1 {filter}");
        wait::until(&format!("{filter} is subscribed"), LIMIT * 3, || {
            let log = self.log();
            log.get(mark.0..)?
                .lines()
                .any(|line| line.ends_with(&ending))
                .then_some(())
        });
    }

    /// Waits until a client whose id begins with `prefix` has connected since `mark`.
    pub fn until_connected(&self, prefix: &str, mark: Mark) {
        wait::until(&format!("{prefix}… is connected"), LIMIT * 3, || {
            (self.connections(prefix, mark) > 0).then_some(())
        });
    }

    /// The id of a connected client that begins with `prefix`, as the broker saw it; not one that only listens to the broker's own
    /// topics, beside the data.
    pub fn client_id(&self, prefix: &str) -> String {
        let log = self.log();
        let ids = log
            .lines()
            .filter_map(|line| line.split_once(" as ")?.1.split(' ').next());
        ids.rev()
            .find(|id| id.starts_with(prefix) && !id.ends_with("-broker-watch"))
            .expect("such a client has connected")
            .to_owned()
    }

    /// How many connections clients whose id begins with `prefix` have made since `mark`. Those that only listen to the broker's
    /// own topics, beside the data, do not count.
    pub fn connections(&self, prefix: &str, mark: Mark) -> usize {
        let wanted = format!(" as {prefix}");
        let log = self.log();
        let since = log.get(mark.0..).unwrap_or_default();
        since
            .lines()
            .filter(|line| line.starts_with("New client connected") && line.contains(&wanted))
            .filter(|line| !line.contains("-broker-watch"))
            .count()
    }
}
