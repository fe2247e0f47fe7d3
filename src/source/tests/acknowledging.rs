//! When, and in which order, the broker gets its PUBACKs; and what is stored.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::super::client::{Event, Publish};
use super::script::*;
use crate::message::OVERSIZE_KEPT_BYTES;

#[tokio::test(start_paused = true)]
async fn a_message_is_acknowledged_when_it_is_durable_and_not_before() {
    let mut gateway = Gateway::start();
    let mut peer = gateway.connected(false).await;
    peer.say(Event::Published(message(5)));
    let offer = gateway.stored().await;
    peer.is_silent().await;
    offer.receipt.confirm();
    assert_eq!(peer.heard().await, Action::Acknowledge(5));
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_go_out_in_order_of_arrival() {
    let mut gateway = Gateway::start();
    let mut peer = gateway.connected(false).await;
    for packet_id in [3, 1, 2] {
        peer.say(Event::Published(message(packet_id)));
    }
    let (first, _, third) = (
        gateway.stored().await,
        gateway.stored().await,
        gateway.stored().await,
    );
    first.receipt.confirm();
    assert_eq!(peer.heard().await, Action::Acknowledge(3));
    peer.is_silent().await;
    third.receipt.confirm();
    assert_eq!(peer.heard().await, Action::Acknowledge(1));
    assert_eq!(peer.heard().await, Action::Acknowledge(2));
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_never_block_the_poll_loop() {
    // More than the client's request channel, the group, and the window together, and all durable at once.
    let count = 2_000;
    let mut gateway = Gateway::start();
    let mut peer = gateway.connected(false).await;
    for packet_id in 1..=count {
        peer.say(Event::Published(message(packet_id)));
    }
    let mut offers = Vec::new();
    for _ in 1..=count {
        offers.push(gateway.stored().await);
    }
    for offer in offers {
        offer.receipt.confirm();
    }
    for packet_id in 1..=count {
        assert_eq!(peer.heard().await, Action::Acknowledge(packet_id));
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_more_is_read_from_a_broker_while_an_eighth_of_all_packet_ids_wait_to_be_acknowledged() {
    let mut gateway = Gateway::start();
    let mut peer = gateway.connected(false).await;
    peer.may_send.store(0, Ordering::Relaxed);
    let mut said = 0;
    while !peer.is_held.load(Ordering::Relaxed) {
        said += 1;
        peer.say(Event::Published(message(said)));
        gateway.stored().await.receipt.confirm();
    }
    assert!((8_192..9_000).contains(&said), "{said}");

    // What was taken off the connection before still comes, and is an occasion to look what there is to send.
    let mut heard = 0;
    for (may_send, is_held_then) in [(4_000, true), (1_000, false), (4_000, false)] {
        peer.may_send.store(may_send, Ordering::Relaxed);
        said += 1;
        peer.say(Event::Published(message(said)));
        gateway.stored().await.receipt.confirm();
        for _ in 0..may_send.min(usize::from(said - heard)) {
            heard += 1;
            assert_eq!(peer.heard().await, Action::Acknowledge(heard));
        }
        assert_eq!(
            peer.is_held.load(Ordering::Relaxed),
            is_held_then,
            "after {heard}"
        );
    }
    assert_eq!(heard, said);
}

#[tokio::test(start_paused = true)]
async fn the_session_file_knows_before_the_broker_does() {
    let mut gateway = Gateway::start();
    let mut peer = gateway.connected(false).await;
    peer.say(Event::Published(message(5)));
    let offer = gateway.stored().await;
    let delivery = offer.arrival.delivery;
    assert_eq!(gateway.session(), (delivery.session, 0));
    offer.receipt.confirm();
    assert_eq!(peer.heard().await, Action::Acknowledge(5));
    assert_eq!(gateway.session(), (delivery.session, delivery.position));
}

#[tokio::test(start_paused = true)]
async fn qos_0_is_stored_and_counted_but_not_acknowledged() {
    let mut gateway = Gateway::start();
    let mut peer = gateway.connected(false).await;
    peer.say(Event::Published(Publish { qos: 0, ..message(0) }));
    gateway.stored().await.receipt.confirm();
    peer.is_silent().await;
    assert_eq!(total(&gateway.counters.unprotected), 1);
}

#[tokio::test(start_paused = true)]
async fn a_full_window_asks_for_a_commit() {
    let mut gateway = Gateway::start();
    let peer = gateway.connected(false).await;
    for packet_id in 1..=WINDOW {
        peer.say(Event::Published(message(packet_id)));
    }
    for packet_id in 1..=WINDOW {
        assert_eq!(gateway.stored().await.commit_now, packet_id == WINDOW);
    }
}

#[tokio::test(start_paused = true)]
async fn an_oversize_payload_is_cut_and_flows_on() {
    let mut gateway = Gateway::start();
    let mut peer = gateway.connected(false).await;
    let size = 8 * 1024 * 1024 + 1;
    peer.say(Event::Published(message(1)));
    peer.say(Event::Published(Publish {
        payload: Bytes::from(vec![7; size]),
        ..message(2)
    }));
    peer.say(Event::Published(message(3)));
    let offers = [
        gateway.stored().await,
        gateway.stored().await,
        gateway.stored().await,
    ];
    let lengths = offers
        .each_ref()
        .map(|offer| (offer.arrival.payload.len(), offer.arrival.oversize));
    assert_eq!(
        lengths,
        [(2, None), (OVERSIZE_KEPT_BYTES, Some(size as u64)), (2, None)]
    );
    for offer in offers {
        offer.receipt.confirm();
    }
    for packet_id in 1..=3 {
        assert_eq!(peer.heard().await, Action::Acknowledge(packet_id));
    }
    assert_eq!(total(&gateway.counters.oversize), 1);
}

#[tokio::test(start_paused = true)]
async fn the_largest_allowed_payload_is_whole() {
    let mut gateway = Gateway::start();
    let peer = gateway.connected(false).await;
    let payload = Bytes::from(vec![7; 8 * 1024 * 1024]);
    peer.say(Event::Published(Publish {
        payload: payload.clone(),
        ..message(1)
    }));
    let arrival = gateway.stored().await.arrival;
    assert_eq!((arrival.payload, arrival.oversize), (payload, None));
}

#[tokio::test(start_paused = true)]
async fn positions_ascend_and_deliveries_are_recorded() {
    let mut gateway = Gateway::start();
    let peer = gateway.connected(false).await;
    peer.say(Event::Published(Publish {
        retained: true,
        ..message(8)
    }));
    peer.say(Event::Published(Publish {
        dup: true,
        ..message(9)
    }));
    let first = gateway.stored().await.arrival.delivery;
    let second = gateway.stored().await.arrival.delivery;
    assert_eq!(
        (first.position, first.packet_id, first.retained, first.dup),
        (1, 8, true, false)
    );
    assert_eq!(
        (second.position, second.packet_id, second.retained, second.dup),
        (2, 9, false, true)
    );
    assert_eq!(first.session, second.session);
}
