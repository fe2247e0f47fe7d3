//! The control socket: how `edgeferry queue …` reaches a running daemon.
//!
//! `data_dir/control.sock`, for the owner of the store and root alone. A connection carries one request: a JSON line (see
//! [`crate::ops::hand::Request`]), for an import with the file behind it. The answers are JSON lines; the last one is `done`
//! or `error`.
//!
//! Connections are accepted on the runtime and served on threads of their own, because a look into the store blocks. There are
//! two kinds of places. Whoever comes has one of the few in front for as long as it takes to say what is wanted, some seconds at
//! most; `status` is answered there. Everything else, which may take minutes, goes on to a place behind, or is told that all are
//! taken. So no number of exports, and nobody who says nothing, keeps the state from being seen.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::exit::Exit;
use crate::ops::hand::Hand;

mod connection;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

/// What came of a reload: one line, or the exit code and all that is wrong.
pub type Reloaded = Result<String, (Exit, String)>;
/// Where requests to reload go, each with the place for its answer. As many as there may be commands at a time may wait.
pub type Reloads = mpsc::Sender<oneshot::Sender<Reloaded>>;

/// Name of the socket in `data_dir`.
const NAME: &str = "control.sock";
/// Commands at a time: a person and a few scripts. Each may take a thread and a block of messages.
pub const COMMANDS_MAX: usize = 4;
/// Connections in front at a time. Each takes a thread; who comes while all are taken waits for some seconds.
const FRONT_MAX: usize = 4;
/// How long connections may take to end at a stop: they look at least this often whether it has begun.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// Where the socket of a store is.
#[must_use]
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(NAME)
}

/// The socket, being served.
#[derive(Debug)]
pub struct Control {
    hand: Arc<Hand>,
    path: PathBuf,
    accepting: JoinHandle<()>,
    places: Places,
}

/// See the module documentation.
#[derive(Debug, Clone)]
struct Places {
    front: Arc<Semaphore>,
    commands: Arc<Semaphore>,
}

impl Control {
    /// Begins to serve `hand`. Must be called in a runtime, by the one that has locked `data_dir`: a socket that is there
    /// was left behind.
    ///
    /// # Errors
    /// Those of the file system, also when the path is too long for a socket (107 bytes).
    pub fn start(data_dir: &Path, hand: Arc<Hand>, reloads: Reloads) -> io::Result<Self> {
        let path = path(data_dir);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        let places = Places {
            front: Arc::new(Semaphore::new(FRONT_MAX)),
            commands: Arc::new(Semaphore::new(COMMANDS_MAX)),
        };
        let accepting = tokio::spawn(accept(listener, Arc::clone(&hand), reloads, places.clone()));
        Ok(Self {
            hand,
            path,
            accepting,
            places,
        })
    }

    /// Takes no more requests, ends those that are going on, and lets go of the lanes.
    pub async fn stop(self) {
        self.hand.close();
        self.accepting.abort();
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, "cannot remove the control socket");
        }
        let Places { front, commands } = &self.places;
        let ended = async {
            // In this order: who leaves the front has a place behind before.
            drop(front.acquire_many(all(FRONT_MAX)).await);
            drop(commands.acquire_many(all(COMMANDS_MAX)).await);
        };
        if tokio::time::timeout(STOP_PATIENCE, ended).await.is_err() {
            tracing::warn!("a control connection did not end in time");
        }
    }
}

fn all(places: usize) -> u32 {
    u32::try_from(places).unwrap_or(u32::MAX)
}

/// Accepts for ever. Whoever comes while all places in front are taken waits in the socket's own queue.
async fn accept(listener: UnixListener, hand: Arc<Hand>, reloads: Reloads, places: Places) {
    /// Pause after a failure, for instance for want of file handles.
    const PAUSE: Duration = Duration::from_secs(1);
    while let Ok(permit) = Arc::clone(&places.front).acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "cannot accept a control connection");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let (hand, reloads, commands) = (Arc::clone(&hand), reloads.clone(), Arc::clone(&places.commands));
        let served = admitted(stream).and_then(|stream| {
            std::thread::Builder::new()
                .name("control".to_owned())
                .spawn(move || connection::serve(&stream, &hand, &reloads, permit, &commands))
        });
        if let Err(error) = served {
            tracing::warn!(%error, "a control connection is refused");
        }
    }
}

/// The mode of the socket keeps others out; before it was set, and where a file system has no modes, this does.
fn admitted(stream: UnixStream) -> io::Result<std::os::unix::net::UnixStream> {
    let peer = stream.peer_cred()?.uid();
    let own = rustix::process::geteuid().as_raw();
    if peer != own && peer != 0 {
        return Err(io::Error::other(format!(
            "user {peer} is neither the owner nor root"
        )));
    }
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

#[cfg(test)]
mod tests;
