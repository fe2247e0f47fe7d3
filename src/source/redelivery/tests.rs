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
fn ids_in_turn_for_ever_take_no_more_than_their_places() {
    let mut window = window((1..=u16::MAX).cycle().take(300_000));
    assert_eq!(window.entries.len(), CAPACITY);
    assert!(window.entries.capacity() <= 32_768);
    assert_eq!(window.newest.0.len(), 65_536);
    assert_eq!(size_of_val(window.newest.0.as_slice()), 512 * 1024);
    let known = window.newest.0.iter().flatten().count();
    assert_eq!(known, CAPACITY);
    window.clear();
    assert_eq!(window.newest.0.iter().flatten().count(), 0);
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
fn a_run_makes_certain_what_has_more_ids_below_it_than_can_be_unseen() {
    let mut window = window(1..=20);
    window.resume(20);
    assert_eq!(window.judge(again(8)), Verdict::Store, "7 ids below it");
    window.stored(again(8), 21);
    assert_eq!(
        window.judge(again(9)),
        Verdict::Store,
        "8 below it, but 8 may have been new"
    );
    assert_eq!(window.judge(again(10)), Verdict::Recognised(10));
    assert_eq!(window.judge(again(20)), Verdict::Recognised(20));
}

#[test]
fn how_ids_were_given_in_an_earlier_run_proves_nothing() {
    // The counter began anew, as it does after a restart of some brokers.
    let mut window = window((1..=60).chain(1..=20));
    window.resume(80);
    assert_eq!(window.judge(again(8)), Verdict::Store);
    assert_eq!(window.judge(again(9)), Verdict::Recognised(69));
}

#[test]
fn what_was_not_repeated_before_a_fresh_message_is_done_with() {
    let mut window = window(1..=20);
    window.resume(20);
    assert_eq!(window.judge(again(19)), Verdict::Recognised(19));
    window.judge(fresh(21));
    window.stored(fresh(21), 21);
    // The broker dropped a whole cycle, and gave 18, 19 and 20 again. Only 19 came on the connection before.
    window.resume(21);
    assert_eq!(window.judge(again(18)), Verdict::Store);
    assert_eq!(window.judge(again(20)), Verdict::Store);
    assert_eq!(window.entries.len(), 2, "19 and 21");
}

#[test]
fn behind_a_repetition_that_was_never_seen_a_run_proves_nothing() {
    let mut window = window(1..=20);
    window.resume(15);
    assert_eq!(window.judge(again(21)), Verdict::Store);
    window.stored(again(21), 21);
    assert_eq!(
        window.judge(again(15)),
        Verdict::Store,
        "the broker was at 21 already"
    );
    assert_eq!(
        window.judge(again(16)),
        Verdict::Recognised(16),
        "its acknowledgement was never handed over"
    );
}

#[test]
fn the_gap_at_the_end_of_what_is_recalled_counts_as_ids_that_were_given() {
    let recalled: Vec<_> = (1..=20).map(|id| recalled(id, id.into(), 6, 1)).collect();
    for (last, verdict) in [
        (20, Verdict::Recognised(12)),
        (23, Verdict::Recognised(12)),
        (24, Verdict::Store),
    ] {
        let mut window = Window::new(UNSEEN);
        window.recall(&recalled, SessionTag(6));
        window.begin_behind(last);
        window.resume(last);
        assert_eq!(window.judge(again(12)), verdict, "{last} positions were given");
    }
}

/// A window with the assumption of the daemon, behind `life` messages of a broker that uses all ids in turn; and the next id.
fn after(life: u32) -> (Window, u64, u32) {
    let (mut window, mut position) = (Window::new(LEAST_UNSEEN), 0);
    let next = come(&mut window, &mut position, 0, life);
    (window, position, next)
}

/// The `number`th id that such a broker gives, from 0.
fn id(number: u32) -> u16 {
    u16::try_from(number % 65_535 + 1).expect("in range")
}

/// So many fresh messages; gives the number of the next id.
fn come(window: &mut Window, position: &mut u64, from: u32, count: u32) -> u32 {
    for number in from..from + count {
        window.judge(fresh(id(number)));
        *position += 1;
        window.stored(fresh(id(number)), *position);
    }
    from + count
}

/// How many of 20 equal messages that were sent into a dead link are taken for others.
fn lost(window: &mut Window, mut position: u64, from: u32) -> usize {
    window.resume(position);
    let mut lost = 0;
    for number in from..from + 20 {
        if window.judge(again(id(number))) == Verdict::Store {
            position += 1;
            window.stored(again(id(number)), position);
        } else {
            lost += 1;
        }
    }
    lost
}

#[test]
fn messages_that_the_broker_dropped_while_we_were_away_do_not_make_new_ones_known() {
    // Seen is the first message behind the gap, and no more.
    for dropped in (0..131_000).step_by(4_999) {
        let (mut window, mut position, next) = after(40_000);
        window.resume(position);
        let next = come(&mut window, &mut position, next, 1_000) + dropped;
        let next = come(&mut window, &mut position, next, 1);
        assert_eq!(lost(&mut window, position, next), 0, "{dropped} dropped");
    }
}

#[test]
fn messages_that_a_full_broker_drops_all_the_time_do_not_make_new_ones_known() {
    let (mut window, mut position, mut next) = after(70_000);
    for round in 0..60_000 {
        // It keeps two of five.
        next = come(&mut window, &mut position, next + [1, 2][round % 2], 1);
        if round % 2_000 == 0 {
            assert_eq!(lost(&mut window, position, next), 0, "round {round}");
            position += 20;
            next += 20;
        }
    }
}

#[test]
fn a_counter_that_begins_anew_does_not_make_new_messages_known() {
    for life in [5_000, 20_000, 28_000, 50_000, 80_000] {
        for seen in [0, 100] {
            let (mut window, mut position, _) = after(life);
            window.resume(position);
            let next = come(&mut window, &mut position, 0, seen);
            assert_eq!(lost(&mut window, position, next), 0, "{seen} seen after {life}");
        }
    }
}

#[test]
fn a_counter_that_begins_anew_twice_does_not_make_new_messages_known() {
    for seen in [0, 100] {
        let (mut window, mut position, _) = after(20_000);
        window.resume(position);
        come(&mut window, &mut position, 0, 3_000);
        window.resume(position);
        let next = come(&mut window, &mut position, 0, seen);
        assert_eq!(lost(&mut window, position, next), 0, "{seen} seen");
    }
}

#[test]
fn a_message_far_enough_in_a_run_is_known_again() {
    // So that the tests above do not pass because nothing is ever recognised.
    let (mut window, position, next) = after(20_000);
    assert_eq!(lost(&mut window, position, next - 20), 20);
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
    assert_eq!(
        (window.entries.len(), window.newest.0.iter().flatten().count()),
        (CAPACITY, CAPACITY)
    );
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
        topic: 0,
        unix_ms: 0,
        series: Vec::new(),
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

#[test]
fn connections_lost_again_and_again_store_no_more_than_the_first() {
    let mut window = window(1..=20);
    let mut position = 20;
    for _ in 0..3 {
        window.resume(position);
        for packet_id in 1..=20 {
            if window.judge(again(packet_id)) == Verdict::Store {
                position += 1;
                window.stored(again(packet_id), position);
            }
        }
    }
    // What is stored again takes no place in the run, and does not end it.
    for packet_id in 21..=60 {
        window.judge(fresh(packet_id));
        position += 1;
        window.stored(fresh(packet_id), position);
    }
    window.resume(position);
    let newest = (41..=60).filter(|packet_id| window.judge(again(*packet_id)) == Verdict::Store);
    assert_eq!(newest.count(), 0, "the run goes on over them");
}

#[test]
fn a_repetition_of_a_message_that_was_stored_twice_is_durable_with_the_second() {
    let mut window = window(1..=40);
    window.resume(40);
    assert_eq!(window.judge(again(2)), Verdict::Store);
    window.stored(again(2), 41);
    window.resume(40);
    assert_eq!(
        window.judge(again(2)),
        Verdict::Recognised(41),
        "its second acknowledgement was not handed over"
    );
}

#[test]
fn what_was_passed_over_counts_as_an_id_that_was_given() {
    let mut window = window(1..=20);
    for packet_id in 21..=24 {
        window.judge(fresh(packet_id));
        window.passed_over(fresh(packet_id), packet_id.into());
    }
    window.resume(24);
    assert_eq!(window.judge(again(8)), Verdict::Store);
    assert_eq!(window.judge(again(9)), Verdict::Recognised(9));
    assert_eq!(window.judge(again(22)), Verdict::Store, "it has no entry");
}

#[test]
fn what_was_passed_over_under_a_lower_id_ends_the_run() {
    let mut window = window(1..=20);
    window.judge(fresh(5));
    window.passed_over(fresh(5), 21);
    window.resume(21);
    assert_eq!(window.judge(again(20)), Verdict::Store);
}

#[test]
fn positions_of_which_nothing_is_known_count_as_ids_that_were_given() {
    let mut window = window(1..=20);
    window.judge(fresh(21));
    window.stored(fresh(21), 25);
    window.resume(25);
    assert_eq!(
        window.judge(again(12)),
        Verdict::Store,
        "11 below it, 4 unknown behind it"
    );
    assert_eq!(window.judge(again(13)), Verdict::Recognised(13), "12 below it");
}

#[test]
fn after_a_power_cut_only_what_comes_later_can_be_certain() {
    let mut window = window(1..=20);
    window.doubt(20);
    window.judge(fresh(21));
    window.stored(fresh(21), 21);
    window.resume(21);
    assert_eq!(window.judge(again(20)), Verdict::Store);
    assert_eq!(window.judge(again(21)), Verdict::Recognised(21));
}
