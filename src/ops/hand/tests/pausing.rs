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
