//! Child processes that never outlive the tests.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::wait;

/// A running program whose standard error goes to a file.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with its output appended to `log`.
    ///
    /// The kernel kills it when this process ends, however that happens: `setpriv` asks for that and then
    /// becomes the program, so the process id stays.
    pub fn spawn(name: &'static str, program: &Path, log: &Path, set_up: impl FnOnce(&mut Command)) -> Self {
        let open = || {
            File::options()
                .create(true)
                .append(true)
                .open(log)
                .expect("the log can be written")
        };
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        set_up(&mut command);
        command.stdin(Stdio::null()).stdout(open()).stderr(open());
        let child = spawn_on_lasting_thread(command)
            .unwrap_or_else(|error| panic!("setpriv cannot start {name}: {error}; run ./dev setup"));
        Self {
            name,
            child,
            log: log.to_path_buf(),
        }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far, over all starts with the same log.
    pub fn log(&self) -> String {
        read_log(&self.log)
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our own child can be waited for")
    }

    /// Sends a signal; to a process that has ended this does nothing.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            kill_process(Pid::from_child(&self.child), signal).expect("our own child can be signalled");
        }
    }

    /// SIGTERM, and its exit status.
    ///
    /// # Panics
    ///
    /// When it has not ended after `limit`.
    pub fn terminate(mut self, limit: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        let what = format!("{} ends after SIGTERM", self.name);
        wait::until(&what, limit, || self.ended())
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        drop(self.child.wait());
        if std::thread::panicking() {
            let log = read_log(&self.log);
            let from = log.lines().count().saturating_sub(30);
            let tail: Vec<&str> = log.lines().skip(from).collect();
            eprintln!("--- end of the log of {}:\n{}", self.name, tail.join("\n"));
        }
    }
}

/// A log as text; bytes that are none are replaced.
pub fn read_log(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

/// The program `name` on the PATH or where Debian hides system programs from users.
pub fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| panic!("{name} is not installed; run ./dev setup"))
}

/// The kernel ties a child's life to the *thread* that made it, and test threads end early: all children
/// are made by one thread that stays.
fn spawn_on_lasting_thread(command: Command) -> std::io::Result<Child> {
    type Order = (Command, SyncSender<std::io::Result<Child>>);
    static SPAWNER: LazyLock<SyncSender<Order>> = LazyLock::new(|| {
        // Whoever orders waits for the answer anyway.
        let (orders, inbox) = sync_channel::<Order>(0);
        std::thread::spawn(move || {
            for (mut command, reply) in inbox {
                drop(reply.send(command.spawn()));
            }
        });
        orders
    });
    // Room for the one answer, so that the spawner never waits.
    let (reply, answer) = sync_channel(1);
    SPAWNER.send((command, reply)).expect("the spawner stays");
    answer.recv().expect("the spawner answers")
}
