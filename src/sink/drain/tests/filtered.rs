//! Messages that no route wants, by a filter of the configuration: they are passed over and counted, and need no Kafka.

use super::*;
use crate::queue::{Balance, Reason};

const WANTS_B: &str = r#"
    [[route]]
    from = "devices/{device}/telemetry"
    topic = "telemetry"
    when = [{ value = "device", not = true, equals = "chatty" }]
"#;

fn chatty(count: usize) -> Vec<&'static str> {
    vec!["devices/chatty/telemetry=x"; count]
}

/// What the lane's files say after the drain has gone.
async fn account(bench: Bench) -> Balance {
    let Bench { drain, dir, .. } = bench;
    drop(drain);
    let config = Config {
        min_free_bytes: 0,
        ..Config::default()
    };
    let folder = dir.path().join("lane");
    let opened = tokio::task::spawn_blocking(move || crate::queue::open(&folder, Epoch(1), &config)).await;
    opened.expect("ends").expect("opens").monitor.status().balance
}

#[tokio::test]
async fn a_filtered_message_is_neither_sent_nor_kept_nor_counted_as_delivered() {
    let payloads = [
        "a",
        "devices/chatty/telemetry=x",
        "other/topic=y",
        "devices/chatty/telemetry=z",
        "b",
    ];
    let mut bench = Bench::routed(WANTS_B, &payloads).await;
    bench.until_empty();
    assert_eq!(bench.kafka.payloads(), ["a", "b"]);
    assert_eq!(bench.dead(), [(3, vec![Refusal::NoRoute])]);
    let balance = account(bench).await;
    assert_eq!(
        (
            balance.received,
            balance.delivered,
            balance.dead_lettered,
            balance.queued
        ),
        (5, 2, 1, 0)
    );
    assert_eq!(
        (balance.removed.of(Reason::Filtered), balance.removed.removed()),
        (2, 2)
    );
}

#[tokio::test]
async fn filtered_messages_go_without_kafka() {
    let mut bench = Bench::routed(WANTS_B, &chatty(5000)).await;
    bench.kafka.cluster().silent = true;
    bench.kafka.cluster().stuck = true;
    bench.until_empty();
    assert_eq!(bench.kafka.cluster().submitted, 0);
    let balance = account(bench).await;
    assert_eq!((balance.removed.of(Reason::Filtered), balance.queued), (5000, 0));
}

/// What is filtered waits for the message before it, so that the cursor covers a prefix, and is counted when that is done.
#[tokio::test]
async fn what_is_filtered_behind_a_waiting_message_is_counted_once_however_often_it_is_looked_at() {
    let mut payloads = vec!["a"];
    payloads.extend(chatty(10));
    let mut bench = Bench::routed(WANTS_B, &payloads).await;
    let poison = (Bytes::from_static(b"a"), Code::RequestTimedOut);
    bench.kafka.cluster().poison.push(poison);
    bench.steps(50);
    assert!(bench.kafka.cluster().connects > 1, "it was taken back");
    let values = crate::queue::marks::peek(&bench.dir.path().join("lane")).expect("marks");
    assert_eq!((values.cursor, values.filtered), (Seq::ZERO, 0));
    bench.kafka.cluster().poison.clear();
    bench.until_empty();
    let balance = account(bench).await;
    assert_eq!((balance.delivered, balance.removed.of(Reason::Filtered)), (1, 10));
}

#[tokio::test]
async fn exactly_once_counts_them_with_the_transaction_that_they_are_passed_in() {
    let payloads = [
        "devices/chatty/telemetry=x",
        "a",
        "devices/chatty/telemetry=y",
        "b",
        "devices/chatty/telemetry=z",
    ];
    let mut bench = Bench::routed(WANTS_B, &payloads).await;
    bench.drain = bench.drain.exactly_once();
    bench.until_empty();
    assert_eq!(bench.kafka.payloads(), ["a", "b"]);
    let balance = account(bench).await;
    assert_eq!(
        (
            balance.delivered,
            balance.removed.of(Reason::Filtered),
            balance.queued
        ),
        (2, 3, 0)
    );
}
