//! What the queue remembers outside sled: the cursor, and a watermark that notices when sled lost something.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::clock;
use crate::faults;
use crate::message::Seq;
use crate::slots::{PAGE_BYTES, SlotError, SlotFile};

const FILE: &str = "marks";
/// Sequences are reserved this many at a time: a reservation costs one `fdatasync`, and bounds the jump after
/// a loss.
pub(super) const RESERVATION: u64 = 1_000_000;
/// A change reaches the disk itself with the first one this long after the last sync. A power cut costs duplicates of that
/// much time, and takes the watermark back by as much; flash wear is one page per interval.
const SYNC_INTERVAL: Duration = Duration::from_secs(5);

/// The values kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Values {
    /// Every message up to here is confirmed by Kafka, kept as a dead letter, or wanted by no route.
    pub cursor: Seq,
    /// Highest sequence that was durable. After a power cut it may lag, never lead.
    pub durable: Seq,
    /// Every sequence ever used lies below; synced before the first of them is used.
    pub reserved: Seq,
    /// Messages that Kafka confirmed, since the store was made.
    pub delivered: u64,
    /// Messages kept as dead letters instead.
    pub dead_lettered: u64,
    /// Messages that were older than `max_age` when their turn came.
    pub expired: u64,
    /// Messages that no route wanted, by a filter of the configuration. Files of before begin at 0.
    pub filtered: u64,
    /// Messages up to `durable` that came with QoS 0; imported ones are none. Files of before begin at 0.
    pub unprotected: u64,
}

impl Values {
    /// How many messages the cursor has passed, in whichever of these ways.
    pub(super) const fn done(&self) -> u64 {
        self.delivered
            .saturating_add(self.dead_lettered)
            .saturating_add(self.expired)
            .saturating_add(self.filtered)
    }
}

/// What became of the messages that a cursor move passes; those that are missing are the ledger's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Passed {
    /// Confirmed by Kafka.
    pub delivered: u64,
    /// Kept as dead letters.
    pub dead_lettered: u64,
    /// Wanted by no route, by a filter of the configuration.
    pub filtered: u64,
}

impl Passed {
    /// How many messages that are.
    #[must_use]
    pub const fn messages(&self) -> u64 {
        self.delivered
            .saturating_add(self.dead_lettered)
            .saturating_add(self.filtered)
    }

    /// Those of both.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            delivered: self.delivered.saturating_add(other.delivered),
            dead_lettered: self.dead_lettered.saturating_add(other.dead_lettered),
            filtered: self.filtered.saturating_add(other.filtered),
        }
    }
}

/// The values in a lane's folder, which is left as it is. `None` when there are none, or they are damaged.
#[must_use]
pub fn peek(folder: &Path) -> Option<Values> {
    SlotFile::peek(&folder.join(FILE), PAGE_BYTES)
}

/// The marks of one lane; shared by writer and reader.
#[derive(Debug)]
pub struct Marks {
    inner: Mutex<Inner>,
    /// For those who look. Of its own, so that nobody waits for a medium who only looks: `inner` is held over `fdatasync`.
    shown: Arc<Mutex<Shown>>,
}

#[derive(Debug, Clone, Copy)]
struct Shown {
    values: Values,
    synced_cursor: Seq,
}

#[derive(Debug)]
struct Inner {
    file: SlotFile,
    values: Values,
    /// The cursor that a power cut leaves.
    synced_cursor: Seq,
    synced: Instant,
    dirty: bool,
    /// The file does not say so yet: writing failed.
    is_unwritten: bool,
    shown: Arc<Mutex<Shown>>,
}

impl Marks {
    /// Opens or creates the file in a lane's folder. `None` when it is new or damaged.
    ///
    /// # Errors
    /// [`SlotError::Io`].
    pub fn open(folder: &Path) -> Result<(Self, Option<Values>), SlotError> {
        Self::open_file(&folder.join(FILE))
    }

    pub(super) fn open_file(path: &Path) -> Result<(Self, Option<Values>), SlotError> {
        let (file, found) = SlotFile::open::<Values>(path, PAGE_BYTES)?;
        let values = found.unwrap_or_default();
        let shown = Arc::new(Mutex::new(Shown {
            values,
            synced_cursor: values.cursor,
        }));
        let inner = Inner {
            shown: Arc::clone(&shown),
            file,
            values,
            synced_cursor: values.cursor,
            synced: clock::instant(),
            dirty: false,
            is_unwritten: false,
        };
        let inner = Mutex::new(inner);
        Ok((Self { inner, shown }, found))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shown(&self) -> Shown {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The values as they are. Waits for no medium.
    #[must_use]
    pub fn values(&self) -> Values {
        self.shown().values
    }

    /// The cursor as a power cut would leave it.
    #[must_use]
    pub fn synced_cursor(&self) -> Seq {
        self.shown().synced_cursor
    }

    /// Sets all values and makes them durable: what opening found out.
    ///
    /// # Errors
    /// [`SlotError`].
    pub fn reset(&self, values: Values) -> Result<(), SlotError> {
        let mut inner = self.inner();
        inner.values = values;
        inner.show();
        inner.write(&values)?;
        inner.sync()
    }

    /// Makes sure that `next` may be used as a sequence after any crash.
    ///
    /// # Errors
    /// [`SlotError`]: `next` must not be used.
    pub fn reserve(&self, next: Seq) -> Result<(), SlotError> {
        let mut inner = self.inner();
        if next < inner.values.reserved {
            return Ok(());
        }
        let values = Values {
            reserved: next.plus(RESERVATION),
            ..inner.values
        };
        inner.write(&values)?;
        faults::point("reserve.written");
        inner.sync()?;
        faults::point("reserve.synced");
        inner.values.reserved = values.reserved;
        inner.show();
        Ok(())
    }

    /// Notes that everything up to `seq` is durable, `unprotected` messages with QoS 0 more than before. To be called before
    /// anybody hears of it: what lies behind the watermark after a SIGKILL was never acknowledged, and Kafka has not seen it.
    /// A power cut takes it back by `SYNC_INTERVAL` at most. Said again of the same `seq`, after an error, it counts once.
    ///
    /// # Errors
    /// [`SlotError`]: the watermark may be behind.
    pub fn set_durable(&self, seq: Seq, unprotected: u64) -> Result<(), SlotError> {
        let mut inner = self.inner();
        inner.update(|values| {
            if seq > values.durable {
                values.unprotected = values.unprotected.saturating_add(unprotected);
            }
            values.durable = seq;
        })?;
        inner.sync_now_and_then()
    }

    /// Moves the cursor and counts what it passes.
    ///
    /// # Errors
    /// [`SlotError`]: a restart would send again what lies behind the cursor on disk.
    pub fn set_cursor(&self, seq: Seq, passed: Passed) -> Result<(), SlotError> {
        let mut inner = self.inner();
        inner.update(|values| {
            values.cursor = seq;
            values.delivered = values.delivered.saturating_add(passed.delivered);
            values.dead_lettered = values.dead_lettered.saturating_add(passed.dead_lettered);
            values.filtered = values.filtered.saturating_add(passed.filtered);
        })?;
        inner.sync_now_and_then()
    }

    /// Makes the marks survive a power cut, and the loss of one of their slots.
    ///
    /// # Errors
    /// [`SlotError`].
    pub fn sync_twice(&self) -> Result<(), SlotError> {
        let mut inner = self.inner();
        let values = inner.values;
        for _ in 0..2 {
            inner.write(&values)?;
            faults::point("marks.written");
        }
        inner.sync()
    }

    /// Moves the cursor over `count` messages that are too old.
    ///
    /// # Errors
    /// [`SlotError`]: a restart would judge them again.
    pub fn expire(&self, through: Seq, count: u64) -> Result<(), SlotError> {
        self.inner().update(|values| {
            values.cursor = through;
            values.expired = values.expired.saturating_add(count);
        })
    }

    /// Makes the marks survive a power cut, if they changed.
    ///
    /// # Errors
    /// [`SlotError::Io`].
    pub fn sync(&self) -> Result<(), SlotError> {
        let mut inner = self.inner();
        if inner.dirty { inner.sync() } else { Ok(()) }
    }
}

impl Inner {
    fn update(&mut self, change: impl FnOnce(&mut Values)) -> Result<(), SlotError> {
        change(&mut self.values);
        self.dirty = true;
        let values = self.values;
        let written = self.write(&values);
        self.show();
        written
    }

    fn write(&mut self, values: &Values) -> Result<(), SlotError> {
        let written = self.file.write(values);
        self.is_unwritten = written.is_err();
        written
    }

    /// Lets others see how they are now.
    fn show(&self) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Shown {
            values: self.values,
            synced_cursor: self.synced_cursor,
        };
    }

    fn sync_now_and_then(&mut self) -> Result<(), SlotError> {
        if clock::instant().saturating_duration_since(self.synced) >= SYNC_INTERVAL {
            self.sync()
        } else {
            Ok(())
        }
    }

    fn sync(&mut self) -> Result<(), SlotError> {
        // A card that was full when the cursor moved has room by now: what is not in the file survives nothing.
        if self.is_unwritten {
            let values = self.values;
            self.write(&values)?;
        }
        self.file.sync()?;
        self.synced_cursor = self.values.cursor;
        self.synced = clock::instant();
        self.dirty = false;
        self.show();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_before_there_were_filters_keeps_its_values() {
        /// The values as they were then.
        type Before = (Seq, Seq, Seq, u64, u64, u64);
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join(FILE);
        let before: Before = (Seq(900), Seq(1000), Seq(1_000_001), 700, 150, 50);
        let (mut file, _) = SlotFile::open::<Before>(&path, PAGE_BYTES).expect("opens");
        file.write(&before).expect("writes");
        let (marks, found) = Marks::open_file(&path).expect("opens");
        let expected = Values {
            cursor: Seq(900),
            durable: Seq(1000),
            reserved: Seq(1_000_001),
            delivered: 700,
            dead_lettered: 150,
            expired: 50,
            filtered: 0,
            unprotected: 0,
        };
        assert_eq!(found, Some(expected));
        let passed = Passed {
            filtered: 3,
            ..Passed::default()
        };
        marks.set_cursor(Seq(903), passed).expect("moves");
        let (_, found) = Marks::open_file(&path).expect("opens");
        assert_eq!(
            found.map(|values| (values.cursor, values.filtered)),
            Some((Seq(903), 3))
        );
    }

    #[test]
    fn a_watermark_that_is_said_twice_counts_unprotected_messages_once() {
        // Takes the change in and refuses nothing; the second time is what a writer does after an error behind it.
        let dir = tempfile::tempdir().expect("temp dir");
        let (marks, _) = Marks::open(dir.path()).expect("opens");
        for _ in 0..2 {
            marks.set_durable(Seq(9), 4).expect("writes");
        }
        marks.set_durable(Seq(10), 1).expect("writes");
        assert_eq!(peek(dir.path()).map(|values| values.unprotected), Some(5));
    }

    #[test]
    fn a_cursor_that_could_not_be_written_is_written_with_the_next_sync_and_counts_as_synced_only_then() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (marks, _) = Marks::open(dir.path()).expect("opens");
        let passed = Passed {
            delivered: 7,
            ..Passed::default()
        };
        crate::slots::IS_READ_ONLY.set(true);
        marks.set_cursor(Seq(7), passed).expect_err("takes no writes");
        marks.sync().expect_err("takes no writes");
        assert_eq!(marks.synced_cursor(), Seq::ZERO);
        crate::slots::IS_READ_ONLY.set(false);
        marks.sync().expect("syncs");
        assert_eq!(marks.synced_cursor(), Seq(7));
        let (_, found) = Marks::open(dir.path()).expect("opens");
        assert_eq!(
            found.map(|values| (values.cursor, values.delivered)),
            Some((Seq(7), 7))
        );
    }

    #[test]
    fn whoever_looks_does_not_wait_for_a_sync() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (marks, _) = Marks::open(dir.path()).expect("opens");
        let passed = Passed {
            delivered: 7,
            ..Passed::default()
        };
        marks.set_cursor(Seq(7), passed).expect("moves");
        // As a sync holds it, for as long as the card takes.
        let syncing = marks.inner();
        let looked = std::thread::scope(|scope| {
            let (tell, told) = std::sync::mpsc::sync_channel(1);
            let marks = &marks;
            scope.spawn(move || tell.send((marks.values(), marks.synced_cursor())));
            let looked = told.recv_timeout(Duration::from_secs(20));
            drop(syncing);
            looked
        });
        let (values, synced) = looked.expect("nobody waits");
        assert_eq!((values.cursor, values.delivered, synced), (Seq(7), 7, Seq::ZERO));
        marks.sync().expect("syncs");
        assert_eq!(marks.synced_cursor(), Seq(7));
    }

    #[test]
    fn a_reservation_that_was_not_synced_is_made_again() {
        // Takes writes and refuses fdatasync.
        let (marks, _) = Marks::open_file(Path::new("/dev/null")).expect("opens");
        for _ in 0..2 {
            assert!(marks.reserve(Seq(1)).is_err());
            assert_eq!(marks.values().reserved, Seq::ZERO);
        }
    }
}
