//! Three KRaft nodes, each broker and controller, that are one Apache Kafka: topics have three replicas, and two of them
//! must have a record before it counts.
//!
//! There is one cluster in a test process: a start costs about ten seconds of both cores. Tests take it one after the
//! other ([`whole`]), and whoever takes it gets it whole, whatever the one before did to it.
//!
//! Every node has a second listener that advertises the port of a [`Proxy`]. Whoever starts from
//! [`Cluster::behind_proxies`] reaches all three nodes through proxies, and nobody else does.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::metadata::{MetadataPartition, MetadataTopic};

use super::kafka::{Brokers, Kafka, PARTITIONS, client, unused_topic, wire};
use super::proxy::{Proxy, Rules};
use super::scratch::Scratch;
use super::{ports, wait};

/// How many nodes there are.
pub const NODES: usize = 3;
const REPLICAS: i32 = 3;

/// A node that has lost its place catches up in seconds; the machine may be busy.
const LIMIT: Duration = Duration::from_mins(2);
const REQUEST_LIMIT: Duration = Duration::from_secs(2);

/// Three of them share a small machine.
const TUNING: &[&str] = &["-Xmx320m", "-XX:TieredStopAtLevel=1"];

/// The topic whose leader is the coordinator of all transactions: it has one partition here.
pub const TRANSACTIONS: &str = "__transaction_state";
/// The topic whose leader is the coordinator of all groups: it has one partition here.
pub const GROUPS: &str = "__consumer_offsets";

/// One Kafka of three nodes; nodes count from 0.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Kafka>,
    proxies: Vec<Proxy>,
}

/// The cluster of this process, with all nodes there and in sync and nothing in the way to them. It ends with the
/// process.
pub fn whole() -> MutexGuard<'static, Cluster> {
    static CLUSTER: OnceLock<Mutex<Cluster>> = OnceLock::new();
    let cluster = CLUSTER.get_or_init(|| Mutex::new(Cluster::absent()));
    // A test that failed with it is no reason to fail: whatever it did is put right.
    let mut cluster = cluster.lock().unwrap_or_else(PoisonError::into_inner);
    cluster.heal();
    cluster
}

impl Cluster {
    /// Three nodes that are not there yet.
    fn absent() -> Self {
        let places: Vec<Place> = (0..NODES).map(|_| Place::free()).collect();
        // Each is formatted by a Java of its own.
        let nodes = std::thread::scope(|scope| {
            let formatting: Vec<_> = (0..NODES)
                .map(|node| {
                    let places = &places;
                    scope.spawn(move || {
                        Kafka::made_of(places[node].port, TUNING, |folder| {
                            properties(node, places, folder)
                        })
                    })
                })
                .collect();
            let formatted = formatting.into_iter().map(std::thread::ScopedJoinHandle::join);
            formatted.map(|one| one.expect("it can be formatted")).collect()
        });
        let proxies = places
            .iter()
            .map(|place| Proxy::start(place.proxy, place.behind_proxy))
            .collect();
        Self { nodes, proxies }
    }

    /// Starts what is not there, lets go on what is paused, clears the ways, and waits until every replica of every topic is
    /// in sync.
    pub fn heal(&mut self) {
        for proxy in &self.proxies {
            proxy.set(Rules::default());
        }
        let mut away = Vec::new();
        for (index, node) in self.nodes.iter_mut().enumerate() {
            match node.is_running() {
                true => node.resume(),
                false => away.push(index),
            }
        }
        self.restart(&away);
        self.until_in_sync();
    }

    /// Starts nodes with the data that they left, all at the same time, and waits until they serve.
    pub fn restart(&mut self, nodes: &[usize]) {
        for node in nodes {
            self.nodes[*node].launch();
        }
        for node in nodes {
            self.nodes[*node].until_serving();
        }
    }

    /// One node, to stop, kill, pause or resume it.
    pub fn node(&mut self, node: usize) -> &mut Kafka {
        &mut self.nodes[node]
    }

    /// The proxy in front of a node.
    pub fn proxy(&self, node: usize) -> &Proxy {
        &self.proxies[node]
    }

    /// All proxies.
    pub fn proxies(&self) -> &[Proxy] {
        &self.proxies
    }

    /// The same cluster for somebody who has to take the ways through the proxies.
    pub fn behind_proxies(&self) -> BehindProxies<'_> {
        BehindProxies(self)
    }

    /// Leaders of a topic's partitions, in order; `None` where there is none, or nobody who knows.
    pub fn leaders(&self, topic: &str) -> Vec<Option<usize>> {
        let states = self.partitions(topic).unwrap_or_default();
        states.into_iter().map(|state| state.leader).collect()
    }

    /// The node that is the coordinator of all transactions or of all groups.
    pub fn coordinator(&self, topic: &str) -> usize {
        wait::until(&format!("{topic} has a leader"), LIMIT, || {
            self.leaders(topic).first().copied().flatten()
        })
    }

    /// Moves every leader of a topic to the next node, as a person does with Kafka's tools; waits until they are there.
    pub fn move_leaders(&self, topic: &str) {
        let count = self.leaders(topic).len();
        let before = wait::until(&format!("{topic} has leaders"), LIMIT, || {
            let leaders: Option<Vec<usize>> = self.leaders(topic).into_iter().collect();
            leaders.filter(|leaders| leaders.len() == count)
        });
        let wanted: Vec<usize> = before.iter().map(|leader| (leader + 1) % NODES).collect();
        let order = |leader: &usize| (0..NODES).map(|step| id((leader + step) % NODES)).collect();
        let replicas: Vec<Vec<i32>> = wanted.iter().map(order).collect();
        let port = self.nodes[0].port();
        wire::reassign(port, topic, &replicas).expect("kafka takes another order");
        let partitions = i32::try_from(count).expect("few partitions");
        wait::until(&format!("{topic} is led by others"), LIMIT, || {
            wire::elect_preferred(port, topic, partitions).expect("kafka elects");
            let leaders: Option<Vec<usize>> = self.leaders(topic).into_iter().collect();
            (leaders? == wanted).then_some(())
        });
    }

    /// Gives every partition of a topic back to the node that is meant to lead it.
    pub fn elect_preferred(&self, topic: &str) {
        let partitions = i32::try_from(self.leaders(topic).len()).expect("few partitions");
        wire::elect_preferred(self.nodes[0].port(), topic, partitions).expect("kafka elects");
    }

    /// Waits until every replica of every topic is in sync.
    pub fn until_in_sync(&self) {
        let probe: BaseConsumer = client(&self.bootstrap()).create().expect("a plain client");
        wait::until("all replicas are in sync", LIMIT, || {
            let metadata = probe.fetch_metadata(None, REQUEST_LIMIT).ok()?;
            let brokers = metadata.brokers().len();
            let mut partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
            let whole = partitions.all(|partition| {
                partition.leader() >= 0 && partition.isr().len() == partition.replicas().len()
            });
            (whole && brokers == NODES).then_some(())
        });
    }

    /// Waits until exactly these nodes are in sync for every partition of a topic.
    pub fn until_in_sync_are(&self, topic: &str, nodes: &[usize]) {
        wait::until(&format!("{topic} is kept by {nodes:?}"), LIMIT, || {
            let states = self.partitions(topic)?;
            states.iter().all(|state| state.in_sync == nodes).then_some(())
        });
    }

    fn partitions(&self, topic: &str) -> Option<Vec<PartitionState>> {
        let probe: BaseConsumer = client(&self.bootstrap()).create().expect("a plain client");
        let metadata = probe.fetch_metadata(Some(topic), REQUEST_LIMIT).ok()?;
        let topic = metadata.topics().first()?;
        let mut partitions: Vec<_> = topic.partitions().iter().collect();
        partitions.sort_by_key(|partition| partition.id());
        let state = |partition: &&MetadataPartition| {
            let mut in_sync: Vec<usize> = partition.isr().iter().filter_map(|id| index(*id)).collect();
            in_sync.sort_unstable();
            PartitionState {
                leader: index(partition.leader()),
                in_sync,
            }
        };
        Some(partitions.iter().map(state).collect())
    }
}

impl Brokers for Cluster {
    fn bootstrap(&self) -> String {
        let addresses = self.nodes.iter().map(Kafka::bootstrap);
        addresses.collect::<Vec<_>>().join(",")
    }

    fn fresh_topic(&self, name: &str) -> String {
        let name = unused_topic(name);
        self.nodes[0].create_topic_on(REPLICAS, &name, PARTITIONS, &[]);
        self.until_in_sync();
        name
    }
}

/// See [`Cluster::behind_proxies`].
#[derive(Debug)]
pub struct BehindProxies<'a>(&'a Cluster);

impl Brokers for BehindProxies<'_> {
    fn bootstrap(&self) -> String {
        let addresses = self
            .0
            .proxies
            .iter()
            .map(|proxy| format!("127.0.0.1:{}", proxy.port()));
        addresses.collect::<Vec<_>>().join(",")
    }

    fn fresh_topic(&self, name: &str) -> String {
        self.0.fresh_topic(name)
    }
}

#[derive(Debug)]
struct PartitionState {
    leader: Option<usize>,
    in_sync: Vec<usize>,
}

/// The id that a node has in Kafka.
fn id(node: usize) -> i32 {
    i32::try_from(node).expect("few nodes") + 1
}

/// The node that has this id; −1 stands for none.
fn index(id: i32) -> Option<usize> {
    usize::try_from(id).ok()?.checked_sub(1)
}

/// Ports of one node.
#[derive(Debug)]
struct Place {
    port: u16,
    controller: u16,
    behind_proxy: u16,
    proxy: u16,
}

impl Place {
    fn free() -> Self {
        Self {
            port: ports::free(),
            controller: ports::free(),
            behind_proxy: ports::free(),
            proxy: ports::free(),
        }
    }
}

fn properties(node: usize, places: &[Place], folder: &Scratch) -> String {
    let Place {
        port,
        controller,
        behind_proxy,
        proxy,
    } = &places[node];
    let voters: Vec<String> = places
        .iter()
        .enumerate()
        .map(|(node, place)| format!("{}@127.0.0.1:{}", id(node), place.controller))
        .collect();
    format!(
        "\
process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{behind_proxy},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{proxy}
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor=3
min.insync.replicas=2
# One partition, so one coordinator: it can be found and killed.
offsets.topic.replication.factor=3
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=3
transaction.state.log.num.partitions=1
transaction.state.log.min.isr=2
group.initial.rebalance.delay.ms=0
# An election takes seconds: a dead broker is noticed soon, and a dead controller too.
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
controller.quorum.fetch.timeout.ms=1500
controller.quorum.election.timeout.ms=500
controller.quorum.election.backoff.max.ms=500
replica.lag.time.max.ms=5000
# Leaders stay where a test put them.
auto.leader.rebalance.enable=false
# A node whose neighbours are gone does not wait for them to take over.
controlled.shutdown.max.retries=1
num.network.threads=2
num.io.threads=3
num.recovery.threads.per.data.dir=1
",
        id = id(node),
        voters = voters.join(","),
        data = folder.join("data").display()
    )
}
