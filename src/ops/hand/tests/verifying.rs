use super::*;
use crate::queue::codec::{Chunk, Encoder};
use crate::queue::generations::{Generations, Waker};
use crate::queue::seal::Keys;
use crate::queue::store::Store;

fn verified(gateway: &Gateway) -> (Vec<(u64, u64)>, Verified, Exit) {
    let (answers, outcome) = gateway.ask_with(&Verb::Verify { lane: None }, b"");
    let faults = answers.iter().filter_map(|answer| match answer {
        Answer::Fault(fault) => Some((fault.first.0, fault.last.0)),
        _ => None,
    });
    let Some(Answer::Verified(verified)) = answers.last() else {
        panic!("{answers:?}");
    };
    (faults.collect(), verified.clone(), outcome.expect("served"))
}

#[test]
fn a_sound_store_agrees_with_its_ledger() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut gateway = Gateway::open(dir.path(), "gw", 5).with(1..=5000);
    gateway.deliver(1234);
    let (faults, verified, exit) = verified(&gateway);
    assert_eq!((faults, exit), (vec![], Exit::Stopped));
    assert_eq!(
        (verified.messages, verified.queued, verified.ledger),
        (5000, 3766, Some(3766))
    );
    gateway.close();
}

/// Blocks of ten messages each, with what `change` makes of them.
fn store(folder: &Path, blocks: u64, change: impl Fn(u64, Vec<Chunk>) -> Vec<Chunk>) {
    let waker = Waker::new(|| {});
    let store = Generations::open(folder, 64 * 1024 * 1024, waker)
        .expect("opens")
        .store;
    let mut encoder = Encoder::new(Epoch(5), queue::Compression::Zstd, &Keys::default()).expect("sets up");
    for block in 0..blocks {
        let messages: Vec<Arrival> = (1..=10).map(|number| arrival(block * 10 + number)).collect();
        let chunks = encoder.encode(Seq(block * 10 + 1), &messages).expect("encodes");
        store.append(&change(block, chunks)).expect("appends");
    }
}

#[test]
fn damage_is_told_by_its_exact_range_and_changes_nothing() {
    let dir = tempfile::tempdir().expect("temp dir");
    store(
        &dir.path().join("lanes/default"),
        6,
        |block, mut chunks| match block {
            // A byte that is not what was written, under a checksum of sled's that fits it.
            1 => {
                *chunks[0].bytes.last_mut().expect("has some") ^= 1;
                chunks
            }
            4 => Vec::new(),
            _ => chunks,
        },
    );
    for _ in 0..2 {
        let gateway = Gateway::open(dir.path(), "gw", 5);
        let (faults, verified, exit) = verified(&gateway);
        assert_eq!(faults, [(11, 20), (41, 50)]);
        assert_eq!((verified.messages, verified.faults, exit), (40, 2, Exit::Storage));
        assert_eq!(gateway.peek(Filter::default()).len(), 40, "the rest can be seen");
        gateway.close();
    }
}
