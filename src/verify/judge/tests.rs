//! Each rule by an example, and all of them against an oracle that keeps every record.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::verify::explain::Hole;
use crate::verify::window::Place;

const EPOCH: Epoch = Epoch(0xab);

fn topic(name: &str, partitions: usize) -> Topic {
    Topic {
        name: name.to_owned(),
        role: Role::Records,
        senders: 1,
        is_compacted: Some(false),
        begins: vec![Begin::default(); partitions],
    }
}

fn name(seq: u64) -> Name {
    Name {
        epoch: EPOCH,
        lane: Lane::Named("default".to_owned()),
        seq: Seq(seq),
    }
}

/// A record of the first topic and partition, whose time is its sequence.
fn record(seq: u64) -> Sighting<'static> {
    Sighting {
        topic: 0,
        partition: 0,
        offset: 0,
        time_ms: i64::try_from(seq).ok(),
        key: b"d1",
        name: Some(name(seq)),
        gateway: Some("gw-7"),
        fingerprint: seq,
    }
}

fn judge_of(window: Window, topics: Vec<Topic>, records: &[Sighting<'_>]) -> Judge {
    let mut judge = Judge::new(window, topics, vec!["default".to_owned()]);
    for record in records {
        judge.take(record).expect("little");
    }
    judge
}

fn judge(records: &[Sighting<'_>]) -> Judge {
    judge_of(Window::default(), vec![topic("t", 1)], records)
}

fn seqs(seqs: impl IntoIterator<Item = u64>) -> Vec<Sighting<'static>> {
    seqs.into_iter().map(record).collect()
}

fn store(cursor: u64) -> StoreAccount {
    StoreAccount {
        gateway: "gw-7".to_owned(),
        epoch: Some(EPOCH),
        lanes: vec![LaneAccount {
            lane: "default".to_owned(),
            cursor: Seq(cursor),
            ..LaneAccount::default()
        }],
        imported: 0,
    }
}

const AT_LEAST_ONCE: Settings = Settings {
    is_exactly_once: false,
};
const EXACTLY_ONCE: Settings = Settings {
    is_exactly_once: true,
};

fn only(report: &Report) -> &LaneReport {
    assert_eq!(report.lanes.len(), 1, "{report:?}");
    &report.lanes[0]
}

fn stretches(report: &LaneReport) -> Vec<(u64, u64)> {
    report
        .stretches
        .iter()
        .map(|stretch| (stretch.first.0, stretch.last.0))
        .collect()
}

#[test]
fn everything_up_to_the_cursor_is_asked_for_and_nothing_behind_it() {
    let report = judge(&seqs(1..=12)).finish(Some(&store(10)), AT_LEAST_ONCE);
    assert_eq!(report.verdict, Verdict::Well);
    assert_eq!(only(&report).present, 10);
    let report = judge(&seqs(1..=8)).finish(Some(&store(10)), AT_LEAST_ONCE);
    assert_eq!(report.verdict, Verdict::Wrong);
    assert_eq!(
        (only(&report).missing, stretches(only(&report))),
        (2, vec![(9, 10)])
    );
    assert_eq!(only(&report).findings, [Finding::Missing]);
}

#[test]
fn a_store_whose_topics_are_empty_has_lost_everything() {
    let report = judge(&[]).finish(Some(&store(3)), AT_LEAST_ONCE);
    assert_eq!(only(&report).missing, 3);
    assert_eq!(report.verdict, Verdict::Wrong);
}

#[test]
fn letters_and_holes_explain_by_sequence() {
    let mut account = store(10);
    account.lanes[0].letters.insert(Seq(3));
    account.lanes[0].holes.push(Hole {
        first: Seq(5),
        last: Seq(6),
        reason: "expired".to_owned(),
    });
    account.lanes[0].absent = 2;
    let known = |why: &str, count| Known {
        why: why.to_owned(),
        count,
        is_by_sequence: true,
    };
    let report = judge(&seqs([1, 2, 4, 7, 8, 9, 10])).finish(Some(&account), AT_LEAST_ONCE);
    assert_eq!(
        only(&report).known,
        [known("dead_letter", 1), known("expired", 2)]
    );
    assert_eq!(report.verdict, Verdict::Well);
    // The hole explains its own sequences and no others.
    let report = judge(&seqs([1, 2, 4, 7, 8, 10])).finish(Some(&account), AT_LEAST_ONCE);
    assert_eq!(
        (only(&report).missing, stretches(only(&report))),
        (1, vec![(9, 9)])
    );
}

#[test]
fn what_is_counted_explains_as_many_and_not_one_more() {
    let mut account = store(10);
    account.lanes[0].absent = 2;
    let report =
        judge(&seqs((1..=10).filter(|seq| ![3, 7].contains(seq)))).finish(Some(&account), AT_LEAST_ONCE);
    assert_eq!(only(&report).missing, 0);
    assert!(!only(&report).known[0].is_by_sequence);
    assert_eq!(report.verdict, Verdict::Well, "all that there ever was adds up");
    let report =
        judge(&seqs((1..=10).filter(|seq| ![3, 7, 8].contains(seq)))).finish(Some(&account), AT_LEAST_ONCE);
    assert_eq!((only(&report).missing, report.verdict), (1, Verdict::Wrong));
    let window = Window {
        from: Some(Place {
            seq: Seq(2),
            log: None,
        }),
        ..Window::default()
    };
    let part = judge_of(
        window,
        vec![topic("t", 1)],
        &seqs((1..=10).filter(|seq| *seq != 3)),
    );
    let report = part.finish(Some(&account), AT_LEAST_ONCE);
    assert_eq!(
        report.verdict,
        Verdict::Uncertain,
        "those that were counted may be others"
    );
}

#[test]
fn letters_that_are_gone_and_imports_excuse_absence_and_lateness_by_number() {
    let mut account = store(10);
    account.lanes[0].letters_gone = 1;
    account.imported = 1;
    let report = judge(&seqs([1, 2, 4, 5, 3, 6, 7, 8])).finish(Some(&account), AT_LEAST_ONCE);
    assert_eq!((only(&report).missing, only(&report).misplaced), (0, 1));
    assert!(only(&report).findings.is_empty());
    let report = judge(&seqs([1, 2, 4, 5, 3, 6, 7])).finish(Some(&account), AT_LEAST_ONCE);
    assert_eq!(only(&report).missing, 1);
}

#[test]
fn letters_in_their_topic_are_letters() {
    let letters = Topic {
        role: Role::Letters,
        ..topic("letters", 1)
    };
    let letter = Sighting {
        topic: 1,
        ..record(3)
    };
    let records = [record(1), record(2), record(4), letter];
    let report = judge_of(Window::default(), vec![topic("t", 1), letters], &records)
        .finish(Some(&store(4)), AT_LEAST_ONCE);
    assert_eq!(only(&report).known[0].why, "dead_letter");
    assert_eq!(report.verdict, Verdict::Well);
}

#[test]
fn one_message_in_two_topics_is_no_duplicate_and_twice_in_one_is() {
    let records = [
        record(1),
        Sighting {
            topic: 1,
            ..record(1)
        },
    ];
    let topics = || vec![topic("a", 1), topic("b", 1)];
    let report = judge_of(Window::default(), topics(), &records).finish(Some(&store(1)), EXACTLY_ONCE);
    assert_eq!(report.verdict, Verdict::Well);
    let twice = [
        record(1),
        record(2),
        record(1),
        Sighting {
            fingerprint: 9,
            ..record(2)
        },
    ];
    let report = judge_of(Window::default(), topics(), &twice).finish(Some(&store(2)), AT_LEAST_ONCE);
    assert_eq!(
        (only(&report).duplicates.same, only(&report).duplicates.altered),
        (1, 1)
    );
    assert_eq!(report.verdict, Verdict::Well, "allowed, and known as such");
    let report = judge_of(Window::default(), topics(), &twice).finish(Some(&store(2)), EXACTLY_ONCE);
    assert_eq!(only(&report).findings, [Finding::Duplicated]);
}

#[test]
fn records_of_several_routes_in_one_topic_are_not_called_duplicates() {
    let shared = Topic {
        senders: 2,
        ..topic("t", 1)
    };
    let records = [
        record(1),
        Sighting {
            fingerprint: 9,
            key: b"other",
            ..record(1)
        },
    ];
    let report = judge_of(Window::default(), vec![shared], &records).finish(Some(&store(1)), EXACTLY_ONCE);
    assert_eq!(only(&report).duplicates.several_routes, 1);
    assert_eq!(report.verdict, Verdict::Well);
}

#[test]
fn order_is_that_of_a_key_and_of_first_copies() {
    let of = |key: &'static [u8], seq| Sighting { key, ..record(seq) };
    // A repeated stretch, and two devices that overtake each other.
    let fine = [
        of(b"a", 1),
        of(b"b", 3),
        of(b"a", 2),
        of(b"b", 3),
        of(b"a", 1),
        of(b"a", 2),
        of(b"a", 4),
    ];
    let report = judge(&fine).finish(Some(&store(4)), AT_LEAST_ONCE);
    assert_eq!((only(&report).misplaced, report.verdict), (0, Verdict::Well));
    let swapped = [of(b"a", 2), of(b"a", 1), of(b"b", 3), of(b"b", 4)];
    let report = judge(&swapped).finish(Some(&store(4)), AT_LEAST_ONCE);
    let found = &only(&report).misplaced_examples[0];
    assert_eq!(
        (found.seq, found.behind, found.key.as_str()),
        (Seq(1), Seq(2), "a")
    );
    assert_eq!(only(&report).findings, [Finding::OutOfOrder]);
}

#[test]
fn a_repetition_of_what_lies_before_the_beginning_is_not_out_of_order() {
    let begun_late = Topic {
        begins: vec![Begin {
            is_late: true,
            is_trimmed: true,
        }],
        ..topic("t", 1)
    };
    let records = seqs([50, 51, 45, 46, 47, 48, 49, 50, 51, 52]);
    let report =
        judge_of(Window::default(), vec![begun_late], &records).finish(Some(&store(52)), AT_LEAST_ONCE);
    let lane = only(&report);
    assert_eq!((lane.misplaced, lane.missing, lane.unknown), (0, 0, 44));
    assert_eq!(report.verdict, Verdict::Uncertain);
}

#[test]
fn what_retention_may_have_taken_is_unknown_and_what_came_later_is_missing() {
    let trimmed = Topic {
        begins: vec![
            Begin::default(),
            Begin {
                is_late: true,
                is_trimmed: true,
            },
        ],
        ..topic("t", 2)
    };
    let at = |partition, seq| Sighting {
        partition,
        ..record(seq)
    };
    // Partition 1 begins at 10.
    let records = [
        at(0, 1),
        at(0, 3),
        at(0, 5),
        at(0, 9),
        at(0, 12),
        at(1, 10),
        at(1, 13),
    ];
    let report = judge_of(Window::default(), vec![trimmed], &records).finish(Some(&store(13)), AT_LEAST_ONCE);
    let lane = only(&report);
    assert_eq!((lane.unknown, stretches(lane)), (5, vec![(11, 11)]));
}

#[test]
fn a_compacted_topic_says_nothing_of_what_is_absent() {
    let compacted = Topic {
        is_compacted: Some(true),
        ..topic("t", 1)
    };
    let report =
        judge_of(Window::default(), vec![compacted], &seqs([2, 5])).finish(Some(&store(5)), AT_LEAST_ONCE);
    assert_eq!(
        (only(&report).missing, only(&report).unknown, report.verdict),
        (0, 3, Verdict::Uncertain)
    );
}

#[test]
fn a_window_of_time_begins_and_ends_at_its_own_records() {
    let window = Window {
        since_ms: Some(5),
        until_ms: Some(10),
        ..Window::default()
    };
    let records = seqs([2, 4, 5, 7, 9, 10, 12]);
    let report =
        judge_of(window.clone(), vec![topic("t", 1)], &records).finish(Some(&store(20)), AT_LEAST_ONCE);
    let lane = only(&report);
    assert_eq!((lane.first, lane.last), (Some(Seq(5)), Some(Seq(9))));
    assert_eq!(stretches(lane), [(6, 6), (8, 8)]);
    let report =
        judge_of(window, vec![topic("t", 1)], &seqs([1, 20])).finish(Some(&store(20)), AT_LEAST_ONCE);
    assert_eq!((only(&report).first, only(&report).missing), (None, 0));
}

#[test]
fn an_id_names_one_log_and_the_others_are_left_out() {
    let window = Window {
        from: Some(Place {
            seq: Seq(2),
            log: Some((EPOCH, "alarms".to_owned())),
        }),
        ..Window::default()
    };
    let report = judge_of(window, vec![topic("t", 1)], &seqs([1, 5])).finish(Some(&store(5)), AT_LEAST_ONCE);
    assert!(report.lanes.is_empty());
}

#[test]
fn without_a_store_each_log_is_judged_between_its_ends_and_a_gap_is_a_gap() {
    let other = |seq| Sighting {
        name: Some(Name {
            epoch: Epoch(7),
            ..name(seq)
        }),
        gateway: Some("gw-8"),
        ..record(seq)
    };
    let records = [record(5), other(1), record(6), other(3), record(7)];
    let report = judge(&records).finish(None, AT_LEAST_ONCE);
    let of = |gateway: &str| {
        report
            .lanes
            .iter()
            .find(|lane| lane.gateway.as_deref() == Some(gateway))
            .expect("there")
    };
    assert_eq!((of("gw-7").first, of("gw-7").missing), (Some(Seq(5)), 0));
    assert_eq!(of("gw-8").findings, [Finding::Gap]);
    // Beside a store, other gateways are none of its business.
    let report = judge(&records).finish(Some(&store(0)), AT_LEAST_ONCE);
    assert_eq!((report.others, report.verdict), (2, Verdict::Well));
}

#[test]
fn a_store_that_moved_to_other_hardware_goes_on_where_its_former_epoch_ended() {
    let before = |seq| Sighting {
        name: Some(Name {
            epoch: Epoch(7),
            ..name(seq)
        }),
        ..record(seq)
    };
    let records = [before(1), before(2), before(3), record(4), record(6)];
    let report = judge(&records).finish(Some(&store(6)), AT_LEAST_ONCE);
    let lane = only(&report);
    assert_eq!((lane.unknown, stretches(lane)), (3, vec![(5, 5)]));
    // Of another gateway nothing follows.
    let records = [
        Sighting {
            gateway: Some("gw-8"),
            ..before(3)
        },
        record(4),
    ];
    let report = judge(&records).finish(Some(&store(4)), AT_LEAST_ONCE);
    assert_eq!(only(&report).missing, 3);
}

#[test]
fn a_mark_is_a_lane_that_is_known() {
    let marked = Sighting {
        name: Some(Name {
            lane: Lane::Marked(Lane::Named("default".to_owned()).mark()),
            ..name(1)
        }),
        ..record(1)
    };
    let report = judge(&[marked, record(2)]).finish(Some(&store(2)), AT_LEAST_ONCE);
    assert_eq!((only(&report).present, report.verdict), (2, Verdict::Well));
}

#[test]
fn records_without_an_id_are_counted() {
    let foreign = Sighting {
        name: None,
        ..record(1)
    };
    let report = judge(&[foreign, record(1)]).finish(Some(&store(1)), AT_LEAST_ONCE);
    assert_eq!(
        (report.unnamed, report.records, report.verdict),
        (1, 2, Verdict::Well)
    );
}

/// What the report should say, by keeping everything.
struct Oracle {
    missing: BTreeSet<u64>,
    repeated: u64,
    misplaced: u64,
}

fn oracle(records: &[(usize, i32, u8, u64)], cursor: u64, letters: &BTreeSet<u64>) -> Oracle {
    let mut first_copies: BTreeMap<usize, BTreeSet<u64>> = BTreeMap::new();
    let mut orders: BTreeMap<(usize, i32, u8), Vec<u64>> = BTreeMap::new();
    let mut repeated = 0;
    for (topic, partition, key, seq) in records {
        if first_copies.entry(*topic).or_default().insert(*seq) {
            orders.entry((*topic, *partition, *key)).or_default().push(*seq);
        } else {
            repeated += 1;
        }
    }
    let everywhere: BTreeSet<u64> = first_copies.values().flatten().copied().collect();
    let behind_a_later = |order: &Vec<u64>| {
        let late = (0..order.len()).filter(|at| order[..*at].iter().any(|before| *before > order[*at]));
        late.count() as u64
    };
    Oracle {
        missing: (1..=cursor)
            .filter(|seq| !everywhere.contains(seq) && !letters.contains(seq))
            .collect(),
        repeated,
        misplaced: orders.values().map(behind_a_later).sum(),
    }
}

proptest! {
    #[test]
    fn the_judge_finds_what_an_oracle_finds_that_keeps_every_record(
        records in proptest::collection::vec((0_usize..2, 0_i32..2, 0_u8..3, 1_u64..40), 0..120),
        cursor in 0_u64..40,
        letters in proptest::collection::btree_set(1_u64..40, 0..5),
        counted in 0_u64..6,
    ) {
        let expected = oracle(&records, cursor, &letters);
        let keys: [&[u8]; 3] = [b"a", b"b", b"c"];
        let sightings: Vec<Sighting<'_>> = records.iter().map(|(topic, partition, key, seq)| Sighting {
            topic: *topic, partition: *partition, key: keys[usize::from(*key)], ..record(*seq)
        }).collect();
        let mut account = store(cursor);
        account.lanes[0].absent = counted;
        for seq in &letters {
            account.lanes[0].letters.insert(Seq(*seq));
        }
        let report = judge_of(Window::default(), vec![topic("a", 2), topic("b", 2)], &sightings)
            .finish(Some(&account), AT_LEAST_ONCE);
        let lane = only(&report);
        let found: BTreeSet<u64> = lane.stretches.iter().flat_map(|stretch| stretch.first.0..=stretch.last.0).collect();
        prop_assert_eq!(lane.missing, (expected.missing.len() as u64).saturating_sub(counted));
        prop_assert_eq!(found, expected.missing);
        prop_assert_eq!(lane.duplicates.repeated(), expected.repeated);
        prop_assert_eq!(lane.misplaced, expected.misplaced);
    }
}
