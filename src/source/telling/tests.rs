use std::path::Path;

use tokio::sync::mpsc;

use super::super::client::Gone;
use super::*;

/// Events that nobody has taken: more than any test makes.
const AHEAD: usize = 100;

/// The broker's end of one connection.
struct Peer {
    will: Announcement,
    events: mpsc::Sender<Result<Event, Failure>>,
    requests: mpsc::Receiver<Option<Announcement>>,
}

/// Makes connections, and hands their other ends to the test. Each has room for one request.
struct Script(mpsc::Sender<Peer>);
struct ScriptClient(mpsc::Sender<Option<Announcement>>);
struct ScriptEvents(mpsc::Receiver<Result<Event, Failure>>);

impl Announcer for Script {
    type Client = ScriptClient;
    type Events = ScriptEvents;

    fn announce(&self, will: Option<Announcement>) -> (ScriptClient, ScriptEvents) {
        let (events, said) = mpsc::channel(AHEAD);
        let (request, requests) = mpsc::channel(1);
        let peer = Peer {
            will: will.expect("a will"),
            events,
            requests,
        };
        drop(self.0.try_send(peer));
        (ScriptClient(request), ScriptEvents(said))
    }
}

impl Announce for ScriptClient {
    async fn listen(&self, _filters: &[&str]) -> Result<(), Gone> {
        unreachable!("whoever only tells listens to nothing")
    }

    async fn publish(&self, what: Announcement) -> Result<(), Gone> {
        self.0.send(Some(what)).await.map_err(|_| Gone)
    }

    async fn leave(&self) -> Result<(), Gone> {
        self.0.send(None).await.map_err(|_| Gone)
    }
}

impl Events for ScriptEvents {
    async fn next(&mut self) -> Result<Event, Failure> {
        match self.0.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }
}

impl Peer {
    async fn say(&self, event: Result<Event, Failure>) {
        self.events.send(event).await.expect("somebody listens");
    }

    async fn connect(&self) {
        let session_present = false;
        self.say(Ok(Event::Connected { session_present })).await;
    }

    async fn heard(&mut self) -> String {
        let said = self.requests.recv().await.flatten().expect("a word");
        text(&said)
    }
}

fn text(what: &Announcement) -> String {
    assert_eq!(what.topic, "e/gw-7/state");
    String::from_utf8(what.payload.clone()).expect("text")
}

const INTERVAL: Duration = Duration::from_secs(10);

fn start() -> (
    mpsc::Receiver<Peer>,
    CancellationToken,
    tokio::task::JoinHandle<()>,
) {
    followed(CancellationToken::new())
}

fn followed(
    handover: CancellationToken,
) -> (
    mpsc::Receiver<Peer>,
    CancellationToken,
    tokio::task::JoinHandle<()>,
) {
    let text = "[gateway]\nid = \"gw-7\"\ndata_dir = \"/d\"\n[[mqtt]]\nurl = \"mqtt://b\"\n\
                [kafka]\nbootstrap_servers = [\"k:9092\"]\n[[route]]\nfrom = \"d/{device}\"\ntopic = \"t\"\n";
    let (config, _) = crate::config::parse(Path::new("test.toml"), text).expect("valid");
    let main = std::thread::current().id();
    let words = Arc::new(move |moment| {
        assert_ne!(
            std::thread::current().id(),
            main,
            "it serves all MQTT connections"
        );
        format!("{moment:?}").into_bytes()
    });
    let telling =
        Telling::new(&config.brokers[0], "gw-7", "e/{gateway}/state", INTERVAL, words).expect("valid bounds");
    let telling = telling.followed(handover);
    assert_eq!(telling.identity.client_id, "edgeferry-gw-7-state");
    let (connected, peers) = mpsc::channel(AHEAD);
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let task = tokio::spawn(async move { telling.drive(&Script(connected), &stopping).await });
    (peers, stop, task)
}

#[tokio::test(start_paused = true)]
async fn the_state_is_told_when_connected_at_each_interval_and_at_the_stop() {
    let (mut peers, stop, task) = start();
    let mut peer = peers.recv().await.expect("a connection");
    assert_eq!(text(&peer.will), "Will");
    peer.connect().await;
    assert_eq!(peer.heard().await, "Now");
    let begin = Instant::now();
    assert_eq!(peer.heard().await, "Now");
    assert!(begin.elapsed() >= Duration::from_secs(9), "{:?}", begin.elapsed());
    stop.cancel();
    assert_eq!(peer.heard().await, "Stop");
    assert_eq!(
        peer.requests.recv().await,
        Some(None),
        "DISCONNECT comes behind it"
    );
    peer.say(Ok(Event::DisconnectSent)).await;
    task.await.expect("it ends");
}

#[tokio::test(start_paused = true)]
async fn who_is_followed_by_another_one_leaves_without_a_word() {
    let handover = CancellationToken::new();
    let (mut peers, stop, task) = followed(handover.clone());
    let mut peer = peers.recv().await.expect("a connection");
    peer.connect().await;
    assert_eq!(peer.heard().await, "Now");
    handover.cancel();
    stop.cancel();
    assert_eq!(
        peer.requests.recv().await,
        Some(None),
        "DISCONNECT, and nothing before it"
    );
    peer.say(Ok(Event::DisconnectSent)).await;
    task.await.expect("it ends");
}

#[tokio::test(start_paused = true)]
async fn a_link_that_takes_nothing_gathers_nothing() {
    let (mut peers, stop, task) = start();
    let mut peer = peers.recv().await.expect("a connection");
    peer.connect().await;
    // Within the patience with a silent broker.
    sleep(INTERVAL * 5).await;
    assert_eq!(peer.heard().await, "Now");
    assert!(
        peer.requests.len() <= 1,
        "what waited longer than one was never made"
    );
    stop.cancel();
    drop(peer);
    task.await.expect("it ends");
}

#[tokio::test(start_paused = true)]
async fn it_comes_back_and_tells_at_once() {
    let (mut peers, stop, task) = start();
    for _ in 0..3 {
        let mut peer = peers.recv().await.expect("a connection");
        peer.connect().await;
        assert_eq!(peer.heard().await, "Now");
        peer.say(Err(Failure::Unreachable("no route".to_owned()))).await;
    }
    stop.cancel();
    task.await.expect("it ends");
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_comes_and_goes_for_an_hour_leaves_dozens_of_lines_about_the_state() {
    let mut outages = Outages::default();
    let mut lines = 0;
    for second in 0..3600 {
        lines += crate::ops::events::heard(|| match second % 2 {
            0 => failed(
                &mut outages,
                "local",
                &Failure::Unreachable("no route".to_owned()),
            ),
            _ => recovered(&mut outages, "local"),
        });
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert!((2..=30).contains(&lines), "{lines}");
}
