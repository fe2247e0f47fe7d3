//! A steady load for hours, with outages in between: whatever is looked at in the calm between them stays flat.
//!
//! `./dev soak --hours H` runs it with the release binary and draws a picture; `cargo test` takes a minute of it, in which buffers still fill and
//! speed is not judged.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`look`] | what the process holds at one moment |
//! | [`latency`] | from a device's PUBLISH to a consumer, by minute |
//! | [`flat`] | whether the last hour is as the first |

mod flat;
mod latency;
mod look;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::support::devices::Plan;
use crate::support::kafka::Kafka;
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Oracle, PATIENCE};
use crate::support::plots::{self, Line, Picture, Scale};
use crate::support::scene::{ACK_LIMIT, Scene};
use crate::support::wait;
use crate::support::wait::wall_clock;
use look::Look;

/// `./dev soak` sets it.
const MINUTES_ENV: &str = "EDGEFERRY_SOAK_MINUTES";
/// Messages per second.
const RATE: u32 = 300;
/// Of a line of the picture: more are not to be told apart.
const POINTS: usize = 150;
/// What came in during an outage is delivered.
const DRAIN_LIMIT: Duration = Duration::from_mins(5);

/// How long it takes, and what in it.
#[derive(Debug, Clone, Copy)]
struct Plot {
    time: Duration,
    /// Between two outages.
    calm: Duration,
    away: Duration,
    look_every: Duration,
}

impl Plot {
    const SHORT: Self = Self {
        time: Duration::from_secs(40),
        calm: Duration::from_secs(10),
        away: Duration::from_secs(5),
        look_every: Duration::from_secs(1),
    };

    fn of_minutes(minutes: u64) -> Self {
        Self {
            time: Duration::from_mins(minutes),
            calm: Duration::from_mins(4),
            away: Duration::from_secs(45),
            look_every: Duration::from_secs(5),
        }
    }
}

/// Who is away, in turn.
#[derive(Debug, Clone, Copy)]
enum Outage {
    KafkaKilled,
    MosquittoStopped,
    KafkaPaused,
}

const OUTAGES: [Outage; 3] = [Outage::KafkaKilled, Outage::MosquittoStopped, Outage::KafkaPaused];

#[test]
fn a_steady_load_with_outages_leaves_nothing_behind() {
    let asked = std::env::var(MINUTES_ENV).ok();
    let plot = asked.map_or(Plot::SHORT, |minutes| {
        Plot::of_minutes(minutes.parse().expect("a number of minutes"))
    });
    let mut kafka = Kafka::start();
    let mut scene = Scene::start("5", &kafka, Mosquitto::start(), |config| config);
    let devices = scene.devices(&Plan {
        rate: Some(RATE),
        ..Plan::default()
    });
    let mut oracle = Oracle::new(&kafka, &scene.topic);
    let is_over = AtomicBool::new(false);
    let soaked = std::thread::scope(|scope| {
        scope.spawn(|| oracle.follow(&is_over));
        let _over = Over(&is_over);
        soak(&plot, &mut kafka, &mut scene)
    });
    let sent = devices.finish(ACK_LIMIT);
    oracle.until_all_there(&sent, PATIENCE);
    scene.daemon.assert_alive();
    scene.daemon.terminate();
    let verdict = oracle.verdict(&sent);
    eprintln!("{verdict}");
    verdict.assert_clean();

    let minutes = latency::by_minute(&sent, oracle.records(), &soaked.calms);
    draw(&soaked.looks, &minutes);
    let found = flat::judge(&soaked.looks, &minutes, plot.time == Plot::SHORT.time);
    assert!(found.is_empty(), "not flat: {found:?}");
}

/// Ends the reading along, also when the test has failed: it would be waited for.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What was seen.
#[derive(Debug, Default)]
struct Soaked {
    looks: Vec<Look>,
    /// From when to when nothing was away and nothing waited.
    calms: Vec<(SystemTime, SystemTime)>,
}

fn soak(plot: &Plot, kafka: &mut Kafka, scene: &mut Scene) -> Soaked {
    let began = Instant::now();
    let mut soaked = Soaked::default();
    for outage in OUTAGES.into_iter().cycle() {
        let since = wall_clock();
        let until = Instant::now() + plot.calm;
        while Instant::now() < until {
            wait::let_pass("nothing happens", plot.look_every);
            soaked.looks.push(Look::at(&scene.daemon, began));
        }
        soaked.calms.push((since, wall_clock()));
        if began.elapsed() >= plot.time {
            break;
        }
        happen(outage, plot.away, kafka, scene);
    }
    soaked
}

/// Returns when nothing waits any more.
fn happen(outage: Outage, away: Duration, kafka: &mut Kafka, scene: &mut Scene) {
    match outage {
        Outage::KafkaKilled => kafka.kill(),
        Outage::MosquittoStopped => scene.mosquitto.stop(),
        Outage::KafkaPaused => kafka.pause(),
    }
    wait::let_pass(&format!("{outage:?}"), away);
    match outage {
        Outage::KafkaKilled => kafka.restart(),
        Outage::MosquittoStopped => scene.mosquitto.restart(),
        Outage::KafkaPaused => kafka.resume(),
    }
    wait::until("what waited is delivered", DRAIN_LIMIT, || {
        scene.daemon.assert_alive();
        let queued = scene.daemon.lane()["queued"].as_u64().expect("a count");
        (queued < u64::from(RATE)).then_some(())
    });
}

fn draw(looks: &[Look], minutes: &[latency::Minute]) {
    let picture = Picture {
        file: "soak",
        title: "a steady load with outages: what is held in the calm between them",
        x: "minutes",
        y: "MB, milliseconds, or how many",
        scale: Scale::Linear,
    };
    let step = looks.len().div_ceil(POINTS).max(1);
    let of = |name: &str, value: fn(&Look) -> f64| Line {
        name: name.to_owned(),
        points: looks
            .iter()
            .step_by(step)
            .map(|look| (look.seconds / 60.0, value(look)))
            .collect(),
    };
    let latency = |name: &str, value: fn(&latency::Minute) -> f64| Line {
        name: name.to_owned(),
        points: minutes
            .iter()
            .map(|minute| (minute.since_began, value(minute)))
            .collect(),
    };
    let lines = [
        of("resident memory, MB", |look| look.resident / 1e6),
        of("open files", |look| look.files),
        of("threads", |look| look.threads),
        of("disk, MB", |look| look.disk / 1e6),
        latency("latency, median, ms", |minute| minute.p50_ms),
        latency("latency, p99, ms", |minute| minute.p99_ms),
    ];
    plots::draw(&picture, &lines);
}
