//! Taken out, over crashes, and the space comes back.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::keeping::{keep, open, seqs};
use super::*;
use crate::queue::seal::Keys;
use crate::sink::OnFull;

fn numbers(range: impl IntoIterator<Item = u64>) -> Vec<Seq> {
    range.into_iter().map(Seq).collect()
}

/// What a power cut or SIGKILL leaves at this moment: sled and the notes are on the disk.
fn copy_of(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("temp dir");
    let mut folders = vec![folder.to_owned()];
    while let Some(from) = folders.pop() {
        let to = copy.path().join(from.strip_prefix(folder).expect("is in it"));
        fs::create_dir_all(&to).expect("makes");
        for entry in fs::read_dir(&from).expect("lists") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                fs::copy(&path, to.join(path.file_name().expect("has one"))).expect("copies");
            }
        }
    }
    copy
}

/// Bytes in all generations.
fn length(folder: &Path) -> u64 {
    let paths = fs::read_dir(folder)
        .expect("lists")
        .map(|entry| entry.expect("entry").path());
    let logs = paths.map(|path| path.join("db"));
    logs.filter_map(|log| log.metadata().ok())
        .map(|data| data.len())
        .sum()
}

#[test]
fn what_is_removed_stays_removed_and_the_rest_stays() {
    let dir = tempfile::tempdir().expect("temp dir");
    let letters = open(dir.path());
    keep(&letters, 1..=20);
    letters.remove(&numbers([1, 7, 20])).expect("removes");
    let left: Vec<u64> = (2..=19).filter(|seq| *seq != 7).collect();
    assert_eq!(seqs(&letters), left);
    let copy = copy_of(dir.path());
    drop(letters);
    for folder in [dir.path(), copy.path()] {
        let again = open(folder);
        assert_eq!(seqs(&again), left);
        assert_eq!(again.stand().letters, 17);
        keep(&again, [21]);
        assert_eq!(again.stand().letters, 18);
    }
}

#[test]
fn a_walk_sees_what_was_there_when_it_began_and_not_what_went_meanwhile() {
    let dir = tempfile::tempdir().expect("temp dir");
    let letters = open(dir.path());
    keep(&letters, 1..=5);
    let mut walk = letters.walk(Seq(1));
    let first = walk.next_letters().expect("reads").expect("is there");
    assert_eq!(first.len(), 1);
    letters.remove(&numbers([3])).expect("removes");
    keep(&letters, [6]);
    let mut seen = Vec::new();
    while let Some(block) = walk.next_letters().expect("reads") {
        seen.extend(block.into_iter().map(|kept| kept.letter.seq.0));
    }
    assert_eq!(seen, [2, 4, 5]);
}

#[test]
fn what_is_dropped_beside_a_walk_is_not_taken_for_damage() {
    let dir = tempfile::tempdir().expect("temp dir");
    let letters = open(dir.path()).on_full(OnFull::DropOldest);
    keep(&letters, 1..=60);
    let mut walk = letters.walk(Seq(1));
    walk.next_letters().expect("reads").expect("is there");
    // Units are dropped, and what was noted of them is forgotten, where the walk has not been.
    keep(&letters, 61..=400);
    while walk.next_letters().expect("reads").is_some() {}
    let stand = letters.stand();
    assert!(stand.dropped > 60, "{stand:?}");
    assert_eq!((stand.lost, stand.letters + stand.dropped), (0, 400), "{stand:?}");
}

#[test]
fn units_give_their_space_back_although_a_letter_of_each_is_kept() {
    let dir = tempfile::tempdir().expect("temp dir");
    let letters = open(dir.path());
    keep(&letters, 1..=130);
    let before = length(dir.path());
    // One of ten stays.
    let gone: Vec<u64> = (1..=130).filter(|number| number % 10 != 0).collect();
    letters.remove(&numbers(gone)).expect("removes");
    letters.tidy().expect("tidies");
    let left: Vec<u64> = (1..=13).map(|number| number * 10).collect();
    assert_eq!(seqs(&letters), left);
    // Lengths: what a file system gives to a file in advance comes back later.
    let after = length(dir.path());
    assert!(after < before / 2, "{before} bytes, then {after}");
    let units = letters.store.units();
    letters.tidy().expect("tidies");
    assert_eq!(letters.store.units(), units, "what is rewritten is left alone");
    drop(letters);
    let again = open(dir.path());
    assert_eq!(seqs(&again), left);
    assert_eq!(again.stand().letters, 13);
}

#[test]
fn many_starts_with_a_letter_each_do_not_fill_the_store() {
    let dir = tempfile::tempdir().expect("temp dir");
    // Each start begins a unit, which takes a quarter of a megabyte whatever is in it: the budget is eight of them.
    for seq in 1..=40 {
        keep(&open(dir.path()), [seq]);
    }
    let letters = open(dir.path());
    assert_eq!(seqs(&letters), (1..=40).collect::<Vec<u64>>());
    assert_eq!((letters.stand().letters, letters.stand().lost), (40, 0));
}

#[test]
fn a_note_without_the_deletion_that_follows_it_is_finished_at_the_next_open() {
    let dir = tempfile::tempdir().expect("temp dir");
    let letters = open(dir.path());
    keep(&letters, 1..=70);
    let before = copy_of(dir.path());
    letters.remove(&numbers(1..=60)).expect("removes");
    drop(letters);
    fs::copy(dir.path().join("letters"), before.path().join("letters")).expect("copies");
    let again = open(before.path());
    let left: Vec<u64> = (61..=70).collect();
    assert_eq!(seqs(&again), left);
    let units = again.store.units();
    assert_eq!(units.first().map(|unit| unit.first), Some(Seq(33)), "{units:?}");
}

#[test]
fn letters_that_were_handed_to_a_queue_stay_until_they_are_known_to_be_there() {
    let dir = tempfile::tempdir().expect("temp dir");
    let letters = open(dir.path());
    keep(&letters, 1..=4);
    let pending = Pending {
        lane: "default".to_owned(),
        behind: Seq(9),
        numbers: numbers([1, 2, 3]),
    };
    letters.begin(pending.clone()).expect("notes");
    drop(letters);
    let letters = open(dir.path());
    assert_eq!(letters.pending(), Some(pending));
    assert_eq!(seqs(&letters), [1, 2, 3, 4]);
    letters.arrived(&numbers([1, 3])).expect("notes");
    drop(letters);
    let letters = open(dir.path());
    assert_eq!(letters.pending(), None);
    assert_eq!(seqs(&letters), [2, 4]);
}

#[test]
fn a_damaged_note_brings_letters_back_and_loses_none() {
    let dir = tempfile::tempdir().expect("temp dir");
    let letters = open(dir.path());
    keep(&letters, 1..=4);
    letters.remove(&numbers([2])).expect("removes");
    drop(letters);
    let length = fs::read(dir.path().join("letters")).expect("reads").len();
    fs::write(dir.path().join("letters"), vec![0xA5; length]).expect("writes");
    let found: BTreeSet<u64> = seqs(&open(dir.path())).into_iter().collect();
    assert_eq!(found, BTreeSet::from([1, 2, 3, 4]));
}

#[test]
fn letters_lost_to_damage_are_counted_once() {
    let dir = tempfile::tempdir().expect("temp dir");
    for seq in 1..=3 {
        keep(&open(dir.path()), [seq]);
    }
    let db = dir.path().join("g-00000000000000000002/db");
    let length = fs::read(&db).expect("reads").len();
    fs::write(&db, vec![0xA5; length]).expect("writes");
    let letters = open(dir.path());
    for _ in 0..2 {
        assert_eq!(seqs(&letters), [1, 3]);
        assert_eq!((letters.stand().letters, letters.stand().lost), (2, 1));
    }
    drop(letters);
    assert_eq!(open(dir.path()).stand().lost, 1);
}

#[test]
fn letters_that_cannot_be_merged_do_not_keep_the_next_one_from_being_kept() {
    let dir = tempfile::tempdir().expect("temp dir");
    let open = |max, keys| DeadLetters::open(dir.path(), Epoch(1), max, keys).expect("opens");
    for seq in 1..=2 {
        keep(&open(1 << 24, Keys::of(Some(1), &[])), [seq]);
    }
    keep(&open(1 << 24, Keys::of(Some(2), &[1])), [3]);
    // Nothing says any more that key 1 is needed.
    fs::remove_file(dir.path().join("key-ids")).expect("removes");
    let letters = open(1, Keys::of(Some(2), &[])).on_full(OnFull::DropOldest);
    let tidied = letters.tidy();
    assert!(matches!(tidied, Err(KeepError::Unreadable { .. })), "{tidied:?}");
    keep(&letters, [4]);
    assert_eq!((letters.stand().letters, letters.stand().dropped), (2, 2));
}
