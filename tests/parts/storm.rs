//! Everything at once: three brokers, any of them killed and restarted in turn, and the daemon killed every few seconds,
//! under load; then all comes back, everything drains, and the oracle judges.
//!
//! `./dev storm --minutes M` runs it for any length with the release binary, `cargo test` for half a minute in each mode.
//! The judge does not know the mode when it reads: in `exactly-once` no `edgeferry-id` may come twice, in neither mode may
//! anything be lost or overtaken. A redelivery that MQTT leaves undecided has an id of its own and `edgeferry-dup`; these
//! are counted apart.

use std::fmt;
use std::time::{Duration, Instant};

use crate::support::cluster::{self, Cluster, GROUPS, NODES, TRANSACTIONS};
use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::devices::{Devices, Plan};
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::Verdict;
use crate::support::scene::{ACK_LIMIT, Scene};
use crate::support::seed::Seed;
use crate::support::wait;

/// `./dev storm` sets these.
const MINUTES_ENV: &str = "EDGEFERRY_STORM_MINUTES";
const RATE_ENV: &str = "EDGEFERRY_STORM_RATE";

const SHORT: Duration = Duration::from_secs(30);
/// Messages per second of a short run: a debug build, and other tests beside it.
const SHORT_RATE: u32 = 800;
const RATE: u32 = 2_000;
const DEVICES: usize = 100;
/// How long the daemon lives: five seconds in the middle.
const LIFE_MS: std::ops::Range<u64> = 4_000..6_000;
/// How long a broker is away: longer than it takes to notice and to elect, most of the time.
const AWAY_MS: std::ops::Range<u64> = 1_000..8_000;
/// How long all brokers are there before the next one goes.
const TOGETHER_MS: std::ops::Range<u64> = 200..3_000;
/// The backlog of a storm.
const DRAIN_LIMIT: Duration = Duration::from_mins(10);

#[test]
fn at_least_once_in_a_storm_loses_and_reorders_nothing() {
    let mut storm = Storm::asked_for("at_least_once_in_a_storm_loses_and_reorders_nothing");
    storm.run(|config| config);
    storm.verdict.assert_clean();
}

#[test]
fn exactly_once_in_a_storm_loses_doubles_and_reorders_nothing() {
    let mut storm = Storm::asked_for("exactly_once_in_a_storm_loses_doubles_and_reorders_nothing");
    storm.run(Config::exactly_once);
    storm.verdict.assert_clean();
    assert_eq!(
        storm.verdict.duplicates.same_id, 0,
        "ids that came twice:\n{storm}"
    );
}

/// A storm, and what came of it.
#[derive(Debug)]
struct Storm {
    time: Duration,
    rate: u32,
    seed: Seed,
    daemon_kills: u32,
    brokers: Brokers,
    verdict: Verdict,
}

/// What happened to the brokers.
#[derive(Debug, Default)]
struct Brokers {
    kills: [u32; NODES],
    /// Changes of leaders that were seen: of the topic's partitions, and of the coordinators.
    elections: u32,
    coordinators: u32,
}

impl Storm {
    /// As long and as fast as the environment says.
    fn asked_for(test: &str) -> Self {
        let number = |name| {
            let value = std::env::var(name).ok()?;
            Some(
                value
                    .parse::<u32>()
                    .unwrap_or_else(|_| panic!("{name} is a number")),
            )
        };
        let minutes = number(MINUTES_ENV).map(u64::from);
        let usual_rate = if minutes.is_some() { RATE } else { SHORT_RATE };
        Self {
            time: minutes.map_or(SHORT, Duration::from_mins),
            rate: number(RATE_ENV).unwrap_or(usual_rate),
            seed: Seed::of_this_run(test),
            daemon_kills: 0,
            brokers: Brokers::default(),
            verdict: Verdict::default(),
        }
    }

    /// The storm, the calm behind it, and the verdict.
    fn run(&mut self, change: impl FnOnce(Config) -> Config) {
        let mut cluster = cluster::whole();
        let mut scene = Scene::start("5", &*cluster, Mosquitto::start(), change);
        let devices = scene.devices(&Plan {
            devices: DEVICES,
            rate: Some(self.rate),
            ..Plan::default()
        });
        devices.until_acked(u64::from(self.rate), ACK_LIMIT);
        let end = Instant::now() + self.time;
        let mut broker_seed = Seed::new(self.seed.next());
        std::thread::scope(|scope| {
            let (cluster, topic) = (&mut *cluster, &scene.topic);
            let brokers = scope.spawn(move || torment_brokers(cluster, topic, &mut broker_seed, end));
            self.daemon_kills = torment_daemon(&mut scene.daemon, &mut self.seed, end);
            self.brokers = brokers.join().expect("the brokers come back");
        });
        self.judge(&cluster, scene, devices);
        eprintln!("{self}");
    }

    /// Marked duplicates by the minute in which the device published them.
    fn marked_by_minute(&self) -> Vec<usize> {
        let each_minute = u64::from(self.rate) * 60 / DEVICES as u64;
        let seqs = self.verdict.marked.iter().filter_map(|name| name.split_once('#'));
        let mut minutes = Vec::new();
        for seq in seqs.filter_map(|(_, seq)| seq.parse::<u64>().ok()) {
            let minute = usize::try_from(seq / each_minute).expect("minutes");
            minutes.resize(minutes.len().max(minute + 1), 0);
            minutes[minute] += 1;
        }
        minutes
    }

    fn judge(&mut self, cluster: &Cluster, mut scene: Scene, devices: Devices) {
        let sent = devices.finish(ACK_LIMIT);
        let expected = sent.acked().count() as u64;
        wait::until("the queue is empty", DRAIN_LIMIT, || {
            let lane = scene.daemon.lane();
            let count = |name: &str| lane[name].as_u64().expect("a count");
            (count("queued") == 0 && count("received") >= expected).then_some(())
        });
        self.verdict = scene.judge(cluster, &sent);
    }
}

/// Kills the daemon until the time is over; it runs afterwards.
fn torment_daemon(daemon: &mut Daemon, seed: &mut Seed, end: Instant) -> u32 {
    let mut kills = 0;
    while Instant::now() < end {
        pass("the daemon lives", seed.between(LIFE_MS.start, LIFE_MS.end));
        daemon.assert_alive();
        daemon.kill();
        kills += 1;
        daemon.restart();
    }
    kills
}

/// Kills one broker after the other until the time is over; all are there and in sync afterwards.
fn torment_brokers(cluster: &mut Cluster, topic: &str, seed: &mut Seed, end: Instant) -> Brokers {
    let mut done = Brokers::default();
    while Instant::now() < end {
        let node = usize::try_from(seed.between(0, NODES as u64)).expect("small");
        let leaders = (cluster.leaders(topic), coordinators(cluster));
        cluster.node(node).kill();
        done.kills[node] += 1;
        pass("a broker is away", seed.between(AWAY_MS.start, AWAY_MS.end));
        cluster.restart(&[node]);
        cluster.until_in_sync();
        done.elections += changes(&leaders.0, &cluster.leaders(topic));
        done.coordinators += changes(&leaders.1, &coordinators(cluster));
        // It leads again what is its own, so that its end means something the next time too.
        let leaders = cluster.leaders(topic);
        cluster.elect_preferred(topic);
        done.elections += changes(&leaders, &cluster.leaders(topic));
        pass(
            "all brokers are there",
            seed.between(TOGETHER_MS.start, TOGETHER_MS.end),
        );
    }
    done
}

fn pass(scenario: &str, ms: u64) {
    wait::let_pass(scenario, Duration::from_millis(ms));
}

/// Leaders of the coordinators' topics; without transactions nobody has made those.
fn coordinators(cluster: &Cluster) -> Vec<Option<usize>> {
    let topics = [TRANSACTIONS, GROUPS];
    topics.iter().flat_map(|topic| cluster.leaders(topic)).collect()
}

fn changes(before: &[Option<usize>], after: &[Option<usize>]) -> u32 {
    let changed = before.iter().zip(after).filter(|(before, after)| before != after);
    u32::try_from(changed.count()).expect("few partitions")
}

impl fmt::Display for Storm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: &dyn fmt::Display| writeln!(f, "| {name} | {value} |");
        line("seconds", &self.time.as_secs())?;
        line("messages a second", &self.rate)?;
        line("messages", &self.verdict.expected)?;
        line("SIGKILLs of the daemon", &self.daemon_kills)?;
        line("SIGKILLs of brokers", &format!("{:?}", self.brokers.kills))?;
        line("changes of partition leaders seen", &self.brokers.elections)?;
        line("changes of coordinators seen", &self.brokers.coordinators)?;
        line("records", &self.verdict.records)?;
        line("lost", &self.verdict.lost.len())?;
        line("reordered", &self.verdict.reordered.len())?;
        line("duplicates, same id", &self.verdict.duplicates.same_id)?;
        line(
            "redeliveries that MQTT leaves undecided, marked `edgeferry-dup`",
            &self.verdict.duplicates.marked,
        )?;
        line("these by minute", &format!("{:?}", self.marked_by_minute()))
    }
}
