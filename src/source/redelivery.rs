//! Is this PUBLISH a message that we already have?
//!
//! Pure: no clock, no I/O.
//!
//! # Why this is hard
//!
//! After a lost connection the broker sends every unacknowledged message again, with the DUP flag and the
//! same packet id. Storing it again makes a duplicate. But acknowledging it without storing it, when it is in
//! truth *another* message, loses it, and these facts stand against easy answers:
//!
//! * DUP only says that the broker sent it before, not that we stored it.
//! * Packet ids are reused as soon as the broker has our PUBACK.
//! * Payloads repeat: thousands of devices say `{"ok":true}` all day. Same id and same content may be two
//!   messages.
//! * After a kill nobody knows whether a PUBACK that was handed to the client still left the machine.
//!
//! So there is one rule: **in doubt, store** (with its DUP flag, from which the record gets its
//! `edgeferry-dup` header).
//!
//! # When there is no doubt
//!
//! The [`Window`] holds, in arrival order, the messages of the current session that the broker may still hold
//! as unacknowledged. A PUBLISH with QoS 1 and DUP is recognised when all of this holds:
//!
//! 1. The broker resumed the session, and no fresh (DUP = 0) PUBLISH with a packet id came yet on this
//!    connection. Brokers first repeat, then go on; a DUP later is not one that we understand.
//! 2. The *newest* entry with its packet id has its fingerprint. An older one cannot be meant: the id was
//!    used again since, so the broker is done with it.
//! 3. That entry lies behind the one recognised last: brokers repeat in the original order (MQTT 3.1.1 and 5,
//!    4.6). And it is older than this connection: no broker repeats a message twice on one.
//! 4. It is certain that the broker did not use the id again for a message that we never saw:
//!    * either the entry's PUBACK was never handed to a client on an earlier connection (its position is
//!      above `handed`), so the broker still holds the id;
//!    * or the broker's counter is seen to be beyond the id, and cannot have come to it again (next section).
//!
//! # Runs
//!
//! A *run* is what came, one after the other, with ids that only go up. Let `i` be the place of a message in the current
//! run, counted from 1; `m` how many messages came behind it that have no place in the run (see below); and `U` how many
//! unacknowledged messages the broker can have, all of which we may have failed to see. If the broker had used the id again for
//! one of these, its counter would have gone down after the newest message of the run: it came to its end, or began anew.
//! From there it would have come up to the id, past the `i - 1` ids below it in the run, and would have given them to none of
//! the messages that we saw since, or the run would have ended, except to the `m`. The others went to some of the `U`. So it
//! cannot be when `i > m + U`. A broker that gives the smallest free id, or the one freed last, uses no id above `U`,
//! so it never makes such a run.
//!
//! Nothing is concluded from before the run. How wide the broker's cycle was once says nothing about where its counter is
//! now: Mosquitto uses ids up for messages that it drops, and some brokers begin at 1 again when they restart.
//!
//! # What has no place in a run
//!
//! * A repetition that is stored in doubt stays *one entry* with the message that it seems to repeat, and ends no run.
//!   Otherwise one lost connection early in a run would make everything undecidable for as long as connections go on
//!   being lost, and each would double what is under way. It may have been a new message after all.
//! * A repetition of what we do not know, with an id that is not above the last one.
//! * Positions of which nothing is known.
//!
//! # What leaves the window
//!
//! A fresh PUBLISH that uses id `q` proves that the broker processed the earlier PUBACK of `q`, and with it
//! all before it, for they are sent and processed in arrival order: the entries up to it go. The first fresh PUBLISH of a
//! connection proves that all has been repeated: entries that were not are done with, and go. A repetition of what we never
//! saw says that the broker is past what we did see: from there on `i` proves nothing on this connection. A new session
//! empties the window. When another client used our session (it acknowledged what we never saw) nothing in it is certain any
//! more, and that is remembered in the session file. Beyond [`CAPACITY`] the oldest go. To lose an entry costs at most a
//! flagged duplicate.

use std::collections::VecDeque;
use std::num::NonZeroU64;

use crate::faults;
use crate::queue::Recalled;
use crate::queue::intake::Position;

/// Most messages remembered: less than half of the packet id space, so that a broker that uses all ids in turn never shows
/// one twice within it. 2.1 MB when full, which needs a broker that does so: 32,768 places of 48 bytes, and the table of ids.
pub const CAPACITY: usize = 28_672;

/// The least `U` that is assumed, whatever the broker was asked to keep to: Mosquitto 2.0.11 was measured to
/// have 4,318 messages outstanding under a limit of 20 (eclipse-mosquitto/mosquitto#2301). Doubled.
pub const LEAST_UNSEEN: usize = 8_192;

/// What identifies a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// MQTT packet id; 0 for QoS 0.
    pub packet_id: u16,
    /// See [`super::fingerprint`].
    pub fingerprint: u64,
    /// QoS of the PUBLISH.
    pub qos: u8,
    /// DUP flag.
    pub dup: bool,
}

/// What to do with a PUBLISH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is new, or may be: store it.
    Store,
    /// It is the message stored at this position: acknowledge it once that is durable.
    Recognised(Position),
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Of its first delivery: entries are in the order in which the broker gave their ids.
    position: Position,
    /// Of its newest one; the same unless it was stored again in doubt.
    newest: Position,
    fingerprint: u64,
    /// [`Window::aside`] when it came.
    aside: u64,
    run: u32,
    /// `i`, from 1; 0 for none.
    place: u32,
    packet_id: u16,
    /// It came on this connection.
    here: bool,
}

/// How far the broker is on this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It repeats what was unacknowledged.
    Repeating {
        /// First position of what was recognised last; only what is behind can come now.
        passed: Position,
        /// Up to here PUBACKs may have reached the broker before this connection.
        handed: Position,
        /// The newest message from before this connection.
        until: Position,
        /// A message came that we never saw: the broker is past all that we did see.
        is_beyond: bool,
    },
    /// It sends fresh messages.
    Fresh,
}

/// First position of the newest entry of each packet id. A place for each of the 65,536 ids, 512 KiB, of which only those
/// pages are there that the broker's ids need. (A hash table from which as much is removed as comes in doubles when it is
/// half full: it took 1.1 MB.)
struct ById(Vec<Option<NonZeroU64>>);

impl Default for ById {
    fn default() -> Self {
        Self(vec![None; usize::from(u16::MAX) + 1])
    }
}

impl std::fmt::Debug for ById {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ById")
    }
}

impl ById {
    fn get(&self, id: u16) -> Option<Position> {
        self.0.get(usize::from(id))?.map(NonZeroU64::get)
    }

    /// Positions begin at 1, so that there is a value that is none.
    fn set(&mut self, id: u16, position: Option<NonZeroU64>) {
        if let Some(place) = self.0.get_mut(usize::from(id)) {
            *place = position;
        }
    }

    fn remove(&mut self, id: u16) {
        self.set(id, None);
    }

    fn retain(&mut self, goes_on: impl Fn(Position) -> bool) {
        for place in &mut self.0 {
            if place.is_some_and(|position| !goes_on(position.get())) {
                *place = None;
            }
        }
    }
}

/// Messages that the broker may still hold as unacknowledged.
#[derive(Debug)]
pub struct Window {
    /// Ascending positions.
    entries: VecDeque<Entry>,
    /// Position of the newest message, whether it has an entry of its own or not.
    last: Position,
    /// Nothing up to here can be certain.
    doubtful: Position,
    newest: ById,
    /// How many messages came, or may have come, that have no place in a run: `m` is the difference of two of these, and
    /// never too small.
    aside: u64,
    /// Number of the current run.
    run: u32,
    /// How many places it has.
    places: u32,
    /// The id of the last one; 0 before the first.
    highest: u16,
    /// `U` of the module's documentation.
    unseen: usize,
    phase: Phase,
}

impl Window {
    /// An empty window for a broker that may have `unseen` unacknowledged messages.
    pub fn new(unseen: usize) -> Self {
        let entries = VecDeque::new();
        Self {
            entries,
            last: 0,
            doubtful: 0,
            newest: ById::default(),
            aside: 0,
            run: 0,
            places: 0,
            highest: 0,
            unseen,
            phase: Phase::Fresh,
        }
    }

    /// Takes in what the store remembers, oldest first, as far as it belongs to `session`. What was marked as a possible
    /// second copy counts as a repetition, which it may not have been: then it takes no place in a run, and costs some.
    pub fn recall(&mut self, recalled: &[Recalled], session: crate::message::SessionTag) {
        let same = recalled.iter().map(|recalled| &recalled.delivery);
        for delivery in same.filter(|delivery| delivery.session == session) {
            let &crate::message::Delivery {
                packet_id,
                fingerprint,
                qos,
                dup,
                position,
                ..
            } = delivery;
            let seen = Seen {
                packet_id,
                fingerprint,
                qos,
                dup,
            };
            self.forget_reused(seen);
            self.stored(seen, position);
        }
    }

    /// The newest position is `last`, whatever was recalled: nothing is known of those behind.
    pub fn begin_behind(&mut self, last: Position) {
        let unknown = last.saturating_sub(self.last);
        self.aside = self.aside.saturating_add(unknown);
        self.last = self.last.max(last);
    }

    /// Nothing up to here can be certain any more: another client used our session, and acknowledged what we never saw;
    /// or the power was cut, and nobody knows how many messages were passed over last.
    pub fn doubt(&mut self, up_to: Position) {
        self.doubtful = self.doubtful.max(up_to);
    }

    /// A connection began on which the broker resumed the session. The PUBACKs up to `handed` may have
    /// reached it.
    pub fn resume(&mut self, handed: Position) {
        for entry in &mut self.entries {
            entry.here = false;
        }
        self.phase = Phase::Repeating {
            passed: 0,
            handed,
            until: self.last,
            is_beyond: false,
        };
    }

    /// The session is new: nothing that we know of it holds any more.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.newest = ById::default();
        self.end_run();
        self.phase = Phase::Fresh;
    }

    /// Decides about a PUBLISH.
    pub fn judge(&mut self, seen: Seen) -> Verdict {
        if !seen.dup {
            self.forget_reused(seen);
            if seen.qos > 0 {
                self.end_repeating();
            }
            return Verdict::Store;
        }
        let Some((index, found)) = self.find(seen) else {
            return Verdict::Store;
        };
        if let Some(entry) = self.entries.get_mut(index) {
            entry.here = true;
        }
        if let Phase::Repeating { passed, .. } = &mut self.phase {
            *passed = found.position;
        }
        // Whichever of its deliveries this repeats, it is durable when the newest one is.
        Verdict::Recognised(found.newest)
    }

    /// A message was handed to the queue at `position`, which is above all before it.
    pub fn stored(&mut self, seen: Seen, position: Position) {
        self.reach(position);
        if seen.qos == 0 || self.is_repetition(seen, position) {
            return;
        }
        // Before the new one comes, so that neither collection grows beyond what it needs.
        if self.entries.len() >= CAPACITY {
            self.drop_oldest();
        }
        if let Phase::Repeating { is_beyond, .. } = &mut self.phase {
            *is_beyond = true;
        }
        self.newest.set(seen.packet_id, NonZeroU64::new(position));
        let place = self.note_use(seen);
        self.entries.push_back(Entry {
            position,
            newest: position,
            fingerprint: seen.fingerprint,
            aside: self.aside,
            run: self.run,
            place,
            packet_id: seen.packet_id,
            here: true,
        });
    }

    /// A message was not stored, and is acknowledged all the same; it counts as `position`.
    pub fn passed_over(&mut self, seen: Seen, position: Position) {
        self.reach(position);
        if seen.qos > 0 {
            // Whatever had this id before cannot be meant any more.
            self.newest.remove(seen.packet_id);
            self.note_use(seen);
        }
    }

    /// Positions between, of which nothing is known any more, count as messages with ids of their own.
    fn reach(&mut self, position: Position) {
        self.begin_behind(position.saturating_sub(1));
        self.last = self.last.max(position);
    }

    /// The broker gave this id to a message. Gives its place in the run; 0 for none.
    fn note_use(&mut self, seen: Seen) -> u32 {
        if seen.packet_id <= self.highest {
            if seen.dup {
                self.aside = self.aside.saturating_add(1);
                return 0;
            }
            self.end_run();
        }
        self.highest = seen.packet_id;
        self.places = self.places.saturating_add(1);
        self.places
    }

    fn end_run(&mut self) {
        self.run = self.run.wrapping_add(1);
        self.places = 0;
        self.highest = 0;
    }

    /// A fresh message came: what was not repeated before it is done with.
    fn end_repeating(&mut self) {
        if let Phase::Repeating { .. } = std::mem::replace(&mut self.phase, Phase::Fresh) {
            self.entries.retain(|entry| entry.here);
            let entries = &self.entries;
            self.newest.retain(|position| {
                entries
                    .binary_search_by_key(&position, |entry| entry.position)
                    .is_ok()
            });
        }
    }

    /// Whether this seems to be the newest message with its packet id once more. Then it is one entry with it.
    fn is_repetition(&mut self, seen: Seen, position: Position) -> bool {
        let Some(first) = self.newest.get(seen.packet_id).filter(|_| seen.dup) else {
            return false;
        };
        let index = self.index_of(first);
        let Some(entry) = self.entries.get_mut(index) else {
            return false;
        };
        if entry.fingerprint != seen.fingerprint {
            return false;
        }
        entry.newest = position;
        entry.here = true;
        self.aside = self.aside.saturating_add(1);
        true
    }

    /// The message that this certainly is.
    fn find(&self, seen: Seen) -> Option<(usize, Entry)> {
        let Phase::Repeating {
            passed,
            handed,
            until,
            is_beyond,
        } = self.phase
        else {
            return None;
        };
        // QoS 2 has a second handshake behind the first, which the client does not keep over connections.
        if seen.qos != 1 {
            return None;
        }
        let position = self.newest.get(seen.packet_id)?;
        let index = self.index_of(position);
        let entry = *self.entries.get(index)?;
        let in_turn = position > passed && entry.newest <= until;
        let was_not_acknowledged = entry.newest > handed.max(self.doubtful);
        let certain = was_not_acknowledged || (!is_beyond && self.cannot_have_come_again(entry));
        let is_equal = entry.fingerprint == seen.fingerprint && certain;
        (in_turn && (is_equal || faults::omits(faults::REPETITION_IS_EQUAL))).then_some((index, entry))
    }

    /// `i > m + U`
    fn cannot_have_come_again(&self, entry: Entry) -> bool {
        let aside = self.aside.saturating_sub(entry.aside);
        let is_in_run = entry.run == self.run && entry.position > self.doubtful;
        is_in_run && u64::from(entry.place) > aside.saturating_add(self.unseen as u64)
    }

    /// A fresh use of a packet id ends all before it.
    fn forget_reused(&mut self, seen: Seen) {
        if seen.dup || seen.qos == 0 {
            return;
        }
        let Some(last) = self.newest.get(seen.packet_id) else {
            return;
        };
        while self.entries.front().is_some_and(|entry| entry.position <= last) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some(entry) = self.entries.pop_front() else {
            return;
        };
        if self.newest.get(entry.packet_id) == Some(entry.position) {
            self.newest.remove(entry.packet_id);
        }
    }

    /// Index of the first entry at or behind `position`.
    fn index_of(&self, position: Position) -> usize {
        self.entries.partition_point(|entry| entry.position < position)
    }
}

#[cfg(test)]
mod tests;
