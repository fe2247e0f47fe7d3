//! What happens when: a drill from its first message to the stopped store.

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rdkafka::types::RDKafkaRespErr as Error;

use super::DrillError;
use super::book::Book;
use super::broker::Broker;
use super::child::{Daemon, Paths};
use super::fit::Shape;
use super::judge::{Finding, Promise, finding};
use super::kafka::Reader;
use super::screen::{Numbers, Screen};
use crate::config::{Config, Lane};
use crate::exit::Exit;
use crate::interrupt::Interrupt;
use crate::mock::Cluster;

/// Messages per second, over all routes: what a Raspberry Pi carries beside its work, and what drains within the drill.
const RATE: u64 = 60;
/// How often messages are published and the daemon is looked at.
const TICK: Duration = Duration::from_millis(20);
/// From a start to the last SUBSCRIBE. A debug build on a busy machine takes seconds.
const HEAR_LIMIT: Duration = Duration::from_mins(1);
/// After the last message, until everything is in Kafka. What waits then because of `max_rate` is queued, which is no loss.
const DRAIN_LIMIT: Duration = Duration::from_mins(1);
/// Nothing came for this long: nothing more comes. Far over every pause of the daemon after an error.
const QUIET: Duration = Duration::from_secs(15);
/// Messages that wait for the daemon at most: some minutes, a few MB.
const BACKLOG_MAX: usize = 5_000;
/// One in so many messages is one that its route refuses, where there is such a one.
const BAD_EVERY: u64 = 40;
/// A device's reading.
const SHORT: usize = 40;
/// What the devices send while the disk is full, bytes: eight times what a file may have.
const FULL_VOLUME: u128 = 2 * 1024 * 1024;
/// Queues up to this size are filled, bytes.
pub(super) const FILL_MAX: u64 = 64 * 1024 * 1024;
/// Length of the payloads for that: far below what Kafka takes.
const FILL_PAD: usize = 128 * 1024;
/// A card writes 64 MiB, several times over, within this.
const FILL_LIMIT: Duration = Duration::from_mins(2);
/// It takes no more: its policy is to push back.
const FILL_QUIET: Duration = Duration::from_secs(3);
/// Bytes of payload that wait for the daemon at most.
const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The client sends within some milliseconds; a busy machine may take longer.
const SLOW_MIN: Duration = Duration::from_millis(800);
/// After an outage, until the client has connected again.
const FLOW_LIMIT: Duration = Duration::from_secs(30);
/// More than what was on its way before.
const FLOW_RECORDS: u64 = 10;
/// Kills at random.
const KILLS: u32 = 3;
/// What a broker says while its replicas, its leader or its disk are away.
const ERRORS: [Error; 5] = [
    Error::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
    Error::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
    Error::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
    Error::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
    Error::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
];
/// So many answers: more than there are requests in the time.
const ERRORS_COUNT: usize = 20_000;

/// Which kind each message was of, by its number, from 1.
pub(super) type Script = Arc<Mutex<Vec<usize>>>;

/// Everything around the daemon.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) config: &'a Config,
    /// All kinds of messages; the first `good` are those that become records.
    pub(super) shapes: &'a [Shape],
    pub(super) good: usize,
    pub(super) script: Script,
    pub(super) brokers: &'a [Broker],
    pub(super) cluster: &'a Cluster,
    pub(super) reader: &'a Reader,
    pub(super) book: &'a Mutex<Book>,
    pub(super) interrupt: &'a Interrupt,
    pub(super) paths: &'a Paths,
}

/// What happened beside the messages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Course {
    pub(super) kills: u32,
    pub(super) starts: u32,
    pub(super) findings: Vec<Finding>,
    /// Acknowledged while no file could grow.
    pub(super) acknowledged_on_full_disk: usize,
    /// Published in the same time.
    pub(super) published_on_full_disk: usize,
    /// While the brokers of Kafka answered with errors: acknowledged to MQTT, and come to Kafka.
    pub(super) acknowledged_while_refused: usize,
    pub(super) stored_while_refused: u64,
    /// Records that came to Kafka again because the daemon died before Kafka's answers came.
    pub(super) repeated_after_late_answers: u64,
    /// Not everything was in Kafka in the end.
    pub(super) is_cut_short: bool,
}

/// Runs it.
pub(super) struct Drill<'a, W: Write> {
    scene: Scene<'a>,
    screen: &'a mut Screen<W>,
    random: StdRng,
    daemon: Option<Daemon>,
    course: Course,
    /// Since the first message.
    began: Instant,
    /// Messages that were due until now.
    due: Duration,
    pad: usize,
    /// Pieces of this show how long a phase is.
    whole: Duration,
    next_good: usize,
}

impl<'a, W: Write> Drill<'a, W> {
    /// Nothing done yet.
    pub(super) fn new(scene: Scene<'a>, screen: &'a mut Screen<W>, seed: u64, whole: Duration) -> Self {
        Self {
            scene,
            screen,
            random: StdRng::seed_from_u64(seed),
            daemon: None,
            course: Course::default(),
            began: Instant::now(),
            due: Duration::ZERO,
            pad: SHORT,
            whole,
            next_good: 0,
        }
    }

    /// From the first start to the last stop.
    ///
    /// # Errors
    /// [`DrillError::Interrupted`], and whatever keeps the drill itself from going on.
    pub(super) fn run(mut self) -> Result<Course, DrillError> {
        self.start()?;
        self.hear()?;
        self.began = Instant::now();
        self.phase("everything works");
        self.publish_for(8)?;
        self.kafka_away()?;
        self.kafka_refuses()?;
        self.kafka_is_slow()?;
        self.disk_full()?;
        self.kills_at_random()?;
        self.phase("everything works again");
        self.publish_for(4)?;
        self.phase("the devices stop, and the rest arrives");
        self.drain()?;
        self.stop()?;
        self.screen.numbers(self.began.elapsed(), &self.numbers())?;
        Ok(self.course)
    }

    fn kafka_away(&mut self) -> Result<(), DrillError> {
        self.phase("Kafka is away; kill -9 meanwhile");
        self.scene.cluster.take_away()?;
        self.fill_queue()?;
        self.publish_for(12)?;
        self.kill()?;
        self.publish_for(3)?;
        self.start()?;
        self.publish_for(8)?;
        self.hear()
    }

    fn kafka_refuses(&mut self) -> Result<(), DrillError> {
        self.phase("Kafka is back, and its brokers answer with errors");
        let errors: Vec<Error> = ERRORS.iter().copied().cycle().take(ERRORS_COUNT).collect();
        self.scene.cluster.refuse(&errors);
        let (acknowledged, stored) = (self.book().totals().0, self.scene.reader.records());
        self.scene.cluster.bring_back()?;
        self.publish_for(12)?;
        let after = self.book().totals().0;
        self.course.acknowledged_while_refused = after - acknowledged;
        self.course.stored_while_refused = self.scene.reader.records() - stored;
        // Behind an error a real broker refuses what follows, because a sequence is missing. The mock checks none: should one
        // request still be refused, and the next one of the same connection be stored, the client would take the first for
        // stored, as it may. So no request is stored on a connection that had an error.
        self.scene.cluster.take_away()?;
        self.scene.cluster.refuse_no_more();
        self.publish_for(1)?;
        self.scene.cluster.bring_back()?;
        Ok(())
    }

    /// Records are in Kafka, and nobody has said so when the daemon dies: they come again.
    fn kafka_is_slow(&mut self) -> Result<(), DrillError> {
        self.phase("Kafka answers late; kill -9 before it does");
        self.flow()?;
        let before = self.book().repeated();
        let while_slow = self.part(6).max(SLOW_MIN);
        self.scene.cluster.answer_after(2 * while_slow)?;
        self.publish_until(Instant::now() + while_slow)?;
        self.kill()?;
        self.scene.cluster.answer_after(Duration::ZERO)?;
        self.start()?;
        self.publish_for(4)?;
        self.hear()?;
        // What is sent again comes before everything else.
        self.flow()?;
        let after = self.book().repeated();
        self.course.repeated_after_late_answers = after - before;
        Ok(())
    }

    /// Publishes until records come to Kafka.
    fn flow(&mut self) -> Result<(), DrillError> {
        let deadline = Instant::now() + FLOW_LIMIT;
        let goal = self.scene.reader.records() + FLOW_RECORDS;
        while self.scene.reader.records() < goal && Instant::now() < deadline && self.daemon.is_some() {
            self.publish_until(Instant::now() + TICK)?;
        }
        Ok(())
    }

    /// With Kafka away: what is acknowledged now can only be on disk, or lost.
    fn disk_full(&mut self) -> Result<(), DrillError> {
        self.phase("the disk is full and Kafka away; kill -9 meanwhile");
        self.scene.cluster.take_away()?;
        let messages = self.part(8).as_millis() * u128::from(RATE) / 1000;
        let each = usize::try_from(FULL_VOLUME / messages.max(1)).unwrap_or(FILL_PAD);
        self.pad = each.clamp(SHORT, FILL_PAD);
        self.publish_for(2)?;
        let (before, published) = (self.book().totals().0, self.published());
        self.fill_disk(true)?;
        self.publish_for(8)?;
        let after = self.book().totals().0;
        self.course.acknowledged_on_full_disk = after - before;
        self.course.published_on_full_disk = self.published() - published;
        self.kill()?;
        self.start()?;
        self.publish_for(3)?;
        self.hear()?;
        self.phase("the disk is full once more, and has room again");
        self.fill_disk(true)?;
        self.publish_for(4)?;
        self.fill_disk(false)?;
        self.pad = SHORT;
        self.scene.cluster.bring_back()?;
        self.publish_for(5)
    }

    fn kills_at_random(&mut self) -> Result<(), DrillError> {
        self.phase("kill -9 at random");
        for _ in 0..KILLS {
            let first = self.random.random_range(1..=4);
            self.publish_for(first)?;
            let more = Duration::from_millis(self.random.random_range(0..100));
            self.publish_until(Instant::now() + more)?;
            self.kill()?;
            self.start()?;
            self.publish_for(6 - first)?;
            self.hear()?;
        }
        Ok(())
    }

    /// Publishes long messages until the smallest queue has had twice its budget, if that is not too much, or takes no more.
    fn fill_queue(&mut self) -> Result<(), DrillError> {
        let used = |lane: &&Lane| {
            self.scene
                .config
                .routes
                .iter()
                .any(|route| route.lane == lane.name)
        };
        let lanes = self.scene.config.lanes.iter().filter(used);
        let Some(smallest) = lanes.min_by_key(|lane| lane.queue.max_bytes) else {
            return Ok(());
        };
        let bytes = smallest.queue.max_bytes;
        if bytes > FILL_MAX {
            return Ok(());
        }
        let acknowledged = |drill: &Self| drill.book().acknowledged_by(&smallest.name);
        let goal = acknowledged(self) + usize::try_from(2 * bytes).unwrap_or(usize::MAX) / FILL_PAD;
        self.pad = FILL_PAD;
        let deadline = Instant::now() + FILL_LIMIT;
        let (mut last, mut changed) = (0, Instant::now());
        while acknowledged(self) < goal && changed.elapsed() < FILL_QUIET && Instant::now() < deadline {
            self.publish_until(Instant::now() + TICK)?;
            if acknowledged(self) != last {
                (last, changed) = (acknowledged(self), Instant::now());
            }
        }
        self.pad = SHORT;
        Ok(())
    }

    // --- The daemon -----------------------------------------------------------------------------------

    fn start(&mut self) -> Result<(), DrillError> {
        self.daemon = Some(Daemon::start(self.scene.paths)?);
        self.course.starts += 1;
        Ok(())
    }

    fn kill(&mut self) -> Result<(), DrillError> {
        self.look();
        if let Some(daemon) = self.daemon.take() {
            daemon.kill()?;
            self.course.kills += 1;
        }
        Ok(())
    }

    fn fill_disk(&mut self, is_full: bool) -> Result<(), DrillError> {
        match &self.daemon {
            Some(daemon) => Ok(daemon.fill_disk(is_full)?),
            None => Ok(()),
        }
    }

    /// Whether it still runs. It never ends by itself.
    fn look(&mut self) {
        if let Some(status) = self.daemon.as_mut().and_then(Daemon::ended) {
            self.daemon = None;
            self.broken(format!("the daemon ended by itself: {status}"));
        }
    }

    /// Waits until every lane has subscribed with every broker that has something for it, publishing meanwhile.
    fn hear(&mut self) -> Result<(), DrillError> {
        let deadline = Instant::now() + HEAR_LIMIT;
        while !self.is_heard() {
            if self.daemon.is_none() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                self.broken(format!(
                    "the daemon has not subscribed {} s after its start",
                    HEAR_LIMIT.as_secs()
                ));
                return Ok(());
            }
            match self.course.starts {
                // Before the first start nobody hears it.
                1 => {
                    self.scene.interrupt.wait_until(Instant::now() + TICK)?;
                    self.look();
                }
                _ => self.publish_until(Instant::now() + TICK)?,
            }
        }
        Ok(())
    }

    fn is_heard(&self) -> bool {
        let config = self.scene.config;
        let tables = config.brokers.iter().zip(self.scene.brokers);
        tables.into_iter().all(|(table, broker)| {
            let wanted = config.routes.iter().filter(|route| route.takes(&table.name));
            wanted.into_iter().all(|route| broker.hears(&route.lane))
        })
    }

    fn stop(&mut self) -> Result<(), DrillError> {
        self.look();
        let Some(daemon) = self.daemon.take() else {
            return Ok(());
        };
        match daemon.stop()? {
            Some(status) if status.code() == Some(i32::from(Exit::Stopped as u8)) => {}
            Some(status) => self.broken(format!("the daemon did not stop as it should: {status}")),
            None => self.broken("the daemon did not stop when it was asked to".to_owned()),
        }
        Ok(())
    }

    fn broken(&mut self, what: String) {
        self.course
            .findings
            .push(finding(Promise::ItGoesOn, "", what, &[]));
    }

    // --- The devices ----------------------------------------------------------------------------------

    fn published(&self) -> usize {
        self.scene
            .script
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    fn part(&self, percent: u32) -> Duration {
        self.whole * percent / 100
    }

    fn publish_for(&mut self, percent: u32) -> Result<(), DrillError> {
        let end = Instant::now() + self.part(percent);
        self.publish_until(end)
    }

    fn publish_until(&mut self, end: Instant) -> Result<(), DrillError> {
        let each = Duration::from_secs(1) / u32::try_from(RATE).unwrap_or(1);
        let mut last = Instant::now();
        loop {
            self.look();
            while self.due >= each {
                self.due -= each;
                if self.is_taken() {
                    self.publish();
                }
            }
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            self.scene.interrupt.wait_until(end.min(now + TICK))?;
            // What a busy machine missed is not caught up with in one burst.
            self.due += last.elapsed().min(Duration::from_secs(1));
            last = Instant::now();
        }
    }

    /// Devices wait when the daemon takes nothing.
    fn is_taken(&self) -> bool {
        let most = BACKLOG_MAX.min(WAITING_BYTES_MAX / self.pad.max(1));
        let mut brokers = self.scene.brokers.iter();
        brokers.all(|broker| broker.backlog() < most)
    }

    fn publish(&mut self) {
        let mut script = self.scene.script.lock().unwrap_or_else(PoisonError::into_inner);
        let number = u64::try_from(script.len()).unwrap_or(u64::MAX) + 1;
        let bad = self.scene.shapes.len() - self.scene.good;
        let is_bad = bad > 0 && number.is_multiple_of(BAD_EVERY);
        let chosen = if is_bad {
            self.scene.good + self.random.random_range(0..bad)
        } else {
            self.next_good = (self.next_good + 1) % self.scene.good.max(1);
            self.next_good
        };
        let Some(shape) = self.scene.shapes.get(chosen) else {
            return;
        };
        let pad = pad(&mut self.random, self.pad.min(shape.most_pad));
        let message = Arc::new(shape.message(number, &pad));
        script.push(chosen);
        drop(script);
        if let Some(broker) = self.scene.brokers.get(shape.broker) {
            broker.publish(&message);
        }
    }

    /// Lets everything arrive.
    fn drain(&mut self) -> Result<(), DrillError> {
        let deadline = Instant::now() + DRAIN_LIMIT;
        let mut seen = (self.numbers(), self.scene.reader.records());
        let mut changed = Instant::now();
        while !self.is_complete() {
            let now = (self.numbers(), self.scene.reader.records());
            if now != seen {
                (seen, changed) = (now, Instant::now());
            }
            if Instant::now() >= deadline || changed.elapsed() >= QUIET {
                self.course.is_cut_short = true;
                return Ok(());
            }
            self.scene.interrupt.wait_until(Instant::now() + TICK)?;
            self.look();
            if self.daemon.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether all is acknowledged, and all that becomes a record is in Kafka.
    fn is_complete(&self) -> bool {
        let script = self.scene.script.lock().unwrap_or_else(PoisonError::into_inner);
        let book = self.book();
        self.scene.config.lanes.iter().all(|lane| {
            let seen = book.lane(&lane.name);
            seen.offered.iter().all(|number| {
                let place = usize::try_from(*number).unwrap_or_default().saturating_sub(1);
                let kind = script.get(place).and_then(|kind| self.scene.shapes.get(*kind));
                let expected = kind.and_then(|kind| kind.becomes.get(&lane.name));
                let is_record = expected.is_some_and(|expected| !expected.topics.is_empty());
                seen.acknowledged.contains(number) && (!is_record || seen.delivered.contains_key(number))
            })
        })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.scene.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn numbers(&self) -> Numbers {
        let published = self
            .scene
            .script
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len();
        let (acknowledged, delivered) = self.book().totals();
        Numbers {
            published,
            acknowledged,
            delivered,
        }
    }

    /// A reader of the lines that has gone is no reason to stop.
    fn phase(&mut self, what: &str) {
        let numbers = self.numbers();
        let time = if self.course.starts > 0 {
            self.began.elapsed()
        } else {
            Duration::ZERO
        };
        if let Err(error) = self.screen.phase(time, what, &numbers) {
            tracing::debug!(%error, "nobody reads");
        }
    }
}

/// Letters and digits that no compression makes much shorter.
fn pad(random: &mut StdRng, length: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let letter = |index: usize| LETTERS.get(index).copied().map_or('x', char::from);
    (0..length)
        .map(|_| letter(random.random_range(0..LETTERS.len())))
        .collect()
}
