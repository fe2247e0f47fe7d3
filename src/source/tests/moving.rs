//! Filters that are wanted no more, by this lane or at all.

use std::sync::Arc;

use tempfile::TempDir;
use tokio::time::{Instant, advance};

use super::super::client::{Answer, Event, Failure, Publish};
use super::super::{Ended, Handover, QUIET, Seat};
use super::script::*;
use crate::link::Link;

fn seats() -> (Seat, Seat) {
    let handover = Arc::new(Handover::default());
    (
        handover.seat("default", "default"),
        handover.seat("default", "other"),
    )
}

/// A process on the data of `folder`, connected to a broker that kept its session.
async fn later(folder: TempDir, filters: &[&str], seat: Seat) -> (Gateway, Peer) {
    let mut gateway = Gateway::start_with(folder, Vec::new(), BOOT, filters, seat);
    let peer = gateway.peer().await;
    peer.say(Event::Connected {
        session_present: true,
    });
    (gateway, peer)
}

/// What a process that subscribed to these leaves behind.
async fn earlier(filters: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let mut gateway = Gateway::start_with(folder, Vec::new(), BOOT, filters, seats().0);
    let peer = gateway.connected(false).await;
    let folder = gateway.killed().await;
    drop(peer);
    folder
}

fn subscribed(filters: &[&str]) -> Action {
    Action::Subscribe(filters.iter().map(|filter| (*filter).to_owned()).collect())
}

fn unsubscribed(filter: &str) -> Action {
    Action::Unsubscribe(filter.to_owned())
}

fn done(packet_id: u16) -> Event {
    Event::Unsubscribed {
        packet_id,
        refused: None,
    }
}

fn granted(packet_id: u16) -> Event {
    Event::Granted {
        packet_id,
        answers: vec![Answer::Granted(1)],
    }
}

#[tokio::test(start_paused = true)]
async fn a_filter_that_no_route_wants_is_unsubscribed_once_and_only_after_what_replaces_it_is_granted() {
    let folder = earlier(&["a/+"]).await;
    let (gateway, mut peer) = later(folder, &["a/#"], seats().0).await;
    assert_eq!(peer.heard().await, subscribed(&["a/#"]));
    peer.is_silent().await;
    peer.say(granted(1));
    assert_eq!(peer.heard().await, unsubscribed("a/+"));
    let (gateway, mut peer) = later(gateway.killed().await, &["a/#"], seats().0).await;
    assert_eq!(peer.heard().await, subscribed(&["a/#"]));
    peer.say(granted(1));
    assert_eq!(peer.heard().await, unsubscribed("a/+"), "it was never answered");
    peer.say(done(1));
    peer.is_silent().await;
    let (_gateway, mut peer) = later(gateway.killed().await, &["a/#"], seats().0).await;
    assert_eq!(peer.heard().await, subscribed(&["a/#"]));
    peer.say(granted(1));
    peer.is_silent().await;
}

#[tokio::test(start_paused = true)]
async fn a_filter_that_another_lane_wants_stays_until_that_lane_has_it() {
    let folder = earlier(&["a/+", "b/+"]).await;
    let (old, new) = seats();
    new.want(&[wanted("a/+")], &[]);
    let (_gateway, mut peer) = later(folder, &["b/+"], old).await;
    assert_eq!(peer.heard().await, subscribed(&["b/+"]));
    peer.say(granted(1));
    peer.is_silent().await;
    new.grant(["a/+"]);
    assert_eq!(peer.heard().await, unsubscribed("a/+"));
}

#[tokio::test(start_paused = true)]
async fn what_the_old_session_brings_is_stored_and_marked_from_when_the_other_lane_may_have_it_too() {
    let folder = earlier(&["a/+", "b/+"]).await;
    let (old, new) = seats();
    new.want(&[wanted("a/+")], &[]);
    let (mut gateway, mut peer) = later(folder, &["b/+"], old).await;
    peer.say(Event::Published(message(1)));
    assert!(!gateway.stored().await.arrival.delivery.dup);
    new.ask(&[wanted("a/+")]);
    peer.say(Event::Published(message(2)));
    let offer = gateway.stored().await;
    assert!(offer.arrival.delivery.dup);
    let own = Publish {
        topic: "b/1".to_owned(),
        ..message(3)
    };
    peer.say(Event::Published(own));
    assert!(!gateway.stored().await.arrival.delivery.dup);
    assert_eq!(peer.heard().await, subscribed(&["b/+"]));
    offer.receipt.confirm();
    assert_eq!(peer.heard().await, Action::Acknowledge(1));
    assert_eq!(peer.heard().await, Action::Acknowledge(2));
}

/// Whether what another lane wants of this session's messages is marked.
async fn is_marked(gateway: &mut Gateway, peer: &Peer, packet_id: u16) -> bool {
    peer.say(Event::Published(message(packet_id)));
    let offer = gateway.stored().await;
    let dup = offer.arrival.delivery.dup;
    offer.receipt.confirm();
    dup
}

#[tokio::test(start_paused = true)]
async fn a_restart_does_not_end_the_marking_of_what_another_lane_was_never_granted() {
    let mut folder = earlier(&["a/+"]).await;
    for before in [&[][..], &["a/b".to_owned()]] {
        let (own, new) = seats();
        new.want(&[wanted("a/b")], before);
        // The broker is not there.
        let mut gateway = Gateway::start_with(folder, Vec::new(), BOOT, &["a/+"], own);
        let _peer = gateway.peer().await;
        folder = gateway.killed().await;
    }
    let (own, new) = seats();
    new.want(&[wanted("a/b")], &["a/b".to_owned()]);
    let (mut gateway, peer) = later(folder, &["a/+"], own).await;
    assert!(is_marked(&mut gateway, &peer, 1).await);
}

#[tokio::test(start_paused = true)]
async fn marking_ends_after_idle_pings_and_not_while_something_comes() {
    let folder = earlier(&["a/+"]).await;
    let (own, new) = seats();
    new.want(&[wanted("a/b")], &[]);
    let (mut gateway, mut peer) = later(folder, &["a/+"], own).await;
    assert_eq!(peer.heard().await, subscribed(&["a/+"]));
    new.grant(["a/b"]);
    for packet_id in 1..40 {
        peer.say(Event::PingSent);
        assert!(is_marked(&mut gateway, &peer, packet_id).await);
        assert_eq!(peer.heard().await, Action::Acknowledge(packet_id));
        peer.say(Event::Pong);
    }
    peer.is_silent().await;
    for _ in 0..11 {
        peer.say(Event::PingSent);
        peer.say(Event::Pong);
    }
    assert!(!is_marked(&mut gateway, &peer, 40).await);
    let (own, new) = seats();
    new.want(&[wanted("a/b")], &["a/b".to_owned()]);
    let (mut gateway, peer) = later(gateway.killed().await, &["a/+"], own).await;
    assert!(
        !is_marked(&mut gateway, &peer, 41).await,
        "it is over for later processes too"
    );
}

#[tokio::test(start_paused = true)]
async fn after_a_lost_session_what_a_lane_that_is_not_back_wants_is_marked_also_after_a_restart() {
    let (own, other) = seats();
    other.want(&[wanted("a/b")], &["a/b".to_owned()]);
    let folder = tempfile::tempdir().expect("a folder");
    let mut gateway = Gateway::start_with(folder, Vec::new(), BOOT, &["a/+"], own);
    other.connected(true);
    other.grant(["a/b"]);
    let peer = gateway.connected(true).await;
    assert!(!is_marked(&mut gateway, &peer, 1).await);
    other.disconnected();
    peer.fail(Failure::Closed);
    let peer = gateway.connected(false).await;
    assert!(is_marked(&mut gateway, &peer, 2).await);
    let (own, other) = seats();
    other.want(&[wanted("a/b")], &["a/b".to_owned()]);
    let (mut gateway, peer) = later(gateway.killed().await, &["a/+"], own).await;
    assert!(is_marked(&mut gateway, &peer, 3).await);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_the_broker_lost_holds_nothing_to_unsubscribe() {
    let folder = earlier(&["b/+"]).await;
    let mut gateway = Gateway::start_with(folder, Vec::new(), BOOT, &["a/+"], seats().0);
    let mut peer = gateway.connected(false).await;
    peer.is_silent().await;
    peer.fail(Failure::Closed);
    let mut peer = gateway.connected(true).await;
    peer.is_silent().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_about_which_nothing_is_remembered_holds_what_is_assumed() {
    let folder = earlier(&["a/+"]).await;
    std::fs::remove_file(folder.path().join("filters")).expect("is there");
    let (_gateway, mut peer) = later(folder, &["a/+"], seats().0).await;
    let heard = [peer.heard().await, peer.heard().await];
    assert!(heard.contains(&unsubscribed("assumed")), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_wants_nothing_takes_what_is_left_and_ends_the_session() {
    let folder = earlier(&["a/+"]).await;
    let (mut gateway, mut peer) = later(folder, &[], seats().0).await;
    assert_eq!(peer.heard().await, unsubscribed("a/+"));
    advance(QUIET * 2).await;
    peer.say(Event::Pong);
    peer.say(Event::Published(message(1)));
    gateway.stored().await.receipt.confirm();
    assert_eq!(
        peer.heard().await,
        Action::Acknowledge(1),
        "nothing ends before the UNSUBACK"
    );
    peer.say(done(1));
    advance(QUIET / 2).await;
    peer.say(Event::Published(message(2)));
    gateway.stored().await.receipt.confirm();
    assert_eq!(peer.heard().await, Action::Acknowledge(2));
    advance(QUIET * 3 / 4).await;
    peer.say(Event::Pong);
    peer.is_silent().await;
    advance(QUIET / 4).await;
    peer.is_silent().await;
    peer.say(Event::Pong);
    assert_eq!(peer.heard().await, Action::Disconnect);
    let mut last = gateway.peer().await;
    assert!(last.is_clean);
    last.say(Event::Connected {
        session_present: false,
    });
    assert_eq!(last.heard().await, Action::Disconnect);
    let (ended, folder) = gateway.ended().await;
    assert_eq!(ended, Ok(Ended::SessionOver));
    let left = std::fs::read_dir(folder.path()).expect("readable").count();
    assert_eq!(left, 0, "session and filters are forgotten");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_comes_while_the_session_is_given_up_is_not_lost() {
    let folder = earlier(&["a/+"]).await;
    let (mut gateway, mut peer) = later(folder, &[], seats().0).await;
    assert_eq!(peer.heard().await, unsubscribed("a/+"));
    peer.say(done(1));
    peer.is_silent().await;
    advance(QUIET).await;
    peer.say(Event::Pong);
    peer.say(Event::Published(message(7)));
    gateway
        .link_is(|link| matches!(link, Link::Down(why) if why.contains("given up")))
        .await;
    let peer = gateway.connected(true).await;
    assert!(!peer.is_clean);
    peer.say(Event::Published(repeated(7)));
    assert_eq!(gateway.stored().await.arrival.delivery.packet_id, 7);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_owed_an_acknowledgement_is_not_given_up() {
    let folder = earlier(&["a/+"]).await;
    let (mut gateway, mut peer) = later(folder, &[], seats().0).await;
    assert_eq!(peer.heard().await, unsubscribed("a/+"));
    peer.say(Event::Published(message(7)));
    let _not_durable = gateway.stored().await;
    peer.say(done(1));
    peer.is_silent().await;
    advance(QUIET).await;
    peer.say(Event::Pong);
    peer.is_silent().await;
    peer.fail(Failure::Closed);
    assert!(!gateway.peer().await.is_clean);
}

#[tokio::test(start_paused = true)]
async fn a_session_is_ended_again_and_again_until_the_broker_has_heard_it() {
    let folder = earlier(&["a/+"]).await;
    let (mut gateway, mut peer) = later(folder, &[], seats().0).await;
    assert_eq!(peer.heard().await, unsubscribed("a/+"));
    peer.say(done(1));
    peer.is_silent().await;
    advance(QUIET).await;
    peer.say(Event::Pong);
    assert_eq!(peer.heard().await, Action::Disconnect);
    for _ in 0..3 {
        let last = gateway.peer().await;
        assert!(last.is_clean);
        last.fail(Failure::Unreachable("no route".to_owned()));
        gateway.link_is(|link| matches!(link, Link::Down(_))).await;
    }
    let start = Instant::now();
    gateway.stop.cancel();
    assert_eq!(
        gateway.ended().await.0,
        Ok(Ended::Stopped),
        "the next process goes on"
    );
    assert_eq!(start.elapsed().as_secs(), 0);
}
