use super::*;

fn purge(gateway: &Gateway, filter: Filter, yes: bool) -> Purged {
    match gateway.ask(&Verb::Purge { filter, yes }).as_slice() {
        [Answer::Purged(purged)] => purged.clone(),
        other => panic!("{other:?}"),
    }
}

fn device(name: &str) -> Filter {
    Filter {
        device: Some(name.to_owned()),
        ..Filter::default()
    }
}

#[test]
fn without_yes_a_purge_only_says_what_it_would_remove() {
    let dir = tempfile::tempdir().expect("temp dir");
    let gateway = Gateway::open(dir.path(), "gw", 5).with(1..=10);
    let purged = purge(&gateway, Filter::default(), false);
    assert_eq!((purged.messages, purged.done), (10, false));
    let devices = [("d1".to_owned(), 4), ("d0".to_owned(), 3), ("d2".to_owned(), 3)];
    assert_eq!(purged.devices, devices);
    assert_eq!(lane_state(&gateway).queued, 10);
    gateway.close();
}

#[test]
fn a_device_is_removed_and_counted_and_the_rest_stays_in_order() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut gateway = Gateway::open(dir.path(), "gw", 5).with(1..=3000);
    let purged = purge(&gateway, device("d1"), true);
    assert_eq!((purged.messages, purged.done, purged.under_way), (1000, true, 0));
    assert_eq!(purged.devices, [("d1".to_owned(), 1000)]);
    let lane = lane_state(&gateway);
    assert_eq!((lane.received, lane.queued), (3000, 2000));
    assert_eq!(lane.removed, BTreeMap::from([("purged".to_owned(), 1000)]));
    let left: Vec<u64> = (1..=3000).filter(|number| number % 3 != 1).collect();
    assert_eq!(seqs(&gateway.peek(Filter::default())), left);
    let delivered: Vec<u64> = gateway.deliver(2000).iter().map(|stored| stored.seq.0).collect();
    assert_eq!(delivered, left);
    gateway.close();
}

#[test]
fn what_was_purged_can_be_imported_again_and_the_rest_is_known() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut gateway = Gateway::open(dir.path(), "gw", 5).with(1..=30);
    let file = gateway.export(Filter::default());
    let ids = gateway.ids();
    purge(&gateway, device("d1"), true);
    gateway.deliver(20);
    let (imported, outcome, _) = gateway.import(&file);
    assert_eq!(outcome.expect("imported"), Exit::Stopped);
    assert_eq!((imported.taken, imported.known), (10, 20));
    let purged: Vec<String> = ids
        .into_iter()
        .enumerate()
        .filter(|(index, _)| index % 3 == 0)
        .map(|(_, id)| id)
        .collect();
    assert_eq!(gateway.ids(), purged, "with the ids that they had");
    assert_eq!(gateway.import(&file).0.taken, 0, "once");
    // What was imported can be purged and brought back as well.
    purge(&gateway, device("d1"), true);
    assert_eq!(gateway.ids(), Vec::<String>::new());
    assert_eq!(gateway.import(&file).0.taken, 10);
    gateway.close();
}

#[test]
fn what_is_under_way_to_kafka_is_not_removed() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut gateway = Gateway::open(dir.path(), "gw", 5).with(1..=10);
    let taken = gateway.reader.read_next().expect("reads").expect("there is one");
    let purged = purge(&gateway, Filter::default(), true);
    assert!(purged.under_way >= 1, "{purged:?}");
    assert_eq!(purged.messages + purged.under_way, 10);
    assert_eq!(
        gateway.ids().first(),
        Some(&format!("{}-default-{}", Epoch(5), taken.seq))
    );
    gateway.close();
}
