use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream as Client;

use super::*;
use crate::identity::Identity;
use crate::message::Epoch;
use crate::ops::Look;
use crate::ops::hand::Known;
use crate::ops::state::sample;

/// An answer is a matter of milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

fn hand(folder: &Path) -> Arc<Hand> {
    Arc::new(bare_hand(folder).with_look(Look::new(sample::state)))
}

fn bare_hand(folder: &Path) -> Hand {
    let identity = Identity {
        gateway: "gw".to_owned(),
        epoch: Epoch(5),
    };
    let known = Known::open(folder).expect("opens");
    Hand::new(identity, Vec::new(), known, true)
}

/// Runs `work` against a served socket on a thread of its own, as a client would.
fn with_client(work: impl FnOnce(&Path) + Send + 'static) {
    with_client_beside(0, work);
}

/// The same, beside so many commands that take their time.
fn with_client_beside(commands: usize, work: impl FnOnce(&Path) + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("builds");
    runtime.block_on(async {
        let dir = tempfile::tempdir().expect("temp dir");
        // Left behind by a daemon that was killed.
        drop(std::os::unix::net::UnixListener::bind(path(dir.path())).expect("binds"));
        let control = Control::start(dir.path(), hand(dir.path()), no_reloads()).expect("starts");
        let socket = path(dir.path());
        let mode = fs::metadata(&socket).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let at_work = Arc::clone(&control.places.commands);
        let at_work = at_work.try_acquire_many_owned(all(commands)).expect("free");
        let client = tokio::task::spawn_blocking(move || work(&socket));
        client.await.expect("the client is content");
        drop(at_work);
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

/// Nobody takes them.
fn no_reloads() -> Reloads {
    mpsc::channel(1).0
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

/// A line that a client reads, or nothing when the connection ended.
fn line(client: &Client) -> String {
    let mut line = String::new();
    BufReader::new(client).read_line(&mut line).expect("in time");
    line
}

#[test]
fn the_state_is_answered_while_all_places_for_commands_are_taken_and_one_more_command_is_told_so() {
    with_client_beside(COMMANDS_MAX, |socket| {
        let told = ask(socket, b"{\"version\":1,\"verb\":\"queue ls\",\"lane\":null}\n");
        assert!(
            matches!(&told[..], [told] if told.contains("4 other commands are at work")),
            "{told:?}"
        );
        let answers = ask(socket, b"{\"version\":1,\"verb\":\"status\"}\n");
        let [state, done] = answers.as_slice() else {
            panic!("{answers:?}");
        };
        assert!(state.starts_with("{\"state\":{\"version\":1,"), "{state}");
        assert_eq!(done, "{\"done\":{\"exit\":1}}", "the sample is not ready");
    });
}

#[test]
fn whoever_says_nothing_loses_the_place_in_front_to_those_who_wait() {
    with_client(|socket| {
        let idle: Vec<Client> = (0..FRONT_MAX).map(|_| connect(socket)).collect();
        let mut late = connect(socket);
        late.write_all(b"{\"version\":1,\"verb\":\"status\"}\n")
            .expect("takes it");
        assert!(line(&late).starts_with("{\"state\":"));
        for client in &idle {
            assert_eq!(line(client), "", "it was closed");
        }
    });
}

#[test]
fn without_anything_to_show_a_status_is_refused_in_words() {
    let dir = tempfile::tempdir().expect("temp dir");
    let hand = bare_hand(dir.path());
    let refused = hand.serve(&crate::ops::hand::Verb::Status, &mut io::empty(), &mut |_| Ok(()));
    let error = refused.expect_err("refused").to_string();
    assert_eq!(error, "nothing runs on this store");
}

#[test]
fn an_idle_connection_does_not_hold_up_a_stop() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("builds");
    runtime.block_on(async {
        let dir = tempfile::tempdir().expect("temp dir");
        let control = Control::start(dir.path(), hand(dir.path()), no_reloads()).expect("starts");
        let connections = Arc::clone(&control.places.front);
        let idle = connect(&path(dir.path()));
        let taken = async {
            while connections.available_permits() > FRONT_MAX - 2 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, taken).await.expect("is accepted");
        control.stop().await;
        assert_eq!(connections.available_permits(), FRONT_MAX, "its thread has ended");
        drop(idle);
    });
}

/// Asks for a reload that is answered so; `None`: whoever does it ends.
fn reloaded(answer: Option<Reloaded>) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("builds");
    runtime.block_on(async {
        let dir = tempfile::tempdir().expect("temp dir");
        let (reloads, mut asked) = mpsc::channel(1);
        let control = Control::start(dir.path(), hand(dir.path()), reloads).expect("starts");
        let socket = path(dir.path());
        let client =
            tokio::task::spawn_blocking(move || ask(&socket, b"{\"version\":1,\"verb\":\"reload\"}\n"));
        let reply = tokio::time::timeout(PATIENCE, asked.recv()).await.expect("asks");
        match answer {
            Some(answer) => reply.expect("is there").send(answer).expect("waits"),
            None => drop(reply),
        }
        let answers = client.await.expect("is content");
        control.stop().await;
        answers
    })
}

#[test]
fn a_reload_is_answered_with_what_came_of_it_when_it_is_over() {
    let done = reloaded(Some(Ok("reloaded: route[1] added".to_owned())));
    assert_eq!(
        done,
        [r#"{"note":"reloaded: route[1] added"}"#, r#"{"done":{"exit":0}}"#]
    );
    let refused = reloaded(Some(Err((Exit::Usage, "line 7 is wrong".to_owned()))));
    assert_eq!(refused, [r#"{"error":{"exit":64,"message":"line 7 is wrong"}}"#]);
    let over = reloaded(None).concat();
    assert!(over.contains("edgeferry is stopping"), "{over}");
}

#[test]
fn who_sends_a_byte_now_and_then_keeps_no_place_for_long() {
    with_client(|socket| {
        let mut client = connect(socket);
        // Shorter than any patience of the other side: a read that would have come back is a pause.
        let pause = Duration::from_millis(100);
        client.set_read_timeout(Some(pause)).expect("can be set");
        let until = std::time::Instant::now() + PATIENCE;
        let mut answer = [0; 1];
        while client.write_all(b"x").is_ok() && !matches!(io::Read::read(&mut client, &mut answer), Ok(0)) {
            assert!(std::time::Instant::now() < until, "it has its place still");
        }
    });
}
