//! The store on real sled: rotation, trimming, failed appends, interrupted starts. What damage does is in `damaged`.

use std::ops::Range;

use std::fs;

use super::names::{NEW, TRASH};
use super::*;
use crate::message::Epoch;
use crate::queue::Compression;
use crate::queue::codec::{Encoder, decode};
use crate::queue::seal::Keys;

mod damaged;

/// For what a thread of the store has to do.
const DEADLINE: Duration = Duration::from_secs(20);

/// Generations of 128 KiB.
const SMALL: u64 = 1024 * 1024;
/// One generation takes all.
const LARGE: u64 = 1024 * 1024 * 1024;
/// Contents that are told apart by their first byte, and of such a size that a block has three chunks.
const MESSAGE_BYTES: usize = 15_000;

/// A block of one message with `content`.
fn block(first: u64, content: u8) -> Vec<Chunk> {
    let mut encoder = Encoder::new(Epoch(1), Compression::None, &Keys::default()).expect("encoder");
    let message = vec![content; MESSAGE_BYTES];
    encoder.encode(Seq(first), [&message]).expect("encodes")
}

fn fill(store: &Generations, sequences: Range<u64>) {
    for first in sequences {
        store.append(&block(first, 1)).expect("appends");
    }
}

fn open(folder: &Path, max_bytes: u64) -> Opened<Generations> {
    Generations::open(folder, max_bytes, Waker::new(|| {})).expect("opens")
}

/// Asks until the answer is there.
fn patiently(ask: impl Fn() -> Result<Found, StoreError>) -> Found {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match ask().expect("reads") {
            Found::Salvaging if Instant::now() < deadline => {
                std::thread::park_timeout(Duration::from_millis(2));
            }
            found => return found,
        }
    }
}

/// First sequences and contents of everything that can be read.
fn read_all(store: &Generations) -> Vec<(u64, u8)> {
    let mut all = Vec::new();
    let mut at = Seq::ZERO;
    while let Found::Block(raw) = patiently(|| store.read_behind(at)) {
        let block = decode::<Vec<u8>>(&raw.chunks, &Keys::default()).expect("whole");
        all.push((raw.first.0, block.messages[0].1[0]));
        assert_eq!(patiently(|| store.read(raw.first)), Found::Block(raw.clone()));
        at = raw.first;
    }
    all
}

fn block_at(store: &Generations, seq: u64) -> RawBlock {
    match patiently(|| store.read(Seq(seq))) {
        Found::Block(raw) => raw,
        other => panic!("{other:?}"),
    }
}

fn ones(sequences: Range<u64>) -> Vec<(u64, u8)> {
    sequences.map(|seq| (seq, 1)).collect()
}

fn folders(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder)
        .expect("lists")
        .map(|entry| entry.expect("entry").file_name());
    let mut names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn path_of(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{PREFIX}{first:020}"))
}

/// A log of several generations, closed, and their first sequences.
fn several(folder: &Path) -> Vec<u64> {
    let store = open(folder, SMALL).store;
    fill(&store, 1..61);
    let firsts = firsts(&store);
    assert!(firsts.len() >= 4, "{firsts:?}");
    firsts
}

fn firsts(store: &Generations) -> Vec<u64> {
    store.units().iter().map(|unit| unit.first.0).collect()
}

#[test]
fn a_small_budget_makes_many_generations_that_are_read_as_one_log() {
    let dir = tempfile::tempdir().expect("temp dir");
    let firsts = several(dir.path());
    let opened = open(dir.path(), SMALL);
    assert_eq!(opened.extent.last, Some(Seq(60)));
    assert_eq!(opened.extent.newest.map(|seq| seq.0), firsts.last().copied());
    assert_eq!(read_all(&opened.store), ones(1..61));
    fill(&opened.store, 61..63);
    assert_eq!(read_all(&opened.store), ones(1..63));
}

#[test]
fn trimming_deletes_whole_generations_and_keeps_the_last_two() {
    let dir = tempfile::tempdir().expect("temp dir");
    let firsts = several(dir.path());
    let store = open(dir.path(), SMALL).store;
    let before = store.bytes();
    // One short of the second generation's end: only the first one goes.
    store.trim(Seq(firsts[2] - 2)).expect("trims");
    assert_eq!(folders(dir.path()).len(), firsts.len() - 1);
    assert!(store.bytes() < before);
    assert_eq!(read_all(&store), ones(firsts[1]..61));
    store.trim(Seq(60)).expect("trims");
    assert_eq!(folders(dir.path()).len(), 2);
    drop(store);
    let opened = open(dir.path(), SMALL);
    assert_eq!(
        opened.extent.oldest.map(|seq| seq.0),
        Some(firsts[firsts.len() - 2])
    );
    assert_eq!(opened.extent.last, Some(Seq(60)));
}

#[test]
fn an_interrupted_deletion_is_finished_at_open() {
    let dir = tempfile::tempdir().expect("temp dir");
    let firsts = several(dir.path());
    let first = path_of(dir.path(), firsts[0]);
    fs::rename(&first, first.with_extension(TRASH)).expect("renames");
    let opened = open(dir.path(), SMALL);
    assert!(folders(dir.path()).iter().all(|name| !name.ends_with(TRASH)));
    assert_eq!(read_all(&opened.store), ones(firsts[1]..61));
}

#[test]
fn a_generation_that_was_created_and_is_empty_goes_on_being_written() {
    let dir = tempfile::tempdir().expect("temp dir");
    let store = open(dir.path(), LARGE).store;
    fill(&store, 1..4);
    drop(store);
    fs::create_dir(path_of(dir.path(), 4)).expect("creates");
    let opened = open(dir.path(), LARGE);
    assert_eq!(
        (opened.extent.last, opened.extent.newest),
        (Some(Seq(3)), Some(Seq(4)))
    );
    fill(&opened.store, 4..6);
    assert_eq!(read_all(&opened.store), ones(1..6));
    assert_eq!(folders(dir.path()).len(), 2);
}

#[test]
fn a_generation_that_cannot_be_created_is_created_later() {
    let dir = tempfile::tempdir().expect("temp dir");
    let store = open(dir.path(), SMALL).store;
    let mut next = 1;
    let has_room = |open: &Arc<Generation>| open.has_room(store.limit_bytes);
    while store.row().writing.as_ref().is_none_or(has_room) {
        fill(&store, next..next + 1);
        next += 1;
    }
    let away = tempfile::tempdir().expect("temp dir");
    let away = away.path().join("lane");
    fs::rename(dir.path(), &away).expect("renames");
    for _ in 0..2 {
        store.append(&block(next, 1)).expect_err("cannot create");
    }
    fs::rename(&away, dir.path()).expect("renames");
    assert_eq!(read_all(&store), ones(1..next));
    fill(&store, next..next + 2);
    assert_eq!(read_all(&store), ones(1..next + 2));
}

#[test]
fn an_interrupted_deletion_does_not_stop_the_next_one_of_that_name() {
    let dir = tempfile::tempdir().expect("temp dir");
    let store = open(dir.path(), LARGE).store;
    fs::create_dir_all(path_of(dir.path(), 1).with_extension(TRASH).join("blobs")).expect("creates");
    fs::create_dir(path_of(dir.path(), 1)).expect("creates");
    fill(&store, 1..3);
    assert_eq!(read_all(&store), ones(1..3));
    assert_eq!(folders(dir.path()).len(), 1);
}

fn break_sync(store: &Generations) {
    let mut row = store.row();
    let open = row.writing.take().expect("writing");
    let mut open = Arc::into_inner(open).expect("nobody else has it");
    open.break_sync();
    row.writing = Some(Arc::new(open));
}

#[test]
fn a_failed_sync_abandons_the_generation() {
    let dir = tempfile::tempdir().expect("temp dir");
    let store = open(dir.path(), LARGE).store;
    fill(&store, 1..4);
    break_sync(&store);
    store.append(&block(4, 2)).expect_err("not durable");
    assert!(store.row().writing.is_none());
    // Not visible as long as nothing was appended in its place would be fine; afterwards it must not be.
    store.append(&block(4, 3)).expect("appends elsewhere");
    assert_eq!(folders(dir.path()).len(), 2);
    let expected = [(1, 1), (2, 1), (3, 1), (4, 3)];
    assert_eq!(read_all(&store), expected);
    drop(store);
    let opened = open(dir.path(), LARGE);
    assert_eq!(opened.extent.last, Some(Seq(4)));
    assert_eq!(read_all(&opened.store), expected);
}

#[test]
fn a_generation_begun_again_is_not_read_through_an_old_handle() {
    let dir = tempfile::tempdir().expect("temp dir");
    let store = open(dir.path(), LARGE).store;
    fill(&store, 1..2);
    break_sync(&store);
    store.append(&block(2, 2)).expect_err("not durable");
    // The same again in the generation that was begun for it.
    store.append(&block(2, 3)).expect("appends");
    store.row().writing = None;
    // A reader looks at it before it is begun once more.
    assert_eq!(block_at(&store, 2).first, Seq(2));
    store.append(&block(2, 4)).expect("appends");
    store.row().writing = None;
    fill(&store, 3..4);
    let raw = block_at(&store, 2);
    assert_eq!(
        decode::<Vec<u8>>(&raw.chunks, &Keys::default())
            .expect("whole")
            .messages[0]
            .1[0],
        4
    );
    assert_eq!(read_all(&store), [(1, 1), (2, 4), (3, 1)]);
}

#[test]
fn void_messages_are_not_taken_for_the_end_of_the_log() {
    let dir = tempfile::tempdir().expect("temp dir");
    let store = open(dir.path(), LARGE).store;
    fill(&store, 1..4);
    break_sync(&store);
    store.append(&block(4, 2)).expect_err("not durable");
    drop(store);
    // The generation that was to take their place was created, and nothing else.
    fs::create_dir(path_of(dir.path(), 4)).expect("creates");
    let opened = open(dir.path(), LARGE);
    assert_eq!(opened.extent.last, Some(Seq(3)));
    assert_eq!(read_all(&opened.store), ones(1..4));
}

#[test]
fn an_unfinished_block_is_not_seen_and_its_sequence_is_used_again() {
    for kept in [&[0][..], &[0, 1], &[2], &[1, 2], &[0, 2]] {
        let dir = tempfile::tempdir().expect("temp dir");
        let store = open(dir.path(), LARGE).store;
        fill(&store, 1..4);
        let chunks = block(4, 2);
        assert_eq!(chunks.len(), 3);
        let kept: Vec<_> = kept.iter().map(|part| chunks[*part].clone()).collect();
        store.append(&kept).expect("appends");
        drop(store);
        let opened = open(dir.path(), LARGE);
        assert_eq!(opened.extent.last, Some(Seq(3)));
        fill(&opened.store, 4..5);
        assert_eq!(read_all(&opened.store), ones(1..5));
    }
}

#[test]
fn every_start_goes_on_in_a_generation_of_its_own() {
    let dir = tempfile::tempdir().expect("temp dir");
    for start in 0..5 {
        let opened = open(dir.path(), LARGE);
        assert_eq!(read_all(&opened.store), ones(1..1 + start * 3));
        fill(&opened.store, 1 + start * 3..4 + start * 3);
        assert_eq!(firsts(&opened.store).len() as u64, start + 1);
    }
    // Each takes the one stretch that was made ready for it.
    assert!(open(dir.path(), LARGE).store.bytes() < 5 * 300 * 1024);
}

/// Groups of 20 blocks, so that few syncs make a long log. Gives the sequence behind the last.
fn fill_to(store: &Generations, mut first: u64, bytes: u64) -> u64 {
    let end = store.bytes() + bytes;
    while store.bytes() < end {
        let group: Vec<Chunk> = (first..first + 20).flat_map(|first| block(first, 1)).collect();
        store.append(&group).expect("appends");
        first += 20;
    }
    first
}

#[test]
fn sled_is_given_no_more_than_four_mebibytes_to_hold_in_memory() {
    const SLACK: u64 = 1024 * 1024;
    let dir = tempfile::tempdir().expect("temp dir");
    let store = open(dir.path(), LARGE).store;
    fill_to(&store, 1, 3 * GENERATION_BYTES);
    let units = store.units();
    assert!(units.len() >= 3, "{units:?}");
    assert!(
        units.iter().all(|unit| unit.bytes <= (4 << 20) + SLACK),
        "{units:?}"
    );
}

#[test]
fn a_budget_is_cut_into_8_to_1024_generations_of_4_mebibytes_or_8_and_lanes_have_smaller_ones() {
    const MIB: u64 = 1 << 20;
    assert_eq!(generation_bytes(16 * MIB), 2 * MIB);
    assert_eq!(generation_bytes(1024 * MIB), 4 * MIB);
    assert_eq!(generation_bytes(4096 * MIB), 4 * MIB);
    assert_eq!(generation_bytes(6144 * MIB), 6 * MIB);
    assert_eq!(generation_bytes(100_000 * MIB), 8 * MIB);
    let shared = |lanes| {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut store = open(dir.path(), 1024 * MIB).store;
        store.share(Share::of(lanes));
        store.limit_bytes
    };
    assert_eq!([1, 2, 4, 8].map(shared), [4 * MIB, 4 * MIB, 2 * MIB, 2 * MIB]);
}

#[test]
fn eight_mebibytes_of_delivered_messages_stay_to_recognise_redeliveries() {
    let dir = tempfile::tempdir().expect("temp dir");
    let store = open(dir.path(), LARGE).store;
    let next = fill_to(&store, 1, 5 * GENERATION_BYTES);
    store.trim(Seq(next - 1)).expect("trims");
    let bytes: u64 = store.units().iter().map(|unit| unit.bytes).sum();
    assert!(
        (RECALL_BYTES..RECALL_BYTES + 2 * GENERATION_BYTES).contains(&bytes),
        "{bytes}"
    );
}

#[test]
fn many_small_generations_are_kept_until_they_hold_enough_to_recognise_redeliveries() {
    let dir = tempfile::tempdir().expect("temp dir");
    for start in 0..5 {
        fill(&open(dir.path(), SMALL).store, 1 + start..2 + start);
    }
    let store = open(dir.path(), SMALL).store;
    store.trim(Seq(5)).expect("trims");
    assert_eq!(read_all(&store), ones(1..6));
    fill(&store, 6..30);
    store.trim(Seq(29)).expect("trims");
    let rest = read_all(&store);
    assert!(rest.len() < 20 && rest.ends_with(&ones(25..30)), "{rest:?}");
}

#[test]
fn what_is_written_anew_takes_the_place_of_what_may_be_in_memory_alone() {
    // In the middle of the newest generation, and the whole of it.
    for behind in [2, 0] {
        let dir = tempfile::tempdir().expect("temp dir");
        fill(&open(dir.path(), LARGE).store, 1..6);
        let store = open(dir.path(), LARGE).store;
        store.renew_behind(Seq(behind)).expect("writes");
        assert_eq!(firsts(&store).last(), Some(&(behind + 1)));
        assert_eq!(read_all(&store), ones(1..6));
        fill(&store, 6..8);
        drop(store);
        // Nothing of it comes from the old file.
        assert_eq!(folders(dir.path()).len(), if behind == 0 { 1 } else { 2 });
        let old = path_of(dir.path(), 1);
        if behind > 0 {
            fs::remove_dir_all(old).expect("removes");
        }
        let store = open(dir.path(), LARGE).store;
        assert_eq!(read_all(&store), ones(behind + 1..8));
    }
}

#[test]
fn writing_anew_can_be_interrupted_anywhere() {
    let sound = tempfile::tempdir().expect("temp dir");
    fill(&open(sound.path(), LARGE).store, 1..6);
    let name = path_of(Path::new(""), 1);
    let set_aside = name.with_extension("damaged-01234567");
    let fresh = name.with_extension(NEW);
    // The names that a crash may leave, each a copy of the generation but the unfinished one.
    let states: [&[(&Path, bool)]; 3] = [
        &[(&name, true), (&fresh, false)],
        &[(&set_aside, true), (&fresh, true)],
        &[(&set_aside, true), (&name, true)],
    ];
    for state in states {
        let dir = tempfile::tempdir().expect("temp dir");
        for (name, whole) in state {
            let folder = dir.path().join(name);
            fs::create_dir(&folder).expect("creates");
            let bytes = fs::read(path_of(sound.path(), 1).join("db")).expect("reads");
            let length = if *whole { bytes.len() } else { bytes.len() / 2 };
            fs::write(folder.join("db"), &bytes[..length]).expect("writes");
        }
        let opened = open(dir.path(), LARGE);
        assert_eq!(opened.extent.last, Some(Seq(5)));
        assert_eq!(read_all(&opened.store), ones(1..6));
        assert_eq!(folders(dir.path()).len(), 1);
    }
}
