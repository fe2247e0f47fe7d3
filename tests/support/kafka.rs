//! An Apache Kafka of our own: one KRaft node that is broker and controller. [`super::cluster`] makes three of them one.

pub mod secure;
pub mod wire;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rustix::process::Signal;

use super::process::{Process, program};
use super::proxy::Proxy;
use super::scratch::Scratch;
use super::{ports, wait};

/// Start takes 3 s on an idle machine; on two cores with a load of 40, from builds and tests beside it, 90 s were not enough.
const START_LIMIT: Duration = Duration::from_mins(4);
const STOP_LIMIT: Duration = Duration::from_secs(40);
/// See [`Kafka::beats_in_time`]; the session ends after 3 s.
const IN_TIME: &str = "broker.heartbeat.interval.ms=500";
const LATE: &str = "broker.heartbeat.interval.ms=9000";
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// Partitions of a usual topic: more than one, so that keys are really spread.
pub const PARTITIONS: i32 = 5;

/// The quick compiler alone halves what a start costs.
const TUNING: &[&str] = &["-Xmx512m", "-XX:TieredStopAtLevel=1"];
/// Compiled as in production.
const TUNING_OF_BENCHMARKS: &[&str] = &["-Xmx512m"];

/// Where topics are: one broker, a cluster of them, or a cluster behind proxies.
pub trait Brokers {
    /// What clients connect to first; several addresses are separated by commas.
    fn bootstrap(&self) -> String;

    /// A new topic with the usual partitions and a name of its own that begins with `name`.
    fn fresh_topic(&self, name: &str) -> String;
}

/// One broker: ports, a log folder and at most one process.
#[derive(Debug)]
pub struct Kafka {
    port: u16,
    /// A second way in, for clients elsewhere.
    other: Option<Listener>,
    folder: Scratch,
    tuning: &'static [&'static str],
    process: Option<Process>,
}

impl Brokers for Kafka {
    fn bootstrap(&self) -> String {
        Self::bootstrap(self)
    }

    fn fresh_topic(&self, name: &str) -> String {
        Self::fresh_topic(self, name)
    }
}

/// Where a broker listens, and the port of the same address that it tells those who come there.
#[derive(Debug)]
struct Listener {
    address: String,
    port: u16,
    told: u16,
}

/// The broker that tests share which do not disturb it; it ends with the test process.
pub fn shared() -> &'static Kafka {
    static SHARED: OnceLock<Kafka> = OnceLock::new();
    SHARED.get_or_init(Kafka::start)
}

impl Kafka {
    /// A running broker of its own, for tests that take it away.
    pub fn start() -> Self {
        let mut kafka = Self::absent();
        kafka.restart();
        kafka
    }

    /// A running broker with further lines in its configuration; the later one of two lines counts.
    pub fn start_with(lines: &str) -> Self {
        let mut kafka = Self::absent();
        kafka.rewrite(|text| format!("{text}{lines}\n"));
        kafka.restart();
        kafka
    }

    /// A running broker that is compiled as in production, for benchmarks; there is a way to it for a proxy.
    pub fn start_for_benchmark() -> Self {
        let mut kafka = Self {
            tuning: TUNING_OF_BENCHMARKS,
            ..Self::absent()
        };
        kafka.listen_also(Listener {
            address: "127.0.0.1".into(),
            port: ports::free(),
            told: ports::free(),
        });
        kafka.restart();
        kafka
    }

    /// A running broker that listens at another address of this machine as well.
    pub fn start_also_at(address: &str) -> Self {
        let mut kafka = Self::absent();
        let port = ports::free();
        kafka.listen_also(Listener {
            address: address.into(),
            port,
            told: port,
        });
        kafka.restart();
        kafka
    }

    /// Gives it a second way in, from its next start on.
    fn listen_also(&mut self, other: Listener) {
        let add = |line: &str| {
            let listener = match line.split_once('=').map(|(property, _)| property) {
                Some("listener.security.protocol.map") => ",OTHER:PLAINTEXT".to_owned(),
                Some("listeners") => format!(",OTHER://{}:{}", other.address, other.port),
                Some("advertised.listeners") => format!(",OTHER://{}:{}", other.address, other.told),
                _ => String::new(),
            };
            format!("{line}{listener}\n")
        };
        self.rewrite(|text| {
            let lines: String = text.lines().map(add).collect();
            format!("{lines}inter.broker.listener.name=PLAINTEXT\n")
        });
        self.other = Some(other);
    }

    fn other(&self) -> &Listener {
        self.other.as_ref().expect("it was started with one")
    }

    /// The second address.
    pub fn other_bootstrap(&self) -> String {
        let other = self.other();
        format!("{}:{}", other.address, other.told)
    }

    /// A proxy at the second address, where nobody listens without it.
    pub fn proxy(&self) -> Proxy {
        let other = self.other();
        Proxy::start(other.told, other.port)
    }

    /// A broker that is not there yet: its port refuses connections.
    pub fn absent() -> Self {
        let (port, controller) = (ports::free(), ports::free());
        Self::made_of(port, TUNING, |folder| properties(folder, port, controller))
    }

    /// A node that is not there yet, with a configuration of its own.
    pub(super) fn made_of(
        port: u16,
        tuning: &'static [&'static str],
        properties: impl FnOnce(&Scratch) -> String,
    ) -> Self {
        let folder = Scratch::new("kafka");
        std::fs::write(folder.join("server.properties"), properties(&folder))
            .expect("the folder is writable");
        std::fs::write(
            folder.join("log4j2.properties"),
            include_str!("kafka/log4j2.properties"),
        )
        .expect("the folder is writable");
        let kafka = Self {
            port,
            other: None,
            folder,
            tuning,
            process: None,
        };
        kafka.format();
        kafka
    }

    /// What clients connect to first.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The port of its own clients.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.as_ref().expect("kafka is running").id()
    }

    /// Whether there is a process; a paused one counts.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Starts it on the same port with the data that it left; waits until it serves.
    pub fn restart(&mut self) {
        self.launch();
        self.until_serving();
    }

    /// Starts it and does not wait for anything.
    pub(super) fn launch(&mut self) {
        assert!(self.process.is_none(), "kafka is running");
        self.process = Some(Process::spawn(
            "kafka",
            &program("java"),
            &self.folder.join("log"),
            |command| self.java(command, "kafka.Kafka", &[]),
        ));
    }

    /// Waits until it takes part: it is among the brokers that it tells its clients about.
    pub(super) fn until_serving(&mut self) {
        let probe: BaseConsumer = self.client().create().expect("a plain client");
        let port = i32::from(self.port);
        let process = self.process.as_mut().expect("kafka was launched");
        wait::until("kafka serves", START_LIMIT, || {
            assert!(
                process.ended().is_none(),
                "kafka ended at once: {}",
                process.log()
            );
            let metadata = probe.fetch_metadata(None, Duration::from_millis(500)).ok()?;
            metadata
                .brokers()
                .iter()
                .any(|broker| broker.port() == port)
                .then_some(())
        });
    }

    /// Moves it, while it is stopped, to another port, where clients have to look for it.
    pub fn move_to(&mut self, port: u16) {
        let (from, to) = (Self::address(self.port), Self::address(port));
        self.rewrite(|text| text.replace(&from, &to));
        self.port = port;
    }

    /// Starts it with another address told to its clients than the one where it is, and waits for nothing: to them it is not
    /// there.
    pub fn launch_advertising(&mut self, port: u16) {
        let told = Self::address(port);
        // The later one of two lines counts.
        self.rewrite(|text| format!("{text}advertised.listeners={told}\n"));
        self.launch();
    }

    /// Tells its clients, from the next start on, where it is.
    pub fn advertise_itself(&self) {
        let told = Self::address(self.port);
        self.rewrite(|text| format!("{text}advertised.listeners={told}\n"));
    }

    fn address(port: u16) -> String {
        format!("PLAINTEXT://127.0.0.1:{port}")
    }

    /// From its next start on: whether it says in time that it lives. One that does not is left out, for most of the time, of the brokers that
    /// it names itself: clients are told of topics, and of no broker at all.
    pub fn beats_in_time(&self, is_in_time: bool) {
        let (from, to) = if is_in_time {
            (LATE, IN_TIME)
        } else {
            (IN_TIME, LATE)
        };
        self.rewrite(|text| text.replace(from, to));
    }

    fn rewrite(&self, change: impl FnOnce(String) -> String) {
        let path = self.folder.join("server.properties");
        let text = std::fs::read_to_string(&path).expect("it is there");
        std::fs::write(&path, change(text)).expect("the folder is writable");
    }

    /// SIGTERM: an orderly shutdown.
    pub fn stop(&mut self) {
        self.process
            .take()
            .expect("kafka is running")
            .terminate(STOP_LIMIT);
    }

    /// SIGKILL
    pub fn kill(&mut self) {
        self.process.take().expect("kafka is running").kill();
    }

    /// SIGSTOP: connections stay open, and nothing answers.
    pub fn pause(&mut self) {
        self.process
            .as_mut()
            .expect("kafka is running")
            .signal(Signal::STOP);
    }

    /// SIGCONT
    pub fn resume(&mut self) {
        self.process
            .as_mut()
            .expect("kafka is running")
            .signal(Signal::CONT);
    }

    /// Limits what all producers together may send, bytes per second; `None` takes the limit back. The broker does it
    /// itself: it answers later and reads nothing meanwhile.
    pub fn throttle(&self, limit: Option<u64>) {
        let change = match limit {
            Some(limit) => format!("--add-config=producer_byte_rate={limit}"),
            None => "--delete-config=producer_byte_rate".into(),
        };
        self.alter(&["--entity-type", "clients", "--entity-default"], &change);
    }

    /// Changes the settings of an entity with Kafka's own tool.
    fn alter(&self, entity: &[&str], change: &str) {
        let mut command = Command::new(program("java"));
        let logging = self.folder.join("log4j2.properties");
        command
            .args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .arg(format!("-Dlog4j2.configurationFile={}", logging.display()))
            .arg("-cp")
            .arg(libs().join("*"))
            .args(["kafka.admin.ConfigCommand", "--bootstrap-server"])
            .arg(self.bootstrap())
            .arg("--alter")
            .args(entity)
            .arg(change);
        let output = command.output().expect("java starts");
        assert!(
            output.status.success(),
            "{change} failed: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Bytes of all segments of a topic: what its producers sent, as compressed as they sent it.
    pub fn topic_bytes(&self, topic: &str) -> u64 {
        let files = self.segments(topic).into_iter();
        files
            .map(|file| file.metadata().map_or(0, |metadata| metadata.len()))
            .sum()
    }

    fn segments(&self, topic: &str) -> Vec<PathBuf> {
        let partitions = std::fs::read_dir(self.folder.join("data")).expect("it has a data folder");
        let prefix = format!("{topic}-");
        let folders = partitions.flatten().filter(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let number = name.strip_prefix(&prefix).map(str::parse::<u32>);
            number.is_some_and(|number| number.is_ok())
        });
        let files = folders.flat_map(|folder| std::fs::read_dir(folder.path()).expect("a partition"));
        files
            .flatten()
            .map(|file| file.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect()
    }

    /// What the batches of a topic are compressed with, each codec once. (The attributes of a record batch are at bytes 21 and
    /// 22 of it, its length behind the base offset at bytes 8 to 11; the codec is in the lowest three bits.)
    pub fn codecs(&self, topic: &str) -> Vec<&'static str> {
        const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
        let mut found = std::collections::BTreeSet::new();
        for file in self.segments(topic) {
            let bytes = std::fs::read(file).expect("a segment");
            let mut rest = bytes.as_slice();
            while let (Some(len), Some(attributes)) = (rest.get(8..12), rest.get(22)) {
                let len = u32::from_be_bytes(len.try_into().expect("four bytes"));
                found.insert(usize::from(attributes & 7));
                rest = rest.get(12 + len as usize..).unwrap_or_default();
            }
        }
        found.into_iter().map(|codec| CODECS[codec]).collect()
    }

    /// A new topic with the usual partitions and a name of its own that begins with `name`.
    pub fn fresh_topic(&self, name: &str) -> String {
        self.fresh_topic_with(name, PARTITIONS, &[])
    }

    /// A new topic with a name of its own that begins with `name`.
    pub fn fresh_topic_with(&self, name: &str, partitions: i32, config: &[(&str, &str)]) -> String {
        let name = unused_topic(name);
        self.create_topic(&name, partitions, config);
        name
    }

    /// Creates a topic and waits until it can be written to.
    pub fn create_topic(&self, name: &str, partitions: i32, config: &[(&str, &str)]) {
        self.create_topic_on(1, name, partitions, config);
    }

    /// Creates a topic with some `replicas` of each partition and waits until it can be written to.
    pub(super) fn create_topic_on(
        &self,
        replicas: i32,
        name: &str,
        partitions: i32,
        config: &[(&str, &str)],
    ) {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas));
        for (key, value) in config {
            topic = topic.set(key, value);
        }
        wait::until(&format!("topic {name} is created"), START_LIMIT, || {
            let created = block_on(self.admin().create_topics([&topic], &Self::admin_options()));
            match created.ok()?.pop()? {
                Ok(_) | Err((_, rdkafka::types::RDKafkaErrorCode::TopicAlreadyExists)) => Some(()),
                Err(_) => None,
            }
        });
        wait::until(&format!("topic {name} has leaders"), START_LIMIT, || {
            (self.partitions(name)? == partitions).then_some(())
        });
    }

    /// Gives a topic these settings, and all others their defaults; they hold from here on.
    pub fn configure_topic(&self, name: &str, settings: &[(&str, &str)]) {
        let mut config = AlterConfig::new(ResourceSpecifier::Topic(name));
        for (key, value) in settings {
            config = config.set(key, value);
        }
        let altered = block_on(self.admin().alter_configs([&config], &Self::admin_options()));
        let result = altered
            .expect("kafka answers")
            .pop()
            .expect("one answer per topic");
        result.expect("the topic exists");
    }

    /// Gives a topic more partitions and waits until they can be written to.
    pub fn grow_topic(&self, name: &str, partitions: i32) {
        let count = usize::try_from(partitions).expect("not negative");
        let grown = block_on(
            self.admin()
                .create_partitions(&[NewPartitions::new(name, count)], &Self::admin_options()),
        );
        let result = grown.expect("kafka answers").pop().expect("one answer per topic");
        result.expect("the topic grows");
        wait::until(&format!("topic {name} has leaders"), START_LIMIT, || {
            (self.partitions(name)? == partitions).then_some(())
        });
    }

    /// Deletes a topic.
    pub fn delete_topic(&self, name: &str) {
        let deleted = block_on(self.admin().delete_topics(&[name], &Self::admin_options()));
        let result = deleted
            .expect("kafka answers")
            .pop()
            .expect("one answer per topic");
        result.expect("the topic exists");
    }

    /// Partitions of a topic that have a leader; `None` when the topic is unknown.
    pub fn partitions(&self, topic: &str) -> Option<i32> {
        let probe: BaseConsumer = self.client().create().expect("a plain client");
        let metadata = probe.fetch_metadata(Some(topic), Duration::from_secs(2)).ok()?;
        let topic = metadata
            .topics()
            .first()
            .filter(|topic| topic.error().is_none())?;
        let led = topic
            .partitions()
            .iter()
            .filter(|partition| partition.leader() >= 0)
            .count();
        i32::try_from(led).ok().filter(|led| *led > 0)
    }

    /// All topics, Kafka's own among them.
    pub fn topics(&self) -> Vec<String> {
        let probe: BaseConsumer = self.client().create().expect("a plain client");
        let metadata = probe
            .fetch_metadata(None, REQUEST_LIMIT)
            .expect("the broker answers");
        let names = metadata.topics().iter().map(|topic| topic.name().to_owned());
        names.collect()
    }

    /// Client settings that reach this broker.
    pub fn client(&self) -> ClientConfig {
        client(&self.bootstrap())
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().expect("a plain client")
    }

    fn admin_options() -> AdminOptions {
        AdminOptions::new()
            .request_timeout(Some(REQUEST_LIMIT))
            .operation_timeout(Some(REQUEST_LIMIT))
    }

    /// Writes the identity of the node, once per data folder.
    fn format(&self) {
        let mut command = Command::new(program("java"));
        // Any 16 bytes in base64 will do; clusters never meet.
        let cluster = "ZWRnZWZlcnJ5LXRlc3RzLQ";
        self.java(
            &mut command,
            "kafka.tools.StorageTool",
            &["format", "-t", cluster, "-c"],
        );
        let output = command.output().expect("java starts");
        assert!(
            output.status.success(),
            "formatting failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn java(&self, command: &mut Command, class: &str, arguments: &[&str]) {
        let logging = self.folder.join("log4j2.properties");
        command
            .arg("-XX:+UseSerialGC")
            .args(self.tuning)
            .arg(format!("-Dlog4j2.configurationFile={}", logging.display()))
            .arg("-cp")
            .arg(libs().join("*"))
            .arg(class)
            .args(arguments)
            .arg(self.folder.join("server.properties"));
    }
}

/// Client settings for a bootstrap address: quick to come back, because the tests take brokers away.
pub fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("allow.auto.create.topics", "false")
        .set("reconnect.backoff.max.ms", "1000");
    config
}

/// A name that no other test uses on the shared broker.
pub fn unused_topic(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn properties(folder: &Scratch, port: u16, controller: u16) -> String {
    format!(
        "\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={}
auto.create.topics.enable=false
# One node: internal topics cannot have more replicas.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=5
transaction.state.log.replication.factor=1
transaction.state.log.num.partitions=5
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
# Quotas are judged over the last seconds, not over eleven.
quota.window.num=3
# A killed broker may come back at once: its own controller must not take it for a second one for long.
{IN_TIME}
broker.session.timeout.ms=3000
",
        folder.join("data").display()
    )
}

/// The jars that `./dev setup` fetched.
fn libs() -> PathBuf {
    let libs = std::env::var_os("EDGEFERRY_KAFKA_LIBS").map_or_else(default_libs, PathBuf::from);
    assert!(
        libs.is_dir(),
        "there are no Kafka jars in {}: run ./dev setup",
        libs.display()
    );
    libs
}

/// Where `./dev setup` puts them when nothing else is asked for.
fn default_libs() -> PathBuf {
    let pom = include_str!("kafka/pom.xml");
    let version = pom
        .split_once("<kafka.version>")
        .and_then(|(_, rest)| rest.split_once("</kafka.version>"))
        .map(|(version, _)| version)
        .expect("the pom names the version");
    cache().join(format!("kafka-{version}")).join("libs")
}

/// Where `./dev setup` keeps what is fetched or made once.
pub fn cache() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .filter(|path| !path.is_empty())
        .map_or_else(
            || Path::new(&std::env::var_os("HOME").expect("HOME is set")).join(".cache"),
            PathBuf::from,
        );
    cache.join("edgeferry")
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime without drivers");
    runtime.block_on(future)
}
