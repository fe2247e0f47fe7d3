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
    bench.kafka.cluster().silent = Some(SILENT);
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

#[tokio::test]
async fn a_filtered_message_that_waits_keeps_its_place_and_not_its_payload() {
    let large = format!("devices/chatty/telemetry={}", "x".repeat(100_000));
    let mut payloads = vec!["a"];
    payloads.extend(std::iter::repeat_n(large.as_str(), 100));
    let mut bench = Bench::routed(WANTS_B, &payloads).await;
    bench.kafka.cluster().stuck = true;
    bench.steps(20);
    assert_eq!(bench.drain.window.len(), 101, "all of them wait");
    assert!(bench.drain.window.idle_bytes() <= 100 * Arrival::OVERHEAD_BYTES);
    bench.kafka.cluster().stuck = false;
    bench.until_empty();
    let balance = account(bench).await;
    assert_eq!(
        (balance.delivered, balance.removed.of(Reason::Filtered)),
        (1, 100)
    );
}

#[tokio::test]
async fn dead_letters_that_wait_take_no_more_memory_than_records() {
    let large = format!("other/topic={}", "x".repeat(1 << 20));
    let mut payloads = vec!["a"];
    payloads.extend(std::iter::repeat_n(large.as_str(), 10));
    let mut bench = Bench::routed(WANTS_B, &payloads).await;
    bench.kafka.cluster().stuck = true;
    bench.steps(20);
    assert!(
        bench.drain.window.idle_bytes() < crate::sink::kafka::WINDOW_BYTES + (2 << 20),
        "{}",
        bench.drain.window.idle_bytes()
    );
    bench.kafka.cluster().stuck = false;
    bench.until_empty();
    assert_eq!(bench.dead().len(), 10);
    assert_eq!(bench.drain.window.idle_bytes(), 0);
}

#[tokio::test]
async fn a_backlog_of_filtered_messages_takes_several_rounds_so_that_the_watchdog_sees_them() {
    let count = 20_000;
    let mut bench = Bench::routed(WANTS_B, &chatty(count)).await;
    bench.steps(1);
    let cursor = bench.drain.reader.cursor();
    assert!(cursor < Seq(count as u64), "one round took all {count}");
    bench.until_empty();
}

/// With exactly-once Kafka may have more than the cursor on disk says. Routes that changed since make no letters of that.
#[tokio::test]
async fn what_kafka_has_is_no_dead_letter_although_the_routes_refuse_it_by_now() {
    let mut bench = Bench::with(&["a", "other/topic=b", "c"]).await;
    let mut transactions = Transactions::default();
    transactions.delivered_through = Seq(2);
    bench.drain.transactions = Some(transactions);
    assert!(bench.drain.take().expect("reads") && bench.drain.take().expect("reads"));
    bench.drain.settle(bench.now).expect("settles");
    assert_eq!(bench.dead(), []);
    let balance = account(bench).await;
    assert_eq!((balance.delivered, balance.dead_lettered), (2, 0));
}
