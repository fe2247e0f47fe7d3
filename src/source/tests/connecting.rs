//! Connections that fail, and subscriptions that are refused.

use std::time::Duration;

use tokio::time::{Instant, advance};

use super::super::TRANSPORT_LIMIT;
use super::super::client::{Answer, Event, Failure};
use super::script::*;
use crate::link::Link;

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_told_and_made_again() {
    let mut gateway = Gateway::start();
    assert_eq!(*gateway.link.borrow(), Link::Connecting);
    let peer = gateway.connected(false).await;
    gateway.link_is(|link| *link == Link::Up).await;
    advance(Duration::from_secs(40)).await;
    peer.fail(Failure::Closed);
    let lost = Instant::now();
    gateway.link_is(|link| matches!(link, Link::Down(_))).await;
    let _peer = gateway.connected(true).await;
    assert!(
        lost.elapsed() <= Duration::from_secs(2),
        "quick, for the last one was good"
    );
    assert_eq!(*gateway.link.borrow(), Link::Up);
    assert_eq!(total(&gateway.counters.reconnects), 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_is_given_up() {
    let mut gateway = Gateway::start();
    let mut peer = gateway.connected(false).await;
    let start = Instant::now();
    peer.is_dropped().await;
    let silent = start.elapsed();
    assert!(
        silent > KEEP_ALIVE * 5 / 2 && silent <= KEEP_ALIVE * 3,
        "{silent:?}"
    );
    gateway.link_is(|link| matches!(link, Link::Down(_))).await;
    gateway.peer().await;
}

/// Found by a simulation (docs/decisions/0038): nothing came any more, and nobody said so.
#[tokio::test(start_paused = true)]
async fn a_new_session_that_could_not_be_noted_is_subscribed_anew_although_the_broker_has_it_by_then() {
    let mut gateway = Gateway::start();
    gateway.connected(false).await.fail(Failure::Closed);
    let peer = gateway.peer().await;
    crate::slots::IS_READ_ONLY.set(true);
    peer.say(Event::Connected {
        session_present: false,
    });
    gateway.link_is(|link| matches!(link, Link::Down(_))).await;
    crate::slots::IS_READ_ONLY.set(false);
    let mut peer = gateway.peer().await;
    peer.say(Event::Connected {
        session_present: true,
    });
    assert_eq!(peer.heard().await, Action::Subscribe(vec!["a/+".to_owned()]));
}

/// Found by a simulation (docs/decisions/0038): the broker lost the session, made a new one, and its answer was lost.
#[tokio::test(start_paused = true)]
async fn behind_an_attempt_that_was_not_answered_everything_is_subscribed_anew() {
    let mut gateway = Gateway::start();
    gateway.connected(false).await.fail(Failure::Closed);
    gateway.peer().await.fail(Failure::Closed);
    let mut peer = gateway.peer().await;
    peer.say(Event::Connected {
        session_present: true,
    });
    assert_eq!(peer.heard().await, Action::Subscribe(vec!["a/+".to_owned()]));
    peer.say(Event::Granted {
        packet_id: 1,
        answers: vec![Answer::Granted(1)],
    });
    peer.fail(Failure::Closed);
    let mut peer = gateway.peer().await;
    peer.say(Event::Connected {
        session_present: true,
    });
    peer.is_silent().await;
}

#[tokio::test(start_paused = true)]
async fn three_short_connections_name_the_client_id() {
    let mut gateway = Gateway::start();
    for _ in 0..3 {
        gateway.connected(true).await.fail(Failure::Closed);
    }
    let link = gateway.link_is(|link| !link.is_ready()).await;
    assert_eq!(
        link,
        Link::Refused("another client uses client id edgeferry-gw-default".to_owned())
    );
    gateway.connected(true).await;
    gateway.link_is(|link| *link == Link::Up).await;
}

#[tokio::test(start_paused = true)]
async fn what_another_client_may_have_acknowledged_is_in_doubt() {
    let mut gateway = Gateway::start();
    let peer = gateway.connected(false).await;
    peer.say(Event::Published(message(5)));
    gateway.stored().await;
    peer.fail(Failure::TakenOver);
    let peer = gateway.connected(true).await;
    peer.say(Event::Published(repeated(5)));
    assert!(gateway.stored().await.arrival.delivery.dup);
}

#[tokio::test(start_paused = true)]
async fn a_refused_filter_is_told_and_asked_again_while_others_flow() {
    let mut gateway = Gateway::start();
    let mut peer = gateway.peer().await;
    peer.say(Event::Connected {
        session_present: false,
    });
    let subscribe = Action::Subscribe(vec!["a/+".to_owned()]);
    assert_eq!(peer.heard().await, subscribe);
    let refused = vec![Answer::Refused("0x87, not authorised".to_owned())];
    peer.say(Event::Granted {
        packet_id: 1,
        answers: refused,
    });
    let link = gateway.link_is(|link| !link.is_ready()).await;
    assert_eq!(
        link,
        Link::Refused("subscription `a/+`: 0x87, not authorised".to_owned())
    );
    peer.say(Event::Published(message(1)));
    gateway.stored().await.receipt.confirm();
    assert_eq!(peer.heard().await, Action::Acknowledge(1));
    advance(Duration::from_mins(1)).await;
    peer.say(Event::Other);
    assert_eq!(peer.heard().await, subscribe);
    peer.say(Event::Granted {
        packet_id: 2,
        answers: vec![Answer::Granted(1)],
    });
    gateway.link_is(|link| *link == Link::Up).await;
}

#[tokio::test(start_paused = true)]
async fn a_packet_over_the_transport_limit_is_let_in_next_time() {
    let mut gateway = Gateway::start();
    let peer = gateway.connected(false).await;
    assert_eq!(peer.packet_limit, TRANSPORT_LIMIT);
    peer.fail(Failure::TooLarge { size: 50_000_000 });
    assert_eq!(gateway.peer().await.packet_limit, 50_000_005);
}

#[tokio::test(start_paused = true)]
async fn a_refused_connection_is_told_in_plain_words_and_never_given_up() {
    let mut gateway = Gateway::start();
    for _ in 0..5 {
        gateway
            .peer()
            .await
            .fail(Failure::Refused("not authorised".to_owned()));
        gateway
            .link_is(|link| *link == Link::Refused("not authorised".to_owned()))
            .await;
    }
    gateway.connected(false).await;
    gateway.link_is(|link| *link == Link::Up).await;
}

#[tokio::test(start_paused = true)]
async fn a_source_that_waits_tries_at_once_when_its_files_may_have_changed() {
    let mut gateway = Gateway::start();
    let refused = || Failure::Refused("bad user name or password".to_owned());
    gateway.peer().await.fail(refused());
    gateway.link_is(|link| !link.is_ready()).await;
    let start = Instant::now();
    // Others that wait nowhere are not disturbed by it, nor is a later wait shortened.
    gateway.nudge.notify_waiters();
    let peer = gateway.peer().await;
    assert_eq!(
        start.elapsed(),
        Duration::ZERO,
        "nobody waits for the next minute"
    );
    peer.fail(refused());
    gateway.peer().await;
    assert!(start.elapsed() > Duration::from_secs(30), "{:?}", start.elapsed());
}
