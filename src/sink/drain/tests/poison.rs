//! Records that Kafka refuses for what they are.

use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;
use crate::queue::Share;

fn refused(route: usize, topic: &str, code: Code, attempts: u32) -> Refusal {
    Refusal::Refused {
        route,
        topic: topic.to_owned(),
        code: code.to_string(),
        attempts,
    }
}

#[tokio::test]
async fn poison_between_neighbours_becomes_a_dead_letter_and_order_holds() {
    let mut bench = Bench::with(&["a", "b", "bad", "c", "d", "e", "f", "g"]).await;
    bench
        .kafka
        .cluster()
        .poison
        .push((Bytes::from_static(b"bad"), Code::MessageSizeTooLarge));
    bench.until_empty();
    assert_eq!(bench.kafka.payloads(), ["a", "b", "c", "d", "e", "f", "g"]);
    let refused = refused(0, "telemetry", Code::MessageSizeTooLarge, 2);
    assert_eq!(bench.dead(), [(3, vec![refused])]);
}

#[tokio::test]
async fn a_record_over_the_clients_own_limit_does_not_stop_its_neighbours() {
    let large = "x".repeat(2000);
    let mut bench = Bench::with(&["a", &large, "b"]).await;
    bench.until_empty();
    assert_eq!(bench.kafka.payloads(), ["a", "b"]);
    let refused = refused(0, "telemetry", Code::MessageSizeTooLarge, 0);
    assert_eq!(bench.dead(), [(2, vec![refused])]);
    assert_eq!(
        bench.kafka.cluster().connects,
        1,
        "nothing is wrong with the producer"
    );
}

#[tokio::test]
async fn each_record_of_a_message_fails_alone_twice_before_it_is_refused() {
    let mut bench = Bench::routed(TWO_ROUTES, &["bad"]).await;
    bench
        .kafka
        .cluster()
        .poison
        .push((Bytes::from_static(b"bad"), Code::InvalidRecord));
    bench.until_empty();
    // Together with its neighbour first, then each of them twice.
    assert_eq!(bench.kafka.cluster().connects, 5);
    let expected = vec![
        refused(0, "one", Code::InvalidRecord, 2),
        refused(1, "two", Code::InvalidRecord, 2),
    ];
    assert_eq!(bench.dead(), [(1, expected)]);
}

#[tokio::test]
async fn poison_in_every_place_of_a_batch_leaves_the_others_in_order() {
    let payloads: Vec<String> = (0..30)
        .map(|n| {
            if n % 7 == 3 {
                format!("bad{n}")
            } else {
                n.to_string()
            }
        })
        .collect();
    let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
    let mut bench = Bench::with(&payloads).await;
    let (bad, good): (Vec<&str>, Vec<&str>) = payloads.iter().partition(|payload| payload.starts_with("bad"));
    for payload in &bad {
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        bench.kafka.cluster().poison.push((payload, Code::InvalidRecord));
    }
    bench.until_empty();
    assert_eq!(bench.kafka.payloads(), good);
    assert_eq!(bench.dead().len(), bad.len());
}

const SAME_TOPIC: &str = r#"
    [[route]]
    from = "devices/{device}/telemetry"
    topic = "all-{device}"
    [[route]]
    from = "{kind}/{device}/telemetry"
    topic = "all-{device}"
    key = "{kind}-{device}"
"#;

#[tokio::test]
async fn two_records_of_a_message_for_the_same_topic_are_judged_one_by_one() {
    let mut bench = Bench::routed(SAME_TOPIC, &["a", "b"]).await;
    bench.kafka.cluster().poison_keys.insert("devices-d".to_owned());
    bench.until_empty();
    assert_eq!(bench.kafka.on("all-d"), ["a", "b"], "by the first route");
    let refused = || vec![refused(1, "all-d", Code::InvalidRecord, 2)];
    assert_eq!(bench.dead(), [(1, refused()), (2, refused())]);
}

#[tokio::test]
async fn what_fails_alone_once_only_is_no_poison() {
    let mut bench = Bench::with(&["a", "b", "c"]).await;
    let poison = (Bytes::from_static(b"b"), Code::InvalidRecord);
    bench.kafka.cluster().poison.push(poison);
    // In its batch, and alone.
    bench.until(|bench| bench.drain.monitor.counts().rewinds == 2);
    bench.kafka.cluster().poison.clear();
    bench.until_empty();
    assert_eq!(bench.kafka.payloads(), ["a", "b", "c"]);
    assert_eq!(bench.dead(), []);
}

/// Three messages through librdkafka to a cluster that answers the first batches so. What is kept as dead letters, and how many
/// records the cluster confirmed.
async fn with_librdkafka(answers: &[RDKafkaRespErr]) -> (Vec<(u64, Vec<Refusal>)>, u64) {
    let cluster = MockCluster::new(1).expect("mock");
    cluster.create_topic("telemetry", 1, 1).expect("topic");
    cluster.request_errors(RDKafkaApiKey::Produce, answers);
    let config = crate::sink::Config {
        bootstrap_servers: vec![cluster.bootstrap_servers()],
        ..crate::sink::Config::for_test()
    };
    let connector =
        crate::sink::KafkaConnector::new(&config, "test", Share::default(), None, Arc::new(|| {}));
    let connector = crate::sink::LaneConnector::new(connector);
    let Bench { drain, dir: _dir, .. } = Bench::with(&["a", "b", "c"]).await;
    let mut drain = Drain::new(
        drain.reader,
        drain.router,
        connector,
        drain.dead_letters,
        drain.monitor,
        drain.times,
        (&config).into(),
    );
    let deadline = Instant::now() + Duration::from_mins(1);
    while drain.reader.cursor() < drain.reader.tail() {
        assert!(Instant::now() < deadline, "cursor {}", drain.reader.cursor());
        let wait = drain.step(Instant::now());
        drain.reader.wait(wait.min(Duration::from_millis(20)));
    }
    let letters = drain.dead_letters.list().expect("lists");
    let dead = letters
        .into_iter()
        .map(|letter| (letter.seq.0, letter.reasons))
        .collect();
    (dead, drain.monitor.counts().delivered)
}

#[tokio::test]
async fn a_record_that_kafka_calls_invalid_is_poison_when_it_fails_alone_twice() {
    let invalid = RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD;
    assert_eq!(with_librdkafka(&[invalid; 2]).await, (vec![], 3));
    let refused = vec![refused(0, "telemetry", Code::InvalidRecord, 2)];
    assert_eq!(with_librdkafka(&[invalid; 3]).await, (vec![(1, refused)], 2));
}

#[tokio::test]
async fn a_permission_that_is_granted_later_costs_nothing() {
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    assert_eq!(with_librdkafka(&[denied; 2]).await, (vec![], 3));
}
