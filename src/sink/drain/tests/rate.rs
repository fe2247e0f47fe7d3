//! `max_rate` as the drain keeps to it.

use super::*;
use crate::settings::Rate;
use crate::sink::{Allowance, Gate};

#[tokio::test]
async fn a_rate_is_kept_to_and_used() {
    let payloads: Vec<String> = (0..400).map(|number| number.to_string()).collect();
    let texts: Vec<&str> = payloads.iter().map(String::as_str).collect();
    let mut bench = Bench::with(&texts).await;
    let mut gate = Gate::default();
    gate.join(&Arc::new(Allowance::new(Rate::Messages(100))), "default", 1);
    bench.drain.gate = gate;
    let start = bench.now;
    // The scripted cluster reports five records in a step; what is measured is what was handed to it.
    bench.until(|bench| bench.kafka.cluster().submitted == payloads.len());
    let took = (bench.now - start).as_secs_f64();
    // 400 messages at 100 a second; the first ones are the burst.
    assert!((3.0..4.5).contains(&took), "{took} s");
}

#[tokio::test]
async fn a_message_with_several_large_records_does_not_wait_for_itself() {
    const TWO_ROUTES: &str = r#"
        [[route]]
        from = "devices/{device}/telemetry"
        topic = "one"
        [[route]]
        from = "devices/{device}/{kind}"
        topic = "two"
    "#;
    let large = "x".repeat(990);
    let mut bench = Bench::routed(TWO_ROUTES, &[&large, &large]).await;
    bench.drain.pace = Pace::new(500);
    bench.until_empty();
    assert_eq!(bench.kafka.payloads().len(), 4);
}
