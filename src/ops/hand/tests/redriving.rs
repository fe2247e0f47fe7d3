//! Letters go back into a queue.

use super::*;
use crate::queue::seal::Keys;
use crate::route::Refusal;
use crate::sink::dead_letter::DeadLetters;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("temp dir")
}

/// Letters of messages that an earlier log had.
fn letters(folder: &Path, seqs: impl IntoIterator<Item = u64>) -> Arc<DeadLetters> {
    let open = || DeadLetters::open(folder, Epoch(1), 1 << 24, Keys::default()).expect("opens");
    let letters = open();
    for seq in seqs {
        let stored = Stored {
            seq: Seq(seq),
            epoch: Epoch(1),
            arrival: arrival(seq),
        };
        letters.keep(&stored, vec![Refusal::NoRoute]).expect("keeps");
    }
    drop(letters);
    Arc::new(open())
}

fn with_letters(gateway: Gateway, letters: &Arc<DeadLetters>) -> Gateway {
    let one = LetterBox {
        lane: "default".to_owned(),
        letters: Arc::clone(letters),
        router: Arc::clone(&gateway.lane().router),
    };
    Gateway {
        hand: gateway.hand.with_letters(vec![one]),
        ..gateway
    }
}

/// A queue that one message fills; it waits for room as long as it delivers.
fn full(folder: &Path, letters: &Arc<DeadLetters>) -> Gateway {
    let small = queue::Config {
        max_bytes: 1,
        min_free_bytes: 0,
        ..queue::Config::default()
    };
    let gateway = Gateway::open_with(folder, "gw", 5, &small).with([1]);
    let mut gateway = with_letters(gateway, letters);
    gateway.hand.delivers = true;
    gateway
}

fn redrive(gateway: &Gateway) -> Result<Exit, HandError> {
    let verb = Verb::Redrive {
        filter: LetterFilter::default(),
        into: None,
    };
    gateway.ask_with(&verb, b"").1
}

#[test]
fn a_redrive_into_a_queue_that_stays_full_ends_and_can_go_on_later() {
    let (dir, kept) = (folder(), folder());
    let letters = letters(kept.path(), 1..=3);
    let mut first = full(dir.path(), &letters);
    first.hand.held_patience = LOOK;
    // The second one must not take what is on its way for what was never taken.
    for _ in 0..2 {
        let outcome = redrive(&first);
        assert!(matches!(outcome, Err(HandError::Full)), "{outcome:?}");
        assert!(letters.pending().is_some());
    }
    assert!(!matches!(
        first.ask_with(&Verb::Verify { lane: None }, b"").1,
        Err(HandError::Busy)
    ));
    assert_eq!(letters.stand().letters, 3);
    first.monitor().close();
    first.close();

    let second = with_letters(Gateway::open(dir.path(), "gw", 5), &letters);
    assert_eq!(redrive(&second).expect("redriven"), Exit::Stopped);
    assert_eq!(letters.stand().letters, 0);
    assert_eq!(second.ids().len(), 4, "each of them once");
    second.close();
}

#[test]
fn a_redrive_at_work_makes_way_and_the_same_again_brings_each_letter_once() {
    let (dir, kept) = (folder(), folder());
    let letters = letters(kept.path(), 1..=3);
    let mut first = full(dir.path(), &letters);
    first.hand.held_patience = PATIENCE;
    let hand = &first.hand;
    let outcome = std::thread::scope(|scope| {
        let redriving = scope.spawn(move || {
            let verb = Verb::Redrive {
                filter: LetterFilter::default(),
                into: None,
            };
            hand.serve(&verb, &mut io::empty(), &mut |_| Ok(()))
        });
        let deadline = Instant::now() + PATIENCE;
        while letters.pending().is_none() {
            assert!(Instant::now() < deadline, "it hands letters over");
            std::thread::park_timeout(LOOK);
        }
        assert!(!hand.is_idle());
        hand.pause();
        redriving.join().expect("no panic")
    });
    assert!(matches!(outcome, Err(HandError::Reloading)), "{outcome:?}");
    assert!(first.hand.is_idle(), "it holds no lane");
    assert_eq!(letters.stand().letters, 3);
    first.monitor().close();
    first.close();

    let second = with_letters(Gateway::open(dir.path(), "gw", 5), &letters);
    assert_eq!(redrive(&second).expect("redriven"), Exit::Stopped);
    assert_eq!(letters.stand().letters, 0);
    assert_eq!(second.ids().len(), 4, "each of them once");
    second.close();
}

#[test]
fn a_letter_that_no_route_wants_stays_a_letter_and_that_is_said() {
    let (dir, kept) = (folder(), folder());
    let letters = {
        let open = || DeadLetters::open(kept.path(), Epoch(1), 1 << 24, Keys::default()).expect("opens");
        let letters = open();
        for (seq, topic) in [(1, "meters/m1"), (2, "meters/m2"), (3, "other/topic")] {
            let stored = Stored {
                seq: Seq(seq),
                epoch: Epoch(1),
                arrival: Arrival {
                    topic: topic.to_owned(),
                    ..arrival(seq)
                },
            };
            letters.keep(&stored, vec![Refusal::NoRoute]).expect("keeps");
        }
        drop(letters);
        Arc::new(open())
    };
    let gateway = with_letters(Gateway::open(dir.path(), "gw", 5).with([1, 2, 3]), &letters);
    let verb = Verb::Redrive {
        filter: LetterFilter::default(),
        into: None,
    };
    let answers = gateway.ask(&verb);
    let redriven = answers.iter().find_map(|answer| match answer {
        Answer::Redriven(redriven) => Some((redriven.letters, redriven.unwanted)),
        _ => None,
    });
    assert_eq!(redriven, Some((2, 1)));
    assert_eq!(letters.stand().letters, 1, "the one that would be dropped");
    gateway.close();
}
