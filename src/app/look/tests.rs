use super::*;

fn at(boot: u64, boot_ms: u64, unix_ms: i64, synchronised: bool) -> Stamp {
    Stamp {
        unix_ms,
        boot_ms,
        boot,
        synchronised,
    }
}

#[test]
fn an_age_is_told_by_the_clock_that_nobody_sets_where_that_is_possible() {
    let now = at(1, 10_000, 1_000_000, true);
    let age = |then: Stamp| age_s(&then, &now).expect("known");
    assert!((age(at(1, 8_500, 2_000_000, false)) - 1.5).abs() < 1e-9);
    assert!((age(at(2, 99_999, 940_000, true)) - 60.0).abs() < 1e-9);
    assert!(
        age(at(2, 0, 2_000_000, true)).abs() < 1e-9,
        "from a clock that was ahead"
    );
}

#[test]
fn an_age_over_a_boot_is_not_known_unless_both_clocks_were_right() {
    // A board without a clock battery: 1970 then, or now.
    for (then, now) in [(false, true), (true, false), (false, false)] {
        let (then, now) = (at(2, 0, 0, then), at(1, 5_000, 1_795_000_000_000, now));
        assert_eq!(age_s(&then, &now), None);
    }
}

#[test]
fn a_lane_that_is_exchanged_stays_in_its_place_as_it_was_seen_last() {
    let last = state::sample::state().lanes;
    let names =
        |lanes: &[state::Lane]| -> Vec<String> { lanes.iter().map(|lane| lane.name.clone()).collect() };
    let exchanged = BTreeSet::from(["default".to_owned()]);
    let mut lanes = vec![last[1].clone()];
    put_back(&mut lanes, &last, &exchanged);
    assert_eq!(names(&lanes), names(&last));
    assert!(lanes[0].is_reloading && !lanes[1].is_reloading);
    assert_eq!(lanes[0].ledger, last[0].ledger);
    // One that came back is as it is; one that is gone for good stays so.
    let mut lanes = last.clone();
    put_back(&mut lanes, &last, &exchanged);
    assert_eq!(lanes, last);
    let mut lanes = Vec::new();
    put_back(&mut lanes, &last, &BTreeSet::new());
    assert_eq!(names(&lanes), Vec::<String>::new());
}
