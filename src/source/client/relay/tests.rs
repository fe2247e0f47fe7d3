//! Against a server of our own.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, UnixStream};

use super::super::pipe::{Near, pipe_name, sides};
use super::*;

/// So many make a conversation for the kernel, which then delays acknowledgements.
const EXCHANGES: usize = 25;
/// Both sides write so many bytes at once, far less than a segment.
const SMALL: usize = 8;

fn server_at(address: SocketAddr) -> Server {
    Server {
        host: address.ip().to_string(),
        port: address.port(),
        is_encrypted: false,
        websocket: None,
    }
}

/// A listener, and a pipe to it.
async fn piped() -> (TcpStream, UnixStream, Near) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let server = server_at(listener.local_addr().expect("bound"));
    let name = pipe_name();
    let (near, far) = sides();
    open(&server, None, &name, far, Shortener::new(false).0)
        .await
        .expect("it opens");
    let client = UnixStream::connect(&name).await.expect("the pipe is there");
    let (accepted, _) = listener.accept().await.expect("it came");
    (accepted, client, near)
}

/// Many small messages, each with an answer of the client's, as PUBACKs are; what the kernel does with the next message then.
async fn converse(server: &mut TcpStream, client: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    for _ in 0..EXCHANGES {
        server.write_all(&[1; SMALL]).await.expect("written");
        client.read_exact(&mut [0; SMALL]).await.expect("a message");
        client.write_all(&[2; SMALL]).await.expect("written");
        server.read_exact(&mut [0; SMALL]).await.expect("an answer");
    }
    server.write_all(&[1; SMALL]).await.expect("written");
    client.read_exact(&mut [0; SMALL]).await.expect("a message");
}

/// Otherwise a broker with Nagle's algorithm waits 40 ms with its next message (`./dev bench e2e --only latency` measures it).
#[tokio::test]
async fn what_was_read_is_acknowledged_at_once_also_on_a_connection_that_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let mut plain = TcpStream::connect(address).await.expect("it connects");
    let (mut server, _) = listener.accept().await.expect("it came");
    converse(&mut server, &mut plain).await;
    assert!(
        !plain.quickack().expect("Linux says it"),
        "the kernel delays no acknowledgement here"
    );

    let mut prompt = Prompt(TcpStream::connect(address).await.expect("it connects"));
    let (mut server, _) = listener.accept().await.expect("it came");
    converse(&mut server, &mut prompt).await;
    assert!(prompt.0.quickack().expect("Linux says it"));
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
    // A port that is taken, and not listened at.
    let bound = TcpSocket::new_v4().expect("a socket");
    bound.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let server = server_at(bound.local_addr().expect("bound"));
    let error = open(&server, None, &pipe_name(), sides().1, Shortener::new(false).0)
        .await
        .expect_err("nobody is there");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

/// Packets of two bytes: less than the beginning of one is not passed on.
#[tokio::test]
async fn while_reading_is_held_nothing_more_comes_and_what_the_client_says_still_leaves() {
    let (mut server, mut client, near) = piped().await;
    server.write_all(b"a\0").await.expect("written");
    client.read_exact(&mut [0; 2]).await.expect("it comes");
    near.hold.send_replace(true);
    // The look that was begun before still takes what comes.
    server.write_all(b"b\0").await.expect("written");
    client.read_exact(&mut [0; 2]).await.expect("it comes");
    server.write_all(b"c\0").await.expect("written");
    client.write_all(b"1").await.expect("written");
    server.read_exact(&mut [0]).await.expect("it comes");
    assert_eq!(
        client.try_read(&mut [0]).map_err(|error| error.kind()),
        Err(io::ErrorKind::WouldBlock)
    );
    near.hold.send_replace(false);
    let mut packet = [0; 2];
    client.read_exact(&mut packet).await.expect("it comes");
    assert_eq!(packet, *b"c\0");
}

#[tokio::test]
async fn what_goes_wrong_with_the_pipe_is_not_told_as_the_brokers() {
    let name = pipe_name();
    let _first = pipe::listen(&name).expect("nobody has it");
    let second = pipe::listen(&name).expect_err("it is taken");
    assert_eq!(second.kind(), io::ErrorKind::Other);
    assert!(
        second.to_string().starts_with("the pipe between the MQTT client"),
        "{second}"
    );
}
