//! One connection: a request, what follows it, the answers.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::Reloads;
use crate::exit::Exit;
use crate::ops::hand::{Answer, Hand, HandError, Request, VERSION, Verb};

/// A request is a line of filters; anything longer is none.
const REQUEST_BYTES_MAX: u64 = 64 * 1024;
/// How long the other side may say or take nothing: it holds one of few connections, and an import file may come from a slow
/// stick.
const IDLE: Duration = Duration::from_secs(30);
/// A wait looks this often whether a stop has begun.
const LOOK: Duration = Duration::from_secs(1);
/// Answers go out this fast at most, bytes per second: a fifth of what a card reads, so that delivery goes on beside an
/// export of the whole queue.
const RATE: f64 = 8.0 * 1024.0 * 1024.0;

/// Serves the connection to its end.
pub(super) fn serve(stream: &UnixStream, hand: &Hand, reloads: &Reloads) {
    if let Err(error) = try_serve(stream, hand, reloads) {
        tracing::debug!(%error, "a control connection ended early");
    }
}

fn try_serve(stream: &UnixStream, hand: &Hand, reloads: &Reloads) -> io::Result<()> {
    stream.set_read_timeout(Some(LOOK))?;
    stream.set_write_timeout(Some(LOOK))?;
    let mut input = BufReader::new(Patient { stream, hand });
    let mut answers = Answers {
        output: BufWriter::new(Patient { stream, hand }),
        began: Instant::now(),
        bytes: 0,
    };
    let last = match read_request(&mut input)? {
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
    let (reply, answer) = oneshot::channel();
    let sent = reloads.try_send(reply).ok();
    match sent.and_then(|()| answer.blocking_recv().ok()) {
        Some(Ok(line)) => {
            say(Answer::Note(line))?;
            Ok(Answer::done(Exit::Stopped))
        }
        Some(Err((exit, message))) => Ok(Answer::Error {
            exit: exit as u8,
            message,
        }),
        None => Ok(Answer::Error {
            exit: Exit::Failure as u8,
            message: HandError::Stopping.to_string(),
        }),
    }
}

/// The request, or what is wrong with it.
fn read_request(input: &mut impl BufRead) -> io::Result<Result<Request, String>> {
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

/// A stream whose reads and writes wait up to [`IDLE`], but not when a stop begins.
struct Patient<'a> {
    stream: &'a UnixStream,
    hand: &'a Hand,
}

impl Patient<'_> {
    fn patiently(&self, mut attempt: impl FnMut(&UnixStream) -> io::Result<usize>) -> io::Result<usize> {
        let began = Instant::now();
        loop {
            match attempt(self.stream) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                }
                outcome => return outcome,
            }
            if self.hand.is_closing() {
                return Err(io::Error::other("edgeferry is stopping"));
            }
            if began.elapsed() >= IDLE {
                return Err(io::ErrorKind::TimedOut.into());
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
