//! Nothing is confirmed, and nobody says why.

use super::*;

async fn stuck() -> Bench {
    let mut bench = Bench::with(&["a", "b"]).await;
    bench.steps(1);
    bench.kafka.cluster().stuck = true;
    bench.pass(Duration::from_secs(50));
    assert_eq!(bench.drain.monitor.link(), Link::Up, "not yet");
    bench
}

#[tokio::test]
async fn a_partition_without_a_leader_is_shown_until_it_has_one() {
    let mut bench = stuck().await;
    bench.kafka.cluster().leaderless.insert("telemetry".to_owned());
    bench.pass(Duration::from_secs(20));
    let link = bench.drain.monitor.link();
    let Link::Down(reason) = &link else {
        panic!("{link}")
    };
    assert!(
        reason.contains("partition 0") && reason.contains("telemetry"),
        "{reason}"
    );
    for _ in 0..200 {
        bench.pass(Duration::from_secs(6));
        assert_eq!(bench.drain.monitor.link(), link);
    }
    assert_eq!(bench.kafka.cluster().connects, 1, "a new client would not help");
    bench.kafka.cluster().leaderless.clear();
    bench.kafka.cluster().stuck = false;
    bench.until_empty();
    assert_eq!(bench.drain.monitor.link(), Link::Up);
    assert_eq!(bench.kafka.payloads(), ["a", "b"]);
}

#[tokio::test]
async fn the_time_of_an_outage_is_no_rate_of_the_link() {
    // More than may be under way.
    let payload = "x".repeat(900);
    for is_exactly_once in [false, true] {
        let mut bench = Bench::with(&[payload.as_str(); 300]).await;
        if is_exactly_once {
            bench = transactions::exactly_once(bench);
        }
        bench.until(|bench| !bench.kafka.payloads().is_empty());
        bench.kafka.cluster().stuck = true;
        bench.pass(Duration::from_secs(5));
        bench.drain.note_trouble(Code::AllBrokersDown, bench.now);
        assert_ne!(bench.drain.monitor.link(), Link::Up);
        bench.pass(Duration::from_secs(5));
        bench.kafka.cluster().stuck = false;
        bench.until(|bench| bench.drain.monitor.link() == Link::Up);
        let longest = bench.drain.pace.longest_round();
        assert!(
            longest.is_none_or(|span| span < Duration::from_secs(5)),
            "{longest:?}"
        );
        bench.until_empty();
        assert_eq!(bench.kafka.payloads().len(), 300);
        assert_eq!(bench.kafka.cluster().connects, 1, "the same client all the time");
    }
}

#[tokio::test]
async fn a_cluster_that_stores_nothing_is_shown_and_the_client_is_made_anew_now_and_then() {
    let mut bench = stuck().await;
    bench.pass(Duration::from_secs(20));
    assert!(matches!(bench.drain.monitor.link(), Link::Down(_)));
    bench.pass(Duration::from_mins(25));
    assert_eq!(bench.kafka.cluster().connects, 3);
    bench.kafka.cluster().stuck = false;
    bench.until_empty();
    assert_eq!(bench.kafka.payloads(), ["a", "b"]);
    assert_eq!(bench.drain.monitor.link(), Link::Up);
}

#[tokio::test]
async fn a_client_that_reaches_nobody_is_kept_through_an_outage_of_any_length() {
    let mut bench = stuck().await;
    bench.kafka.cluster().silent = Some(SILENT);
    bench.pass(Duration::from_hours(2));
    assert!(matches!(bench.drain.monitor.link(), Link::Down(_)));
    assert_eq!(
        bench.kafka.cluster().connects,
        1,
        "a new one would send twice what is under way"
    );
    bench.kafka.cluster().silent = None;
    bench.kafka.cluster().stuck = false;
    bench.until_empty();
    assert_eq!(bench.kafka.payloads(), ["a", "b"]);
    assert_eq!(bench.drain.monitor.link(), Link::Up);
}

#[tokio::test]
async fn a_client_that_has_lost_the_cluster_is_made_anew_with_records_under_way() {
    let mut bench = stuck().await;
    bench.kafka.cluster().silent = Some(TopicState::ClientLost);
    bench.until_empty();
    assert_eq!(bench.kafka.cluster().connects, 2);
    assert_eq!(bench.kafka.payloads(), ["a", "b"]);
    assert_eq!(bench.drain.monitor.link(), Link::Up);
}

#[tokio::test]
async fn a_client_that_has_lost_the_cluster_is_made_anew_with_nothing_under_way() {
    let mut bench = Bench::with(&[]).await;
    bench.until(|bench| bench.kafka.cluster().connects == 1);
    bench.drain.note_trouble(Code::AllBrokersDown, bench.now);
    bench.kafka.cluster().silent = Some(TopicState::ClientLost);
    bench.until(|bench| bench.kafka.cluster().connects == 2);
    bench.until(|bench| bench.drain.monitor.link() == Link::Up);
}

#[tokio::test]
async fn waiting_for_a_topic_is_no_standstill() {
    let mut bench = Bench::with(&["a"]).await;
    bench.kafka.cluster().missing.insert("telemetry".to_owned());
    bench.pass(Duration::from_mins(5));
    assert!(matches!(bench.drain.monitor.link(), Link::Refused(_)));
    bench.kafka.cluster().missing.clear();
    bench.kafka.cluster().stuck = true;
    bench.until(|bench| bench.kafka.cluster().submitted == 1);
    bench.pass(Duration::from_secs(30));
    assert_eq!(bench.drain.monitor.link(), Link::Up);
}
