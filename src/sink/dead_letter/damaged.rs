//! What damage does to dead letters.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;
use crate::queue::seal::Keys;
use crate::queue::store::Found;

fn stored(seq: u64) -> Stored {
    Stored {
        seq: Seq(seq),
        epoch: Epoch(1),
        arrival: Arrival::trial(seq, "a/b", vec![7; 9000]),
    }
}

fn open(folder: &Path) -> DeadLetters {
    DeadLetters::open(folder, Epoch(1), 1 << 30, Keys::default()).expect("opens")
}

fn listed(letters: &DeadLetters) -> Vec<u64> {
    let letters = letters.list().expect("lists");
    letters.iter().map(|letter| letter.seq.0).collect()
}

#[test]
fn damage_costs_the_letters_it_touches_and_no_start() {
    let dir = tempfile::tempdir().expect("temp dir");
    for seq in 1..=3 {
        open(dir.path()).keep(&stored(seq), Vec::new()).expect("keeps");
    }
    let mut folders: Vec<_> = fs::read_dir(dir.path())
        .expect("lists")
        .map(|entry| entry.expect("entry").path())
        .collect();
    folders.sort();
    for (damaged, left) in [(0, vec![2, 3]), (2, vec![2])] {
        let db = folders[damaged].join("db");
        let length = fs::read(&db).expect("reads").len();
        fs::write(&db, vec![0xA5; length]).expect("writes");
        assert_eq!(listed(&open(dir.path())), left);
    }
    let letters = open(dir.path());
    for seq in [3, 4] {
        letters.keep(&stored(seq), Vec::new()).expect("keeps");
    }
    assert_eq!(listed(&letters), [2, 3, 4]);
    drop(letters);
    assert_eq!(listed(&open(dir.path())), [2, 3, 4]);
}

#[test]
fn a_recall_waits_for_letters_that_are_being_read_and_goes_on_in_front_of_lost_ones() {
    let dir = tempfile::tempdir().expect("temp dir");
    for seq in 1..=3 {
        open(dir.path()).keep(&stored(seq), Vec::new()).expect("keeps");
    }
    let db = dir.path().join("g-00000000000000000002/db");
    fs::remove_file(&db).expect("removes");
    mknodat(CWD, &db, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("makes a pipe");
    let letters = Arc::new(open(dir.path()));
    let same = Arc::clone(&letters);
    let recalling = std::thread::spawn(move || same.recall(Seq::ZERO, Seq(9)));
    // The medium hangs; then what it gives is nothing.
    let found = letters.store.read(Seq(2)).expect("answers");
    assert_eq!(found, Found::Salvaging);
    drop(fs::OpenOptions::new().write(true).open(&db).expect("opens"));
    recalling.join().expect("ends").expect("reads");
    let known = |seq| letters.decided(&stored(seq)).is_some();
    assert_eq!((known(1), known(2), known(3)), (true, false, true));
}
