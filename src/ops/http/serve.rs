//! Connections: accepted, counted, limited.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::ops::http::limits::{
    BUFFER_BYTES, CONNECTIONS_MAX, GRACE, HEADERS_MAX, HEAR_WITHIN, LIFETIME, REFUSALS_MAX, REQUEST_WITHIN,
};
use crate::ops::http::places::{Place, Places};
use crate::ops::http::service::Site;

/// Pause after a connection could not be accepted, for instance for want of file handles.
const PAUSE: Duration = Duration::from_secs(1);
/// What whoever comes when all connections are just being answered is told.
const BUSY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\nretry-after: 5\r\n\
    connection: close\r\ncontent-length: 50\r\n\r\ntoo many connections at a time; ask again in 5 s.\n";
/// What whoever has begun a request and does not end it is told.
const SLOW: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n\
    content-length: 43\r\n\r\na request has to arrive within 10 seconds.\n";

/// Serves for ever.
pub async fn over(listener: TcpListener, site: Arc<Site>) -> Infallible {
    let connections = Places::new(CONNECTIONS_MAX);
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if let Some(place) = connections.take(peer.ip()) {
                    tokio::spawn(serve(stream, Arc::clone(&site), Arc::new(place)));
                } else if let Ok(permit) = Arc::clone(&refusals).try_acquire_owned() {
                    tokio::spawn(refuse(stream, permit));
                }
            }
            Err(error) => {
                tracing::debug!(%error, "http: cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Says that there is no room.
async fn refuse(stream: TcpStream, permit: OwnedSemaphorePermit) {
    tell(stream, BUSY).await;
    drop(permit);
}

/// Says why the connection ends, and hears what was asked: a socket that is closed with something unread takes back what it said.
async fn tell(mut stream: TcpStream, why: &[u8]) {
    let said = tokio::time::timeout(HEAR_WITHIN, async {
        stream.write_all(why).await?;
        stream.shutdown().await?;
        let mut unread = [0; 1024];
        while stream.read(&mut unread).await? > 0 {}
        std::io::Result::Ok(())
    });
    let said = said.await;
    tracing::debug!(?said, "http: a connection was ended");
}

/// Until it ends, or somebody else needs the place.
async fn serve(stream: TcpStream, site: Arc<Site>, place: Arc<Place>) {
    let end = place.end.clone();
    if end
        .run_until_cancelled(converse(stream, site, place))
        .await
        .is_none()
    {
        tracing::debug!("http: a quiet connection made room");
    }
}

async fn converse(stream: TcpStream, site: Arc<Site>, place: Arc<Place>) {
    // A page wants its answer at once.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "http: no delay");
    }
    let service = service_fn(|request| {
        let (site, place) = (Arc::clone(&site), Arc::clone(&place));
        async move {
            let _answering = place.answering();
            Ok::<_, Infallible>(site.answer(request).await)
        }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_WITHIN)
        .max_buf_size(BUFFER_BYTES)
        .max_headers(HEADERS_MAX)
        .half_close(false);
    let mut connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut ended = tokio::time::timeout(LIFETIME, &mut connection).await;
    if ended.is_err() {
        Pin::new(&mut connection).graceful_shutdown();
        ended = tokio::time::timeout(GRACE, &mut connection).await;
    }
    let is_late = matches!(&ended, Ok(Err(error)) if error.is_timeout());
    if !matches!(ended, Ok(Ok(()))) {
        tracing::debug!(?ended, "http: a connection ended early");
    }
    let parts = connection.into_parts();
    // Whoever has said nothing was idle.
    if is_late && !parts.read_buf.is_empty() {
        tell(parts.io.into_inner(), SLOW).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_without_hyper_is_http_with_the_right_length() {
        for said in [BUSY, SLOW] {
            let (head, body) = std::str::from_utf8(said).unwrap().split_once("\r\n\r\n").unwrap();
            assert!(
                head.contains(&format!("content-length: {}", body.len())),
                "{head}"
            );
            assert!(
                head.starts_with("HTTP/1.1 ") && head.contains("connection: close"),
                "{head}"
            );
        }
    }
}
