//! The daemon as a process: the binary that cargo built, a configuration file, a store.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use super::config::Config;
use super::notify::Notify;
use super::proc_stats::Stats;
use super::process::{Process, read_log};
use super::scratch::Scratch;
use super::wait;

/// Ready means that the store is open; neither MQTT nor Kafka has to be there for that.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// Below systemd's default `TimeoutStopSec` of 90 s.
pub const STOP_LIMIT: Duration = Duration::from_secs(45);

/// `edgeferry run --config FILE` and all that it keeps between starts.
#[derive(Debug)]
pub struct Daemon {
    folder: Scratch,
    notify: Notify,
    process: Option<Process>,
    peak_rss: u64,
}

impl Daemon {
    /// Starts it and waits until it says that it is ready.
    pub fn start(config: &Config) -> Self {
        let mut daemon = Self::configured(config);
        daemon.restart();
        daemon
    }

    /// Starts it with a configuration or a store that it must refuse: its exit status and what it said.
    pub fn refused(config: &Config) -> (ExitStatus, String) {
        let mut daemon = Self::configured(config);
        daemon.launch();
        let process = daemon.process.as_mut().expect("it was launched");
        let status = wait::until("edgeferry refuses to start", READY_LIMIT, || process.ended());
        (status, daemon.log())
    }

    fn configured(config: &Config) -> Self {
        let folder = Scratch::new("daemon");
        std::fs::write(folder.join("edgeferry.toml"), config.text(&folder.join("store")))
            .expect("the folder is writable");
        Self {
            folder,
            notify: Notify::listen(),
            process: None,
            peak_rss: 0,
        }
    }

    /// Starts it again on the same store and waits until it is ready.
    pub fn restart(&mut self) {
        let ready = self.notify.count("READY=1");
        self.launch();
        let process = self.process.as_mut().expect("it was launched");
        wait::until("edgeferry is ready", READY_LIMIT, || {
            let ended = process.ended();
            assert!(ended.is_none(), "edgeferry ended ({ended:?}) before it was ready");
            (self.notify.count("READY=1") > ready).then_some(())
        });
    }

    /// Starts it again and does not wait for anything.
    pub fn launch(&mut self) {
        assert!(self.process.is_none(), "edgeferry is running");
        let binary = Path::new(env!("CARGO_BIN_EXE_edgeferry"));
        let config = self.folder.join("edgeferry.toml");
        let socket = self.notify.path();
        self.process = Some(Process::spawn(
            "edgeferry",
            binary,
            &self.folder.join("stderr"),
            |command| {
                command
                    .arg("run")
                    .arg("--config")
                    .arg(config)
                    .env("NOTIFY_SOCKET", socket);
            },
        ));
    }

    /// SIGTERM; it must exit with 0 within [`STOP_LIMIT`].
    pub fn terminate(&mut self) {
        self.sample();
        let status = self
            .process
            .take()
            .expect("edgeferry is running")
            .terminate(STOP_LIMIT);
        assert_eq!(
            status.code(),
            Some(0),
            "asked to stop, edgeferry must exit with 0: {status}"
        );
    }

    /// SIGKILL
    pub fn kill(&mut self) {
        self.sample();
        self.process.take().expect("edgeferry is running").kill();
    }

    /// Fails unless it runs.
    pub fn assert_alive(&mut self) {
        let ended = self.process.as_mut().expect("edgeferry was started").ended();
        assert!(ended.is_none(), "edgeferry ended: {ended:?}");
    }

    /// What it has written to standard error, over all starts.
    pub fn log(&self) -> String {
        read_log(&self.folder.join("stderr"))
    }

    /// What it told systemd.
    pub fn notify(&self) -> &Notify {
        &self.notify
    }

    /// The folder of its store.
    pub fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.as_ref().expect("edgeferry is running").id()
    }

    /// CPU and disk of the running process so far.
    pub fn stats(&self) -> Stats {
        Stats::of(self.id()).expect("edgeferry is running")
    }

    /// Largest resident size over all starts, bytes. A killed process is looked at just before.
    pub fn peak_rss(&mut self) -> u64 {
        self.sample();
        self.peak_rss
    }

    fn sample(&mut self) {
        let stats = self.process.as_ref().and_then(|process| Stats::of(process.id()));
        self.peak_rss = self.peak_rss.max(stats.unwrap_or_default().peak_rss);
    }
}
