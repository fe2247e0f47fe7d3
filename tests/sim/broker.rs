//! An MQTT broker with one client, the gateway: sessions that outlive connections, a window, repetitions with DUP, packet ids that
//! come round, connections that break with something on its way in both directions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use edgeferry::source::played::{Answer, Event, Failure, Publish};
use tokio::sync::mpsc;

use crate::agenda;
use crate::dice::Dice;
use crate::message::{Mark, Message};
use crate::plan::Ids;
use crate::world::World;

/// Events that a client has not taken: more than windows and pings make.
const AHEAD: usize = 4_096;

/// What a client says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Up {
    Connect { is_clean: bool },
    Subscribe(u16, Vec<String>),
    Unsubscribe(u16),
    Puback(u16),
    Disconnect,
}

/// One connection, of either side.
pub struct Connection {
    pub broker: usize,
    /// Towards the client.
    pub to_client: mpsc::Sender<Result<Event, Failure>>,
    /// What comes later than this never comes, in each direction.
    pub down_until: u64,
    pub up_until: u64,
    /// When the last thing on its way arrives.
    down_last: u64,
    up_last: u64,
    /// Which message each packet id of this connection means, as the client saw it.
    pub seen: BTreeMap<u16, Mark>,
    /// The broker has let it in and not let go of it.
    is_live: bool,
}

/// See the module documentation.
pub struct Broker {
    pub name: String,
    ids: Ids,
    window: usize,
    last_id: u16,
    has_session: bool,
    filters: BTreeSet<String>,
    pub queue: VecDeque<Message>,
    pub inflight: VecDeque<(u16, Message)>,
    pub live: Option<usize>,
    pub is_down: bool,
    pub is_refusing: bool,
    pub is_hanging: bool,
    pub refuses_filters: bool,
    pub dice: Dice,
    latency: u64,
}

impl Broker {
    pub fn new(name: String, ids: Ids, window: u16, seed: u64) -> Self {
        let mut dice = Dice::of(seed, &name);
        let latency = dice.pick(&[1, 5, 40]);
        Self {
            name,
            ids,
            window: window.into(),
            last_id: 0,
            has_session: false,
            filters: BTreeSet::new(),
            queue: VecDeque::new(),
            inflight: VecDeque::new(),
            live: None,
            is_down: false,
            is_refusing: false,
            is_hanging: false,
            refuses_filters: false,
            dice,
            latency,
        }
    }

    /// Nothing waits here for the gateway.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.inflight.is_empty()
    }

    pub fn is_subscribed(&self) -> bool {
        self.has_session && !self.filters.is_empty()
    }

    fn wants(&self, message: &Message) -> bool {
        self.has_session
            && self
                .filters
                .iter()
                .any(|filter| filter.split('/').next() == message.topic.split('/').next())
    }

    fn forget_session(&mut self) {
        self.has_session = false;
        self.filters.clear();
        self.queue.clear();
        self.inflight.clear();
        self.last_id = 0;
    }

    /// Counts packet ids from the beginning again, as after a restart.
    pub fn count_anew(&mut self) {
        self.last_id = 0;
    }

    fn next_id(&mut self) -> u16 {
        let is_free =
            |id: u16, inflight: &VecDeque<(u16, Message)>| inflight.iter().all(|(used, _)| *used != id);
        let count = match self.ids {
            Ids::Cycle(count) => count,
            Ids::Smallest => {
                self.last_id = 0;
                u16::MAX
            }
        };
        loop {
            self.last_id = self.last_id % count + 1;
            if is_free(self.last_id, &self.inflight) {
                return self.last_id;
            }
        }
    }
}

impl World {
    fn latency(&mut self, broker: usize) -> u64 {
        let broker = &mut self.brokers[broker];
        let base = broker.latency;
        base + broker.dice.between(0, base + 1)
    }

    /// The gateway opens a connection. Nothing happens before it is polled.
    pub fn open_connection(&mut self, broker: usize) -> (usize, mpsc::Receiver<Result<Event, Failure>>) {
        let (to_client, events) = mpsc::channel(AHEAD);
        self.connections.push(Connection {
            broker,
            to_client,
            down_until: u64::MAX,
            up_until: u64::MAX,
            down_last: 0,
            up_last: 0,
            seen: BTreeMap::new(),
            is_live: false,
        });
        (self.connections.len() - 1, events)
    }

    /// The client says something.
    pub fn say_up(&mut self, connection: usize, what: Up) {
        let latency = self.latency(self.connections[connection].broker);
        let at = (self.now() + latency).max(self.connections[connection].up_last);
        self.connections[connection].up_last = at;
        self.agenda.put(at, agenda::Event::Up(connection, what));
    }

    /// The broker says something.
    pub fn say_down(&mut self, connection: usize, what: Result<Event, Failure>) {
        let latency = self.latency(self.connections[connection].broker);
        let at = (self.now() + latency).max(self.connections[connection].down_last);
        self.connections[connection].down_last = at;
        self.agenda.put(at, agenda::Event::Down(connection, what));
    }

    /// The client's end is gone, with what it had not read. What it had sent may still come, or not.
    pub fn client_left(&mut self, connection: usize) {
        let now = self.now();
        let broker = self.connections[connection].broker;
        let more = self.brokers[broker].dice.between(0, 60);
        let held = &mut self.connections[connection];
        held.down_until = 0;
        held.up_until = held.up_until.min(now + more);
        self.agenda.put(now + more + 1, agenda::Event::Gone(connection));
    }

    /// The broker lets go of a connection: something of what is on its way in each direction comes through.
    pub fn cut(&mut self, broker: usize, failure: Failure, pubacks_lost: bool) {
        let Some(connection) = self.brokers[broker].live.take() else {
            return;
        };
        let now = self.now();
        let dice = &mut self.brokers[broker].dice;
        let down = now + dice.between(0, 60);
        let up = match pubacks_lost {
            true => now,
            false => now + dice.between(0, 60),
        };
        let held = &mut self.connections[connection];
        held.is_live = false;
        held.up_until = held.up_until.min(up);
        held.down_until = held.down_until.min(down);
        held.down_last = held.down_last.max(down + 1);
        // The end of a connection is the last thing that is heard of it.
        self.agenda
            .put(down + 1, agenda::Event::Down(connection, Err(failure)));
        self.say(format_args!("broker{broker} cuts connection {connection}"));
    }

    /// Nothing comes through a connection any more, in either direction, and nobody is told.
    pub fn blackhole(&mut self, broker: usize) {
        let now = self.now();
        if let Some(connection) = self.brokers[broker].live {
            let held = &mut self.connections[connection];
            held.down_until = held.down_until.min(now.saturating_sub(1).max(1));
            held.up_until = held.up_until.min(now.saturating_sub(1));
        }
    }

    /// The broker forgets what it kept.
    pub fn lose_session(&mut self, broker: usize) {
        self.brokers[broker].forget_session();
        self.say(format_args!("broker{broker} forgets the session"));
    }

    /// Something of a client arrives.
    pub fn came_up(&mut self, connection: usize, what: Up) {
        let (broker, now) = (self.connections[connection].broker, self.now());
        if now > self.connections[connection].up_until || self.brokers[broker].is_hanging {
            return;
        }
        if let Up::Connect { is_clean } = what {
            return self.connect(connection, is_clean);
        }
        if self.brokers[broker].is_down {
            return;
        }
        // What is left of an older connection is not read. What a cut let through is.
        let is_current = match self.brokers[broker].live {
            Some(live) => live == connection,
            None => true,
        };
        if !is_current {
            return;
        }
        match what {
            Up::Connect { .. } => {}
            Up::Subscribe(id, filters) => self.subscribe(connection, id, filters),
            Up::Unsubscribe(packet_id) => {
                let refused = None;
                self.say_down(connection, Ok(Event::Unsubscribed { packet_id, refused }));
            }
            Up::Puback(id) => {
                let broker = &mut self.brokers[broker];
                broker.inflight.retain(|(used, _)| *used != id);
                self.pump(self.connections[connection].broker);
            }
            Up::Disconnect => {
                self.brokers[broker].live = None;
                self.connections[connection].is_live = false;
                self.say_down(connection, Err(Failure::Closed));
            }
        }
    }

    fn connect(&mut self, connection: usize, is_clean: bool) {
        let index = self.connections[connection].broker;
        let broker = &mut self.brokers[index];
        if broker.is_down {
            return self.say_down(
                connection,
                Err(Failure::Unreachable("connection refused".to_owned())),
            );
        }
        if broker.is_refusing {
            return self.say_down(connection, Err(Failure::Refused("not authorised".to_owned())));
        }
        if is_clean {
            broker.forget_session();
        }
        let session_present = broker.has_session;
        broker.has_session = true;
        if let Some(before) = broker.live.replace(connection) {
            self.connections[before].is_live = false;
        }
        self.connections[connection].is_live = true;
        self.say(format_args!(
            "broker{index} lets connection {connection} in, session {session_present}"
        ));
        self.say_down(connection, Ok(Event::Connected { session_present }));
        let repeated: Vec<(u16, Message)> = self.brokers[index].inflight.iter().cloned().collect();
        for (id, message) in repeated {
            self.say_publish(connection, id, &message, true);
        }
        self.pump(index);
        self.agenda
            .put(self.now() + self.keep_alive, agenda::Event::Ping(connection));
    }

    fn subscribe(&mut self, connection: usize, packet_id: u16, filters: Vec<String>) {
        let index = self.connections[connection].broker;
        let broker = &mut self.brokers[index];
        let is_refused = broker.refuses_filters;
        let answer = |_: &String| match is_refused {
            true => Answer::Refused("not authorised".to_owned()),
            false => Answer::Granted(1),
        };
        let answers = filters.iter().map(answer).collect();
        if !is_refused {
            broker.filters.extend(filters);
        }
        self.say_down(connection, Ok(Event::Granted { packet_id, answers }));
    }

    /// A device publishes. False when nobody is there to keep it: then it is the device's matter.
    pub fn publish_to(&mut self, broker: usize, message: Message) -> bool {
        let held = &mut self.brokers[broker];
        if held.is_down || held.is_hanging || !held.wants(&message) {
            return false;
        }
        if message.qos == 0 && held.live.is_none() {
            return false;
        }
        held.queue.push_back(message);
        self.pump(broker);
        true
    }

    /// Sends what the window has room for.
    pub fn pump(&mut self, broker: usize) {
        let Some(connection) = self.brokers[broker].live else {
            return;
        };
        if self.brokers[broker].is_hanging {
            return;
        }
        while let held = &mut self.brokers[broker]
            && held.inflight.len() < held.window
            && let Some(message) = held.queue.pop_front()
        {
            let id = match message.qos {
                0 => 0,
                _ => held.next_id(),
            };
            if id > 0 {
                held.inflight.push_back((id, message.clone()));
            }
            self.say_publish(connection, id, &message, false);
        }
    }

    fn say_publish(&mut self, connection: usize, packet_id: u16, message: &Message, dup: bool) {
        let publish = Publish {
            topic: message.topic.clone(),
            payload: message.payload.clone(),
            whole: None,
            packet_id,
            qos: message.qos,
            dup,
            retained: false,
            properties: None,
        };
        self.say_down(connection, Ok(Event::Published(publish)));
    }

    /// Something of the broker arrives at the client.
    pub fn came_down(&mut self, connection: usize, what: Result<Event, Failure>) {
        let now = self.now();
        let held = &mut self.connections[connection];
        let is_end = what.is_err() && held.down_until != 0;
        if now > held.down_until && !is_end {
            return;
        }
        if self.brokers[held.broker].is_hanging {
            return;
        }
        if let Ok(Event::Published(publish)) = &what {
            let mark = Mark::of(&publish.payload);
            held.seen.insert(publish.packet_id, mark);
            let (id, dup) = (publish.packet_id, publish.dup);
            self.say(format_args!(
                "connection {connection} brings {mark} as {id}, dup {dup}"
            ));
        } else if let Ok(Event::Connected { .. }) | Err(_) = &what {
            self.say(format_args!("connection {connection} brings {what:?}"));
        }
        let held = &self.connections[connection];
        // A client that left does not care.
        drop(held.to_client.try_send(what));
    }

    /// The client pings, and the broker answers.
    pub fn ping(&mut self, connection: usize) {
        let held = &self.connections[connection];
        if !held.is_live || held.down_until == 0 {
            return;
        }
        drop(held.to_client.try_send(Ok(Event::PingSent)));
        let is_hanging = self.brokers[held.broker].is_hanging;
        if !is_hanging {
            self.say_down(connection, Ok(Event::Pong));
        }
        self.agenda
            .put(self.now() + self.keep_alive, agenda::Event::Ping(connection));
    }

    /// The broker notices that nobody is there any more.
    pub fn gone(&mut self, connection: usize) {
        self.connections[connection].is_live = false;
        let broker = &mut self.brokers[self.connections[connection].broker];
        if broker.live == Some(connection) {
            broker.live = None;
        }
    }
}
