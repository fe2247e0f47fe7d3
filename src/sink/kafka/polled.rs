//! A producer with a thread of its own that takes what the client has to tell: delivery reports, errors, requests for tokens.
//!
//! rdkafka's `ThreadedProducer` does the same and burns half a millisecond of processor time ten times a second, also when nothing
//! happens: it waits for what is left of 100 ms in whole milliseconds, and asks without waiting through the rest of the last one
//! (rdkafka 0.39, `BaseProducer::poll`). That was 0.5 % of a core for each lane, more than everything else of an idle daemon
//! (docs/decisions/0032-footprint.md).

use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::producer::{BaseProducer, Producer};

use super::Context;

/// How long one wait takes when the client has had nothing to do for a while; what it has to tell ends no wait, but is told at once.
const IDLE_WAIT: Duration = Duration::from_millis(250);
/// The same when records are under way, or were a moment ago: whoever drops a producer waits for the end of a wait, and producers are
/// dropped when something failed, several for a record that Kafka refuses.
const BUSY_WAIT: Duration = Duration::from_millis(50);
/// How long a moment ago is: longer than the drain takes from a failure to the drop (`SETTLE`, 2 s).
const LINGER: Duration = Duration::from_secs(5);
/// More than a waiting thread needs to wake up, so that at its end nothing is left of the last, begun millisecond.
const GRACE: Duration = Duration::from_micros(150);

/// See the module documentation. Gives the producer; dropped, the thread ends first.
pub(super) struct Polled {
    producer: Arc<BaseProducer<Context>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Polled {
    /// Begins to listen.
    ///
    /// # Errors
    /// [`io::Error`] when the system has no thread for it.
    pub(super) fn new(producer: BaseProducer<Context>) -> io::Result<Self> {
        let producer = Arc::new(producer);
        let is_over = Arc::new(AtomicBool::new(false));
        let (heard, over) = (Arc::clone(&producer), Arc::clone(&is_over));
        let thread = std::thread::Builder::new()
            .name("kafka events".into())
            .spawn(move || {
                let mut busy: Option<Instant> = None;
                while !over.load(Ordering::Relaxed) {
                    if heard.in_flight_count() > 0 {
                        busy = Some(Instant::now());
                    }
                    heard.poll(wait(busy.map(|busy| busy.elapsed())) + GRACE);
                }
            })?;
        Ok(Self {
            producer,
            is_over,
            thread: Some(thread),
        })
    }
}

impl Deref for Polled {
    type Target = BaseProducer<Context>;

    fn deref(&self) -> &Self::Target {
        &self.producer
    }
}

impl Drop for Polled {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Had it panicked, the log would have said so.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// How long to wait, by the time since records were under way, if any ever were.
fn wait(since_busy: Option<Duration>) -> Duration {
    match since_busy {
        Some(since) if since < LINGER => BUSY_WAIT,
        _ => IDLE_WAIT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_drops_a_producer_that_failed_waits_less_than_one_that_is_idle_does() {
        assert_eq!(wait(Some(Duration::ZERO)), BUSY_WAIT);
        assert_eq!(wait(Some(LINGER)), IDLE_WAIT);
        assert_eq!(wait(None), IDLE_WAIT, "nothing was ever sent");
    }
}
