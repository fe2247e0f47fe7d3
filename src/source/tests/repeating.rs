//! What the broker sends again after a lost connection or a restart.

use super::super::client::{Event, Failure};
use super::super::session::SessionFile;
use super::script::*;

#[tokio::test(start_paused = true)]
async fn nothing_is_acknowledged_on_a_later_connection_than_its_own() {
    let mut gateway = Gateway::start();
    let peer = gateway.connected(false).await;
    peer.say(Event::Published(message(5)));
    let offer = gateway.stored().await;
    peer.fail(Failure::Closed);
    let mut peer = gateway.connected(true).await;
    offer.receipt.confirm();
    peer.is_silent().await;
    peer.say(Event::Published(repeated(5)));
    assert_eq!(peer.heard().await, Action::Acknowledge(5));
    gateway.stores_nothing().await;
    assert_eq!(total(&gateway.counters.recognised), 1);
}

#[tokio::test(start_paused = true)]
async fn a_recognised_message_is_acknowledged_when_its_original_is_durable() {
    let mut gateway = Gateway::start();
    let peer = gateway.connected(false).await;
    peer.say(Event::Published(message(5)));
    let offer = gateway.stored().await;
    peer.fail(Failure::Closed);
    let mut peer = gateway.connected(true).await;
    peer.say(Event::Published(repeated(5)));
    peer.is_silent().await;
    offer.receipt.confirm();
    assert_eq!(peer.heard().await, Action::Acknowledge(5));
}

#[tokio::test(start_paused = true)]
async fn in_doubt_it_is_stored_again_with_its_flag() {
    let mut gateway = Gateway::start();
    let mut peer = gateway.connected(false).await;
    peer.say(Event::Published(message(5)));
    gateway.stored().await.receipt.confirm();
    assert_eq!(peer.heard().await, Action::Acknowledge(5));
    peer.fail(Failure::Closed);
    let mut peer = gateway.connected(true).await;
    // Either the PUBACK was lost, or this is an equal message under the same id.
    peer.say(Event::Published(repeated(5)));
    let offer = gateway.stored().await;
    assert!(offer.arrival.delivery.dup);
    assert_eq!(offer.arrival.delivery.position, 2);
    offer.receipt.confirm();
    assert_eq!(peer.heard().await, Action::Acknowledge(5));
}

#[tokio::test(start_paused = true)]
async fn a_new_session_has_a_new_tag_and_recognises_nothing() {
    let mut gateway = Gateway::start();
    let peer = gateway.connected(false).await;
    peer.say(Event::Published(message(5)));
    let first = gateway.stored().await.arrival.delivery;
    peer.fail(Failure::Closed);
    let mut peer = gateway.peer().await;
    peer.say(Event::Connected {
        session_present: false,
    });
    assert_eq!(peer.heard().await, Action::Subscribe(vec!["a/+".to_owned()]));
    peer.say(Event::Published(repeated(5)));
    let second = gateway.stored().await.arrival.delivery;
    assert_ne!(first.session, second.session);
    assert_eq!(gateway.session().0, second.session);
}

/// Two durable messages; the first was acknowledged when the process died. Gives the next process.
async fn restarted(boot: u64) -> (Gateway, Peer) {
    let mut gateway = Gateway::start();
    let mut peer = gateway.connected(false).await;
    peer.say(Event::Published(message(5)));
    let first = gateway.stored().await;
    let mut recalled = vec![remembered(&first)];
    first.receipt.confirm();
    assert_eq!(peer.heard().await, Action::Acknowledge(5));
    peer.say(Event::Published(message(6)));
    recalled.push(remembered(&gateway.stored().await));
    let mut gateway = Gateway::start_in(gateway.killed().await, recalled, boot);
    let peer = gateway.connected(true).await;
    (gateway, peer)
}

#[tokio::test(start_paused = true)]
async fn after_a_kill_what_was_not_acknowledged_is_recognised() {
    let (mut gateway, mut peer) = restarted(BOOT).await;
    peer.say(Event::Published(repeated(6)));
    assert_eq!(peer.heard().await, Action::Acknowledge(6));
    gateway.stores_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_kill_what_may_have_been_acknowledged_is_stored() {
    let (mut gateway, peer) = restarted(BOOT).await;
    peer.say(Event::Published(repeated(5)));
    let delivery = gateway.stored().await.arrival.delivery;
    assert_eq!(delivery.position, 3, "positions go on");
}

#[tokio::test(start_paused = true)]
async fn after_a_power_cut_the_session_file_is_not_believed() {
    let (mut gateway, peer) = restarted(BOOT + 1).await;
    peer.say(Event::Published(repeated(6)));
    assert_eq!(gateway.stored().await.arrival.delivery.position, 3);
}

#[tokio::test(start_paused = true)]
async fn positions_go_on_behind_the_session_file_alone() {
    let mut gateway = Gateway::start();
    let mut peer = gateway.connected(false).await;
    peer.say(Event::Published(message(5)));
    gateway.stored().await.receipt.confirm();
    assert_eq!(peer.heard().await, Action::Acknowledge(5));
    let mut gateway = Gateway::start_in(gateway.killed().await, Vec::new(), BOOT);
    let peer = gateway.connected(true).await;
    peer.say(Event::Published(message(6)));
    assert_eq!(gateway.stored().await.arrival.delivery.position, 2);
}

fn doubtful(gateway: &Gateway) -> u64 {
    let path = gateway.folder.path().join("session");
    SessionFile::open(&path, BOOT).expect("readable").0.doubtful()
}

#[tokio::test(start_paused = true)]
async fn the_doubt_after_a_power_cut_is_there_for_all_later_starts() {
    let (gateway, _peer) = restarted(BOOT + 1).await;
    assert_eq!(doubtful(&gateway), 2);
    let gateway = Gateway::start_in(gateway.killed().await, Vec::new(), BOOT + 1);
    assert_eq!(doubtful(&gateway), 2);
}

#[tokio::test(start_paused = true)]
async fn the_doubt_after_a_takeover_is_there_after_a_restart() {
    let mut gateway = Gateway::start();
    let mut peer = gateway.connected(false).await;
    peer.say(Event::Published(message(5)));
    gateway.stored().await.receipt.confirm();
    assert_eq!(peer.heard().await, Action::Acknowledge(5));
    assert_eq!(doubtful(&gateway), 0);
    peer.fail(Failure::TakenOver);
    gateway.peer().await;
    assert_eq!(doubtful(&gateway), 1);
}
