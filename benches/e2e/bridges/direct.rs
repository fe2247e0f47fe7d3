//! The bridge without a store, to compare with: edgeferry's own source, router and Kafka client with its own settings, and between
//! them nothing. A PUBACK goes out when Kafka has confirmed the record and all before it. What waits in an outage waits in the
//! MQTT broker's memory.
//!
//! It is this program again, with an argument, so that its CPU and memory are its own; the allocator is set as the daemon's is.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use edgeferry::clock::{Clock, Told};
use edgeferry::config::{self, Config};
use edgeferry::link::Link;
use edgeferry::message::{Epoch, Qos, Seq, Stored};
use edgeferry::queue::intake::{Offer, Receipt};
use edgeferry::queue::{Intake, Room, Share};
use edgeferry::route::Router;
use edgeferry::signal::Signal;
use edgeferry::sink::KafkaConnector;
use edgeferry::sink::kafka::KafkaProducer;
use edgeferry::sink::producer::{Connector as _, Producer as _, SubmitError};
use edgeferry::source::{Counters, Handover, Parts, RetainHandling, SeriesOf, Source, Subscription};
use rustix::process::Signal as ProcessSignal;
use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{Bridge, Place, Settings};
use crate::child;
use crate::support::config::GATEWAY;
use crate::support::process::Process;
use crate::support::scene::FILTER;
use crate::support::scratch::Scratch;

/// How long it may take to die when it is told to.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// A wake-up cannot be missed; this is how late a bug in that would show.
const WAIT: Duration = Duration::from_secs(1);
/// The lane that stands in the headers of its records.
const LANE: &str = "default";

/// The process, seen from the benchmark.
pub struct Direct {
    folder: Scratch,
    process: Option<Process>,
}

impl Direct {
    pub fn new(settings: &Settings, place: Place<'_>) -> Self {
        let folder = Scratch::new("direct");
        let text = settings.config(place).text(&folder.join("store"));
        std::fs::write(folder.join("edgeferry.toml"), text).expect("the folder is writable");
        Self {
            folder,
            process: None,
        }
    }
}

impl Bridge for Direct {
    fn start(&mut self) {
        let case = json!({ "role": "direct", "folder": self.folder.path() });
        self.process = Some(child::spawn("direct bridge", &case, &self.folder.join("log")));
    }

    fn stop(&mut self) {
        let mut process = self.process.take().expect("it runs");
        let ended = process.ended();
        assert!(ended.is_none(), "the direct bridge ended: {}", process.log());
        // What it has to say of its connections belongs beside the figures.
        for line in process.log().lines().filter(|line| line.contains("WARN")) {
            eprintln!("direct bridge: {line}");
        }
        process.signal(ProcessSignal::TERM);
        // The signal ends it; that is no success, and as it should be.
        let _: ExitStatus = process.terminate(STOP_LIMIT);
    }

    fn id(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }
}

/// The process from inside; ends by a signal.
pub fn run(folder: &Path) {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let (config, _) = config::load(&folder.join("edgeferry.toml")).expect("we wrote it");
    let (intake, offers) = Intake::detached();
    let source = open(&config, folder, intake);
    let between = Arc::new(Between::new(&config));
    let feeding = Arc::clone(&between);
    std::thread::spawn(move || feeding.feed(&offers, &config));
    std::thread::spawn(move || between.confirm());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let ended = runtime.block_on(source.run(CancellationToken::new()));
    panic!("the source ended: {ended:?}");
}

fn open(config: &Config, folder: &Path, intake: Intake) -> Source {
    let broker = config.brokers.first().expect("there is one");
    let file = |name: &str| -> PathBuf { folder.join(name) };
    let subscription = Subscription {
        filter: FILTER.into(),
        qos: Qos::AtLeastOnce,
        retain: RetainHandling::OnNewSubscription,
        id: None,
    };
    let parts = Parts {
        config: broker.clone(),
        client_id: "direct".into(),
        subscriptions: vec![subscription],
        assumed: Vec::new(),
        seat: Arc::<Handover>::default().seat(&broker.name, LANE),
        intake,
        recalled: Vec::new(),
        session_file: file("session"),
        filters_file: file("filters"),
        link: Arc::new(watch::Sender::new(Link::Connecting)),
        counters: Arc::<Counters>::default(),
        clock: Clock::system().expect("this machine has one"),
        retained_file: file("retained"),
        series_of: SeriesOf(Arc::new(|_| Vec::new())),
        nudge: Arc::<Notify>::default(),
    };
    Source::open(parts).expect("its folder is writable")
}

/// What two threads share: one submits in order, the other takes delivery reports.
struct Between {
    producer: Mutex<KafkaProducer>,
    under_way: Mutex<UnderWay>,
    reported: Arc<Signal>,
    /// There is room in the Kafka client again.
    room: Signal,
}

/// Records without a report, or behind one without; bounded by the budget of the intake, of which each holds its part.
#[derive(Default)]
struct UnderWay {
    /// Of the first one.
    ticket: usize,
    records: VecDeque<Sent>,
}

struct Sent {
    is_confirmed: bool,
    receipt: Receipt,
    room: Room,
}

impl Between {
    fn new(config: &Config) -> Self {
        let reported = Arc::<Signal>::default();
        let wake = Arc::clone(&reported);
        let wake = Arc::new(move || wake.raise());
        let connector = KafkaConnector::new(&config.kafka, "direct", Share::default(), None, wake);
        let producer = { connector }.connect().expect("plain settings");
        Self {
            producer: Mutex::new(producer),
            under_way: Mutex::default(),
            reported,
            room: Signal::default(),
        }
    }

    fn feed(&self, offers: &Receiver<Offer>, config: &Config) {
        let router = Router::new(config.routes.clone(), GATEWAY, LANE);
        for (ticket, offer) in offers.iter().enumerate() {
            let Offer {
                arrival,
                receipt,
                room,
                ..
            } = offer;
            let stored = Stored {
                seq: Seq(ticket as u64 + 1),
                epoch: Epoch(1),
                arrival,
            };
            let told = Told::as_it_stood(&stored.arrival.stamp);
            let outcome = router.route(&stored, &told);
            let record = outcome.records.first().expect("the route takes it");
            let sent = Sent {
                is_confirmed: false,
                receipt,
                room,
            };
            lock(&self.under_way).records.push_back(sent);
            loop {
                let submitted = lock(&self.producer).submit(record, None, ticket);
                match submitted {
                    Ok(()) => break,
                    Err(SubmitError::Full) => self.room.wait(WAIT),
                    Err(refused) => panic!("Kafka's client does not take it: {refused:?}"),
                }
            }
        }
    }

    fn confirm(&self) {
        loop {
            self.reported.wait(WAIT);
            let reports = lock(&self.producer).reports();
            let mut under_way = lock(&self.under_way);
            for report in reports {
                assert_eq!(report.outcome, Ok(()), "Kafka did not take a record");
                let index = report.ticket - under_way.ticket;
                under_way.records[index].is_confirmed = true;
            }
            under_way.acknowledge();
            drop(under_way);
            self.room.raise();
        }
    }
}

impl UnderWay {
    /// In order: nothing before everything ahead of it.
    fn acknowledge(&mut self) {
        while self.records.front().is_some_and(|sent| sent.is_confirmed) {
            let Some(Sent { receipt, room, .. }) = self.records.pop_front() else {
                return;
            };
            self.ticket += 1;
            receipt.confirm();
            drop(room);
        }
    }
}

/// A thread that panics with it ends the comparison anyway.
fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().expect("no other thread has panicked")
}
