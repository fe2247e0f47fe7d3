//! Lanes are exchanged while commands come.

use super::*;

#[test]
fn a_command_that_comes_during_an_exchange_waits_for_it_and_sees_the_lanes_that_are_there_then() {
    let dir = tempfile::tempdir().expect("temp dir");
    let gateway = Gateway::open(dir.path(), "gw", 1).with(1..=3);
    gateway.hand.pause();
    assert!(gateway.hand.is_idle());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            gateway
                .hand
                .serve(&Verb::List { lane: None }, &mut io::empty(), &mut |_| Ok(()))
        });
        let lane = gateway.lane();
        let again = lane.rerouted(Arc::clone(&lane.router));
        assert!(lane.door.lock().expect("whole").is_none(), "there is one way in");
        assert!(!waiting.is_finished());
        gateway.hand.exchange(vec![again], Vec::new(), &[]);
        assert_eq!(waiting.join().expect("no panic").expect("served"), Exit::Stopped);
    });
    assert_eq!(gateway.ids().len(), 3);
}

#[test]
fn a_command_at_work_ends_with_a_clear_word_and_the_same_again_goes_on() {
    let dir = tempfile::tempdir().expect("temp dir");
    let gateway = Gateway::open(dir.path(), "gw", 1).with(1..=3);
    let verb = Verb::Export {
        filter: Filter::default(),
        limit: None,
    };
    let mut heard = 0;
    let ended = gateway.hand.serve(&verb, &mut io::empty(), &mut |_| {
        heard += 1;
        gateway.hand.pause();
        assert!(!gateway.hand.is_idle(), "it is at work");
        Ok(())
    });
    let error = ended.expect_err("makes way");
    assert!(matches!(error, HandError::Reloading), "{error}");
    assert!(error.to_string().contains("do the same again"), "{error}");
    assert_eq!(heard, 1, "nothing more was read");
    gateway.hand.resume();
    assert_eq!(
        gateway.export(Filter::default()).lines().count(),
        1 + 3 + 1,
        "header, messages, end"
    );
}

#[test]
fn a_stop_ends_the_wait_for_an_exchange() {
    let dir = tempfile::tempdir().expect("temp dir");
    let gateway = Gateway::open(dir.path(), "gw", 1);
    gateway.hand.pause();
    gateway.hand.close();
    let (_, ended) = gateway.ask_with(&Verb::List { lane: None }, b"");
    assert!(matches!(ended, Err(HandError::Stopping)), "{ended:?}");
}

#[test]
fn what_begins_at_the_moment_of_an_exchange_holds_nothing_and_waits() {
    let dir = tempfile::tempdir().expect("temp dir");
    let gateway = Gateway::open(dir.path(), "gw", 1);
    gateway.hand.pause();
    // It saw no exchange a moment ago.
    for verb in [Verb::Account, Verb::List { lane: None }] {
        let turn = gateway.hand.turn(&verb).expect("nobody is at work");
        assert!(turn.is_none(), "{verb:?}");
        assert!(gateway.hand.is_idle(), "{verb:?}");
    }
    gateway.hand.resume();
    assert!(gateway.hand.turn(&Verb::Account).expect("free").is_some());
}

#[test]
fn an_exchange_waits_for_whoever_lists_the_lanes() {
    let dir = tempfile::tempdir().expect("temp dir");
    let gateway = Gateway::open(dir.path(), "gw", 1).with(1..=3);
    let verb = Verb::List { lane: None };
    let listed = gateway.hand.serve(&verb, &mut io::empty(), &mut |_| {
        gateway.hand.pause();
        assert!(!gateway.hand.is_idle(), "it holds the lanes");
        Ok(())
    });
    listed.expect("lists");
    assert!(gateway.hand.is_idle());
}

/// Gives a file line by line, and has lanes exchanged from one of them on.
struct PausesAt<'a> {
    hand: &'a Hand,
    lines: Vec<&'a [u8]>,
    left: usize,
}

impl io::Read for PausesAt<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let from = io::BufRead::fill_buf(self)?;
        let length = from.len().min(into.len());
        into[..length].copy_from_slice(&from[..length]);
        io::BufRead::consume(self, length);
        Ok(length)
    }
}

impl io::BufRead for PausesAt<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.lines.first().is_some_and(|line| line.is_empty()) {
            self.lines.remove(0);
            self.left = self.left.saturating_sub(1);
            if self.left == 0 {
                self.hand.pause();
            }
        }
        Ok(self.lines.first().copied().unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        if let Some(line) = self.lines.first_mut() {
            *line = &line[amount..];
        }
    }
}

#[test]
fn an_import_at_work_makes_way_and_the_same_again_brings_the_rest_and_nothing_twice() {
    let (here, there) = (
        tempfile::tempdir().expect("temp dir"),
        tempfile::tempdir().expect("temp dir"),
    );
    let first = Gateway::open(here.path(), "gw-a", 0xa).with(1..=2_500);
    let (file, ids) = (first.export(Filter::default()), first.ids());
    first.close();
    let second = Gateway::open(there.path(), "gw-b", 0xb);
    let mut input = PausesAt {
        hand: &second.hand,
        lines: file.as_bytes().split_inclusive(|byte| *byte == b'\n').collect(),
        left: 2_000,
    };
    let verb = Verb::Import {
        into: None,
        again: false,
    };
    let ended = second.hand.serve(&verb, &mut input, &mut |_| Ok(()));
    assert!(matches!(ended, Err(HandError::Reloading)), "{ended:?}");
    assert!(second.hand.is_idle(), "it holds no lane");
    second.hand.resume();
    let taken = second.ids().len();
    assert!(taken < 2_500, "{taken}");
    let (again, outcome, _) = second.import(&file);
    assert_eq!(outcome.expect("imported"), Exit::Stopped);
    assert_eq!((again.known, again.taken), (taken as u64, 2_500 - taken as u64));
    assert_eq!(second.ids(), ids, "each once, in order");
    second.close();
}
