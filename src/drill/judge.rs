//! Whether the promises were kept: what was seen from outside, against what the daemon's own books say in the end. Pure.
//!
//! The account of a lane, over messages and as they were seen by the broker:
//!
//! ```text
//! acknowledged = delivered + dead-lettered + queued + dropped by a policy that counts it + lost
//! ```
//!
//! Which messages a policy dropped is not written anywhere, only how many. So what is nowhere must be exactly as many as the
//! ledger says; one more is lost, one less is unexplained.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::book::Seen;

/// Ids that a finding names; the rest is a number.
pub(super) const NAMED_MAX: usize = 20;

/// What the stopped store says of a lane.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Account {
    pub(super) received: u64,
    pub(super) delivered: u64,
    pub(super) dead_lettered: u64,
    pub(super) queued: u64,
    /// By reason.
    pub(super) removed: BTreeMap<String, u64>,
    /// Messages of the drill that wait.
    pub(super) waiting: BTreeSet<u64>,
    /// Messages of the drill that are dead letters, or were forwarded as such.
    pub(super) letters: BTreeSet<u64>,
    /// What the store says is wrong with it.
    pub(super) faults: Vec<String>,
}

/// What a message should become in a lane.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Expected {
    /// Kafka topics of its records.
    pub(super) topics: Vec<String>,
    /// Some route refuses it.
    pub(super) is_letter: bool,
}

/// The facts of one lane.
pub(super) struct Case<'a> {
    pub(super) lane: &'a str,
    pub(super) seen: &'a Seen,
    pub(super) account: &'a Account,
    /// What a message should become.
    pub(super) expected: &'a dyn Fn(u64) -> Expected,
}

/// A promise, as docs/delivery.md makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Promise {
    /// What was acknowledged is somewhere.
    NothingIsLost,
    /// An id is of one message alone.
    IdsAreUnique,
    /// Each message has one id, and the same bytes under it.
    DuplicatesAreRecognisable,
    /// received = delivered + queued + dead-lettered + removed, and it is true.
    TheLedgerIsExact,
    /// An acknowledgement is of what was sent on its connection.
    AcknowledgementsAreOfTheirConnection,
    /// It goes on, whatever happens around it.
    ItGoesOn,
}

impl Promise {
    /// In words.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::NothingIsLost => {
                "what was acknowledged to MQTT is in Kafka, in the queue, a dead letter, or counted as dropped"
            }
            Self::IdsAreUnique => "an id is never given to two messages",
            Self::DuplicatesAreRecognisable => {
                "every duplicate has the id and the bytes of the first one, or says that it may be a redelivery"
            }
            Self::TheLedgerIsExact => "received = delivered + queued + dead-lettered + removed, exactly",
            Self::AcknowledgementsAreOfTheirConnection => "no PUBACK goes out on a later connection",
            Self::ItGoesOn => "outages, full disks and crashes end acknowledging, never the daemon",
        }
    }
}

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) promise: Promise,
    pub(super) lane: String,
    pub(super) what: String,
    /// Ids of messages, or numbers of the drill where a message has no id that could be seen; the first ones.
    pub(super) ids: Vec<String>,
}

/// One line of the conservation table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(super) struct Row {
    pub(super) lane: String,
    pub(super) acknowledged: u64,
    pub(super) delivered: u64,
    /// Records that Kafka has more than once, each with the id of its first copy.
    pub(super) duplicates: u64,
    pub(super) dead_lettered: u64,
    /// By reason; only what there is.
    pub(super) dropped: BTreeMap<String, u64>,
    pub(super) queued: u64,
    pub(super) lost: u64,
    pub(super) unexplained: u64,
    /// Beside the account: published with QoS 0, and of those in Kafka.
    pub(super) unprotected: u64,
    pub(super) unprotected_delivered: u64,
    /// Beside the account: PUBLISH packets that the broker sent again.
    pub(super) resends: u64,
    /// Beside the account: messages that are in Kafka twice because the broker sent them twice, and say that they may be.
    pub(super) stored_again: u64,
}

/// Judges a lane.
pub(super) fn judge(case: &Case<'_>) -> (Row, Vec<Finding>) {
    let mut findings = Vec::new();
    let row = conservation(case, &mut findings);
    ids(case, &mut findings);
    ledger(case, &row, &mut findings);
    let Case { lane, seen, .. } = case;
    let mut say = |promise, what: String| findings.push(finding(promise, lane, what, &[]));
    if seen.strange > 0 {
        let what = format!(
            "{} acknowledgements were of packets that were not sent on their connection",
            seen.strange
        );
        say(Promise::AcknowledgementsAreOfTheirConnection, what);
    }
    if seen.sessions_ended > 0 {
        let what = format!("it gave up its MQTT session {} times", seen.sessions_ended);
        say(Promise::NothingIsLost, what);
    }
    if !seen.refused.is_empty() {
        let what = format!(
            "it refused {} messages with a PUBACK that is an error: a broker forgets those",
            seen.refused.len()
        );
        say(Promise::NothingIsLost, what);
    }
    for fault in &case.account.faults {
        say(Promise::NothingIsLost, format!("the store: {fault}"));
    }
    let wanted = seen.offered.iter().any(|number| {
        let expected = (case.expected)(*number);
        !expected.topics.is_empty() && !expected.is_letter
    });
    if seen.offered.is_empty() && seen.unprotected.is_empty() {
        return (row, findings);
    }
    if seen.acknowledged.is_empty() && !seen.offered.is_empty() {
        say(
            Promise::ItGoesOn,
            "nothing was acknowledged: nothing is shown".to_owned(),
        );
    } else if wanted && seen.delivered.is_empty() {
        say(
            Promise::ItGoesOn,
            "nothing came to Kafka: nothing is shown".to_owned(),
        );
    }
    (row, findings)
}

/// Where each acknowledged message is.
fn conservation(case: &Case<'_>, findings: &mut Vec<Finding>) -> Row {
    let Case {
        lane,
        seen,
        account,
        expected,
    } = case;
    let mut row = Row {
        lane: (*lane).to_owned(),
        acknowledged: count(seen.acknowledged.len()),
        resends: seen.resends(),
        stored_again: stored_again(seen),
        unprotected: count(seen.unprotected.len()),
        duplicates: seen.delivered.values().map(|delivered| delivered.again).sum(),
        ..Row::default()
    };
    let mut nowhere = Vec::new();
    for number in &seen.acknowledged {
        let place = place(*number, seen, account, expected);
        match place {
            Place::Delivered => row.delivered += 1,
            Place::Letter => row.dead_lettered += 1,
            Place::Queued => row.queued += 1,
            Place::Nowhere => nowhere.push(*number),
        }
    }
    row.unprotected_delivered = count(
        seen.unprotected
            .iter()
            .filter(|number| seen.delivered.contains_key(number))
            .count(),
    );
    let dropped = account
        .removed
        .iter()
        .filter(|(reason, count)| is_policy(reason) && **count > 0);
    row.dropped = dropped.map(|(reason, count)| (reason.clone(), *count)).collect();
    let counted: u64 = row.dropped.values().sum();
    let missing = count(nowhere.len());
    row.lost = missing.saturating_sub(counted);
    // What was sent with QoS 0, and what the broker sent twice and a full queue dropped twice, is counted by the ledger and not by
    // the broker.
    let beside = counted.saturating_sub(missing);
    let may_be_beside = row.unprotected + account_again(seen, account);
    row.unexplained = beside.saturating_sub(may_be_beside);
    if row.lost > 0 {
        let what = match counted {
            0 => format!(
                "{} of {} acknowledged messages are nowhere: not in Kafka, not in the queue, no dead letters, and nothing \
                 counts them as dropped",
                row.lost, row.acknowledged
            ),
            counted => format!(
                "{missing} of {} acknowledged messages are nowhere, and only {counted} are counted as dropped",
                row.acknowledged
            ),
        };
        let ids: Vec<String> = nowhere.iter().map(|number| named(*number, seen)).collect();
        findings.push(finding(Promise::NothingIsLost, lane, what, &ids));
    }
    if row.unexplained > 0 {
        let what = format!(
            "{} messages are counted as dropped that are not missing",
            row.unexplained
        );
        findings.push(finding(Promise::TheLedgerIsExact, lane, what, &[]));
    }
    row
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Delivered,
    Letter,
    Queued,
    Nowhere,
}

/// A message with several records is delivered when Kafka has all of them, under whatever id.
fn place(number: u64, seen: &Seen, account: &Account, expected: &dyn Fn(u64) -> Expected) -> Place {
    if account.waiting.contains(&number) {
        return Place::Queued;
    }
    if account.letters.contains(&number) {
        return Place::Letter;
    }
    let wanted = expected(number).topics;
    let records = seen.delivered.get(&number).map(|delivered| &delivered.ids);
    let is_whole = records.is_some_and(|ids| {
        ids.values().any(|records| {
            has_all(
                &wanted,
                &records
                    .iter()
                    .map(|(topic, _)| topic.as_str())
                    .collect::<Vec<_>>(),
            )
        })
    });
    if is_whole {
        Place::Delivered
    } else {
        Place::Nowhere
    }
}

/// Whether each wanted topic comes as often as it is wanted.
fn has_all(wanted: &[String], records: &[&str]) -> bool {
    wanted.iter().all(|topic| {
        let needed = wanted.iter().filter(|other| *other == topic).count();
        records.iter().filter(|known| *known == topic).count() >= needed
    })
}

/// Whether the configuration asked for messages to be dropped for this reason.
fn is_policy(reason: &str) -> bool {
    !matches!(reason, "damaged" | "skipped")
}

/// Further ids of messages.
fn stored_again(seen: &Seen) -> u64 {
    let ids = seen
        .delivered
        .values()
        .map(|delivered| count(delivered.ids.len()));
    ids.map(|ids| ids.saturating_sub(1)).sum()
}

/// How often a message can have been stored, or dropped, twice because the broker sent it twice.
fn account_again(seen: &Seen, account: &Account) -> u64 {
    let dropped = account
        .removed
        .iter()
        .any(|(reason, count)| is_policy(reason) && *count > 0);
    if dropped { seen.resends() } else { 0 }
}

/// Ids against messages, both ways.
fn ids(case: &Case<'_>, findings: &mut Vec<Finding>) {
    let Case {
        lane, seen, expected, ..
    } = case;
    let mut owners: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    let mut renamed = Vec::new();
    let mut changed = Vec::new();
    for (number, delivered) in &seen.delivered {
        for (id, records) in &delivered.ids {
            owners.entry(id).or_default().insert(*number);
            let wanted = expected(*number).topics.len();
            if records.len() > wanted {
                changed.push(id.clone());
            }
        }
        let unmarked = delivered.ids.keys().filter(|id| !delivered.marked.contains(*id));
        if unmarked.count() > 1 {
            renamed.push(delivered.ids.keys().cloned().collect::<Vec<_>>().join(" = "));
        }
    }
    let shared: Vec<String> = owners
        .iter()
        .filter(|(_, numbers)| numbers.len() > 1)
        .map(|(id, _)| (*id).to_owned())
        .collect();
    let mut say = |promise, ids: &[String], what: &str| {
        if !ids.is_empty() {
            findings.push(finding(promise, lane, format!("{} {what}", ids.len()), ids));
        }
    };
    say(
        Promise::IdsAreUnique,
        &shared,
        "ids are of several different messages in Kafka",
    );
    say(
        Promise::DuplicatesAreRecognisable,
        &renamed,
        "messages are in Kafka under several ids, so nobody can tell that they are the same",
    );
    say(
        Promise::DuplicatesAreRecognisable,
        &changed,
        "ids have more different records than their routes make: copies differ in their bytes",
    );
}

/// The daemon's own sum, and what the broker saw.
fn ledger(case: &Case<'_>, row: &Row, findings: &mut Vec<Finding>) {
    let Case {
        lane, seen, account, ..
    } = case;
    let removed: u64 = account
        .removed
        .iter()
        .filter(|(reason, _)| *reason != "skipped")
        .map(|(_, count)| count)
        .sum();
    let sum = account.delivered + account.queued + account.dead_lettered + removed;
    let mut say = |what: String| findings.push(finding(Promise::TheLedgerIsExact, lane, what, &[]));
    if account.received != sum {
        say(format!(
            "received is {}, and delivered, queued, dead-lettered and removed are {sum} together",
            account.received
        ));
    }
    let damaged = account.removed.get("damaged").copied().unwrap_or(0);
    if damaged > 0 {
        say(format!(
            "{damaged} messages are counted as lost to damage, and nothing damaged the store"
        ));
    }
    if account.received < row.acknowledged {
        say(format!(
            "{} messages were acknowledged, and the ledger has received {}",
            row.acknowledged, account.received
        ));
    }
    // Each of these may be in the ledger without an acknowledgement that the broker saw.
    let stored_again = stored_again(seen);
    let unseen = count(seen.offered.difference(&seen.acknowledged).count());
    // Of what did not come to Kafka only the store knows how often it has it.
    let is_kept = |number: &&u64| account.letters.contains(number) || account.waiting.contains(number);
    let kept_again: u64 = seen
        .resent
        .iter()
        .filter(|(number, _)| is_kept(number))
        .map(|(_, times)| times)
        .sum();
    let most = row.acknowledged
        + unseen
        + row.unprotected
        + stored_again
        + kept_again
        + account_again(seen, account);
    if account.received > most {
        say(format!(
            "the ledger has received {}, and no more than {most} messages were there",
            account.received
        ));
    }
    let waiting = count(account.waiting.len());
    if account.queued < waiting {
        say(format!(
            "{waiting} messages wait, and the ledger has {} queued",
            account.queued
        ));
    }
}

/// A finding with the first of its ids.
pub(super) fn finding(promise: Promise, lane: &str, what: String, ids: &[String]) -> Finding {
    Finding {
        promise,
        lane: lane.to_owned(),
        what,
        ids: ids.iter().take(NAMED_MAX).cloned().collect(),
    }
}

/// The id under which Kafka has a message, in part; else its number in the drill, which is in its payload.
fn named(number: u64, seen: &Seen) -> String {
    let delivered = seen.delivered.get(&number);
    let id = delivered.and_then(|delivered| delivered.ids.keys().next());
    id.cloned().unwrap_or_else(|| super::mark::of(number))
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::book::{Book, Record};
    use super::*;

    const LANE: &str = "default";

    fn expected(_: u64) -> Expected {
        Expected {
            topics: vec!["t".to_owned()],
            is_letter: false,
        }
    }

    fn delivered(book: &mut Book, number: u64, id: &str, hash: u64) {
        let record = Record {
            id,
            topic: "t",
            hash,
            is_marked: false,
        };
        book.delivered(LANE, number, record);
    }

    /// Ten messages, all acknowledged and delivered.
    fn good() -> (Book, Account) {
        let mut book = Book::default();
        for number in 1..=10 {
            book.offered(LANE, number, 1);
            book.sent(LANE, number, 1, false);
            book.acknowledged(LANE, number);
            delivered(&mut book, number, &format!("00-default-{number}"), number);
        }
        let account = Account {
            received: 10,
            delivered: 10,
            ..Account::default()
        };
        (book, account)
    }

    fn judged(book: &Book, account: &Account) -> (Row, Vec<Finding>) {
        judge(&Case {
            lane: LANE,
            seen: &book.lane(LANE),
            account,
            expected: &expected,
        })
    }

    fn broken(book: &Book, account: &Account) -> Vec<Promise> {
        let (_, findings) = judged(book, account);
        findings.into_iter().map(|finding| finding.promise).collect()
    }

    #[test]
    fn a_good_run_passes_also_with_duplicates_of_the_same_id_and_bytes() {
        let (mut book, account) = good();
        delivered(&mut book, 3, "00-default-3", 3);
        book.sent(LANE, 4, 1, true);
        let (row, findings) = judged(&book, &account);
        assert_eq!(findings, []);
        assert_eq!((row.acknowledged, row.delivered, row.duplicates), (10, 10, 1));
        assert_eq!((row.lost, row.unexplained, row.resends), (0, 0, 1));
    }

    #[test]
    fn what_was_acknowledged_and_is_nowhere_is_lost_and_named() {
        let (mut book, mut account) = good();
        book.offered(LANE, 11, 1);
        book.acknowledged(LANE, 11);
        let (row, findings) = judged(&book, &account);
        assert_eq!(row.lost, 1);
        assert_eq!(findings[0].promise, Promise::NothingIsLost);
        assert_eq!(findings[0].ids, [super::super::mark::of(11)]);
        assert_eq!(
            findings[1].promise,
            Promise::TheLedgerIsExact,
            "11 acknowledged, 10 received"
        );
        account.received = 11;
        account.queued = 1;
        account.waiting.insert(11);
        assert_eq!(broken(&book, &account), [], "it waits");
    }

    #[test]
    fn a_cursor_that_passed_too_early_is_a_loss_although_the_ledger_is_content() {
        let (mut book, mut account) = good();
        book.offered(LANE, 11, 1);
        book.acknowledged(LANE, 11);
        account.received = 11;
        account.delivered = 11;
        assert_eq!(broken(&book, &account), [Promise::NothingIsLost]);
    }

    #[test]
    fn what_a_policy_dropped_is_no_loss_and_one_more_is() {
        let (mut book, mut account) = good();
        for number in 11..=13 {
            book.offered(LANE, number, 1);
            book.acknowledged(LANE, number);
        }
        account.received = 13;
        account.removed.insert("dropped_oldest".to_owned(), 3);
        let (row, findings) = judged(&book, &account);
        assert_eq!(findings, []);
        assert_eq!(row.dropped["dropped_oldest"], 3);
        account.removed.insert("dropped_oldest".to_owned(), 2);
        assert_eq!(
            broken(&book, &account),
            [Promise::NothingIsLost, Promise::TheLedgerIsExact],
            "dropped without being counted"
        );
        account.removed.insert("dropped_oldest".to_owned(), 4);
        account.received = 14;
        assert_eq!(
            broken(&book, &account),
            [Promise::TheLedgerIsExact, Promise::TheLedgerIsExact],
            "counted without being dropped"
        );
    }

    #[test]
    fn one_id_for_two_messages_is_seen() {
        let (mut book, account) = good();
        delivered(&mut book, 3, "00-default-4", 3);
        let promises = broken(&book, &account);
        assert_eq!(promises[0], Promise::IdsAreUnique);
    }

    #[test]
    fn a_duplicate_under_another_id_or_with_other_bytes_is_seen() {
        let (mut book, account) = good();
        delivered(&mut book, 3, "00-default-33", 3);
        assert_eq!(broken(&book, &account), [Promise::DuplicatesAreRecognisable]);
        let (mut book, account) = good();
        delivered(&mut book, 3, "00-default-3", 4);
        assert_eq!(broken(&book, &account), [Promise::DuplicatesAreRecognisable]);
    }

    #[test]
    fn a_redelivery_that_was_stored_again_is_recognisable_by_its_mark() {
        let (mut book, mut account) = good();
        let record = Record {
            id: "00-default-11",
            topic: "t",
            hash: 33,
            is_marked: true,
        };
        book.delivered(LANE, 3, record);
        (account.received, account.delivered) = (11, 11);
        let (row, findings) = judged(&book, &account);
        assert_eq!(findings, []);
        assert_eq!(row.stored_again, 1);
    }

    #[test]
    fn a_dead_letter_that_the_broker_sent_twice_may_be_kept_twice_and_no_more() {
        let (mut book, mut account) = good();
        book.offered(LANE, 11, 1);
        book.acknowledged(LANE, 11);
        book.sent(LANE, 11, 1, true);
        account.letters.insert(11);
        (account.received, account.dead_lettered) = (12, 2);
        assert_eq!(broken(&book, &account), []);
        (account.received, account.dead_lettered) = (13, 3);
        assert_eq!(broken(&book, &account), [Promise::TheLedgerIsExact]);
    }

    #[test]
    fn a_message_is_delivered_when_all_of_its_records_are_there() {
        let wanted = |topics: &[&str]| topics.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(has_all(&wanted(&["a", "b"]), &["b", "a"]));
        assert!(!has_all(&wanted(&["a", "b"]), &["a", "a"]));
        assert!(!has_all(&wanted(&["a", "a"]), &["a"]));
        assert!(has_all(&wanted(&["a", "a"]), &["a", "a"]));
    }

    #[test]
    fn a_ledger_that_does_not_add_up_is_seen() {
        let (book, mut account) = good();
        account.delivered = 9;
        assert_eq!(broken(&book, &account), [Promise::TheLedgerIsExact]);
        let (book, mut account) = good();
        account.removed.insert("damaged".to_owned(), 1);
        account.delivered = 9;
        assert_eq!(broken(&book, &account), [Promise::TheLedgerIsExact]);
    }

    #[test]
    fn an_acknowledgement_of_another_connection_is_seen() {
        let (mut book, account) = good();
        book.strange(LANE);
        assert_eq!(
            broken(&book, &account),
            [Promise::AcknowledgementsAreOfTheirConnection]
        );
    }

    #[test]
    fn a_run_in_which_nothing_happened_shows_nothing() {
        let mut book = Book::default();
        book.offered(LANE, 1, 1);
        assert_eq!(broken(&book, &Account::default()), [Promise::ItGoesOn]);
        book.acknowledged(LANE, 1);
        let account = Account {
            received: 1,
            queued: 1,
            waiting: BTreeSet::from([1]),
            ..Account::default()
        };
        assert_eq!(broken(&book, &account), [Promise::ItGoesOn], "nothing in Kafka");
    }

    #[test]
    fn qos_0_is_beside_the_account() {
        let (mut book, mut account) = good();
        book.offered(LANE, 11, 0);
        assert_eq!(broken(&book, &account), [], "the broker may drop it");
        account.received = 11;
        account.delivered = 11;
        delivered(&mut book, 11, "00-default-11", 11);
        let (row, findings) = judged(&book, &account);
        assert_eq!(findings, []);
        assert_eq!((row.unprotected, row.unprotected_delivered), (1, 1));
    }
}
