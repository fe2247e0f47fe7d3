//! How much waited, and for how long, over the last hours: for the graph of the status page.
//!
//! In memory only, and bounded: `SAMPLES_MAX` samples. It begins with a sample each second, so that there is something to see
//! soon after a start; when it is full, each two neighbours become one, the higher value of both, and from then on
//! samples are taken half as often, down to one in `STEP_MAX`. Then the oldest goes for each that comes, and it covers
//! between 12 and 13 hours. A peak is never thinned away.
//!
//! A sample takes 40 bytes and 32 more for each lane: 100 KB for one lane, 430 KB for eight, which is the limit of the
//! configuration, and lanes that are being emptied beside them count up to `LANES_MAX`: 760 KB at the very most.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::ops::State;
use crate::ops::state::Lane;

/// Samples kept: a graph is not wider on most screens.
const SAMPLES_MAX: usize = 1_440;
/// Between two samples at first.
const STEP_MIN: Duration = Duration::from_secs(1);
/// Between two samples when it has been full often enough: with it [`SAMPLES_MAX`] samples are 12.8 hours.
const STEP_MAX: Duration = Duration::from_secs(32);
/// Lanes in a sample: twice what can be configured, for those that are being emptied. More are counted in the total only.
const LANES_MAX: usize = 16;
/// Points of a series that anybody gets: enough for a graph on a wide screen.
const POINTS_MAX: usize = 360;

/// See the module.
#[derive(Debug)]
pub struct History {
    step: Duration,
    due: Option<Instant>,
    samples: VecDeque<Sample>,
}

#[derive(Debug, Clone)]
struct Sample {
    at: Instant,
    lanes: Vec<Level>,
    total: Level,
}

/// How much waits in a lane.
#[derive(Debug, Clone)]
struct Level {
    /// Shared with the sample before. Empty for the total.
    lane: Arc<str>,
    queued: u64,
    /// `None` while it is not known.
    age_s: Option<f32>,
}

/// All series as they go to the page.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shown {
    /// Version of this form.
    pub version: u32,
    /// Seconds between two samples now; points may stand for several.
    pub step_s: u64,
    /// The total first, then lane by lane in the order of the last sample.
    pub series: Vec<Series>,
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Series {
    /// Name of the lane; `None` is all of them: their messages together, and the highest age.
    pub lane: Option<String>,
    /// The oldest first.
    pub points: Vec<Point>,
}

/// How it was: seconds ago, messages that waited, and seconds that the oldest had waited, `null` where that was not known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point(pub f64, pub u64, pub Option<f32>);

impl Default for History {
    fn default() -> Self {
        Self {
            step: STEP_MIN,
            due: None,
            samples: VecDeque::new(),
        }
    }
}

impl History {
    /// When the next sample should be recorded; `None` means now.
    #[must_use]
    pub const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Takes a sample. Samples come in the order of time; a gap is a gap.
    pub fn record(&mut self, at: Instant, state: &State) {
        if self.samples.len() >= SAMPLES_MAX {
            self.make_room();
        }
        let lanes: Vec<Level> = state
            .lanes
            .iter()
            .take(LANES_MAX)
            .map(|lane| Level {
                lane: self.name(&lane.name),
                queued: lane.ledger.queued,
                age_s: seconds(lane),
            })
            .collect();
        let total = Level {
            lane: Arc::from(""),
            queued: state.lanes.iter().map(|lane| lane.ledger.queued).sum(),
            // Of all together it is known where it is of each: the one that is not may be the oldest.
            age_s: state
                .lanes
                .iter()
                .map(seconds)
                .try_fold(0.0, |highest, age| Some(age?.max(highest))),
        };
        self.samples.push_back(Sample { at, lanes, total });
        self.due = Some(at + self.step);
    }

    /// The name as the last sample has it, so that it is in memory once.
    fn name(&self, name: &str) -> Arc<str> {
        let last = self.samples.back().map(|sample| &sample.lanes[..]);
        let known = last.unwrap_or_default().iter().find(|level| &*level.lane == name);
        known.map_or_else(|| Arc::from(name), |level| Arc::clone(&level.lane))
    }

    fn make_room(&mut self) {
        if self.step >= STEP_MAX {
            self.samples.pop_front();
            return;
        }
        self.step *= 2;
        let mut all = std::mem::take(&mut self.samples).into_iter();
        while let Some(first) = all.next() {
            self.samples.push_back(match all.next() {
                Some(second) => first.merged(second),
                None => first,
            });
        }
    }

    /// All series, each thinned to what a graph can show.
    #[must_use]
    pub fn shown(&self, now: Instant) -> Shown {
        let lanes = self.samples.back().map(|sample| &sample.lanes[..]);
        let names = lanes.unwrap_or_default().iter().map(|level| &level.lane);
        let total = self.series(None, now, |sample| Some(&sample.total));
        let lanes = names.map(|name| {
            self.series(Some(name.to_string()), now, |sample| {
                sample.lanes.iter().find(|level| level.lane == *name)
            })
        });
        Shown {
            version: 1,
            step_s: self.step.as_secs(),
            series: std::iter::once(total).chain(lanes).collect(),
        }
    }

    fn series(
        &self,
        lane: Option<String>,
        now: Instant,
        level: impl Fn(&Sample) -> Option<&Level>,
    ) -> Series {
        let all: Vec<(Instant, &Level)> = self
            .samples
            .iter()
            .filter_map(|sample| Some((sample.at, level(sample)?)))
            .collect();
        let each = all.len().div_ceil(POINTS_MAX).max(1);
        let points = all.chunks(each).filter_map(|chunk| {
            let (at, _) = chunk.last()?;
            let highest = |(queued, age): (u64, Option<f32>), (_, level): &(Instant, &Level)| {
                (queued.max(level.queued), higher(age, level.age_s))
            };
            let (queued, age_s) = chunk.iter().fold((0, None), highest);
            let ago = now.saturating_duration_since(*at).as_secs_f64();
            Some(Point(
                (ago * 10.0).round() / 10.0,
                queued,
                age_s.map(|age_s| (age_s * 10.0).round() / 10.0),
            ))
        });
        Series {
            lane,
            points: points.collect(),
        }
    }
}

impl Sample {
    /// Both as one, as high as the higher of them, at the time of the later.
    fn merged(self, mut later: Self) -> Self {
        later.total.raise(&self.total);
        for level in self.lanes {
            let has_room = later.lanes.len() < LANES_MAX;
            match later.lanes.iter_mut().find(|other| other.lane == level.lane) {
                Some(other) => other.raise(&level),
                None if has_room => later.lanes.push(level),
                None => {}
            }
        }
        later
    }
}

impl Level {
    fn raise(&mut self, other: &Self) {
        self.queued = self.queued.max(other.queued);
        self.age_s = higher(self.age_s, other.age_s);
    }
}

/// The higher of those that are known.
fn higher(one: Option<f32>, other: Option<f32>) -> Option<f32> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.max(other)),
        (one, other) => one.or(other),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "an age for a graph")]
fn seconds(lane: &Lane) -> Option<f32> {
    known_age_s(lane).map(|age_s| age_s as f32)
}

/// How long the oldest has waited, seconds: 0 where nothing waits, `None` where something does and nobody knows how long.
pub(crate) fn known_age_s(lane: &Lane) -> Option<f64> {
    let is_unknown = lane.queue.is_age_unknown;
    (!is_unknown).then(|| lane.queue.age_s.unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::state::sample;

    fn with(queued: u64, age_s: f64) -> State {
        let mut state = sample::state();
        state.lanes.truncate(1);
        for lane in &mut state.lanes {
            lane.ledger.queued = queued;
            lane.queue.age_s = Some(age_s);
        }
        state
    }

    /// Whoever is asked for samples at the times at which they are due, over `hours`.
    fn filled(hours: u64, mut level: impl FnMut(Duration) -> u64) -> (History, Instant) {
        let (mut history, start) = (History::default(), Instant::now());
        let end = start + Duration::from_hours(hours);
        let mut now = start;
        while now < end {
            history.record(now, &with(level(now - start), 1.0));
            now = history.due().unwrap();
        }
        (history, now)
    }

    #[test]
    fn it_begins_with_a_sample_each_second_and_ends_with_hours_in_bounded_memory() {
        let (history, _) = filled(0, |_| 0);
        assert_eq!(history.due(), None);
        let (history, now) = filled(1, |_| 1);
        assert!(history.samples.len() <= SAMPLES_MAX);
        let oldest = now - history.samples.front().unwrap().at;
        assert!(oldest >= Duration::from_secs(3590), "{oldest:?}");
        let (history, now) = filled(40, |_| 1);
        assert_eq!(history.step, STEP_MAX);
        assert_eq!(history.samples.len(), SAMPLES_MAX);
        let oldest = now - history.samples.front().unwrap().at;
        assert!(oldest >= Duration::from_hours(12), "{oldest:?}");
    }

    #[test]
    fn a_peak_of_a_second_is_still_there_hours_later() {
        let peak = Duration::from_mins(10);
        let (history, now) = filled(10, |since| if since == peak { 900 } else { 3 });
        let shown = history.shown(now);
        for series in &shown.series {
            assert!(series.points.len() <= POINTS_MAX, "{}", series.points.len());
            let highest = series.points.iter().max_by_key(|point| point.1).unwrap();
            assert_eq!(highest.1, 900);
        }
    }

    #[test]
    fn the_total_comes_first_and_adds_the_lanes_up() {
        let mut history = History::default();
        let now = Instant::now();
        let mut state = sample::state();
        state.lanes[0].ledger.queued = 5;
        history.record(now, &state);
        let shown = history.shown(now + Duration::from_secs(2));
        let names: Vec<_> = shown.series.iter().map(|series| series.lane.as_deref()).collect();
        assert_eq!(names, [None, Some("default"), Some("alarms")]);
        assert_eq!(shown.series[0].points, [Point(2.0, 22, Some(60.0))]);
        assert_eq!(shown.series[1].points, [Point(2.0, 5, Some(0.0))]);
        assert_eq!(shown.series[2].points, [Point(2.0, 17, Some(60.0))]);
    }

    #[test]
    fn an_age_that_is_not_known_is_a_gap_and_not_a_0() {
        let (mut history, start) = (History::default(), Instant::now());
        let mut state = with(9, 500.0);
        history.record(start, &state);
        state.lanes[0].queue.age_s = None;
        state.lanes[0].queue.is_age_unknown = true;
        history.record(start + STEP_MIN, &state);
        state.lanes[0].ledger.queued = 0;
        state.lanes[0].queue.is_age_unknown = false;
        history.record(start + 2 * STEP_MIN, &state);
        let shown = history.shown(start + 2 * STEP_MIN);
        for series in &shown.series {
            let ages: Vec<Option<f32>> = series.points.iter().map(|point| point.2).collect();
            assert_eq!(ages, [Some(500.0), None, Some(0.0)], "{:?}", series.lane);
        }
        assert!(serde_json::to_string(&shown).unwrap().contains("[1.0,9,null]"));
    }

    #[test]
    fn a_lane_that_came_later_has_no_points_before() {
        let mut history = History::default();
        let now = Instant::now();
        history.record(now, &with(1, 1.0));
        history.record(now + STEP_MIN, &sample::state());
        let shown = history.shown(now + STEP_MIN);
        let lengths: Vec<usize> = shown.series.iter().map(|series| series.points.len()).collect();
        assert_eq!(lengths, [2, 2, 1]);
    }

    #[test]
    fn lanes_beyond_the_limit_count_in_the_total() {
        let mut state = with(1, 1.0);
        let lane = state.lanes[0].clone();
        state.lanes = (0..40)
            .map(|number| Lane {
                name: format!("lane{number}"),
                ..lane.clone()
            })
            .collect();
        let mut history = History::default();
        let now = Instant::now();
        history.record(now, &state);
        let shown = history.shown(now);
        assert_eq!(shown.series.len(), LANES_MAX + 1);
        assert_eq!(shown.series[0].points[0].1, 40);
    }
}
