use std::path::Path;

use tokio::sync::mpsc;

use super::super::client::Answer;
use super::super::scripted::{Peer, Script};
use super::*;

/// Requests that no peer has taken: more than any test makes.
const ROOM: usize = 100;

async fn grant(peer: &Peer) {
    answer(peer, vec![Answer::Granted(0), Answer::Refused("0x87".to_owned())]).await;
}

async fn answer(peer: &Peer, answers: Vec<Answer>) {
    let packet_id = 1;
    peer.say(Ok(Event::Granted { packet_id, answers })).await;
}

fn state(what: &Announcement) -> String {
    assert_eq!(what.topic, "e/gw-7");
    let word: serde_json::Value = serde_json::from_slice(&what.payload).expect("JSON");
    assert_eq!(word["gateway"], "gw-7");
    word["state"].as_str().expect("a text").to_owned()
}

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
    let text = "[gateway]\nid = \"gw-7\"\ndata_dir = \"/d\"\n[[mqtt]]\nurl = \"mqtt://b\"\nstatus_topic = \"e/{gateway}\"\n\
                [kafka]\nbootstrap_servers = [\"k:9092\"]\n[[route]]\nfrom = \"d/{device}\"\ntopic = \"t\"\n";
    let (config, _) = crate::config::parse(Path::new("test.toml"), text).expect("valid");
    let status = Status::new(&config.brokers[0], "gw-7", Arc::default())
        .expect("valid bounds")
        .expect("a topic")
        .followed(handover);
    assert_eq!(status.identity.client_id, "edgeferry-gw-7-status");
    let (script, peers) = Script::new(ROOM);
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let task = tokio::spawn(async move { status.drive(&script, &stopping).await });
    (peers, stop, task)
}

#[tokio::test(start_paused = true)]
async fn online_is_said_when_connected_and_stopped_before_the_goodbye() {
    let (mut peers, stop, task) = start();
    let mut peer = peers.recv().await.expect("a connection");
    assert_eq!(peer.will.as_ref().map(state).as_deref(), Some("offline"));
    peer.connect().await;
    let said = peer.requests.recv().await.flatten().expect("a word");
    assert_eq!(state(&said), "online");
    stop.cancel();
    let said = peer.requests.recv().await.flatten().expect("a word");
    assert_eq!(state(&said), "stopped");
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
    peer.requests.recv().await.flatten().expect("online");
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
async fn it_comes_back_with_growing_pauses_and_says_online_each_time() {
    let (mut peers, stop, task) = start();
    let begin = Instant::now();
    for _ in 0..6 {
        let mut peer = peers.recv().await.expect("a connection");
        peer.connect().await;
        let said = peer.requests.recv().await.flatten().expect("a word");
        assert_eq!(state(&said), "online");
        peer.say(Err(Failure::Unreachable("no route".to_owned()))).await;
    }
    peers.recv().await.expect("a connection");
    assert!(begin.elapsed() > Duration::from_secs(20), "{:?}", begin.elapsed());
    stop.cancel();
    task.await.expect("it ends");
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_no_broker_that_does_not_answer() {
    for is_connected in [false, true] {
        let (mut peers, stop, task) = start();
        let peer = peers.recv().await.expect("a connection");
        if is_connected {
            peer.connect().await;
        }
        let begin = Instant::now();
        stop.cancel();
        task.await.expect("it ends");
        assert!(begin.elapsed() <= GOODBYE + Duration::from_secs(1));
        drop(peer);
    }
}

#[tokio::test(start_paused = true)]
async fn silence_is_noticed() {
    let (mut peers, stop, task) = start();
    let peer = peers.recv().await.expect("a connection");
    peer.connect().await;
    peers.recv().await.expect("another connection");
    stop.cancel();
    task.await.expect("it ends");
}

/// What is for a broker with these lines.
fn made(lines: &str, dropped: &Arc<Dropped>) -> Option<Status> {
    let text = format!(
        "[gateway]\nid = \"gw-7\"\ndata_dir = \"/d\"\n[[mqtt]]\nurl = \"mqtt://b\"\n{lines}\n[kafka]\n\
         bootstrap_servers = [\"k:9092\"]\n[[route]]\nfrom = \"d/{{device}}\"\ntopic = \"t\"\n"
    );
    let (config, _) = crate::config::parse(Path::new("test.toml"), &text).expect("valid");
    Status::new(&config.brokers[0], "gw-7", Arc::clone(dropped)).expect("valid bounds")
}

#[test]
fn a_connection_is_made_for_what_is_to_be_said_or_heard() {
    let dropped = Arc::default();
    let id = |lines| made(lines, &dropped).map(|status| status.identity.client_id);
    assert_eq!(id("").as_deref(), Some("edgeferry-gw-7-broker-watch"));
    assert_eq!(
        id("watch_broker = false\nstatus_topic = \"s\"").as_deref(),
        Some("edgeferry-gw-7-status")
    );
    assert_eq!(id("watch_broker = false"), None);
}

#[tokio::test(start_paused = true)]
async fn without_a_topic_nothing_is_told_and_the_broker_is_listened_to() {
    let dropped = Arc::default();
    let status = made("", &dropped).expect("it watches");
    let (script, mut peers) = Script::new(ROOM);
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let task = tokio::spawn(async move { status.drive(&script, &stopping).await });
    let mut peer = peers.recv().await.expect("a connection");
    assert_eq!(peer.will, None, "nothing is left behind");
    peer.connect().await;
    grant(&peer).await;
    peer.say(Ok(Event::Published(crate::source::client::Publish::for_test(
        FILTERS[0], b"12",
    ))))
    .await;
    while dropped.total().is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(dropped.total(), Some(12));
    assert_eq!(peer.filters(), FILTERS);
    stop.cancel();
    assert_eq!(
        peer.requests.recv().await,
        Some(None),
        "a goodbye and nothing else"
    );
    peer.say(Ok(Event::DisconnectSent)).await;
    task.await.expect("it ends");
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_ends_the_connection_when_asked_is_not_asked_for_ever() {
    let dropped = Arc::default();
    for (lines, goes_on) in [("", false), ("status_topic = \"e/{gateway}\"", true)] {
        let status = made(lines, &dropped).expect("it watches");
        let (script, mut peers) = Script::new(ROOM);
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        let task = tokio::spawn(async move { status.drive(&script, &stopping).await });
        for _ in 0..UNANSWERED_MAX {
            let peer = peers.recv().await.expect("a connection");
            peer.connect().await;
            peer.say(Err(Failure::Closed)).await;
        }
        match peers.recv().await {
            Some(peer) => {
                assert!(goes_on);
                peer.connect().await;
                grant(&peer).await;
                assert!(peer.filters().is_empty());
                stop.cancel();
            }
            None => assert!(!goes_on, "there is nothing else to do"),
        }
        task.await.expect("it ends");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_hears_nothing_because_all_is_refused_is_given_back_unless_it_tells_something() {
    let refused = || vec![Answer::Refused("0x87".to_owned()); FILTERS.len()];
    for (lines, stays) in [("", false), ("status_topic = \"e/{gateway}\"", true)] {
        let status = made(lines, &Arc::default()).expect("it watches");
        let (script, mut peers) = Script::new(ROOM);
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        let task = tokio::spawn(async move { status.drive(&script, &stopping).await });
        let mut peer = peers.recv().await.expect("a connection");
        peer.connect().await;
        answer(&peer, refused()).await;
        if stays {
            assert!(
                peer.requests.recv().await.is_some_and(|word| word.is_some()),
                "online"
            );
            assert!(
                timeout(Duration::from_secs(1), peer.requests.recv())
                    .await
                    .is_err(),
                "it stays"
            );
            stop.cancel();
            drop(peer);
        } else {
            assert_eq!(peer.requests.recv().await, Some(None), "a goodbye");
            peer.say(Ok(Event::DisconnectSent)).await;
        }
        task.await.expect("it ends");
        assert!(peers.recv().await.is_none(), "and does not come back");
    }
}
