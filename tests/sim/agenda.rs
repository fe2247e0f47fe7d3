//! What is to happen, and when: the only queue of the simulated world. Two events of one millisecond come in the order in which
//! they were put down.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use edgeferry::source::played;

use crate::broker::Up;
use crate::chaos::Mend;

/// Something that happens outside of the process.
#[derive(Debug)]
pub enum Event {
    /// A device publishes.
    Device(usize),
    /// Something of the connection's client reaches the broker.
    Up(usize, Up),
    /// Something of the broker reaches the connection's client.
    Down(usize, Result<played::Event, played::Failure>),
    /// The connection's client pings.
    Ping(usize),
    /// The broker notices that the connection's client is gone.
    Gone(usize),
    /// A Kafka client sends what it has.
    Send(usize),
    /// A batch reaches the leader of its partition.
    Arrive(Flight),
    /// The leader's answer reaches the Kafka client.
    Answer(Flight, Result<(), rdkafka::types::RDKafkaErrorCode>),
    /// The process starts.
    Start,
    /// Number of the plan's fault.
    Fault(usize),
    /// A fault is over.
    Mend(Mend),
}

/// One attempt to send a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flight {
    /// Of the Kafka client.
    pub client: usize,
    /// Topic and partition.
    pub place: (String, i32),
    /// The batch, by the sequence of its first record.
    pub first: u32,
    /// Number of the attempt.
    pub attempt: u32,
}

struct Due {
    at: u64,
    number: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// See the module documentation.
#[derive(Default)]
pub struct Agenda {
    heap: BinaryHeap<Reverse<Due>>,
    number: u64,
}

impl Agenda {
    pub fn put(&mut self, at: u64, event: Event) {
        self.number += 1;
        let number = self.number;
        self.heap.push(Reverse(Due { at, number, event }));
    }

    pub fn next(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse(due)| due.at)
    }

    pub fn pop(&mut self, now: u64) -> Option<Event> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(due)| due.event)
    }
}
