use super::*;
use crate::clock::{self, Correction, Opened};
use crate::message::{Arrival, Epoch};

const BOOT: u64 = 7;
const DAY_MS: i64 = 24 * HOUR_MS;
const HOUR_MS: i64 = 3_600_000;

/// A lane whose clock is right, and its folder.
fn times(basis: RecordTimestamp) -> (Times, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("temp dir");
    let at = Opened {
        boot: BOOT,
        tail: Seq::ZERO,
        cursor: Seq::ZERO,
    };
    let notes = Notes::open(folder.path(), true, at).expect("opens");
    let times = Times::new(Clock::with_probe(BOOT, || Some(true)), notes, basis);
    (times, folder)
}

/// A message that came so long ago, by a right clock.
fn waiting_for(age_ms: i64) -> Stored {
    let mut arrival = Arrival::trial(1, "a/b", "x");
    arrival.stamp = Stamp {
        unix_ms: clock::unix_ms() - age_ms,
        boot_ms: 1,
        boot: BOOT,
        synchronised: true,
    };
    Stored {
        seq: Seq(1),
        epoch: Epoch(1),
        arrival,
    }
}

#[test]
fn record_timestamp_send_is_the_time_of_sending_and_the_arrival_is_told_as_it_was() {
    let stored = waiting_for(8 * DAY_MS);
    let (times, _folder) = times(RecordTimestamp::Send);
    let before = clock::unix_ms();
    let told = times.tell(&stored);
    assert!((before..=clock::unix_ms()).contains(&told.record_ms), "{told:?}");
    assert_eq!(told.arrival_ms, stored.arrival.stamp.unix_ms);
    assert_eq!(told.clock, None, "nothing is wrong with it");
    let again = times.tell(&stored);
    assert!(again.record_ms >= told.record_ms, "a repetition is sent later");
}

#[test]
fn record_timestamp_arrival_is_the_same_at_each_sending() {
    let stored = waiting_for(8 * DAY_MS);
    let (times, _folder) = times(RecordTimestamp::Arrival);
    let told = times.tell(&stored);
    assert_eq!(told.record_ms, stored.arrival.stamp.unix_ms);
    assert_eq!(times.tell(&stored), told);
}

#[test]
fn record_timestamp_send_is_never_before_a_right_time_that_is_known() {
    let (mut times, _folder) = times(RecordTimestamp::Send);
    // Within what is not yet taken for a time ahead; the clock was set back since.
    let known_ms = clock::unix_ms() + HOUR_MS / 4;
    let correction = Correction {
        boot: BOOT,
        began_ms: known_ms,
    };
    assert!(times.notes.correct(correction, Seq::ZERO).expect("written"));
    assert_eq!(times.tell(&waiting_for(DAY_MS)).record_ms, known_ms);
}

#[test]
fn record_timestamp_send_is_lowered_too_when_kafka_refuses_the_present() {
    let stored = waiting_for(DAY_MS);
    let (mut times, _folder) = times(RecordTimestamp::Send);
    assert_eq!(times.refused(&stored, Instant::now()), Next::Try);
    let told = times.tell(&stored);
    let age_ms = clock::unix_ms() - told.record_ms;
    assert!((HOUR_MS..2 * HOUR_MS).contains(&age_ms), "{age_ms} ms");
    assert_eq!(told.clock.as_deref(), Some("ahead"));
}
