//! The store on real sled: rotation, trimming, and what damage does.

use std::ops::Range;

use super::names::{DAMAGED, TRASH};
use super::*;
use crate::message::Epoch;
use crate::queue::Compression;
use crate::queue::codec::{BLOCK_MESSAGES_MAX, Encoder, decode};
use crate::queue::seal::Keys;
use crate::queue::store::{Extent, RawBlock};

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

/// First sequences and contents of everything that can be read.
fn read_all(store: &Generations) -> Vec<(u64, u8)> {
    let mut all = Vec::new();
    let mut at = Seq::ZERO;
    while let Found::Block(raw) = store.read_behind(at).expect("reads") {
        let block = decode::<Vec<u8>>(&raw.chunks, &Keys::default()).expect("whole");
        all.push((raw.first.0, block.messages[0].1[0]));
        assert_eq!(store.read(raw.first).expect("reads"), Found::Block(raw.clone()));
        at = raw.first;
    }
    all
}

fn block_at(store: &Generations, seq: u64) -> RawBlock {
    match store.read(Seq(seq)).expect("reads") {
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

/// Makes every open of the generation fail as on a full disk, until [`give_room`].
fn take_room(generation: &Path) {
    fs::remove_file(generation.join("conf")).expect("removes");
    std::os::unix::fs::symlink("/dev/full", generation.join("conf")).expect("links");
}

fn give_room(generation: &Path) {
    fs::remove_file(generation.join("conf")).expect("removes");
}

/// Something that no sled opens.
fn destroy(generation: &Path) {
    fs::remove_file(generation.join("db")).expect("removes");
    fs::create_dir(generation.join("db")).expect("creates");
}

/// A log of several generations, closed, and their first sequences.
fn several(folder: &Path) -> Vec<u64> {
    let store = open(folder, SMALL).store;
    fill(&store, 1..61);
    let firsts: Vec<_> = store.row().entries.iter().map(|entry| entry.first.0).collect();
    assert!(firsts.len() >= 4, "{firsts:?}");
    firsts
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
fn a_deletion_that_cannot_be_finished_does_not_stop_the_open() {
    let dir = tempfile::tempdir().expect("temp dir");
    // A file cannot be deleted as a folder.
    fs::write(dir.path().join("g-00000000000000000007.trash"), b"").expect("writes");
    assert_eq!(open(dir.path(), SMALL).extent, Extent::default());
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
fn leftover_and_torn_snapshots_do_not_stop_the_open() {
    let dir = tempfile::tempdir().expect("temp dir");
    fill(&open(dir.path(), LARGE).store, 1..4);
    let generation = path_of(dir.path(), 1);
    fs::write(generation.join("snap.0000000000001000.generating"), b"half").expect("writes");
    fs::write(generation.join("snap.0000000000001000"), b"torn").expect("writes");
    let opened = open(dir.path(), LARGE);
    assert_eq!(read_all(&opened.store), ones(1..4));
}

#[test]
fn damaged_settings_cost_nothing() {
    let dir = tempfile::tempdir().expect("temp dir");
    fill(&open(dir.path(), LARGE).store, 1..4);
    let conf = path_of(dir.path(), 1).join("conf");
    let sound = fs::read(&conf).expect("reads");
    for at in 0..sound.len() {
        let mut bytes = sound.clone();
        bytes[at] ^= 1;
        fs::write(&conf, &bytes).expect("writes");
        let opened = open(dir.path(), LARGE);
        assert_eq!(opened.extent.last, Some(Seq(3)), "byte {at}");
    }
}

#[test]
fn a_generation_that_cannot_be_opened_is_set_aside_and_the_rest_is_read() {
    let dir = tempfile::tempdir().expect("temp dir");
    let firsts = several(dir.path());
    let newest = firsts[firsts.len() - 1];
    destroy(&path_of(dir.path(), newest));
    let opened = open(dir.path(), SMALL);
    let kept = folders(dir.path()).pop().expect("there");
    assert!(
        kept.starts_with(&format!("{PREFIX}{newest:020}.{DAMAGED}")),
        "{kept}"
    );
    assert!(opened.extent.unsure);
    assert_eq!(opened.extent.newest, Some(Seq(newest)));
    assert_eq!(read_all(&opened.store), ones(1..newest));
    drop(opened);
    // It still counts at the next start, and what is written goes to a new one.
    let opened = open(dir.path(), SMALL);
    assert!(opened.extent.unsure);
    fill(&opened.store, 1000..1002);
    let mut all = ones(1..newest);
    all.extend(ones(1000..1002));
    assert_eq!(read_all(&opened.store), all);
}

#[test]
fn garbage_in_place_of_the_newest_generation_does_not_stop_the_open() {
    let dir = tempfile::tempdir().expect("temp dir");
    let firsts = several(dir.path());
    let newest = firsts[firsts.len() - 1];
    let db = path_of(dir.path(), newest).join("db");
    let length = usize::try_from(fs::metadata(&db).expect("there").len()).expect("small");
    fs::write(&db, vec![0xA5; length]).expect("writes");
    let opened = open(dir.path(), SMALL);
    // sled takes it for an empty database or refuses it: either way its sequences count as used.
    assert_eq!(opened.extent.last, Some(Seq(newest - 1)));
    assert_eq!(opened.extent.newest, Some(Seq(newest)));
    assert_eq!(read_all(&opened.store), ones(1..newest));
}

#[test]
fn flipped_bits_anywhere_never_stop_the_open_or_end_the_process() {
    let dir = tempfile::tempdir().expect("temp dir");
    fill(&open(dir.path(), LARGE).store, 1..61);
    let db = fs::read(path_of(dir.path(), 1).join("db")).expect("reads");
    for step in 0..24 {
        let broken = tempfile::tempdir().expect("temp dir");
        let generation = path_of(broken.path(), 1);
        fs::create_dir(&generation).expect("creates");
        let mut bytes = db.clone();
        let at = step * bytes.len() / 24 + 977;
        bytes[at] ^= 0x55;
        fs::write(generation.join("db"), bytes).expect("writes");
        let store = open(broken.path(), LARGE).store;
        let mut at = Seq::ZERO;
        let mut failures = 0;
        // The newest generation is given up at the first failure and judged at the second.
        while failures < 2 {
            match store.read_behind(at) {
                Ok(Found::Block(raw)) => at = raw.first,
                Ok(_) => break,
                Err(_) => failures += 1,
            }
        }
        assert!(failures < 2, "byte {at}");
    }
}

#[test]
fn an_older_generation_that_cannot_be_read_is_set_aside_while_reading() {
    let dir = tempfile::tempdir().expect("temp dir");
    let firsts = several(dir.path());
    destroy(&path_of(dir.path(), firsts[1]));
    let opened = open(dir.path(), SMALL);
    let mut expected = ones(1..firsts[1]);
    expected.extend(ones(firsts[2]..61));
    assert_eq!(read_all(&opened.store), expected);
    assert!(folders(dir.path())[1].contains(DAMAGED));
    // Trimming passes it and keeps it.
    opened.store.trim(Seq(60)).expect("trims");
    assert!(folders(dir.path())[0].contains(DAMAGED));
    assert_eq!(folders(dir.path()).len(), 3);
}

#[test]
fn a_full_disk_at_open_sets_nothing_aside() {
    let dir = tempfile::tempdir().expect("temp dir");
    let firsts = several(dir.path());
    let newest = path_of(dir.path(), firsts[firsts.len() - 1]);
    let names = folders(dir.path());
    take_room(&newest);
    let error = Generations::open(dir.path(), SMALL, Waker::new(|| {})).expect_err("no room");
    assert!(!error.is_damage(), "{error}");
    assert_eq!(folders(dir.path()), names);
    give_room(&newest);
    assert_eq!(read_all(&open(dir.path(), SMALL).store), ones(1..61));
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
    let fresh = path_of(dir.path(), next);
    std::os::unix::fs::symlink(dir.path().join("nowhere"), &fresh).expect("links");
    for _ in 0..2 {
        store.append(&block(next, 1)).expect_err("cannot create");
        assert_eq!(read_all(&store), ones(1..next));
    }
    fs::remove_file(&fresh).expect("removes");
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
fn void_messages_do_not_come_back_when_the_generation_behind_them_is_damaged() {
    let dir = tempfile::tempdir().expect("temp dir");
    let store = open(dir.path(), LARGE).store;
    fill(&store, 1..4);
    break_sync(&store);
    store.append(&block(4, 2)).expect_err("not durable");
    store.append(&block(4, 3)).expect("appends elsewhere");
    drop(store);
    destroy(&path_of(dir.path(), 4));
    for _ in 0..2 {
        let opened = open(dir.path(), LARGE);
        assert_eq!(opened.extent.last, Some(Seq(3)));
        assert_eq!(read_all(&opened.store), ones(1..4));
    }
    let store = open(dir.path(), LARGE).store;
    fill(&store, 1000..1001);
    let expected = [(1, 1), (2, 1), (3, 1), (1000, 1)];
    assert_eq!(read_all(&store), expected);
    drop(store);
    assert_eq!(read_all(&open(dir.path(), LARGE).store), expected);
}

#[test]
fn an_unfinished_block_is_removed_at_open_whichever_chunks_are_there() {
    for kept in [&[0][..], &[0, 1], &[2], &[1, 2], &[0, 2]] {
        let dir = tempfile::tempdir().expect("temp dir");
        fill(&open(dir.path(), LARGE).store, 1..4);
        let chunks = block(4, 2);
        assert_eq!(chunks.len(), 3);
        let kept: Vec<_> = kept.iter().map(|part| chunks[*part].clone()).collect();
        let generation = Generation::open(&path_of(dir.path(), 1)).expect("opens");
        generation.append(&kept).expect("appends");
        drop(generation);
        let opened = open(dir.path(), LARGE);
        assert_eq!(opened.extent.last, Some(Seq(3)));
        fill(&opened.store, 4..5);
        assert_eq!(read_all(&opened.store), ones(1..5));
    }
}

#[test]
fn a_damaged_last_block_counts_with_all_its_sequences() {
    let messages = vec![vec![7_u8; 3000]; 10];
    let mut encoder = Encoder::new(Epoch(1), Compression::None, &Keys::default()).expect("encoder");
    let chunks = encoder.encode(Seq(4), &messages).expect("encodes");
    for (damaged, last) in [(1, Seq(13)), (chunks.len(), Seq(4 + BLOCK_MESSAGES_MAX - 1))] {
        let dir = tempfile::tempdir().expect("temp dir");
        let store = open(dir.path(), LARGE).store;
        fill(&store, 1..4);
        let mut chunks = chunks.clone();
        for chunk in chunks.iter_mut().take(damaged) {
            chunk.bytes[50] ^= 1;
        }
        store.append(&chunks).expect("appends");
        drop(store);
        assert_eq!(open(dir.path(), LARGE).extent.last, Some(last));
    }
}
