//! How much may be sent: `max_rate` of `[kafka]`, shared by the lanes by `weight`, and `max_rate` of a lane.
//!
//! An [`Allowance`] is a token bucket with a compartment for each lane. What flows in is divided by weight among the
//! compartments that are not full; a lane that sends little has a full one, so its part goes to the others, and it
//! gets through at once when it has something. A compartment may go into debt by one record: a record larger than all that fits
//! into it passes too, and the lane waits longer behind it.
//!
//! Pure: time is given. A crate was looked for: the common rate limiters have neither shares nor costs that are only known
//! afterwards.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::route::KafkaRecord;
use crate::settings::Rate;

/// What may be sent in one go after a silence, as time: long enough for batches that are worth their overhead, short
/// enough that a link which the limit was made for takes it.
const BURST: Duration = Duration::from_millis(250);
/// A lane that waits is woken when this part of its compartment is there: a wake-up for each message would cost more than the
/// message.
const WORTH_WAKING: f64 = 0.2;
/// Weight of what has to wait for everything else; lanes have 1 to 100.
const LAST_WEIGHT: f64 = 0.01;
/// Who that is. No lane has this name: lanes have letters, digits and hyphens.
const LAST: &str = "";

/// So much in each second, for several lanes.
#[derive(Debug)]
pub struct Allowance {
    rate: Rate,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    compartments: Vec<Compartment>,
    filled_at: Option<Instant>,
    /// What lanes that are no more owe, by name. It is paid before anything else, or by the same lane when it is there again: no
    /// other one waits for what it has not sent.
    owed: BTreeMap<String, f64>,
}

#[derive(Debug, Default)]
struct Compartment {
    lane: String,
    weight: f64,
    tokens: f64,
    capacity: f64,
}

impl Compartment {
    /// A lane was here, and is no more.
    fn is_vacant(&self) -> bool {
        self.weight <= 0.0
    }

    fn has_room(&self) -> bool {
        self.tokens < self.capacity
    }
}

impl Allowance {
    /// One that no lane has a seat at yet.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            inner: Mutex::default(),
        }
    }

    /// What flows in.
    #[must_use]
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// A compartment for one more lane; the burst is divided anew. It begins with what it owes.
    fn join(&self, lane: &str, weight: f64) -> usize {
        let burst = self.burst();
        let mut inner = self.inner();
        let new = Compartment {
            lane: lane.to_owned(),
            weight,
            ..Compartment::default()
        };
        let vacant = inner.compartments.iter().position(Compartment::is_vacant);
        let seat = vacant.unwrap_or(inner.compartments.len());
        match inner.compartments.get_mut(seat) {
            Some(compartment) => *compartment = new,
            None => inner.compartments.push(new),
        }
        inner.divide(burst);
        if let Some(owed) = inner.owed.remove(lane)
            && let Some(compartment) = inner.compartments.get_mut(seat)
        {
            compartment.tokens = -owed;
        }
        seat
    }

    /// The lane sends no more; its part is the others'.
    fn part(&self, seat: usize) {
        let burst = self.burst();
        let mut inner = self.inner();
        if let Some(compartment) = inner.compartments.get_mut(seat) {
            let left = std::mem::take(compartment);
            if left.tokens < 0.0 {
                *inner.owed.entry(left.lane).or_default() -= left.tokens;
            }
        }
        inner.divide(burst);
    }

    fn burst(&self) -> f64 {
        self.per_second() * BURST.as_secs_f64()
    }

    /// How long the lane has to wait; zero when it may send.
    fn wait(&self, seat: usize, now: Instant) -> Duration {
        let mut inner = self.inner();
        inner.fill(self.per_second(), now);
        let thirsty = inner
            .compartments
            .iter()
            .filter(|compartment| compartment.has_room());
        let weights: f64 = thirsty.map(|compartment| compartment.weight).sum();
        let Some(own) = inner.compartments.get(seat) else {
            return Duration::ZERO;
        };
        if own.tokens > 0.0 {
            return Duration::ZERO;
        }
        let missing = own.capacity * WORTH_WAKING - own.tokens;
        let flow = self.per_second() * own.weight / weights.max(own.weight);
        Duration::try_from_secs_f64(missing / flow).unwrap_or(Duration::MAX)
    }

    /// The lane has sent so much.
    fn charge(&self, seat: usize, cost: f64) {
        if let Some(compartment) = self.inner().compartments.get_mut(seat) {
            compartment.tokens -= cost;
        }
    }

    fn cost(&self, record: &KafkaRecord) -> f64 {
        match self.rate {
            Rate::Messages(_) => 1.0,
            Rate::Bytes(_) => as_f64(record.bytes()),
        }
    }

    fn per_second(&self) -> f64 {
        as_f64(usize::try_from(self.rate.per_second()).unwrap_or(usize::MAX))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Gives each lane its part of the burst. One that is in debt stays so: lanes that come and go are no way round a limit.
    fn divide(&mut self, burst: f64) {
        let weights = total_weight(&self.compartments);
        let taken = self.compartments.iter_mut().filter(|each| !each.is_vacant());
        for compartment in taken {
            let is_new = compartment.capacity <= 0.0;
            compartment.capacity = burst * compartment.weight / weights;
            compartment.tokens = match is_new {
                true => compartment.capacity,
                false => compartment.tokens.min(compartment.capacity),
            };
        }
    }

    /// Lets in what has come since the last time. What is too much for one compartment is for the others; what is too much for
    /// all is lost.
    fn fill(&mut self, per_second: f64, now: Instant) {
        let since = self
            .filled_at
            .map_or(Duration::ZERO, |then| now.saturating_duration_since(then));
        self.filled_at = Some(self.filled_at.map_or(now, |then| then.max(now)));
        let mut flow = per_second * since.as_secs_f64();
        self.owed.retain(|_, owed| {
            let paid = flow.min(*owed);
            flow -= paid;
            *owed -= paid;
            *owed > 0.0
        });
        // Each round fills a compartment to the brim or is the last.
        for _ in 0..self.compartments.len() {
            let thirsty = self
                .compartments
                .iter()
                .filter(|compartment| compartment.has_room());
            let weights: f64 = thirsty.map(|compartment| compartment.weight).sum();
            if flow <= 0.0 || weights <= 0.0 {
                return;
            }
            let mut left = 0.0;
            for compartment in self.compartments.iter_mut().filter(|each| each.has_room()) {
                let tokens = compartment.tokens + flow * compartment.weight / weights;
                compartment.tokens = tokens.min(compartment.capacity);
                left += tokens - compartment.tokens;
            }
            flow = left;
        }
    }
}

fn total_weight(compartments: &[Compartment]) -> f64 {
    compartments.iter().map(|compartment| compartment.weight).sum()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "sizes and rates are far below 2^52, and a byte more or less does not matter"
)]
const fn as_f64(amount: usize) -> f64 {
    amount as f64
}

/// What one lane has to pass before it sends a record. The default lets everything through.
#[derive(Debug, Default)]
pub struct Gate {
    seats: Vec<(Arc<Allowance>, usize)>,
    closed_until: Option<Instant>,
}

impl Drop for Gate {
    fn drop(&mut self) {
        for (allowance, seat) in &self.seats {
            allowance.part(*seat);
        }
    }
}

impl Gate {
    /// Takes a seat at an allowance for a lane.
    pub fn join(&mut self, allowance: &Arc<Allowance>, lane: &str, weight: u32) {
        let seat = allowance.join(lane, f64::from(weight));
        self.seats.push((Arc::clone(allowance), seat));
    }

    /// Takes a seat behind all lanes: a hundredth of what the lightest of them has.
    pub fn join_last(&mut self, allowance: &Arc<Allowance>) {
        let seat = allowance.join(LAST, LAST_WEIGHT);
        self.seats.push((Arc::clone(allowance), seat));
    }

    /// Whether a record may be sent.
    pub(super) fn is_open(&mut self, now: Instant) -> bool {
        let waits = self
            .seats
            .iter()
            .map(|(allowance, seat)| allowance.wait(*seat, now));
        let wait = waits.max().unwrap_or_default();
        self.closed_until = (!wait.is_zero()).then(|| now.checked_add(wait)).flatten();
        wait.is_zero()
    }

    /// A record was sent.
    pub(super) fn charge(&self, record: &KafkaRecord) {
        for (allowance, seat) in &self.seats {
            allowance.charge(*seat, allowance.cost(record));
        }
    }

    /// When it is worth asking again, if the last answer was no.
    pub(super) const fn closed_until(&self) -> Option<Instant> {
        self.closed_until
    }

    /// Nothing waits here any more.
    pub(super) const fn leave(&mut self) {
        self.closed_until = None;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn record(payload: usize) -> KafkaRecord {
        KafkaRecord {
            route: 0,
            is_templated: false,
            topic: "t".to_owned(),
            key: "k".to_owned(),
            payload: Bytes::from(vec![0; payload]),
            partition_by: None,
            headers: vec![crate::route::Header::text("h", "value")],
            timestamp_ms: 0,
        }
    }

    /// What of the payload's size counts besides.
    const AROUND: usize = 7;

    /// Lanes that always have something to send, until `end`: how many records each one sent.
    fn compete(gates: &mut [Gate], size: usize, end: Duration) -> Vec<u64> {
        let start = Instant::now();
        let mut sent = vec![0; gates.len()];
        let mut now = start;
        while now < start + end {
            for (gate, sent) in gates.iter_mut().zip(&mut sent) {
                while gate.is_open(now) {
                    gate.charge(&record(size));
                    *sent += 1;
                }
            }
            let next = gates.iter().filter_map(Gate::closed_until).min();
            now = next.expect("all wait").max(now + Duration::from_millis(1));
        }
        sent
    }

    fn gates(rate: Rate, weights: &[u32]) -> Vec<Gate> {
        let allowance = Arc::new(Allowance::new(rate));
        let gate = |(number, weight): (usize, &u32)| {
            let mut gate = Gate::default();
            gate.join(&allowance, &format!("lane-{number}"), *weight);
            gate
        };
        weights.iter().enumerate().map(gate).collect()
    }

    fn assert_about(found: u64, wanted: u64) {
        assert!(
            found.abs_diff(wanted) * 20 <= wanted,
            "{found} and not about {wanted}"
        );
    }

    #[test]
    fn a_rate_is_kept_and_used() {
        let sent = compete(
            &mut gates(Rate::Messages(500), &[1]),
            100,
            Duration::from_secs(20),
        );
        assert_about(sent[0], 10_000);
        let sent = compete(
            &mut gates(Rate::Bytes(64 * 1024), &[1]),
            1024 - AROUND,
            Duration::from_secs(20),
        );
        assert_about(sent[0], 20 * 64);
    }

    #[test]
    fn lanes_share_by_weight_and_together_keep_the_rate() {
        let sent = compete(
            &mut gates(Rate::Messages(600), &[1, 4, 1]),
            1,
            Duration::from_secs(30),
        );
        assert_about(sent[0], 3_000);
        assert_about(sent[1], 12_000);
        assert_about(sent[2], 3_000);
    }

    #[test]
    fn the_share_of_an_idle_lane_goes_to_the_others() {
        let mut all = gates(Rate::Messages(600), &[1, 99]);
        let _idle = all.pop();
        let sent = compete(&mut all, 1, Duration::from_secs(30));
        assert_about(sent[0], 18_000);
    }

    #[test]
    fn a_lane_that_comes_back_takes_the_place_that_it_left() {
        let allowance = Arc::new(Allowance::new(Rate::Messages(600)));
        let lane = |weight| {
            let mut gate = Gate::default();
            gate.join(&allowance, "other", weight);
            gate
        };
        let mut all = vec![lane(1)];
        for _ in 0..50 {
            drop(lane(4));
        }
        all.push(lane(2));
        assert_eq!(allowance.inner().compartments.len(), 2);
        let sent = compete(&mut all, 1, Duration::from_secs(30));
        assert_about(sent[0], 6_000);
        assert_about(sent[1], 12_000);
    }

    #[test]
    fn an_alarm_gets_through_a_replay_at_once() {
        let mut all = gates(Rate::Bytes(10_000), &[1, 50]);
        let mut alarms = all.pop().expect("two");
        let start = Instant::now();
        assert!(all[0].is_open(start));
        // A debt of 100 s is the replay's own.
        all[0].charge(&record(1_000_000));
        let now = start + Duration::from_secs(1);
        assert!(!all[0].is_open(now));
        assert!(alarms.is_open(now));
        alarms.charge(&record(3_000));
        assert!(!alarms.is_open(now), "it has its limit too");
        let until = alarms.closed_until().expect("it waits");
        assert!(until - now < Duration::from_secs(1), "{:?}", until - now);
        assert!(alarms.is_open(until));
    }

    #[test]
    fn a_record_larger_than_the_burst_passes_and_is_paid_for() {
        let mut all = gates(Rate::Bytes(1_000), &[1]);
        let start = Instant::now();
        assert!(all[0].is_open(start));
        all[0].charge(&record(50_000));
        assert!(!all[0].is_open(start + Duration::from_secs(49)));
        assert!(all[0].is_open(start + Duration::from_secs(51)));
    }

    #[test]
    fn a_lane_in_debt_that_is_started_anew_is_not_forgiven_and_nobody_pays_twice() {
        let allowance = Arc::new(Allowance::new(Rate::Bytes(1_000)));
        let join = || {
            let mut gate = Gate::default();
            gate.join(&allowance, "bulk", 1);
            gate
        };
        let start = Instant::now();
        let mut gate = join();
        assert!(gate.is_open(start));
        gate.charge(&record(50_000));
        drop(gate);
        let mut again = join();
        assert!(!again.is_open(start));
        drop(again);
        let mut again = join();
        assert!(!again.is_open(start + Duration::from_secs(49)));
        assert!(again.is_open(start + Duration::from_secs(51)));
        // Who owes nothing leaves nothing behind.
        drop(again);
        assert!(join().is_open(start + Duration::from_secs(51)));
    }

    #[test]
    fn lanes_that_are_started_anew_together_wait_each_for_its_own_debt() {
        let allowance = Arc::new(Allowance::new(Rate::Bytes(1_000)));
        let join = || {
            ["alarms", "bulk"].map(|lane| {
                let mut gate = Gate::default();
                gate.join(&allowance, lane, 1);
                gate
            })
        };
        let start = Instant::now();
        let [mut alarms, mut bulk] = join();
        assert!(alarms.is_open(start) && bulk.is_open(start));
        bulk.charge(&record(50_000));
        drop((alarms, bulk));
        let [mut alarms, mut bulk] = join();
        assert!(alarms.is_open(start), "it owes nothing");
        assert!(!bulk.is_open(start + Duration::from_secs(49)));
        assert!(bulk.is_open(start + Duration::from_secs(101)));
    }

    #[test]
    fn the_debt_of_a_lane_that_is_gone_is_paid_by_what_flows_in() {
        let mut all = gates(Rate::Bytes(1_000), &[1, 1]);
        let start = Instant::now();
        assert!(all.iter_mut().all(|gate| gate.is_open(start)));
        all[1].charge(&record(20_000));
        all.pop();
        all[0].charge(&record(1_000));
        assert!(!all[0].is_open(start + Duration::from_secs(20)));
        assert!(all[0].is_open(start + Duration::from_secs(22)));
    }

    #[test]
    fn a_silence_saves_no_more_than_a_burst() {
        let mut all = gates(Rate::Messages(1_000), &[1, 1]);
        let start = Instant::now();
        assert!(all.iter_mut().all(|gate| gate.is_open(start)));
        let later = start + Duration::from_hours(1);
        let mut sent = 0;
        for gate in &mut all {
            while gate.is_open(later) {
                gate.charge(&record(1));
                sent += 1;
            }
        }
        assert!((240..=260).contains(&sent), "{sent}");
    }

    #[test]
    fn the_strictest_limit_counts_and_a_clock_that_stands_still_does_no_harm() {
        let mut gate = Gate::default();
        gate.join(&Arc::new(Allowance::new(Rate::Messages(1_000))), "bulk", 1);
        gate.join(&Arc::new(Allowance::new(Rate::Messages(10))), "bulk", 1);
        let mut all = [gate];
        let sent = compete(&mut all, 1, Duration::from_secs(10));
        assert!((98..=105).contains(&sent[0]), "{}", sent[0]);
        let past = Instant::now();
        let open = all[0].is_open(past);
        assert_eq!(all[0].is_open(past), open);
        assert!(Gate::default().is_open(past), "no limit");
    }
}
