//! Asks the daemon of a store how it is, through the control socket, within a limit of time.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::failure::{AskError, PATIENCE, foreign};
use super::holder;
use super::stopped::{self, Store};
use crate::exit::Exit;
use crate::ops::State;
use crate::ops::control;
use crate::ops::hand::{Answer, Request, VERSION, Verb};

/// A state is some kilobytes; several lanes with long reasons are some ten.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What was found.
#[derive(Debug)]
pub enum Found {
    /// A daemon, and what it says.
    Running(Box<State>),
    /// A store on which nobody runs.
    Stopped(Store),
}

impl Found {
    /// Whether all is ready.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Running(state) if state.health.is_ready => Exit::Stopped,
            Self::Running(_) | Self::Stopped(_) => Exit::Failure,
        }
    }
}

/// Asks whoever runs on the store in `folder`, and looks at the store itself when that is nobody.
pub fn ask(folder: &Path) -> Result<Found, AskError> {
    if let Err(source) = std::fs::read_dir(folder) {
        return Err(match source.kind() {
            io::ErrorKind::NotFound => AskError::NoStore(folder.to_owned()),
            _ => foreign(folder, source),
        });
    }
    let socket = control::path(folder);
    match converse_in_time(&socket, folder)? {
        Ok(state) => Ok(Found::Running(state)),
        Err(error) => nobody(folder, &socket, error),
    }
}

/// Nobody listens at the socket.
fn nobody(folder: &Path, socket: &Path, error: io::Error) -> Result<Found, AskError> {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Err(foreign(socket, error)),
        // The first is a stopped daemon, the second one that was killed: its socket is still there.
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => match holder::of(folder) {
            Some(pid) => Err(AskError::Held { pid, source: error }),
            None => stopped::look(folder).map(Found::Stopped),
        },
        _ => Err(AskError::Socket {
            path: socket.to_owned(),
            source: error,
        }),
    }
}

/// What came of a conversation that was begun; inside it, that nobody listens.
type Conversation = Result<Result<Box<State>, io::Error>, AskError>;

/// The sockets at which somebody of this process still waits for an answer.
static ASKING: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn asking() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    ASKING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// On a thread of its own: a stopped process may let even the connecting wait, for ever. One at a time: who looks again and again
/// would leave a thread and a connection behind with each look.
fn converse_in_time(socket: &Path, folder: &Path) -> Conversation {
    let (done, is_done) = sync_channel(1);
    let path = socket.to_owned();
    if !asking().insert(path.clone()) {
        return Err(AskError::Silent {
            pid: holder::of(folder),
        });
    }
    let spawned = std::thread::Builder::new()
        .name("asking".to_owned())
        .spawn(move || {
            let said = converse(&path);
            asking().remove(&path);
            // Nobody waits any more when this fails.
            drop(done.send(said));
        });
    if let Err(source) = spawned {
        asking().remove(socket);
        return Err(AskError::Socket {
            path: socket.to_owned(),
            source,
        });
    }
    match is_done.recv_timeout(PATIENCE) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Err(AskError::Silent {
            pid: holder::of(folder),
        }),
    }
}

fn converse(socket: &Path) -> Conversation {
    let stream = match UnixStream::connect(socket) {
        Ok(stream) => stream,
        Err(error) => return Ok(Err(error)),
    };
    match exchange(&stream) {
        Ok(Said::State(state)) => Ok(Ok(state)),
        Ok(Said::Refused(message)) => Err(AskError::Refused(message)),
        Ok(Said::Garbage(why)) => Err(AskError::Garbage {
            path: socket.to_owned(),
            why,
        }),
        Err(source) => Err(AskError::Socket {
            path: socket.to_owned(),
            source,
        }),
    }
}

enum Said {
    State(Box<State>),
    Refused(String),
    Garbage(String),
}

fn exchange(stream: &UnixStream) -> io::Result<Said> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = Request {
        version: VERSION,
        verb: Verb::Status,
    };
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    (&*stream).write_all(&line)?;
    let mut answer = Vec::new();
    BufReader::new(stream.take(ANSWER_BYTES_MAX)).read_until(b'\n', &mut answer)?;
    if answer.is_empty() {
        return Ok(Said::Refused(
            "it closed the connection: it is stopping, or it belongs to another user".to_owned(),
        ));
    }
    Ok(match serde_json::from_slice(&answer) {
        Ok(Answer::State(state)) => Said::State(state),
        Ok(Answer::Error { message, .. }) => Said::Refused(message),
        Ok(other) => Said::Garbage(format!("it answered {}", name_of(&other))),
        Err(error) => Said::Garbage(error.to_string()),
    })
}

/// What an answer is that was not asked for.
fn name_of(answer: &Answer) -> String {
    let text = serde_json::to_string(answer).unwrap_or_default();
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// What is said about a socket at which somebody answers with `answer`.
    fn asked(answer: &'static [u8]) -> String {
        let dir = tempfile::tempdir().expect("temp dir");
        let listener = UnixListener::bind(control::path(dir.path())).expect("binds");
        let answering = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accepts");
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).expect("reads");
            stream.write_all(answer).expect("writes");
            line
        });
        let error = ask(dir.path()).expect_err("no state");
        let line = answering.join().expect("answers");
        assert_eq!(line, "{\"version\":1,\"verb\":\"status\"}\n");
        error.to_string()
    }

    #[test]
    fn what_is_no_answer_is_said_to_be_none() {
        assert!(
            asked(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                .contains("is no edgeferry that this command understands")
        );
        assert!(asked(b"\x00\xff\xfe\n").contains("is no edgeferry"));
        assert!(asked(b"{\"done\":{\"exit\":0}}\n").contains("it answered {\"done\""));
        assert!(asked(b"").contains("it is stopping, or it belongs to another user"));
        let refused = asked(b"{\"error\":{\"exit\":64,\"message\":\"use another edgeferry\"}}\n");
        assert_eq!(refused, "the daemon does not say: use another edgeferry");
    }

    #[test]
    fn who_still_waits_for_an_answer_is_not_asked_for_by_one_more_thread() {
        let dir = tempfile::tempdir().expect("temp dir");
        let listener = UnixListener::bind(control::path(dir.path())).expect("binds");
        let folder = dir.path().to_owned();
        let first = std::thread::spawn(move || ask(&folder).expect_err("no state").to_string());
        let (silent, _) = listener.accept().expect("it asks");
        for _ in 0..10 {
            let error = ask(dir.path()).expect_err("no state").to_string();
            assert!(error.contains("does not answer"), "{error}");
        }
        listener.set_nonblocking(true).expect("a socket");
        assert!(listener.accept().is_err(), "nobody else came");
        drop(silent);
        // Closed, or reset, as the request was not read.
        let error = first.join().expect("ends");
        assert!(!error.contains("does not answer"), "{error}");
        // And then it is asked again: nobody listens any more, and there is no store.
        drop(listener);
        let error = ask(dir.path());
        assert!(matches!(&error, Err(AskError::NoStore(_))), "{error:?}");
    }

    #[test]
    fn an_answer_without_end_is_given_up() {
        static ENDLESS: [u8; 5 * 1024 * 1024] = [b'x'; 5 * 1024 * 1024];
        let dir = tempfile::tempdir().expect("temp dir");
        let listener = UnixListener::bind(control::path(dir.path())).expect("binds");
        let answering = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accepts");
            // Ends early: nobody reads all of it.
            stream.write_all(&ENDLESS).is_err()
        });
        let error = ask(dir.path()).expect_err("no state").to_string();
        assert!(error.contains("is no edgeferry"), "{error}");
        assert!(answering.join().expect("answers"), "it was not read to its end");
    }

    #[test]
    fn where_there_is_no_folder_nothing_ran() {
        let dir = tempfile::tempdir().expect("temp dir");
        let error = ask(&dir.path().join("none")).expect_err("nothing");
        assert!(error.to_string().starts_with("there is no store in"), "{error}");
    }
}
