//! Connections: accepted, counted, limited.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::ops::http::limits::{
    BUFFER_BYTES, CONNECTIONS_MAX, GRACE, HEADERS_MAX, LIFETIME, REFUSALS_MAX, REFUSE_WITHIN, REQUEST_WITHIN,
};
use crate::ops::http::service::Site;

/// Pause after a connection could not be accepted, for instance for want of file handles.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(1);
/// What whoever comes when all connections are taken is told.
const BUSY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\nretry-after: 5\r\n\
    connection: close\r\ncontent-length: 50\r\n\r\ntoo many connections at a time; ask again in 5 s.\n";

/// Serves for ever.
pub async fn over(listener: TcpListener, site: Arc<Site>) -> Infallible {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Ok(permit) = Arc::clone(&connections).try_acquire_owned() {
                    tokio::spawn(serve(stream, Arc::clone(&site), permit));
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

/// Says that there is no room, and hears what was asked: a socket that is closed with something unread takes back what it said.
async fn refuse(mut stream: TcpStream, permit: OwnedSemaphorePermit) {
    let said = tokio::time::timeout(REFUSE_WITHIN, async {
        stream.write_all(BUSY).await?;
        stream.shutdown().await?;
        let mut unread = [0; 1024];
        while stream.read(&mut unread).await? > 0 {}
        std::io::Result::Ok(())
    });
    let said = said.await;
    tracing::debug!(?said, "http: too many connections");
    drop(permit);
}

async fn serve(stream: TcpStream, site: Arc<Site>, permit: OwnedSemaphorePermit) {
    // A page wants its answer at once.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "http: no delay");
    }
    let service = service_fn(|request| {
        let site = Arc::clone(&site);
        async move { Ok::<_, Infallible>(site.answer(request).await) }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_WITHIN)
        .max_buf_size(BUFFER_BYTES)
        .max_headers(HEADERS_MAX)
        .half_close(false);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => Ok(ended),
        () = tokio::time::sleep(LIFETIME) => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(GRACE, connection).await
        }
    };
    if !matches!(ended, Ok(Ok(()))) {
        tracing::debug!(?ended, "http: a connection ended early");
    }
    drop(permit);
}
