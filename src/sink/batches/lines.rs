//! What waits for its partition and what is under way to it. Pure: time comes from outside.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::Limits;
use crate::route::KafkaRecord;
use crate::sink::producer::Ticket;

/// With as many of a partition unanswered the client sends no more of it: `RD_KAFKA_IDEMP_MAX_INFLIGHT`, which librdkafka 2.12.1 compares
/// with a number of records (`rd_kafka_toppar_producer_serve`).
const UNANSWERED_MAX: usize = 5;
/// With more partitions than this that have something under way, nothing is held: the requests of a connection, five, are all in use then, and
/// what the client has beyond them makes it wait (`rd_kafka_broker_outbufs_space`), and gathers there for longer than it would here.
const BUSY_MAX: usize = 5;
/// Numbers are short, so a record takes so many bytes less in a batch than the client counts for it before it takes it: some 12 beside
/// key, value and headers, where it counts 36. Too few would cost much: what does not fit into the batch waits in the client for the
/// answer, and the client spins.
const COUNTED_TOO_MUCH: usize = 24;
/// Partitions that are remembered while nothing is under way; some 100 bytes each.
const LINES_MAX: usize = 1_000;

/// A partition; `None` for the one that the client chooses.
type Partition = Option<i32>;

/// A record that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) ticket: Ticket,
    pub(super) record: Arc<KafkaRecord>,
    /// What the client counts for it before it takes it.
    bytes: usize,
    /// What it takes in a batch, about.
    batched: usize,
    since: Instant,
}

/// The records of one partition.
#[derive(Debug)]
struct Line {
    partition: Partition,
    waiting: VecDeque<Waiting>,
    /// What those that wait take in a batch, bytes.
    batched: usize,
    /// The client has so many without an answer.
    unanswered: usize,
}

/// Names a [`Line`].
pub(super) type Number = usize;

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Lines {
    limits: Limits,
    all: Vec<Line>,
    numbers: HashMap<String, HashMap<Partition, Number>>,
    /// Lines in which something waits.
    crowded: BTreeSet<Number>,
    /// Records that the client has.
    unanswered: HashMap<Ticket, (Number, usize)>,
    /// Lines of which the client has records.
    busy: usize,
    /// All records, those that wait and those that the client has.
    records: usize,
    /// What they count, bytes.
    bytes: usize,
}

impl Lines {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            all: Vec::new(),
            numbers: HashMap::new(),
            crowded: BTreeSet::new(),
            unanswered: HashMap::new(),
            busy: 0,
            records: 0,
            bytes: 0,
        }
    }

    /// How many partitions are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether the client would never take a record that counts so much.
    pub(super) const fn is_too_large(&self, bytes: usize) -> bool {
        bytes > self.limits.record_bytes
    }

    /// Whether there is room for one more record. One that is larger than all room goes alone.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.records == 0
            || self.records < self.limits.records && self.bytes.saturating_add(bytes) <= self.limits.bytes
    }

    /// The line of a partition.
    pub(super) fn number(&mut self, topic: &str, partition: Partition) -> Number {
        let known = self.numbers.get(topic).and_then(|lines| lines.get(&partition));
        if let Some(number) = known {
            return *number;
        }
        if self.records == 0 && self.all.len() >= LINES_MAX {
            self.all.clear();
            self.numbers.clear();
        }
        let number = self.all.len();
        self.all.push(Line {
            partition,
            waiting: VecDeque::new(),
            batched: 0,
            unanswered: 0,
        });
        self.numbers
            .entry(topic.to_owned())
            .or_default()
            .insert(partition, number);
        number
    }

    /// Whether the next record of a line may go to the client at once: nothing would be gained by waiting.
    pub(super) fn is_open(&self, number: Number) -> bool {
        let is_free = |line: &Line| line.waiting.is_empty() && self.may_send(line);
        !self.limits.holds || self.limits.linger.is_zero() && self.all.get(number).is_some_and(is_free)
    }

    /// Whether the client would not go round without a pause over more records of a line.
    const fn may_send(&self, line: &Line) -> bool {
        line.unanswered < UNANSWERED_MAX || self.busy > BUSY_MAX
    }

    /// The record, which counts `bytes`, has to wait.
    pub(super) fn wait(
        &mut self,
        number: Number,
        ticket: Ticket,
        record: Arc<KafkaRecord>,
        bytes: usize,
        since: Instant,
    ) {
        let Some(line) = self.all.get_mut(number) else {
            return;
        };
        let batched = bytes.saturating_sub(COUNTED_TOO_MUCH);
        line.batched += batched;
        line.waiting.push_back(Waiting {
            ticket,
            record,
            bytes,
            batched,
            since,
        });
        self.records += 1;
        self.bytes += bytes;
        self.crowded.insert(number);
    }

    /// The client took a record that did not wait.
    pub(super) fn sent(&mut self, number: Number, ticket: Ticket, bytes: usize) {
        self.records += 1;
        self.bytes += bytes;
        self.client_has(number, ticket, bytes);
    }

    fn client_has(&mut self, number: Number, ticket: Ticket, bytes: usize) {
        if let Some(line) = self.all.get_mut(number) {
            self.busy += usize::from(line.unanswered == 0);
            line.unanswered += 1;
        }
        self.unanswered.insert(ticket, (number, bytes));
    }

    /// Kafka answered for a record.
    pub(super) fn answered(&mut self, ticket: Ticket) {
        let Some((number, bytes)) = self.unanswered.remove(&ticket) else {
            return;
        };
        self.records = self.records.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
        if let Some(line) = self.all.get_mut(number) {
            line.unanswered = line.unanswered.saturating_sub(1);
            self.busy = self.busy.saturating_sub(usize::from(line.unanswered == 0));
        }
    }

    /// The lines that may send a batch now.
    pub(super) fn ready(&self, now: Instant) -> Vec<Number> {
        let crowded = self.crowded.iter().copied();
        crowded.filter(|number| self.is_ready(*number, now)).collect()
    }

    /// Whether a line may send a batch now.
    pub(super) fn is_ready(&self, number: Number, now: Instant) -> bool {
        self.due_of(number).is_some_and(|due| due <= now)
    }

    /// When the next line may send a batch, if no answer comes before.
    pub(super) fn due(&self) -> Option<Instant> {
        self.crowded
            .iter()
            .filter_map(|number| self.due_of(*number))
            .min()
    }

    /// When the first record of a line has waited long enough for company; at once for a whole batch. `None` while an answer is waited for.
    fn due_of(&self, number: Number) -> Option<Instant> {
        let line = self.all.get(number)?;
        let first = line.waiting.front()?;
        let is_whole =
            line.batched >= self.limits.batch_bytes || line.waiting.len() >= self.limits.batch_records;
        let due = if is_whole {
            first.since
        } else {
            first.since + self.limits.linger
        };
        self.may_send(line).then_some(due)
    }

    /// Takes the records of one batch out of a line: as many as the client puts into one, at least one.
    pub(super) fn take_batch(&mut self, number: Number) -> (Partition, Vec<Waiting>) {
        let Some(line) = self.all.get_mut(number) else {
            return (None, Vec::new());
        };
        let (mut batch, mut bytes) = (Vec::new(), 0_usize);
        while let Some(next) = line.waiting.front() {
            let more = bytes + next.batched;
            let is_full = more > self.limits.batch_bytes || batch.len() >= self.limits.batch_records;
            if is_full && !batch.is_empty() {
                break;
            }
            bytes = more;
            batch.extend(line.waiting.pop_front());
        }
        line.batched = line.batched.saturating_sub(bytes);
        if line.waiting.is_empty() {
            self.crowded.remove(&number);
        }
        (line.partition, batch)
    }

    /// The client took a record of a batch.
    pub(super) fn moved(&mut self, number: Number, taken: &Waiting) {
        self.client_has(number, taken.ticket, taken.bytes);
    }

    /// What the client had no room for waits again, before all others.
    pub(super) fn put_back(&mut self, number: Number, rest: Vec<Waiting>) {
        let Some(line) = self.all.get_mut(number) else {
            return;
        };
        for waiting in rest.into_iter().rev() {
            line.batched += waiting.batched;
            line.waiting.push_front(waiting);
            self.crowded.insert(number);
        }
    }

    /// Takes the first record of a line out: it will not be sent.
    pub(super) fn take_first(&mut self, number: Number) -> Option<Waiting> {
        let line = self.all.get_mut(number)?;
        let first = line.waiting.pop_front()?;
        line.batched = line.batched.saturating_sub(first.batched);
        self.records = self.records.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(first.bytes);
        Some(first)
    }

    /// Nothing that waits will be sent. Gives it back.
    pub(super) fn give_up(&mut self) -> Vec<Waiting> {
        let mut given_up = Vec::new();
        for number in std::mem::take(&mut self.crowded) {
            while let Some(first) = self.take_first(number) {
                given_up.push(first);
            }
        }
        given_up
    }
}
