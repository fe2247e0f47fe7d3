use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream as Client;

use super::*;
use crate::identity::Identity;
use crate::message::Epoch;
use crate::ops::hand::Known;

/// An answer is a matter of milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

fn hand(folder: &Path) -> Arc<Hand> {
    let identity = Identity {
        gateway: "gw".to_owned(),
        epoch: Epoch(5),
    };
    let known = Known::open(folder).expect("opens");
    Arc::new(Hand::new(identity, Vec::new(), known, true))
}

/// Runs `work` against a served socket on a thread of its own, as a client would.
fn with_client(work: impl FnOnce(&Path) + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("builds");
    runtime.block_on(async {
        let dir = tempfile::tempdir().expect("temp dir");
        // Left behind by a daemon that was killed.
        drop(std::os::unix::net::UnixListener::bind(path(dir.path())).expect("binds"));
        let control =
            Control::start(dir.path(), hand(dir.path()), tokio::sync::mpsc::channel(1).0).expect("starts");
        let socket = path(dir.path());
        let mode = fs::metadata(&socket).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let client = tokio::task::spawn_blocking(move || work(&socket));
        client.await.expect("the client is content");
        control.stop().await;
        assert!(!path(dir.path()).exists(), "removed at a stop");
    });
}

fn connect(socket: &Path) -> Client {
    let client = Client::connect(socket).expect("connects");
    client.set_read_timeout(Some(PATIENCE)).expect("can be set");
    client
}

fn ask(socket: &Path, request: &[u8]) -> Vec<String> {
    let mut client = connect(socket);
    client.write_all(request).expect("takes it");
    let lines = BufReader::new(&client).lines();
    lines.map_while(Result::ok).collect()
}

#[test]
fn a_request_is_a_line_and_the_last_answer_says_that_it_is_the_last() {
    with_client(|socket| {
        let answers = ask(socket, b"{\"version\":1,\"verb\":\"queue ls\",\"lane\":null}\n");
        assert_eq!(answers, ["{\"done\":{\"exit\":0}}"]);
    });
}

#[test]
fn what_is_no_request_is_answered_with_what_is_wrong() {
    with_client(|socket| {
        let long = vec![b'x'; 100_000];
        let cases: [(&[u8], &str); 4] = [
            (b"{\"version\":2,\"verb\":\"queue ls\"}\n", "version 1, not 2"),
            (b"{\"version\":1,\"verb\":\"queue dance\"}\n", "queue dance"),
            (b"hello\n", "not a request"),
            (&long, "one line of at most 65536 bytes"),
        ];
        for (request, expected) in cases {
            let answers = ask(socket, request);
            let [answer] = answers.as_slice() else {
                panic!("{answers:?}");
            };
            assert!(
                answer.contains("\"exit\":64") && answer.contains(expected),
                "{answer}"
            );
        }
    });
}

#[test]
fn whoever_comes_while_all_connections_are_taken_is_served_later() {
    with_client(|socket| {
        let mut idle: Vec<Client> = (0..CONNECTIONS_MAX).map(|_| connect(socket)).collect();
        let mut late = connect(socket);
        late.write_all(b"{\"version\":1,\"verb\":\"queue ls\"}\n")
            .expect("takes it");
        late.set_read_timeout(Some(Duration::from_millis(300)))
            .expect("can be set");
        let mut line = String::new();
        let waited = BufReader::new(&late).read_line(&mut line);
        assert!(waited.is_err(), "{line}");
        drop(idle.pop());
        late.set_read_timeout(Some(PATIENCE)).expect("can be set");
        BufReader::new(&late).read_line(&mut line).expect("is served");
        assert!(line.contains("done"), "{line}");
    });
}

#[test]
fn an_idle_connection_does_not_hold_up_a_stop() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("builds");
    runtime.block_on(async {
        let dir = tempfile::tempdir().expect("temp dir");
        let control =
            Control::start(dir.path(), hand(dir.path()), tokio::sync::mpsc::channel(1).0).expect("starts");
        let connections = Arc::clone(&control.connections);
        let idle = connect(&path(dir.path()));
        let taken = async {
            while connections.available_permits() > CONNECTIONS_MAX - 2 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, taken).await.expect("is accepted");
        control.stop().await;
        assert_eq!(
            connections.available_permits(),
            CONNECTIONS_MAX,
            "its thread has ended"
        );
        drop(idle);
    });
}
