//! Kept once, within the budget.

use std::path::Path;

use bytes::Bytes;

use super::*;
use crate::queue::seal::Keys;
use crate::sink::OnFull;

pub(super) const BUDGET: u64 = 1 << 21;

/// A message of 8 KiB that does not compress.
pub(super) fn stored(epoch: u64, seq: u64) -> Stored {
    let mut payload = Vec::new();
    let mut word = seq.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    while payload.len() < 8192 {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        payload.extend(word.to_le_bytes());
    }
    Stored {
        seq: Seq(seq),
        epoch: Epoch(epoch),
        arrival: Arrival {
            payload: Bytes::from(payload),
            ..Arrival::trial(1, "a/b", "x")
        },
    }
}

pub(super) fn open(folder: &Path) -> DeadLetters {
    DeadLetters::open(folder, Epoch(1), BUDGET, Keys::default()).expect("opens")
}

pub(super) fn keep(letters: &DeadLetters, seqs: impl IntoIterator<Item = u64>) {
    for seq in seqs {
        let kept = letters
            .keep(&stored(1, seq), vec![Refusal::NoRoute])
            .expect("keeps");
        assert!(kept, "{seq}");
    }
}

pub(super) fn seqs(letters: &DeadLetters) -> Vec<u64> {
    let listed = letters.list().expect("lists");
    listed.iter().map(|letter| letter.seq.0).collect()
}

fn rejected(topic: &str) -> Refusal {
    Refusal::Rejected {
        topic: topic.to_owned(),
        code: "MessageSizeTooLarge".to_owned(),
    }
}

#[test]
fn a_letter_whose_message_comes_again_after_a_crash_is_not_kept_twice_and_says_why_it_is_there() {
    let dir = tempfile::tempdir().expect("temp dir");
    keep(&open(dir.path()), [3, 5]);
    let why = vec![rejected("t")];
    assert!(open(dir.path()).keep(&stored(1, 7), why.clone()).expect("keeps"));
    let letters = open(dir.path());
    // The cursor was at 4 when the process died.
    letters.recall(Seq(4), Seq(9)).expect("reads");
    assert_eq!(letters.decided(&stored(1, 7)), Some(why));
    assert_eq!(letters.decided(&stored(1, 5)), Some(vec![Refusal::NoRoute]));
    for seq in [5, 7] {
        assert!(!letters.keep(&stored(1, seq), Vec::new()).expect("is kept"));
    }
    assert_eq!(letters.decided(&stored(1, 3)), None, "the cursor has passed it");
    // Between two that are kept: it was delivered before, and is refused now.
    keep(&letters, [6]);
    assert_eq!(seqs(&letters), [3, 5, 7, 6]);
    assert_eq!(letters.stand().letters, 4);
}

#[test]
fn a_letter_of_a_log_that_is_no_more_is_not_taken_for_one_that_may_come_again() {
    let dir = tempfile::tempdir().expect("temp dir");
    keep(&open(dir.path()), [500]);
    keep(&open(dir.path()), [1, 2]);
    keep(&open(dir.path()), [400]);
    let letters = open(dir.path());
    letters.recall(Seq(1), Seq(9)).expect("reads");
    assert!(letters.decided(&stored(1, 2)).is_some());
    for seq in [1, 400, 500] {
        assert_eq!(letters.decided(&stored(1, seq)), None);
        assert!(letters.is_settled(&stored(1, seq), Some(Seq(1))));
    }
    assert!(!letters.is_settled(&stored(1, 2), Some(Seq(1))));
    assert!(letters.is_settled(&stored(1, 2), Some(Seq(2))));
}

#[test]
fn the_same_sequence_of_another_epoch_is_another_message() {
    let dir = tempfile::tempdir().expect("temp dir");
    keep(&open(dir.path()), [5]);
    let letters = open(dir.path());
    letters.recall(Seq::ZERO, Seq(9)).expect("reads");
    assert_eq!(letters.decided(&stored(2, 5)), None);
    assert!(letters.keep(&stored(2, 5), Vec::new()).expect("keeps"));
    assert_eq!(letters.stand().letters, 2);
}

/// Keeps until there is no room; how many were kept.
fn fill(letters: &DeadLetters) -> u64 {
    for seq in 1..1000 {
        match letters.keep(&stored(1, seq), Vec::new()) {
            Ok(kept) => assert!(kept),
            Err(KeepError::Full { bytes, max_bytes }) => {
                assert!(bytes >= max_bytes && max_bytes == BUDGET);
                return seq - 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("there is no end");
}

#[test]
fn a_full_store_takes_nothing_until_letters_are_removed() {
    let dir = tempfile::tempdir().expect("temp dir");
    let letters = open(dir.path());
    let count = fill(&letters);
    assert!(letters.stand().bytes < 2 * BUDGET, "{:?}", letters.stand());
    assert_eq!(letters.stand().letters, count);
    let half: Vec<Seq> = (1..=count / 2).map(Seq).collect();
    letters.remove(&half).expect("removes");
    keep(&letters, [1001]);
    assert_eq!(letters.stand().letters, count - count / 2 + 1);
    assert_eq!(letters.stand().dropped, 0);
}

#[test]
fn a_store_that_is_emptied_takes_letters_again_at_once() {
    let dir = tempfile::tempdir().expect("temp dir");
    let letters = open(dir.path());
    let count = fill(&letters);
    let all: Vec<Seq> = (1..=count).map(Seq).collect();
    letters.remove(&all).expect("removes");
    assert_eq!(letters.stand().letters, 0);
    keep(&letters, 2000..2000 + count / 2);
    assert!(letters.stand().bytes < BUDGET, "{:?}", letters.stand());
}

#[test]
fn drop_oldest_drops_the_oldest_and_counts_them_over_restarts() {
    let dir = tempfile::tempdir().expect("temp dir");
    let letters = open(dir.path()).on_full(OnFull::DropOldest);
    keep(&letters, 1..=400);
    let stand = letters.stand();
    let left = seqs(&letters);
    assert_eq!(left.len() as u64, stand.letters);
    assert_eq!(stand.letters + stand.dropped, 400, "{stand:?}");
    assert!(
        stand.dropped > 100 && stand.bytes < BUDGET + BUDGET / 4,
        "{stand:?}"
    );
    assert_eq!(left.first().copied(), Some(stand.dropped + 1));
    assert_eq!(left.last(), Some(&400));
    drop(letters);
    let again = open(dir.path());
    assert_eq!(
        (again.stand().letters, again.stand().dropped),
        (stand.letters, stand.dropped)
    );
    assert_eq!(seqs(&again), left);
}
