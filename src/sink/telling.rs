//! `[status] kafka_topic`: the state of the gateway, now and then, behind everything else.
//!
//! One thread with a producer of its own, so that it holds up no lane, and with the least weight at `max_rate`: where the link is used up by
//! data, it waits. Nothing is queued: one record is under way at most, and what could not be told is not told later, because the next one
//! says more. A failure is said once, and tried again with growing pauses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::clock;
use crate::outages::{Outages, Say, Trouble};
use crate::route::Header;
use crate::route::{KafkaRecord, headers};
use crate::signal::Signal;
use crate::sink::Gate;
use crate::sink::producer::{Connector, Producer, SubmitError, Ticket, TopicState};
use crate::sink::verdict::{Verdict, verdict};

/// Longest pause after failures; an interval that is longer stays.
const PAUSE_MAX: Duration = Duration::from_mins(5);
/// Patience with the question for the topic. Bounds what a stop has to wait for.
const TOPIC_PATIENCE: Duration = Duration::from_secs(3);
/// Patience with Kafka's answer: then the record is given up, and the producer with it.
const REPORT_PATIENCE: Duration = Duration::from_secs(30);
/// The last word has this long: a stop is worth more than it.
const GOODBYE: Duration = Duration::from_secs(1);
/// A wait looks again after so long.
const LOOK: Duration = Duration::from_millis(500);

/// How the thread is reached.
#[derive(Debug, Default)]
pub struct TellMonitor {
    stopping: AtomicBool,
    handed_over: AtomicBool,
    wake: Signal,
}

impl TellMonitor {
    /// Something may have come.
    pub fn wake(&self) {
        self.wake.raise();
    }

    /// Ends the thread.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.wake.raise();
    }

    /// Ends the thread without a last word: another one goes on in its place.
    pub fn hand_over(&self) {
        self.handed_over.store(true, Ordering::Relaxed);
        self.stop();
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// What is told: with `true` for the last time.
pub type Words = Box<dyn Fn(bool) -> Vec<u8> + Send>;

/// See the module documentation.
pub struct Teller<C: Connector> {
    topic: String,
    gateway: String,
    interval: Duration,
    words: Words,
    connector: C,
    gate: Gate,
    monitor: Arc<TellMonitor>,
    producer: Option<C::Producer>,
    /// The producer has seen the topic.
    is_there: bool,
    pause: Duration,
    outages: Outages,
    ticket: Ticket,
}

impl<C: Connector> std::fmt::Debug for Teller<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Teller")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

impl<C: Connector> Teller<C> {
    /// A thread's work; the connector has to wake `monitor`.
    #[must_use]
    pub fn new(
        (topic, gateway): (String, String),
        interval: Duration,
        words: Words,
        connector: C,
        gate: Gate,
        monitor: Arc<TellMonitor>,
    ) -> Self {
        Self {
            topic,
            gateway,
            interval,
            words,
            connector,
            gate,
            monitor,
            producer: None,
            is_there: false,
            pause: interval,
            outages: Outages::default(),
            ticket: 0,
        }
    }

    /// Runs until the monitor says stop; tells a last word then, if there is somebody who hears it at once.
    pub fn run(mut self) {
        while !self.monitor.is_stopping() {
            let wait = self.step();
            self.wait(wait);
        }
        if self.is_there && !self.monitor.handed_over.load(Ordering::Relaxed) {
            let record = self.record(true);
            drop(self.send(&record, GOODBYE));
        }
    }

    /// Waits; reports do not cut it short.
    fn wait(&self, patience: Duration) {
        let until = Instant::now() + patience;
        while !self.monitor.is_stopping() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            self.monitor.wake.wait(left);
        }
    }

    /// Tells the state once. Returns how long to wait for the next time.
    fn step(&mut self) -> Duration {
        if !self.gate.is_open(Instant::now()) {
            let until = self.gate.closed_until();
            let wait = until.map(|until| until.saturating_duration_since(Instant::now()));
            return wait
                .unwrap_or(LOOK)
                .clamp(Duration::from_millis(10), self.interval);
        }
        match self.tell() {
            Ok(()) => {
                recovered(&mut self.outages, &self.topic);
                self.pause = self.interval;
                self.interval
            }
            Err(reason) => {
                failed(&mut self.outages, &self.topic, &reason);
                let pause = self.pause;
                self.pause = (pause * 2).min(PAUSE_MAX.max(self.interval));
                pause
            }
        }
    }

    fn tell(&mut self) -> Result<(), String> {
        self.connect()?;
        let record = self.record(false);
        self.gate.charge(&record);
        let sent = self.send(&record, REPORT_PATIENCE);
        if sent.is_err() {
            self.producer = None;
            self.is_there = false;
        }
        sent
    }

    fn record(&self, is_last: bool) -> Arc<KafkaRecord> {
        Arc::new(KafkaRecord {
            route: 0,
            is_templated: false,
            topic: self.topic.clone(),
            key: self.gateway.clone(),
            partition_by: None,
            payload: Bytes::from((self.words)(is_last)),
            headers: vec![
                Header::text(headers::GATEWAY, self.gateway.clone()),
                Header::text("content-type", "application/json"),
            ],
            timestamp_ms: clock::unix_ms(),
        })
    }

    /// Sees to a producer that has seen the topic.
    fn connect(&mut self) -> Result<(), String> {
        if self.producer.is_none() {
            self.producer = Some(self.connector.connect()?);
        }
        let Some(producer) = self.producer.as_mut().filter(|_| !self.is_there) else {
            return Ok(());
        };
        match producer.topic_state(&self.topic, TOPIC_PATIENCE) {
            TopicState::Present { .. } | TopicState::Leaderless { .. } => {
                self.is_there = true;
                Ok(())
            }
            TopicState::Missing(code) | TopicState::Unreachable(code) => Err(code.to_string()),
            TopicState::ClientLost => {
                self.producer = None;
                Err("the client has lost Kafka, and is made anew".to_owned())
            }
        }
    }

    /// Sends one record, and waits for its report.
    fn send(&mut self, record: &Arc<KafkaRecord>, patience: Duration) -> Result<(), String> {
        let Some(producer) = &mut self.producer else {
            return Ok(());
        };
        self.ticket = self.ticket.wrapping_add(1);
        producer
            .submit(record, None, self.ticket)
            .map_err(|error| match error {
                SubmitError::Full => "the client is full".to_owned(),
                SubmitError::Refused(code) => code.to_string(),
            })?;
        let (began, was_stopping) = (Instant::now(), self.monitor.is_stopping());
        loop {
            let ticket = self.ticket;
            if let Some(report) = producer
                .reports()
                .into_iter()
                .find(|report| report.ticket == ticket)
            {
                return report.outcome.map_err(|code| code.to_string());
            }
            if let Some(code) = producer.trouble()
                && verdict(code) == Verdict::Hold
            {
                return Err(code.to_string());
            }
            let is_asked_to_stop = !was_stopping && self.monitor.is_stopping();
            if is_asked_to_stop || began.elapsed() >= patience {
                return Err("Kafka does not answer".to_owned());
            }
            self.monitor.wake.wait(LOOK.min(patience));
        }
    }
}

/// A link that comes and goes is told now and then.
fn failed(outages: &mut Outages, topic: &str, reason: &str) {
    match outages.failed(Trouble::Passing, tokio::time::Instant::now()) {
        Say::Loudly { untold } => tracing::warn!(
            topic,
            reason,
            untold,
            "the state is not told to Kafka; trying again now and then. The data does not depend on it"
        ),
        Say::Quietly => tracing::debug!(topic, reason, "the state is not told to Kafka"),
    }
}

fn recovered(outages: &mut Outages, topic: &str) {
    match outages.recovered(tokio::time::Instant::now()) {
        Some(recovery) if recovery.loud => {
            tracing::info!(topic, away = ?recovery.away, "the state is told to Kafka again");
        }
        Some(_) => tracing::debug!(topic, "the state is told to Kafka again"),
        // Each time that it is told.
        None => {}
    }
}

#[cfg(test)]
mod tests;
