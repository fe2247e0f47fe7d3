use super::*;

#[test]
fn what_is_imported_keeps_its_ids_and_importing_twice_adds_nothing() {
    let (here, there) = (
        tempfile::tempdir().expect("temp dir"),
        tempfile::tempdir().expect("temp dir"),
    );
    let first = Gateway::open(here.path(), "gw-a", 0xa).with(1..=2500);
    let file = first.export(Filter::default());
    let ids = first.ids();
    first.close();

    let mut second = Gateway::open(there.path(), "gw-b", 0xb).with(1..=5);
    let own = second.ids();
    let (imported, outcome, notes) = second.import(&file);
    assert_eq!(outcome.expect("imported"), Exit::Stopped);
    assert_eq!((imported.taken, imported.known, imported.unrouted), (2500, 0, 0));
    assert!(
        notes.iter().any(|note| note.contains("gw-a")),
        "the exporter may deliver too: {notes:?}"
    );
    assert_eq!(second.ids(), [own, ids.clone()].concat());
    let (again, outcome, _) = second.import(&file);
    assert_eq!(outcome.expect("imported"), Exit::Stopped);
    assert_eq!((again.taken, again.known), (0, 2500));

    let delivered = second.deliver(2505);
    let router = Router::new(routes(), "gw-b", "default");
    let outcome = router.route(&delivered[5], &Told::as_it_stood(&delivered[5].arrival.stamp));
    let header = |name| {
        let value = outcome.records[0].header(name);
        value.expect("has it").to_owned()
    };
    assert_eq!(
        (header("edgeferry-id"), header("edgeferry-gateway")),
        (ids[0].clone(), "gw-a".to_owned())
    );
    let (after, _, _) = second.import(&file);
    assert_eq!(
        (after.taken, after.known),
        (0, 2500),
        "delivered ones are known too"
    );
    second.close();
    let second = Gateway::open(there.path(), "gw-b", 0xb);
    assert_eq!(second.import(&file).0.known, 2500, "also after a restart");
    assert_eq!(
        second.import_with(&file, true).0.taken,
        2500,
        "unless that is asked for"
    );
    second.close();
}

#[test]
fn a_store_knows_what_it_exported_itself() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut gateway = Gateway::open(dir.path(), "gw", 5).with(1..=100);
    let file = gateway.export(Filter::default());
    gateway.deliver(40);
    let (imported, outcome, notes) = gateway.import(&file);
    assert_eq!(outcome.expect("imported"), Exit::Stopped);
    assert_eq!((imported.taken, imported.known), (0, 100));
    assert_eq!(notes, Vec::<String>::new(), "nobody else would deliver them");
    gateway.close();
}

#[test]
fn an_import_that_a_crash_interrupted_adds_nothing_when_it_is_repeated() {
    let (here, there) = (
        tempfile::tempdir().expect("temp dir"),
        tempfile::tempdir().expect("temp dir"),
    );
    let first = Gateway::open(here.path(), "gw-a", 0xa).with(1..=1500);
    let file = first.export(Filter::default());
    first.close();

    // Killed before anything was noted behind the batch on its way, which is the second of two.
    let second = Gateway::open(there.path(), "gw-b", 0xb);
    let kept = there.path().join("imports.json");
    let cut: String = file.split_inclusive('\n').take(1 + 1000).collect();
    assert_eq!(second.import(&cut).0.taken, 1000);
    let noted = std::fs::read_to_string(&kept).expect("noted");
    assert_eq!(second.import(&file).0.taken, 500);
    second.close();
    let pending = noted.replacen(
        "\"purged\":[]",
        "\"purged\":[],\"pending\":{\"lane\":\"default\",\"behind\":1000,\"messages\":[{\"gateway\":\"gw-a\",\
         \"epoch\":\"000000000000000a\",\"lane\":\"default\",\"ranges\":[[1001,2000]]}]}",
        1,
    );
    assert_ne!(pending, noted);
    std::fs::write(&kept, pending).expect("writes");

    let mut second = Gateway::open(there.path(), "gw-b", 0xb);
    second.deliver(1500);
    let (imported, _, _) = second.import(&file);
    assert_eq!((imported.taken, imported.known), (0, 1500));
    second.close();
}

#[test]
fn a_torn_file_is_taken_up_to_the_tear_and_that_is_said() {
    let (here, there) = (
        tempfile::tempdir().expect("temp dir"),
        tempfile::tempdir().expect("temp dir"),
    );
    let first = Gateway::open(here.path(), "gw-a", 0xa).with(1..=10);
    let file = first.export(Filter::default());
    first.close();
    let second = Gateway::open(there.path(), "gw-b", 0xb);
    let lines: Vec<&str> = file.split_inclusive('\n').collect();
    let torn = [&lines[..4].concat(), lines[4].split_at(20).0].concat();
    let (imported, outcome, notes) = second.import(&torn);
    assert_eq!(outcome.expect("imported"), Exit::Storage);
    assert_eq!(imported.taken, 3);
    assert!(
        notes.iter().any(|note| note.contains("ends in the middle")),
        "{notes:?}"
    );
    assert_eq!(second.import(&file).0.taken, 7, "the whole file brings the rest");
    second.close();
}

#[test]
fn a_lane_that_is_not_here_is_asked_for() {
    let dir = tempfile::tempdir().expect("temp dir");
    let gateway = Gateway::open(dir.path(), "gw-b", 0xb);
    let golden = include_str!("../../../../tests/golden/export-v1.jsonl");
    let file = golden.replace("\"lane\":\"default\"", "\"lane\":\"alarms\"");
    let (imported, outcome, _) = gateway.import(&file);
    let error = outcome.expect_err("no such lane");
    assert_eq!((error.exit(), imported.taken), (Exit::Usage, 0));
    assert!(error.to_string().contains("--into"), "{error}");
    gateway.close();
}

#[test]
fn a_full_queue_ends_an_import_that_can_go_on_later() {
    let (here, there) = (
        tempfile::tempdir().expect("temp dir"),
        tempfile::tempdir().expect("temp dir"),
    );
    let first = Gateway::open(here.path(), "gw-a", 0xa).with(1..=4000);
    let file = first.export(Filter::default());
    first.close();
    let small = queue::Config {
        max_bytes: 1,
        min_free_bytes: 0,
        ..queue::Config::default()
    };
    let second = Gateway::open_with(there.path(), "gw-b", 0xb, &small).with([1]);
    let (imported, outcome, _) = second.import(&file);
    assert!(matches!(outcome, Err(HandError::Full)), "{outcome:?}");
    second.monitor().close();
    second.close();

    let second = Gateway::open(there.path(), "gw-b", 0xb);
    let (rest, outcome, _) = second.import(&file);
    assert_eq!(outcome.expect("imported"), Exit::Stopped);
    assert_eq!(rest.taken + rest.known, 4000);
    assert!(rest.known >= imported.taken);
    assert_eq!(second.ids().len(), 4001, "each of them once");
    second.close();
}

#[test]
fn damaged_notes_keep_imports_from_being_done_and_nothing_else() {
    let dir = tempfile::tempdir().expect("temp dir");
    std::fs::write(dir.path().join("imports.json"), b"\0\0").expect("writes");
    let known = Known::open(dir.path()).expect("opens");
    assert!(matches!(known.clone().save(), Err(KnownError::Damaged { .. })));
    assert!(matches!(
        known.clone().reconcile(&[]),
        Err(KnownError::Damaged { .. })
    ));
}

#[test]
fn an_import_says_what_becomes_of_messages_that_no_route_makes_a_record_of() {
    let (here, there) = (
        tempfile::tempdir().expect("temp dir"),
        tempfile::tempdir().expect("temp dir"),
    );
    let topics = [
        "meters/m1",
        "meters/m2",
        "meters/m3",
        "other/topic",
        "devices/d/telemetry",
    ];
    let arrivals = (1..).zip(topics).map(|(number, topic)| Arrival {
        topic: topic.to_owned(),
        ..arrival(number)
    });
    let first = Gateway::open(here.path(), "gw-a", 0xa).with_arrivals(arrivals);
    let file = first.export(Filter::default());
    first.close();
    let second = Gateway::open(there.path(), "gw-b", 0xb);
    let (imported, outcome, notes) = second.import(&file);
    assert_eq!(outcome.expect("imported"), Exit::Stopped);
    assert_eq!((imported.taken, imported.unrouted, imported.filtered), (5, 1, 2));
    assert!(
        notes.iter().any(|note| note.contains("no route wants 2 of them")),
        "{notes:?}"
    );
    second.close();
}
