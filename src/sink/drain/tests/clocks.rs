//! Wrong clocks: records whose times Kafka refuses, and times that become known.

use super::*;
use crate::clock::unix_ms;

const HOUR_MS: i64 = 3_600_000;

/// Messages that arrived `age_ms` ago by a clock that is known to be right.
async fn aged(age_ms: i64, payloads: &[&str]) -> Bench {
    STAMP.set(Stamp {
        unix_ms: unix_ms() - age_ms,
        boot_ms: 1,
        boot: BOOT,
        synchronised: true,
    });
    Bench::with(payloads).await
}

/// Messages of this boot, by a clock that stands in 1970.
async fn unsynchronised(payloads: &[&str]) -> Bench {
    SYNCHRONISED.set(false);
    STAMP.set(Stamp {
        unix_ms: 5_000,
        boot_ms: 5_000,
        boot: BOOT,
        synchronised: false,
    });
    Bench::with(payloads).await
}

/// Time goes on until the clock is looked at again.
fn synchronise(bench: &mut Bench) {
    SYNCHRONISED.set(true);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !bench.drain.times.is_synchronised() {
        assert!(Instant::now() < deadline, "the clock is never synchronised");
        bench.steps(1);
    }
}

fn clock(record: &Arc<KafkaRecord>) -> Option<String> {
    record.header("edgeferry-clock").map(str::to_owned)
}

#[tokio::test]
async fn a_clock_that_is_ahead_costs_no_record_and_no_order() {
    for hours in [2, 5, 400_000] {
        let payloads: Vec<String> = (0..30).map(|n| n.to_string()).collect();
        let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
        let mut bench = aged(0, &payloads).await;
        let latest = unix_ms() - (hours - 1) * HOUR_MS;
        bench.kafka.cluster().takes_times = Some(1..=latest);
        bench.until_empty();
        assert_eq!(bench.kafka.payloads(), payloads);
        assert_eq!(bench.dead(), []);
        let cluster = bench.kafka.cluster();
        assert!(cluster.connects <= 30, "{} producers", cluster.connects);
        let marks = cluster.stored.iter().map(clock);
        assert!(
            marks.clone().all(|mark| mark.as_deref() == Some("ahead")),
            "{:?}",
            marks.collect::<Vec<_>>()
        );
    }
}

#[tokio::test]
async fn records_that_are_too_old_for_kafka_get_the_time_of_sending() {
    let mut bench = aged(200 * HOUR_MS, &["a", "b", "c", "d", "e", "f", "g"]).await;
    bench.kafka.cluster().takes_times = Some(unix_ms() - HOUR_MS..=i64::MAX);
    bench.until_empty();
    assert_eq!(bench.kafka.payloads(), ["a", "b", "c", "d", "e", "f", "g"]);
    assert_eq!(bench.dead(), []);
}

#[tokio::test]
async fn a_record_of_which_kafka_takes_no_time_becomes_a_dead_letter_and_holds_nobody() {
    let mut bench = aged(0, &["a", "b", "c"]).await;
    bench.kafka.cluster().takes_times = Some(0..=0);
    bench.until_empty();
    assert_eq!(bench.dead().len(), 3);
    let (first, reasons) = &bench.dead()[0];
    assert_eq!(*first, 1);
    assert!(
        matches!(&reasons[..], [Refusal::Refused { topic, attempts, .. }] if topic == "telemetry" && *attempts > 2),
        "{reasons:?}"
    );
}

#[tokio::test]
async fn a_clock_that_is_still_to_be_synchronised_is_waited_for_ten_minutes() {
    let mut bench = unsynchronised(&["a"]).await;
    bench.kafka.cluster().takes_times = Some(0..=0);
    let start = bench.now;
    bench.until(|bench| !bench.drain.monitor.link().is_ready());
    bench.until(|bench| bench.now > start + Duration::from_mins(9));
    assert_eq!(bench.dead(), []);
    bench.until_empty();
    assert_eq!(bench.dead().len(), 1);
}

#[tokio::test]
async fn what_waits_for_a_topic_is_corrected_before_it_is_sent() {
    let mut bench = unsynchronised(&["a", "b", "c"]).await;
    bench.kafka.cluster().missing.insert("telemetry".to_owned());
    bench.steps(5);
    assert_eq!(bench.drain.window.len(), 1, "one is half way");
    synchronise(&mut bench);
    bench.kafka.cluster().missing.clear();
    bench.until_empty();
    let cluster = bench.kafka.cluster();
    assert_eq!(cluster.stored.len(), 3);
    for record in &cluster.stored {
        assert_eq!(clock(record).as_deref(), Some("corrected"));
        // This boot began long after 1970.
        assert!(record.timestamp_ms > 1_000_000_000_000);
    }
}

#[tokio::test]
async fn what_was_submitted_before_the_correction_keeps_its_bytes() {
    let mut bench = unsynchronised(&["a", "b", "c", "d", "e", "f", "g", "h"]).await;
    // The batch behind the first record is lost on the way: nobody knows whether Kafka has it.
    let lost = (Bytes::from_static(b"b"), Code::RequestTimedOut);
    bench.kafka.cluster().poison.push(lost);
    bench.kafka.cluster().capacity = 5;
    bench.until(|bench| bench.kafka.cluster().submitted == 6);
    synchronise(&mut bench);
    bench.kafka.cluster().poison.clear();
    bench.until_empty();
    let cluster = bench.kafka.cluster();
    let clocks: Vec<_> = cluster.stored.iter().map(clock).collect();
    let (stood, corrected) = (Some("unsynchronised".to_owned()), Some("corrected".to_owned()));
    assert_eq!(clocks[..6], vec![stood; 6]);
    assert_eq!(clocks.last(), Some(&corrected));
    assert_eq!(cluster.stored[0].timestamp_ms, 5_000);
}
