//! Exactly once against a scripted cluster: what is visible, whatever fails.

use super::*;

/// What the scripted cluster does with a commit instead of carrying it out and saying so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CommitFault {
    /// Not done, and said so.
    Refused,
    /// Not done; the answer does not come.
    LostRequest,
    /// Done; the answer does not come.
    LostAnswer,
    /// The same step may be tried again.
    Busy,
    /// A right is missing.
    Denied,
}

/// The coordinator of one transactional id.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Stored in the open transaction: nobody sees it.
    pub(super) open: Vec<Arc<KafkaRecord>>,
    committed: Committed,
    epoch: u64,
    faults: VecDeque<CommitFault>,
    /// Errors of the next attempts to take over.
    closed: VecDeque<TransactionError>,
    /// Cursors in the order of their commits.
    commits: Vec<Seq>,
    /// A fenced producer hears of it in the answer that the client keeps to itself.
    is_silent: bool,
    /// A transaction may not write to the topic; only beginning anew tells.
    denied: bool,
    /// Another instance took over: the epoch of before is refused.
    fence_after: Option<usize>,
}

impl Ledger {
    /// From now on no commit is carried out.
    pub(super) fn refuses_commits(&mut self) {
        self.faults = VecDeque::from([CommitFault::Refused; 1_000]);
    }

    /// From now on commits are carried out.
    pub(super) fn takes_commits(&mut self) {
        self.faults.clear();
    }

    /// What a producer of this epoch hears when it stores something.
    pub(super) fn refusal(&self, epoch: u64) -> Option<Code> {
        let code = match self.is_silent {
            true => Code::PurgeQueue,
            false => Code::InvalidProducerEpoch,
        };
        if self.denied {
            return Some(Code::PurgeQueue);
        }
        (epoch != 0 && epoch != self.epoch).then_some(code)
    }

    /// What a producer hears that begins although its transaction is open.
    pub(super) fn why_not_begin(&self, epoch: u64) -> TransactionError {
        let code = match self.denied {
            true => Code::TopicAuthorizationFailed,
            false if epoch != self.epoch => Code::Fenced,
            false => Code::State,
        };
        TransactionError {
            code,
            is_retriable: false,
        }
    }

    pub(super) fn take_over(&mut self) -> Result<(u64, Committed), TransactionError> {
        if let Some(error) = self.closed.pop_front() {
            return Err(error);
        }
        self.open.clear();
        self.epoch += 1;
        Ok((self.epoch, self.committed.clone()))
    }

    /// Returns what becomes visible by it.
    pub(super) fn commit(
        &mut self,
        epoch: u64,
        cursor: Seq,
    ) -> (Vec<Arc<KafkaRecord>>, Result<(), TransactionError>) {
        let fails = |code, is_retriable| Err(TransactionError { code, is_retriable });
        if self.fence_after == Some(self.commits.len()) {
            self.fence_after = None;
            self.other_commits(cursor);
        }
        if epoch != self.epoch {
            return (Vec::new(), fails(Code::Fenced, false));
        }
        let fault = self.faults.pop_front();
        match fault {
            Some(CommitFault::Busy) => return (Vec::new(), fails(Code::OperationTimedOut, true)),
            Some(CommitFault::Refused) => return (Vec::new(), fails(Code::InconsistentGroupProtocol, false)),
            Some(CommitFault::Denied) => return (Vec::new(), fails(Code::GroupAuthorizationFailed, false)),
            Some(CommitFault::LostRequest) => return (Vec::new(), fails(Code::OperationTimedOut, false)),
            Some(CommitFault::LostAnswer) | None => {}
        }
        self.committed = Committed {
            cursor: Some(cursor),
            by: Some(format!("ours.{epoch}")),
            is_ours: true,
        };
        self.commits.push(cursor);
        let answer = match fault {
            None => Ok(()),
            Some(_) => fails(Code::OperationTimedOut, false),
        };
        (std::mem::take(&mut self.open), answer)
    }

    /// A second daemon takes over and delivers up to `cursor`.
    fn other_commits(&mut self, cursor: Seq) {
        self.epoch += 1;
        self.open.clear();
        self.committed = Committed {
            cursor: Some(cursor),
            by: Some("theirs.1".to_owned()),
            is_ours: false,
        };
    }
}

pub(super) fn exactly_once(mut bench: Bench) -> Bench {
    bench.drain.transactions = Some(Transactions::default());
    bench
}

async fn numbered(count: usize) -> (Bench, Vec<String>) {
    let payloads: Vec<String> = (0..count).map(|number| number.to_string()).collect();
    let texts: Vec<&str> = payloads.iter().map(String::as_str).collect();
    (exactly_once(Bench::with(&texts).await), payloads)
}

#[tokio::test]
async fn records_and_the_cursor_become_visible_together() {
    let (mut bench, payloads) = numbered(23).await;
    bench.until(|bench| !bench.kafka.cluster().ledger.open.is_empty());
    assert!(
        bench.kafka.payloads().is_empty(),
        "nothing is visible before the commit"
    );
    bench.until_empty();
    assert_eq!(bench.kafka.payloads(), payloads);
    assert_eq!(bench.kafka.cluster().ledger.commits.last(), Some(&Seq(23)));
}

#[tokio::test]
async fn whatever_becomes_of_a_commit_everything_is_visible_once() {
    use CommitFault::{Busy, LostAnswer, LostRequest, Refused};
    for faults in [
        vec![Refused],
        vec![LostRequest],
        vec![LostAnswer],
        vec![Busy, Busy],
        vec![Busy, LostAnswer, Refused, LostRequest, LostAnswer],
    ] {
        let (mut bench, payloads) = numbered(23).await;
        bench.kafka.cluster().ledger.faults = faults.clone().into();
        bench.until_empty();
        assert_eq!(bench.kafka.payloads(), payloads, "{faults:?}");
        let tallies = bench.drain.monitor.tallies();
        assert_eq!(
            tallies.route(0).delivered,
            23,
            "{faults:?}: what was taken back does not count"
        );
        drop(tallies);
        assert_eq!(bench.drain.monitor.link(), Link::Up);
    }
}

#[tokio::test]
async fn what_kafka_has_is_passed_over_and_counted_as_delivered() {
    let (mut bench, payloads) = numbered(10).await;
    bench.until(|bench| bench.kafka.cluster().ledger.open.len() > 3);
    {
        // A commit of the first three was carried out, and nobody heard of it.
        let mut cluster = bench.kafka.cluster();
        let visible: Vec<_> = cluster.ledger.open.drain(..).take(3).collect();
        cluster.stored.extend(visible);
        cluster.ledger.epoch += 1;
        cluster.ledger.committed = Committed {
            cursor: Some(Seq(3)),
            by: Some("ours.1".to_owned()),
            is_ours: true,
        };
    }
    bench.until_empty();
    assert_eq!(bench.kafka.payloads(), payloads);
    assert_eq!(bench.kafka.cluster().ledger.commits, [Seq(10)]);
}

#[tokio::test]
async fn a_cursor_that_kafka_has_forgotten_is_the_one_on_disk() {
    let (mut bench, payloads) = numbered(10).await;
    bench.until_empty();
    bench.kafka.cluster().ledger.committed = Committed::default();
    bench.drain.rewind(bench.now);
    bench.steps(5);
    assert_eq!(bench.kafka.payloads(), payloads);
}

#[tokio::test]
async fn a_store_that_is_older_than_kafkas_cursor_is_not_passed_over() {
    let (mut bench, payloads) = numbered(10).await;
    bench.kafka.cluster().ledger.committed = Committed {
        cursor: Some(Seq(5_000)),
        by: Some("former.1".to_owned()),
        is_ours: false,
    };
    bench.until_empty();
    assert_eq!(bench.kafka.payloads(), payloads);
    let commits = bench.kafka.cluster().ledger.commits.clone();
    assert_eq!(commits, [Seq(0), Seq(10)], "the cluster is told at once");
}

#[tokio::test]
async fn who_is_replaced_ends_and_says_so() {
    let (mut bench, _) = numbered(10).await;
    bench.kafka.cluster().ledger.fence_after = Some(0);
    bench.until(|bench| bench.drain.monitor.is_fenced());
    assert!(bench.kafka.payloads().is_empty());
    let cursor = bench.drain.reader.cursor();
    bench.drain.finish(Duration::ZERO);
    assert_eq!(cursor, Seq(0));
}

#[tokio::test]
async fn who_is_replaced_between_two_bursts_ends_too() {
    let (mut bench, _) = numbered(10).await;
    bench.until(|bench| !bench.kafka.cluster().ledger.open.is_empty());
    {
        let ledger = &mut bench.kafka.cluster().ledger;
        ledger.is_silent = true;
        ledger.other_commits(Seq(3));
    }
    bench.until(|bench| bench.drain.monitor.is_fenced());
    assert_eq!(bench.drain.reader.cursor(), Seq(0));
}

#[tokio::test]
async fn a_cursor_that_kafka_forgot_while_it_gave_the_producer_up_is_nobody_elses() {
    let (mut bench, payloads) = numbered(10).await;
    bench.kafka.cluster().ledger.committed = Committed {
        cursor: Some(Seq(0)),
        by: Some("former.1".to_owned()),
        is_ours: false,
    };
    bench.until(|bench| !bench.kafka.cluster().ledger.open.is_empty());
    {
        let ledger = &mut bench.kafka.cluster().ledger;
        ledger.epoch += 1;
        ledger.open.clear();
        ledger.committed = Committed::default();
    }
    bench.until_empty();
    assert!(!bench.drain.monitor.is_fenced());
    assert_eq!(bench.kafka.payloads(), payloads);
}

#[tokio::test]
async fn a_topic_that_a_transaction_may_not_write_to_is_shown_and_held_until_it_may() {
    let (mut bench, payloads) = numbered(10).await;
    bench.kafka.cluster().ledger.denied = true;
    bench.steps(20);
    assert!(matches!(bench.drain.monitor.link(), Link::Refused(_)));
    bench.kafka.cluster().ledger.denied = false;
    bench.until_empty();
    assert_eq!(bench.kafka.payloads(), payloads);
    assert_eq!(bench.drain.monitor.link(), Link::Up);
}

#[tokio::test]
async fn a_commit_that_is_refused_is_shown_and_not_tried_without_a_pause() {
    let (mut bench, payloads) = numbered(10).await;
    bench.kafka.cluster().ledger.faults = [CommitFault::Denied; 8].into();
    let start = bench.now;
    bench.until(|bench| bench.kafka.cluster().ledger.faults.len() == 1);
    assert!(matches!(bench.drain.monitor.link(), Link::Refused(_)));
    assert!(bench.now - start > Duration::from_secs(5), "pauses grow");
    bench.until_empty();
    assert_eq!(bench.kafka.payloads(), payloads);
    assert_eq!(bench.drain.monitor.link(), Link::Up);
}

#[tokio::test]
async fn a_producer_that_kafka_gave_up_goes_on_with_a_new_one() {
    let (mut bench, payloads) = numbered(10).await;
    bench.until(|bench| !bench.kafka.cluster().ledger.open.is_empty());
    {
        // The transaction was open for longer than its limit: nobody else is there.
        let ledger = &mut bench.kafka.cluster().ledger;
        ledger.epoch += 1;
        ledger.open.clear();
    }
    bench.until_empty();
    assert!(!bench.drain.monitor.is_fenced());
    assert_eq!(bench.kafka.payloads(), payloads);
}

#[tokio::test]
async fn a_cluster_that_refuses_to_be_taken_over_is_asked_again() {
    let (mut bench, payloads) = numbered(5).await;
    bench.kafka.cluster().ledger.closed = [
        (Code::OperationTimedOut, true),
        (Code::TransactionalIdAuthorizationFailed, false),
        (Code::NotCoordinator, true),
    ]
    .map(|(code, is_retriable)| TransactionError { code, is_retriable })
    .into();
    bench.until_empty();
    assert_eq!(bench.kafka.payloads(), payloads);
}

#[tokio::test]
async fn poison_becomes_a_dead_letter_and_nothing_is_visible_twice() {
    let mut bench = exactly_once(Bench::with(&["a", "b", "bad", "c", "d", "e", "f", "g"]).await);
    bench
        .kafka
        .cluster()
        .poison
        .push((Bytes::from_static(b"bad"), Code::InvalidRecord));
    bench.kafka.cluster().ledger.faults = [
        CommitFault::LostAnswer,
        CommitFault::LostRequest,
        CommitFault::Refused,
    ]
    .into();
    bench.until_empty();
    assert_eq!(bench.kafka.payloads(), ["a", "b", "c", "d", "e", "f", "g"]);
    assert_eq!(bench.dead().len(), 1);
}

const TWO_ROUTES: &str = r#"
    [[route]]
    from = "devices/{device}/telemetry"
    topic = "telemetry"
    [[route]]
    from = "devices/{device}/{kind}"
    topic = "{kind}-copy"
"#;

#[tokio::test]
async fn a_missing_topic_holds_its_message_and_nothing_before_it() {
    let payloads = [
        "devices/d/telemetry=1",
        "devices/d/telemetry=2",
        "devices/d/alarm=3",
    ];
    let mut bench = exactly_once(Bench::routed(TWO_ROUTES, &payloads).await);
    bench.kafka.cluster().missing.insert("alarm-copy".to_owned());
    bench.until(|bench| bench.drain.reader.cursor() == Seq(2));
    assert_eq!(bench.kafka.payloads(), ["1", "1", "2", "2"]);
    bench.kafka.cluster().missing.clear();
    bench.until_empty();
    assert_eq!(bench.kafka.payloads(), ["1", "1", "2", "2", "3"]);
}

#[tokio::test]
async fn a_message_with_one_route_held_is_visible_by_none() {
    let mut bench = exactly_once(Bench::routed(TWO_ROUTES, &["devices/d/telemetry=1"]).await);
    bench.kafka.cluster().missing.insert("telemetry-copy".to_owned());
    bench.steps(20);
    assert!(bench.kafka.payloads().is_empty() && bench.kafka.cluster().ledger.open.is_empty());
    bench.kafka.cluster().missing.clear();
    bench.until_empty();
    assert_eq!(bench.kafka.payloads(), ["1", "1"]);
}

#[tokio::test]
async fn a_stop_takes_back_what_did_not_commit() {
    let (mut bench, _) = numbered(10).await;
    bench.kafka.cluster().ledger.faults = [CommitFault::Busy; 100].into();
    bench.until(|bench| !bench.kafka.cluster().ledger.open.is_empty());
    bench.steps(3);
    bench.drain.finish(Duration::ZERO);
    assert!(
        bench.kafka.cluster().ledger.open.is_empty(),
        "no reader waits for it"
    );
    assert_eq!(bench.drain.reader.cursor(), Seq(0));
}
