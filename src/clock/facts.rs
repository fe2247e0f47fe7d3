//! What is known about arrivals that the clock got wrong. Pure.
//!
//! A board without a clock battery stamps with a wrong wall clock until it is synchronised. What was right becomes known
//! later, and may then be said of messages that are still queued. But a message that was handed to Kafka once may be there:
//! each copy of it must have the same bytes. So what is said of a message changes only as long as it was never submitted:
//!
//! * At the first synchronisation of a boot, a fact is made, once: when the boot began by the right clock, and from which
//!   sequence on that may be said, which is the one behind the last message that was submitted as its clock had it
//!   (**as it stood**).
//! * A message of that boot, from that sequence on, gets the arrival that follows from its time since boot: `corrected`.
//! * A message of an earlier boot that was never synchronised, from that sequence on, arrived before that boot began and
//!   after the last right time known before: it gets these bounds.
//! * Everything else goes out as it stood. The first fact that has a say on a message keeps it, so facts that come
//!   later change nothing.
//!
//! What was submitted as it stood is a durable number per lane, written ahead in steps ([`STEP`]), so that it costs no write per
//! message. It is synced: after a power cut the boot is another one, but the bounds of that one would then be said of messages
//! that went out without.

use serde::{Deserialize, Serialize};

use crate::message::{Arrival, Seq, Stamp, rfc3339};

/// Messages that may go out as they stood before it is written again: one `fdatasync` for so many. A kill costs as many
/// corrections at most. As many as may be under way at once.
pub const STEP: u64 = 4_096;
/// Facts remembered at most: boots that were synchronised and still have messages queued from before that. At one boot a day
/// that is four months without Kafka. Further boots get none, and their messages go out as they stood.
const FACTS_MAX: usize = 128;
/// More messages than can turn up behind the end of a log after a power cut: those of 5 seconds (`queue::marks`), generously.
const UNPROVEN: u64 = 65_536;

/// When a boot began, by the right clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Correction {
    /// First eight bytes of the kernel's boot id.
    pub boot: u64,
    /// Milliseconds since 1970.
    pub began_ms: i64,
}

/// The correction of one boot for one lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Fact {
    boot: u64,
    /// When the boot began, milliseconds since 1970.
    began_ms: i64,
    /// It has a say from this message on.
    from: Seq,
    /// The last message that was stored when it was made: those of other boots up to here are from before.
    tail: Seq,
    /// The last right time known before it, milliseconds since 1970.
    floor_ms: i64,
    /// No message of the boot lies behind; known once another boot has begun.
    end: Option<Seq>,
}

/// All that a lane knows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Facts {
    /// No message behind this one was submitted as it stood.
    reserved: Seq,
    /// The last message that was, as far as this process knows.
    #[serde(skip)]
    submitted: Seq,
    /// A right time from before anything that goes out as it stands. Changes only while none of that can be sent again.
    floor_ms: i64,
    /// The newest right time seen.
    seen_ms: i64,
    /// In the order in which they were made.
    made: Vec<Fact>,
}

/// What is said of one message's time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// When it arrived, milliseconds since 1970.
    pub arrival_ms: i64,
    /// Time of the record, milliseconds since 1970; never before 1970.
    pub record_ms: i64,
    /// What is to be known about these times; `None` when they are right.
    pub clock: Option<String>,
}

/// Nothing is known of a time but that nobody vouched for the clock: the usual case where another service than
/// `systemd-timesyncd` keeps the time.
pub const UNSYNCHRONISED: &str = "unsynchronised";

impl Told {
    /// What the stamp itself says.
    #[must_use]
    pub fn as_it_stood(stamp: &Stamp) -> Self {
        Self {
            arrival_ms: stamp.unix_ms,
            // The client takes 0 for "now", which would be another time in every copy.
            record_ms: stamp.unix_ms.max(1),
            clock: (!stamp.synchronised).then(|| UNSYNCHRONISED.to_owned()),
        }
    }
}

/// Where a log stands when it is opened.
#[derive(Debug, Clone, Copy)]
pub struct Opened {
    /// This boot.
    pub boot: u64,
    /// The last message it holds.
    pub tail: Seq,
    /// All up to here have gone and will not be sent again.
    pub cursor: Seq,
}

impl Facts {
    /// Of a log that has messages, about which nothing is known: any of them may have been submitted.
    #[must_use]
    pub fn unknown(tail: Seq) -> Self {
        Self {
            reserved: tail.plus(UNPROVEN),
            ..Self::default()
        }
    }

    /// Takes note of a start, and forgets what has no say any more.
    pub fn open(&mut self, at: Opened) {
        self.submitted = self.reserved;
        for fact in &mut self.made {
            if fact.boot != at.boot {
                fact.end.get_or_insert(at.tail.plus(UNPROVEN));
            }
        }
        self.made
            .retain(|fact| fact.end.is_none_or(|end| end > at.cursor));
        if self.reserved <= at.cursor {
            self.floor_ms = self.floor_ms.max(self.seen_ms);
        }
    }

    /// What is said of a message.
    #[must_use]
    pub fn tell(&self, seq: Seq, arrival: &Arrival) -> Told {
        let stamp = &arrival.stamp;
        let plain = Told::as_it_stood(stamp);
        if stamp.synchronised {
            return plain;
        }
        match self.fact_for(seq, arrival) {
            Some(fact) if fact.boot == stamp.boot => corrected(fact, stamp),
            Some(fact) => bounded(fact, stamp),
            None => Told {
                record_ms: plain.record_ms.max(self.floor_at(seq)),
                ..plain
            },
        }
    }

    /// Whether a message goes out as its clock had it although that may be wrong.
    #[must_use]
    pub fn is_as_it_stood(&self, seq: Seq, arrival: &Arrival) -> bool {
        !arrival.stamp.synchronised && self.fact_for(seq, arrival).is_none()
    }

    /// The first fact that has a say on it. None has on what another gateway stamped: its boots are not ours.
    fn fact_for(&self, seq: Seq, arrival: &Arrival) -> Option<&Fact> {
        let boot = arrival.stamp.boot;
        let has_say = |fact: &&Fact| fact.from <= seq && (fact.boot == boot || seq <= fact.tail);
        self.made
            .iter()
            .find(has_say)
            .filter(|_| arrival.origin.is_none())
    }

    /// The right time known when the message was submitted as it stood: it was before the first fact that came too late
    /// for it.
    fn floor_at(&self, seq: Seq) -> i64 {
        let later = self.made.iter().find(|fact| seq < fact.from);
        later.map_or(self.floor_ms, |fact| fact.floor_ms)
    }

    /// Whether this message may be submitted as it stands.
    #[must_use]
    pub fn is_reserved(&self, seq: Seq) -> bool {
        seq <= self.reserved
    }

    /// Makes room for submitting this message as it stands. It must be durable before that.
    pub fn reserve(&mut self, seq: Seq) {
        self.reserved = self.reserved.max(seq.plus(STEP));
    }

    /// It is submitted as it stands now.
    pub fn submitted(&mut self, seq: Seq) {
        self.submitted = self.submitted.max(seq);
    }

    /// No more was submitted as it stood than is known: for a stop in order.
    pub fn settle(&mut self) {
        self.reserved = self.reserved.min(self.submitted);
    }

    /// Whether there is a fact about this boot.
    #[must_use]
    pub fn knows(&self, boot: u64) -> bool {
        self.made.iter().any(|fact| fact.boot == boot)
    }

    /// Makes the fact about a boot, at its first synchronisation, when `tail` is the last message stored. False when there is
    /// no room for it. It must be durable before anything is said by it.
    #[must_use]
    pub fn correct(&mut self, correction: Correction, tail: Seq) -> bool {
        if self.made.len() >= FACTS_MAX {
            return false;
        }
        self.settle();
        self.made.push(Fact {
            boot: correction.boot,
            began_ms: correction.began_ms,
            from: self.submitted.next(),
            tail,
            floor_ms: self.floor_ms,
            end: None,
        });
        self.floor_ms = self.floor_ms.max(correction.began_ms);
        true
    }

    /// A right time is known. Without a fact about this boot it would not say what came before.
    pub fn see(&mut self, boot: u64, now_ms: i64) {
        if self.knows(boot) {
            self.seen_ms = self.seen_ms.max(now_ms);
        }
    }

    /// A right time that the present is certainly behind; 0 when none is known.
    #[must_use]
    pub fn floor_ms(&self) -> i64 {
        self.floor_ms.max(self.seen_ms)
    }
}

/// The arrival by the right clock.
fn corrected(fact: &Fact, stamp: &Stamp) -> Told {
    let since = i64::try_from(stamp.boot_ms).unwrap_or(i64::MAX);
    let arrival_ms = fact.began_ms.saturating_add(since);
    Told {
        arrival_ms,
        record_ms: arrival_ms.max(1),
        clock: Some("corrected".to_owned()),
    }
}

/// Its own idea of the arrival and the bounds. The record has the upper one: retention must not take it for older than it can
/// be.
fn bounded(fact: &Fact, stamp: &Stamp) -> Told {
    let is_known = fact.floor_ms > 0 && fact.floor_ms <= fact.began_ms;
    let after = match is_known {
        true => format!("; after={}", rfc3339(fact.floor_ms)),
        false => String::new(),
    };
    let before = rfc3339(fact.began_ms);
    Told {
        arrival_ms: stamp.unix_ms,
        record_ms: fact.began_ms.max(1),
        clock: Some(format!("unsynchronised{after}; before={before}")),
    }
}

#[cfg(test)]
mod tests;
