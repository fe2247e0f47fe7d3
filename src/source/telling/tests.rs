use std::path::Path;

use tokio::sync::mpsc;

use super::super::scripted::{Peer, Script};
use super::*;

/// The link takes one word at a time.
const ROOM: usize = 1;

async fn heard(peer: &mut Peer) -> String {
    text(&peer.requests.recv().await.flatten().expect("a word"))
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
    let (script, peers) = Script::new(ROOM);
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let task = tokio::spawn(async move { telling.drive(&script, &stopping).await });
    (peers, stop, task)
}

#[tokio::test(start_paused = true)]
async fn the_state_is_told_when_connected_at_each_interval_and_at_the_stop() {
    let (mut peers, stop, task) = start();
    let mut peer = peers.recv().await.expect("a connection");
    assert_eq!(peer.will.as_ref().map(text).as_deref(), Some("Will"));
    peer.connect().await;
    assert_eq!(heard(&mut peer).await, "Now");
    let begin = Instant::now();
    assert_eq!(heard(&mut peer).await, "Now");
    assert!(begin.elapsed() >= Duration::from_secs(9), "{:?}", begin.elapsed());
    stop.cancel();
    assert_eq!(heard(&mut peer).await, "Stop");
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
    assert_eq!(heard(&mut peer).await, "Now");
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
    assert_eq!(heard(&mut peer).await, "Now");
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
        assert_eq!(heard(&mut peer).await, "Now");
        assert!(peer.filters().is_empty(), "whoever only tells listens to nothing");
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
