//! A pipe between the MQTT client and a connection of ours.
//!
//! The client takes no stream from outside, but connects to Unix sockets; so the pipe is one, with a random name that is in no folder
//! (an abstract one), and takes exactly one connection, from this very process.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::join;
use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::io::{copy, sink};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Error;

use super::CONNECT_TIMEOUT_S;

/// What the kernel holds of what the broker said, bytes: as little as lets both sides work, so that a client that takes nothing holds the
/// broker nearly as soon as it would without a pipe. Linux doubles it (socket(7)).
const BUFFER_BYTES: usize = 16 * 1024;
/// How long what a client said may still take when it has gone: on a dead link it would be as long as TCP tries.
const LINGER: Duration = Duration::from_secs(2);
/// How long the client may take to come to the pipe: it is in the same process, and next.
const COME: Duration = Duration::from_secs(CONNECT_TIMEOUT_S);

/// Why the connection behind a pipe broke, for whoever sees only that the pipe ended.
pub type Broken = Arc<OnceLock<Error>>;

/// The client's side of a connection of ours.
#[derive(Debug)]
pub struct Near {
    /// Why it broke.
    pub broken: Broken,
    /// While this is true nothing is read from the broker.
    pub hold: watch::Sender<bool>,
}

/// The broker's side.
#[derive(Debug)]
pub struct Far {
    broken: Broken,
    held: watch::Receiver<bool>,
}

/// What both sides know.
pub fn sides() -> (Near, Far) {
    let hold = watch::Sender::new(false);
    let far = Far {
        broken: Broken::default(),
        held: hold.subscribe(),
    };
    let near = Near {
        broken: Arc::clone(&far.broken),
        hold,
    };
    (near, far)
}

impl Far {
    /// Waits while the client wants nothing. When it has gone its end of the pipe says so.
    pub async fn until_wanted(held: &mut watch::Receiver<bool>) {
        drop(held.wait_for(|held| !held).await);
    }

    pub fn held(&self) -> watch::Receiver<bool> {
        self.held.clone()
    }

    /// Why the connection ends; the first reason is the one.
    pub fn broke(&self, error: Error) {
        drop(self.broken.set(error));
    }

    /// Passes on both ways, each to its own end: a broker that closes has said why before, and a client that goes has acknowledged before.
    /// When the client has gone it may take [`LINGER`] at most.
    pub async fn pass_on(&self, send: impl Future<Output = ()>, receive: impl Future<Output = ()>) {
        let mut held = self.held();
        let left = async {
            // The client's side of it is dropped with the connection.
            while held.changed().await.is_ok() {}
            sleep(LINGER).await;
        };
        tokio::select! {
            ((), ()) = join(send, receive) => {}
            () = left => {}
        }
    }
}

/// Takes what a client still says, for nobody: a client whose writing fails reads no more, and what the broker said before it closed may
/// still lie in the pipe.
pub async fn discard(from_client: &mut OwnedReadHalf) {
    drop(copy(from_client, &mut sink()).await);
}

/// A name for a pipe that nobody can guess, as tokio writes abstract names.
pub fn pipe_name() -> String {
    format!("\0edgeferry-{:032x}", rand::random::<u128>())
}

/// The client's way to the pipe.
///
/// # Errors
/// The system gives no such socket: no descriptor is left, or something keeps the process from Unix sockets.
pub fn listen(name: &str) -> io::Result<UnixListener> {
    UnixListener::bind(name).map_err(|error| ours(&error))
}

/// The client's end. Whoever else found the name is sent away. `None` when the client does not come.
///
/// # Errors
/// As [`listen`].
pub async fn accept(listener: UnixListener) -> io::Result<Option<UnixStream>> {
    match timeout(COME, from_here(&listener)).await {
        Ok(accepted) => accepted.map(Some).map_err(|error| ours(&error)),
        Err(_) => Ok(None),
    }
}

async fn from_here(listener: &UnixListener) -> io::Result<UnixStream> {
    loop {
        let (stream, _) = listener.accept().await?;
        if let Err(error) = set_socket_send_buffer_size(&stream, BUFFER_BYTES) {
            tracing::debug!(%error, "the pipe holds more than it should");
        }
        let pid = stream.peer_cred()?.pid();
        if pid.and_then(|pid| u32::try_from(pid).ok()) == Some(std::process::id()) {
            return Ok(stream);
        }
    }
}

/// The error would be taken for the broker's otherwise. Its kind is left out for the same reason.
fn ours(error: &io::Error) -> io::Error {
    io::Error::other(format!(
        "the pipe between the MQTT client and its connection: {error}"
    ))
}
