//! The stages of one lane, started and connected.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::{AppError, DataDir, subscriptions};
use crate::clock::Clock;
use crate::config::Config;
use crate::identity::Identity;
use crate::link::Link;
use crate::message::Seq;
use crate::ops::Overview;
use crate::ops::control::{self, Control};
use crate::ops::hand::{Hand, HandLane, Known};
use crate::queue::{self, Ballast, Outside, Queue};
use crate::route::Router;
use crate::sink::{self, DeadLetters, Drain, KafkaConnector, KeepError};
use crate::source::{self, Source};

/// The lane without a table.
const LANE: &str = "default";
/// How long Kafka may take to answer what is under way at a stop. With the sources' own limit and the time to
/// close it stays below systemd's default of 90 s.
const KAFKA_PATIENCE: Duration = Duration::from_secs(10);
/// How long the sources may take to store and acknowledge at a stop.
const SOURCE_PATIENCE: Duration = Duration::from_secs(15);
/// How long a thread may take to end once it is told to.
const THREAD_PATIENCE: Duration = Duration::from_secs(30);

/// Everything that runs.
#[derive(Debug)]
pub struct Stages {
    sources: JoinSet<String>,
    stop_sources: CancellationToken,
    stop_sink: Arc<AtomicBool>,
    /// Names of threads that have ended.
    ended: mpsc::Receiver<&'static str>,
    running: Vec<&'static str>,
    view: View,
    control: Option<Control>,
}

/// What an onlooker needs.
#[derive(Debug, Clone)]
pub struct View {
    brokers: Vec<(String, Arc<watch::Sender<Link>>)>,
    queue: queue::Monitor,
    sink: Arc<sink::Monitor>,
}

impl View {
    /// The state of everything now.
    #[must_use]
    pub fn overview(&self) -> Overview {
        let brokers = self
            .brokers
            .iter()
            .map(|(name, link)| (name.clone(), link.borrow().clone()))
            .collect();
        Overview {
            brokers,
            kafka: self.sink.link(),
            queue: self.queue.status(),
            held: self.sink.held(),
            counts: self.sink.counts(),
        }
    }

    /// Sequence of the newest durable message: in a new store, how many there have been.
    #[must_use]
    pub fn last_durable(&self) -> Seq {
        self.queue.last()
    }

    /// Time since the writer's last sign of life.
    #[must_use]
    pub fn writer_age(&self) -> Duration {
        self.queue.writer_pulse().age()
    }

    /// Time since the sink's last sign of life.
    #[must_use]
    pub fn sink_age(&self) -> Duration {
        self.sink.pulse.age()
    }
}

impl Stages {
    /// Opens the store and starts all stages. Nothing waits for MQTT or Kafka to be there.
    pub fn start(config: &Config, data_dir: &DataDir, identity: &Identity) -> Result<Self, AppError> {
        let clock = Clock::system()?;
        let lane = config.lanes.iter().find(|lane| lane.name == LANE);
        let lane_queue = lane.map(|lane| lane.queue.clone()).unwrap_or_default();
        let ballast = Arc::new(Ballast::open(data_dir.path()));
        let router = || Router::new(config.routes.clone(), &identity.gateway, LANE);
        let outside = outside(&clock, &ballast, router());
        let queue = queue::open_with(&data_dir.lane(LANE), identity.epoch, &lane_queue, &outside)?;
        let dead_letters = ballast.relieve(KeepError::is_full, || {
            DeadLetters::open(
                &data_dir.dead_letters(),
                identity.epoch,
                config.dead_letter.max_bytes,
                queue.keys.clone(),
            )
        })?;
        let sources = open_sources(config, data_dir, identity, &queue, &clock)?;
        let Queue {
            writer,
            reader,
            door,
            monitor,
            ..
        } = queue;
        let sink_monitor = Arc::new(sink::Monitor::default());
        let view = View {
            brokers: sources
                .iter()
                .map(|(name, link, _)| (name.clone(), Arc::clone(link)))
                .collect(),
            queue: monitor,
            sink: Arc::clone(&sink_monitor),
        };
        // Beside the sources only the hand holds an entrance: the writer ends when all of them let go.
        let lanes = vec![HandLane::new(
            LANE.to_owned(),
            view.queue.clone(),
            router(),
            Some(door),
        )];
        let control = start_control(data_dir, identity, lanes);
        let connector = connector(config, identity, &view.queue);
        let drain = Drain::new(reader, router(), connector, dead_letters, sink_monitor, clock);
        let stop_sink = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop_sink);
        let (ending, ended) = mpsc::channel(2);
        spawn("queue writer", &ending, move || writer.run())?;
        spawn("sink", &ending, move || {
            drain.run(|| stopping.load(Ordering::Relaxed), KAFKA_PATIENCE);
        })?;
        let stop_sources = CancellationToken::new();
        let running = vec!["queue writer", "sink"];
        let sources = run_sources(sources, &stop_sources);
        Ok(Self {
            sources,
            stop_sources,
            stop_sink,
            ended,
            running,
            view,
            control,
        })
    }

    /// For onlookers.
    pub fn view(&self) -> View {
        self.view.clone()
    }

    /// Waits for a stage that ends by itself, and names it.
    pub async fn ended(&mut self) -> String {
        tokio::select! {
            Some(thread) = self.ended.recv() => {
                self.running.retain(|running| *running != thread);
                thread.to_owned()
            }
            Some(source) = self.sources.join_next() => source.unwrap_or_else(|error| format!("source ({error})")),
            else => "pipeline".to_owned(),
        }
    }

    /// Stops in the direction of the data: take no more, store, acknowledge, let Kafka answer, keep the cursor.
    pub async fn stop(&mut self) {
        self.stop_sources.cancel();
        if let Some(control) = self.control.take() {
            control.stop().await;
        }
        let stopped = async { while self.sources.join_next().await.is_some() {} };
        if tokio::time::timeout(SOURCE_PATIENCE, stopped).await.is_err() {
            tracing::warn!("a source did not stop in time; what it did not acknowledge will come again");
            self.sources.shutdown().await;
        }
        self.view.queue.close();
        self.join("queue writer").await;
        self.stop_sink.store(true, Ordering::Relaxed);
        self.view.queue.wake_reader();
        self.join("sink").await;
    }

    async fn join(&mut self, name: &str) {
        let waited = tokio::time::timeout(THREAD_PATIENCE, async {
            while self.running.contains(&name) {
                let Some(ended) = self.ended.recv().await else {
                    break;
                };
                self.running.retain(|running| *running != ended);
            }
        });
        if waited.await.is_err() {
            tracing::error!(name, "did not end in time");
        }
    }
}

/// What the queue gets from the others.
fn outside(clock: &Clock, ballast: &Arc<Ballast>, router: Router) -> Outside {
    let clock = clock.clone();
    Outside {
        now: Some(Arc::new(move || clock.now())),
        key_of: Some(Arc::new(move |stored| router.destination(stored))),
        ballast: Some(Arc::clone(ballast)),
    }
}

type OpenedSource = (String, Arc<watch::Sender<Link>>, Source);

fn open_sources(
    config: &Config,
    data_dir: &DataDir,
    identity: &Identity,
    queue: &Queue,
    clock: &Clock,
) -> Result<Vec<OpenedSource>, AppError> {
    let open = |broker: &source::Config| {
        let link = Arc::new(watch::Sender::new(Link::Connecting));
        let client_id = broker
            .client_id
            .clone()
            .unwrap_or_else(|| format!("edgeferry-{}", identity.gateway));
        let parts = source::Parts {
            config: broker.clone(),
            client_id: format!("{client_id}-{LANE}"),
            subscriptions: subscriptions::derive(&config.routes, broker),
            intake: queue.door.intake(),
            recalled: queue
                .recalled
                .iter()
                .filter(|past| *past.broker == broker.name)
                .cloned()
                .collect(),
            session_file: data_dir.session(LANE, &broker.name),
            link: Arc::clone(&link),
            counters: Arc::default(),
            clock: clock.clone(),
        };
        let source = Source::open(parts).map_err(|source| AppError::Source {
            broker: broker.name.clone(),
            source,
        })?;
        Ok((broker.name.clone(), link, source))
    };
    config.brokers.iter().map(open).collect()
}

fn run_sources(sources: Vec<OpenedSource>, stop: &CancellationToken) -> JoinSet<String> {
    let mut tasks = JoinSet::new();
    for (name, _, source) in sources {
        let stop = stop.clone();
        tasks.spawn(async move {
            if let Err(error) = source.run(stop).await {
                tracing::error!(broker = name, %error, "source ended");
            }
            format!("source {name}")
        });
    }
    tasks
}

fn connector(config: &Config, identity: &Identity, queue: &queue::Monitor) -> KafkaConnector {
    let queue = queue.clone();
    let wake = Arc::new(move || queue.wake_reader());
    KafkaConnector::new(
        &config.kafka,
        &format!("edgeferry-{}-{LANE}", identity.gateway),
        wake,
    )
}

/// Lets people look into the lanes. It is no part of the pipeline: without it the daemon runs all the same.
fn start_control(data_dir: &DataDir, identity: &Identity, lanes: Vec<Arc<HandLane>>) -> Option<Control> {
    let mut known = match Known::open(data_dir.path()) {
        Ok(known) => known,
        Err(error) => {
            tracing::error!(%error, "no control socket: what was imported is not known");
            return None;
        }
    };
    if let Err(error) = known.reconcile(&lanes) {
        tracing::error!(%error, "it is not known what became of an interrupted import");
    }
    let hand = Arc::new(Hand::new(identity.clone(), lanes, known, true));
    let control = Control::start(data_dir.path(), Arc::clone(&hand));
    if let Err(error) = &control {
        let path = control::path(data_dir.path());
        tracing::warn!(path = %path.display(), %error, "no control socket: `edgeferry queue` works on the stopped store only");
        hand.close();
    }
    control.ok()
}

/// Starts a thread whose end, also by a panic, is reported.
fn spawn(
    name: &'static str,
    ending: &mpsc::Sender<&'static str>,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    /// Reports when dropped.
    struct End(&'static str, mpsc::Sender<&'static str>);
    impl Drop for End {
        fn drop(&mut self) {
            if self.1.try_send(self.0).is_err() {
                tracing::debug!(name = self.0, "nobody waits for this thread any more");
            }
        }
    }
    let end = End(name, ending.clone());
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _end = end;
        work();
    })?;
    Ok(())
}
