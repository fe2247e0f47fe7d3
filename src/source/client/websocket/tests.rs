//! Against servers that do what Mosquitto does not.

use tokio::net::{TcpListener, UnixStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

use super::super::pipe::{Near, pipe_name, sides};
use super::*;

/// Largest packet.
const LIMIT: usize = TRANSPORT_LIMIT as usize;

type Accepted = WebSocketStream<TcpStream>;

/// A server that takes one WebSocket for MQTT, and a client at the other end of the pipe.
async fn connected<F>(
    serve: impl FnOnce(Accepted) -> F + Send + 'static,
) -> (UnixStream, Near, JoinHandle<()>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let task = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.expect("somebody comes");
        let answer = |_: &Request, mut response: Response| {
            let headers = response.headers_mut();
            headers.insert("Sec-WebSocket-Protocol", HeaderValue::from_static("mqtt"));
            Ok(response)
        };
        serve(accept_hdr_async(tcp, answer).await.expect("a WebSocket")).await;
    });
    let server = Server {
        host: "127.0.0.1".to_owned(),
        port,
        is_encrypted: false,
        websocket: Some("/mqtt".to_owned()),
    };
    let name = pipe_name();
    let url = format!("ws://127.0.0.1:{port}/mqtt");
    let (near, far) = sides();
    open(&server, &url, None, &name, LIMIT, far, Shortener::new(false).0)
        .await
        .expect("it opens");
    let client = UnixStream::connect(&name).await.expect("the pipe is there");
    (client, near, task)
}

/// Reads to the end.
async fn rest(client: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).await.expect("it ends in order");
    bytes
}

#[tokio::test]
async fn bytes_go_both_ways_whatever_the_frames() {
    let (mut client, near, task) = connected(|mut server| async move {
        for part in [&b"a"[..], b"bc", b""] {
            server.send(Message::binary(part.to_vec())).await.expect("sent");
        }
        let mut back = Vec::new();
        while let Some(Ok(message)) = server.next().await {
            back.extend_from_slice(&message.into_data());
            if back.len() == 100_000 {
                break;
            }
        }
        assert!(back.iter().all(|byte| *byte == 7));
        server.close(None).await.expect("closed");
    })
    .await;
    client.write_all(&vec![7; 100_000]).await.expect("written");
    assert_eq!(rest(&mut client).await, b"abc");
    task.await.expect("the server is content");
    assert!(near.broken.get().is_none());
}

#[tokio::test]
async fn a_flood_of_pings_costs_no_stack() {
    const PINGS: usize = 1_000_000;
    let (mut client, _near, task) = connected(|server| async move {
        let mut tcp = server.into_inner();
        // Two bytes each (RFC 6455, 5.5.2). Nobody reads the answers, so they may stop.
        let (mut answers, mut pings) = tcp.split();
        let flood = async {
            pings.write_all(&[0x89, 0].repeat(PINGS)).await.expect("taken");
            pings.write_all(&[0x82, 2, b'x', 0]).await.expect("taken");
            pings.shutdown().await.expect("ended");
        };
        let mut sink = tokio::io::sink();
        let read = tokio::io::copy(&mut answers, &mut sink);
        tokio::join!(flood, async { drop(read.await) });
    })
    .await;
    assert_eq!(rest(&mut client).await, b"x\0");
    drop(client);
    task.await.expect("the server is content");
}

#[tokio::test]
async fn text_and_a_frame_that_is_too_large_end_it_and_say_why() {
    let (mut client, near, _task) = connected(|mut server| async move {
        drop(server.send(Message::text("hello")).await);
    })
    .await;
    assert_eq!(rest(&mut client).await, b"");
    assert!(matches!(
        near.broken.get(),
        Some(Error::Protocol(ProtocolError::InvalidOpcode(1)))
    ));

    let (mut client, near, _task) = connected(|server| async move {
        let mut tcp = server.into_inner();
        // Its header alone, with a length of 2^40.
        drop(tcp.write_all(&[0x82, 127, 0, 0, 1, 0, 0, 0, 0, 0]).await);
        drop(tcp.read(&mut [0; 16]).await);
    })
    .await;
    assert_eq!(rest(&mut client).await, b"");
    assert!(matches!(near.broken.get(), Some(Error::Capacity(_))), "{near:?}");
}

#[tokio::test]
async fn a_packet_as_large_as_the_limit_comes_through_and_one_over_it_tells_its_size() {
    let (mut client, near, _task) = connected(|mut server| async move {
        let largest = vec![7; LIMIT + HEADER_MAX];
        server.send(Message::binary(largest)).await.expect("taken");
        let mut tcp = server.into_inner();
        // The header alone of a frame of 0x0110_0000 bytes, 17 MiB.
        drop(tcp.write_all(&[0x82, 127, 0, 0, 0, 0, 1, 0x10, 0, 0]).await);
        drop(tcp.read(&mut [0; 16]).await);
    })
    .await;
    assert_eq!(rest(&mut client).await.len(), LIMIT + HEADER_MAX);
    let Some(Error::Capacity(CapacityError::MessageTooLong { size, .. })) = near.broken.get() else {
        panic!("it is too large: {near:?}");
    };
    assert_eq!(*size, 17 * 1024 * 1024);
}

#[test]
fn a_few_connections_find_a_limit_for_any_packet_however_it_is_cut_into_frames() {
    let mut limit = LIMIT;
    let mut connections = 1;
    while frame_limit(limit) < FRAME_LIMIT {
        // The frame that is one byte too much says no more than that.
        limit = frame_limit(limit) + 1;
        connections += 1;
    }
    assert_eq!(connections, 6);
    assert!(frame_limit(17 << 20) >= (17 << 20) + HEADER_MAX);
    assert_eq!(frame_limit(usize::MAX), FRAME_LIMIT, "there is nothing over it");
}

#[tokio::test]
async fn the_pipe_takes_one_client() {
    let name = pipe_name();
    let listener = UnixListener::bind(&name).expect("a pipe");
    let first = UnixStream::connect(&name).await.expect("it is there");
    let accepted = pipe::accept(listener).await.expect("we are this process");
    UnixStream::connect(&name).await.expect_err("it is gone");
    drop((first, accepted));
}

#[tokio::test]
async fn a_client_that_goes_closes_the_websocket() {
    let (client, _, task) = connected(|mut server| async move {
        let last = server.next().await.expect("a message").expect("in order");
        assert!(last.is_close());
    })
    .await;
    drop(client);
    task.await.expect("the server is content");
}

/// CONNACK, then a PUBLISH with QoS 0 and a payload of 17 MiB to the topic `t`, one frame each.
async fn send_a_large_packet(tcp: TcpStream) {
    let answer = |_: &Request, mut response: Response| {
        let headers = response.headers_mut();
        headers.insert("Sec-WebSocket-Protocol", HeaderValue::from_static("mqtt"));
        Ok(response)
    };
    let mut server = accept_hdr_async(tcp, answer).await.expect("a WebSocket");
    server.next().await.expect("CONNECT").expect("in order");
    let connack = vec![0x20, 2, 0, 0];
    server.send(Message::binary(connack)).await.expect("taken");
    // The remaining length 0x0110_0003, seven bits at a time.
    let mut publish = vec![0x30, 0x83, 0x80, 0xc0, 0x08, 0, 1, b't'];
    publish.resize(publish.len() + LARGE, b'x');
    drop(server.send(Message::binary(publish)).await);
    // Until the client has gone.
    drop(server.next().await);
}

const LARGE: usize = 17 * 1024 * 1024;

#[tokio::test]
async fn a_packet_over_the_limit_comes_by_the_next_connection_with_mqtt_3_1_1() {
    use crate::message::OVERSIZE_KEPT_BYTES;
    use crate::source::client::v4::V4;
    use crate::source::client::{Connector, Event, Events, Failure, Identity};
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(send_a_large_packet(tcp));
        }
    });
    let text = format!(
        "[gateway]\nid = \"gw\"\ndata_dir = \"/d\"\n[[mqtt]]\nurl = \"ws://127.0.0.1:{port}\"\nversion = \"3.1.1\"\n[kafka]\n\
         bootstrap_servers = [\"k:9092\"]\n[[route]]\nfrom = \"d/{{device}}\"\ntopic = \"t\"\n"
    );
    let (mut config, _) = crate::config::parse(std::path::Path::new("test.toml"), &text).expect("valid");
    let connector = V4(Identity {
        config: config.brokers.remove(0),
        client_id: "id".to_owned(),
    });
    let (_client, mut events) = connector.connect(TRANSPORT_LIMIT);
    let failure = loop {
        if let Err(failure) = events.next().await {
            break failure;
        }
    };
    let size = LARGE + 8;
    assert_eq!(failure, Failure::TooLarge { size });
    let (_client, mut events) = connector.connect(u32::try_from(size).expect("small"));
    let publish = loop {
        if let Event::Published(publish) = events.next().await.expect("it is let in") {
            break publish;
        }
    };
    assert_eq!((publish.topic.as_str(), publish.whole), ("t", Some(LARGE as u64)));
    assert_eq!(publish.payload.len(), OVERSIZE_KEPT_BYTES);
}
