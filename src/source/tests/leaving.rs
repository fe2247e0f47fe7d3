//! Stopping, and a queue that ends.

use tokio::time::Instant;

use super::super::client::{Event, Failure};
use super::super::connection::LEAVE;
use super::super::{Ended, Error};
use super::script::*;
use crate::queue::Closed;

#[tokio::test(start_paused = true)]
async fn a_stop_acknowledges_what_was_taken_and_takes_no_more() {
    let mut gateway = Gateway::start();
    let mut peer = gateway.connected(false).await;
    peer.say(Event::Published(message(1)));
    let offer = gateway.stored().await;
    gateway.stop.cancel();
    peer.say(Event::Published(message(2)));
    peer.is_silent().await;
    offer.receipt.confirm();
    assert_eq!(peer.heard().await, Action::Acknowledge(1));
    assert_eq!(peer.heard().await, Action::Disconnect);
    gateway.stores_nothing().await;
    assert_eq!(total(&gateway.counters.put_back), 1);
    assert_eq!(gateway.ended().await.0, Ok(Ended::Stopped));
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_ever() {
    let mut gateway = Gateway::start();
    let peer = gateway.connected(false).await;
    peer.say(Event::Published(message(1)));
    let _never_confirmed = gateway.stored().await;
    let start = Instant::now();
    gateway.stop.cancel();
    assert_eq!(gateway.ended().await.0, Ok(Ended::Stopped));
    assert_eq!(start.elapsed().as_secs(), LEAVE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_stop_before_the_connection_is_established_is_at_once() {
    let mut gateway = Gateway::start();
    let _peer = gateway.peer().await;
    let start = Instant::now();
    gateway.stop.cancel();
    assert_eq!(gateway.ended().await.0, Ok(Ended::Stopped));
    assert_eq!(start.elapsed().as_secs(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stop_during_a_backoff_is_at_once() {
    let mut gateway = Gateway::start();
    gateway.peer().await.fail(Failure::Refused("no".to_owned()));
    gateway.link_is(|link| !link.is_ready()).await;
    let start = Instant::now();
    gateway.stop.cancel();
    assert_eq!(gateway.ended().await.0, Ok(Ended::Stopped));
    assert_eq!(start.elapsed().as_secs(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_leaves_first_ends_a_stop_too() {
    let mut gateway = Gateway::start();
    let peer = gateway.connected(false).await;
    gateway.stop.cancel();
    peer.fail(Failure::Closed);
    assert_eq!(gateway.ended().await.0, Ok(Ended::Stopped));
}

#[tokio::test(start_paused = true)]
async fn a_closed_queue_ends_the_source() {
    let mut gateway = Gateway::start();
    let peer = gateway.connected(false).await;
    let (_, nowhere) = std::sync::mpsc::sync_channel(1);
    drop(std::mem::replace(&mut gateway.offers, nowhere));
    peer.say(Event::Published(message(1)));
    assert_eq!(gateway.ended().await.0, Err(Error::Closed(Closed)));
}
