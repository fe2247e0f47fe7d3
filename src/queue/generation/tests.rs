//! What was appended is there after a kill, a cut and a reopening, in order; and it is written about once.

use std::fs;
use std::os::unix::fs::FileExt;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::message::Epoch;
use crate::queue::Compression;
use crate::queue::codec::Encoder;
use crate::queue::generations::{Generations, Waker};
use crate::queue::seal::Keys;
use crate::queue::store::{Found, Store};

/// The first generation of a log.
const NAME: &str = "g-00000000000000000001";

/// A block of `bytes` that do not compress, with one message.
fn block(first: u64, bytes: usize) -> Vec<Chunk> {
    let mut random = StdRng::seed_from_u64(first);
    let message: Vec<u8> = (0..bytes).map(|_| random.random()).collect();
    let mut encoder = Encoder::new(Epoch(1), Compression::None, &Keys::default()).expect("makes an encoder");
    encoder.encode(Seq(first), [&message]).expect("encodes")
}

fn all(generation: &Generation) -> Vec<Chunk> {
    collect(|from| generation.block_behind(from).expect("reads"))
}

/// What a start finds in a log that has this one generation.
fn found(folder: &Path) -> Vec<Chunk> {
    let opened = Generations::open(folder, 1 << 30, Waker::new(|| {})).expect("opens");
    collect(|from| match opened.store.read_behind(from).expect("reads") {
        Found::Block(block) => Some(block),
        _ => None,
    })
}

fn collect(behind: impl Fn(Seq) -> Option<RawBlock>) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut from = Seq::ZERO;
    while let Some(block) = behind(from) {
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
        copy(&dir.path().join("g"), &killed.join(NAME));
        assert_eq!(found(&killed), appended, "after group {group}");
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
        copy(&path, &torn.join(NAME));
        let file = File::options()
            .write(true)
            .open(torn.join(NAME).join("db"))
            .expect("opens");
        let gone = usize::try_from(length - cut).expect("is small");
        file.write_all_at(&vec![0; gone], cut).expect("cuts");
        let left = found(&torn);
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
    assert_eq!(first, 1 + 9 * 512);
    let last = open.block_before(Seq(u64::MAX)).expect("reads");
    assert_eq!(last.map(|block| block.first), Some(Seq(first - 1)));
}
