//! Consumers of one group, as an application would run them: they process a record, then commit it.
//!
//! Nobody processes before the group has shared out the partitions, so that the work is really divided, and so that a test
//! does not depend on who came first.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::types::RDKafkaErrorCode;

use super::{kafka, wait};

/// Joining a group takes a few requests; nothing but a failure takes this long.
const LIMIT: Duration = Duration::from_mins(1);
/// How long one look for a record takes.
const GLANCE: Duration = Duration::from_millis(50);
/// Records between two commits: several commits in every test, and few beside the records.
const COMMIT_EVERY: usize = 50;

/// What a consumer saw of a record.
#[derive(Debug, Clone)]
pub struct Taken {
    /// Partition and offset: the record itself.
    pub place: (i32, i64),
    /// `edgeferry-id`
    pub id: String,
    /// Whether it has `edgeferry-dup`: it may be a second copy, with another id, of a message that MQTT brought twice.
    pub in_doubt: bool,
    /// Key as text.
    pub key: String,
    /// Value.
    pub value: Vec<u8>,
}

impl Taken {
    fn read(message: &BorrowedMessage<'_>) -> Self {
        let header = |name: &str| {
            let header = message.headers()?.iter().find(|header| header.key == name)?;
            header.value
        };
        let text = |bytes: Option<&[u8]>| {
            let bytes = bytes.expect("records have a key and an id").to_vec();
            String::from_utf8(bytes).expect("they are text")
        };
        Self {
            place: (message.partition(), message.offset()),
            id: text(header("edgeferry-id")),
            in_doubt: header("edgeferry-dup").is_some(),
            key: text(message.key()),
            value: message.payload().unwrap_or_default().to_vec(),
        }
    }
}

/// What the members of a group share.
#[derive(Debug, Default)]
struct Common {
    taken: AtomicUsize,
    may_begin: AtomicBool,
    may_end: AtomicBool,
}

/// Some consumers with one group id.
#[derive(Debug)]
pub struct Group {
    common: Arc<Common>,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    assigned: Arc<Mutex<BTreeSet<i32>>>,
    thread: JoinHandle<Vec<Taken>>,
}

impl Group {
    /// `members` consumers join the group `id` on `topic` and wait until its `partitions` are shared out: every partition
    /// has its consumer, and no consumer is idle that could have one.
    pub fn join(bootstrap: &str, topic: &str, partitions: i32, id: &str, members: usize) -> Self {
        let common = Arc::<Common>::default();
        let members = (0..members).map(|_| Member::start(bootstrap, topic, id, &common));
        let group = Self {
            common: Arc::clone(&common),
            members: members.collect(),
        };
        let all: BTreeSet<i32> = (0..partitions).collect();
        wait::until("the partitions are shared out", LIMIT, || {
            let shares = group.shares();
            let busy = shares.iter().filter(|share| !share.is_empty()).count();
            let held: Vec<i32> = shares.into_iter().flatten().collect();
            (busy == group.members.len().min(all.len())
                && held.len() == all.len()
                && held.into_iter().collect::<BTreeSet<_>>() == all)
                .then_some(())
        });
        common.may_begin.store(true, Ordering::SeqCst);
        group
    }

    fn shares(&self) -> Vec<BTreeSet<i32>> {
        let shares = self.members.iter();
        shares
            .map(|member| member.assigned.lock().expect("nobody panics").clone())
            .collect()
    }

    /// Waits until the group has processed so many records, ends its members, and gives what each of them processed, in
    /// its order.
    pub fn process(self, records: usize) -> Vec<Vec<Taken>> {
        wait::until(&format!("the group has {records} records"), LIMIT, || {
            (self.common.taken.load(Ordering::SeqCst) >= records).then_some(())
        });
        self.common.may_end.store(true, Ordering::SeqCst);
        let members = self.members.into_iter();
        members
            .map(|member| member.thread.join().expect("consumers do not panic"))
            .collect()
    }
}

impl Member {
    fn start(bootstrap: &str, topic: &str, id: &str, common: &Arc<Common>) -> Self {
        let assigned = Arc::<Mutex<BTreeSet<i32>>>::default();
        let assignment = Assignment {
            partitions: Arc::clone(&assigned),
            common: Arc::clone(common),
        };
        let consumer: BaseConsumer<Assignment> = kafka::client(bootstrap)
            .set("group.id", id)
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .create_with_context(assignment)
            .expect("a plain consumer");
        consumer.subscribe(&[topic]).expect("a valid topic");
        let common = Arc::clone(common);
        let thread = std::thread::spawn(move || consume(&consumer, &common));
        Self { assigned, thread }
    }
}

/// The life of a consumer: process, then commit.
fn consume(consumer: &BaseConsumer<Assignment>, common: &Common) -> Vec<Taken> {
    let mut taken = Vec::new();
    let mut begun = false;
    while !common.may_end.load(Ordering::SeqCst) {
        if !begun && common.may_begin.load(Ordering::SeqCst) {
            let all = consumer.assignment().expect("it is known locally");
            consumer.resume(&all).expect("they are ours");
            begun = true;
        }
        // Errors of the connection are waited out; a record that never comes is missed by the test.
        if let Some(Ok(message)) = consumer.poll(GLANCE) {
            taken.push(Taken::read(&message));
            consumer.store_offset_from_message(&message).expect("it is ours");
            common.taken.fetch_add(1, Ordering::SeqCst);
            if taken.len() % COMMIT_EVERY == 0 {
                commit(consumer);
            }
        }
    }
    commit(consumer);
    taken
}

fn commit(consumer: &BaseConsumer<Assignment>) {
    match consumer.commit_consumer_state(CommitMode::Sync) {
        Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
        Err(error) => panic!("cannot commit: {error}"),
    }
}

/// Keeps an eye on what a consumer is given, and holds it until all have got theirs.
struct Assignment {
    partitions: Arc<Mutex<BTreeSet<i32>>>,
    common: Arc<Common>,
}

impl ClientContext for Assignment {}

impl ConsumerContext for Assignment {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(_) = rebalance {
            commit(consumer);
            self.partitions.lock().expect("nobody panics").clear();
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(list) = rebalance else {
            return;
        };
        if !self.common.may_begin.load(Ordering::SeqCst) {
            consumer.pause(list).expect("they are ours");
        }
        let elements = list.elements();
        let numbers = elements.iter().map(TopicPartitionListElem::partition).collect();
        *self.partitions.lock().expect("nobody panics") = numbers;
    }
}
