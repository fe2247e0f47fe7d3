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
//!    * or the broker is seen to give ids in wide cycles, and cannot have come around yet (next section).
//!
//! # Wide cycles
//!
//! Let `L` be the length of the longest stretch of messages of this session in which no id repeats, `d` the number of
//! messages that came behind the one in question, and `U` how many unacknowledged messages the broker can have, all
//! of which we may have failed to see. If the broker had used the id again, at most `d + U` messages would
//! lie between the two uses, while we have seen it give `L` ids without repeating one. Ids given
//! smallest-first or last-freed-first repeat within `U` messages, so a stretch longer than `U` also tells
//! those brokers apart. The rule is therefore `L > d + U`.
//!
//! # Repetitions that were stored
//!
//! In doubt a repetition is stored, and stays *one entry* with the message that it seems to repeat: it takes no new place
//! among the ids that the broker gave, and so ends no stretch. Otherwise one lost connection early in a session would make
//! everything undecidable for as long as connections go on being lost, and each would double what is under way.
//!
//! It may have been a new message after all. Then the broker gave its id a second time, behind `d`'s back. A broker with a
//! cycle gives an id once within one, so there are at most as many of these as entries that were stored twice, `r`: the
//! rule with them is `L > d + r + U`. And a stretch still has every id once, so `L` is never more than the cycle.
//!
//! # What leaves the window
//!
//! A fresh PUBLISH that uses id `q` proves that the broker processed the earlier PUBACK of `q`, and with it
//! all before it, for they are sent and processed in arrival order: the entries up to it go. A new session
//! empties it. When another client used our session (it acknowledged what we never saw) nothing in it is certain any more. Beyond
//! [`CAPACITY`] the oldest go. To lose an entry costs at most a flagged duplicate.

use std::collections::{HashMap, VecDeque};

use crate::queue::Recalled;
use crate::queue::intake::Position;

/// Most messages remembered: less than half of the packet id space, so that a broker that uses all ids in turn never shows
/// one twice within it, and as many as a hash table with 32,768 places takes before it doubles. 1.7 MB when full, which
/// needs a broker that does so; 256 KiB of it, for the ids, are taken at once.
pub const CAPACITY: usize = 28_672;

/// All values that a packet id can have; 0 stands for none.
const PACKET_IDS: usize = 1 << 16;

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
    /// How many ids the broker had given by then, at least: see [`Window::given`].
    order: u64,
    packet_id: u16,
    fingerprint: u64,
}

impl Entry {
    const fn is_repeated(&self) -> bool {
        self.newest != self.position
    }
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
    },
    /// It sends fresh messages.
    Fresh,
}

/// Messages that the broker may still hold as unacknowledged.
#[derive(Debug)]
pub struct Window {
    /// Ascending positions.
    entries: VecDeque<Entry>,
    /// Entries that were stored again in doubt.
    repeated: usize,
    /// Position of the newest message, whether it has an entry of its own or not.
    last: Position,
    /// Nothing up to here can be certain.
    doubtful: Position,
    /// First position of the newest entry of each packet id.
    newest: HashMap<u16, Position>,
    /// How many ids the broker gave to messages that came here: those that were seen, and every position that is not known
    /// to be something else. `d` is the difference of two of these, and never too small.
    given: u64,
    /// How many of these were seen one after the other.
    seen: u32,
    /// Which of these the newest use of each id was; 0 for none.
    uses: Vec<u32>,
    /// No id repeats among those given behind this one.
    distinct_from: u32,
    /// `L`
    widest: u32,
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
            repeated: 0,
            last: 0,
            doubtful: 0,
            newest: HashMap::new(),
            given: 0,
            seen: 0,
            uses: vec![0; PACKET_IDS],
            distinct_from: 0,
            widest: 0,
            unseen,
            phase: Phase::Fresh,
        }
    }

    /// Takes in what the store remembers, oldest first, as far as it belongs to `session`.
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

    /// Nothing that came so far can be certain any more: another client used our session, and acknowledged what we never saw;
    /// or the power was cut, and nobody knows how many messages were passed over last. How the broker gives ids is still
    /// known.
    pub fn doubt(&mut self) {
        self.doubtful = self.last;
    }

    /// A connection began on which the broker resumed the session. The PUBACKs up to `handed` may have
    /// reached it.
    pub fn resume(&mut self, handed: Position) {
        self.phase = Phase::Repeating {
            passed: 0,
            handed,
            until: self.last,
        };
    }

    /// The session is new: nothing that we know of it holds any more.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.repeated = 0;
        self.newest.clear();
        self.widest = 0;
        self.forget_uses();
        self.phase = Phase::Fresh;
    }

    /// Decides about a PUBLISH.
    pub fn judge(&mut self, seen: Seen) -> Verdict {
        if !seen.dup {
            self.forget_reused(seen);
            if seen.qos > 0 {
                self.phase = Phase::Fresh;
            }
            return Verdict::Store;
        }
        let Some(found) = self.find(seen) else {
            return Verdict::Store;
        };
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
        self.newest.insert(seen.packet_id, position);
        self.note_use(seen.packet_id);
        let Seen {
            packet_id,
            fingerprint,
            ..
        } = seen;
        self.entries.push_back(Entry {
            position,
            newest: position,
            order: self.given,
            packet_id,
            fingerprint,
        });
    }

    /// A message was not stored, and is acknowledged all the same; it counts as `position`.
    pub fn passed_over(&mut self, seen: Seen, position: Position) {
        self.reach(position);
        if seen.qos > 0 {
            // Whatever had this id before cannot be meant any more.
            self.newest.remove(&seen.packet_id);
            self.note_use(seen.packet_id);
        }
    }

    /// Positions between, of which nothing is known any more, count as messages with ids of their own.
    fn reach(&mut self, position: Position) {
        let unknown = position.saturating_sub(self.last).saturating_sub(1);
        if self.last > 0 {
            self.given = self.given.saturating_add(unknown);
        }
        self.last = position;
    }

    /// The broker gave this id to a message.
    fn note_use(&mut self, packet_id: u16) {
        if self.seen == u32::MAX {
            self.forget_uses();
        }
        self.given = self.given.saturating_add(1);
        self.seen += 1;
        if let Some(newest) = self.uses.get_mut(usize::from(packet_id)) {
            self.distinct_from = self.distinct_from.max(*newest);
            *newest = self.seen;
        }
        self.widest = self.widest.max(self.seen - self.distinct_from);
    }

    fn forget_uses(&mut self) {
        self.uses.fill(0);
        self.seen = 0;
        self.distinct_from = 0;
    }

    /// Whether this seems to be the newest message with its packet id once more. Then it is one entry with it.
    fn is_repetition(&mut self, seen: Seen, position: Position) -> bool {
        let Some(first) = self.newest.get(&seen.packet_id).filter(|_| seen.dup) else {
            return false;
        };
        let index = self.index_of(*first);
        let Some(entry) = self.entries.get_mut(index) else {
            return false;
        };
        if entry.fingerprint != seen.fingerprint {
            return false;
        }
        self.repeated += usize::from(!entry.is_repeated());
        entry.newest = position;
        true
    }

    /// The message that this certainly is.
    fn find(&self, seen: Seen) -> Option<Entry> {
        let Phase::Repeating {
            passed,
            handed,
            until,
        } = self.phase
        else {
            return None;
        };
        // QoS 2 has a second handshake behind the first, which the client does not keep over connections.
        if seen.qos != 1 {
            return None;
        }
        let position = *self.newest.get(&seen.packet_id)?;
        let index = self.index_of(position);
        let entry = *self.entries.get(index)?;
        let in_turn = position > passed && entry.newest <= until;
        let certain = entry.newest > handed.max(self.doubtful) || self.cannot_have_cycled(entry);
        (in_turn && entry.fingerprint == seen.fingerprint && certain).then_some(entry)
    }

    /// `L > d + r + U`
    fn cannot_have_cycled(&self, entry: Entry) -> bool {
        let behind = self.given.saturating_sub(entry.order);
        let others = (self.repeated + self.unseen) as u64;
        entry.position > self.doubtful && u64::from(self.widest) > behind.saturating_add(others)
    }

    /// A fresh use of a packet id ends all before it.
    fn forget_reused(&mut self, seen: Seen) {
        if seen.dup || seen.qos == 0 {
            return;
        }
        let Some(&last) = self.newest.get(&seen.packet_id) else {
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
        self.repeated -= usize::from(entry.is_repeated());
        if self.newest.get(&entry.packet_id) == Some(&entry.position) {
            self.newest.remove(&entry.packet_id);
        }
    }

    /// Index of the first entry at or behind `position`.
    fn index_of(&self, position: Position) -> usize {
        self.entries.partition_point(|entry| entry.position < position)
    }
}

#[cfg(test)]
mod tests;
