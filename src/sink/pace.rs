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
/// A round that is answered within this met no queue worth speaking of: twice as much as it had may be under way in the next.
const UNHINDERED: Duration = Duration::from_millis(750);
/// Bytes that may always be under way: four seconds of 256 kbit/s. With less, TCP does not notice a lost packet by those behind it and
/// waits for its timer: a link of that rate that loses 2 % was used to a quarter with 16 KiB, to two thirds with 64 KiB (measured).
const LEAST: usize = 128 * 1024;
/// A round that is not over then has met a long queue, however long that is: nothing is added to it. Longer than all rounds that are meant.
const OVERDUE: Duration = Duration::from_secs(4);
/// Where something else bounds what is under way, a round says that the link is slow only when it took longer than this: a Kafka that answers
/// after three seconds makes rounds of six, because the client has five requests on their way at a time.
const LATE: Duration = Duration::from_secs(8);
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
    /// When the next one is due, if it was asked for too early.
    next: Option<Instant>,
}

/// Whether more may be handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// Now.
    Now,
    /// When the next portion is due: [`Pace::due`].
    WithNextPortion,
    /// Not before something is confirmed.
    AfterReport,
}

/// From a moment at which something had to wait for room, here or elsewhere, until all that was under way then is confirmed: it shows
/// what the link takes, not what there was to send.
#[derive(Debug, Clone, Copy)]
struct Round {
    since: Instant,
    /// Bytes that were under way when it began.
    size: usize,
    /// Bytes to be confirmed until it is over.
    ahead: usize,
    /// The window or the client had no room, not this account. A Kafka that only answers late does that too.
    is_of_others: bool,
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
            next: None,
        }
    }

    /// The longest of the rounds that count on a slow link.
    #[cfg(test)]
    pub(super) fn longest_round(&self) -> Option<Duration> {
        self.slow.iter().map(|(_, span)| *span).max()
    }

    /// Whether more may be handed over now, and if not, for what it has to wait.
    pub(super) fn room(&mut self, now: Instant) -> Room {
        self.end_round(now);
        let room = if self.in_flight >= self.limit || self.is_overdue(now) {
            Room::AfterReport
        } else {
            self.portion_room(now)
        };
        if room != Room::Now {
            self.begin_round(now, false);
        }
        room
    }

    /// When the next portion is due. `None` when nothing waits for one: it need not, when less than a portion is under way.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        self.next.filter(|due| now < *due && !self.is_idle())
    }

    /// There is no room elsewhere, in the window or in the client. What is under way then shows how fast the link is: nothing else would
    /// where they have room for less than may be under way.
    pub(super) fn full(&mut self, now: Instant) {
        // What may always be under way needs no measuring, and a single record says little.
        if self.in_flight > self.least() {
            self.begin_round(now, true);
        }
    }

    /// Less is under way than a portion.
    const fn is_idle(&self) -> bool {
        self.in_flight < self.limit / PORTIONS as usize
    }

    /// Much is under way, and stays there.
    fn is_overdue(&self, now: Instant) -> bool {
        let is_long = |round: &Round| now.duration_since(round.since) > OVERDUE;
        self.in_flight > self.least() && self.round.as_ref().is_some_and(is_long)
    }

    fn begin_round(&mut self, now: Instant, is_of_others: bool) {
        let size = self.in_flight;
        self.round.get_or_insert(Round {
            since: now,
            size,
            ahead: size,
            is_of_others,
            over: None,
        });
    }

    fn portion_room(&mut self, now: Instant) -> Room {
        self.next = self.next_portion().filter(|due| now < *due);
        if self.next.is_some() && self.is_idle() {
            // It has taken its portion too early for what was known of it: a round with all that may be under way shows what it is now.
            self.slow.clear();
            self.next = None;
        }
        match self.next {
            Some(_) => Room::WithNextPortion,
            None => Room::Now,
        }
    }

    /// When the portion behind the one that was handed over is due; `None` while that one goes on, and on a link without portions.
    fn next_portion(&self) -> Option<Instant> {
        let is_over = self.portion >= self.limit / PORTIONS as usize;
        let since = self.portion_since.filter(|_| is_over && !self.slow.is_empty())?;
        Some(since + self.time_of(self.portion))
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

    /// The link was away. What comes behind that may be another one, and what was measured meanwhile is the outage.
    pub(super) fn forget(&mut self) {
        self.limit = self.least();
        self.round = None;
        self.base = None;
        self.slow.clear();
        self.next = None;
    }

    /// Nothing is under way any more, for another reason than that it is done. What is known of the link stays, unless that was wrong.
    pub(super) fn abandoned(&mut self, now: Instant) {
        if self.is_overdue(now) {
            // As much again would take as long again.
            self.limit = self.least();
        }
        self.in_flight = 0;
        self.round = None;
        self.portion_since = None;
        self.next = None;
    }

    /// Learns from a round that is over. Called before more is handed over, not with the first of some confirmations that
    /// come together.
    fn end_round(&mut self, now: Instant) {
        let Some(Round {
            since,
            size,
            is_of_others,
            over: Some(over),
            ..
        }) = self.round
        else {
            return;
        };
        if now.duration_since(since) < ROUND_MIN {
            return;
        }
        self.round = None;
        let span = over.duration_since(since).max(ROUND_MIN);
        if !is_of_others || span > LATE {
            self.learn(size as u64, span, now);
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
            self.limit = self.least();
            return;
        }
        if span <= UNHINDERED {
            self.learn_from_unhindered(confirmed, span);
            return;
        }
        self.note_slow(confirmed, span);
        let target = QUEUE + self.base.map_or(Duration::ZERO, |(base, _)| base.min(BASE_MAX));
        let bytes = u128::from(self.rate()) * target.as_millis() / 1000;
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.limit = bytes.clamp(self.least(), self.most);
        let (rate, limit) = (self.rate(), self.limit);
        tracing::debug!(rate, limit, ?span, ?target, "the link is slow");
    }

    /// What answers a little quickly may be a link that is slow: it gets portions as fast as it takes them, and not more than it had.
    fn learn_from_unhindered(&mut self, confirmed: u64, span: Duration) {
        if confirmed >= self.limit as u64 / 2 {
            self.slow.clear();
            let twice = usize::try_from(confirmed).unwrap_or(usize::MAX).saturating_mul(2);
            self.limit = twice.clamp(self.limit, self.most);
        } else if !self.slow.is_empty() {
            self.note_slow(confirmed, span);
        }
    }

    fn note_slow(&mut self, confirmed: u64, span: Duration) {
        self.slow.push_back((confirmed, span));
        if self.slow.len() > ROUNDS {
            self.slow.pop_front();
        }
    }

    fn least(&self) -> usize {
        LEAST.min(self.most)
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
#[expect(
    clippy::cast_precision_loss,
    reason = "bytes of some minutes are far below 2⁵²"
)]
mod tests {
    use super::*;

    const MOST: usize = 4 << 20;
    const MESSAGE: usize = 300;
    /// Requests on the way at most, as in the client.
    const REQUESTS: usize = 5;
    const BATCH: usize = 128 * 1024;
    const TICK: Duration = Duration::from_millis(1);

    /// A link without end of supply, with the client's batching in front of it; the drain's part is played as it does it.
    #[derive(Debug)]
    struct Bench {
        pace: Pace,
        /// Messages that may be under way, whatever the account says.
        window: usize,
        /// Submitted and not in a request yet; requests with the time at which they are answered.
        waiting: VecDeque<Instant>,
        requests: VecDeque<(Instant, Vec<Instant>)>,
        /// Bytes a second.
        rate: f64,
        round_trip: Duration,
        /// Bytes that a link which was silent takes at once, and how many it takes so now; what is below 0 has to be waited for.
        burst: f64,
        credit: f64,
        now: Instant,
        done_bytes: usize,
        most_in_flight: usize,
        /// The longest time that a message was under way.
        slowest: Duration,
    }

    impl Bench {
        fn new(rate: f64, round_trip_ms: u64) -> Self {
            let start = Instant::now();
            Self {
                pace: Pace::new(MOST),
                window: usize::MAX,
                waiting: VecDeque::new(),
                requests: VecDeque::new(),
                rate,
                round_trip: Duration::from_millis(round_trip_ms),
                burst: 0.0,
                credit: 0.0,
                now: start,
                done_bytes: 0,
                most_in_flight: 0,
                slowest: Duration::ZERO,
            }
        }

        /// A fast one, on which as much as possible is under way, and that is slow now.
        fn that_became_slow() -> Self {
            let mut bench = Self::new(10_000_000.0, 20);
            bench.pass(8);
            assert_eq!(bench.pace.limit, MOST);
            bench.rate = 32_000.0;
            bench
        }

        fn tick(&mut self) {
            self.confirm();
            self.feed();
            self.send();
            self.most_in_flight = self.most_in_flight.max(self.pace.in_flight);
            self.now += TICK;
        }

        fn confirm(&mut self) {
            while self
                .requests
                .front()
                .is_some_and(|(answer, _)| *answer <= self.now)
            {
                let (_, messages) = self.requests.pop_front().expect("it is there");
                for submitted in messages {
                    self.pace.confirmed(MESSAGE, self.now);
                    self.done_bytes += MESSAGE;
                    self.slowest = self.slowest.max(self.now - submitted);
                }
            }
        }

        fn under_way(&self) -> usize {
            self.pace.in_flight / MESSAGE
        }

        fn feed(&mut self) {
            if self.pace.due(self.now).is_some() {
                return;
            }
            loop {
                if self.under_way() >= self.window {
                    self.pace.full(self.now);
                    return;
                }
                if self.pace.room(self.now) != Room::Now {
                    return;
                }
                self.pace.submitted(MESSAGE, self.now);
                self.waiting.push_back(self.now);
            }
        }

        fn send(&mut self) {
            self.credit = (self.credit + self.rate * TICK.as_secs_f64()).min(self.burst);
            while self.requests.len() < REQUESTS && !self.waiting.is_empty() {
                let count = self.waiting.len().min(BATCH / MESSAGE);
                let messages: Vec<_> = self.waiting.drain(..count).collect();
                let bytes = (count * MESSAGE) as f64;
                self.credit -= bytes;
                let time = Duration::from_secs_f64((-self.credit).max(0.0) / self.rate);
                let answer = self.now + time + self.round_trip;
                self.requests.push_back((answer, messages));
            }
        }

        fn pass(&mut self, seconds: u64) {
            let end = self.now + Duration::from_secs(seconds);
            while self.now < end {
                self.tick();
            }
        }

        /// Forgets what was counted.
        fn count_anew(&mut self) {
            (self.done_bytes, self.slowest, self.most_in_flight) = (0, Duration::ZERO, 0);
        }

        /// How long it takes until so much may be under way.
        fn until(&mut self, limit: usize) -> Duration {
            let begun = self.now;
            while self.pace.limit < limit {
                self.tick();
                assert!(self.now - begun < Duration::from_mins(1), "{:?}", self.pace);
            }
            self.now - begun
        }

        /// Nothing is answered for so long, and then everything at once.
        fn stall(&mut self, seconds: u64) {
            let back = self.now + Duration::from_secs(seconds);
            self.credit -= self.rate * Duration::from_secs(seconds).as_secs_f64();
            for (answer, _) in &mut self.requests {
                *answer = (*answer).max(back);
            }
            self.pass(seconds);
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
            let mut bench = Bench::new(rate, round_trip_ms);
            bench.pass(30);
            bench.count_anew();
            bench.pass(30);
            let (used, slowest) = (bench.done_bytes as f64 / (rate * 30.0), bench.slowest);
            eprintln!("{rate} bytes/s, {round_trip_ms} ms: {used:.2} used, {slowest:?} under way");
            assert!(used > 0.85, "{rate}, {round_trip_ms}: {used}");
            // The least that may be under way is more than the target on the slowest of them.
            let least = Duration::from_secs_f64(LEAST as f64 / rate);
            let limit = (QUEUE * 5 / 2).max(least * 5 / 4) + Duration::from_millis(round_trip_ms);
            assert!(slowest <= limit, "{rate}, {round_trip_ms}: {slowest:?}");
        }
    }

    #[test]
    fn a_slow_link_that_becomes_fast_is_found_out() {
        for round_trip_ms in [5, 100, 600] {
            let mut bench = Bench::new(30_000.0, round_trip_ms);
            bench.pass(60);
            bench.rate = 50_000_000.0;
            // More than the client sends within a long round trip is not found out.
            let took = bench.until(REQUESTS * BATCH);
            eprintln!("{round_trip_ms} ms: {took:?}");
            // What was handed over slowly has to go first, four seconds.
            assert!(took < Duration::from_secs(8), "{round_trip_ms} ms: {took:?}");
        }
    }

    /// The window has room for less than may be under way: nothing waits for the account, and it has to be asked all the same.
    #[test]
    fn a_fast_link_that_becomes_slow_is_found_out_whatever_else_bounds_what_is_under_way() {
        for window in [1_024, 4_096, usize::MAX] {
            let mut bench = Bench::new(10_000_000.0, 20);
            bench.window = window;
            bench.pass(8);
            let before = bench.pace.in_flight;
            bench.rate = 32_000.0;
            // Until what was under way has gone, and some rounds.
            bench.pass(before as u64 / 32_000 + 20);
            eprintln!("{before} bytes under way, now {}", bench.pace.in_flight);
            assert!(bench.pace.in_flight < 2 * LEAST, "{:?}", bench.pace);
        }
    }

    #[test]
    fn one_slow_round_is_soon_forgotten() {
        for (round_trip_ms, limit_ms) in [(5, 1_000), (50, 1_500), (100, 1_600), (200, 5_000)] {
            let mut bench = Bench::new(10_000_000.0, round_trip_ms);
            bench.tick();
            bench.stall(9);
            let took = bench.until(MOST);
            eprintln!("{round_trip_ms} ms: {took:?}");
            assert!(
                took < Duration::from_millis(limit_ms),
                "{round_trip_ms}: {took:?}"
            );
        }
    }

    #[test]
    fn an_outage_does_not_make_a_fast_link_slow() {
        let mut bench = Bench::new(50_000_000.0, 5);
        bench.tick();
        bench.stall(120);
        bench.pace.forget();
        // Five rounds, each twice the one before.
        let took = bench.until(MOST);
        assert!(took < Duration::from_millis(150), "{took:?}");
    }

    /// What was measured before counts no more: each time a link is back it begins with the least. It goes too often for a round to be overdue.
    #[test]
    fn a_link_that_goes_again_and_again_because_too_much_is_under_way_comes_to_rest() {
        let mut bench = Bench::that_became_slow();
        for _ in 0..80 {
            bench.pass(3);
            bench.pace.forget();
        }
        assert!(bench.pace.in_flight < 2 * LEAST, "{:?}", bench.pace);
    }

    /// As when a coordinator ends transactions that take too long, and nobody says that the link is down.
    #[test]
    fn what_was_given_up_because_it_took_too_long_is_not_handed_over_at_once_again() {
        let mut bench = Bench::that_became_slow();
        for _ in 0..2 {
            bench.pass(60);
            bench.pace.abandoned(bench.now);
            bench.waiting.clear();
            bench.requests.clear();
            bench.tick();
        }
        assert!(bench.pace.in_flight < 2 * LEAST, "{:?}", bench.pace);
    }

    /// The window bounds what is under way. A way that is long is no slow link.
    #[test]
    fn a_kafka_that_only_answers_late_is_not_taken_for_a_slow_link() {
        for late_ms in [800, 1_500, 3_000] {
            let mut bench = Bench::new(10_000_000.0, 20);
            bench.window = 4_096;
            bench.pass(8);
            bench.round_trip = Duration::from_millis(late_ms);
            bench.pass(10);
            bench.count_anew();
            bench.pass(60);
            // Five requests are on their way at a time.
            let possible = (REQUESTS * BATCH) as f64 * 60_000.0 / late_ms as f64;
            let used = bench.done_bytes as f64 / possible;
            eprintln!("{late_ms} ms: {used:.2} of what is possible");
            assert!(used > 0.8, "{late_ms} ms: {used}");
        }
    }

    #[test]
    fn a_round_takes_until_kafka_has_confirmed_it_and_not_until_somebody_looks() {
        let start = Instant::now();
        let mut pace = Pace::new(MOST);
        pace.submitted(LEAST, start);
        assert_eq!(pace.room(start), Room::AfterReport);
        pace.confirmed(LEAST, start + Duration::from_secs(1));
        assert_eq!(pace.room(start + Duration::from_secs(3)), Room::Now);
        assert_eq!(pace.longest_round(), Some(Duration::from_secs(1)));
    }

    /// A quota, or a shaper: what it takes at once says little of what it takes.
    #[test]
    fn a_burst_is_not_taken_for_the_rate() {
        for (burst, rate, round_trip_ms) in [
            (256_000.0, 32_000.0, 100),
            (350_000.0, 32_000.0, 20),
            (1_100_000.0, 100_000.0, 20),
        ] {
            let mut bench = Bench::new(rate, round_trip_ms);
            bench.burst = burst;
            bench.pass(60);
            bench.credit = burst;
            bench.count_anew();
            bench.pass(60);
            let most = bench.most_in_flight;
            eprintln!("{burst} bytes at once, {rate} a second: {most} under way at most");
            assert!((most as f64) < 1.5 * burst, "{burst}, {rate}: {most}");
        }
    }

    #[test]
    fn a_fast_link_is_not_held_back() {
        let mut bench = Bench::new(50_000_000.0, 2);
        bench.pass(10);
        let used = bench.done_bytes as f64 / 500_000_000.0;
        assert!(used > 0.5, "{used}");
    }

    #[test]
    fn a_message_that_is_larger_than_the_limit_goes_when_nothing_else_is_under_way() {
        let now = Instant::now();
        let mut pace = Pace::new(MOST);
        assert_eq!(pace.room(now), Room::Now);
        pace.submitted(MOST * 2, now);
        assert_eq!(pace.room(now), Room::AfterReport);
        pace.abandoned(now);
        assert_eq!(pace.room(now), Room::Now);
    }

    #[test]
    fn a_trickle_says_nothing_of_the_link() {
        let mut bench = Bench::new(1_000_000.0, 100);
        bench.pass(30);
        let known = |bench: &Bench| (bench.pace.limit, bench.pace.rate());
        let before = known(&bench);
        assert!(before.0 > LEAST && before.1 > 500_000, "{before:?}");
        // Nothing is to be sent until all has gone, and then little at a time. The first of it ends the round of what went before.
        bench.window = 0;
        bench.pass(30);
        bench.window = 3;
        bench.tick();
        bench.window = 0;
        bench.pass(1);
        let silent = known(&bench);
        // Not even where Kafka takes longer than a round may.
        bench.round_trip = LATE + Duration::from_secs(1);
        for _ in 0..20 {
            bench.window = 3;
            bench.tick();
            bench.window = 0;
            bench.pass(10);
        }
        assert_eq!(known(&bench), silent);
        assert!(silent.0 >= before.0, "{before:?}, {silent:?}");
    }
}
