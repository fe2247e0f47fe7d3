//! Everything outside of the process, and how it meets it. One world for each seed, on the thread of its simulation.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::agenda::{Agenda, Event};
use crate::broker::{Broker, Connection};
use crate::chaos::{Fault, Mend};
use crate::cluster::{Cluster, Outcome};
use crate::dice::Dice;
use crate::judge::Judge;
use crate::machine::Board;
use crate::message::{Mark, Message, POISON};
use crate::plan::{Plan, Planned, When};
use crate::producer::{Client, Link};
use crate::store::{self, Disk};
use crate::trace::Trace;

/// What a broker is told about keep alives, milliseconds.
pub const KEEP_ALIVE: u64 = 10_000;
/// A device that nobody listens to tries again after this.
const AGAIN: u64 = 700;
/// The topics: name, and whether it may have to be made first.
pub const TOPICS: [(&str, bool); 4] = [
    ("telemetry", false),
    ("alarms", true),
    ("kind-a", true),
    ("kind-b", false),
];

/// See the module documentation.
pub struct World {
    pub board: Rc<Board>,
    pub agenda: Agenda,
    /// Wakes whoever waits for the next event.
    pub news: Arc<Notify>,
    pub dice: Dice,
    pub brokers: Vec<Broker>,
    pub connections: Vec<Connection>,
    pub keep_alive: u64,
    pub cluster: Cluster,
    pub clients: Vec<Client>,
    pub link: Link,
    pub kafka_latency: u64,
    pub batch: usize,
    /// Number of the process.
    pub life: u64,
    /// The Kafka client has something for the sink.
    pub sink_wakes: bool,
    pub disks: [Disk; 2],
    pub slow_disk: u64,
    pub judge: Judge,
    pub trace: Trace,
    pub devices: Vec<Device>,
    pub plan: Rc<Plan>,
}

/// Publishes.
#[derive(Debug)]
pub struct Device {
    broker: usize,
    topic: String,
    next: u32,
    qos: u8,
    pause: u64,
    /// Another publish comes.
    pub is_done: bool,
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
    static BOARD: RefCell<Option<Rc<Board>>> = const { RefCell::new(None) };
}

/// Something with the world. Never within each other.
pub fn with<T>(work: impl FnOnce(&mut World) -> T) -> T {
    WORLD.with_borrow_mut(|world| work(world.as_mut().expect("there is a world")))
}

/// The board that the process runs on.
pub fn board() -> Rc<Board> {
    BOARD.with_borrow(|board| Rc::clone(board.as_ref().expect("there is a board")))
}

/// Ends the world, and gives what is left of it.
pub fn end() -> World {
    BOARD.set(None);
    WORLD.take().expect("there is a world")
}

impl World {
    /// Makes the world of a plan.
    pub fn begin(plan: &Rc<Plan>, board: &Rc<Board>, keeps_all: bool) {
        let seed = plan.seed;
        let mut dice = Dice::of(seed, "world");
        let brokers = plan
            .brokers
            .iter()
            .enumerate()
            .map(|(index, ids)| Broker::new(format!("broker{index}"), *ids, plan.receive_maximum, seed));
        let brokers: Vec<Broker> = brokers.collect();
        let topics = TOPICS.map(|(name, may_wait)| {
            let is_made = name != "kind-b" && !(may_wait && plan.topic_made_at.is_some());
            (name, plan.partitions, is_made)
        });
        let devices = (0..plan.devices).map(|index| Device::new(index, plan, brokers.len(), &mut dice));
        let mut world = Self {
            board: Rc::clone(board),
            agenda: Agenda::default(),
            news: Arc::default(),
            devices: devices.collect(),
            brokers,
            connections: Vec::new(),
            keep_alive: KEEP_ALIVE,
            cluster: Cluster::new(seed, &topics),
            clients: Vec::new(),
            link: Link::default(),
            kafka_latency: dice.pick(&[1, 10, 120]),
            dice,
            batch: plan.batch,
            life: 0,
            sink_wakes: false,
            disks: [
                Disk::new(seed, "queue", plan.unit_bytes),
                Disk::new(seed, "letters", plan.unit_bytes),
            ],
            slow_disk: 0,
            judge: Judge::default(),
            trace: Trace::new(keeps_all),
            plan: Rc::clone(plan),
        };
        world.agenda.put(0, Event::Start);
        for index in 0..world.devices.len() {
            world.agenda.put(1 + 10 * index as u64, Event::Device(index));
        }
        for (index, planned) in plan.faults.iter().enumerate() {
            if let When::Time(at) = planned.at {
                world.agenda.put(at, Event::Fault(index));
            }
        }
        if let Some(at) = plan.topic_made_at {
            world.agenda.put(at, Event::Mend(Mend::Fault(Fault::TopicMade)));
        }
        BOARD.set(Some(Rc::clone(board)));
        WORLD.set(Some(world));
    }

    pub fn now(&self) -> u64 {
        self.board.now()
    }

    pub fn say(&mut self, what: std::fmt::Arguments<'_>) {
        let now = self.board.now();
        self.trace.say(now, what);
    }

    /// A PUBACK leaves the process.
    pub fn acknowledges(&mut self, connection: usize, id: u16) {
        let Some(mark) = self.connections[connection].seen.get(&id).copied() else {
            return self.judge.complain(format!(
                "promise 1: packet id {id} is acknowledged on a connection that did not bring it"
            ));
        };
        self.say(format_args!("connection {connection} acknowledges {id}, {mark}"));
        self.judge.acknowledge(mark, self.plan.on_full);
    }

    /// A device publishes.
    pub fn publish(&mut self, index: usize) {
        let (luck, size) = (self.dice.between(0, 1000), self.dice.between(0, 200));
        let device = &mut self.devices[index];
        let mark = Mark {
            device: u32::try_from(index).expect("few"),
            number: device.next,
        };
        let size = usize::try_from(size).expect("small");
        let payload = match self.plan.poison {
            poison if luck < poison => mark.payload(size, POISON),
            poison if luck < poison * 2 => mark.payload(2_100 + size, ""),
            poison if luck < poison * 3 => mark.payload(4_200 + size, ""),
            _ => mark.payload(size, ""),
        };
        let message = Message {
            topic: device.topic.clone(),
            payload,
            qos: device.qos,
        };
        let (broker, qos, pause) = (device.broker, device.qos, device.pause);
        let is_taken = self.publish_to(broker, message);
        let device = &mut self.devices[index];
        let pause = match is_taken || qos == 0 {
            true => {
                device.next += 1;
                device.is_done = device.next > self.plan.messages;
                pause
            }
            false => AGAIN,
        };
        if !device.is_done {
            let at = self.board.now() + self.dice.between(1, pause + 2);
            self.agenda.put(at, Event::Device(index));
        }
    }

    /// Nothing is left to do outside of the process.
    pub fn is_quiet(&self) -> bool {
        self.devices.iter().all(|device| device.is_done) && self.brokers.iter().all(Broker::is_empty)
    }

    /// A fault of the world, rather than of the process, begins.
    pub fn strike(&mut self, planned: Planned) {
        let Planned {
            fault, lasts, luck, ..
        } = planned;
        let index = usize::try_from(luck % 1_000).expect("small");
        let broker = index % self.brokers.len();
        let closed = edgeferry::source::played::Failure::Closed;
        let mut mend = None;
        match fault {
            Fault::ConnectionCut => self.cut(broker, closed, false),
            Fault::PubacksLost => self.cut(broker, closed, true),
            Fault::TakenOver => self.cut(broker, edgeferry::source::played::Failure::TakenOver, false),
            Fault::BrokerRestart | Fault::BrokerCountsAnew | Fault::SessionLost => {
                self.cut(broker, closed, false);
                match fault {
                    Fault::BrokerCountsAnew => self.brokers[broker].count_anew(),
                    Fault::SessionLost => self.lose_session(broker),
                    _ => {}
                }
                self.brokers[broker].is_down = true;
                mend = Some(Mend::Broker(broker, fault));
            }
            Fault::BrokerHangs => {
                // What is under way is stuck: nothing behind it comes on this connection.
                self.blackhole(broker);
                self.brokers[broker].is_hanging = true;
                mend = Some(Mend::Broker(broker, fault));
            }
            Fault::BrokerRefuses => {
                self.brokers[broker].is_refusing = true;
                self.cut(broker, closed, false);
                mend = Some(Mend::Broker(broker, fault));
            }
            Fault::FilterRefused => {
                self.brokers[broker].refuses_filters = true;
                self.cut(broker, closed, false);
                self.lose_session(broker);
                mend = Some(Mend::Broker(broker, fault));
            }
            Fault::AppendFails => self.disks[0].fault = Some(store::Fault::Fails),
            Fault::AppendTorn => self.disks[index % 4 / 3].fault = Some(store::Fault::Torn(index)),
            Fault::TopicMade => self.set(fault, false, 0),
            Fault::KafkaCut => self.cut_kafka(),
            Fault::ProducerFenced => self.cluster.refuse_producers(),
            Fault::CommitUnknownDone => self.cluster.coordinator.outcomes.push_back(Outcome::DoneUntold),
            Fault::CommitUnknownNotDone => self
                .cluster
                .coordinator
                .outcomes
                .push_back(Outcome::NotDoneUntold),
            Fault::CommitRefused => self.cluster.coordinator.outcomes.push_back(Outcome::Refused),
            Fault::TransactionExpires => self.cluster.give_up(),
            Fault::ClockIsSet => self
                .board
                .set_clock(i64::try_from(luck % 600_000).expect("small") - 300_000),
            fault => {
                self.set(fault, true, luck);
                mend = Some(Mend::Fault(fault));
            }
        }
        if let Some(mend) = mend {
            // Whatever lasts is over when calm comes.
            let lasts = if fault == Fault::LeaderMoves {
                lasts.min(2_000)
            } else {
                lasts
            };
            let at = (self.now() + lasts).min(self.plan.calm_at.max(self.now() + 1));
            self.agenda.put(at, Event::Mend(mend));
        }
    }

    /// Turns what lasts on or off.
    fn set(&mut self, fault: Fault, on: bool, luck: u64) {
        match fault {
            Fault::SyncFails => self.disks.iter_mut().for_each(|disk| disk.sync_fails = on),
            Fault::DiskFull => {
                self.disks.iter_mut().for_each(|disk| disk.is_full = on);
                self.board.fill_files(on);
            }
            Fault::ReadFails => self.disks.iter_mut().for_each(|disk| disk.read_fails = on),
            Fault::SlowDisk => self.slow_disk = if on { 1 + luck % 2_000 } else { 0 },
            Fault::SmallFilesFail => self.board.fail_files(on),
            Fault::KafkaDown => {
                self.link.is_down = on;
                if on {
                    self.cut_kafka();
                }
            }
            Fault::KafkaHangs => self.link.is_hanging = on,
            Fault::LateAnswers => self.link.delay = if on { luck % 5_000 } else { 0 },
            Fault::LeaderMoves | Fault::NoLeader => {
                if on {
                    self.cluster.partition(luck).has_no_leader = true;
                } else {
                    self.cluster
                        .partitions()
                        .for_each(|partition| partition.has_no_leader = false);
                }
            }
            Fault::FewReplicas => self
                .cluster
                .partitions()
                .for_each(|partition| partition.has_few_replicas = on),
            Fault::StoredButFewReplicas => self
                .cluster
                .partitions()
                .for_each(|partition| partition.loses_replicas = on),
            Fault::Denied => {
                let (name, _) = TOPICS[usize::try_from(luck % 3).expect("small")];
                for (known, topic) in &mut self.cluster.topics {
                    topic.is_denied = on && known == name;
                }
            }
            Fault::ClientFull => self.link.is_client_full = on,
            Fault::CoordinatorAway => self.cluster.coordinator.is_away = on,
            Fault::TopicMade if !on => {
                let now = self.now();
                for (name, _) in TOPICS.iter().filter(|(_, may_wait)| *may_wait) {
                    self.cluster.make(name, now);
                }
            }
            _ => {}
        }
    }

    /// Something is over.
    pub fn mend(&mut self, mend: Mend) {
        self.say(format_args!("over: {mend:?}"));
        match mend {
            Mend::Fault(fault) => self.set(fault, false, 0),
            Mend::Broker(broker, fault) => {
                let held = &mut self.brokers[broker];
                match fault {
                    Fault::BrokerHangs => {
                        held.is_hanging = false;
                        self.cut(
                            broker,
                            edgeferry::source::played::Failure::Unreachable("reset".to_owned()),
                            false,
                        );
                    }
                    Fault::BrokerRefuses => held.is_refusing = false,
                    Fault::FilterRefused => held.refuses_filters = false,
                    _ => held.is_down = false,
                }
            }
        }
    }
}

impl Device {
    fn new(index: usize, plan: &Plan, brokers: usize, dice: &mut Dice) -> Self {
        let topic = match dice.between(0, 10) {
            0..6 => format!("devices/{index}/telemetry"),
            6..8 => format!("alarms/{index}"),
            8 => format!("kinds/{index}/a"),
            _ => format!("kinds/{index}/b"),
        };
        Self {
            broker: dice.below(brokers),
            topic,
            next: 1,
            qos: u8::from(!(plan.has_qos_0 && index == 0)),
            pause: dice.pick(&[
                5,
                100,
                plan.calm_at * 2 / u64::from(plan.messages),
                plan.calm_at * 2 / u64::from(plan.messages),
            ]),
            is_done: false,
        }
    }
}
