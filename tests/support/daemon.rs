//! The daemon as a process: a binary, a configuration file, a store.
//!
//! The binary is the one that cargo built beside the tests, unless `EDGEFERRY_BIN` names another one: `./dev kills`
//! names the release binary. [`super::program`] also has those of other processors.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::config::Config;
use super::notify::Notify;
use super::proc_stats::{self, MemoryWatch, Stats};
use super::process::{Process, program, read_log};
use super::program::Program;
use super::scratch::Scratch;
use super::wait;

/// Ready means that the store is open; neither MQTT nor Kafka has to be there for that.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// Below systemd's default `TimeoutStopSec` of 90 s.
pub const STOP_LIMIT: Duration = Duration::from_secs(45);

/// What a gateway can spare, with one lane and without TLS. Judged with a release binary only, here and by the
/// benchmark.
const RSS_LIMIT_BYTES: u64 = 40_000_000;
/// That without the program file, of which the release binary maps about 8 MB. A debug binary maps more than twice of it,
/// which says nothing about a gateway; heap and stacks do.
const ANONYMOUS_LIMIT_BYTES: u64 = 32_000_000;

/// `edgeferry run --config FILE` and all that it keeps between starts.
#[derive(Debug)]
pub struct Daemon {
    program: Program,
    folder: Scratch,
    notify: Notify,
    environment: Vec<(&'static str, String)>,
    /// The network namespace that it runs in, unless it is ours.
    namespace: Option<String>,
    /// Faults on order, for the next start alone.
    fault: Option<(&'static str, String)>,
    /// Ends before the process does, so that it never looks at another one.
    watch: Option<MemoryWatch>,
    process: Option<Process>,
    peak_rss: u64,
    peak_anonymous: Arc<AtomicU64>,
}

impl Daemon {
    /// Starts it and waits until it says that it is ready.
    pub fn start(config: &Config) -> Self {
        Self::start_by(&Program::native(), config)
    }

    /// The same with another program than the one for this machine.
    pub fn start_by(program: &Program, config: &Config) -> Self {
        let mut daemon = Self::configured(config);
        daemon.program = program.clone();
        daemon.restart();
        daemon
    }

    /// Goes on with another program, from the next start or command on.
    pub fn change_program(&mut self, program: &Program) {
        self.program = program.clone();
    }

    /// Starts it with these variables in its environment, now and later.
    pub fn start_with(config: &Config, environment: &[(&'static str, String)]) -> Self {
        let mut daemon = Self::configured(config);
        daemon.set_environment(environment);
        daemon.restart();
        daemon
    }

    /// Starts it in a network namespace and waits until it says that it is ready.
    pub fn start_in(namespace: &str, config: &Config) -> Self {
        let mut daemon = Self::configured(config);
        daemon.namespace = Some(namespace.into());
        daemon.restart();
        daemon
    }

    /// Gives it other variables, from the next start on.
    pub fn set_environment(&mut self, environment: &[(&'static str, String)]) {
        self.environment = environment.to_vec();
    }

    /// Starts it with a configuration or a store that it must refuse: its exit status and what it said.
    pub fn refused(config: &Config) -> (ExitStatus, String) {
        Self::refused_by(&Program::native(), config)
    }

    /// The same with another program than the one for this machine.
    pub fn refused_by(program: &Program, config: &Config) -> (ExitStatus, String) {
        let mut daemon = Self::configured(config);
        daemon.program = program.clone();
        daemon.launch();
        let process = daemon.process.as_mut().expect("it was launched");
        let limit = program.limit(READY_LIMIT);
        let status = wait::until("edgeferry refuses to start", limit, || process.ended());
        (status, daemon.log())
    }

    /// Configures it and does not start it: for its commands, or for a start of another kind.
    pub fn configured(config: &Config) -> Self {
        let daemon = Self {
            program: Program::native(),
            folder: Scratch::new("daemon"),
            notify: Notify::listen(),
            environment: Vec::new(),
            namespace: None,
            fault: None,
            watch: None,
            process: None,
            peak_rss: 0,
            peak_anonymous: Arc::default(),
        };
        daemon.reconfigure(config);
        daemon
    }

    /// Starts it again on the same store and waits until it is ready.
    pub fn restart(&mut self) {
        let ready = self.notify.count("READY=1");
        self.launch();
        let process = self.process.as_mut().expect("it was launched");
        wait::until("edgeferry is ready", self.program.limit(READY_LIMIT), || {
            let ended = process.ended();
            assert!(ended.is_none(), "edgeferry ended ({ended:?}) before it was ready");
            (self.notify.count("READY=1") > ready).then_some(())
        });
    }

    /// Starts it again and does not wait for anything.
    pub fn launch(&mut self) {
        assert!(self.process.is_none(), "edgeferry is running");
        let config = self.folder.join("edgeferry.toml");
        let socket = self.notify.path();
        let log = self.folder.join("stderr");
        let environment = self.environment.clone();
        let fault = self.fault.take();
        let words = self.words();
        let process = Process::spawn("edgeferry", Path::new(&words[0]), &log, |command| {
            command
                .args(&words[1..])
                .envs(self.program.environment().iter().copied())
                .envs(fault)
                .arg("run")
                .arg("--config")
                .arg(config)
                .env("NOTIFY_SOCKET", socket)
                .envs(environment);
        });
        let peak = Arc::clone(&self.peak_anonymous);
        self.watch = Some(MemoryWatch::start(process.id(), peak));
        self.process = Some(process);
    }

    /// What stands before the program's own arguments.
    fn words(&self) -> Vec<OsString> {
        let mut words = match &self.namespace {
            Some(namespace) => vec![
                program("ip").into(),
                "netns".into(),
                "exec".into(),
                namespace.into(),
            ],
            None => Vec::new(),
        };
        words.extend(self.program.words());
        words
    }

    /// The next start ends with SIGKILL when it passes the point `name` for the `pass`th time. Debug builds only.
    pub fn kill_at(&mut self, name: &str, pass: u64) {
        self.fault = Some((edgeferry::faults::KILL_AT, format!("{name}:{pass}")));
    }

    /// How it ended by itself, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.as_mut().expect("edgeferry was started").ended()
    }

    /// Waits until it ends by itself.
    pub fn until_ended(&mut self, limit: Duration) -> ExitStatus {
        self.watch = None;
        let mut process = self.process.take().expect("edgeferry is running");
        wait::until("edgeferry ends by itself", limit, || process.ended())
    }

    /// SIGSTOP or SIGCONT.
    pub fn signal(&mut self, signal: rustix::process::Signal) {
        self.process
            .as_mut()
            .expect("edgeferry is running")
            .signal(signal);
    }

    /// Gives it another configuration, from the next start or reload on.
    pub fn reconfigure(&self, config: &Config) {
        let text = config.text(&self.store());
        std::fs::write(self.folder.join("edgeferry.toml"), text).expect("the folder is writable");
    }

    /// SIGTERM; it must exit with 0 within [`STOP_LIMIT`].
    pub fn terminate(&mut self) {
        self.sample();
        self.watch = None;
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
        self.watch = None;
        self.process.take().expect("edgeferry is running").kill();
    }

    /// Fails unless it runs.
    pub fn assert_alive(&mut self) {
        let ended = self.process.as_mut().expect("edgeferry was started").ended();
        assert!(ended.is_none(), "edgeferry ended: {ended:?}");
    }

    /// `edgeferry queue` with its configuration; must end with 0. What it says on standard output.
    pub fn queue(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.try_queue(arguments);
        assert_eq!(code, Some(0), "edgeferry queue {arguments:?}: {out}{err}");
        out
    }

    /// How its only lane stands, as `edgeferry queue ls` says it.
    pub fn lane(&self) -> serde_json::Value {
        let said = self.queue(&["ls", "--json"]);
        let mut answer: serde_json::Value = serde_json::from_str(&said).expect("one line of JSON");
        answer["lane"].take()
    }

    /// `edgeferry dead-letter` with its configuration; must end with 0. What it says on standard output.
    pub fn dead_letter(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.ask("dead-letter", arguments);
        assert_eq!(code, Some(0), "edgeferry dead-letter {arguments:?}: {out}{err}");
        out
    }

    /// `edgeferry queue`: exit code, standard output, standard error.
    pub fn try_queue(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        self.ask("queue", arguments)
    }

    /// `edgeferry verify`: exit code, standard output, standard error.
    pub fn verify(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        self.ask("verify", arguments)
    }

    /// Any command with its configuration: exit code, standard output, standard error.
    pub fn ask(&self, verb: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
        let output = self
            .program
            .command()
            .arg(verb)
            .args(arguments)
            .arg("--config")
            .arg(self.folder.join("edgeferry.toml"))
            .output()
            .expect("the binary runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    /// `edgeferry reload`: exit code, standard output, standard error.
    pub fn reload(&self) -> (Option<i32>, String, String) {
        self.ask("reload", &[])
    }

    /// A file beside its store.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.join(name)
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

    /// Largest anonymous memory over all starts, bytes; looked at every 50 ms.
    pub fn peak_anonymous(&mut self) -> u64 {
        self.sample();
        self.peak_anonymous.load(Ordering::Relaxed)
    }

    /// Fails if it ever held more than a gateway can spare. Gives what it held, in words.
    pub fn assert_small(&mut self) -> String {
        let (anonymous, peak_rss) = (self.peak_anonymous(), self.peak_rss());
        assert!(anonymous > 0, "nobody looked at the memory");
        assert!(
            anonymous <= ANONYMOUS_LIMIT_BYTES,
            "{anonymous} bytes of anonymous memory"
        );
        if named_binary().is_some() {
            assert!(peak_rss <= RSS_LIMIT_BYTES, "{peak_rss} bytes of resident memory");
        }
        format!(
            "peak memory: {} MB anonymous, {} MB resident",
            anonymous / 1_000_000,
            peak_rss / 1_000_000
        )
    }

    fn sample(&mut self) {
        let Some(process) = &self.process else { return };
        let stats = Stats::of(process.id()).unwrap_or_default();
        self.peak_rss = self.peak_rss.max(stats.peak_rss);
        let anonymous = proc_stats::anonymous(process.id()).unwrap_or(0);
        self.peak_anonymous.fetch_max(anonymous, Ordering::Relaxed);
    }
}

/// The binary to test.
pub fn binary() -> PathBuf {
    named_binary().unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_edgeferry")))
}

/// The binary to test instead of the one that cargo built.
fn named_binary() -> Option<PathBuf> {
    std::env::var_os("EDGEFERRY_BIN").map(PathBuf::from)
}
