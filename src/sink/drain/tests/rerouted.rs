//! Routes that change while the drain works.

use super::*;

const OTHER: &str = r#"
    [[route]]
    from = "devices/{device}/telemetry"
    topic = "other"
"#;

#[tokio::test]
async fn new_routes_count_when_nothing_is_under_way_and_what_is_goes_out_by_the_old_ones() {
    let mut bench = Bench::with(&["1", "2", "3", "4", "5", "6", "7"]).await;
    bench.kafka.cluster().capacity = 3;
    bench.steps(1);
    let submitted = bench.kafka.cluster().submitted;
    assert!(submitted > 0 && submitted < 7, "{submitted}");
    bench
        .drain
        .monitor
        .reroute(Router::new(parse_routes(OTHER), "gw", "default"));
    bench.until_empty();
    let (old, new) = (bench.kafka.on("telemetry"), bench.kafka.on("other"));
    assert!(!old.is_empty(), "the window went out as it was made");
    assert_eq!(
        [old, new].concat(),
        ["1", "2", "3", "4", "5", "6", "7"],
        "in order, each once"
    );
    assert!(!bench.drain.monitor.has_new_routes());
}

#[tokio::test]
async fn new_routes_count_behind_a_failure_too() {
    let mut bench = Bench::with(&["1", "2", "3"]).await;
    bench.kafka.cluster().denied.insert("telemetry".to_owned());
    bench.steps(3);
    bench
        .drain
        .monitor
        .reroute(Router::new(parse_routes(OTHER), "gw", "default"));
    bench.until_empty();
    assert_eq!(bench.kafka.on("other"), ["1", "2", "3"]);
    assert_eq!(bench.dead(), []);
}

#[tokio::test]
async fn what_routes_delivered_stays_theirs_when_the_numbers_of_routes_shift() {
    const OWN: &str = "[[route]]\nfrom = \"devices/{device}/telemetry\"\ntopic = \"one\"\n[[route]]\n\
                       from = \"{kind}/{device}/telemetry\"\ntopic = \"two\"\n[[lane]]\nname = \"fast\"\n";
    const OF_ANOTHER_LANE: &str =
        "[[route]]\nlane = \"fast\"\nfrom = \"alarms/{device}\"\ntopic = \"alarms\"\n";
    let mut bench = Bench::routed(OWN, &["1", "2", "3", "4", "5", "6", "7"]).await;
    bench.kafka.cluster().capacity = 4;
    bench.steps(1);
    let shifted = parse_routes(&format!("{OF_ANOTHER_LANE}{OWN}"));
    bench.drain.monitor.reroute(Router::new(shifted, "gw", "default"));
    bench.until_empty();
    let tallies = bench.drain.monitor.tallies();
    let delivered: Vec<u64> = (0..3).map(|place| tallies.route(place).delivered).collect();
    assert_eq!(delivered, [7, 7, 0]);
}

#[tokio::test]
async fn routes_that_change_behind_a_failure_bring_nothing_to_kafka_again_that_it_has() {
    let two = format!("{ONE_ROUTE}{}", OTHER.replace("devices/", "{kind}/"));
    let mut bench = Bench::routed(&two, &["a", "b", "c"]).await;
    bench.kafka.cluster().denied.insert("other".to_owned());
    bench.until(|bench| !bench.drain.ahead.is_empty());
    let before = bench.kafka.on("telemetry");
    assert!(!before.is_empty());
    // What another lane gets: these messages have the same records.
    let more = format!(
        "[[lane]]\nname = \"alarms\"\n[[route]]\nfrom = \"other/{{device}}\"\ntopic = \"t\"\nlane = \"alarms\"\n{two}"
    );
    let router = Router::new(parse_routes(&more), "gw", "default");
    bench.drain.monitor.reroute(router);
    bench.kafka.cluster().denied.clear();
    bench.until_empty();
    assert_eq!(bench.kafka.on("telemetry"), ["a", "b", "c"], "each once");
    assert_eq!(bench.kafka.on("other"), ["a", "b", "c"]);
    // And then they count.
    bench.until(|bench| !bench.drain.monitor.has_new_routes());
}

/// A transaction with a record and a letter of one message is taken back, and a route is written above. The record is by the number of
/// the route that refused it then.
#[tokio::test]
async fn no_record_is_left_out_when_routes_change_their_numbers_behind_a_transaction_that_is_taken_back() {
    let route = "[[route]]\nfrom = \"devices/{device}/{kind}\"\n";
    let two = format!("{route}topic = \"telemetry\"\n{route}topic = \"copy\"\nkey = \"{{kind}}\"\n");
    let above = "[[lane]]\nname = \"fast\"\n[[route]]\nlane = \"fast\"\nfrom = \"alarms/{device}\"\ntopic = \"alarms\"\n";
    let messages = ["devices/d/x=a", "devices/d/=b", "devices/d/x=c"];
    let mut bench = Bench::routed(&two, &messages).await;
    bench.drain.transactions = Some(Transactions::default());
    // Nothing commits, however often it is tried.
    bench.kafka.cluster().ledger.refuses_commits();
    bench.until(|bench| bench.dead().len() == 1);
    bench.until(|bench| bench.kafka.cluster().connects > 1);
    let shifted = parse_routes(&format!("{above}{two}"));
    bench.drain.monitor.reroute(Router::new(shifted, "gw", "default"));
    bench.until(|bench| !bench.drain.monitor.has_new_routes());
    bench.kafka.cluster().ledger.takes_commits();
    bench.until_empty();
    assert_eq!(bench.kafka.on("telemetry"), ["a", "b", "c"], "each once");
    assert_eq!(bench.kafka.on("copy"), ["a", "c"]);
    assert_eq!(bench.dead().len(), 1, "kept once");
}
