//! Topics that are not there.

use super::*;

/// Default of `kafka.unknown_topic_after`.
const PATIENCE: Duration = Duration::from_mins(10);

const BY_DEVICE: &str = "[[route]]\nfrom = \"devices/{device}/telemetry\"\ntopic = \"{device}\"\n";

fn missing(bench: &Bench, topics: &[&str]) {
    let mut cluster = bench.kafka.cluster();
    cluster
        .missing
        .extend(topics.iter().map(|topic| (*topic).to_owned()));
}

/// Topics that were given up, in order.
fn given_up(bench: &Bench) -> Vec<(u64, String)> {
    let name = |reason: &Refusal| match reason {
        Refusal::UnknownTopic { topic, .. } => topic.clone(),
        other => panic!("{other}"),
    };
    let dead = bench.dead().into_iter();
    dead.flat_map(|(seq, reasons)| {
        reasons
            .iter()
            .map(|reason| (seq, name(reason)))
            .collect::<Vec<_>>()
    })
    .collect()
}

#[tokio::test]
async fn a_missing_topic_holds_and_flows_once_it_is_there() {
    let mut bench = Bench::with(&["a", "b"]).await;
    bench.kafka.cluster().missing.insert("telemetry".to_owned());
    bench.until(|bench| !bench.drain.monitor.link().is_ready());
    assert_eq!(bench.kafka.cluster().submitted, 0);
    bench.kafka.cluster().missing.clear();
    bench.until_empty();
    assert_eq!(bench.kafka.payloads(), ["a", "b"]);
}

#[tokio::test]
async fn the_loop_goes_round_between_questions_for_topics() {
    let payloads: Vec<String> = (0..20).map(|n| format!("devices/d{n}/telemetry={n}")).collect();
    let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
    let mut bench = Bench::routed(BY_DEVICE, &payloads).await;
    bench.steps(1);
    assert_eq!(bench.kafka.cluster().questions, 1);
    bench.until_empty();
    assert_eq!(bench.kafka.cluster().stored.len(), 20);
}

#[tokio::test]
async fn a_static_topic_is_waited_for_without_end() {
    let mut bench = Bench::with(&["a"]).await;
    missing(&bench, &["telemetry"]);
    bench.pass(10 * PATIENCE);
    assert!(!bench.drain.monitor.link().is_ready());
    assert_eq!((bench.dead(), bench.kafka.cluster().submitted), (vec![], 0));
}

#[tokio::test]
async fn an_absent_topic_out_of_a_message_is_given_up_in_time_and_not_before() {
    let mut bench = Bench::routed(
        BY_DEVICE,
        &["devices/rogue/telemetry=x", "devices/good/telemetry=y"],
    )
    .await;
    missing(&bench, &["rogue"]);
    let start = bench.now;
    bench.until(|bench| !bench.drain.monitor.link().is_ready());
    let link = bench.drain.monitor.link().to_string();
    assert!(link.contains("\"rogue\"") && link.contains("10m"), "{link}");
    bench.pass((start + PATIENCE - bench.now).saturating_sub(Duration::from_secs(5)));
    assert_eq!(bench.drain.reader.cursor(), Seq::ZERO);
    bench.pass(Duration::from_secs(10));
    bench.until_empty();
    assert_eq!(given_up(&bench), [(1, "rogue".to_owned())]);
    assert_eq!(bench.kafka.payloads(), ["y"]);
    assert_eq!(bench.drain.monitor.link(), Link::Up);
}

#[tokio::test]
async fn an_absent_topic_that_appears_in_time_gets_its_messages() {
    let mut bench = Bench::routed(BY_DEVICE, &["devices/late/telemetry=x"]).await;
    missing(&bench, &["late"]);
    bench.pass(PATIENCE / 2);
    bench.kafka.cluster().missing.clear();
    bench.until_empty();
    assert_eq!(
        (bench.kafka.payloads(), bench.dead()),
        (vec!["x".to_owned()], vec![])
    );
}

#[tokio::test]
async fn many_absent_topics_cost_the_time_of_one() {
    let payloads: Vec<String> = (0..100)
        .map(|n| format!("devices/rogue{n}/telemetry={n}"))
        .collect();
    let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
    let mut bench = Bench::routed(BY_DEVICE, &payloads).await;
    let names: Vec<String> = (0..100).map(|n| format!("rogue{n}")).collect();
    missing(&bench, &names.iter().map(String::as_str).collect::<Vec<_>>());
    bench.pass(PATIENCE + Duration::from_secs(30));
    assert_eq!(given_up(&bench).len(), 100);
}

#[tokio::test]
async fn time_without_answers_does_not_count() {
    let mut bench = Bench::routed(BY_DEVICE, &["devices/rogue/telemetry=x"]).await;
    missing(&bench, &["rogue"]);
    bench.pass(PATIENCE.saturating_sub(Duration::from_mins(1)));
    bench.kafka.cluster().silent = Some(SILENT);
    bench.pass(PATIENCE);
    assert!(matches!(bench.drain.monitor.link(), Link::Down(_)));
    bench.kafka.cluster().silent = None;
    bench.pass(PATIENCE.saturating_sub(Duration::from_mins(1)));
    assert_eq!(bench.dead(), []);
    bench.pass(Duration::from_secs(90));
    assert_eq!(given_up(&bench).len(), 1);
}

#[tokio::test]
async fn a_topic_that_was_there_is_missed_since_it_is_gone() {
    let payloads = ["devices/d/telemetry=1", "devices/d/telemetry=2"];
    let mut bench = Bench::routed(BY_DEVICE, &payloads).await;
    // The second one is looked at only when the first is confirmed.
    bench.drain.alone_until = Some(Seq(1));
    bench.until(|bench| bench.drain.reader.cursor() == Seq(1));
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.kafka.payloads(), ["1", "2"]);
    let long_ago = bench.now;
    bench.now += 2 * PATIENCE;
    missing(&bench, &["d"]);
    bench
        .drain
        .topics
        .missed("d", Code::UnknownTopicOrPartition, bench.now);
    let absent = bench.drain.topics.absent("d").expect("noted");
    let deadline = bench.drain.topics.deadline(absent, long_ago);
    assert_eq!(deadline, Some(bench.now + PATIENCE));
}

#[tokio::test]
async fn a_message_of_this_boot_is_waited_for_since_it_came() {
    let mut bench = Bench::routed(BY_DEVICE, &["devices/rogue/telemetry=x"]).await;
    missing(&bench, &["rogue"]);
    bench.steps(1);
    let ticket = bench.drain.window.oldest().expect("it waits");
    assert_eq!(
        bench.drain.arrived(ticket, bench.now),
        bench.drain.started,
        "of another boot"
    );
    let mut stored = bench.drain.window.get(ticket).expect("it waits").stored.clone();
    stored.seq = Seq(2);
    let stamp = bench.drain.times.clock().now();
    stored.arrival.stamp = Stamp {
        boot_ms: stamp.boot_ms.saturating_sub(7_000),
        ..stamp
    };
    let second = bench.drain.window.push(stored, vec![false], 1, Vec::new());
    let age = bench.now - bench.drain.arrived(second, bench.now);
    assert!(
        age >= Duration::from_secs(7) && age < Duration::from_mins(1),
        "{age:?}"
    );
}

#[tokio::test]
async fn later_messages_for_a_topic_that_was_given_up_do_not_wait_and_flow_once_it_is_made() {
    let count = 30;
    let payloads: Vec<String> = (0..count)
        .map(|n| format!("devices/rogue/telemetry={n}"))
        .collect();
    let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
    let mut bench = Bench::routed(BY_DEVICE, &payloads).await;
    missing(&bench, &["rogue"]);
    // One message at a time, so that some are left when the topic is made.
    bench.drain.alone_until = Some(Seq(1_000));
    bench.until(|bench| bench.drain.reader.cursor() >= Seq(5));
    let (asked, given_up_at) = (bench.kafka.cluster().questions, bench.now);
    bench.until(|bench| bench.drain.reader.cursor() >= Seq(10));
    assert!(
        bench.now - given_up_at < Duration::from_millis(100),
        "they do not wait"
    );
    assert_eq!(bench.kafka.cluster().questions, asked, "nor is asked for each");
    bench.kafka.cluster().missing.clear();
    bench.now += Duration::from_secs(40);
    bench.until_empty();
    assert_eq!(bench.kafka.payloads().last().map(String::as_str), Some("29"));
    assert_eq!(bench.kafka.payloads().len() + bench.dead().len(), count);
    assert!(bench.dead().len() < 15, "{} dead letters", bench.dead().len());
}

/// Behind a failure or a crash the second one would go to the topic as well, behind the third.
#[tokio::test]
async fn nothing_goes_to_a_topic_that_was_made_before_the_letters_of_its_earlier_messages_are_kept() {
    let payloads = [
        "devices/good/telemetry=a",
        "devices/rogue/telemetry=1",
        "devices/good/telemetry=b",
        "devices/rogue/telemetry=2",
        "devices/good/telemetry=c",
        "devices/rogue/telemetry=3",
    ];
    let mut bench = Bench::routed(BY_DEVICE, &payloads).await;
    missing(&bench, &["rogue"]);
    bench.until(|bench| bench.drain.reader.cursor() == Seq(1));
    bench.kafka.cluster().stuck = true;
    bench.kafka.cluster().capacity = 1;
    bench.until(|bench| bench.kafka.cluster().submitted == 2);
    // Late enough to ask once more for a topic that was given up, and not when a standstill is looked into.
    bench.pass(Duration::from_secs(32));
    bench.kafka.cluster().missing.clear();
    bench.kafka.cluster().capacity = 0;
    bench.pass(Duration::from_secs(15));
    assert_eq!(
        bench.kafka.cluster().submitted,
        3,
        "all for the other topic, and no more"
    );
    bench.kafka.cluster().stuck = false;
    bench.until_empty();
    assert_eq!(bench.kafka.payloads(), ["a", "b", "c", "3"]);
    assert_eq!(given_up(&bench).len(), 2);
}

#[tokio::test]
async fn a_healthy_route_is_not_sent_again_while_another_waits_for_its_topic() {
    let routes = r#"
        [[route]]
        from = "devices/{device}/telemetry"
        topic = "healthy"
        [[route]]
        from = "devices/{device}/telemetry"
        topic = "{device}"
    "#;
    let mut bench = Bench::routed(routes, &["a", "b"]).await;
    missing(&bench, &["d"]);
    bench.pass(PATIENCE + Duration::from_secs(30));
    bench.until_empty();
    assert_eq!(bench.kafka.on("healthy"), ["a", "b"]);
    assert_eq!(given_up(&bench).len(), 2);
    assert_eq!(bench.kafka.cluster().submitted, 2);
}

#[tokio::test]
async fn a_topic_that_is_not_shown_to_us_is_waited_for_without_end() {
    let mut bench = Bench::routed(BY_DEVICE, &["a"]).await;
    missing(&bench, &["d"]);
    bench.kafka.cluster().missing_code = Some(Code::TopicAuthorizationFailed);
    bench.pass(3 * PATIENCE);
    assert_eq!(bench.dead(), []);
    assert!(!bench.drain.monitor.link().is_ready());
}

#[tokio::test]
async fn a_name_that_kafka_calls_illegal_is_not_waited_for() {
    let mut bench = Bench::routed(BY_DEVICE, &["a"]).await;
    missing(&bench, &["d"]);
    bench.kafka.cluster().missing_code = Some(Code::InvalidTopic);
    bench.pass(Duration::from_secs(5));
    assert!(
        matches!(bench.dead().as_slice(), [(1, reasons)] if matches!(reasons[..], [Refusal::IllegalTopic { .. }]))
    );
}

#[tokio::test]
async fn a_fleet_with_more_topics_than_are_remembered_is_delivered() {
    let now = Instant::now();
    let rules = (&crate::sink::Config::for_test()).into();
    let mut topics = Topics::new(rules);
    let busy = |ticket: Ticket| ticket == 1;
    topics.found("busy", 3, busy, now);
    topics.sent("busy", 1);
    for n in 0..20_000 {
        topics.found(&format!("t{n}"), 3, busy, now);
    }
    assert_eq!(
        topics.count("busy", || true),
        known::Count::Of(3),
        "it has records under way"
    );
    let known = (0..20_000).filter(|n| topics.count(&format!("t{n}"), || true) != known::Count::Unknown);
    let known = known.count();
    assert!((8_000..9_000).contains(&known), "{known}");
    for n in 0..20_000 {
        topics.missed(&format!("a{n}"), Code::UnknownTopicOrPartition, now);
    }
    let absent = (0..20_000).filter(|n| topics.absent(&format!("a{n}")).is_some());
    assert_eq!(absent.count(), 1_024);
}
