//! The timeline: what happens when, and when it is over.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::app::View;
use crate::demo::DemoError;
use crate::demo::broker::Broker;
use crate::demo::devices::{DEVICES, EVERY, Fleet, topic};
use crate::demo::kafka::{Reader, TOPIC};
use crate::demo::screen::{Line, Screen, Table};
use crate::interrupt::Interrupt;
use crate::mock::Cluster;
use crate::ops::Look;

/// Everything works.
const HEALTHY: Duration = Duration::from_secs(5);
/// Kafka is away.
const AWAY: Duration = Duration::from_secs(8);
/// Everything works again.
const RECOVERED: Duration = Duration::from_secs(5);
/// After the devices' last reading, so that what they had begun is counted and a last line is shown.
const SETTLE: Duration = Duration::from_secs(1);
/// Limits, each far above what a slow machine needs. Together they end the demo in less than two minutes.
const OPEN_LIMIT: Duration = Duration::from_secs(20);
const DRAIN_LIMIT: Duration = Duration::from_secs(30);
const END_LIMIT: Duration = Duration::from_secs(30);
const LINE_EVERY: Duration = Duration::from_secs(1);
/// How exactly the time to drain is measured.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The whole truth about the demo.
const MOCK: &str = "\
The Kafka cluster of this demo is librdkafka's mock: it shows the flow, and is no proof of order or exactly-once.
The tests on a real Mosquitto and a real Apache Kafka check what edgeferry promises: ./dev test";

/// What the story is about.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    /// Where the devices publish.
    pub(super) broker: &'a Broker,
    /// Where it goes.
    pub(super) cluster: &'a Cluster,
    /// The pipeline in between.
    pub(super) view: &'a View,
    /// Looks at all of it.
    pub(super) look: &'a Look,
    /// The devices.
    pub(super) fleet: &'a Fleet,
    /// Reads what arrived.
    pub(super) reader: &'a Reader,
    /// Ends the story early.
    pub(super) interrupt: &'a Interrupt,
}

/// How the story ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Every reading is in Kafka.
    Complete,
    /// Some are not.
    Missing,
}

/// Tells it.
#[derive(Debug)]
pub(super) struct Story<'a, W: Write> {
    scene: Scene<'a>,
    screen: &'a mut Screen<W>,
    /// When the devices started.
    began: Instant,
    next_line: Instant,
    /// Messages stored before the devices started.
    stored_before: u64,
}

impl<'a, W: Write> Story<'a, W> {
    /// Nothing told yet.
    pub(super) fn new(scene: Scene<'a>, screen: &'a mut Screen<W>) -> Self {
        let now = Instant::now();
        Self {
            scene,
            screen,
            began: now,
            next_line: now,
            stored_before: 0,
        }
    }

    /// From the header to the verdict; with `keep` until interrupted.
    ///
    /// # Errors
    /// [`DemoError::Interrupted`] when asked to end, and whatever stops the demo.
    pub(super) fn tell(mut self, keep: bool) -> Result<Outcome, DemoError> {
        self.introduce()?;
        self.open()?;
        self.watch(HEALTHY)?;
        let (waited, drained_in) = self.outage()?;
        self.watch(RECOVERED)?;
        let table = self.finish(waited, drained_in)?;
        let outcome = self.judge(&table)?;
        if keep {
            match self.stay() {
                Ok(()) | Err(DemoError::Interrupted(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(outcome)
    }

    fn introduce(&mut self) -> Result<(), DemoError> {
        let rate = 1000 / EVERY.as_millis();
        let text = format!(
            "edgeferry demo: {DEVICES} simulated devices publish {rate} readings a second each to an MQTT broker. \
             edgeferry\ntakes them, stores them on disk, acknowledges them, and only then sends them on to \
             Kafka.\n\n  published  readings that the devices published\n  stored     safe on disk in edgeferry, \
             and therefore acknowledged\n  backlog    stored, but not yet confirmed by Kafka\n  in Kafka   read \
             back from Kafka, each counted once"
        );
        Ok(self.screen.say(&text)?)
    }

    /// Waits until messages get through, then lets the devices publish.
    fn open(&mut self) -> Result<(), DemoError> {
        let deadline = Instant::now() + OPEN_LIMIT;
        while !self.scene.fleet.is_heard() {
            if Instant::now() >= deadline {
                return Err(DemoError::NoWayThrough(OPEN_LIMIT));
            }
            self.scene.interrupt.wait_until(Instant::now() + LOOK_EVERY)?;
        }
        self.stored_before = self.scene.view.stored();
        self.screen.columns()?;
        self.scene.fleet.publish(true);
        self.began = Instant::now();
        self.next_line = self.began + LINE_EVERY;
        Ok(())
    }

    /// The backlog at its end, and how long that took to drain.
    fn outage(&mut self) -> Result<(u64, Option<Duration>), DemoError> {
        self.scene.cluster.take_away()?;
        self.screen
            .say("Kafka is taken away: the devices go on, and the backlog grows.")?;
        self.watch(AWAY)?;
        let waited = self.scene.view.backlog();
        let goal = self.scene.fleet.published();
        self.scene.cluster.bring_back()?;
        let back = Instant::now();
        self.screen.say("Kafka is back: the backlog drains.")?;
        let drained = self.watch_until(DRAIN_LIMIT, |scene| in_kafka(scene) >= goal)?;
        Ok((waited, drained.then(|| back.elapsed())))
    }

    /// Ends publishing and lets everything arrive.
    fn finish(&mut self, waited: u64, drained_in: Option<Duration>) -> Result<Table, DemoError> {
        self.scene.fleet.publish(false);
        self.screen.say("The devices stop, and the rest arrives.")?;
        self.watch(SETTLE)?;
        self.watch_until(END_LIMIT, |scene| {
            let published = scene.fleet.published();
            let backlog = scene.view.backlog();
            scene.fleet.acknowledged() >= published && in_kafka(scene) >= published && backlog == 0
        })?;
        Ok(Table {
            kafka: self.scene.reader.tally().totals(),
            published: self.scene.fleet.published(),
            acknowledged: self.scene.fleet.acknowledged(),
            waited,
            drained_in,
        })
    }

    fn judge(&mut self, table: &Table) -> Result<Outcome, DemoError> {
        self.screen.table(table)?;
        let outcome = match table.missing() {
            0 => {
                self.screen
                    .say("Nothing is missing: every reading that was published is in Kafka.")?;
                Outcome::Complete
            }
            missing => {
                self.screen.say(&format!(
                    "{missing} readings are MISSING in Kafka. This must not happen."
                ))?;
                Outcome::Missing
            }
        };
        self.screen.say(MOCK)?;
        Ok(outcome)
    }

    /// Goes on until interrupted.
    fn stay(&mut self) -> Result<(), DemoError> {
        let address = self.scene.broker.address();
        let text = format!(
            "The devices go on until Ctrl-C. You can publish too:\n\n  mosquitto_pub -h {host} -p {port} -q 1 -t \
             {mine} -m hello\n\nand read topic {TOPIC} from the mock cluster at {kafka}.",
            host = address.ip(),
            port = address.port(),
            mine = topic("mine"),
            kafka = self.scene.cluster.bootstrap_servers(),
        );
        self.screen.say(&text)?;
        self.screen.columns()?;
        self.scene.fleet.publish(true);
        loop {
            self.watch(LINE_EVERY)?;
        }
    }

    fn watch(&mut self, time: Duration) -> Result<(), DemoError> {
        self.watch_until(time, |_| false).map(|_| ())
    }

    /// Shows a line each second until `done`, or `limit` is over. True when it was done.
    fn watch_until(&mut self, limit: Duration, done: impl Fn(&Scene<'_>) -> bool) -> Result<bool, DemoError> {
        let deadline = Instant::now() + limit;
        loop {
            if done(&self.scene) {
                return Ok(true);
            }
            let now = Instant::now();
            if now >= self.next_line {
                self.print_line()?;
            }
            if now >= deadline {
                return Ok(false);
            }
            let look = (now + LOOK_EVERY).min(self.next_line).min(deadline);
            self.scene.interrupt.wait_until(look)?;
        }
    }

    fn print_line(&mut self) -> Result<(), DemoError> {
        // From the end to the start, so that the numbers of one line can never contradict each other.
        let in_kafka = in_kafka(&self.scene);
        let guests = self.scene.reader.tally().take_guests();
        let state = self.scene.look.take();
        let stored = self.scene.view.stored().saturating_sub(self.stored_before);
        let line = Line {
            time: self.began.elapsed(),
            published: self.scene.fleet.published(),
            stored,
            in_kafka,
            state,
        };
        self.screen.line(&line)?;
        for guest in &guests {
            self.screen.guest(guest)?;
        }
        self.next_line = (self.next_line + LINE_EVERY).max(Instant::now());
        Ok(())
    }
}

fn in_kafka(scene: &Scene<'_>) -> u64 {
    scene.reader.tally().totals().different
}
