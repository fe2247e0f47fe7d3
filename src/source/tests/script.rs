//! A scripted broker, and a source that is connected to it.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::super::client::{
    Acknowledgement, Client, Connector, Event, Events, Failure, Gone, Publish, REQUESTS,
};
use super::super::*;
use crate::message::SessionTag;
use crate::queue::intake::Offer;

pub const KEEP_ALIVE: Duration = Duration::from_secs(30);
pub const WINDOW: u16 = 10;
pub const BOOT: u64 = 77;

/// Events, and actions, that one end of a connection may be ahead of the other: twice the longest run of
/// messages in a test.
const SAID_AHEAD: usize = 4_096;
/// Connection attempts that a test has not looked at yet. Ten minutes of them, the longest wait here, are
/// fewer than twenty: they back off.
const ATTEMPTS_AHEAD: usize = 64;

/// What reached the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Subscribe(Vec<String>),
    Unsubscribe(String),
    Acknowledge(u16),
    Disconnect,
}

/// The broker's end of one connection.
pub struct Peer {
    pub packet_limit: u32,
    /// The connection ends the session.
    pub is_clean: bool,
    /// So much of what it is asked the client sends still.
    pub may_send: Arc<AtomicUsize>,
    /// Nothing is read from the broker.
    pub is_held: Arc<AtomicBool>,
    events: mpsc::Sender<Result<Event, Failure>>,
    actions: mpsc::Receiver<Action>,
}

/// Makes connections, and hands their other ends to the test.
struct Script(mpsc::Sender<Peer>);

/// Like the real client: a bounded channel that only the event loop empties.
struct ScriptClient(mpsc::Sender<Action>);

struct ScriptEvents {
    requests: mpsc::Receiver<Action>,
    events: mpsc::Receiver<Result<Event, Failure>>,
    actions: mpsc::Sender<Action>,
    may_send: Arc<AtomicUsize>,
    is_held: Arc<AtomicBool>,
    subscribes: u16,
    unsubscribes: u16,
}

impl Connector for Script {
    type Client = ScriptClient;
    type Events = ScriptEvents;

    fn connect(&self, packet_limit: u32) -> (ScriptClient, ScriptEvents) {
        self.open(packet_limit, false)
    }

    fn connect_clean(&self) -> (ScriptClient, ScriptEvents) {
        self.open(TRANSPORT_LIMIT, true)
    }
}

impl Script {
    fn open(&self, packet_limit: u32, is_clean: bool) -> (ScriptClient, ScriptEvents) {
        let (request, requests) = mpsc::channel(REQUESTS);
        let (say, events) = mpsc::channel(SAID_AHEAD);
        let (actions, heard) = mpsc::channel(SAID_AHEAD);
        let may_send = Arc::new(AtomicUsize::new(usize::MAX));
        let is_held = Arc::<AtomicBool>::default();
        let peer = Peer {
            packet_limit,
            is_clean,
            may_send: Arc::clone(&may_send),
            is_held: Arc::clone(&is_held),
            events: say,
            actions: heard,
        };
        tell(&self.0, peer);
        (
            ScriptClient(request),
            ScriptEvents {
                requests,
                events,
                actions,
                may_send,
                is_held,
                subscribes: 0,
                unsubscribes: 0,
            },
        )
    }
}

/// Never waits: a script that is full is a mistake in the test. A test that is over does not care.
fn tell<T>(to: &mpsc::Sender<T>, what: T) {
    let full = matches!(to.try_send(what), Err(TrySendError::Full(_)));
    assert!(!full, "the test does not listen to the source");
}

impl ScriptClient {
    async fn request(&self, action: Action) -> Result<(), Gone> {
        self.0.send(action).await.map_err(|_| Gone)
    }
}

impl Client for ScriptClient {
    async fn acknowledge(&self, what: Acknowledgement) -> Result<(), Gone> {
        self.request(Action::Acknowledge(what.packet_id)).await
    }

    async fn subscribe(&self, filters: &[Subscription]) -> Result<(), Gone> {
        let filters = filters.iter().map(|wanted| wanted.filter.clone()).collect();
        self.request(Action::Subscribe(filters)).await
    }

    async fn unsubscribe(&self, filter: &str) -> Result<(), Gone> {
        self.request(Action::Unsubscribe(filter.to_owned())).await
    }

    async fn disconnect(&self) -> Result<(), Gone> {
        self.request(Action::Disconnect).await
    }
}

impl Events for ScriptEvents {
    async fn next(&mut self) -> Result<Event, Failure> {
        tokio::select! {
            biased;
            Some(action) = self.requests.recv(), if self.may_send.load(Ordering::Relaxed) > 0 => Ok(self.sent(action)),
            said = self.events.recv() => match said {
                Some(event) => event,
                None => std::future::pending().await,
            },
        }
    }

    fn hold(&mut self, is_held: bool) {
        self.is_held.store(is_held, Ordering::Relaxed);
    }
}

impl ScriptEvents {
    fn sent(&mut self, action: Action) -> Event {
        let event = match action {
            Action::Subscribe(_) => {
                self.subscribes += 1;
                Event::SubscribeSent(self.subscribes)
            }
            Action::Unsubscribe(_) => {
                self.unsubscribes += 1;
                Event::UnsubscribeSent(self.unsubscribes)
            }
            Action::Acknowledge(_) => Event::AcknowledgementSent,
            Action::Disconnect => Event::DisconnectSent,
        };
        self.may_send.fetch_sub(1, Ordering::Relaxed);
        tell(&self.actions, action);
        event
    }
}

impl Peer {
    pub fn say(&self, event: Event) {
        self.events.try_send(Ok(event)).expect("the connection lives");
    }

    pub fn fail(&self, failure: Failure) {
        self.events.try_send(Err(failure)).expect("the connection lives");
    }

    /// CONNACK; reads the SUBSCRIBE if one is due, and grants it.
    pub async fn accept(&mut self, session_present: bool) {
        self.say(Event::Connected { session_present });
        if let Ok(Some(Action::Subscribe(_))) = timeout(Duration::from_secs(1), self.actions.recv()).await {
            self.say(Event::Granted {
                packet_id: 1,
                answers: vec![client::Answer::Granted(1)],
            });
        }
    }

    /// The next action; within a minute.
    pub async fn heard(&mut self) -> Action {
        let action = timeout(Duration::from_mins(1), self.actions.recv()).await;
        action.expect("an action was due").expect("the connection lives")
    }

    /// Nothing is heard for a second.
    pub async fn is_silent(&mut self) {
        if let Ok(Some(action)) = timeout(Duration::from_secs(1), self.actions.recv()).await {
            panic!("unexpected: {action:?}");
        }
    }

    /// The gateway has let go of the connection.
    pub async fn is_dropped(&mut self) {
        let dropped = timeout(Duration::from_mins(10), self.events.closed()).await;
        dropped.expect("the connection should have ended");
    }
}

/// QoS 1 with this packet id; the payload is the id.
pub fn message(packet_id: u16) -> Publish {
    let payload = Bytes::copy_from_slice(&packet_id.to_be_bytes());
    Publish {
        payload,
        packet_id,
        ..Publish::for_test("a/b", b"")
    }
}

/// The same once more.
pub fn repeated(packet_id: u16) -> Publish {
    Publish {
        dup: true,
        ..message(packet_id)
    }
}

/// A running source and all its other ends.
pub struct Gateway {
    pub offers: Receiver<Offer>,
    pub link: watch::Receiver<Link>,
    pub counters: Arc<Counters>,
    pub stop: CancellationToken,
    pub nudge: Arc<Notify>,
    pub task: JoinHandle<Result<Ended, Error>>,
    pub folder: TempDir,
    peers: mpsc::Receiver<Peer>,
}

/// At QoS 1.
pub fn wanted(filter: &str) -> Subscription {
    Subscription {
        filter: filter.to_owned(),
        qos: Qos::AtLeastOnce,
        retain: RetainHandling::OnNewSubscription,
        id: None,
    }
}

fn config() -> Config {
    Config {
        name: "default".to_owned(),
        endpoint: Endpoint::Unix("/nowhere".into()),
        tls: None,
        version: Version::V5,
        client_id: None,
        username: None,
        password_file: None,
        session_expiry: Duration::from_hours(1),
        receive_maximum: WINDOW,
        max_packet_size: 8 * 1024 * 1024,
        keep_alive: KEEP_ALIVE,
        status_topic: None,
        watch_broker: false,
        shared_group: None,
    }
}

impl Gateway {
    pub fn start() -> Self {
        Self::start_in(tempfile::tempdir().expect("a folder"), Vec::new(), BOOT)
    }

    /// A later process on the same data.
    pub fn start_in(folder: TempDir, recalled: Vec<Recalled>, boot: u64) -> Self {
        let seat = Arc::new(Handover::default()).seat("default", "default");
        Self::start_with(folder, recalled, boot, &["a/+"], seat)
    }

    /// The same with these filters, among others.
    pub fn start_with(
        folder: TempDir,
        recalled: Vec<Recalled>,
        boot: u64,
        filters: &[&str],
        seat: Seat,
    ) -> Self {
        let wanted = filters.iter().map(|filter| wanted(filter)).collect();
        Self::start_wanting(folder, recalled, boot, wanted, seat)
    }

    /// With filters that have identifiers.
    pub fn start_overlapping(filters: &[(&str, u32)]) -> Self {
        let with_id = |(filter, id): &(&str, u32)| Subscription {
            id: Some(*id),
            ..wanted(filter)
        };
        let seat = Arc::new(Handover::default()).seat("default", "default");
        let folder = tempfile::tempdir().expect("a folder");
        let wanted = filters.iter().map(with_id).collect();
        Self::start_wanting(folder, Vec::new(), BOOT, wanted, seat)
    }

    fn start_wanting(
        folder: TempDir,
        recalled: Vec<Recalled>,
        boot: u64,
        wanted: Vec<Subscription>,
        seat: Seat,
    ) -> Self {
        let (intake, offers) = Intake::for_test();
        let (told, link) = watch::channel(Link::default());
        let (connected, peers) = mpsc::channel(ATTEMPTS_AHEAD);
        let (counters, stop) = (Arc::<Counters>::default(), CancellationToken::new());
        let nudge = Arc::<Notify>::default();
        let source = Source::open(Parts {
            config: config(),
            client_id: "edgeferry-gw-default".to_owned(),
            subscriptions: wanted,
            assumed: vec!["assumed".to_owned()],
            seat,
            intake,
            recalled,
            session_file: folder.path().join("session"),
            filters_file: folder.path().join("filters"),
            retained_file: folder.path().join("retained"),
            series_of: SeriesOf(Arc::new(|_| Vec::new())),
            link: Arc::new(told),
            counters: Arc::clone(&counters),
            clock: Clock::with_probe(boot, || Some(true)),
            nudge: Arc::clone(&nudge),
        });
        let source = source.expect("valid parts");
        let stopped = stop.clone();
        let task = tokio::spawn(async move { source.drive(&Script(connected), &stopped).await });
        Self {
            offers,
            link,
            counters,
            stop,
            nudge,
            task,
            folder,
            peers,
        }
    }

    /// The next connection attempt; within ten minutes.
    pub async fn peer(&mut self) -> Peer {
        let peer = timeout(Duration::from_mins(10), self.peers.recv()).await;
        peer.expect("an attempt was due").expect("the source runs")
    }

    /// The next connection, accepted.
    pub async fn connected(&mut self, session_present: bool) -> Peer {
        let mut peer = self.peer().await;
        peer.accept(session_present).await;
        peer
    }

    /// The next message in the queue; within a second.
    pub async fn stored(&mut self) -> Offer {
        for _ in 0..1_000 {
            if let Ok(offer) = self.offers.try_recv() {
                return offer;
            }
            sleep(Duration::from_millis(1)).await;
        }
        panic!("a message should have been stored");
    }

    /// Nothing more is stored.
    pub async fn stores_nothing(&mut self) {
        sleep(Duration::from_secs(1)).await;
        assert!(self.offers.try_recv().is_err(), "stored something");
    }

    /// Waits until the link is told to be so; ten minutes at most.
    pub async fn link_is(&mut self, wanted: impl Fn(&Link) -> bool) -> Link {
        let told = timeout(Duration::from_mins(10), self.link.wait_for(wanted)).await;
        told.expect("the link should have changed")
            .expect("the source runs")
            .clone()
    }

    pub async fn ended(self) -> (Result<Ended, Error>, TempDir) {
        let ended = timeout(Duration::from_mins(1), self.task).await;
        (
            ended.expect("the source should have ended").expect("no panic"),
            self.folder,
        )
    }

    /// The process dies.
    pub async fn killed(self) -> TempDir {
        self.task.abort();
        assert!(self.task.await.is_err_and(|error| error.is_cancelled()));
        self.folder
    }

    pub fn session(&self) -> (SessionTag, u64) {
        let (file, _) = SessionFile::open(&self.folder.path().join("session"), BOOT).expect("readable");
        (file.tag(), file.handed())
    }
}

pub fn total(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// What the store would remember of a message.
pub fn remembered(offer: &Offer) -> Recalled {
    Recalled {
        broker: Arc::clone(&offer.arrival.broker),
        delivery: offer.arrival.delivery,
        topic: retained::topic_hash(&offer.arrival.topic),
        unix_ms: offer.arrival.stamp.unix_ms,
        series: Vec::new(),
    }
}
