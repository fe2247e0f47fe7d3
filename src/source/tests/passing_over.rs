//! What is acknowledged without being stored, because it is there already: second copies and known retained messages.

use super::super::client::{Event, Failure, Publish};
use super::script::*;
use crate::message::Properties;

/// For the subscriptions with these identifiers.
fn copy(packet_id: u16, ids: &[u32]) -> Publish {
    Publish {
        payload: bytes::Bytes::from_static(b"same"),
        properties: Some(Box::new(Properties {
            subscription_ids: ids.to_vec(),
            ..Properties::default()
        })),
        ..message(packet_id)
    }
}

fn retained(packet_id: u16, payload: &'static [u8]) -> Publish {
    Publish {
        payload: bytes::Bytes::from_static(payload),
        retained: true,
        ..message(packet_id)
    }
}

/// A gateway whose filters `a/+` and `+/b` overlap.
async fn overlapping() -> (Gateway, Peer) {
    let mut gateway = Gateway::start_overlapping(&[("a/+", 1), ("+/b", 2)]);
    let mut peer = gateway.peer().await;
    peer.say(Event::Connected {
        session_present: false,
    });
    for _ in 0..2 {
        assert!(matches!(peer.heard().await, Action::Subscribe(one) if one.len() == 1));
    }
    (gateway, peer)
}

#[tokio::test(start_paused = true)]
async fn a_copy_for_each_subscription_is_stored_once_and_acknowledged_with_the_first() {
    let (mut gateway, mut peer) = overlapping().await;
    peer.say(Event::Published(copy(1, &[1])));
    let first = gateway.stored().await;
    peer.say(Event::Published(copy(2, &[2])));
    peer.is_silent().await;
    first.receipt.confirm();
    assert_eq!(peer.heard().await, Action::Acknowledge(1));
    assert_eq!(peer.heard().await, Action::Acknowledge(2));
    gateway.stores_nothing().await;
    assert_eq!(total(&gateway.counters.second_copies), 1);
    peer.say(Event::Published(copy(3, &[2])));
    gateway.stored().await.receipt.confirm();
    assert_eq!(
        peer.heard().await,
        Action::Acknowledge(3),
        "an equal message is another one"
    );
}

#[tokio::test(start_paused = true)]
async fn one_copy_with_all_identifiers_is_each_time_a_message() {
    let (mut gateway, mut peer) = overlapping().await;
    for packet_id in 1..=3 {
        peer.say(Event::Published(copy(packet_id, &[1, 2])));
        gateway.stored().await.receipt.confirm();
        assert_eq!(peer.heard().await, Action::Acknowledge(packet_id));
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_copy_on_the_next_connection_is_stored_because_nothing_is_certain() {
    let (mut gateway, peer) = overlapping().await;
    peer.say(Event::Published(copy(1, &[1])));
    gateway.stored().await.receipt.confirm();
    peer.fail(Failure::Closed);
    let peer = gateway.connected(true).await;
    peer.say(Event::Published(copy(2, &[2])));
    gateway.stored().await;
}

#[tokio::test(start_paused = true)]
async fn a_retained_message_that_is_known_is_not_stored_again_after_a_lost_session() {
    let mut gateway = Gateway::start();
    let mut peer = gateway.connected(false).await;
    peer.say(Event::Published(retained(1, b"on")));
    let first = gateway.stored().await;
    assert!(first.arrival.delivery.retained);
    first.receipt.confirm();
    assert_eq!(peer.heard().await, Action::Acknowledge(1));
    peer.fail(Failure::Closed);
    let mut peer = gateway.connected(false).await;
    peer.say(Event::Published(retained(1, b"on")));
    assert_eq!(peer.heard().await, Action::Acknowledge(1));
    gateway.stores_nothing().await;
    assert_eq!(total(&gateway.counters.retained_known), 1);
    peer.say(Event::Published(retained(2, b"off")));
    assert_eq!(
        gateway.stored().await.arrival.payload,
        "off",
        "it changed while nobody was subscribed"
    );
}

#[tokio::test(start_paused = true)]
async fn a_known_retained_message_is_acknowledged_when_all_before_it_is_durable() {
    let mut gateway = Gateway::start();
    let mut peer = gateway.connected(false).await;
    peer.say(Event::Published(retained(1, b"on")));
    let first = gateway.stored().await;
    peer.say(Event::Published(retained(2, b"on")));
    peer.is_silent().await;
    first.receipt.confirm();
    assert_eq!(peer.heard().await, Action::Acknowledge(1));
    assert_eq!(peer.heard().await, Action::Acknowledge(2));
}

#[tokio::test(start_paused = true)]
async fn a_retained_message_is_known_to_the_next_process_if_the_store_recalls_it_or_the_file_has_it() {
    let mut gateway = Gateway::start();
    let mut peer = gateway.connected(false).await;
    peer.say(Event::Published(retained(1, b"on")));
    let first = gateway.stored().await;
    let recalled = vec![remembered(&first)];
    first.receipt.confirm();
    assert_eq!(peer.heard().await, Action::Acknowledge(1));
    let mut gateway = Gateway::start_in(gateway.killed().await, recalled, BOOT);
    let mut peer = gateway.connected(false).await;
    peer.say(Event::Published(retained(1, b"on")));
    assert_eq!(peer.heard().await, Action::Acknowledge(1));
    gateway.stores_nothing().await;
    gateway.stop.cancel();
    let (_, folder) = gateway.ended().await;
    // Delivered and deleted meanwhile: the store recalls nothing.
    let mut gateway = Gateway::start_in(folder, Vec::new(), BOOT);
    let mut peer = gateway.connected(false).await;
    peer.say(Event::Published(retained(1, b"on")));
    assert_eq!(peer.heard().await, Action::Acknowledge(1));
    gateway.stores_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn known_retained_messages_in_a_row_wait_for_nothing_but_what_was_stored() {
    const IN_A_ROW: u16 = 3 * WINDOW;
    let mut gateway = Gateway::start();
    let mut peer = gateway.connected(false).await;
    peer.say(Event::Published(retained(1, b"on")));
    let first = gateway.stored().await;
    peer.say(Event::Published(retained(2, b"on")));
    peer.say(Event::Published(retained(3, b"on")));
    peer.is_silent().await;
    first.receipt.confirm();
    for packet_id in 1..=3 {
        assert_eq!(peer.heard().await, Action::Acknowledge(packet_id));
    }
    for packet_id in 4..=IN_A_ROW {
        peer.say(Event::Published(retained(packet_id, b"on")));
        assert_eq!(peer.heard().await, Action::Acknowledge(packet_id));
    }
    gateway.stores_nothing().await;
    // What is stored behind them is durable by itself.
    peer.say(Event::Published(retained(IN_A_ROW + 1, b"off")));
    gateway.stored().await.receipt.confirm();
    assert_eq!(peer.heard().await, Action::Acknowledge(IN_A_ROW + 1));
}

#[tokio::test(start_paused = true)]
async fn a_retained_state_that_came_back_after_a_kill_is_stored() {
    let mut gateway = Gateway::start();
    let mut peer = gateway.connected(false).await;
    peer.say(Event::Published(retained(1, b"on")));
    gateway.stored().await.receipt.confirm();
    assert_eq!(peer.heard().await, Action::Acknowledge(1));
    gateway.stop.cancel();
    let (_, folder) = gateway.ended().await;
    let mut gateway = Gateway::start_in(folder, Vec::new(), BOOT);
    let mut peer = gateway.connected(true).await;
    peer.say(Event::Published(retained(2, b"off")));
    gateway.stored().await.receipt.confirm();
    assert_eq!(peer.heard().await, Action::Acknowledge(2));
    // Delivered and deleted meanwhile: the store recalls nothing.
    let mut gateway = Gateway::start_in(gateway.killed().await, Vec::new(), BOOT);
    let peer = gateway.connected(false).await;
    peer.say(Event::Published(retained(1, b"on")));
    assert_eq!(gateway.stored().await.arrival.payload, "on");
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_does_not_come_directly_behind_the_first_is_stored_and_marked() {
    let (mut gateway, peer) = overlapping().await;
    peer.say(Event::Published(copy(1, &[1])));
    assert!(!gateway.stored().await.arrival.delivery.dup);
    // The second copy and the first one of an equal message did not fit into the broker's queue.
    peer.say(Event::Published(copy(4, &[2])));
    assert!(gateway.stored().await.arrival.delivery.dup);
    assert_eq!(total(&gateway.counters.second_copies), 0);
}
