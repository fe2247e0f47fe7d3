//! What routes and devices had, and what was sent again.

use super::*;

const TWO_ROUTES: &str = r#"
    [[route]]
    from = "devices/{device}/telemetry"
    topic = "one"
    [[route]]
    from = "{kind}/{device}/telemetry"
    topic = "two"
    key = "{kind}-{device}"
"#;

#[tokio::test]
async fn each_route_and_device_has_what_kafka_confirmed_of_it_and_what_became_a_dead_letter() {
    let mut bench = Bench::routed(TWO_ROUTES, &["a", "b", "c"]).await;
    bench.kafka.cluster().poison_keys.insert("devices-d".to_owned());
    bench.until_empty();
    let tallies = bench.drain.monitor.tallies();
    assert_eq!(
        (tallies.route(0).delivered, tallies.route(0).dead_lettered),
        (3, 0)
    );
    let refusing = tallies.route(1);
    assert_eq!((refusing.delivered, refusing.dead_lettered), (0, 3));
    let (_, why) = refusing.trouble.expect("it is in trouble");
    assert!(why.contains("refused the record"), "{why}");
    let busiest = tallies.busiest(9);
    let [(name, device)] = &busiest[..] else {
        panic!("{busiest:?}");
    };
    assert_eq!((name.as_str(), device.delivered), ("d", 3));
    let troubled = tallies.troubled(9);
    assert_eq!(troubled.len(), 1, "{troubled:?}");
    assert_eq!(troubled[0].0, "devices-d");
    assert_eq!(troubled[0].1.dead_lettered, 3);
}

#[tokio::test]
async fn a_dead_letter_without_a_key_is_its_topics() {
    let mut bench = Bench::routed(
        "[[route]]\nfrom = \"devices/{device}/telemetry\"\ntopic = \"t\"\nmax_payload = \"1 B\"\n",
        &["a", "too long"],
    )
    .await;
    bench.until_empty();
    let tallies = bench.drain.monitor.tallies();
    assert_eq!(
        (tallies.route(0).delivered, tallies.route(0).dead_lettered),
        (1, 1)
    );
    let troubled = tallies.troubled(9);
    assert_eq!(troubled[0].0, "devices/d/telemetry");
}

#[tokio::test]
async fn what_goes_to_the_client_again_is_counted_as_resent() {
    let mut bench = Bench::with(&["a", "b", "c"]).await;
    let poison = (Bytes::from_static(b"b"), Code::InvalidRecord);
    bench.kafka.cluster().poison.push(poison);
    bench.until(|bench| bench.drain.monitor.counts().rewinds == 1);
    bench.kafka.cluster().poison.clear();
    bench.until_empty();
    let submitted = bench.kafka.cluster().submitted as u64;
    assert!(submitted > 3, "they went twice");
    assert_eq!(bench.drain.monitor.counts().resent, submitted - 3);
    assert_eq!(
        bench.drain.monitor.tallies().route(0).delivered,
        3,
        "and count once"
    );
}

#[tokio::test]
async fn a_card_that_takes_no_writes_does_not_fill_the_memory_and_what_went_out_counts() {
    let payloads: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    let texts: Vec<&str> = payloads.iter().map(String::as_str).collect();
    let mut bench = Bench::with(&texts).await;
    bench.until(|bench| bench.kafka.cluster().submitted == 20);
    crate::slots::IS_READ_ONLY.set(true);
    let mut refused = 0;
    for _ in 0..20 / BATCH {
        bench.drain.collect(bench.now);
        refused += usize::from(bench.drain.settle(bench.now).is_err());
        assert!(bench.drain.fates.is_empty(), "{} stay", bench.drain.fates.len());
    }
    crate::slots::IS_READ_ONLY.set(false);
    assert!(refused > 1, "the cursor cannot be noted");
    assert_eq!(bench.drain.monitor.tallies().route(0).delivered, 20);
}
