//! Topics whose partition count changes.

use super::*;
use crate::sink::OnPartitionChange;

/// A key that is in partition 1 of 5 and in partition 5 of 8.
const KEY: &str = "sensor-1";

async fn growing(mode: OnPartitionChange, count: usize) -> Bench {
    let payloads: Vec<String> = (0..count)
        .map(|n| format!("devices/{KEY}/telemetry={n:04}"))
        .collect();
    let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
    let bench = Bench::ruled(ONE_ROUTE, &payloads, |config| config.on_partition_change = mode).await;
    partitions(&bench, 5);
    bench
}

fn partitions(bench: &Bench, count: usize) {
    let mut cluster = bench.kafka.cluster();
    cluster.partitions.insert("telemetry".to_owned(), count);
}

fn places(bench: &Bench) -> Vec<i32> {
    bench.kafka.cluster().places.clone()
}

#[tokio::test]
async fn keys_go_where_java_puts_them() {
    let mut bench = growing(OnPartitionChange::Warn, 3).await;
    bench.until_empty();
    assert_eq!(places(&bench), [1, 1, 1]);
}

#[tokio::test]
async fn a_new_count_is_used_when_it_is_time_to_look_again() {
    let mut bench = growing(OnPartitionChange::Warn, 100).await;
    bench.drain.alone_until = Some(Seq(1_000));
    bench.until(|bench| bench.drain.reader.cursor() == Seq(10));
    partitions(&bench, 8);
    bench.until(|bench| bench.drain.reader.cursor() == Seq(20));
    assert_eq!(bench.kafka.cluster().questions, 1, "it is believed for a while");
    bench.now += Duration::from_mins(5);
    bench.until_empty();
    let places = places(&bench);
    assert_eq!((places.first(), places.last()), (Some(&1), Some(&5)));
    assert!(places.is_sorted(), "{places:?}");
}

#[tokio::test]
async fn with_drain_what_is_under_way_is_confirmed_before_a_new_count_is_used() {
    let mut bench = growing(OnPartitionChange::Drain, 40).await;
    let places = changed_under_way(&mut bench, 5, 8);
    assert!(places.is_sorted(), "{places:?}");
}

#[tokio::test]
async fn what_is_under_way_is_always_confirmed_before_a_smaller_count_is_used() {
    let mut bench = growing(OnPartitionChange::Warn, 40).await;
    let places = changed_under_way(&mut bench, 8, 5);
    assert!(places.is_sorted_by(|one, next| one >= next), "{places:?}");
}

/// Where 40 records went when the count changed with 20 of them under way, behind the first.
fn changed_under_way(bench: &mut Bench, before: usize, after: usize) -> Vec<i32> {
    partitions(bench, before);
    bench.kafka.cluster().capacity = 20;
    bench.until(|bench| bench.kafka.cluster().submitted == 21);
    partitions(bench, after);
    bench.now += Duration::from_mins(5);
    while places(bench).len() < 21 {
        bench.steps(1);
        let waits = places(bench).len() < 21;
        let submitted = bench.kafka.cluster().submitted;
        assert!(!waits || submitted == 21, "{submitted} are submitted");
    }
    bench.until_empty();
    let places = places(bench);
    assert_eq!(places.iter().filter(|place| **place == places[0]).count(), 21);
    assert_eq!(bench.drain.monitor.counts().rewinds, 0);
    places
}

#[tokio::test]
async fn a_topic_made_anew_with_fewer_partitions_is_counted_again() {
    let mut bench = growing(OnPartitionChange::Drain, 40).await;
    partitions(&bench, 8);
    bench.drain.alone_until = Some(Seq(1_000));
    bench.until(|bench| bench.drain.reader.cursor() == Seq(10));
    partitions(&bench, 5);
    bench.until_empty();
    let places = places(&bench);
    assert_eq!((places.first(), places.last()), (Some(&5), Some(&1)));
    assert_eq!((places.len(), bench.dead()), (40, vec![]));
}

#[tokio::test]
async fn a_cluster_that_does_not_answer_does_not_keep_a_known_count_from_use() {
    let mut bench = growing(OnPartitionChange::Drain, 40).await;
    bench.drain.alone_until = Some(Seq(1_000));
    bench.until(|bench| bench.drain.reader.cursor() == Seq(10));
    bench.kafka.cluster().silent = Some(SILENT);
    bench.now += Duration::from_mins(5);
    bench.until_empty();
    assert_eq!(places(&bench), [1; 40]);
}

#[test]
fn the_count_is_looked_up_as_often_as_librdkafka_does_it_and_at_least_every_five_minutes() {
    let look_again = |ms: &str| {
        let mut config = crate::sink::Config::for_test();
        config
            .properties
            .insert("topic.metadata.refresh.interval.ms".to_owned(), ms.to_owned());
        TopicRules::from(&config).look_again
    };
    assert_eq!(look_again("2000"), Duration::from_secs(2));
    assert_eq!(look_again("10"), Duration::from_secs(1));
    assert_eq!(look_again("3600000"), Duration::from_mins(5));
    assert_eq!(look_again("-1"), Duration::from_mins(5));
}
