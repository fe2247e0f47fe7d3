//! A Kafka cluster, as far as a producer can tell: per partition it knows what each producer wrote last, refuses gaps, drops
//! repetitions, and begins with any number for a producer that it does not know there; a batch is stored as a whole or not at all.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rdkafka::types::RDKafkaErrorCode as Code;

use edgeferry::message::{MessageId, Seq};
use edgeferry::route::KafkaRecord;
use edgeferry::sink::producer::Committed;
use xxhash_rust::xxh3::Xxh3;

use crate::dice::Dice;
use crate::message::{Mark, POISON};

/// Batches of a producer that a partition remembers, to recognise repetitions (`ProducerStateEntry.NUM_BATCHES_TO_RETAIN`).
const REMEMBERED: usize = 5;
/// Largest record that topics take, bytes.
pub const RECORD_BYTES: usize = 2_000;
/// Largest record that the client takes, bytes.
pub const CLIENT_BYTES: usize = 4_000;
/// The coordinator gives up a transaction that is open for longer, simulated milliseconds.
const TRANSACTION_MS: u64 = 60_000;

/// Whether readers see a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    Visible,
    /// Part of the open transaction of the producer with this epoch.
    Open(u64),
    Aborted,
}

/// One record in a log.
#[derive(Debug, Clone)]
pub struct Entry {
    pub mark: Mark,
    pub id: MessageId,
    /// Of all that a consumer sees.
    pub hash: u64,
    /// The time of the record, and what its headers say of clocks, for a failure.
    pub time: (i64, Option<String>),
    /// `edgeferry-dup` is set.
    pub is_dup: bool,
    pub key: String,
    pub sight: Sight,
}

#[derive(Debug, Default)]
struct Known {
    /// First and last sequence of the newest batches, oldest first.
    batches: VecDeque<(u32, u32)>,
}

/// One partition.
#[derive(Debug, Default)]
pub struct Partition {
    pub log: Vec<Entry>,
    known: BTreeMap<u64, Known>,
    pub has_no_leader: bool,
    pub has_few_replicas: bool,
    pub loses_replicas: bool,
    /// The partition is being made: it answers now and then.
    pub warms_until: u64,
}

/// One topic.
#[derive(Debug)]
pub struct Topic {
    pub is_made: bool,
    pub is_denied: bool,
    pub partitions: Vec<Partition>,
}

/// Who keeps the transactions of the one transactional id.
#[derive(Debug, Default)]
pub struct Coordinator {
    pub epoch: u64,
    /// Since when the transaction of `epoch` is open.
    pub open_since: Option<u64>,
    committed: Committed,
    /// The process that did that.
    committed_in: u64,
    pub is_away: bool,
    /// Outcomes of the next commits.
    pub outcomes: VecDeque<Outcome>,
}

/// What becomes of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    DoneUntold,
    NotDoneUntold,
    Refused,
}

/// See the module documentation.
pub struct Cluster {
    pub topics: BTreeMap<String, Topic>,
    pub coordinator: Coordinator,
    next_producer: u64,
    /// Producer ids that are refused from now on.
    refused_below: u64,
    pub dice: Dice,
}

/// What a partition says to a batch.
pub type Answer = Result<(), Code>;

/// Who sends a batch.
#[derive(Debug, Clone, Copy)]
pub struct Sender {
    pub producer: u64,
    /// Of its transactional id; 0 without one.
    pub epoch: u64,
}

impl Cluster {
    pub fn new(seed: u64, topics: &[(&str, usize, bool)]) -> Self {
        let topic = |(name, partitions, is_made): &(&str, usize, bool)| {
            let topic = Topic {
                is_made: *is_made,
                is_denied: false,
                partitions: (0..*partitions).map(|_| Partition::default()).collect(),
            };
            ((*name).to_owned(), topic)
        };
        Self {
            topics: topics.iter().map(topic).collect(),
            coordinator: Coordinator::default(),
            next_producer: 1,
            refused_below: 0,
            dice: Dice::of(seed, "cluster"),
        }
    }

    /// A new producer id.
    pub fn identify(&mut self) -> u64 {
        self.next_producer += 1;
        self.next_producer
    }

    /// Producers that there are now get no further.
    pub fn refuse_producers(&mut self) {
        self.refused_below = self.next_producer + 1;
    }

    pub fn make(&mut self, topic: &str, now: u64) {
        let Some(topic) = self.topics.get_mut(topic).filter(|topic| !topic.is_made) else {
            return;
        };
        topic.is_made = true;
        for partition in &mut topic.partitions {
            partition.warms_until = now + 3_000;
        }
    }

    /// All partitions, in one order.
    pub fn partitions(&mut self) -> impl Iterator<Item = &mut Partition> {
        self.topics.values_mut().flat_map(|topic| &mut topic.partitions)
    }

    /// One of them.
    pub fn partition(&mut self, luck: u64) -> &mut Partition {
        let count = self.partitions().count();
        let index = usize::try_from(luck % count as u64).expect("small");
        self.partitions().nth(index).expect("counted")
    }

    /// A batch arrives at the leader of its partition.
    pub fn store(
        &mut self,
        from: Sender,
        place: &(String, i32),
        first: u32,
        records: &[Arc<KafkaRecord>],
        now: u64,
    ) -> Answer {
        let refused = from.producer < self.refused_below;
        self.expire(now);
        let Some(topic) = self.topics.get_mut(&place.0).filter(|topic| topic.is_made) else {
            return Err(Code::UnknownTopicOrPartition);
        };
        if topic.is_denied {
            return Err(Code::TopicAuthorizationFailed);
        }
        let index = usize::try_from(place.1).expect("not negative");
        let Some(partition) = topic.partitions.get_mut(index) else {
            return Err(Code::UnknownTopicOrPartition);
        };
        if partition.has_no_leader || now < partition.warms_until && self.dice.chance(600) {
            return Err(Code::NotLeaderForPartition);
        }
        if partition.has_few_replicas {
            return Err(Code::NotEnoughReplicas);
        }
        if records.iter().any(|record| record.bytes() > RECORD_BYTES) {
            return Err(Code::MessageSizeTooLarge);
        }
        if records.iter().any(|record| is_poison(record)) {
            return Err(Code::InvalidRecord);
        }
        if refused && from.epoch == 0 {
            return Err(Code::InvalidProducerEpoch);
        }
        if from.epoch > 0 {
            if from.epoch != self.coordinator.epoch {
                return Err(Code::InvalidProducerEpoch);
            }
            self.coordinator.open_since.get_or_insert(now);
        }
        let sight = match from.epoch {
            0 => Sight::Visible,
            epoch => Sight::Open(epoch),
        };
        partition.append(from.producer, first, records, sight)?;
        match partition.loses_replicas {
            true => Err(Code::NotEnoughReplicasAfterAppend),
            false => Ok(()),
        }
    }

    fn end(&mut self, epoch: u64, becomes: Sight) {
        self.coordinator.open_since = None;
        for partition in self.partitions() {
            for entry in partition.log.iter_mut().rev() {
                if entry.sight == Sight::Open(epoch) {
                    entry.sight = becomes;
                }
            }
        }
    }

    /// A transaction that is open for too long is taken back, and its producer gets no further.
    pub fn expire(&mut self, now: u64) {
        let since = self.coordinator.open_since;
        if since.is_some_and(|since| now - since > TRANSACTION_MS) {
            self.give_up();
        }
    }

    /// The coordinator takes the open transaction back.
    pub fn give_up(&mut self) {
        if self.coordinator.open_since.is_some() {
            self.end(self.coordinator.epoch, Sight::Aborted);
            self.coordinator.epoch += 1;
        }
    }

    /// A producer begins: whatever was open is taken back. Its epoch, and how far the one before it came.
    pub fn take_over(&mut self, life: u64) -> (u64, Committed) {
        self.end(self.coordinator.epoch, Sight::Aborted);
        self.coordinator.epoch += 1;
        let committed = Committed {
            is_ours: self.coordinator.committed_in == life,
            ..self.coordinator.committed.clone()
        };
        (self.coordinator.epoch, committed)
    }

    pub fn abort(&mut self, epoch: u64) {
        if epoch == self.coordinator.epoch {
            self.end(epoch, Sight::Aborted);
        }
    }

    /// The open transaction and the cursor become visible.
    pub fn commit(&mut self, epoch: u64, cursor: Seq, now: u64, life: u64) -> Result<(), Code> {
        self.expire(now);
        if epoch != self.coordinator.epoch {
            return Err(Code::Fenced);
        }
        self.end(epoch, Sight::Visible);
        self.coordinator.committed_in = life;
        self.coordinator.committed = Committed {
            cursor: Some(cursor),
            by: Some(format!("producer {epoch}")),
            is_ours: false,
        };
        Ok(())
    }
}

fn is_poison(record: &KafkaRecord) -> bool {
    record
        .payload
        .windows(POISON.len())
        .any(|bytes| bytes == POISON.as_bytes())
}

impl Partition {
    fn append(&mut self, producer: u64, first: u32, records: &[Arc<KafkaRecord>], sight: Sight) -> Answer {
        let last = first + u32::try_from(records.len()).expect("small") - 1;
        // Of a producer that it does not know here it takes any number as the first.
        let known = self.known.entry(producer).or_default();
        if known.batches.contains(&(first, last)) {
            return Ok(());
        }
        if let Some((_, end)) = known.batches.back() {
            if first <= *end {
                return Err(Code::DuplicateSequenceNumber);
            }
            if first != end + 1 {
                return Err(Code::OutOfOrderSequenceNumber);
            }
        }
        known.batches.push_back((first, last));
        if known.batches.len() > REMEMBERED {
            known.batches.pop_front();
        }
        self.log.extend(records.iter().map(|record| entry(record, sight)));
        Ok(())
    }
}

fn entry(record: &KafkaRecord, sight: Sight) -> Entry {
    let mut hash = Xxh3::new();
    hash.update(record.key.as_bytes());
    hash.update(&record.payload);
    hash.update(&record.timestamp_ms.to_be_bytes());
    for header in &record.headers {
        hash.update(header.name.as_bytes());
        hash.update(&header.value);
    }
    let id = record.header("edgeferry-id").and_then(MessageId::parse);
    Entry {
        mark: Mark::of(&record.payload),
        id: id.expect("each record has an id"),
        hash: hash.digest(),
        time: (
            record.timestamp_ms,
            record.header("edgeferry-clock").map(str::to_owned),
        ),
        is_dup: record.header("edgeferry-dup").is_some(),
        key: record.key.clone(),
        sight,
    }
}
