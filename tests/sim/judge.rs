//! What must hold, whatever happens: promises 1, 2, 3 and 6.

use std::collections::{BTreeMap, BTreeSet};

use edgeferry::message::{Epoch, MessageId, Seq};
use edgeferry::queue::{OnFull, Reason, Status};

use crate::cluster::{Cluster, Entry, Sight};
use crate::message::Mark;

/// What is known of messages outside of the process.
#[derive(Debug, Default)]
pub struct Judge {
    /// What the log holds or held, by its place.
    log: BTreeMap<Seq, Mark>,
    /// They survived power cuts from then on.
    durable: BTreeSet<Mark>,
    /// The gateway acknowledged them.
    pub acknowledged: BTreeSet<Mark>,
    /// What is wrong.
    pub verdict: Option<String>,
}

/// What is known of the queue and the dead letters at the end.
#[derive(Debug)]
pub struct End {
    pub status: Status,
    pub letters: Vec<(Seq, Mark)>,
    pub on_full: OnFull,
    pub exactly_once: bool,
    /// A start may not have been able to read which letters are there: then they are kept once more, and the log says so
    /// (`DeadLetters::recall`).
    pub may_keep_twice: bool,
}

impl End {
    fn may_drop(&self) -> bool {
        self.on_full != OnFull::Backpressure
    }

    /// How many of the dead letters kept count as delivered: those that a start could not read, of messages that Kafka's cursor had
    /// passed. The log says that too.
    fn counted_as_delivered(&self, kept: u64) -> u64 {
        if self.may_keep_twice && self.exactly_once {
            kept.saturating_sub(self.status.balance.dead_lettered)
        } else {
            0
        }
    }
}

impl Entry {
    /// Its message left the order before, as one of these dead letters, in the place that it had. Delivered once more by the broker (the
    /// PUBACK was lost), and stored once more, it may be one that Kafka takes by then: its topic was made meanwhile.
    fn repeats(&self, letters: &[(Seq, Mark)]) -> bool {
        let is_before = |(seq, mark): &(Seq, Mark)| *mark == self.mark && *seq < self.id.seq;
        self.is_dup && letters.iter().any(is_before)
    }
}

impl Judge {
    pub fn complain(&mut self, what: String) {
        self.verdict.get_or_insert(what);
    }

    /// The store took messages.
    pub fn stored(&mut self, messages: &[(Seq, Mark)], is_synced: bool) {
        self.log.extend(messages.iter().copied());
        if is_synced {
            self.durable.extend(messages.iter().map(|(_, mark)| *mark));
        }
    }

    /// A power cut took these sequences.
    pub fn lost(&mut self, gone: &[(Seq, Seq)]) {
        for (first, last) in gone {
            self.log.retain(|seq, _| !(first..=last).contains(&seq));
        }
    }

    /// A PUBACK leaves. Promise 1.
    pub fn acknowledge(&mut self, mark: Mark, on_full: OnFull) {
        self.acknowledged.insert(mark);
        if !self.durable.contains(&mark) && on_full != OnFull::DropNewest {
            self.complain(format!(
                "promise 1: {mark} is acknowledged and would not survive a power cut"
            ));
        }
    }

    /// The account as the process has it. Promise 6.
    pub fn look(&mut self, status: &Status) {
        let balance = status.balance;
        let sum = balance.delivered + balance.dead_lettered + balance.removed.removed() + balance.queued;
        if status.unaccounted.is_some_and(|off| off != 0) || balance.received != sum {
            self.complain(format!(
                "promise 6: the account is off by {:?}: {balance:?}",
                status.unaccounted
            ));
        }
        let damaged = balance.removed.of(Reason::Damaged);
        if damaged > 0 {
            self.complain(format!(
                "promise 1: {damaged} messages were lost by damage, and nothing was damaged"
            ));
        }
    }

    /// What Kafka shows its readers. Promises 2 and 3.
    pub fn read(&mut self, cluster: &Cluster, rules: &End) -> Shown {
        let mut shown = Shown::default();
        let mut wrong = Vec::new();
        for (name, topic) in &cluster.topics {
            for partition in &topic.partitions {
                let mut newest: BTreeMap<&str, (Seq, BTreeMap<u32, u32>)> = BTreeMap::new();
                for entry in partition.log.iter().filter(|entry| entry.sight == Sight::Visible) {
                    let (mark, id) = (entry.mark, &entry.id);
                    let is_new = shown.marks.insert(mark);
                    let (places, numbers) = newest.entry(&entry.key).or_default();
                    if !shown.ids.contains_key(&id.seq)
                        && std::mem::replace(places, id.seq.max(*places)) > id.seq
                    {
                        wrong.push(format!("promise 2: {id} ({mark}) is in {name} behind {places}"));
                    }
                    // What a policy removed may come again, behind what it left.
                    let number = numbers.entry(mark.device).or_default();
                    if is_new
                        && !entry.repeats(&rules.letters)
                        && std::mem::replace(number, mark.number.max(*number)) > mark.number
                        && !rules.may_drop()
                    {
                        wrong.push(format!("promise 2: {mark} is in {name} behind number {number}"));
                    }
                    let known = shown
                        .ids
                        .insert(id.seq, (id.clone(), mark, entry.hash, entry.time.clone()));
                    if let Some((known_id, known_mark, hash, time)) = known {
                        if rules.exactly_once {
                            wrong.push(format!("promise 3: {id} ({mark}) is in {name} twice"));
                        }
                        if (known_mark, hash) != (mark, entry.hash) || known_id != *id {
                            wrong.push(format!(
                                "promise 3: {id} stands for {known_mark} ({time:?}) and for {mark} ({:?}), or for other bytes", entry.time
                            ));
                        }
                    } else if !entry.is_dup && shown.plain.insert(mark, id.seq).is_some() {
                        wrong.push(format!(
                            "promise 3: {mark} is in {name} under two ids, and not marked"
                        ));
                    }
                    if self.log.get(&id.seq).is_none_or(|logged| *logged != mark) {
                        wrong.push(format!(
                            "promise 3: {id} stands for {mark}, and for {:?} in the log",
                            self.log.get(&id.seq)
                        ));
                    }
                }
            }
        }
        if let Some(first) = wrong.into_iter().next() {
            self.complain(first);
        }
        shown
    }

    /// Everything has arrived that will. Promises 1 and 6.
    pub fn end(&mut self, shown: &Shown, end: &End) {
        self.look(&end.status);
        let balance = end.status.balance;
        let letters: BTreeSet<Mark> = end.letters.iter().map(|(_, mark)| *mark).collect();
        let missing: Vec<Mark> = self
            .acknowledged
            .iter()
            .filter(|mark| !shown.marks.contains(mark) && !letters.contains(mark))
            .copied()
            .collect();
        let dropped = balance.removed.removed();
        let may_drop = end.may_drop();
        if !may_drop && dropped > 0 {
            self.complain(format!(
                "promise 6: {dropped} were removed, and no policy says so: {balance:?}"
            ));
        }
        if missing.len() as u64 > dropped {
            let names: Vec<String> = missing.iter().take(5).map(ToString::to_string).collect();
            self.complain(format!(
                "promise 1: {} acknowledged messages are nowhere, and {dropped} were removed: {}",
                missing.len(),
                names.join(", ")
            ));
        }
        let received = self.log.len() as u64 + balance.removed.of(Reason::DroppedNewest);
        if balance.received != received {
            self.complain(format!(
                "promise 6: {received} were received, the account says {balance:?}"
            ));
        }
        let messages: BTreeSet<Seq> = end.letters.iter().map(|(seq, _)| *seq).collect();
        let kept = messages.len() as u64;
        let unknown = end.counted_as_delivered(kept);
        let ids = shown.ids.len() as u64 + unknown;
        if balance.delivered > ids || !may_drop && balance.delivered != ids {
            self.complain(format!(
                "promise 6: Kafka has {ids} messages, the account says {balance:?}"
            ));
        }
        if kept < end.letters.len() as u64 && !end.may_keep_twice {
            self.complain(format!(
                "promise 3: of {kept} messages there are {} dead letters",
                end.letters.len()
            ));
        }
        let told = kept - unknown;
        if balance.dead_lettered > told || !may_drop && balance.dead_lettered != told {
            self.complain(format!(
                "promise 6: {told} dead letters are there, the account says {balance:?}"
            ));
        }
    }
}

/// What readers of Kafka see.
#[derive(Debug, Default)]
pub struct Shown {
    pub marks: BTreeSet<Mark>,
    ids: BTreeMap<Seq, First>,
    /// Under which sequence a message is there that is not marked as a repetition.
    plain: BTreeMap<Mark, Seq>,
}

/// The first copy of a message: its id, which message it is, the hash of all of it, its time.
type First = (MessageId, Mark, u64, (i64, Option<String>));

/// A seed showed `promise 2` broken: number 30 was a dead letter, then came 40, then 30 again, which its topic took by then.
#[test]
fn a_dead_letter_that_the_broker_delivers_again_may_come_behind_later_ones() {
    let mark = |number| Mark { device: 1, number };
    let entry = |seq, is_dup| Entry {
        mark: mark(30),
        id: MessageId {
            epoch: Epoch(1),
            lane: "default".into(),
            seq: Seq(seq),
        },
        hash: 0,
        time: (0, None),
        is_dup,
        key: "1".into(),
        sight: Sight::Visible,
    };
    let letters = [(Seq(7), mark(30)), (Seq(8), mark(31))];
    assert!(entry(9, true).repeats(&letters));
    assert!(
        !entry(9, false).repeats(&letters),
        "nothing says that it was there before"
    );
    assert!(
        !entry(6, true).repeats(&letters),
        "it came before the dead letter"
    );
    assert!(
        !entry(9, true).repeats(&letters[1..]),
        "another message was the dead letter"
    );
}
