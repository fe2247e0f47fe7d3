//! How much may be under way to Kafka: what the link takes within a second more than the way itself takes, by what it took lately.
//!
//! On a fast link that is more than the client's whole buffer, and nothing is held back. On a slow one, say 256 kbit/s, the
//! buffer would be minutes of traffic that stand in the modem's queue: requests would time out, and an alarm lane, which has
//! a connection of its own but the same modem, would wait behind them. So bytes in flight follow the measured rate, and are handed over in portions, because records that are handed over
//! at once become one batch, and behind one batch the link is idle for a round trip.
//!
//! Bytes are those of records before compression, on both sides of the account. Pure: time comes from outside.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What is under way stands in queues for about this long. An alarm waits for it once, and needs a round trip of its own.
const QUEUE: Duration = Duration::from_secs(1);
/// What a round takes without a queue is found out anew after this long, by a round with [`LEAST`]: a gateway moves, and a
/// queue that always stands looks like distance.
const BASE_AGE: Duration = Duration::from_mins(3);
/// Longer ways do not count in full: what looks like one may be the queue of [`LEAST`].
const BASE_MAX: Duration = Duration::from_secs(1);
/// A round that is answered within this met no queue worth speaking of: twice as much may be under way in the next.
const UNHINDERED: Duration = Duration::from_millis(750);
/// Bytes that may always be under way: four seconds of 256 kbit/s. With less, TCP does not notice a lost packet by those behind it and
/// waits for its timer: a link of that rate that loses 2 % was used to a quarter with 16 KiB, to two thirds with 64 KiB (measured).
const LEAST: usize = 128 * 1024;
/// A round spans at least this, so that reports that come together count as what they are.
const ROUND_MIN: Duration = Duration::from_millis(10);
/// Rounds whose rate counts on a slow link: some seconds, longer than TCP needs after a loss.
const ROUNDS: usize = 4;
/// Portions of what may be under way.
const PORTIONS: u32 = 8;
/// Portions are handed over a little faster than the link took them, so that it is never idle.
const GAIN_PERCENT: u32 = 125;

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Pace {
    most: usize,
    in_flight: usize,
    /// Bytes that may be under way now.
    limit: usize,
    round: Option<Round>,
    /// What the quickest round took, and when that was.
    base: Option<(Duration, Instant)>,
    /// Bytes and time of the last rounds that met a queue, the newest last; empty while there is none.
    slow: VecDeque<(u64, Duration)>,
    /// Bytes of the running portion, and when it began.
    portion: usize,
    portion_since: Option<Instant>,
}

/// From a moment at which something had to wait for room, until all that was under way then is confirmed: it shows what the link
/// takes, not what there was to send.
#[derive(Debug, Clone, Copy)]
struct Round {
    since: Instant,
    /// Bytes that were under way when it began.
    size: usize,
    /// Bytes to be confirmed until it is over.
    ahead: usize,
    /// When the last of them was confirmed. The next look at the account may be later: when the next portion is due.
    over: Option<Instant>,
}

impl Pace {
    /// For a client that takes `most` bytes.
    pub(super) const fn new(most: usize) -> Self {
        Self {
            most,
            in_flight: 0,
            limit: LEAST,
            round: None,
            base: None,
            slow: VecDeque::new(),
            portion: 0,
            portion_since: None,
        }
    }

    /// When the round that is under way began.
    #[cfg(test)]
    pub(super) fn round_since(&self) -> Option<Instant> {
        self.round.map(|round| round.since)
    }

    /// How long to wait until more may be handed over: zero for now, `None` for a delivery report.
    pub(super) fn wait(&mut self, now: Instant) -> Option<Duration> {
        self.end_round(now);
        let wait = if self.in_flight >= self.limit {
            None
        } else {
            Some(self.wait_for_portion(now))
        };
        if wait != Some(Duration::ZERO) {
            let size = self.in_flight;
            self.round.get_or_insert(Round {
                since: now,
                size,
                ahead: size,
                over: None,
            });
        }
        wait
    }

    fn wait_for_portion(&self, now: Instant) -> Duration {
        let is_over = self.portion >= self.limit / PORTIONS as usize;
        // A link that has done its portion early is not as slow as it was.
        let is_idle = self.in_flight < self.limit / PORTIONS as usize;
        match self.portion_since {
            Some(since) if is_over && !is_idle && !self.slow.is_empty() => {
                (since + self.time_of(self.portion)).saturating_duration_since(now)
            }
            _ => Duration::ZERO,
        }
    }

    /// A message of so many bytes is handed over.
    pub(super) fn submitted(&mut self, bytes: usize, now: Instant) {
        self.in_flight += bytes;
        if self.portion >= self.limit / PORTIONS as usize || self.portion_since.is_none() {
            self.portion = 0;
            self.portion_since = Some(now);
        }
        self.portion += bytes;
    }

    /// A message of so many bytes is done.
    pub(super) fn confirmed(&mut self, bytes: usize, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
        if let Some(round) = &mut self.round {
            round.ahead = round.ahead.saturating_sub(bytes);
            if round.ahead == 0 {
                round.over.get_or_insert(now);
            }
        }
    }

    /// There was no link for a while: how long the round took says nothing of it.
    pub(super) const fn interrupted(&mut self) {
        self.round = None;
    }

    /// Nothing is under way any more, for another reason than that it is done. What is known of the link stays.
    pub(super) fn abandoned(&mut self) {
        self.in_flight = 0;
        self.round = None;
        self.portion_since = None;
    }

    /// Learns from a round that is over. Called before more is handed over, not with the first of some confirmations that
    /// come together.
    fn end_round(&mut self, now: Instant) {
        let Some(Round {
            since,
            size,
            over: Some(over),
            ..
        }) = self.round
        else {
            return;
        };
        if now.duration_since(since) >= ROUND_MIN {
            self.round = None;
            self.learn(size as u64, over.duration_since(since).max(ROUND_MIN), now);
        }
    }

    fn learn(&mut self, confirmed: u64, span: Duration, now: Instant) {
        let known = self.base.map(|(known, _)| known);
        let is_old = self.base.is_some_and(|(_, at)| now.duration_since(at) > BASE_AGE);
        if known.is_none_or(|known| span < known) {
            self.base = Some((span, now));
        } else if is_old {
            // The next round is a quick one if the way allows it.
            self.base = None;
            self.limit = LEAST.min(self.most);
            return;
        }
        // What answers a little quickly may be a link that is slow.
        if span <= UNHINDERED && confirmed >= self.limit as u64 / 2 {
            self.slow.clear();
            self.limit = self.limit.saturating_mul(2).min(self.most);
            return;
        }
        self.slow.push_back((confirmed, span));
        if self.slow.len() > ROUNDS {
            self.slow.pop_front();
        }
        let target = QUEUE + self.base.map_or(Duration::ZERO, |(base, _)| base.min(BASE_MAX));
        let bytes = u128::from(self.rate()) * target.as_millis() / 1000;
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.limit = bytes.clamp(LEAST.min(self.most), self.most);
        if bytes >= self.most {
            // Portions would only hold it back.
            self.slow.clear();
            return;
        }
        let (rate, limit) = (self.rate(), self.limit);
        tracing::debug!(rate, limit, ?span, ?target, "the link is slow");
    }

    /// Bytes per second, over all slow rounds: a batch is confirmed as a whole, so a single one says little.
    fn rate(&self) -> u64 {
        let bytes: u64 = self.slow.iter().map(|(bytes, _)| bytes).sum();
        let span: Duration = self.slow.iter().map(|(_, span)| *span).sum();
        let rate = u128::from(bytes) * 1_000_000 / span.as_micros().max(1);
        u64::try_from(rate).unwrap_or(u64::MAX)
    }

    /// How long the link has to do with so many bytes, a little less.
    fn time_of(&self, bytes: usize) -> Duration {
        let rate = self.rate().saturating_mul(u64::from(GAIN_PERCENT)) / 100;
        let micros = (bytes as u64).saturating_mul(1_000_000) / rate.max(1);
        // A rate that an outage is part of must not be waited for.
        Duration::from_micros(micros).min(QUEUE / PORTIONS)
    }
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "bytes of a minute are far below 2⁵²")]
mod tests {
    use super::*;

    const MOST: usize = 4 << 20;
    const MESSAGE: usize = 300;
    /// Requests on the way at most, as in the client.
    const REQUESTS: usize = 5;
    const BATCH: usize = 128 * 1024;

    /// What a minute of unlimited supply showed.
    #[derive(Debug)]
    struct Run {
        /// Part of the link that was used.
        used: f64,
        /// The longest time that a message was under way in the second half.
        slowest: Duration,
    }

    /// What the drain does: it does not look again before the time that it was told.
    fn feed(pace: &mut Pace, feed_after: &mut Instant, now: Instant, mut submit: impl FnMut()) {
        while now >= *feed_after {
            match pace.wait(now) {
                Some(Duration::ZERO) => {
                    pace.submitted(MESSAGE, now);
                    submit();
                }
                Some(wait) => *feed_after = now + wait,
                None => return,
            }
        }
    }

    /// A link of `rate` bytes per second and a round trip, with the client's batching in front of it.
    fn run(rate: f64, round_trip: Duration) -> Run {
        const TICK: Duration = Duration::from_millis(1);
        let start = Instant::now();
        let end = start + Duration::from_mins(1);
        let half = start + Duration::from_secs(30);
        let mut pace = Pace::new(MOST);
        // Submitted and not in a request yet; requests with the time at which they are answered.
        let mut waiting: VecDeque<Instant> = VecDeque::new();
        let mut requests: VecDeque<(Instant, Vec<Instant>)> = VecDeque::new();
        let mut free_at = start;
        let mut done_bytes = 0;
        let mut slowest = Duration::ZERO;
        let mut now = start;
        let mut feed_after = start;
        while now < end {
            while requests.front().is_some_and(|(answer, _)| *answer <= now) {
                let (_, messages) = requests.pop_front().expect("it is there");
                for submitted in messages {
                    pace.confirmed(MESSAGE, now);
                    if now > half {
                        done_bytes += MESSAGE;
                        slowest = slowest.max(now - submitted);
                    }
                }
            }
            feed(&mut pace, &mut feed_after, now, || waiting.push_back(now));
            while requests.len() < REQUESTS && !waiting.is_empty() {
                let count = waiting.len().min(BATCH / MESSAGE);
                let messages: Vec<_> = waiting.drain(..count).collect();
                free_at = free_at.max(now) + Duration::from_secs_f64((count * MESSAGE) as f64 / rate);
                requests.push_back((free_at + round_trip, messages));
            }
            now += TICK;
        }
        Run {
            used: done_bytes as f64 / (rate * 30.0),
            slowest,
        }
    }

    #[test]
    fn a_slow_link_is_used_and_its_queue_stays_short() {
        for (rate, round_trip_ms) in [
            (32_000.0, 600),
            (32_000.0, 50),
            (8_000.0, 300),
            (250_000.0, 200),
            (125_000.0, 650),
        ] {
            let run = run(rate, Duration::from_millis(round_trip_ms));
            eprintln!("{rate} bytes/s, {round_trip_ms} ms: {run:?}");
            assert!(run.used > 0.85, "{rate}, {round_trip_ms}: {run:?}");
            // The least that may be under way is more than the target on the slowest of them.
            let least = Duration::from_secs_f64(LEAST as f64 / rate);
            let limit = (QUEUE * 5 / 2).max(least * 5 / 4) + Duration::from_millis(round_trip_ms);
            assert!(run.slowest <= limit, "{rate}, {round_trip_ms}: {run:?}");
        }
    }

    #[test]
    fn a_slow_link_that_becomes_fast_is_found_out() {
        /// What was handed over slowly has gone, 4 s, and some rounds.
        const FOUND_OUT: Duration = Duration::from_secs(6);
        // Everything that is handed over is confirmed 5 ms later; before, 30 kB/s for a minute.
        let start = Instant::now();
        let mut pace = Pace::new(MOST);
        let mut under_way = VecDeque::new();
        let mut free_at = start;
        let mut now = start;
        let mut feed_after = start;
        let fast_from = start + Duration::from_mins(1);
        while pace.limit < MOST || now < fast_from {
            while under_way.front().is_some_and(|answer| *answer <= now) {
                under_way.pop_front();
                pace.confirmed(MESSAGE, now);
            }
            feed(&mut pace, &mut feed_after, now, || {
                let each = match now < fast_from {
                    true => Duration::from_millis(10),
                    false => Duration::from_nanos(10),
                };
                free_at = free_at.max(now) + each;
                under_way.push_back(free_at + Duration::from_millis(5));
            });
            now += Duration::from_millis(1);
            assert!(now < fast_from + FOUND_OUT, "{pace:?}");
        }
    }

    #[test]
    fn an_outage_does_not_make_a_fast_link_slow() {
        /// Six rounds, each twice the one before.
        const AT_FULL_RATE: Duration = Duration::from_millis(100);
        let start = Instant::now();
        let mut pace = Pace::new(MOST);
        let (mut feed_after, mut under_way) = (start, VecDeque::new());
        feed(&mut pace, &mut feed_after, start, || under_way.push_back(start));
        // Away for two minutes; the first answer shows that it is there again, and then every round takes 5 ms.
        let mut now = start + Duration::from_mins(2);
        let back = now;
        pace.interrupted();
        while pace.limit < MOST {
            while under_way.front().is_some_and(|answer| *answer <= now) {
                under_way.pop_front();
                pace.confirmed(MESSAGE, now);
            }
            feed(&mut pace, &mut feed_after, now, || {
                under_way.push_back(now + Duration::from_millis(5));
            });
            now += Duration::from_millis(1);
            assert!(now - back < AT_FULL_RATE, "{pace:?}");
        }
    }

    /// One slow round, as when Kafka has just begun: what follows is as fast as the link, not as our portions were.
    #[test]
    fn one_slow_round_is_soon_forgotten() {
        const FORGOTTEN: Duration = Duration::from_secs(1);
        let start = Instant::now();
        let mut pace = Pace::new(MOST);
        let (mut feed_after, mut under_way) = (start, VecDeque::new());
        let mut now = start;
        let quick_from = start + Duration::from_secs(2);
        while pace.limit < MOST {
            while under_way.front().is_some_and(|answer| *answer <= now) {
                under_way.pop_front();
                pace.confirmed(MESSAGE, now);
            }
            feed(&mut pace, &mut feed_after, now, || {
                under_way.push_back((now + Duration::from_millis(5)).max(quick_from));
            });
            now += Duration::from_millis(1);
            assert!(now - quick_from.min(now) < FORGOTTEN, "{pace:?}");
        }
    }

    #[test]
    fn a_fast_link_is_not_held_back() {
        let run = run(50_000_000.0, Duration::from_millis(2));
        assert!(run.used > 0.5, "{run:?}");
    }

    #[test]
    fn a_message_that_is_larger_than_the_limit_goes_when_nothing_else_is_under_way() {
        let now = Instant::now();
        let mut pace = Pace::new(MOST);
        assert_eq!(pace.wait(now), Some(Duration::ZERO));
        pace.submitted(MOST * 2, now);
        assert_eq!(pace.wait(now), None);
        pace.abandoned();
        assert_eq!(pace.wait(now), Some(Duration::ZERO));
    }

    #[test]
    fn a_trickle_does_not_lower_the_limit() {
        let start = Instant::now();
        let mut pace = Pace::new(MOST);
        let second = Duration::from_secs(1);
        for step in 0..100 {
            let now = start + second * step;
            pace.submitted(MESSAGE, now);
            pace.confirmed(MESSAGE, now);
        }
        assert!(pace.limit >= LEAST);
        assert_eq!(pace.wait(start + second * 200), Some(Duration::ZERO));
    }
}
