//! Against a server with Nagle's algorithm on, as Mosquitto is by default.

use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixStream};

use super::super::pipe::{Near, pipe_name, sides};
use super::*;

/// Exchanges: each costs the client who delays its acknowledgements 40 ms.
const EXCHANGES: usize = 25;
/// Both sides write so many bytes at once, far less than a segment.
const SMALL: usize = 8;

/// A listener, and a pipe to it.
async fn piped() -> (TcpStream, UnixStream, Near) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let server = Server {
        host: "127.0.0.1".to_owned(),
        port: listener.local_addr().expect("bound").port(),
        is_encrypted: false,
        websocket: None,
    };
    let name = pipe_name();
    let (near, far) = sides();
    open(&server, None, &name, far).await.expect("it opens");
    let client = UnixStream::connect(&name).await.expect("the pipe is there");
    let (accepted, _) = listener.accept().await.expect("it came");
    (accepted, client, near)
}

async fn plain() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let client = TcpStream::connect(address).await.expect("it connects");
    client.set_nodelay(true).expect("a socket");
    let (accepted, _) = listener.accept().await.expect("it came");
    (accepted, client)
}

/// How long the exchanges take: two small messages, one after the other, and an answer behind the second, as a PUBACK that waits for a
/// group.
async fn exchange(server: TcpStream, mut client: impl AsyncRead + AsyncWrite + Unpin) -> Duration {
    server.set_nodelay(false).expect("a socket");
    let (mut from_client, mut to_client) = server.into_split();
    let began = Instant::now();
    let serving = async {
        for _ in 0..EXCHANGES {
            for _ in 0..2 {
                to_client.write_all(&[1; SMALL]).await.expect("written");
            }
            from_client.read_exact(&mut [0; SMALL]).await.expect("an answer");
        }
    };
    let answering = async {
        for _ in 0..EXCHANGES {
            client
                .read_exact(&mut [0; 2 * SMALL])
                .await
                .expect("two messages");
            client.write_all(&[2; SMALL]).await.expect("written");
        }
    };
    tokio::join!(serving, answering);
    began.elapsed()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_broker_with_nagles_algorithm_does_not_wait_for_a_delayed_acknowledgement() {
    let (server, client) = plain().await;
    let delayed = exchange(server, client).await;
    let (server, client, _near) = piped().await;
    let at_once = exchange(server, client).await;
    // The first takes a second: 40 ms for each. Both are on the same machine at the same time.
    assert!(at_once < delayed / 2, "{at_once:?}, and {delayed:?} without");
}

#[tokio::test]
async fn bytes_go_both_ways_and_all_that_the_client_wrote_arrives_before_its_end() {
    let (mut server, mut client, near) = piped().await;
    let serving = tokio::spawn(async move {
        server.write_all(&vec![3; 100_000]).await.expect("written");
        let mut back = Vec::new();
        server.read_to_end(&mut back).await.expect("it ends in order");
        back
    });
    let mut bytes = vec![0; 100_000];
    client.read_exact(&mut bytes).await.expect("they come");
    assert!(bytes.iter().all(|byte| *byte == 3));
    client.write_all(&vec![7; 100_000]).await.expect("written");
    drop(client);
    assert_eq!(serving.await.expect("the server is content"), vec![7; 100_000]);
    assert!(near.broken.get().is_none());
}

#[tokio::test]
async fn the_end_of_the_connection_is_the_end_of_the_pipe() {
    let (server, mut client, near) = piped().await;
    drop(server);
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.expect("it ends in order");
    assert!(rest.is_empty() && near.broken.get().is_none());
}

#[tokio::test]
async fn what_broke_the_connection_is_known_when_the_pipe_ends() {
    let (server, mut client, near) = piped().await;
    client.write_all(b"nobody reads this").await.expect("written");
    server.peek(&mut [0]).await.expect("it has come");
    // Closed with something unread in it, a socket is reset.
    drop(server);
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.expect("it ends in order");
    let error = near.broken.get().expect("it is told first");
    assert!(
        matches!(error, Error::Io(error) if error.kind() == io::ErrorKind::ConnectionReset),
        "{error}"
    );
}

#[tokio::test]
async fn what_the_broker_said_before_it_closed_is_read_although_the_client_goes_on_writing() {
    let (mut server, mut client, near) = piped().await;
    let serving = tokio::spawn(async move {
        server.write_all(&vec![3; 100_000]).await.expect("written");
    });
    let mut all = Vec::new();
    let mut piece = [0; 1_000];
    loop {
        client
            .write_all(b"acknowledged")
            .await
            .expect("somebody takes it");
        let count = client.read(&mut piece).await.expect("it comes");
        if count == 0 {
            break;
        }
        all.extend_from_slice(&piece[..count]);
    }
    serving.await.expect("the server is content");
    assert_eq!(all.len(), 100_000);
    drop(near);
}

#[tokio::test]
async fn where_nobody_listens_it_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let server = Server {
        host: "127.0.0.1".to_owned(),
        port: listener.local_addr().expect("bound").port(),
        is_encrypted: false,
        websocket: None,
    };
    drop(listener);
    let error = open(&server, None, &pipe_name(), sides().1)
        .await
        .expect_err("nobody is there");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn while_reading_is_held_nothing_more_comes_and_what_the_client_says_still_leaves() {
    let (mut server, mut client, near) = piped().await;
    server.write_all(b"a").await.expect("written");
    client.read_exact(&mut [0]).await.expect("it comes");
    near.hold.send_replace(true);
    // The look that was begun before still takes what comes.
    server.write_all(b"b").await.expect("written");
    client.read_exact(&mut [0]).await.expect("it comes");
    server.write_all(b"c").await.expect("written");
    client.write_all(b"1").await.expect("written");
    server.read_exact(&mut [0]).await.expect("it comes");
    assert_eq!(
        client.try_read(&mut [0]).map_err(|error| error.kind()),
        Err(io::ErrorKind::WouldBlock)
    );
    near.hold.send_replace(false);
    let mut byte = [0];
    client.read_exact(&mut byte).await.expect("it comes");
    assert_eq!(byte, *b"c");
}
