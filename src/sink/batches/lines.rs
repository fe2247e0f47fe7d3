//! What waits for its partition and what is under way to it. Pure: time comes from outside.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Instant;

use super::Limits;
use crate::route::KafkaRecord;
use crate::sink::producer::Ticket;
use crate::sink::size;

/// With as many of a partition unanswered the client sends no more of it: `RD_KAFKA_IDEMP_MAX_INFLIGHT`, which librdkafka 2.12.1 compares
/// with a number of records (`rd_kafka_toppar_producer_serve`).
pub(super) const UNANSWERED_MAX: usize = 5;
/// Partitions that are remembered while nothing is under way; some 100 bytes each.
const LINES_MAX: usize = 1_000;

/// A partition; `None` for the one that the client chooses.
pub(super) type Partition = Option<i32>;

/// A record that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) ticket: Ticket,
    pub(super) record: KafkaRecord,
    /// What the client counts for it.
    bytes: usize,
    since: Instant,
}

/// The records of one partition.
#[derive(Debug)]
struct Line {
    partition: Partition,
    waiting: VecDeque<Waiting>,
    /// What those that wait count, bytes.
    bytes: usize,
    /// The client has so many without an answer.
    unanswered: usize,
}

/// Names a [`Line`].
pub(super) type Number = usize;

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Lines {
    limits: Limits,
    lines: Vec<Line>,
    numbers: HashMap<String, HashMap<Partition, Number>>,
    /// Lines in which something waits.
    crowded: BTreeSet<Number>,
    /// Records that the client has.
    unanswered: HashMap<Ticket, (Number, usize)>,
    /// All records, those that wait and those that the client has.
    records: usize,
    /// What they count, bytes.
    bytes: usize,
}

impl Lines {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            lines: Vec::new(),
            numbers: HashMap::new(),
            crowded: BTreeSet::new(),
            unanswered: HashMap::new(),
            records: 0,
            bytes: 0,
        }
    }

    /// How many partitions are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lines.len()
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
        if self.records == 0 && self.lines.len() >= LINES_MAX {
            self.lines.clear();
            self.numbers.clear();
        }
        let number = self.lines.len();
        self.lines.push(Line {
            partition,
            waiting: VecDeque::new(),
            bytes: 0,
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
        self.limits.linger.is_zero()
            && self
                .lines
                .get(number)
                .is_some_and(|line| line.waiting.is_empty() && line.unanswered < UNANSWERED_MAX)
    }

    /// The record has to wait.
    pub(super) fn wait(&mut self, number: Number, ticket: Ticket, record: KafkaRecord, since: Instant) {
        let Some(line) = self.lines.get_mut(number) else {
            return;
        };
        let bytes = size::of(&record);
        line.bytes += bytes;
        line.waiting.push_back(Waiting {
            ticket,
            record,
            bytes,
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
        if let Some(line) = self.lines.get_mut(number) {
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
        if let Some(line) = self.lines.get_mut(number) {
            line.unanswered = line.unanswered.saturating_sub(1);
        }
    }

    /// The lines that may send a batch now.
    pub(super) fn ready(&self, now: Instant) -> Vec<Number> {
        let is_ready = |number: &Number| self.due_of(*number).is_some_and(|due| due <= now);
        self.crowded.iter().copied().filter(is_ready).collect()
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
        let line = self.lines.get(number)?;
        let first = line.waiting.front()?;
        let is_whole =
            line.bytes >= self.limits.batch_bytes || line.waiting.len() >= self.limits.batch_records;
        let due = if is_whole {
            first.since
        } else {
            first.since + self.limits.linger
        };
        (line.unanswered < UNANSWERED_MAX).then_some(due)
    }

    /// Takes the records of one batch out of a line: as many as the client puts into one, at least one.
    pub(super) fn take_batch(&mut self, number: Number) -> (Partition, Vec<Waiting>) {
        let Some(line) = self.lines.get_mut(number) else {
            return (None, Vec::new());
        };
        let (mut batch, mut bytes) = (Vec::new(), 0_usize);
        while let Some(next) = line.waiting.front() {
            let more = bytes + next.bytes;
            let is_full = more > self.limits.batch_bytes || batch.len() >= self.limits.batch_records;
            if is_full && !batch.is_empty() {
                break;
            }
            bytes = more;
            batch.extend(line.waiting.pop_front());
        }
        line.bytes = line.bytes.saturating_sub(bytes);
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
        let Some(line) = self.lines.get_mut(number) else {
            return;
        };
        for waiting in rest.into_iter().rev() {
            line.bytes += waiting.bytes;
            line.waiting.push_front(waiting);
            self.crowded.insert(number);
        }
    }

    /// Takes the first record of a line out: it will not be sent.
    pub(super) fn take_first(&mut self, number: Number) -> Option<Waiting> {
        let line = self.lines.get_mut(number)?;
        let first = line.waiting.pop_front()?;
        line.bytes = line.bytes.saturating_sub(first.bytes);
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
