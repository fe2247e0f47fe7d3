//! One process: the stages as `app/lane.rs` puts them together, run step by step.
//!
//! Source, queue, routes and sink are the product's own code. What is not is below them (the MQTT client, the store of the log,
//! the Kafka client) and around them: what a thread does between two waits is one call here, and this decides when.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use edgeferry::clock::{Clock, Notes, Opened};
use edgeferry::config::Config;
use edgeferry::link::Link;
use edgeferry::message::{Epoch, Qos, Stored};
use edgeferry::queue::ledger::Ledger;
use edgeferry::queue::{self, Compression, Door, Held, Outside, Owner, Queue, Recalled, Round, Writer};
use edgeferry::route::{Destination, Router};
use edgeferry::sink::{self, DeadLetters, Drain, RecordTimestamp, Times};
use edgeferry::source::{
    self, Ended, Endpoint, Handover, Parts, RetainHandling, SeriesOf, Source, Subscription, Version,
};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::chaos::Fault;
use crate::client::Dial;
use crate::coverage::State;
use crate::judge::End;
use crate::machine::{Board, Death};
use crate::message::Mark;
use crate::plan::Plan;
use crate::producer::Kafka;
use crate::store::Shelf;
use crate::world::{KEEP_ALIVE, with};

const EPOCH: Epoch = Epoch(0x5eed);
const GATEWAY: &str = "simulated";
const LANE: &str = "default";
/// As in the product.
const HEARTBEAT: u64 = 500;
const SOURCE_PATIENCE: u64 = 15_000;
const KAFKA_PATIENCE: u64 = 10_000;
const ANSWER_POLL: u64 = 20;
/// Room for dead letters: all there are.
const LETTERS_BYTES: u64 = 1 << 26;
/// What an append may take beside its contents, as the queue reckons it: `queue.max_bytes` has to be above it.
const APPEND_BYTES: u64 = 384 * 1024;
const MAX_PACKET: usize = 4_100;

/// What the process reads from its file.
const FILE: &str = r#"
[gateway]
id = "simulated"
data_dir = "/nonexistent"
[[mqtt]]
url = "mqtt://127.0.0.1"
[kafka]
bootstrap_servers = ["127.0.0.1:9092"]
unknown_topic_after = "1min"
[[route]]
from = "devices/{device}/telemetry"
topic = "telemetry"
[[route]]
from = "alarms/{device}"
topic = "alarms"
[[route]]
from = "kinds/{device}/{kind}"
topic = "kind-{kind}"
"#;
const FILTERS: [&str; 3] = ["devices/+/telemetry", "alarms/+", "kinds/+/+"];

thread_local! {
    static CONFIG: Rc<Config> = {
        let (config, _) = edgeferry::config::parse(Path::new("simulated.toml"), FILE).expect("valid");
        Rc::new(config)
    };
}

/// How far a stop has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    Sources { until: u64 },
    Writer,
    Sink { until: u64 },
    Ended,
}

/// See the module documentation.
pub struct Gateway {
    board: Rc<Board>,
    phase: Phase,
    started: u64,
    sources: Vec<JoinHandle<Result<Ended, source::Error>>>,
    links: Vec<Arc<watch::Sender<Link>>>,
    stop: CancellationToken,
    door: Option<Door>,
    writer: Option<Writer>,
    held: Option<Held>,
    /// When the writer goes on at the latest, and at the earliest.
    writer_due: u64,
    writer_busy: u64,
    drain: Drain<Kafka>,
    sink_due: u64,
    sink_busy: u64,
    pub queue: queue::Monitor,
    sink: Arc<sink::Monitor>,
    letters: Arc<DeadLetters>,
}

/// How a start went.
pub enum Start {
    Up(Box<Gateway>),
    /// The disk is full, say.
    Failed(String),
    /// It died.
    Died,
}

impl Gateway {
    pub fn start(board: &Rc<Board>, plan: &Rc<Plan>, folder: &Path) -> Start {
        with(|world| world.life += 1);
        board.begin_life();
        let stop = CancellationToken::new();
        let opened = board.alive(|| Opening::new(board, plan, folder).open());
        let (opened, sources) = match opened {
            None => return Start::Died,
            Some(Err(error)) => return Start::Failed(error),
            Some(Ok(opened)) => opened,
        };
        let tasks = sources.into_iter().enumerate().map(|(broker, source)| {
            let stop = stop.clone();
            tokio::task::spawn_local(async move { source.drive(&Dial(broker), &stop).await })
        });
        let now = board.now();
        Start::Up(Box::new(Self {
            board: Rc::clone(board),
            phase: Phase::Running,
            started: now,
            sources: tasks.collect(),
            links: opened.links,
            stop,
            door: Some(opened.door),
            writer: Some(opened.writer),
            held: None,
            writer_due: now + 1,
            writer_busy: 0,
            drain: opened.drain,
            sink_due: now + 1,
            sink_busy: 0,
            queue: opened.queue,
            sink: opened.sink,
            letters: opened.letters,
        }))
    }

    /// When something is to be done here at the latest.
    pub fn due(&self) -> u64 {
        let writer = match &self.writer {
            Some(_) => self.writer_due.max(self.writer_busy),
            None => u64::MAX,
        };
        writer.min(self.sink_due.max(self.sink_busy))
    }

    /// Something happened outside: the stages look soon.
    pub fn poke(&mut self, now: u64) {
        if self.held.is_none() {
            self.writer_due = self.writer_due.min(now + 1);
        }
    }

    /// Does what is due. False when the process died.
    pub fn work(&mut self, now: u64) -> bool {
        if now >= self.writer_due.max(self.writer_busy) && !self.write(now) {
            return false;
        }
        if with(|world| std::mem::take(&mut world.sink_wakes)) {
            self.queue.wake_reader();
        }
        if self.drain.is_woken() {
            self.sink_due = self.sink_due.min(now);
        }
        if now >= self.sink_due.max(self.sink_busy) && !self.sink(now) {
            return false;
        }
        self.go_on_stopping(now);
        true
    }

    fn write(&mut self, now: u64) -> bool {
        let Some(writer) = &mut self.writer else {
            return true;
        };
        let held = self.held.take();
        let board = Rc::clone(&self.board);
        let Some(round) = board.alive(|| writer.round(held)) else {
            return false;
        };
        self.writer_due = now + HEARTBEAT;
        match round {
            Round::Idle => {}
            Round::Committed => {
                with(|world| world.say(format_args!("stored up to {}", self.queue.last())));
                let spent = with(|world| world.dice.between(0, 4) + world.slow_disk);
                self.writer_busy = now + 1 + spent;
                self.writer_due = self.writer_busy;
            }
            Round::Waits(held, wait) => {
                self.held = Some(held);
                self.writer_due = now + millis(wait);
                // As the thread does that is told to give up.
                if self.is_closed() {
                    self.writer = None;
                    self.held = None;
                }
            }
            Round::Over => self.writer = None,
        }
        true
    }

    fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Writer | Phase::Sink { .. })
    }

    fn sink(&mut self, now: u64) -> bool {
        let (board, drain) = (Rc::clone(&self.board), &mut self.drain);
        let instant = board.instant(now).into_std();
        let is_ending = matches!(self.phase, Phase::Sink { .. });
        let worked = board.alive(|| match is_ending {
            true => {
                drain.let_answer();
                Duration::from_millis(ANSWER_POLL)
            }
            false => drain.step(instant),
        });
        let Some(wait) = worked else {
            return false;
        };
        let spent = with(|world| std::mem::take(&mut world.link.spent));
        self.sink_busy = now + 1 + spent;
        self.sink_due = now + millis(wait);
        true
    }

    /// SIGTERM.
    pub fn stop(&mut self, now: u64) {
        if self.phase == Phase::Running {
            self.stop.cancel();
            self.phase = Phase::Sources {
                until: now + SOURCE_PATIENCE,
            };
        }
    }

    /// In the direction of the data, as the product stops.
    fn go_on_stopping(&mut self, now: u64) {
        match self.phase {
            Phase::Running | Phase::Ended => {}
            Phase::Sources { until } => {
                let are_over = self.sources.iter().all(JoinHandle::is_finished);
                if are_over || now >= until {
                    self.sources.iter().for_each(JoinHandle::abort);
                    self.door = None;
                    self.queue.close();
                    self.phase = Phase::Writer;
                    self.writer_due = self.writer_due.min(now + 1);
                } else {
                    self.sink_due = self.sink_due.min(now + ANSWER_POLL);
                }
            }
            Phase::Writer => {
                if self.writer.is_none() {
                    self.phase = Phase::Sink {
                        until: now + KAFKA_PATIENCE,
                    };
                } else {
                    self.writer_due = self.writer_due.min(now + ANSWER_POLL);
                }
            }
            Phase::Sink { until } => {
                if !self.drain.has_under_way() || now >= until {
                    self.phase = Phase::Ended;
                }
            }
        }
    }

    /// The last thing that an orderly process does. False when it died in it.
    pub fn end(&mut self) -> bool {
        let (board, drain) = (Rc::clone(&self.board), &mut self.drain);
        board.alive(|| drain.end()).is_some()
    }

    pub fn has_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// What ended that should not have.
    pub fn is_broken(&self) -> Option<String> {
        if self.sink.is_fenced() {
            return Some("the sink was fenced, and nobody else delivers".to_owned());
        }
        if self.phase != Phase::Running {
            return None;
        }
        let ended = self.sources.iter().position(JoinHandle::is_finished);
        ended
            .map(|broker| format!("the source of broker {broker} ended by itself"))
            .or_else(|| {
                self.writer
                    .is_none()
                    .then(|| "the writer ended by itself".to_owned())
            })
    }

    /// Nothing is left to do.
    pub fn is_idle(&self) -> bool {
        self.phase == Phase::Running
            && self.held.is_none()
            && self.queue.is_drained()
            && !self.drain.has_under_way()
    }

    pub fn state(&self, now: u64) -> State {
        let status = self.queue.status();
        let client = with(|world| {
            let client = world.clients.last();
            client.map_or((0, false), |client| (client.under_way(), client.has_begun()))
        });
        let is_pushed_back = self.links.iter().any(|link| *link.borrow() == Link::PushedBack);
        match () {
            () if self.phase != Phase::Running => State::Stopping,
            () if now < self.started + 1_000 => State::Starting,
            () if status.failure.is_some() => State::StoreFails,
            () if status.full || is_pushed_back => State::Full,
            () if client.1 => State::Transaction,
            () if client.0 > 0 => State::UnderWay,
            () if status.balance.queued > 0 => State::Backlog,
            () if self.held.is_some()
                || with(|world| world.brokers.iter().any(|broker| !broker.inflight.is_empty())) =>
            {
                State::Filling
            }
            () => State::Idle,
        }
    }

    /// For a failure.
    pub fn describe(&self) -> String {
        format!(
            "{:?}, links {:?}, Kafka {:?}, held by {:?}, {:?}",
            self.phase,
            self.links
                .iter()
                .map(|link| link.borrow().clone())
                .collect::<Vec<_>>(),
            self.sink.link(),
            self.sink.held(),
            self.queue.status()
        )
    }

    /// What is known at the end.
    pub fn account(&self, plan: &Plan) -> End {
        let letters = self.letters.list().expect("nothing fails any more").into_iter();
        End {
            status: self.queue.status(),
            letters: letters
                .map(|letter| (letter.seq, Mark::of(&letter.arrival.payload)))
                .collect(),
            on_full: plan.on_full,
            exactly_once: plan.exactly_once,
            may_keep_twice: plan
                .faults
                .iter()
                .any(|planned| planned.fault == Fault::ReadFails),
        }
    }

    /// The process is no more. Its connections break.
    pub async fn bury(self, folder: &Path, death: Option<Death>) {
        let board = Rc::clone(&self.board);
        for source in self.sources {
            source.abort();
            // Its files are closed when this is over.
            drop(source.await);
        }
        drop((
            self.writer,
            self.held,
            self.door,
            self.drain,
            self.queue,
            self.letters,
        ));
        if let Some(death) = death {
            lay_out(&board, folder, death);
        }
    }
}

/// What the disks keep of a process that died.
pub fn lay_out(board: &Board, folder: &Path, death: Death) {
    with(|world| {
        let (gone, left) = world.disks[Shelf::Queue as usize].died(death);
        world.disks[Shelf::Letters as usize].died(death);
        world.judge.lost(&gone);
        let found = crate::store::marks_in(&left);
        world.judge.stored(&found, death == Death::PowerCut);
        world.say(format_args!(
            "{death:?}: {gone:?} gone, {} came to light",
            found.len()
        ));
    });
    if death == Death::PowerCut {
        board.lose_power(folder);
    }
}

fn millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).expect("short").max(1)
}

/// What a start makes.
struct Made {
    links: Vec<Arc<watch::Sender<Link>>>,
    door: Door,
    writer: Writer,
    drain: Drain<Kafka>,
    queue: queue::Monitor,
    sink: Arc<sink::Monitor>,
    letters: Arc<DeadLetters>,
}

struct Opening<'a> {
    plan: &'a Plan,
    config: Rc<Config>,
    folder: &'a Path,
    clock: Clock,
    boot: u64,
}

impl<'a> Opening<'a> {
    fn new(board: &Board, plan: &'a Plan, folder: &'a Path) -> Self {
        let boot = board.boot();
        Self {
            plan,
            config: CONFIG.with(Rc::clone),
            folder,
            clock: Clock::with_probe(boot, || Some(true)),
            boot,
        }
    }

    fn lane(&self) -> PathBuf {
        self.folder.join("lane")
    }

    fn router(&self) -> Router {
        Router::new(self.config.routes.clone(), GATEWAY, LANE)
    }

    fn open(&self) -> Result<(Made, Vec<Source>), String> {
        let is_new = !self.lane().exists();
        let queue = self.queue()?;
        let letters = self.letters()?;
        letters
            .recall(queue.reader.cursor(), queue.reader.reach())
            .map_err(|error| error.to_string())?;
        let mut links = Vec::new();
        let mut sources = Vec::new();
        for broker in 0..self.plan.brokers.len() {
            let link = Arc::new(watch::Sender::new(Link::Connecting));
            sources.push(self.source(broker, &queue, &link)?);
            links.push(link);
        }
        let at = Opened {
            boot: self.boot,
            tail: queue.monitor.last(),
            cursor: queue.reader.cursor(),
        };
        let notes = Notes::open(&self.lane(), is_new, at).map_err(|error| error.to_string())?;
        let times = Times::new(self.clock.clone(), notes, RecordTimestamp::Arrival);
        let (sink, letters) = (Arc::<sink::Monitor>::default(), Arc::new(letters));
        let drain = Drain::new(
            queue.reader,
            self.router(),
            Kafka,
            Arc::clone(&letters),
            Arc::clone(&sink),
            times,
            (&self.config.kafka).into(),
        );
        let drain = match self.plan.exactly_once {
            true => drain.exactly_once(),
            false => drain,
        };
        let opened = Made {
            links,
            door: queue.door,
            writer: queue.writer,
            drain,
            queue: queue.monitor,
            sink,
            letters,
        };
        Ok((opened, sources))
    }

    fn queue(&self) -> Result<Queue, String> {
        std::fs::create_dir_all(self.lane()).map_err(|error| error.to_string())?;
        let (ledger, _) = Ledger::open(&self.lane().join("ledger")).map_err(|error| error.to_string())?;
        let committed = ledger.replacement();
        drop(ledger);
        let store = with(|world| world.disks[Shelf::Queue as usize].open(Shelf::Queue, committed));
        let config = queue::Config {
            max_bytes: APPEND_BYTES + self.plan.room,
            min_free_bytes: 0,
            // What waits gathers while the disk is busy; to wait for more is a matter of time alone.
            commit_interval: Duration::ZERO,
            compression: Compression::None,
            on_full: self.plan.on_full,
            ..queue::Config::default()
        };
        let (clock, router) = (self.clock.clone(), self.router());
        let key_of = move |stored: &Stored| owner(&router, stored);
        let outside = Outside {
            now: Some(Arc::new(move || clock.now())),
            key_of: Some(Arc::new(key_of)),
            ..Outside::default()
        };
        queue::open_on(store, &self.lane(), EPOCH, &config, &outside).map_err(|error| error.to_string())
    }

    fn letters(&self) -> Result<DeadLetters, String> {
        let folder = self.folder.join("letters");
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let store = with(|world| world.disks[Shelf::Letters as usize].open(Shelf::Letters, None));
        DeadLetters::open_on(store, &folder, EPOCH, LETTERS_BYTES).map_err(|error| error.to_string())
    }

    fn source(
        &self,
        broker: usize,
        queue: &Queue,
        link: &Arc<watch::Sender<Link>>,
    ) -> Result<Source, String> {
        let name = format!("broker{broker}");
        let recalled: Vec<Recalled> = queue
            .recalled
            .iter()
            .filter(|past| *past.broker == name)
            .cloned()
            .collect();
        let subscription = |filter: &str| Subscription {
            filter: filter.to_owned(),
            qos: Qos::AtLeastOnce,
            retain: RetainHandling::OnNewSubscription,
            id: None,
        };
        let file = |kind: &str| self.folder.join(format!("{name}.{kind}"));
        let parts = Parts {
            config: source::Config {
                name: name.clone(),
                endpoint: Endpoint::Unix("/nowhere".into()),
                tls: None,
                version: Version::V5,
                client_id: None,
                username: None,
                password_file: None,
                session_expiry: Duration::from_hours(1),
                receive_maximum: self.plan.receive_maximum,
                max_packet_size: MAX_PACKET,
                keep_alive: Duration::from_millis(KEEP_ALIVE),
                status_topic: None,
                watch_broker: false,
                shared_group: None,
            },
            client_id: format!("edgeferry-{GATEWAY}-{LANE}"),
            subscriptions: FILTERS.iter().map(|filter| subscription(filter)).collect(),
            assumed: Vec::new(),
            seat: Arc::new(Handover::default()).seat(&name, LANE),
            intake: queue.door.intake(),
            recalled,
            session_file: file("session"),
            filters_file: file("filters"),
            retained_file: file("retained"),
            series_of: SeriesOf(Arc::new(|_| Vec::new())),
            link: Arc::clone(link),
            counters: Arc::default(),
            clock: self.clock.clone(),
            nudge: Arc::new(Notify::new()),
        };
        Source::open(parts).map_err(|error| error.to_string())
    }
}

fn owner(router: &Router, stored: &Stored) -> Option<Owner> {
    let (key, is_wanted) = match router.destination(stored)? {
        Destination::Records(key) => (key, true),
        Destination::Filtered(key) => (key, false),
    };
    Some(Owner { key, is_wanted })
}
