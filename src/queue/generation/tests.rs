//! What was appended is there after a kill, a cut and a reopening, in order; and it is written about once.

use std::fs;
use std::os::unix::fs::FileExt;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::message::Epoch;
use crate::queue::Compression;
use crate::queue::codec::Encoder;
use crate::queue::seal::Keys;

/// A block of `bytes` that do not compress, with one message.
fn block(first: u64, bytes: usize) -> Vec<Chunk> {
    let mut random = StdRng::seed_from_u64(first);
    let message: Vec<u8> = (0..bytes).map(|_| random.random()).collect();
    let mut encoder = Encoder::new(Epoch(1), Compression::None, &Keys::default()).expect("makes an encoder");
    encoder.encode(Seq(first), [&message]).expect("encodes")
}

fn all(generation: &Generation) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut from = Seq::ZERO;
    while let Some(block) = generation.block_behind(from).expect("reads") {
        from = block.first;
        let slices = (0_u16..).zip(block.chunks);
        chunks.extend(slices.map(|(part, bytes)| Chunk {
            key: ChunkKey { first: from, part },
            bytes,
        }));
    }
    chunks
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("makes the folder");
    for entry in fs::read_dir(from).expect("reads the folder") {
        let entry = entry.expect("reads the folder");
        if entry.file_type().expect("reads the type").is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).expect("copies");
        }
    }
}

#[test]
fn a_copy_made_at_any_moment_holds_every_group_appended_before() {
    let dir = tempfile::tempdir().expect("temp dir");
    let open = Generation::create(&dir.path().join("g")).expect("creates");
    let mut appended = Vec::new();
    for group in 1..=40_u64 {
        let size = [100, 3_000, 9_000, 70_000][usize::try_from(group % 4).expect("is small")];
        let chunks = block(group, size);
        open.append(&chunks).expect("appends");
        appended.extend(chunks);
        let killed = dir.path().join(format!("killed-{group}"));
        copy(&dir.path().join("g"), &killed);
        let copied = Generation::open(&killed).expect("opens");
        assert_eq!(all(&copied), appended, "after group {group}");
    }
    assert_eq!(all(&open), appended);
}

#[test]
fn a_log_cut_anywhere_holds_its_beginning() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("g");
    let open = Generation::create(&path).expect("creates");
    let mut appended = Vec::new();
    for group in 1..=30_u64 {
        let chunks = block(group, 7_000);
        open.append(&chunks).expect("appends");
        appended.extend(chunks);
    }
    let length = fs::metadata(path.join("db")).expect("is there").len();
    for cut in (0..length).step_by(9_973) {
        let torn = dir.path().join(format!("torn-{cut}"));
        copy(&path, &torn);
        let file = File::options().write(true).open(torn.join("db")).expect("opens");
        let gone = usize::try_from(length - cut).expect("is small");
        file.write_all_at(&vec![0; gone], cut).expect("cuts");
        let left = all(&Generation::open(&torn).expect("opens"));
        assert!(appended.starts_with(&left), "cut at {cut}");
    }
}

#[test]
fn a_chunk_is_written_about_once() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("g");
    let open = Generation::create(&path).expect("creates");
    let mut bytes = 0;
    let mut first = 1;
    while open.has_room(4 * 1024 * 1024) {
        let chunks = block(first, 20_000);
        bytes += chunks.iter().map(|chunk| chunk.bytes.len() as u64).sum::<u64>();
        open.append(&chunks).expect("appends");
        first += 1;
    }
    let length = fs::metadata(path.join("db")).expect("is there").len();
    assert!(length < bytes * 11 / 10, "{length} for {bytes}");
}

#[test]
fn it_is_full_of_stripes_before_their_list_is_long() {
    let dir = tempfile::tempdir().expect("temp dir");
    let open = Generation::create(&dir.path().join("g")).expect("creates");
    let mut first = 1;
    while open.has_room(u64::MAX) {
        let group: Vec<Chunk> = (first..first + 9).flat_map(|seq| block(seq, 10)).collect();
        open.append(&group).expect("appends");
        first += 9;
    }
    // The default tree is one of them.
    assert_eq!(first, 1 + 9 * 511);
    let last = open.block_before(Seq(u64::MAX)).expect("reads");
    assert_eq!(last.map(|block| block.first), Some(Seq(first - 1)));
}

#[test]
fn appending_goes_on_after_a_reopening() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("g");
    let mut appended = Vec::new();
    for group in 1..=30_u64 {
        let open = Generation::open(&path).expect("opens");
        let chunks = block(group, 500);
        open.append(&chunks).expect("appends");
        appended.extend(chunks);
        assert_eq!(all(&open), appended);
    }
}

#[test]
fn a_block_that_was_never_finished_leaves_nothing_behind_in_any_stripe() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("g");
    let before = block(1, 3_000);
    let unfinished = block(2, 100_000);
    assert!(unfinished.len() > 15, "it spans stripes");
    {
        let open = Generation::create(&path).expect("creates");
        open.append(&before).expect("appends");
        open.append(&unfinished[..15]).expect("appends");
    }
    let open = Generation::open(&path).expect("opens");
    open.remove(Seq(2)).expect("removes");
    assert_eq!(all(&open), before);
    let after: Vec<Chunk> = [block(2, 120_000), block(3, 10), block(4, 90_000)].concat();
    open.append(&after).expect("appends");
    assert_eq!(all(&open), [before, after].concat());
    let found = open.block_before(Seq(3)).expect("reads");
    assert_eq!(found.map(|block| block.first), Some(Seq(3)));
}

#[test]
fn chunks_of_a_build_that_knew_no_stripes_are_read() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("g");
    let chunks: Vec<Chunk> = (1..=40).flat_map(|first| block(first, 9_000)).collect();
    {
        let open = Generation::create(&path).expect("creates");
        let db = open.db.as_ref().expect("is open");
        for chunk in &chunks {
            db.insert(encode_key(chunk.key), chunk.bytes.as_slice())
                .expect("inserts");
        }
        open.sync().expect("syncs");
    }
    let open = Generation::open(&path).expect("opens");
    let more = block(41, 9_000);
    open.append(&more).expect("appends");
    assert_eq!(all(&open), [chunks, more].concat());
}
