//! One connection: a request, what follows it, the answers.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{COMMANDS_MAX, Reloads};
use crate::exit::Exit;
use crate::ops::hand::{Answer, Hand, HandError, Request, VERSION, Verb};

/// How long a request may take to come, and the answer to `status` to be taken: they are short, and few places are in front.
const FRONT_PATIENCE: Duration = Duration::from_secs(5);
/// A request is a line of filters; anything longer is none.
const REQUEST_BYTES_MAX: u64 = 64 * 1024;
/// How long the other side may say or take nothing: it holds one of few connections, and an import file may come from a slow
/// stick.
const IDLE: Duration = Duration::from_secs(30);
/// A wait looks this often whether a stop has begun.
const LOOK: Duration = Duration::from_secs(1);
/// How long a reload is waited for: lanes stop side by side, and each takes some 75 s at most. It holds one of few places.
const RELOAD_PATIENCE: Duration = Duration::from_mins(5);
/// How often is looked whether it is done: a person waits for it.
const RELOAD_LOOK: Duration = Duration::from_millis(50);
/// Answers go out this fast at most, bytes per second: a fifth of what a card reads, so that delivery goes on beside an
/// export of the whole queue.
const RATE: f64 = 8.0 * 1024.0 * 1024.0;

/// Serves the connection to its end.
pub(super) fn serve(
    stream: &UnixStream,
    hand: &Hand,
    reloads: &Reloads,
    front: OwnedSemaphorePermit,
    commands: &Arc<Semaphore>,
) {
    if let Err(error) = try_serve(stream, hand, reloads, front, commands) {
        tracing::debug!(%error, "a control connection ended early");
    }
}

fn try_serve(
    stream: &UnixStream,
    hand: &Hand,
    reloads: &Reloads,
    front: OwnedSemaphorePermit,
    commands: &Arc<Semaphore>,
) -> io::Result<()> {
    stream.set_read_timeout(Some(LOOK))?;
    stream.set_write_timeout(Some(LOOK))?;
    let until = Cell::new(Some(Instant::now() + FRONT_PATIENCE));
    let patient = || Patient {
        stream,
        hand,
        until: &until,
    };
    let mut input = BufReader::new(patient());
    let mut answers = Answers {
        output: BufWriter::new(patient()),
        began: Instant::now(),
        bytes: 0,
    };
    let request = read_request(&mut input)?;
    let is_long = matches!(&request, Ok(request) if request.verb != Verb::Status);
    let _place = if is_long {
        let Ok(place) = Arc::clone(commands).try_acquire_owned() else {
            answers.send(&busy(), hand)?;
            return answers.output.flush();
        };
        until.set(None);
        drop(front);
        place
    } else {
        front
    };
    let last = match request {
        Ok(request) => {
            tracing::debug!(?request, "asked through the control socket");
            if request.verb == Verb::Reload {
                let last = reload(reloads, &mut |answer| answers.send(&answer, hand))?;
                answers.send(&last, hand)?;
                return answers.output.flush();
            }
            match hand.serve(&request.verb, &mut input, &mut |answer| {
                answers.send(&answer, hand)
            }) {
                Ok(exit) => Answer::done(exit),
                Err(error) => Answer::Error {
                    exit: error.exit() as u8,
                    message: error.to_string(),
                },
            }
        }
        Err(message) => Answer::Error {
            exit: Exit::Usage as u8,
            message,
        },
    };
    answers.send(&last, hand)?;
    answers.output.flush()
}

/// Has the configuration read again, and waits for what comes of it: the daemon answers, or ends.
fn reload(reloads: &Reloads, say: &mut dyn FnMut(Answer) -> io::Result<()>) -> io::Result<Answer> {
    let (reply, mut answer) = oneshot::channel();
    match reloads.try_send(reply) {
        Ok(()) => {}
        Err(TrySendError::Full(_)) => return Ok(behind_others()),
        Err(TrySendError::Closed(_)) => return Ok(stopping()),
    }
    let began = Instant::now();
    loop {
        match answer.try_recv() {
            Ok(Ok(line)) => {
                say(Answer::Note(line))?;
                return Ok(Answer::done(Exit::Stopped));
            }
            Ok(Err((exit, message))) => {
                return Ok(Answer::Error {
                    exit: exit as u8,
                    message,
                });
            }
            Err(TryRecvError::Closed) => return Ok(stopping()),
            Err(TryRecvError::Empty) if began.elapsed() >= RELOAD_PATIENCE => return Ok(still_at_it()),
            Err(TryRecvError::Empty) => std::thread::park_timeout(RELOAD_LOOK),
        }
    }
}

fn stopping() -> Answer {
    Answer::Error {
        exit: Exit::Failure as u8,
        message: HandError::Stopping.to_string(),
    }
}

/// Those who asked before may be gone by now; what they asked for is not.
fn behind_others() -> Answer {
    Answer::Error {
        exit: Exit::Failure as u8,
        message: "a reload is not done, and as many as can wait are waiting behind it: the file is read again when it is done; \
                  `edgeferry status` and the log say what comes of it"
            .to_owned(),
    }
}

/// It goes on all the same, but nobody keeps one of few places for ever.
fn still_at_it() -> Answer {
    Answer::Error {
        exit: Exit::Failure as u8,
        message: format!(
            "the reload has taken {} min and is not done: `edgeferry status` and the log say what comes of it",
            RELOAD_PATIENCE.as_secs() / 60
        ),
    }
}

/// Nothing was begun.
fn busy() -> Answer {
    Answer::Error {
        exit: Exit::Failure as u8,
        message: format!(
            "{COMMANDS_MAX} other commands are at work on this store; try again when one of them is done"
        ),
    }
}

/// The request, or what is wrong with it.
pub(super) fn read_request(input: &mut impl BufRead) -> io::Result<Result<Request, String>> {
    /// Read first: another version may have other words.
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u32,
    }
    let mut line = Vec::new();
    input.take(REQUEST_BYTES_MAX).read_until(b'\n', &mut line)?;
    if !line.ends_with(b"\n") {
        return Ok(Err(format!(
            "a request is one line of at most {REQUEST_BYTES_MAX} bytes"
        )));
    }
    Ok(match serde_json::from_slice::<Versioned>(&line) {
        Err(error) => Err(format!("not a request: {error}")),
        Ok(Versioned { version }) if version != VERSION => Err(format!(
            "this daemon answers requests of version {VERSION}, not {version}: use the edgeferry that it was started from"
        )),
        Ok(_) => serde_json::from_slice(&line).map_err(|error| format!("not a request: {error}")),
    })
}

/// Sends answers, not faster than [`RATE`].
struct Answers<'a> {
    output: BufWriter<Patient<'a>>,
    began: Instant,
    bytes: u64,
}

impl Answers<'_> {
    fn send(&mut self, answer: &Answer, hand: &Hand) -> io::Result<()> {
        let mut line = serde_json::to_vec(answer)?;
        line.push(b'\n');
        self.output.write_all(&line)?;
        self.bytes = self.bytes.saturating_add(line.len() as u64);
        self.pace(hand);
        Ok(())
    }

    fn pace(&self, hand: &Hand) {
        #[expect(clippy::cast_precision_loss, reason = "a pace need not be exact")]
        let due = Duration::from_secs_f64(self.bytes as f64 / RATE);
        while let Some(early) = due.checked_sub(self.began.elapsed()) {
            if early < PAUSE_MIN || hand.is_closing() {
                break;
            }
            std::thread::park_timeout(early.min(LOOK));
        }
    }
}

/// Shorter pauses are not worth a switch of threads.
const PAUSE_MIN: Duration = Duration::from_millis(5);

/// A stream whose reads and writes wait up to [`IDLE`], but not when a stop begins, nor behind `until`.
struct Patient<'a> {
    stream: &'a UnixStream,
    hand: &'a Hand,
    until: &'a Cell<Option<Instant>>,
}

impl Patient<'_> {
    fn patiently(&self, mut attempt: impl FnMut(&UnixStream) -> io::Result<usize>) -> io::Result<usize> {
        let began = Instant::now();
        loop {
            // Before each attempt: who sends a byte now and then never lets one time out.
            let is_over = self.until.get().is_some_and(|until| Instant::now() >= until);
            if is_over || began.elapsed() >= IDLE {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match attempt(self.stream) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                }
                outcome => return outcome,
            }
            if self.hand.is_closing() {
                return Err(io::Error::other("edgeferry is stopping"));
            }
        }
    }
}

impl Read for Patient<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.patiently(|mut stream| stream.read(buffer))
    }
}

impl Write for Patient<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.patiently(|mut stream| stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    const REQUEST: &str = r#"{"version":1,"verb":"queue export","lane":"default","filter":{"topic":"a/#","device":"d1","since":1,"until":2},"limit":3}"#;

    proptest! {
        #[test]
        fn reading_a_request_of_any_bytes_never_panics(bytes in vec(any::<u8>(), 0..300)) {
            drop(read_request(&mut &bytes[..]));
        }

        #[test]
        fn reading_a_request_that_was_changed_never_panics(
            at in any::<Index>(), len in 0_usize..30, instead in "[-0-9a-z\"{}\\[\\],:.]{0,12}",
        ) {
            let mut text = REQUEST.to_owned();
            let at = at.index(text.len());
            let end = text.len().min(at + len);
            text.replace_range(at..end, &instead);
            text.push('\n');
            drop(read_request(&mut text.as_bytes()));
        }
    }

    fn asked(reloads: &Reloads) -> String {
        match reload(reloads, &mut |_| Ok(())).expect("answers") {
            Answer::Error { message, .. } => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn who_asks_for_a_reload_behind_as_many_as_can_wait_is_not_told_that_edgeferry_stops() {
        let (reloads, asks) = tokio::sync::mpsc::channel(COMMANDS_MAX);
        let mut waiting = Vec::new();
        for _ in 0..COMMANDS_MAX {
            let (reply, answer) = oneshot::channel();
            reloads.try_send(reply).expect("there is room");
            waiting.push(answer);
        }
        let told = asked(&reloads);
        assert!(told.starts_with("a reload is not done"), "{told}");
        drop(asks);
        assert_eq!(asked(&reloads), HandError::Stopping.to_string());
    }
}
