//! The server on a real socket, with whoever may come.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::limits::{BUFFER_BYTES, CONNECTIONS_MAX};
use super::*;
use crate::ops::state::{State, sample};

/// Longer than anything here takes on a busy machine; only failures wait for it.
const PATIENCE: Duration = Duration::from_mins(1);

struct Running {
    address: SocketAddr,
    _server: Server,
    token: Option<tempfile::NamedTempFile>,
}

/// An address that is free now. Somebody else could take it; the server would say so and wait.
fn free() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

fn start_with(look: impl Fn() -> State + Send + Sync + 'static, token: Option<&str>) -> Running {
    let address = free();
    let token = token.map(|token| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), token).unwrap();
        file
    });
    let config = Config {
        listen: Some(address),
        token_file: token.as_ref().map(|file| file.path().to_owned()),
    };
    let server = Server::start(&config, Look::new(look)).unwrap();
    Running {
        address,
        _server: server,
        token,
    }
}

fn start() -> Running {
    start_with(sample::state, None)
}

impl Running {
    fn connect(&self) -> TcpStream {
        let until = Instant::now() + PATIENCE;
        let stream = loop {
            match TcpStream::connect(self.address) {
                Ok(stream) => break stream,
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
            std::thread::yield_now();
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends this, and gives everything that comes until the connection ends.
    fn say(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        // It may be closed before it has heard everything.
        drop(stream.write_all(request));
        heard(&mut stream)
    }

    /// A request of a method with further headers, and a connection that ends.
    fn ask(&self, method: &str, path: &str, headers: &str) -> String {
        let host = self.address;
        self.say(
            format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}\r\n")
                .as_bytes(),
        )
    }

    fn get(&self, path: &str) -> String {
        self.ask("GET", path, "")
    }
}

fn heard(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&bytes)),
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn status(answer: &str) -> u16 {
    let code = answer
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| answer.strip_prefix("HTTP/1.0 "));
    let code = code.and_then(|rest| rest.get(..3));
    code.unwrap_or_else(|| panic!("no answer: {answer:?}"))
        .parse()
        .unwrap()
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[test]
fn everything_that_is_there_is_answered_with_its_type_and_protected() {
    let server = start();
    for (path, code, kind, contains) in [
        ("/", 200, "text/html; charset=utf-8", "<!doctype html>"),
        (
            "/metrics",
            200,
            "text/plain; version=0.0.4; charset=utf-8",
            "# TYPE edgeferry_ready gauge",
        ),
        ("/health/live", 200, "application/json", "{\"live\":true}"),
        (
            "/health/ready",
            503,
            "application/json",
            "{\"ready\":false,\"buffering\":true,\"queued\":17,",
        ),
        ("/api/status", 200, "application/json", "{\"version\":1,"),
        (
            "/api/status?x=%00&y=../..",
            200,
            "application/json",
            "{\"version\":1,",
        ),
        (
            "/api/history",
            200,
            "application/json",
            "{\"version\":1,\"step_s\":1,\"series\":[{\"lane\":null,\"points\":",
        ),
    ] {
        let answer = server.get(path);
        assert_eq!(status(&answer), code, "{path}");
        let head = answer.split("\r\n\r\n").next().unwrap();
        for header in [
            &format!("content-type: {kind}"),
            "cache-control: no-store",
            "x-content-type-options: nosniff",
            "x-frame-options: DENY",
            "referrer-policy: no-referrer",
            "frame-ancestors 'none'",
            "content-security-policy: default-src 'none'",
        ] {
            assert!(head.contains(header), "{path}: {header}: {head}");
        }
        assert!(body(&answer).contains(contains), "{path}: {answer}");
    }
}

#[test]
fn openmetrics_is_given_to_who_wants_it() {
    let answer = start().ask(
        "GET",
        "/metrics",
        "accept: application/openmetrics-text;version=1.0.0\r\n",
    );
    assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(answer.ends_with("# EOF\n"));
}

#[test]
fn a_gateway_that_buffers_is_ready_and_says_so() {
    let state = || {
        let mut state = sample::state();
        state.health.is_ready = true;
        state
    };
    let answer = start_with(state, None).get("/health/ready");
    assert_eq!(status(&answer), 200);
    assert!(
        body(&answer).starts_with("{\"ready\":true,\"buffering\":true,"),
        "{answer}"
    );
}

#[test]
fn only_reading_is_possible() {
    let server = start();
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
        let answer = server.ask(method, "/api/status", "");
        assert_eq!(status(&answer), 405, "{method}");
        assert!(answer.contains("allow: GET, HEAD\r\n"), "{answer}");
    }
    let post = server.ask("POST", "/", "content-length: 5\r\n\r\nhello");
    assert_eq!(status(&post), 405);
    let head = server.ask("HEAD", "/api/status", "");
    assert_eq!(status(&head), 200);
    assert!(
        head.contains("content-length: ") && body(&head).is_empty(),
        "{head}"
    );
}

#[test]
fn no_trick_with_a_path_finds_anything() {
    let server = start();
    for path in [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/metrics/",
        "//metrics",
        "/METRICS",
        "/metrics%00",
        "/metrics;x",
        "/api",
        "/page.html",
        "/api/status/../../metrics",
        "/%6detrics",
    ] {
        let answer = server.get(path);
        assert_eq!(status(&answer), 404, "{path}");
        assert!(body(&answer).starts_with("there is nothing here. There are: / (status page)"));
    }
    // Not a path at all.
    for target in ["metrics", "\\metrics", "", "/a b", "/\u{7f}"] {
        let answer = server.get(target);
        assert!((400..500).contains(&status(&answer)), "{target:?}: {answer}");
    }
}

#[test]
fn what_is_no_request_is_refused_with_a_4xx() {
    let server = start();
    for nonsense in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this is TLS\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\n: empty\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    ] {
        let answer = server.say(nonsense);
        let what = String::from_utf8_lossy(nonsense);
        assert!((400..500).contains(&status(&answer)), "{what:?}: {answer:?}");
    }
    // It is none the worse for it.
    assert_eq!(status(&server.get("/health/live")), 200);
}

#[test]
fn oversized_requests_are_refused_with_431() {
    let server = start();
    let long = "x".repeat(2 * BUFFER_BYTES);
    for request in [
        format!("GET /{long} HTTP/1.1\r\nhost: localhost\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nhost: localhost\r\nlong: {long}\r\n\r\n"),
        format!(
            "GET / HTTP/1.1\r\nhost: localhost\r\n{}\r\n",
            "a: b\r\n".repeat(limits::HEADERS_MAX + 1)
        ),
    ] {
        let answer = server.say(request.as_bytes());
        let code = status(&answer);
        assert!(code == 431 || code == 414, "{answer:?}");
    }
}

#[test]
fn requests_that_come_at_once_are_answered_in_turn() {
    let server = start();
    let one = |path: &str, close: &str| format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{close}\r\n");
    let all = one("/health/live", "") + &one("/nothing", "") + &one("/health/live", "connection: close\r\n");
    let answers = server.say(all.as_bytes());
    let codes: Vec<u16> = answers
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|answer| answer.get(..3).unwrap().parse().unwrap())
        .collect();
    assert_eq!(codes, [200, 404, 200]);
}

#[test]
fn connections_that_only_wait_make_room_for_whoever_asks_and_nobody_keeps_a_place_for_ever() {
    let server = start();
    let mut slow: Vec<TcpStream> = (0..CONNECTIONS_MAX).map(|_| server.connect()).collect();
    for stream in &mut slow {
        stream.write_all(b"GET / HT").unwrap();
    }
    for _ in 0..3 {
        assert_eq!(status(&server.get("/health/live")), 200);
    }
    // That was the place of the one that had been quiet for longest.
    assert_eq!(heard(slow.first_mut().unwrap()), "");
    // A request that does not end is ended.
    let began = Instant::now();
    let answer = heard(slow.last_mut().unwrap());
    assert!(began.elapsed() <= limits::REQUEST_WITHIN + PATIENCE, "{answer}");
    assert_eq!(status(&answer), 408);
    let (head, said) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains(&format!("content-length: {}", said.len())),
        "{answer}"
    );
    assert_eq!(
        said,
        format!(
            "a request has to arrive within {} seconds.\n",
            limits::REQUEST_WITHIN.as_secs()
        )
    );
}

#[test]
fn names_of_others_are_not_answered_without_a_token() {
    let server = start();
    let asked = |host: &str| {
        server
            .say(format!("GET /api/status HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes())
    };
    let answer = asked("evil.example");
    assert_eq!(status(&answer), 421);
    assert!(body(&answer).contains("write token_file in [http]"));
    assert_eq!(status(&asked("localhost:1")), 200);
    let absolute = server.ask("GET", "http://evil.example/api/status", "");
    assert_eq!(status(&absolute), 421);
    // Simple programs.
    assert_eq!(status(&server.say(b"GET /api/status HTTP/1.0\r\n\r\n")), 200);
}

#[test]
fn with_a_token_only_who_knows_it_is_answered() {
    let token = "0123456789abcdef-token";
    let server = start_with(sample::state, Some(token));
    for path in [
        "/",
        "/metrics",
        "/api/status",
        "/api/history",
        "/health/ready",
        "/nothing",
    ] {
        let answer = server.get(path);
        assert_eq!(status(&answer), 401, "{path}");
        assert!(
            answer.contains("www-authenticate: Bearer realm=\"edgeferry\"\r\n"),
            "{answer}"
        );
        assert!(
            answer.contains("www-authenticate: Basic realm=\"edgeferry\", charset=\"UTF-8\"\r\n"),
            "{answer}"
        );
        assert!(!answer.contains("gw-7") && !answer.contains(token));
    }
    assert_eq!(status(&server.get("/health/live")), 200);
    let right = server.ask(
        "GET",
        "/api/status",
        &format!("authorization: Bearer {token}\r\n"),
    );
    assert_eq!(status(&right), 200);
    assert!(!right.contains(token));
    let in_the_address = server.get(&format!("/api/status?token={token}"));
    assert_eq!(status(&in_the_address), 401);
    let began = Instant::now();
    let wrong = server.ask("GET", "/api/status", "authorization: Bearer wrong\r\n");
    assert_eq!(status(&wrong), 401);
    assert!(began.elapsed() >= limits::GUESS_COSTS, "guessing is too cheap");
}

#[test]
fn a_new_token_counts_without_a_restart() {
    let server = start_with(sample::state, Some("the-first-token-of-all"));
    let asked =
        |token: &str| status(&server.ask("GET", "/metrics", &format!("authorization: Bearer {token}\r\n")));
    assert_eq!(asked("the-first-token-of-all"), 200);
    let file = server.token.as_ref().unwrap();
    std::fs::write(file.path(), "another-token-of-all\n").unwrap();
    let until = Instant::now() + PATIENCE;
    while asked("another-token-of-all") != 200 {
        assert!(Instant::now() < until, "the new token does not count");
    }
    assert_eq!(asked("the-first-token-of-all"), 401);
}

#[test]
fn a_port_that_is_taken_is_had_as_soon_as_it_is_free() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let config = Config {
        listen: Some(taken.local_addr().unwrap()),
        token_file: None,
    };
    let server = Server::start(&config, Look::new(sample::state)).unwrap();
    let running = Running {
        address: taken.local_addr().unwrap(),
        _server: server,
        token: None,
    };
    drop(taken);
    assert_eq!(status(&running.get("/health/live")), 200);
}

#[test]
fn off_is_off() {
    let config = Config {
        listen: None,
        token_file: None,
    };
    assert!(Server::start(&config, Look::new(sample::state)).is_none());
}

#[test]
fn a_look_that_panics_ends_nothing_but_its_answer_and_the_history_goes_on() {
    let is_broken = Arc::new(AtomicBool::new(true));
    let breaks = Arc::clone(&is_broken);
    let look = move || {
        assert!(!breaks.load(Ordering::Relaxed), "a test's own");
        sample::state()
    };
    let server = start_with(look, None);
    for path in ["/api/status", "/api/history", "/metrics", "/health/ready"] {
        assert_eq!(server.get(path), "", "{path}: no answer, rather than a wrong one");
    }
    is_broken.store(false, Ordering::Relaxed);
    assert_eq!(status(&server.get("/api/status")), 200);
    let until = Instant::now() + PATIENCE;
    while !server.get("/api/history").contains("\"points\":[[") {
        assert!(Instant::now() < until, "the history has ended");
    }
}

#[test]
fn a_look_that_does_not_come_back_does_not_hold_up_the_end() {
    let (release, held) = std::sync::mpsc::sync_channel::<()>(1);
    let held = std::sync::Mutex::new(held);
    let look = move || {
        // A medium that stalls.
        held.lock().unwrap().recv().unwrap_or_default();
        sample::state()
    };
    let server = start_with(look, None);
    let began = Instant::now();
    drop(server);
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    drop(release);
}

#[test]
fn a_daemon_that_hangs_is_not_alive() {
    let with = |is_live: bool| {
        let look = move || {
            let mut state = sample::state();
            state.health.is_live = is_live;
            state
        };
        start_with(look, None).get("/health/live")
    };
    let (well, hangs) = (with(true), with(false));
    assert_eq!((status(&well), body(&well)), (200, "{\"live\":true}"));
    assert_eq!((status(&hangs), body(&hangs)), (503, "{\"live\":false}"));
}

/// What somebody who looks costs: each form is made once and then shared, and has a size. The times are printed, and are no test.
#[test]
fn a_scrape_is_made_once_for_all_who_ask_and_has_a_bounded_size() {
    let board = Board::new(Look::new(sample::state), History::default());
    let until = Instant::now() + PATIENCE;
    // A look may have become too old between two: once in so many it has not.
    while board.metrics(exposition::Form::Text).as_ptr() != board.metrics(exposition::Form::Text).as_ptr() {
        assert!(Instant::now() < until, "each who asks has one made");
    }
    let rounds = 20_u32;
    let mut state = sample::state();
    let lane = state.lanes[0].clone();
    state.lanes = (0..8)
        .map(|number| crate::ops::state::Lane {
            name: format!("lane{number}"),
            ..lane.clone()
        })
        .collect();
    let timed = |what: &str, work: &mut dyn FnMut() -> usize| {
        let began = Instant::now();
        let bytes = (0..rounds).map(|_| work()).last().unwrap();
        eprintln!("{what}: {:?}, {bytes} bytes", began.elapsed() / rounds);
        assert!((1_000..200_000).contains(&bytes), "{what}: {bytes}");
    };
    let mut baseline = metrics::Baseline::default();
    baseline.see(&state);
    timed("metrics of 8 lanes, made", &mut || {
        metrics::text(&state, exposition::Form::Text, &baseline).len()
    });
    timed("status of 8 lanes, made", &mut || {
        serde_json::to_vec(&state).unwrap().len()
    });
    timed("metrics, shared", &mut || {
        board.metrics(exposition::Form::Text).len()
    });
    eprintln!("page: {} bytes", Site::new(Access::Local, board).page_bytes());
}
