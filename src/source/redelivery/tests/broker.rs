//! A simulated broker, link and gateway around the window. Whatever the broker is told is acknowledged must
//! be in the store, and whatever is recognised must be the message that it is taken for.
//!
//! The broker may drop messages, which uses up ids, and its counter may begin anew. One thing it may not: lose the link
//! before the first message behind what it dropped is durable here. Without that nobody can be certain of anything
//! ("What remains possible" in `source`).

use std::collections::{HashSet, VecDeque};

use proptest::prelude::*;

use super::super::*;
use super::UNSEEN;

/// How a broker gives packet ids.
#[derive(Debug, Clone, Copy)]
enum Ids {
    /// 1 to n in turn, skipping ids in use.
    Cycle(u16),
    /// The smallest one that is free.
    Smallest,
    /// The one that was freed last.
    LastFreed,
}

/// What happens next.
#[derive(Debug, Clone)]
enum Step {
    /// Devices publish messages with these contents.
    Publish(Vec<u64>),
    /// So many packets reach the gateway.
    Deliver(usize),
    /// So many more of the stored messages become durable.
    Sync(u64),
    /// Everything durable is acknowledged; so many PUBACKs reach the broker.
    Acknowledge(usize),
    /// The link breaks and comes back: what is on the way, in both directions, is gone.
    Reconnect,
    /// The gateway is killed: what is not durable is gone too.
    Kill,
    /// The machine dies: the session file is not believed either.
    PowerCut,
    /// The broker drops so many messages that had got an id.
    Drop(u16),
    /// The broker dies: it knows its messages, and gives ids from the beginning.
    Restart,
}

#[derive(Debug, Clone, Copy)]
struct Message {
    /// Which message it really is.
    identity: usize,
    content: u64,
}

/// Holds at most [`UNSEEN`] messages unacknowledged, repeats them in order, and believes every PUBACK.
struct Broker {
    ids: Ids,
    last_id: u16,
    freed: Vec<u16>,
    queued: VecDeque<Message>,
    inflight: VecDeque<(u16, Message)>,
    published: usize,
    /// The first message that got its id after others were dropped, for each time that some were, until it is durable.
    behind_dropped: Vec<usize>,
}

struct Gateway {
    window: Window,
    handed: Position,
    last: Position,
    durable: Position,
    store: Vec<(Position, Seen, usize)>,
    /// Position of the message, packet id of the PUBLISH.
    owed: VecDeque<(Position, u16)>,
}

struct Simulation {
    broker: Broker,
    gateway: Gateway,
    to_gateway: VecDeque<(Seen, usize)>,
    to_broker: VecDeque<u16>,
    acknowledged: usize,
}

impl Broker {
    fn new(ids: Ids) -> Self {
        let freed = (1..=64).rev().collect();
        Self {
            ids,
            last_id: 0,
            freed,
            queued: VecDeque::new(),
            inflight: VecDeque::new(),
            published: 0,
            behind_dropped: Vec::new(),
        }
    }

    fn drop_messages(&mut self, count: u16) {
        if let Ids::Cycle(n) = self.ids {
            self.last_id = (self.last_id + count) % n;
            let next = self
                .queued
                .front()
                .map_or(self.published, |message| message.identity);
            self.behind_dropped.push(next);
        }
    }

    /// The next message that may go out, under a new id.
    fn fresh(&mut self) -> Option<(u16, Message)> {
        if self.inflight.len() == UNSEEN {
            return None;
        }
        let message = self.queued.pop_front()?;
        let sent = (self.give_id(), message);
        self.inflight.push_back(sent);
        Some(sent)
    }

    fn give_id(&mut self) -> u16 {
        let is_free = |id: &u16| self.inflight.iter().all(|(used, _)| used != id);
        let id = match self.ids {
            Ids::Cycle(n) => (0..n).map(|step| (self.last_id + step) % n + 1).find(is_free),
            Ids::Smallest => (1..64).find(is_free),
            Ids::LastFreed => self.freed.pop(),
        };
        self.last_id = id.expect("more ids than messages in flight");
        self.last_id
    }

    /// The message that a PUBACK ends.
    fn acknowledged(&mut self, packet_id: u16) -> Option<Message> {
        let at = self.inflight.iter().position(|(id, _)| *id == packet_id)?;
        self.freed.push(packet_id);
        self.inflight.remove(at).map(|(_, message)| message)
    }
}

impl Gateway {
    fn new() -> Self {
        let window = Window::new(UNSEEN);
        Self {
            window,
            handed: 0,
            last: 0,
            durable: 0,
            store: Vec::new(),
            owed: VecDeque::new(),
        }
    }

    fn receive(&mut self, seen: Seen, identity: usize) {
        let position = match self.window.judge(seen) {
            Verdict::Store => {
                self.last += 1;
                self.window.stored(seen, self.last);
                self.store.push((self.last, seen, identity));
                self.last
            }
            Verdict::Recognised(position) => {
                let original = self.store.iter().find(|(stored, ..)| *stored == position);
                let original = original.map(|(.., identity)| *identity);
                assert_eq!(original, Some(identity), "taken for another message");
                position
            }
        };
        self.owed.push_back((position, seen.packet_id));
    }

    /// The next PUBACK that may go out.
    fn acknowledge(&mut self) -> Option<u16> {
        let (position, packet_id) = *self
            .owed
            .front()
            .filter(|(position, _)| *position <= self.durable)?;
        self.owed.pop_front();
        self.handed = self.handed.max(position);
        Some(packet_id)
    }

    fn holds(&self, identity: usize) -> bool {
        self.store
            .iter()
            .any(|(position, _, stored)| *stored == identity && *position <= self.durable)
    }

    /// Starts anew from what is durable.
    fn restart(&mut self, believe_session_file: bool) {
        self.store.retain(|(position, ..)| *position <= self.durable);
        self.last = self.durable;
        if !believe_session_file {
            self.handed = self.last;
        }
        self.window = Window::new(UNSEEN);
        for (position, seen, _) in &self.store {
            self.window.forget_reused(*seen);
            self.window.stored(*seen, *position);
        }
        if !believe_session_file {
            self.window.doubt(self.last);
        }
    }

    /// Whether this message came, or a later one.
    fn has_seen(&self, identity: usize) -> bool {
        self.store.iter().any(|(.., stored)| *stored >= identity)
    }
}

impl Simulation {
    fn new(ids: Ids) -> Self {
        let (to_gateway, to_broker) = (VecDeque::new(), VecDeque::new());
        Self {
            broker: Broker::new(ids),
            gateway: Gateway::new(),
            to_gateway,
            to_broker,
            acknowledged: 0,
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Publish(contents) => self.publish(contents),
            Step::Deliver(count) => {
                let reach = (*count).min(self.to_gateway.len());
                self.to_gateway
                    .drain(..reach)
                    .for_each(|(seen, identity)| self.gateway.receive(seen, identity));
            }
            Step::Sync(count) => self.gateway.durable = self.gateway.last.min(self.gateway.durable + count),
            Step::Acknowledge(count) => self.acknowledge(*count),
            Step::Reconnect => {
                self.see_what_is_behind_dropped();
                self.reconnect();
            }
            Step::Kill | Step::PowerCut => {
                self.see_what_is_behind_dropped();
                self.gateway.restart(matches!(step, Step::Kill));
                self.reconnect();
            }
            Step::Drop(count) => self.broker.drop_messages(*count),
            Step::Restart => {
                self.see_what_is_behind_dropped();
                self.broker.last_id = 0;
                self.reconnect();
            }
        }
        while let Some((packet_id, message)) = self.broker.fresh() {
            self.send(packet_id, message, false);
        }
    }

    fn publish(&mut self, contents: &[u64]) {
        for content in contents {
            self.broker.queued.push_back(Message {
                identity: self.broker.published,
                content: *content,
            });
            self.broker.published += 1;
        }
    }

    fn send(&mut self, packet_id: u16, message: Message, dup: bool) {
        let seen = Seen {
            packet_id,
            fingerprint: message.content,
            qos: 1,
            dup,
        };
        self.to_gateway.push_back((seen, message.identity));
    }

    fn acknowledge(&mut self, reach: usize) {
        while let Some(packet_id) = self.gateway.acknowledge() {
            self.to_broker.push_back(packet_id);
        }
        let reach = reach.min(self.to_broker.len());
        for packet_id in self.to_broker.drain(..reach) {
            if let Some(message) = self.broker.acknowledged(packet_id) {
                assert!(
                    self.gateway.holds(message.identity),
                    "message {} is lost",
                    message.identity
                );
                self.acknowledged += 1;
            }
        }
    }

    fn see_what_is_behind_dropped(&mut self) {
        let Some(last) = self.broker.behind_dropped.last().copied() else {
            return;
        };
        while !self.gateway.has_seen(last)
            && let Some((seen, identity)) = self.to_gateway.pop_front()
        {
            self.gateway.receive(seen, identity);
        }
        let before = self.broker.behind_dropped.len();
        let gateway = &self.gateway;
        self.broker
            .behind_dropped
            .retain(|first| !gateway.has_seen(*first));
        if self.broker.behind_dropped.len() < before {
            self.gateway.durable = self.gateway.last;
        }
    }

    fn reconnect(&mut self) {
        self.to_gateway.clear();
        self.to_broker.clear();
        self.gateway.owed.clear();
        self.gateway.window.resume(self.gateway.handed);
        for (packet_id, message) in self.broker.inflight.clone() {
            self.send(packet_id, message, true);
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(0..2_u64, 1..6).prop_map(Step::Publish),
        6 => (1..12_usize).prop_map(Step::Deliver),
        4 => (1..12_u64).prop_map(Step::Sync),
        4 => (0..12_usize).prop_map(Step::Acknowledge),
        2 => Just(Step::Reconnect),
        1 => Just(Step::Kill),
        1 => Just(Step::PowerCut),
        1 => (1..60_u16).prop_map(Step::Drop),
        1 => Just(Step::Restart),
    ]
}

fn ids() -> impl Strategy<Value = Ids> {
    prop_oneof![
        (9..60_u16).prop_map(Ids::Cycle),
        Just(Ids::Smallest),
        Just(Ids::LastFreed)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_the_broker_thinks_is_acknowledged_is_stored(
        ids in ids(),
        steps in prop::collection::vec(step(), 1..160),
    ) {
        let mut simulation = Simulation::new(ids);
        for step in &steps {
            simulation.step(step);
        }
        // Then all is well for a while, and everything arrives.
        for _ in 0..simulation.broker.published + 2 {
            for step in [Step::Deliver(64), Step::Sync(64), Step::Acknowledge(64)] {
                simulation.step(&step);
            }
        }
        prop_assert_eq!(simulation.acknowledged, simulation.broker.published);
        let stored = simulation.gateway.store.iter().map(|(.., identity)| *identity);
        let stored: HashSet<usize> = stored.collect();
        prop_assert_eq!(stored.len(), simulation.broker.published);
    }
}
