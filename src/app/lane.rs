//! One lane: a whole pipeline from its brokers to Kafka, with nothing that another lane could hold up.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::app::cursor_topic::cursor_topics;
use crate::app::lane_view::{BrokerView, LaneView};
use crate::app::plan::Plan;
use crate::app::routing::{self, Reach};
use crate::app::threads::Threads;
use crate::app::{AppError, DataDir, letters, subscriptions};
use crate::clock::{Clock, Notes, Opened};
use crate::config::{Config, DEFAULT_LANE};
use crate::faults;
use crate::identity::Identity;
use crate::link::Link;
use crate::message::Stored;
use crate::ops::hand::{HandLane, LetterBox};
use crate::queue::seal::Keys;
use crate::queue::{self, Ballast, Door, Outside, Owner, Queue, Recalled, Writer};
use crate::route::{self, Destination, Former, Router};
use crate::sink::dead_letter::KeepError;
use crate::sink::monitor::Counts;
use crate::sink::{
    self, Allowance, Delivery, Drain, Gate, KafkaConnector, LaneConnector, Times, Transactional,
};
use crate::slots::SlotError;
use crate::source::{self, Counters, Ended, Handover, Source};

/// How long Kafka may take to answer what is under way at a stop. With the sources' own limit and the time to
/// close it stays below systemd's default of 90 s. Lanes stop at the same time, so their number does not matter.
const KAFKA_PATIENCE: Duration = Duration::from_secs(10);
/// How long the sources may take to store and acknowledge at a stop.
const SOURCE_PATIENCE: Duration = Duration::from_secs(15);
/// How long a thread may take to end once it is told to.
const THREAD_PATIENCE: Duration = Duration::from_secs(30);
/// How often a lane that is to go looks whether it is empty.
const EMPTY_POLL: Duration = Duration::from_millis(500);

/// What all lanes stand on.
#[derive(Debug, Clone)]
pub struct Ground {
    pub config: Arc<Config>,
    pub data_dir: Arc<DataDir>,
    pub identity: Arc<Identity>,
    pub clock: Clock,
    pub handover: Arc<Handover>,
    pub ballast: Arc<Ballast>,
    /// `[kafka] max_rate`
    pub allowance: Option<Arc<Allowance>>,
    /// Has sources that wait for their next attempt try at once.
    pub nudge: Arc<Notify>,
}

/// The routes that a lane goes by now. They change while it runs when those of other lanes do.
#[derive(Debug, Clone, Default)]
struct CurrentRoutes(Arc<RwLock<Option<Arc<Router>>>>);

impl CurrentRoutes {
    fn now(&self) -> Option<Arc<Router>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn are(&self, router: Arc<Router>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(router);
    }
}

/// What of a lane goes on in the one that is opened in its place.
#[derive(Debug, Clone, Default)]
pub struct Carried {
    /// What its sink has counted.
    pub counts: Counts,
    /// `[[lane]] max_rate`, with what it owes: a lane that is started anew must be no way round a limit.
    pub allowance: Option<Arc<Allowance>>,
    /// Its keys, for when it is opened as it was.
    pub keys: Option<Keys>,
}

/// What is needed to give a running lane other routes, none of which its own messages take.
#[derive(Debug)]
pub struct Points {
    routes: CurrentRoutes,
    former: Vec<Former>,
    view: LaneView,
    allowance: Option<Arc<Allowance>>,
}

impl Points {
    /// What goes on in the next lane of the name, as it is now.
    pub fn carried(&self) -> Carried {
        Carried {
            counts: self.view.sink.counts(),
            allowance: self.allowance.clone(),
            keys: Some(self.view.queue.keys().clone()),
        }
    }

    /// The lane goes by the routes of `config` from now on.
    pub fn switch(&self, config: &Config, gateway: &str) -> Arc<Router> {
        let router = Router::after(config.routes.clone(), &self.former, gateway, &self.view.name);
        let shared = Arc::new(router.clone());
        self.routes.are(Arc::clone(&shared));
        self.view.sink.reroute(router);
        self.view.queue.wake_reader();
        shared
    }
}

/// A lane whose store is open and whose sources know what they want. Nothing runs yet.
#[derive(Debug)]
pub struct OpenLane {
    name: String,
    is_leaving: bool,
    sources: Vec<OpenSource>,
    door: Door,
    writer: Writer,
    drain: Drain<LaneConnector>,
    router: Arc<Router>,
    routes: CurrentRoutes,
    former: Vec<Former>,
    /// The routes whose messages it brings, or brought.
    interests: Vec<route::Mark>,
    /// `[[lane]] max_rate`
    allowance: Option<Arc<Allowance>>,
    view: LaneView,
}

#[derive(Debug)]
struct OpenSource {
    name: String,
    link: Arc<watch::Sender<Link>>,
    counters: Arc<Counters>,
    source: Source,
}

impl OpenSource {
    fn view(&self) -> BrokerView {
        BrokerView {
            name: self.name.clone(),
            link: Arc::downgrade(&self.link),
            counters: Arc::clone(&self.counters),
        }
    }
}

/// A running lane.
#[derive(Debug)]
pub struct Lane {
    is_leaving: bool,
    sources: JoinSet<(String, Result<Ended, source::Error>)>,
    stop_sources: CancellationToken,
    /// Keeps the writer going while there is no source: it ends with the last entrance.
    door: Option<Door>,
    stop_sink: Arc<AtomicBool>,
    threads: Threads,
    names: Names,
    view: LaneView,
}

/// How a lane ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As asked.
    Stopped,
    /// No route uses it, and all it had has gone.
    Emptied,
    /// Another gateway with the same identity took over.
    Fenced,
    /// A stage ended although nobody asked it to.
    StageEnded(String),
}

/// Names of a lane's stages in logs and of its threads.
#[derive(Debug)]
struct Names {
    prefix: String,
    writer: String,
    sink: String,
}

impl Names {
    fn of(lane: &str) -> Self {
        let prefix = if lane == DEFAULT_LANE {
            String::new()
        } else {
            format!("{lane} ")
        };
        Self {
            writer: format!("{prefix}queue writer"),
            sink: format!("{prefix}sink"),
            prefix,
        }
    }
}

impl OpenLane {
    /// Opens the lane's store and reads what its sources remember. Connects nowhere. What is `carried` goes on.
    ///
    /// # Errors
    /// [`AppError`]
    pub fn open(plan: &Plan, ground: &Ground, carried: Carried) -> Result<Self, AppError> {
        let (config, data_dir, identity) = (&*ground.config, &*ground.data_dir, &*ground.identity);
        let lane = plan.name.as_str();
        let folder = data_dir.lane(lane);
        let is_new = !folder.exists();
        // Told what the log holds, once that is open; nothing is compacted before the writer runs.
        let current = CurrentRoutes::default();
        let outside = Outside {
            keys: carried.keys,
            ..outside(ground, current.clone(), lane)
        };
        // What opening finds to be lost is news, so this is from before.
        let before = queue::peek(&folder).map(|peeked| peeked.balance);
        let queue = queue::open_with(&folder, identity.epoch, &plan.queue, &outside)?;
        let dead_letters = ground.ballast.relieve(KeepError::is_full, || {
            letters::open(config, data_dir, identity, lane, queue.keys.clone())
        })?;
        dead_letters.recall(queue.reader.cursor(), queue.reader.reach())?;
        let sources = open_sources(plan, ground, &queue)?;
        let reach = Reach {
            tail: queue.monitor.last(),
            cursor: queue.reader.cursor(),
        };
        let times = times(&folder, is_new, reach, ground)?;
        let assumed = assumed_routes(config, lane, is_new);
        let former = routing::former(&folder, lane, &config.routes, assumed, reach);
        let router = Router::after(config.routes.clone(), &former, &identity.gateway, lane);
        let shared_router = Arc::new(router.clone());
        current.are(Arc::clone(&shared_router));
        let interests = interests(config, lane, &former);
        let sink = Arc::new(sink::Monitor::after(carried.counts));
        let view = LaneView {
            name: plan.name.clone(),
            is_leaving: plan.is_leaving,
            brokers: sources.iter().map(OpenSource::view).collect(),
            routes: router.names().into_iter().map(|(_, name)| name).collect(),
            limits: plan.queue.clone(),
            before,
            queue: queue.monitor,
            sink: Arc::clone(&sink),
            letters: Arc::clone(&dead_letters),
        };
        let transactional = transactional(lane, ground);
        let is_exactly_once = transactional.is_some();
        let connector = connector(plan, ground, &view.queue, transactional);
        let allowance = own_allowance(plan, carried.allowance);
        let drain = Drain::new(
            queue.reader,
            router,
            connector,
            dead_letters,
            sink,
            times,
            (&config.kafka).into(),
        )
        .limited(gate(plan, ground, allowance.as_ref()));
        Ok(Self {
            name: plan.name.clone(),
            is_leaving: plan.is_leaving,
            sources,
            door: queue.door,
            writer: queue.writer,
            drain: delivering(drain, is_exactly_once),
            router: shared_router,
            routes: current,
            former,
            interests,
            allowance,
            view,
        })
    }

    /// Starts all stages. Must be called in a tokio runtime, when all lanes are open.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(self) -> io::Result<Lane> {
        let names = Names::of(&self.name);
        let mut threads = Threads::new(2);
        let stop_sink = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop_sink);
        let (writer, drain) = (self.writer, self.drain);
        // Every line of the log that these say is about their lane.
        let span = tracing::info_span!("lane", lane = self.name);
        let of_writer = span.clone();
        threads.spawn(names.writer.clone(), move || of_writer.in_scope(|| writer.run()))?;
        let of_sink = span.clone();
        threads.spawn(names.sink.clone(), move || {
            let _inside = of_sink.enter();
            drain.run(|| stopping.load(Ordering::Relaxed), KAFKA_PATIENCE);
        })?;
        let stop_sources = CancellationToken::new();
        let mut sources = JoinSet::new();
        for OpenSource { name, source, .. } in self.sources {
            let stop = stop_sources.clone();
            let run = async move { (name, Box::pin(source.run(stop)).await) };
            sources.spawn(run.instrument(span.clone()));
        }
        Ok(Lane {
            is_leaving: self.is_leaving,
            sources,
            stop_sources,
            door: Some(self.door),
            stop_sink,
            threads,
            names,
            view: self.view,
        })
    }

    /// For people. A lane that is to go takes no imports.
    pub fn hand(&self) -> Arc<HandLane> {
        let door = (!self.is_leaving).then(|| self.door.clone());
        HandLane::new(
            self.name.clone(),
            self.view.queue.clone(),
            Router::clone(&self.router),
            door,
        )
    }

    /// Its dead letters, for people.
    pub fn letters(&self) -> LetterBox {
        LetterBox {
            lane: self.name.clone(),
            letters: Arc::clone(&self.view.letters),
            router: Arc::clone(&self.router),
        }
    }

    /// The routes whose messages it brings, or brought and may still have.
    pub fn interests(&self) -> Vec<route::Mark> {
        self.interests.clone()
    }

    /// For other routes while it runs.
    pub fn points(&self) -> Points {
        Points {
            routes: self.routes.clone(),
            former: self.former.clone(),
            view: self.view.clone(),
            allowance: self.allowance.clone(),
        }
    }

    /// For onlookers.
    pub const fn view(&self) -> &LaneView {
        &self.view
    }
}

impl Lane {
    /// Runs until `stop`, until a stage ends, or until a lane that is to go is empty; then stops what is left.
    pub async fn run(mut self, stop: CancellationToken) -> Outcome {
        let outcome = tokio::select! {
            () = stop.cancelled() => Outcome::Stopped,
            ended = self.ended() => ended,
        };
        self.stop().await;
        outcome
    }

    async fn ended(&mut self) -> Outcome {
        loop {
            let is_over = self.is_leaving && self.sources.is_empty();
            tokio::select! {
                Some(source) = self.sources.join_next() => {
                    if let Some(ended) = unexpected(source) {
                        return Outcome::StageEnded(format!("{}{ended}", self.names.prefix));
                    }
                }
                thread = self.threads.next_end() => return self.thread_ended(thread),
                () = until_empty(&self.view.queue), if is_over => return Outcome::Emptied,
            }
        }
    }

    fn thread_ended(&self, name: String) -> Outcome {
        match self.view.sink.is_fenced() {
            true => Outcome::Fenced,
            false => Outcome::StageEnded(name),
        }
    }

    /// Stops in the direction of the data: take no more, store, acknowledge, let Kafka answer, keep the cursor.
    async fn stop(&mut self) {
        self.stop_sources.cancel();
        let stopped = async { while self.sources.join_next().await.is_some() {} };
        if tokio::time::timeout(SOURCE_PATIENCE, stopped).await.is_err() {
            tracing::warn!("a source did not stop in time; what it did not acknowledge will come again");
            self.sources.shutdown().await;
        }
        self.door = None;
        self.view.queue.close();
        let (writer, sink) = (self.names.writer.clone(), self.names.sink.clone());
        self.join(&writer).await;
        self.stop_sink.store(true, Ordering::Relaxed);
        self.view.queue.wake_reader();
        self.join(&sink).await;
    }

    async fn join(&mut self, name: &str) {
        let patience = faults::hang_limit(THREAD_PATIENCE);
        let joined = tokio::time::timeout(patience, self.threads.join(name));
        if joined.await.is_err() {
            tracing::error!(stage = name, "a stage did not end in time");
        }
    }
}

/// Exactly once, where that is asked for.
fn delivering(drain: Drain<LaneConnector>, is_exactly_once: bool) -> Drain<LaneConnector> {
    match is_exactly_once {
        true => drain.exactly_once(),
        false => drain,
    }
}

/// A source whose session is over has done its work; every other end is not asked for.
fn unexpected(source: Result<(String, Result<Ended, source::Error>), JoinError>) -> Option<String> {
    match source {
        Ok((_, Ok(Ended::SessionOver))) => None,
        Ok((name, Ok(Ended::Stopped))) => Some(format!("source {name}")),
        Ok((name, Err(error))) => {
            tracing::error!(broker = name, %error, "source ended");
            Some(format!("source {name}"))
        }
        Err(error) => Some(format!("source ({error})")),
    }
}

/// Waits until nothing is queued.
async fn until_empty(queue: &queue::Monitor) {
    while !queue.is_drained() {
        tokio::time::sleep(EMPTY_POLL).await;
    }
}

/// What is known of the lane's clocks.
fn times(folder: &Path, is_new: bool, reach: Reach, ground: &Ground) -> Result<Times, SlotError> {
    let at = Opened {
        boot: ground.clock.boot(),
        tail: reach.tail,
        cursor: reach.cursor,
    };
    let open = || Notes::open(folder, is_new, at);
    let notes = ground.ballast.relieve(SlotError::is_full, open)?;
    let basis = ground.config.kafka.record_timestamp;
    Ok(Times::new(ground.clock.clone(), notes, basis))
}

/// The routes whose messages the lane brings, or brought and may still have.
fn interests(config: &Config, lane: &str, former: &[Former]) -> Vec<route::Mark> {
    let own = config.routes.iter().filter(|route| route.lane == lane);
    let own = own.map(route::Config::mark);
    own.chain(former.iter().map(|former| former.mark.clone()))
        .collect()
}

/// What a lane's routes were in a store from before that was remembered: all were those of the lane `default`.
fn assumed_routes(config: &Config, lane: &str, is_new: bool) -> Vec<route::Mark> {
    let is_from_before = !is_new && lane == DEFAULT_LANE;
    let routes = config.routes.iter().filter(|_| is_from_before);
    routes.map(route::Config::mark).collect()
}

/// Sources for the brokers that the lane's routes take, and for those that keep a session for it.
fn open_sources(plan: &Plan, ground: &Ground, queue: &Queue) -> Result<Vec<OpenSource>, AppError> {
    let (config, lane) = (&*ground.config, plan.name.as_str());
    let sessions = ground.data_dir.sessions(lane)?;
    for gone in sessions
        .iter()
        .filter(|name| config.brokers.iter().all(|broker| broker.name != **name))
    {
        tracing::warn!(
            lane,
            broker = gone,
            "no [[mqtt]] table has this name any more: its broker keeps the session, and what it has for it, until they expire"
        );
    }
    let mut sources = Vec::new();
    for broker in &config.brokers {
        let wanted = subscriptions::derive(&config.routes, lane, broker);
        if wanted.is_empty() && !sessions.contains(&broker.name) {
            continue;
        }
        let link = Arc::new(watch::Sender::new(Link::Connecting));
        let counters = Arc::<Counters>::default();
        let parts = source::Parts {
            counters: Arc::clone(&counters),
            ..parts(lane, broker, wanted, ground, queue, &link)
        };
        let source = Source::open(parts).map_err(|source| AppError::Source {
            broker: broker.name.clone(),
            source,
        })?;
        sources.push(OpenSource {
            name: broker.name.clone(),
            link,
            counters,
            source,
        });
    }
    Ok(sources)
}

fn parts(
    lane: &str,
    broker: &source::Config,
    wanted: Vec<source::Subscription>,
    ground: &Ground,
    queue: &Queue,
    link: &Arc<watch::Sender<Link>>,
) -> source::Parts {
    let (config, data_dir) = (&*ground.config, &*ground.data_dir);
    let client_id = broker.client_id_of(&ground.identity.gateway);
    let recalled: Vec<Recalled> = queue
        .recalled
        .iter()
        .filter(|past| *past.broker == broker.name)
        .cloned()
        .collect();
    // Before filters were remembered there was one lane, with all routes.
    let assumed = subscriptions::derive_all(&config.routes, broker).into_iter();
    source::Parts {
        config: broker.clone(),
        client_id: format!("{client_id}-{lane}"),
        subscriptions: wanted,
        assumed: assumed.map(|subscription| subscription.filter).collect(),
        seat: ground.handover.seat(&broker.name, lane),
        intake: queue.door.intake(),
        recalled,
        session_file: data_dir.session(lane, &broker.name),
        filters_file: data_dir.filters(lane, &broker.name),
        retained_file: data_dir.retained_messages(lane, &broker.name),
        series_of: source::SeriesOf(series_of(ground, lane)),
        link: Arc::clone(link),
        counters: Arc::default(),
        clock: ground.clock.clone(),
        nudge: Arc::clone(&ground.nudge),
    }
}

/// Which messages need times that ascend strictly.
fn series_of(ground: &Ground, lane: &str) -> queue::SeriesOf {
    let routes = ground.config.routes.iter().filter(|route| route.lane == lane);
    let own = Router::new(routes.cloned().collect(), &ground.identity.gateway, lane);
    Arc::new(move |arrival| own.series(arrival))
}

/// What the queue gets from the others.
fn outside(ground: &Ground, current: CurrentRoutes, lane: &str) -> Outside {
    let clock = ground.clock.clone();
    // The same router as the sink's: what a former route takes is not the value of whoever takes such messages by now.
    let owner_of = move |stored: &Stored| {
        let router = current.now()?;
        owner(&router, stored)
    };
    Outside {
        now: Some(Arc::new(move || clock.now())),
        series_of: Some(series_of(ground, lane)),
        key_of: Some(Arc::new(owner_of)),
        ballast: Some(Arc::clone(&ground.ballast)),
        keys: None,
    }
}

/// Whose value a message is, by where it goes.
fn owner(router: &Router, stored: &Stored) -> Option<Owner> {
    let (key, is_wanted) = match router.destination(stored)? {
        Destination::Records(key) => (key, true),
        Destination::Filtered(key) => (key, false),
    };
    Some(Owner { key, is_wanted })
}

/// The limits that the lane shares, and its own.
fn gate(plan: &Plan, ground: &Ground, own: Option<&Arc<Allowance>>) -> Gate {
    let mut gate = Gate::default();
    for allowance in ground.allowance.iter().chain(own) {
        gate.join(allowance, &plan.name, plan.weight);
    }
    gate
}

/// The limit of the lane alone: the one that it had, while that is the same.
fn own_allowance(plan: &Plan, before: Option<Arc<Allowance>>) -> Option<Arc<Allowance>> {
    let rate = plan.max_rate?;
    let same = before.filter(|before| before.rate() == rate);
    Some(same.unwrap_or_else(|| Arc::new(Allowance::new(rate))))
}

fn connector(
    plan: &Plan,
    ground: &Ground,
    queue: &queue::Monitor,
    transactional: Option<Transactional>,
) -> LaneConnector {
    let queue = queue.clone();
    let wake = Arc::new(move || queue.wake_reader());
    let client_id = format!("edgeferry-{}-{}", ground.identity.gateway, plan.name);
    LaneConnector::new(KafkaConnector::new(
        &ground.config.kafka,
        &client_id,
        plan.queue.share,
        transactional,
        wake,
    ))
}

/// How the lane delivers exactly once, if it does.
fn transactional(lane: &str, ground: &Ground) -> Option<Transactional> {
    if ground.config.kafka.delivery != Delivery::ExactlyOnce {
        return None;
    }
    let topics = cursor_topics(&ground.data_dir.lane(lane), lane, &ground.config);
    if topics.is_empty() {
        // Only a lane that no route uses any more: `check` refuses the others.
        tracing::warn!(
            lane,
            "no topic for the cursor: what is left of this lane is delivered at least once"
        );
        return None;
    }
    let (gateway, epoch) = (&ground.identity.gateway, ground.identity.epoch);
    Some(Transactional::new(
        format!("edgeferry.{gateway}.{epoch}.{lane}"),
        topics,
    ))
}

#[cfg(test)]
mod tests;
