//! A TCP connection in the clear, and a pipe between it and the MQTT client, for what `rumqttc` does not do with its socket:
//!
//! * **What was read is acknowledged at once** (`TCP_QUICKACK`). A broker that leaves Nagle's algorithm on, as Mosquitto does unless
//!   `set_tcp_nodelay` is true, holds a small message back until TCP has acknowledged the one before. Linux delays that by 40 ms, or
//!   until we send something, which is the PUBACK behind the next commit: every message waited for the commit of an earlier one (p50 at
//!   1,000 messages a second: 7 ms instead of 2, docs/performance.md). The option does not last, so it is set again with each read.
//! * **PUBACKs leave together.** The client writes each by itself; what it has written by the time that we come is one segment.
//!
//! While the client takes nothing, nothing is read, so the broker is held as without a pipe; what the pipe holds is the kernel's
//! buffer for a Unix socket.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, UnixListener, tcp};
use tokio_tungstenite::tungstenite::Error;

use super::pipe::{self, Broken};
use crate::source::config::Server;

/// Read at once from the broker, bytes: what one `read` of a loaded link brings.
const FROM_BROKER_BYTES: usize = 16 * 1024;
/// Read at once from the client, bytes: a thousand PUBACKs.
const FROM_CLIENT_BYTES: usize = 4 * 1024;

/// Connects, and opens a pipe of this name to the connection for one client.
///
/// # Errors
/// Name, TCP, or the pipe.
pub async fn open(server: &Server, name: &str) -> io::Result<Broken> {
    let tcp = TcpStream::connect((server.host.as_str(), server.port)).await?;
    tcp.set_nodelay(true)?;
    let listener = UnixListener::bind(name)?;
    let broken = Broken::default();
    tokio::spawn(serve(listener, tcp, Arc::clone(&broken)));
    Ok(broken)
}

/// Waits for the client, then passes everything on until one side ends.
async fn serve(listener: UnixListener, tcp: TcpStream, broken: Broken) {
    let Some(client) = pipe::accept(listener).await else {
        return;
    };
    // Kept until the reason is told: the client sees their end.
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_broker, mut to_broker) = tcp.into_split();
    let ended = tokio::select! {
        ended = send(&mut from_client, &mut to_broker) => ended,
        ended = receive(&mut from_broker, &mut to_client) => ended,
    };
    if let Err(error) = ended {
        // It is the first: there is one end.
        drop(broken.set(Error::Io(error)));
    }
}

/// Ends when the client has gone and all that it wrote has been handed over.
async fn send(from_client: &mut OwnedReadHalf, to_broker: &mut tcp::OwnedWriteHalf) -> io::Result<()> {
    let mut buffer = vec![0; FROM_CLIENT_BYTES];
    loop {
        let count = from_client.read(&mut buffer).await?;
        if count == 0 {
            return to_broker.shutdown().await;
        }
        to_broker
            .write_all(buffer.get(..count).unwrap_or_default())
            .await?;
    }
}

async fn receive(from_broker: &mut tcp::OwnedReadHalf, to_client: &mut OwnedWriteHalf) -> io::Result<()> {
    let mut buffer = vec![0; FROM_BROKER_BYTES];
    loop {
        let count = from_broker.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        acknowledge_at_once(from_broker);
        to_client
            .write_all(buffer.get(..count).unwrap_or_default())
            .await?;
    }
}

/// Without it everything works, only later.
#[cfg(target_os = "linux")]
fn acknowledge_at_once(from_broker: &tcp::OwnedReadHalf) {
    if let Err(error) = from_broker.as_ref().set_quickack(true) {
        tracing::debug!(%error, "TCP_QUICKACK");
    }
}

#[cfg(not(target_os = "linux"))]
fn acknowledge_at_once(_: &tcp::OwnedReadHalf) {}

#[cfg(test)]
mod tests;
