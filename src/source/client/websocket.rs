//! A WebSocket, and a pipe between it and the MQTT client.
//!
//! `rumqttc` has WebSockets of its own, and they are not used: a server that sends many pings at once makes them recurse
//! until the stack overflows, and that ends the process (seen with `ws_stream_tungstenite` 0.15). Here a packet is passed on in a
//! loop.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use rumqttc::tokio_rustls::TlsConnector;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, UnixListener};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::pipe::{self, Far};
use super::shorten::Shortener;
use crate::source::TRANSPORT_LIMIT;
use crate::source::config::Server;
use crate::source::retry::PROTOCOL_LIMIT;

/// Largest fixed header of MQTT, bytes: the type, and a length of at most four (MQTT 3.1.1, 2.2).
const HEADER_MAX: usize = 5;
/// Largest frame and message that can hold a packet of MQTT, bytes.
pub const FRAME_LIMIT: usize = PROTOCOL_LIMIT as usize + HEADER_MAX;
/// Read at once, bytes: what one `read` of a loaded link brings.
const BUFFER_BYTES: usize = 16 * 1024;
/// How long saying goodbye may take.
const CLOSE: Duration = Duration::from_secs(2);

/// Opens the WebSocket, and a pipe to it for one client. Packets up to `packet_limit` bytes come through.
///
/// # Errors
/// TCP, TLS (inside an I/O error), HTTP, or the pipe.
pub async fn open(
    server: &Server,
    url: &str,
    tls: Option<Arc<ClientConfig>>,
    name: &str,
    packet_limit: usize,
    far: Far,
    shortener: Shortener,
) -> Result<(), Error> {
    let limits = limits(packet_limit);
    let tcp = TcpStream::connect((server.host.as_str(), server.port)).await?;
    tcp.set_nodelay(true)?;
    let listener = pipe::listen(name)?;
    if let Some(config) = tls {
        // It was looked at with the url.
        let host = ServerName::try_from(server.host.clone()).map_err(std::io::Error::other)?;
        let tls = TlsConnector::from(config).connect(host, tcp).await?;
        let websocket = shake_hands(url, tls, limits).await?;
        tokio::spawn(serve(listener, websocket, far, shortener));
    } else {
        let websocket = shake_hands(url, tcp, limits).await?;
        tokio::spawn(serve(listener, websocket, far, shortener));
    }
    Ok(())
}

/// Largest frame and message to take, bytes. Brokers put one packet into a frame, and a frame is held in memory as a whole.
///
/// A message of several frames is over the limit by its first frames, which say nothing of the rest. So a limit that was raised has
/// room up to the next power of two: a few connections find any size, however it is cut.
fn frame_limit(packet_limit: usize) -> usize {
    let usual = TRANSPORT_LIMIT as usize;
    let wanted = if packet_limit > usual {
        packet_limit.checked_next_power_of_two()
    } else {
        packet_limit.checked_add(HEADER_MAX)
    };
    wanted.unwrap_or(FRAME_LIMIT).min(FRAME_LIMIT)
}

fn limits(packet_limit: usize) -> WebSocketConfig {
    let frame_limit = frame_limit(packet_limit);
    WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_frame_size(Some(frame_limit))
        .max_message_size(Some(frame_limit))
}

async fn shake_hands<S>(url: &str, stream: S, limits: WebSocketConfig) -> Result<WebSocketStream<S>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = url.into_client_request()?;
    let subprotocol = HeaderValue::from_static("mqtt");
    request
        .headers_mut()
        .insert("Sec-WebSocket-Protocol", subprotocol);
    let (websocket, _) = client_async_with_config(request, stream, Some(limits)).await?;
    Ok(websocket)
}

/// Waits for the client, then passes everything on.
async fn serve<S>(listener: UnixListener, websocket: WebSocketStream<S>, far: Far, shortener: Shortener)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let client = match pipe::accept(listener).await {
        Ok(Some(client)) => client,
        Ok(None) => return,
        Err(error) => return far.broke(Error::Io(error)),
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (sink, messages) = websocket.split();
    let sending = async {
        if let Err(error) = send(&mut from_client, sink).await {
            far.broke(error);
            pipe::discard(&mut from_client).await;
        }
    };
    let receiving = async {
        if let Err(error) = receive(messages, &mut to_client, far.held(), shortener).await {
            far.broke(error);
        }
        // Only now: a client that sees the end asks why.
        drop(to_client);
    };
    far.pass_on(sending, receiving).await;
}

async fn send<S>(
    from_client: &mut OwnedReadHalf,
    mut sink: SplitSink<WebSocketStream<S>, Message>,
) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = from_client.read(&mut buffer).await?;
        if count == 0 {
            // The client has gone; the broker is told, if it listens.
            drop(timeout(CLOSE, sink.close()).await);
            return Ok(());
        }
        let bytes = Bytes::copy_from_slice(buffer.get(..count).unwrap_or_default());
        sink.send(Message::Binary(bytes)).await?;
    }
}

/// While the client takes nothing, nothing is read: so the broker is held as with TCP. Pings are answered by the library.
async fn receive<S>(
    mut messages: SplitStream<WebSocketStream<S>>,
    to_client: &mut OwnedWriteHalf,
    mut held: watch::Receiver<bool>,
    mut shortener: Shortener,
) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// RFC 6455, 5.2.
    const TEXT: u8 = 1;
    let mut short = Vec::new();
    while let Some(message) = messages.next().await {
        match message? {
            Message::Binary(bytes) => {
                Far::until_wanted(&mut held).await;
                short.clear();
                shortener.pass(&bytes, &mut short);
                to_client.write_all(&short).await?;
                short.shrink_to(BUFFER_BYTES);
            }
            // MQTT is binary (MQTT 5, 6.0).
            Message::Text(_) => return Err(ProtocolError::InvalidOpcode(TEXT).into()),
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
