use std::collections::VecDeque;

use bytes::Bytes;

use super::*;

/// Longer than any test takes.
const LONG: Duration = Duration::from_hours(1);

fn limits(linger: Duration) -> Limits {
    Limits {
        holds: true,
        linger,
        batch_bytes: 100_000,
        batch_records: 1_000,
        record_bytes: 50_000,
        records: 100,
        bytes: 1_000_000,
    }
}

fn record(partition: i32) -> Arc<KafkaRecord> {
    Arc::new(KafkaRecord {
        route: 0,
        is_templated: false,
        topic: "t".to_owned(),
        key: partition.to_string(),
        partition_by: None,
        payload: Bytes::from_static(b"payload"),
        headers: Vec::new(),
        timestamp_ms: 1,
    })
}

/// What a client would do, by a script.
#[derive(Debug, Default)]
struct Scripted {
    got: Vec<(Option<i32>, Ticket)>,
    reports: Vec<Report>,
    refusals: VecDeque<SubmitError>,
    /// Records that it takes until it is full.
    room: Option<usize>,
}

impl Producer for Scripted {
    fn submit(
        &mut self,
        _: &Arc<KafkaRecord>,
        partition: Option<i32>,
        ticket: Ticket,
    ) -> Result<(), SubmitError> {
        if let Some(refusal) = self.refusals.pop_front() {
            return Err(refusal);
        }
        if self.room == Some(0) {
            return Err(SubmitError::Full);
        }
        self.room = self.room.map(|room| room - 1);
        self.got.push((partition, ticket));
        Ok(())
    }

    fn reports(&mut self) -> Vec<Report> {
        std::mem::take(&mut self.reports)
    }

    fn trouble(&mut self) -> Option<Code> {
        None
    }

    fn take_over(&mut self, _: Duration) -> Result<Committed, TransactionError> {
        Ok(Committed::default())
    }

    fn begin(&mut self) -> Result<(), TransactionError> {
        Ok(())
    }

    fn commit(&mut self, _: Seq, _: Duration) -> Result<(), TransactionError> {
        Ok(())
    }

    fn abort(&mut self, _: Duration) {}

    fn topic_state(&mut self, _: &str, _: Duration) -> TopicState {
        TopicState::Present { partitions: 2 }
    }
}

struct Bench(Batched<Scripted>);

impl Bench {
    fn new(limits: Limits) -> Self {
        Self(Batched::new(Scripted::default(), limits))
    }

    fn submit(&mut self, partition: i32, tickets: impl IntoIterator<Item = Ticket>) {
        for ticket in tickets {
            assert_eq!(self.0.submit(&record(partition), Some(partition), ticket), Ok(()));
        }
    }

    /// What came to the client since the last call.
    fn got(&mut self) -> Vec<Ticket> {
        let got = std::mem::take(&mut self.0.producer.got);
        got.into_iter().map(|(_, ticket)| ticket).collect()
    }

    fn answer(
        &mut self,
        tickets: impl IntoIterator<Item = Ticket>,
        outcome: Result<(), Code>,
    ) -> Vec<Report> {
        let reports = tickets.into_iter().map(|ticket| Report {
            ticket,
            topic: "t".to_owned(),
            outcome,
        });
        self.0.producer.reports.extend(reports);
        self.0.reports()
    }
}

fn codes(reports: &[Report]) -> Vec<(Ticket, Option<Code>)> {
    reports
        .iter()
        .map(|report| (report.ticket, report.outcome.err()))
        .collect()
}

#[test]
fn a_partition_gets_no_more_while_five_of_it_are_unanswered_and_then_all_that_waits() {
    let mut bench = Bench::new(limits(Duration::ZERO));
    bench.submit(0, 0..20);
    bench.submit(1, 20..23);
    assert_eq!(bench.got(), [0, 1, 2, 3, 4, 20, 21, 22], "the other one is free");
    assert_eq!(bench.0.due(), None, "an answer is waited for, not a time");
    assert_eq!(bench.answer([], Ok(())).len(), 0);
    assert_eq!(bench.got(), [0; 0]);
    bench.answer([0], Ok(()));
    assert_eq!(bench.got(), (5..20).collect::<Vec<_>>());
    bench.submit(0, [23]);
    bench.answer(1..15, Ok(()));
    assert_eq!(bench.got(), [0; 0]);
    bench.answer([15], Ok(()));
    assert_eq!(bench.got(), [23], "four are unanswered");
}

#[test]
fn a_record_waits_for_company_once_and_a_whole_batch_waits_for_nothing() {
    let mut bench = Bench::new(limits(LONG));
    bench.submit(0, 0..3);
    bench.0.reports();
    assert_eq!(bench.got(), [0; 0]);
    let due = bench.0.due().expect("a time");
    assert!(due > clock::instant() + LONG / 2);
    bench.0.hand_over(due);
    assert_eq!(bench.got(), [0, 1, 2]);

    let mut bench = Bench::new(Limits {
        batch_records: 10,
        ..limits(LONG)
    });
    bench.submit(0, 0..9);
    bench.0.reports();
    assert_eq!(bench.got(), [0; 0]);
    bench.submit(0, [9, 10]);
    bench.0.reports();
    assert_eq!(
        bench.got(),
        (0..10).collect::<Vec<_>>(),
        "and the eleventh waits for the next"
    );

    let size = size::of(&record(0)) - 24;
    let mut bench = Bench::new(Limits {
        batch_bytes: 3 * size,
        ..limits(LONG)
    });
    bench.submit(0, 0..4);
    bench.0.reports();
    assert_eq!(bench.got(), [0, 1, 2]);
}

#[test]
fn nothing_follows_what_failed_and_the_caller_hears_of_all() {
    let mut bench = Bench::new(limits(Duration::ZERO));
    bench.submit(0, 0..8);
    bench.submit(1, 8..15);
    bench.got();
    let reports = bench.answer([0], Err(Code::InvalidRecord));
    let behind = [5, 6, 7, 13, 14].map(|ticket| (ticket, Some(Code::PurgeQueue)));
    assert_eq!(
        codes(&reports)[0],
        (0, Some(Code::InvalidRecord)),
        "the cause comes first"
    );
    assert_eq!(codes(&reports)[1..], behind);
    assert_eq!(bench.0.submit(&record(0), Some(0), 15), Err(SubmitError::Full));
    bench.answer([1, 2, 3, 4, 8, 9], Ok(()));
    assert_eq!(bench.got(), [0; 0]);
}

#[test]
fn what_the_client_refuses_when_its_turn_comes_is_reported_and_nothing_follows_it() {
    let mut bench = Bench::new(limits(Duration::ZERO));
    bench.submit(0, 0..8);
    bench.got();
    bench
        .0
        .producer
        .refusals
        .push_back(SubmitError::Refused(Code::UnknownPartition));
    let reports = bench.answer(0..5, Ok(()));
    let refused = [
        (5, Some(Code::UnknownPartition)),
        (6, Some(Code::PurgeQueue)),
        (7, Some(Code::PurgeQueue)),
    ];
    assert_eq!(codes(&reports)[5..], refused);
    assert_eq!(bench.got(), [0; 0]);
}

#[test]
fn a_client_without_room_gets_the_same_records_again_in_their_order() {
    let mut bench = Bench::new(limits(Duration::ZERO));
    bench.submit(0, 0..9);
    bench.got();
    bench.0.producer.refusals.push_back(SubmitError::Full);
    bench.answer(0..5, Ok(()));
    assert_eq!(bench.got(), [0; 0]);
    assert!(
        bench.0.due().is_some_and(|due| due <= clock::instant()),
        "tried again by itself"
    );
    bench.0.reports();
    assert_eq!(bench.got(), [5, 6, 7, 8]);
}

#[test]
fn a_client_that_becomes_full_within_a_batch_gets_the_rest_of_it_later() {
    let mut bench = Bench::new(Limits {
        batch_records: 3,
        ..limits(Duration::ZERO)
    });
    bench.submit(0, 0..12);
    bench.got();
    bench.0.producer.room = Some(2);
    bench.answer(0..5, Ok(()));
    assert_eq!(bench.got(), [5, 6]);
    bench.0.producer.room = None;
    bench.0.reports();
    assert_eq!(bench.got(), [7, 8, 9], "five are unanswered then");
    bench.answer(5..10, Ok(()));
    assert_eq!(bench.got(), [10, 11]);
}

#[test]
fn a_transaction_that_is_taken_back_is_followed_by_nothing_that_waited() {
    let mut bench = Bench::new(limits(Duration::ZERO));
    bench.submit(0, 0..8);
    bench.got();
    bench.0.abort(Duration::ZERO);
    bench.answer(0..5, Ok(()));
    assert_eq!(bench.got(), [0; 0]);
}

#[test]
fn nothing_is_held_in_front_of_a_client_that_waits_for_no_company() {
    let mut bench = Bench::new(Limits {
        holds: false,
        ..limits(Duration::ZERO)
    });
    bench.submit(0, 0..20);
    assert_eq!(bench.got(), (0..20).collect::<Vec<_>>());
    bench.0.submit(&record(0), Some(0), 20).expect("there is room");
    let reports = bench.answer([0], Err(Code::InvalidRecord));
    assert_eq!(codes(&reports), [(0, Some(Code::InvalidRecord))]);
}

/// The client has more requests than a connection takes then, and gathers what comes.
#[test]
fn where_more_than_five_partitions_are_busy_nothing_is_held() {
    let mut bench = Bench::new(limits(Duration::ZERO));
    bench.submit(0, 0..7);
    for partition in 1..5 {
        bench.submit(partition, [10 + usize::try_from(partition).expect("small")]);
    }
    assert_eq!(bench.got(), [0, 1, 2, 3, 4, 11, 12, 13, 14]);
    bench.submit(5, [20]);
    bench.submit(0, [7]);
    bench.submit(1, 21..40);
    assert_eq!(
        bench.got(),
        (20..40).collect::<Vec<_>>(),
        "behind what waits the next one waits too"
    );
    bench.0.reports();
    assert_eq!(bench.got(), [5, 6, 7]);
    bench.answer([20], Ok(()));
    bench.submit(0, [50]);
    assert_eq!(bench.got(), [0; 0], "five are busy");
}

#[test]
fn what_is_held_and_under_way_is_bounded_but_one_record_always_goes() {
    let size = size::of(&record(0));
    let mut bench = Bench::new(Limits {
        records: 3,
        ..limits(LONG)
    });
    bench.submit(0, 0..3);
    assert_eq!(bench.0.submit(&record(0), Some(0), 3), Err(SubmitError::Full));

    let mut bench = Bench::new(Limits {
        bytes: 2 * size,
        ..limits(Duration::ZERO)
    });
    bench.submit(0, 0..2);
    assert_eq!(bench.0.submit(&record(0), Some(0), 2), Err(SubmitError::Full));
    bench.answer([0], Ok(()));
    bench.submit(0, [2]);

    let mut bench = Bench::new(Limits {
        bytes: 1,
        ..limits(Duration::ZERO)
    });
    bench.submit(0, [0]);
    assert_eq!(bench.got(), [0]);
}

#[test]
fn a_record_that_the_client_would_never_take_is_refused_at_once() {
    let mut bench = Bench::new(Limits {
        record_bytes: size::of(&record(0)) - 1,
        ..limits(LONG)
    });
    let refused = Err(SubmitError::Refused(Code::MessageSizeTooLarge));
    assert_eq!(bench.0.submit(&record(0), Some(0), 0), refused);
}

#[test]
fn partitions_of_long_ago_are_forgotten() {
    let mut bench = Bench::new(limits(Duration::ZERO));
    for partition in 0..10_000 {
        bench.submit(partition, [0]);
        bench.answer([0], Ok(()));
    }
    assert!(bench.0.lines.len() <= 1_000);
}
