//! A queue without room.

use bytes::Bytes;
use tokio::time::{Instant, advance};

use super::super::Ended;
use super::super::client::{Event, Publish};
use super::script::*;
use crate::link::Link;
use crate::queue::intake::{BUDGET_BYTES, Offer};

/// A message that takes the whole budget.
fn huge(packet_id: u16) -> Publish {
    Publish {
        payload: Bytes::from(vec![0; BUDGET_BYTES]),
        ..message(packet_id)
    }
}

/// The first message fills the queue; the second waits.
async fn full() -> (Gateway, Peer, Offer) {
    let mut gateway = Gateway::start();
    let peer = gateway.connected(false).await;
    peer.say(Event::Published(huge(1)));
    let offer = gateway.stored().await;
    peer.say(Event::Published(message(2)));
    (gateway, peer, offer)
}

#[tokio::test(start_paused = true)]
async fn a_short_wait_keeps_the_connection() {
    let (mut gateway, mut peer, offer) = full().await;
    advance(KEEP_ALIVE / 2).await;
    let Offer { receipt, room, .. } = offer;
    receipt.confirm();
    drop(room);
    assert_eq!(gateway.stored().await.arrival.delivery.packet_id, 2);
    assert_eq!(peer.heard().await, Action::Acknowledge(1));
    assert_eq!(*gateway.link.borrow(), Link::Up);
}

#[tokio::test(start_paused = true)]
async fn after_a_keep_alive_it_leaves_in_order_and_comes_back_when_there_is_room() {
    let (mut gateway, mut peer, offer) = full().await;
    let Offer { receipt, room, .. } = offer;
    let start = Instant::now();
    receipt.confirm();
    assert_eq!(
        peer.heard().await,
        Action::Acknowledge(1),
        "what is durable is still acknowledged"
    );
    assert_eq!(peer.heard().await, Action::Disconnect);
    assert!(start.elapsed() >= KEEP_ALIVE && start.elapsed() < KEEP_ALIVE * 3 / 2);
    gateway.link_is(|link| *link == Link::PushedBack).await;
    peer.is_dropped().await;
    gateway.stores_nothing().await;
    assert_eq!(total(&gateway.counters.put_back), 1);
    drop(room);
    let mut peer = gateway.connected(true).await;
    peer.say(Event::Published(repeated(2)));
    gateway.stored().await.receipt.confirm();
    assert_eq!(peer.heard().await, Action::Acknowledge(2));
    assert_eq!(*gateway.link.borrow(), Link::Up);
}

#[tokio::test(start_paused = true)]
async fn while_it_leaves_nothing_more_is_taken() {
    let (mut gateway, mut peer, offer) = full().await;
    peer.say(Event::Published(message(3)));
    gateway.link_is(|link| *link == Link::PushedBack).await;
    peer.is_dropped().await;
    drop(offer);
    gateway.stores_nothing().await;
    assert_eq!(total(&gateway.counters.put_back), 2);
    assert_eq!(total(&gateway.counters.received), 3);
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_waiting_for_room_is_heard() {
    let (gateway, mut peer, _offer) = full().await;
    gateway.stop.cancel();
    peer.is_dropped().await;
    assert_eq!(gateway.ended().await.0, Ok(Ended::Stopped));
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_staying_away_is_heard() {
    let (mut gateway, _peer, _offer) = full().await;
    gateway.link_is(|link| *link == Link::PushedBack).await;
    gateway.stop.cancel();
    assert_eq!(gateway.ended().await.0, Ok(Ended::Stopped));
}
