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
use std::time::Duration;

use rdkafka::producer::BaseProducer;

use super::Context;

/// How long one wait takes when the client has nothing to tell; what it has to tell ends no wait, but is told at once. Whoever drops
/// a producer waits for the end of one.
const WAIT: Duration = Duration::from_millis(250);
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
                while !over.load(Ordering::Relaxed) {
                    heard.poll(WAIT + GRACE);
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
