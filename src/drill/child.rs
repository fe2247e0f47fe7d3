//! The daemon under test: this very program, in a process of its own.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use crate::app::bound::BOUND;
use crate::faults;

/// What of the environment the daemon keeps. Nothing of a service manager's, and no credentials.
const KEPT: [&str; 6] = ["PATH", "LANG", "LC_ALL", "TZ", "EDGEFERRY_LOG", faults::OMIT];
/// A stop takes 30 s at most by the daemon's own limits; a slow disk may add to that.
const STOP_LIMIT: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Bytes of log that are kept, of all starts together.
const LOG_MAX: u64 = 16 * 1024 * 1024;
const PIECE: usize = 8 * 1024;
/// What a file may have while the disk is "full": the daemon's own small files (marks, ledger, imports) are below it, and can
/// be written over, as on a full disk; the log is above it at once.
const FULL_BYTES: u64 = 256 * 1024;

/// A running daemon. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Daemon {
    child: Child,
    log: Option<JoinHandle<()>>,
}

/// Where it finds its configuration and says what it has to say.
#[derive(Debug, Clone)]
pub(super) struct Paths {
    pub(super) program: PathBuf,
    pub(super) config: PathBuf,
    pub(super) log: PathBuf,
}

impl Daemon {
    /// Starts it.
    pub(super) fn start(paths: &Paths) -> io::Result<Self> {
        let mut command = Command::new(&paths.program);
        command
            .arg("run")
            .arg("--config")
            .arg(&paths.config)
            .env_clear()
            .env(BOUND, "1")
            // Ctrl-C on a terminal is the drill's to hear: it ends the daemon itself.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        for name in KEPT {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        let mut child = command.spawn()?;
        let log = child.stderr.take().map(|from| copy(from, &paths.log));
        let log = log.transpose();
        match log {
            Ok(log) => Ok(Self { child, log }),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error)
            }
        }
    }

    /// Its exit status, if it ended by itself.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// kill -9
    pub(super) fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        self.end_log();
        Ok(())
    }

    /// From now on no file of it grows, as if the disk were full; or it may again.
    pub(super) fn fill_disk(&self, is_full: bool) -> io::Result<()> {
        let pid = Pid::from_child(&self.child);
        let before = rustix::process::getrlimit(Resource::Fsize);
        let limit = Rlimit {
            current: if is_full { Some(FULL_BYTES) } else { before.current },
            // Once lowered it could never be raised again.
            maximum: before.maximum,
        };
        prlimit(Some(pid), Resource::Fsize, limit)?;
        Ok(())
    }

    /// Asks it to stop, and waits. `None` when it had to be killed.
    pub(super) fn stop(mut self) -> io::Result<Option<ExitStatus>> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let deadline = Instant::now() + STOP_LIMIT;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                self.end_log();
                return Ok(Some(status));
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
        self.kill()?;
        Ok(None)
    }

    fn end_log(&mut self) {
        if self.log.take().is_some_and(|log| log.join().is_err()) {
            tracing::error!("the thread that keeps the daemon's log panicked");
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none())
            && let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(drop))
        {
            tracing::warn!(%error, "cannot end the daemon of the drill");
        }
        self.end_log();
    }
}

/// Through a pipe, so that the daemon's own limit of file sizes does not hold for its log.
fn copy(mut from: impl Read + Send + 'static, log: &Path) -> io::Result<JoinHandle<()>> {
    let mut to = File::options().create(true).append(true).open(log)?;
    let thread = std::thread::Builder::new().name("log of the daemon".to_owned());
    thread.spawn(move || {
        let mut piece = [0; PIECE];
        while let Ok(count @ 1..) = from.read(&mut piece) {
            let is_short = to.metadata().is_ok_and(|found| found.len() < LOG_MAX);
            // What is over is read all the same: the daemon must not wait for it.
            if is_short && to.write_all(piece.get(..count).unwrap_or_default()).is_err() {
                tracing::debug!("the daemon's log cannot be kept");
            }
        }
    })
}
