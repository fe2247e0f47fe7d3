//! Each rule and its neighbour; then a broker that is honest in every way it may be, against the whole
//! window.

mod broker;

use std::sync::Arc;

use super::*;
use crate::message::{Delivery, SessionTag};

/// Small, so that cycles can be shown without thousands of messages.
const UNSEEN: usize = 8;

fn fresh(packet_id: u16) -> Seen {
    Seen {
        packet_id,
        fingerprint: 7,
        qos: 1,
        dup: false,
    }
}

fn again(packet_id: u16) -> Seen {
    Seen {
        dup: true,
        ..fresh(packet_id)
    }
}

/// A window that saw these packet ids, at positions 1, 2, 3 …
fn window(packet_ids: impl IntoIterator<Item = u16>) -> Window {
    let mut window = Window::new(UNSEEN);
    for (position, packet_id) in (1..).zip(packet_ids) {
        assert_eq!(window.judge(fresh(packet_id)), Verdict::Store);
        window.stored(fresh(packet_id), position);
    }
    window
}

#[test]
fn what_was_never_acknowledged_is_recognised_in_order() {
    let mut window = window([1, 2, 3]);
    window.resume(0);
    for position in 1..=3_u16 {
        assert_eq!(
            window.judge(again(position)),
            Verdict::Recognised(position.into())
        );
    }
}

#[test]
fn what_may_have_been_acknowledged_is_stored() {
    let mut window = window([1, 2]);
    window.resume(1);
    assert_eq!(window.judge(again(1)), Verdict::Store);
    assert_eq!(window.judge(again(2)), Verdict::Recognised(2));
}

#[test]
fn an_acknowledgement_on_this_connection_does_not_spread_doubt() {
    let mut window = window([1, 2]);
    window.resume(1);
    assert_eq!(window.judge(again(1)), Verdict::Store);
    window.stored(again(1), 3); // and acknowledged at once, so that 3 positions are handed over
    assert_eq!(window.judge(again(2)), Verdict::Recognised(2));
}

#[test]
fn the_same_id_with_other_content_is_stored() {
    let mut window = window([1]);
    window.resume(0);
    assert_eq!(
        window.judge(Seen {
            fingerprint: 8,
            ..again(1)
        }),
        Verdict::Store
    );
}

#[test]
fn the_same_content_with_another_id_is_stored() {
    let mut window = window([1]);
    window.resume(0);
    assert_eq!(window.judge(again(2)), Verdict::Store);
}

#[test]
fn an_equal_message_under_a_reused_id_is_stored() {
    // Position 1 was acknowledged, and the broker used id 1 for an equal message, which the link swallowed.
    let mut window = window([1]);
    window.resume(1);
    assert_eq!(window.judge(again(1)), Verdict::Store);
}

#[test]
fn only_the_newest_use_of_an_id_counts() {
    let mut window = window([1, 2]);
    window.stored(
        Seen {
            fingerprint: 9,
            ..again(1)
        },
        3,
    );
    window.resume(0);
    assert_eq!(window.judge(again(1)), Verdict::Store, "position 1 is not meant");
    assert_eq!(
        window.judge(Seen {
            fingerprint: 9,
            ..again(1)
        }),
        Verdict::Recognised(3)
    );
}

#[test]
fn out_of_order_is_stored() {
    let mut window = window([1, 2]);
    window.resume(0);
    assert_eq!(window.judge(again(2)), Verdict::Recognised(2));
    assert_eq!(window.judge(again(1)), Verdict::Store);
}

#[test]
fn twice_on_one_connection_is_stored() {
    let mut window = window([1]);
    window.resume(0);
    assert_eq!(window.judge(again(1)), Verdict::Recognised(1));
    assert_eq!(window.judge(again(1)), Verdict::Store);
    window.stored(again(1), 2);
    assert_eq!(
        window.judge(again(1)),
        Verdict::Store,
        "stored on this connection"
    );
}

#[test]
fn after_a_fresh_message_nothing_is_recognised() {
    let mut window = window([1, 2]);
    window.resume(0);
    window.judge(fresh(3));
    assert_eq!(window.judge(again(2)), Verdict::Store);
}

#[test]
fn qos_0_in_between_changes_nothing() {
    let mut window = window([1]);
    window.resume(0);
    assert_eq!(window.judge(Seen { qos: 0, ..fresh(0) }), Verdict::Store);
    assert_eq!(window.judge(again(1)), Verdict::Recognised(1));
}

#[test]
fn qos_2_is_stored() {
    let mut window = window([1]);
    window.resume(0);
    assert_eq!(window.judge(Seen { qos: 2, ..again(1) }), Verdict::Store);
}

#[test]
fn without_a_resumed_session_nothing_is_recognised() {
    let mut window = window([1]);
    assert_eq!(window.judge(again(1)), Verdict::Store);
    window.resume(0);
    window.clear();
    assert_eq!(window.judge(again(1)), Verdict::Store);
}

#[test]
fn a_fresh_use_of_an_id_ends_all_before_it() {
    let mut window = window([1, 2, 3]);
    window.judge(fresh(2));
    window.resume(0);
    assert_eq!(window.entries.len(), 1);
    assert_eq!(window.judge(again(1)), Verdict::Store);
    assert_eq!(window.judge(again(3)), Verdict::Recognised(3));
}

#[test]
fn wide_cycles_make_the_newest_certain_and_no_more() {
    // 20 ids without a repetition: L = 20, U = 8, so the messages with d < 12 are certain.
    let mut window = window(1..=20);
    window.resume(20);
    assert_eq!(window.judge(again(8)), Verdict::Store, "12 messages behind it");
    assert_eq!(
        window.judge(again(9)),
        Verdict::Recognised(9),
        "11 messages behind it"
    );
    assert_eq!(window.judge(again(20)), Verdict::Recognised(20));
}

#[test]
fn narrow_cycles_make_nothing_certain() {
    let mut window = window((0..100).map(|number| number % 8 + 1));
    window.resume(100);
    assert_eq!(window.judge(again(4)), Verdict::Store);
}

#[test]
fn the_window_is_bounded() {
    let ids = (0..2 * CAPACITY).map(|number| u16::try_from(number % 65_535 + 1).expect("in range"));
    let window = window(ids);
    assert_eq!((window.entries.len(), window.newest.len()), (CAPACITY, CAPACITY));
}

fn recalled(packet_id: u16, position: u64, session: u64, qos: u8) -> Recalled {
    let session = SessionTag(session);
    let delivery = Delivery {
        session,
        position,
        packet_id,
        qos,
        dup: false,
        retained: false,
        fingerprint: 7,
    };
    Recalled {
        broker: Arc::from("b"),
        delivery,
    }
}

#[test]
fn the_store_is_recalled_as_far_as_it_belongs_to_the_session() {
    let mut window = Window::new(UNSEEN);
    let all = [
        recalled(1, 1, 5, 1),
        recalled(2, 2, 6, 1),
        recalled(0, 3, 6, 0),
        recalled(3, 4, 6, 1),
    ];
    window.recall(&all, SessionTag(6));
    window.resume(0);
    assert_eq!(window.judge(again(1)), Verdict::Store, "of another session");
    assert_eq!(window.judge(again(2)), Verdict::Recognised(2));
    assert_eq!(window.judge(again(3)), Verdict::Recognised(4));
}
