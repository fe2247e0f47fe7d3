//! Everything at once, from one seed: the daemon, three Kafka brokers and Mosquitto are killed, stopped and made to stand still, the ways between
//! them are slow, closed or swallow answers, and the disk under the queue is filled; devices publish all along. Then all comes back,
//! everything drains, and the oracle judges.
//!
//! | module | whom it torments |
//! | --- | --- |
//! | [`daemon`] | killed every second; one time in twelve asked to stop, one time in twelve stopped where it stands |
//! | [`kafka`] | one of three brokers at a time, or the way to it |
//! | [`mosquitto`] | it, or the way to it |
//! | [`disk`] | a small ext4 of the daemon's own; left out, with a word, where nothing can be mounted |
//!
//! `./dev storm --minutes M` runs it for any length with the release binary, `cargo test` for half a minute in each mode.
//! The judge does not know the mode when it reads: in `exactly-once` no `edgeferry-id` may come twice, in neither mode may
//! anything be lost or overtaken, and the daemon's own account has to add up. A redelivery that MQTT leaves undecided has an id of its own and
//! `edgeferry-dup`; these are counted apart.
//!
//! What must arrive is what Mosquitto acknowledged to the devices ([`Fate::Stopped`]). Where Mosquitto is killed, it loses what it had not saved, which
//! is everything here; then it is what edgeferry acknowledged to Mosquitto ([`Fate::Killed`]).

mod daemon;
mod disk;
mod kafka;
mod mosquitto;
mod table;

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::ledger;
use crate::support::cluster::{self, Cluster};
use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::devices::sent::Sent;
use crate::support::devices::{Devices, Plan};
use crate::support::disk::{Disk, Kind};
use crate::support::kafka::Brokers;
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::Verdict;
use crate::support::scene::{ACK_LIMIT, FILTER, Scene};
use crate::support::seed::Seed;
use crate::support::takeover::Takeover;
use crate::support::wait;

/// `./dev storm` sets these.
const MINUTES_ENV: &str = "EDGEFERRY_STORM_MINUTES";
const RATE_ENV: &str = "EDGEFERRY_STORM_RATE";
const MOSQUITTO_ENV: &str = "EDGEFERRY_STORM_MOSQUITTO";

const SHORT: Duration = Duration::from_secs(30);
/// Messages per second of a short run: a debug build, and other tests beside it.
const SHORT_RATE: u32 = 500;
const RATE: u32 = 1_000;
const DEVICES: usize = 100;
/// Room for the backlog of a storm in which Kafka takes nothing.
const DISK_MIB: u64 = 512;
/// The backlog of a storm.
const DRAIN_LIMIT: Duration = Duration::from_mins(10);

#[test]
fn at_least_once_in_a_storm_loses_and_reorders_nothing() {
    let mut storm = Storm::asked_for(
        "at_least_once_in_a_storm_loses_and_reorders_nothing",
        Fate::Killed,
    );
    storm.run(|config| config);
    storm.verdict.assert_clean();
}

#[test]
fn exactly_once_in_a_storm_loses_doubles_and_reorders_nothing() {
    let mut storm = Storm::asked_for(
        "exactly_once_in_a_storm_loses_doubles_and_reorders_nothing",
        Fate::Stopped,
    );
    storm.run(Config::exactly_once);
    storm.verdict.assert_clean();
    assert_eq!(
        storm.verdict.duplicates.same_id, 0,
        "ids that came twice:\n{storm}"
    );
}

/// The worst that Mosquitto may meet with, which decides what can be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It has time to save what it acknowledged to devices.
    Stopped,
    /// It has not.
    Killed,
}

/// What a storm is.
#[derive(Debug)]
struct Forecast {
    time: Duration,
    rate: u32,
    mosquitto: Fate,
}

impl Forecast {
    /// As the environment says.
    fn asked_for(mosquitto: Fate) -> Self {
        let number = |name| {
            let value = std::env::var(name).ok()?;
            let number = value.parse::<u32>();
            Some(number.unwrap_or_else(|_| panic!("{name} is a number")))
        };
        let minutes = number(MINUTES_ENV).map(u64::from);
        let usual_rate = if minutes.is_some() { RATE } else { SHORT_RATE };
        Self {
            time: minutes.map_or(SHORT, Duration::from_mins),
            rate: number(RATE_ENV).unwrap_or(usual_rate),
            mosquitto: match std::env::var(MOSQUITTO_ENV).as_deref() {
                Ok("killed") => Fate::Killed,
                Ok("stopped") => Fate::Stopped,
                Ok(other) => panic!("{MOSQUITTO_ENV} is 'killed' or 'stopped', not '{other}'"),
                Err(_) => mosquitto,
            },
        }
    }
}

/// What happened to whom.
#[derive(Debug, Default)]
struct Done {
    daemon: daemon::Done,
    kafka: kafka::Done,
    mosquitto: mosquitto::Done,
    disk_fills: u32,
}

/// A storm, and what came of it.
#[derive(Debug)]
struct Storm {
    forecast: Forecast,
    seed: Seed,
    done: Done,
    peak_anonymous: u64,
    verdict: Verdict,
}

impl Storm {
    fn asked_for(test: &str, mosquitto: Fate) -> Self {
        Self {
            forecast: Forecast::asked_for(mosquitto),
            seed: Seed::of_this_run(test),
            done: Done::default(),
            peak_anonymous: 0,
            verdict: Verdict::default(),
        }
    }

    /// The storm, the calm behind it, and the verdict.
    fn run(&mut self, change: impl FnOnce(Config) -> Config) {
        let mut cluster = cluster::whole();
        let mut place = Place::new(&cluster, change);
        let devices = place.scene.devices(&Plan {
            devices: DEVICES,
            rate: Some(self.forecast.rate),
            ..Plan::default()
        });
        devices.until_acked(u64::from(self.forecast.rate), ACK_LIMIT);
        self.done = self.rage(&mut cluster, &mut place);
        let sent = devices_come_home(devices, &place.takeover, self.forecast.mosquitto);
        until_drained(&mut place.scene.daemon, &sent);
        self.peak_anonymous = place.scene.daemon.peak_anonymous();
        self.verdict = place.scene.judge(&*cluster, &sent);
        eprintln!("{self}");
    }

    /// Each has a thread and a seed of its own: what one of them takes long for changes nothing for the others.
    fn rage(&mut self, cluster: &mut Cluster, place: &mut Place) -> Done {
        let end = Instant::now() + self.forecast.time;
        let fate = self.forecast.mosquitto;
        let mut seeds: [Seed; 4] = std::array::from_fn(|_| Seed::new(self.seed.next()));
        let [for_daemon, for_kafka, for_mosquitto, for_disk] = &mut seeds;
        let Place {
            scene,
            takeover,
            disk,
        } = place;
        let Scene {
            daemon,
            mosquitto,
            topic,
        } = scene;
        std::thread::scope(|scope| {
            let kafka = scope.spawn(move || kafka::torment(cluster, topic, for_kafka, end));
            let way = takeover.proxy();
            let mosquitto = scope.spawn(move || mosquitto::torment(mosquitto, way, fate, for_mosquitto, end));
            let disk = disk.as_ref();
            let fills = scope.spawn(move || disk.map_or(0, |disk| disk::torment(disk, for_disk, end)));
            Done {
                daemon: daemon::torment(daemon, for_daemon, end),
                kafka: kafka.join().expect("the brokers come back"),
                mosquitto: mosquitto.join().expect("mosquitto comes back"),
                disk_fills: fills.join().expect("the neighbour goes"),
            }
        })
    }
}

/// Where a storm takes place.
struct Place {
    scene: Scene,
    takeover: Takeover,
    /// Unmounted behind the daemon.
    disk: Option<Disk>,
}

impl Place {
    fn new(cluster: &Cluster, change: impl FnOnce(Config) -> Config) -> Self {
        // Mosquitto saves when it is stopped, and at no other time.
        let mosquitto = Mosquitto::start_with("autosave_interval 0");
        let takeover = Takeover::start(&mosquitto);
        let disk = Disk::mount(Kind::Ext4, DISK_MIB);
        let topic = cluster.fresh_topic("telemetry");
        let mut config = Config::new(&cluster.behind_proxies())
            .broker_at("local", "5", &takeover.url(), "keep_alive = \"5s\"")
            .route("devices/{device}/telemetry", &topic)
            .queue("min_free_bytes = 0");
        if let Some(disk) = &disk {
            config = config.data_dir(&disk.path().join("store"));
        }
        let mark = mosquitto.mark();
        let daemon = Daemon::start(&change(config));
        // What is published before the first subscription is nobody's: the protocol says so.
        mosquitto.until_subscribed(FILTER, mark);
        Self {
            scene: Scene {
                mosquitto,
                topic,
                daemon,
            },
            takeover,
            disk,
        }
    }
}

/// What was sent, and which of it must arrive.
fn devices_come_home(devices: Devices, takeover: &Takeover, fate: Fate) -> Sent {
    let mut sent = devices.finish(ACK_LIMIT);
    if fate == Fate::Killed {
        let taken = takeover.messages();
        sent.require_only(|device, seq| taken.has(device, seq));
    }
    sent
}

/// Everything that must arrive was received, nothing waits any more, and the account adds up.
fn until_drained(daemon: &mut Daemon, sent: &Sent) {
    let expected = sent.acked().count() as u64;
    wait::until("the queue is empty", DRAIN_LIMIT, || {
        daemon.assert_alive();
        let account = ledger::counted(daemon);
        (account.queued == 0 && account.received >= expected).then_some(())
    });
}

/// Of so many kinds, each as likely as its weight.
fn choose(seed: &mut Seed, weights: &[u64]) -> usize {
    let mut left = seed.between(0, weights.iter().sum());
    let reached = weights.iter().position(|weight| {
        let is_here = left < *weight;
        left = left.saturating_sub(*weight);
        is_here
    });
    reached.expect("less than the sum")
}

fn pass(scenario: &str, seed: &mut Seed, ms: Range<u64>) {
    wait::let_pass(scenario, Duration::from_millis(seed.between(ms.start, ms.end)));
}
