use super::*;

fn found(gateway: &Gateway, change: impl FnOnce(&mut Filter)) -> Vec<u64> {
    let mut filter = Filter::default();
    change(&mut filter);
    seqs(&gateway.peek(filter))
}

fn bound(seq: u64, epoch: Option<u64>) -> Bound {
    Bound {
        seq: Seq(seq),
        epoch: epoch.map(Epoch),
    }
}

#[test]
fn each_filter_picks_what_it_says_and_all_must_hold() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut gateway = Gateway::open(dir.path(), "gw", 5).with(1..=12);
    gateway.deliver(2);
    let all: Vec<u64> = (3..=12).collect();
    assert_eq!(found(&gateway, |_| {}), all);
    let device = |filter: &mut Filter| filter.device = Some("d1".to_owned());
    assert_eq!(found(&gateway, device), [4, 7, 10]);
    let topic = |topic: &'static str| move |filter: &mut Filter| filter.topic = Some(topic.to_owned());
    assert_eq!(found(&gateway, topic("devices/d2/telemetry")), [5, 8, 11]);
    assert_eq!(found(&gateway, topic("devices/+/telemetry")), all);
    assert_eq!(found(&gateway, topic("#")), all);
    assert_eq!(found(&gateway, topic("other/#")), Vec::<u64>::new());
    assert_eq!(
        found(&gateway, |filter| filter.from = Some(bound(11, None))),
        [11, 12]
    );
    assert_eq!(found(&gateway, |filter| filter.to = Some(bound(4, None))), [3, 4]);
    assert_eq!(
        found(&gateway, |filter| filter.from = Some(bound(11, Some(5)))),
        [11, 12]
    );
    assert_eq!(
        found(&gateway, |filter| filter.from = Some(bound(11, Some(6)))),
        Vec::<u64>::new()
    );
    assert_eq!(found(&gateway, |filter| filter.since_ms = Some(11_000)), [11, 12]);
    assert_eq!(found(&gateway, |filter| filter.until_ms = Some(5_000)), [3, 4]);
    let some = |filter: &mut Filter| {
        device(filter);
        filter.from = Some(bound(5, None));
        filter.until_ms = Some(10_000);
    };
    assert_eq!(found(&gateway, some), [7]);
    gateway.close();
}

#[test]
fn a_topic_that_is_no_filter_is_refused_with_what_would_be_right() {
    let dir = tempfile::tempdir().expect("temp dir");
    let gateway = Gateway::open(dir.path(), "gw", 5);
    let filter = Filter {
        topic: Some("devices/#/telemetry".to_owned()),
        ..Filter::default()
    };
    let (_, outcome) = gateway.ask_with(&Verb::Export { filter, limit: None }, b"");
    let error = outcome.expect_err("no filter");
    assert_eq!(error.exit(), Exit::Usage);
    assert!(error.to_string().contains("devices/+/telemetry"), "{error}");
    gateway.close();
}

#[test]
fn a_limit_ends_the_list_and_says_that_there_are_more() {
    let dir = tempfile::tempdir().expect("temp dir");
    let gateway = Gateway::open(dir.path(), "gw", 5).with(1..=5);
    let peek = |limit| {
        let verb = Verb::Peek {
            filter: Filter::default(),
            limit,
            payload: true,
        };
        let answers = gateway.ask(&verb);
        (answers.len(), notes(&answers).len())
    };
    assert_eq!(peek(4), (5, 1));
    assert_eq!(peek(5), (5, 0));
    gateway.close();
}
