//! How much is written to the medium, and the commit interval that keeps to a budget.
//!
//! The source is the kernel's account of this process, `write_bytes` of `/proc/self/io`: pages that the process made
//! dirty, for all lanes, marks, sessions and dead letters together. Not in it: the journal of the file system (with ext4
//! 12 KiB at each commit that changes a file's size; see `ahead` in the generation) and what the flash itself writes
//! more. A budget is that of the medium, so every lane with a budget compares the whole process with it.
//!
//! Each group costs a page or two whatever is in it. With a budget the interval between groups is stretched while more is
//! written than the budget allows, and shrinks back while less is. A full MQTT window commits at once all the same: the
//! broker would send nothing more.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::queue::Config;

/// Payload that became durable in this process, all lanes.
static PAYLOAD: AtomicU64 = AtomicU64::new(0);

const DAY: Duration = Duration::from_hours(24);
/// How often the kernel is asked and the interval adapted: space is made ready 256 KiB at a time, which should not look
/// like a change of the load.
const STEP: Duration = Duration::from_mins(1);
/// A projection looks back this far.
const RECENT: usize = 10;
/// Samples kept: one a step, for a day, and the one that it began with.
const SAMPLES: usize = 24 * 60 + 1;
/// Largest change of the interval in one step.
const LARGEST_FACTOR: f64 = 4.0;
/// Share of the budget that is aimed at.
const AIM: f64 = 0.95;
/// Below this share the interval shrinks; between it and the whole budget it stays as it is.
const CONTENT: f64 = 0.9;
/// An interval of zero is stretched from here.
const LEAST_STRETCHED: Duration = Duration::from_millis(1);

/// What was written. Bytes of the whole process, since its start if nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Wear {
    /// Bytes written.
    pub written: u64,
    /// Payload bytes that became durable.
    pub payload: u64,
    /// Bytes written in the last 24 hours, or since the start of the process if that was later.
    pub last_day: u64,
    /// How much time that is, a day at most.
    pub last_day_over: Duration,
    /// Bytes that a day would take at the rate of the last ten minutes.
    pub projected_per_day: u64,
    /// Time between two groups now.
    pub commit_interval: Duration,
}

impl Wear {
    /// Bytes written for each byte of payload. `None` before the first.
    #[must_use]
    pub fn per_payload_byte(&self) -> Option<f64> {
        (self.payload > 0).then(|| as_f64(self.written) / as_f64(self.payload))
    }
}

/// The meter of a lane.
#[derive(Debug)]
pub(super) struct Meter(Mutex<Gauge>);

impl Meter {
    pub(super) fn new(config: &Config) -> Self {
        let written = written_by_this_process().unwrap_or(0);
        Self(Mutex::new(Gauge::new(config, Instant::now(), written)))
    }

    fn gauge(&self) -> MutexGuard<'_, Gauge> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shortest time between two groups, now.
    pub(super) fn interval(&self) -> Duration {
        self.gauge().interval
    }

    /// A group with this much payload became durable.
    pub(super) fn committed(&self, payload: usize) {
        PAYLOAD.fetch_add(payload as u64, Ordering::Relaxed);
        let now = Instant::now();
        let mut gauge = self.gauge();
        if gauge.is_due(now)
            && let Some(written) = written_by_this_process()
        {
            gauge.observe(now, written);
        }
    }

    /// What was written so far.
    pub(super) fn wear(&self) -> Wear {
        let written = written_by_this_process().unwrap_or(0);
        let payload = PAYLOAD.load(Ordering::Relaxed);
        self.gauge().wear(Instant::now(), written, payload)
    }
}

/// `write_bytes` of `/proc/self/io`. `None` where the kernel keeps no such account.
fn written_by_this_process() -> Option<u64> {
    let account = std::fs::read_to_string("/proc/self/io").ok()?;
    let line = account
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes:"))?;
    line.trim().parse().ok()
}

/// The calculation. Pure: it is told the time and the bytes.
#[derive(Debug)]
struct Gauge {
    least: Duration,
    most: Duration,
    /// Bytes a second that the budget allows.
    allowed: Option<f64>,
    interval: Duration,
    /// When and how much, oldest first; never empty.
    samples: VecDeque<(Instant, u64)>,
}

impl Gauge {
    fn new(config: &Config, now: Instant, written: u64) -> Self {
        Self {
            least: config.commit_interval,
            most: config.commit_interval_max.max(config.commit_interval),
            allowed: config
                .flash_budget
                .map(|budget| as_f64(budget.max(1)) / DAY.as_secs_f64()),
            interval: config.commit_interval,
            samples: VecDeque::from([(now, written)]),
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        let newest = self.samples.back();
        newest.is_none_or(|(at, _)| now.saturating_duration_since(*at) >= STEP)
    }

    /// Takes a sample and adapts the interval to what was written since the one before.
    fn observe(&mut self, now: Instant, written: u64) {
        if let Some(allowed) = self.allowed
            && let Some(rate) = self.samples.back().and_then(|since| rate(*since, now, written))
        {
            self.adapt(rate / allowed);
        }
        self.samples.push_back((now, written));
        while self.samples.len() > SAMPLES
            || self
                .samples
                .get(1)
                .is_some_and(|(at, _)| now.saturating_duration_since(*at) >= DAY)
        {
            self.samples.pop_front();
        }
    }

    /// `used` is the share of the budget that was used.
    fn adapt(&mut self, used: f64) {
        if (CONTENT..=1.0).contains(&used) {
            return;
        }
        let factor = (used / AIM).clamp(LARGEST_FACTOR.recip(), LARGEST_FACTOR);
        let stretched = self.interval.max(LEAST_STRETCHED).mul_f64(factor);
        self.interval = if stretched < LEAST_STRETCHED {
            self.least
        } else {
            stretched.clamp(self.least, self.most)
        };
    }

    fn wear(&self, now: Instant, written: u64, payload: u64) -> Wear {
        // The youngest that is a day old; while nothing is committed nothing is sampled, so there may be several.
        let age = |at: &Instant| now.saturating_duration_since(*at);
        let old = self.samples.iter().rev().find(|(at, _)| age(at) >= DAY);
        let day_ago = old.or_else(|| self.samples.front());
        let recent = self
            .samples
            .get(self.samples.len().saturating_sub(RECENT))
            .and_then(|since| rate(*since, now, written))
            .unwrap_or(0.0);
        Wear {
            written,
            payload,
            last_day: day_ago.map_or(0, |(_, then)| written.saturating_sub(*then)),
            last_day_over: day_ago.map_or(Duration::ZERO, |(at, _)| age(at).min(DAY)),
            projected_per_day: as_u64(recent * DAY.as_secs_f64()),
            commit_interval: self.interval,
        }
    }
}

/// Bytes a second since a sample. `None` when no time has passed.
fn rate(since: (Instant, u64), now: Instant, written: u64) -> Option<f64> {
    let seconds = now.saturating_duration_since(since.0).as_secs_f64();
    (seconds > 0.0).then(|| as_f64(written.saturating_sub(since.1)) / seconds)
}

#[expect(clippy::cast_precision_loss, reason = "an estimate; exact below 2⁵² bytes")]
const fn as_f64(bytes: u64) -> f64 {
    bytes as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate of what is never negative; too large a number saturates"
)]
const fn as_u64(bytes: f64) -> u64 {
    bytes as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn config(budget: Option<u64>) -> Config {
        Config {
            commit_interval: Duration::from_millis(10),
            commit_interval_max: Duration::from_secs(1),
            flash_budget: budget,
            ..Config::default()
        }
    }

    /// Runs for so many steps on a medium where each group costs `cost` and the load `bytes` in a step.
    fn run(gauge: &mut Gauge, steps: u32, cost: f64, bytes: f64) -> f64 {
        let (mut now, mut written) = *gauge.samples.back().expect("is never empty");
        let mut step = 0.0;
        for _ in 0..steps {
            let groups = STEP.as_secs_f64() / gauge.interval.as_secs_f64();
            step = groups * cost + bytes;
            now += STEP;
            written += as_u64(step);
            assert!(gauge.is_due(now));
            gauge.observe(now, written);
        }
        step * (DAY.as_secs_f64() / STEP.as_secs_f64())
    }

    #[test]
    fn the_interval_settles_where_the_budget_is_kept() {
        let budget = 2048 * MIB;
        let mut gauge = Gauge::new(&config(Some(budget)), Instant::now(), 0);
        let per_day = run(&mut gauge, 30, 8192.0, 100_000.0);
        assert!(per_day <= as_f64(budget), "{per_day}");
        assert!(per_day >= as_f64(budget) * 0.8, "{per_day}");
        assert!(
            gauge.interval > Duration::from_millis(300),
            "{:?}",
            gauge.interval
        );
    }

    #[test]
    fn the_interval_stays_within_its_bounds() {
        let mut gauge = Gauge::new(&config(Some(MIB)), Instant::now(), 0);
        run(&mut gauge, 30, 8192.0, 100_000.0);
        assert_eq!(gauge.interval, Duration::from_secs(1), "too small a budget");
        // The load ends.
        run(&mut gauge, 30, 0.0, 0.0);
        assert_eq!(gauge.interval, Duration::from_millis(10));
    }

    #[test]
    fn an_interval_of_zero_is_stretched_and_comes_back() {
        let none = Config {
            commit_interval: Duration::ZERO,
            ..config(Some(MIB))
        };
        let mut gauge = Gauge::new(&none, Instant::now(), 0);
        gauge.adapt(100.0);
        assert_eq!(gauge.interval, Duration::from_millis(4));
        gauge.adapt(0.0);
        gauge.adapt(0.0);
        assert_eq!(gauge.interval, Duration::ZERO);
    }

    #[test]
    fn without_a_budget_the_interval_is_the_one_that_was_set() {
        let mut gauge = Gauge::new(&config(None), Instant::now(), 0);
        run(&mut gauge, 5, 1e9, 1e12);
        assert_eq!(gauge.interval, Duration::from_millis(10));
    }

    #[test]
    fn a_projection_looks_at_the_last_ten_minutes_and_a_day_at_a_day() {
        let start = Instant::now();
        let mut gauge = Gauge::new(&config(None), start, 5 * MIB);
        assert_eq!(
            gauge.wear(start, 5 * MIB, 0),
            Wear {
                written: 5 * MIB,
                commit_interval: Duration::from_millis(10),
                ..Wear::default()
            }
        );
        // An hour of one MiB a minute, then an hour of nothing.
        let minutes = |count: u32| start + STEP * count;
        for minute in 1..=60 {
            gauge.observe(minutes(minute), (5 + u64::from(minute)) * MIB);
        }
        let busy = gauge.wear(minutes(60), 65 * MIB, 30 * MIB);
        assert_eq!(busy.projected_per_day, 24 * 60 * MIB);
        assert_eq!(busy.last_day, 60 * MIB);
        assert_eq!(busy.last_day_over, Duration::from_hours(1), "since the start");
        assert_eq!(busy.per_payload_byte(), Some(65.0 / 30.0));
        for minute in 61..=120 {
            gauge.observe(minutes(minute), 65 * MIB);
        }
        let idle = gauge.wear(minutes(120), 65 * MIB, 30 * MIB);
        assert_eq!((idle.projected_per_day, idle.last_day), (0, 60 * MIB));
        for minute in 121..=3000 {
            gauge.observe(minutes(minute), 65 * MIB);
        }
        assert!(gauge.samples.len() <= SAMPLES);
        let idle = gauge.wear(minutes(3000), 65 * MIB, 30 * MIB);
        assert_eq!((idle.last_day, idle.last_day_over), (0, DAY));
        // Nothing was committed, and so nothing sampled, for two days.
        let idle = gauge.wear(minutes(3000) + 2 * DAY, 70 * MIB, 30 * MIB);
        assert_eq!((idle.last_day, idle.last_day_over), (5 * MIB, DAY));
    }

    #[test]
    fn the_kernel_says_what_this_process_wrote() {
        let before = written_by_this_process().expect("Linux keeps the account");
        assert!(written_by_this_process().expect("Linux keeps the account") >= before);
    }
}
