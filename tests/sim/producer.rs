//! The gateway's Kafka client: what librdkafka is in the product, as an idempotent producer without gaps.
//!
//! Records of a partition get sequence numbers, go out in batches, up to five at a time, and are sent again, in order and under
//! the same numbers, for as long as the answer is one that passes. Any other answer ends the client: what is behind comes
//! back unsent. What is on its way when the client is dropped may still arrive.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use edgeferry::message::Seq;
use edgeferry::route::KafkaRecord;
use edgeferry::sink::batches::{Batched, Limits};
use edgeferry::sink::producer::{
    Committed, Connector, Producer, Report, SubmitError, Ticket, TopicState, TransactionError,
};
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::agenda::{Event, Flight};
use crate::cluster::{CLIENT_BYTES, Outcome, Sender};
use crate::world::{World, with};

/// Batches of a partition that are under way at most.
const FLYING_MAX: usize = 5;
/// Records that the client takes.
const CAPACITY: usize = 200;
/// The same when it is short of room.
const CAPACITY_SMALL: usize = 3;
/// Records that are handed over together at most.
const BATCH_RECORDS: usize = 50;
/// How long a record waits for company at most, milliseconds.
const LINGER_MS: u64 = 5;

/// One batch.
#[derive(Debug)]
struct Batch {
    first: u32,
    records: Vec<(Ticket, Arc<KafkaRecord>)>,
    attempt: u32,
    state: State,
    /// This attempt never arrives.
    is_lost: bool,
    /// Nobody hears what becomes of this attempt.
    is_untold: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Flying,
    /// To be sent again.
    Waiting,
}

#[derive(Debug, Default)]
struct Line {
    next: u32,
    queue: VecDeque<(Ticket, Arc<KafkaRecord>)>,
    batches: VecDeque<Batch>,
    /// When the last thing on its way arrives.
    last: u64,
}

/// One client, and what is left of it.
#[derive(Debug)]
pub struct Client {
    from: Sender,
    lines: BTreeMap<(String, i32), Line>,
    reports: Vec<Report>,
    trouble: VecDeque<Code>,
    /// Why it takes nothing more.
    fatal: Option<Code>,
    is_dropped: bool,
    is_sending: bool,
    has_begun: bool,
    /// The commit that was begun was done.
    committed: Option<Seq>,
}

impl Client {
    pub fn under_way(&self) -> usize {
        let lines = self.lines.values();
        lines
            .map(|line| {
                line.queue.len()
                    + line
                        .batches
                        .iter()
                        .map(|batch| batch.records.len())
                        .sum::<usize>()
            })
            .sum()
    }

    pub fn has_begun(&self) -> bool {
        self.has_begun
    }
}

/// The state of the link between client and cluster.
#[derive(Debug, Default)]
pub struct Link {
    pub is_down: bool,
    /// Nothing is answered, and nothing arrives.
    pub is_hanging: bool,
    /// Added to each way, milliseconds.
    pub delay: u64,
    pub is_client_full: bool,
    /// How long the last questions took, milliseconds.
    pub spent: u64,
}

/// Whether the client sends again by itself.
fn is_passing(code: Code) -> bool {
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::NotLeaderForPartition
            | Code::NotEnoughReplicas
            | Code::NotEnoughReplicasAfterAppend
            | Code::RequestTimedOut
            | Code::OutOfOrderSequenceNumber
            | Code::UnknownTopicOrPartition
    )
}

/// Makes clients.
#[derive(Debug)]
pub struct Kafka;

/// The gateway's hand on a client.
#[derive(Debug)]
pub struct Hand(usize);

impl Connector for Kafka {
    type Producer = Batched<Hand>;

    fn connect(&mut self) -> Result<Batched<Hand>, String> {
        let (hand, linger) = with(|world| {
            let producer = world.cluster.identify();
            world.clients.push(Client {
                from: Sender { producer, epoch: 0 },
                lines: BTreeMap::new(),
                reports: Vec::new(),
                trouble: VecDeque::new(),
                fatal: None,
                is_dropped: false,
                is_sending: false,
                has_begun: false,
                committed: None,
            });
            let client = world.clients.len() - 1;
            world.say(format_args!("Kafka client {client} begins"));
            if world.link.is_down {
                world.clients[client].trouble.push_back(Code::AllBrokersDown);
            }
            (Hand(client), world.cluster.dice.between(0, LINGER_MS))
        });
        let limits = Limits {
            holds: true,
            linger: Duration::from_millis(linger),
            batch_bytes: CLIENT_BYTES,
            batch_records: BATCH_RECORDS,
            record_bytes: CLIENT_BYTES,
            records: CAPACITY,
            bytes: CAPACITY * CLIENT_BYTES,
        };
        Ok(Batched::new(hand, limits))
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        with(|world| world.client_dropped(self.0));
    }
}

impl Producer for Hand {
    fn submit(
        &mut self,
        record: &Arc<KafkaRecord>,
        partition: Option<i32>,
        ticket: Ticket,
    ) -> Result<(), SubmitError> {
        with(|world| world.submit(self.0, record, partition.expect("the sink chooses"), ticket))
    }

    fn reports(&mut self) -> Vec<Report> {
        with(|world| std::mem::take(&mut world.clients[self.0].reports))
    }

    fn trouble(&mut self) -> Option<Code> {
        with(|world| world.clients[self.0].trouble.pop_front())
    }

    fn take_over(&mut self, patience: Duration) -> Result<Committed, TransactionError> {
        with(|world| {
            world.reach_coordinator(patience)?;
            let (epoch, committed) = world.cluster.take_over(world.life);
            world.clients[self.0].from.epoch = epoch;
            world.say(format_args!(
                "client {} takes over as {epoch}, cursor {:?}",
                self.0, committed.cursor
            ));
            Ok(committed)
        })
    }

    fn begin(&mut self) -> Result<(), TransactionError> {
        with(|world| {
            let client = &mut world.clients[self.0];
            let refuse = |code| TransactionError {
                code,
                is_retriable: false,
            };
            if let Some(code) = client.fatal {
                return Err(refuse(code));
            }
            if std::mem::replace(&mut client.has_begun, true) {
                return Err(refuse(Code::State));
            }
            Ok(())
        })
    }

    fn commit(&mut self, cursor: Seq, patience: Duration) -> Result<(), TransactionError> {
        with(|world| world.commit(self.0, cursor, patience))
    }

    fn abort(&mut self, patience: Duration) {
        with(|world| {
            if world.reach_coordinator(patience).is_ok() {
                world.cluster.abort(world.clients[self.0].from.epoch);
            }
        });
    }

    fn topic_state(&mut self, topic: &str, patience: Duration) -> TopicState {
        with(|world| world.topic_state(topic, patience))
    }
}

impl World {
    fn way(&mut self) -> u64 {
        let base = self.kafka_latency;
        base + self.cluster.dice.between(0, base + 2) + self.link.delay
    }

    fn is_link_dead(&self) -> bool {
        self.link.is_down || self.link.is_hanging
    }

    fn waits(&mut self, patience: Duration) {
        self.link.spent += u64::try_from(patience.as_millis()).expect("short");
    }

    fn reach_coordinator(&mut self, patience: Duration) -> Result<(), TransactionError> {
        if self.is_link_dead() || self.cluster.coordinator.is_away {
            self.waits(patience);
            let (code, is_retriable) = (Code::OperationTimedOut, true);
            return Err(TransactionError { code, is_retriable });
        }
        let way = self.way() * 2;
        self.link.spent += way;
        Ok(())
    }

    fn topic_state(&mut self, topic: &str, patience: Duration) -> TopicState {
        if self.is_link_dead() {
            self.waits(patience);
            return TopicState::Unreachable(Code::OperationTimedOut);
        }
        let way = self.way() * 2;
        self.link.spent += way;
        let Some(topic) = self.cluster.topics.get(topic).filter(|topic| topic.is_made) else {
            return TopicState::Missing(Code::UnknownTopicOrPartition);
        };
        let partitions = topic.partitions.len();
        let leaderless = topic
            .partitions
            .iter()
            .position(|partition| partition.has_no_leader);
        match leaderless {
            Some(first) => TopicState::Leaderless {
                partitions,
                first: i32::try_from(first).expect("small"),
            },
            None => TopicState::Present { partitions },
        }
    }

    fn submit(
        &mut self,
        client: usize,
        record: &Arc<KafkaRecord>,
        partition: i32,
        ticket: Ticket,
    ) -> Result<(), SubmitError> {
        let capacity = match self.link.is_client_full {
            true => CAPACITY_SMALL,
            false => CAPACITY,
        };
        let held = &mut self.clients[client];
        if held.fatal.is_some() {
            return Err(SubmitError::Refused(Code::Fatal));
        }
        if record.bytes() > CLIENT_BYTES {
            return Err(SubmitError::Refused(Code::MessageSizeTooLarge));
        }
        if held.under_way() >= capacity {
            return Err(SubmitError::Full);
        }
        let place = (record.topic.clone(), partition);
        held.lines
            .entry(place)
            .or_default()
            .queue
            .push_back((ticket, Arc::clone(record)));
        self.schedule(client, 1);
        Ok(())
    }

    fn schedule(&mut self, client: usize, after: u64) {
        let held = &mut self.clients[client];
        if !std::mem::replace(&mut held.is_sending, true) {
            let linger = self.cluster.dice.between(0, 6);
            self.agenda
                .put(self.board.now() + after + linger, Event::Send(client));
        }
    }

    /// The client sends what may go: first what waits to be sent again, then new batches.
    pub fn send(&mut self, client: usize) {
        self.clients[client].is_sending = false;
        if self.clients[client].is_dropped || self.clients[client].fatal.is_some() {
            return;
        }
        let places: Vec<(String, i32)> = self.clients[client].lines.keys().cloned().collect();
        for place in places {
            self.send_line(client, &place);
        }
    }

    fn send_line(&mut self, client: usize, place: &(String, i32)) {
        let batch_max = self.batch;
        let size = self.cluster.dice.below(batch_max) + 1;
        let line = self.clients[client].lines.get_mut(place).expect("known");
        let again: Vec<u32> = line
            .batches
            .iter()
            .filter(|batch| batch.state == State::Waiting)
            .map(|batch| batch.first)
            .collect();
        let mut flights = again;
        if flights.is_empty() {
            while line.batches.len() < FLYING_MAX && !line.queue.is_empty() {
                let count = line.queue.len().min(size);
                let records: Vec<_> = line.queue.drain(..count).collect();
                let first = line.next;
                line.next += u32::try_from(count).expect("small");
                line.batches.push_back(Batch {
                    first,
                    records,
                    attempt: 0,
                    state: State::Waiting,
                    is_lost: false,
                    is_untold: false,
                });
                flights.push(first);
            }
        }
        for first in flights {
            self.fly(client, place, first);
        }
    }

    fn fly(&mut self, client: usize, place: &(String, i32), first: u32) {
        let (way, now) = (self.way(), self.now());
        let is_down = self.link.is_down;
        let line = self.clients[client].lines.get_mut(place).expect("known");
        let batch = line
            .batches
            .iter_mut()
            .find(|batch| batch.first == first)
            .expect("known");
        batch.state = State::Flying;
        batch.attempt += 1;
        batch.is_lost = is_down;
        batch.is_untold = is_down;
        let flight = Flight {
            client,
            place: place.clone(),
            first,
            attempt: batch.attempt,
        };
        let at = (now + way).max(line.last);
        line.last = at;
        match is_down {
            true => self
                .agenda
                .put(at, Event::Answer(flight, Err(Code::BrokerTransportFailure))),
            false => self.agenda.put(at, Event::Arrive(flight)),
        }
    }

    /// The connection breaks: of what is on its way, some never arrives, and of the rest nobody hears what became of it.
    pub fn cut_kafka(&mut self) {
        let now = self.now();
        for client in 0..self.clients.len() {
            let dice = &mut self.cluster.dice;
            let held = &mut self.clients[client];
            if held.is_dropped {
                continue;
            }
            held.trouble.push_back(Code::BrokerTransportFailure);
            for (place, line) in &mut held.lines {
                let arrives = dice.below(line.batches.len() + 1);
                for (index, batch) in line.batches.iter_mut().enumerate() {
                    if batch.state != State::Flying {
                        continue;
                    }
                    batch.is_lost |= index >= arrives;
                    batch.is_untold = true;
                    let flight = Flight {
                        client,
                        place: place.clone(),
                        first: batch.first,
                        attempt: batch.attempt,
                    };
                    self.agenda
                        .put(now + 2, Event::Answer(flight, Err(Code::BrokerTransportFailure)));
                }
            }
        }
        self.sink_wakes = true;
    }

    /// The gateway lets go of a client. What is on its way may arrive, a beginning of it in each partition.
    fn client_dropped(&mut self, client: usize) {
        let dice = &mut self.cluster.dice;
        let held = &mut self.clients[client];
        held.is_dropped = true;
        for line in held.lines.values_mut() {
            let arrives = dice.below(line.batches.len() + 1);
            for (index, batch) in line.batches.iter_mut().enumerate() {
                batch.is_lost |= index >= arrives;
                batch.is_untold = true;
            }
        }
        self.say(format_args!("Kafka client {client} is gone"));
    }

    /// A batch arrives.
    pub fn arrive(&mut self, flight: Flight) {
        let held = &self.clients[flight.client];
        let from = held.from;
        let line = held.lines.get(&flight.place).expect("known");
        let batch = line.batches.iter().find(|batch| batch.first == flight.first);
        let Some(batch) = batch.filter(|batch| batch.attempt == flight.attempt && !batch.is_lost) else {
            return;
        };
        if self.link.is_hanging {
            // It comes when the link does.
            return self.agenda.put(self.now() + 500, Event::Arrive(flight));
        }
        let records: Vec<_> = batch
            .records
            .iter()
            .map(|(_, record)| Arc::clone(record))
            .collect();
        let is_untold = batch.is_untold;
        let answer = self
            .cluster
            .store(from, &flight.place, flight.first, &records, self.board.now());
        self.say(format_args!(
            "{}/{} {}+{} of client {}: {answer:?}",
            flight.place.0,
            flight.place.1,
            flight.first,
            records.len(),
            flight.client
        ));
        if !is_untold {
            let way = self.way();
            let line = self.clients[flight.client]
                .lines
                .get_mut(&flight.place)
                .expect("known");
            let at = (self.board.now() + way).max(line.last);
            line.last = at;
            self.agenda.put(at, Event::Answer(flight, answer));
        }
    }

    /// An answer arrives.
    pub fn answer(&mut self, flight: &Flight, answer: Result<(), Code>) {
        let client = flight.client;
        let held = &mut self.clients[client];
        if held.is_dropped || held.fatal.is_some() {
            return;
        }
        let line = held.lines.get_mut(&flight.place).expect("known");
        let Some(index) = line.batches.iter().position(|batch| {
            batch.first == flight.first && batch.attempt == flight.attempt && batch.state == State::Flying
        }) else {
            return;
        };
        match answer {
            // What it has already is as good as stored.
            Ok(()) | Err(Code::DuplicateSequenceNumber) => {
                let batch = line.batches.remove(index).expect("found");
                let topic = flight.place.0.clone();
                held.reports
                    .extend(batch.records.into_iter().map(|(ticket, _)| Report {
                        ticket,
                        topic: topic.clone(),
                        outcome: Ok(()),
                    }));
                self.schedule(client, 0);
            }
            // A gap is the fault of a batch before it, which is sent again first; without one nobody knows.
            Err(Code::OutOfOrderSequenceNumber) if index == 0 => {
                self.fail(client, flight, Code::OutOfOrderSequenceNumber);
            }
            Err(code) if is_passing(code) => {
                line.batches[index].state = State::Waiting;
                if self.link.is_down {
                    held.trouble.push_back(Code::AllBrokersDown);
                }
                self.schedule(client, 100);
            }
            Err(code) => self.fail(client, flight, code),
        }
        self.sink_wakes = true;
    }

    /// A batch is refused for good. Without gaps, nothing behind it is sent.
    fn fail(&mut self, client: usize, flight: &Flight, code: Code) {
        let held = &mut self.clients[client];
        let mut failed = Vec::new();
        let mut purged = Vec::new();
        for (place, line) in &mut held.lines {
            let mut flying = VecDeque::new();
            for mut batch in line.batches.drain(..) {
                let is_it = *place == flight.place && batch.first == flight.first;
                let outcome = match (is_it, batch.state) {
                    (true, _) => Err(code),
                    (false, State::Flying) => Err(Code::PurgeInflight),
                    (false, State::Waiting) => Err(Code::PurgeQueue),
                };
                let reports = batch.records.iter().map(|(ticket, _)| Report {
                    ticket: *ticket,
                    topic: place.0.clone(),
                    outcome,
                });
                match is_it {
                    true => failed.extend(reports),
                    false => purged.extend(reports),
                }
                // It may arrive all the same.
                if !is_it && batch.state == State::Flying {
                    batch.is_untold = true;
                    flying.push_back(batch);
                }
            }
            line.batches = flying;
            purged.extend(line.queue.drain(..).map(|(ticket, _)| Report {
                ticket,
                topic: place.0.clone(),
                outcome: Err(Code::PurgeQueue),
            }));
        }
        // The cause is not always the first that is heard.
        match self.cluster.dice.chance(500) {
            true => held.reports.extend(failed.into_iter().chain(purged)),
            false => held.reports.extend(purged.into_iter().chain(failed)),
        }
        held.fatal = Some(code);
    }

    fn commit(&mut self, client: usize, cursor: Seq, patience: Duration) -> Result<(), TransactionError> {
        let failed = |code, is_retriable| Err(TransactionError { code, is_retriable });
        self.reach_coordinator(patience)?;
        if self.clients[client].committed == Some(cursor) {
            self.clients[client].has_begun = false;
            self.clients[client].committed = None;
            return Ok(());
        }
        let epoch = self.clients[client].from.epoch;
        let outcome = self.cluster.coordinator.outcomes.pop_front();
        match outcome {
            Some(Outcome::NotDoneUntold) => {
                self.waits(patience);
                return failed(Code::OperationTimedOut, true);
            }
            Some(Outcome::Refused) => return failed(Code::InconsistentGroupProtocol, false),
            Some(Outcome::DoneUntold) | None => {}
        }
        let now = self.now();
        let committed = self.cluster.commit(epoch, cursor, now, self.life);
        self.say(format_args!(
            "commit up to {cursor} by client {client}: {committed:?}, {outcome:?}"
        ));
        if let Err(code) = committed {
            return failed(code, false);
        }
        if outcome.is_some() {
            self.clients[client].committed = Some(cursor);
            self.waits(patience);
            return failed(Code::OperationTimedOut, true);
        }
        self.clients[client].has_begun = false;
        Ok(())
    }
}
