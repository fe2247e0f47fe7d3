//! The connections over TCP, TLS and Unix sockets, and a pipe between each and the MQTT client, for what `rumqttc` does not do with a
//! socket of its own:
//!
//! * **What was read is acknowledged at once** (`TCP_QUICKACK`). A broker that leaves Nagle's algorithm on, as Mosquitto does unless
//!   `set_tcp_nodelay` is true, holds a small message back until TCP has acknowledged the one before. Linux delays that by 40 ms, or
//!   until we send something, which is the PUBACK behind the next commit: every message waited for the commit of an earlier one.
//!   The option does not last, so it is set again with each read.
//! * **PUBACKs leave together.** The client writes each by itself; what it has written by the time that we come is one segment.
//! * **What is too large is cut** before it fills the memory ([`super::shorten`]).
//! * **Reading can be held** ([`super::Events::hold`]). The client takes nine packets off a connection that has more for each
//!   acknowledgement that it sends. A broker that does not hold its window (eclipse-mosquitto/mosquitto#2301) so gets ahead without
//!   end, until all packet ids are in use.
//!
//! While the client takes nothing, nothing is read, so the broker is held as without a pipe; what the pipe holds is the kernel's
//! buffer for a Unix socket.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rumqttc::tokio_rustls::TlsConnector;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf, split};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Error;

use super::pipe::{self, Far};
use super::shorten::Shortener;
use crate::source::config::Server;

/// Read at once from the broker, bytes: what one `read` of a loaded link brings.
const FROM_BROKER_BYTES: usize = 16 * 1024;
/// Read at once from the client, bytes: a thousand PUBACKs.
const FROM_CLIENT_BYTES: usize = 4 * 1024;

/// Connects by TCP, with TLS if there is a configuration for it, and opens a pipe of this name to the connection for one client.
///
/// # Errors
/// Name, TCP, TLS (inside it), or the pipe.
pub async fn open(
    server: &Server,
    tls: Option<Arc<ClientConfig>>,
    name: &str,
    far: Far,
    shortener: Shortener,
) -> io::Result<()> {
    let tcp = TcpStream::connect((server.host.as_str(), server.port)).await?;
    tcp.set_nodelay(true)?;
    let tcp = Prompt(tcp);
    let listener = pipe::listen(name)?;
    if let Some(config) = tls {
        let host = ServerName::try_from(server.host.clone()).map_err(io::Error::other)?;
        let tls = TlsConnector::from(config).connect(host, tcp).await?;
        tokio::spawn(serve(listener, tls, far, shortener));
    } else {
        tokio::spawn(serve(listener, tcp, far, shortener));
    }
    Ok(())
}

/// The same with a Unix socket.
///
/// # Errors
/// The socket's, or the pipe's.
pub async fn open_unix(path: &Path, name: &str, far: Far, shortener: Shortener) -> io::Result<()> {
    let stream = UnixStream::connect(path).await?;
    let listener = pipe::listen(name)?;
    tokio::spawn(serve(listener, stream, far, shortener));
    Ok(())
}

/// Waits for the client, then passes everything on.
async fn serve<S: AsyncRead + AsyncWrite>(listener: UnixListener, stream: S, far: Far, shortener: Shortener) {
    let client = match pipe::accept(listener).await {
        Ok(Some(client)) => client,
        Ok(None) => return,
        Err(error) => return far.broke(Error::Io(error)),
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (from_broker, to_broker) = split(stream);
    let sending = async {
        if let Err(error) = send(&mut from_client, to_broker).await {
            far.broke(Error::Io(error));
            pipe::discard(&mut from_client).await;
        }
    };
    let receiving = async {
        if let Err(error) = receive(from_broker, &mut to_client, far.held(), shortener).await {
            far.broke(Error::Io(error));
        }
        // Only now: a client that sees the end asks why.
        drop(to_client);
    };
    far.pass_on(sending, receiving).await;
}

/// Ends when the client has gone and all that it wrote has been handed over.
async fn send<S: AsyncWrite>(from_client: &mut OwnedReadHalf, mut to_broker: WriteHalf<S>) -> io::Result<()> {
    let mut buffer = vec![0; FROM_CLIENT_BYTES];
    loop {
        let count = from_client.read(&mut buffer).await?;
        if count == 0 {
            return to_broker.shutdown().await;
        }
        to_broker
            .write_all(buffer.get(..count).unwrap_or_default())
            .await?;
        to_broker.flush().await?;
    }
}

async fn receive<S: AsyncRead>(
    mut from_broker: ReadHalf<S>,
    to_client: &mut OwnedWriteHalf,
    mut held: watch::Receiver<bool>,
    mut shortener: Shortener,
) -> io::Result<()> {
    let mut buffer = vec![0; FROM_BROKER_BYTES];
    let mut short = Vec::with_capacity(FROM_BROKER_BYTES);
    loop {
        Far::until_wanted(&mut held).await;
        let count = from_broker.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        short.clear();
        shortener.pass(buffer.get(..count).unwrap_or_default(), &mut short);
        to_client.write_all(&short).await?;
    }
}

/// A TCP connection that acknowledges at once what is read from it.
#[derive(Debug)]
struct Prompt(TcpStream);

impl AsyncRead for Prompt {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.0).poll_read(cx, buf))?;
        // Without it everything works, only later.
        if let Err(error) = self.0.set_quickack(true) {
            tracing::debug!(%error, "TCP_QUICKACK");
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prompt {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
