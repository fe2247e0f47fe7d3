//! `[[lane]]`: what belongs to whom.

use super::{KAFKA, REST, ROUTE, accepted, check, refused};

#[test]
fn lanes_are_checked() {
    let alarms = "[[lane]]\nname = \"alarms\"\n";
    let in_alarms = "[[route]]\nfrom = \"a/{device}\"\ntopic = \"a\"\nlane = \"alarms\"\n";
    assert_eq!(
        check("", "", "[[lane]]\nmax_bytes = \"32MiB\"\n"),
        "lane[0].name: is missing; write for example name = \"alarms\""
    );
    for bad in ["", "Alarms", "a-b", "a b", "../a", &"a".repeat(33)] {
        let problem = check("", "", &format!("[[lane]]\nname = {bad:?}\n"));
        let right = "is not a name; use a to z, 0 to 9 and _, 32 characters at most";
        assert_eq!(problem, format!("lane[0].name: {bad:?} {right}"));
    }
    let longest = "a".repeat(32);
    accepted(&format!(
        "{REST}{KAFKA}{ROUTE}lane = \"{longest}\"\n[[lane]]\nname = \"{longest}\"\n"
    ));
    assert_eq!(
        check("", "", &format!("{alarms}{alarms}{in_alarms}")),
        "lane[1].name: \"alarms\" is there already; give each lane a name of its own"
    );
    assert_eq!(
        check("", "", in_alarms),
        "route[1].lane: there is no lane \"alarms\"; write a table [[lane]] with this name, or one of: default"
    );
    assert_eq!(
        check("", "", &format!("{alarms}max_byts = 1\n{in_alarms}")),
        "lane[0].max_byts: is not a known setting; did you mean max_bytes?"
    );
    for (line, problem) in [
        ("weight = 0", "weight: 0 is out of bounds; write 1 to 100"),
        ("weight = 101", "weight: 101 is out of bounds; write 1 to 100"),
        (
            "max_rate = \"0 msg/s\"",
            "max_rate: 0 msg/s is too little; write 1 msg/s or more",
        ),
    ] {
        assert_eq!(
            check("", "", &format!("{alarms}{line}\n{in_alarms}")),
            format!("lane[0].{problem}")
        );
    }
    assert!(check("", "", &format!("{alarms}max_bytes = 1\n{in_alarms}")).starts_with("lane[0].max_bytes: "));
}

#[test]
fn there_are_eight_lanes_at_most() {
    let lanes = |count: usize| {
        let tables = (0..count).map(|number| {
            format!(
                "[[lane]]\nname = \"l{number}\"\n[[route]]\nfrom = \"l{number}/{{device}}\"\ntopic = \"t\"\n\
                 lane = \"l{number}\"\n"
            )
        });
        format!("{REST}{KAFKA}{ROUTE}{}", tables.collect::<String>())
    };
    accepted(&lanes(8));
    assert!(refused(&lanes(9)).ends_with(": lane[8]: is one lane too many; 8 are the limit\n"));
}

#[test]
fn a_lane_has_the_settings_of_the_queue_unless_it_says_otherwise() {
    let lane = "[queue]\nmax_bytes = \"64MiB\"\nmax_age = \"1h\"\n[[lane]]\nname = \"alarms\"\nmax_bytes = \"32MiB\"\n";
    let (config, _) = accepted(&format!("{REST}{KAFKA}{lane}{ROUTE}lane = \"alarms\"\n"));
    let settings = config.lanes.iter().map(|lane| {
        let age = lane.queue.max_age.unwrap().as_secs();
        (lane.name.as_str(), lane.queue.max_bytes >> 20, age)
    });
    assert_eq!(
        settings.collect::<Vec<_>>(),
        [("default", 64, 3600), ("alarms", 32, 3600)]
    );
}

#[test]
fn a_lane_that_no_route_uses_is_a_warning() {
    let (_, warnings) = accepted(&format!("{REST}{KAFKA}{ROUTE}[[lane]]\nname = \"alarms\"\n"));
    assert_eq!(
        warnings,
        "config.toml:11: lane[0].name: no route uses this lane; write lane = in a [[route]], or remove the table"
    );
}

#[test]
fn routes_in_different_lanes_have_subscriptions_of_their_own() {
    let alarms = "[[lane]]\nname = \"alarms\"\n";
    let same =
        "[[route]]\nfrom = \"devices/{device}/telemetry\"\ntopic = \"b\"\nqos = 0\nlane = \"alarms\"\n";
    let (_, warnings) = accepted(&format!("{REST}{KAFKA}{ROUTE}{alarms}{same}"));
    assert!(
        warnings.contains("drops messages while edgeferry is away"),
        "{warnings}"
    );
    let twice = same.replace("\"b\"\nqos = 0", "\"telemetry\"");
    assert!(check("", "", &format!("{alarms}{twice}")).starts_with("route[1].from: is the same as route[0]"));
    let partial = "[[route]]\nfrom = \"{kind}/d1/{device}\"\ntopic = \"b\"\nlane = \"alarms\"\n";
    let (_, warnings) = accepted(&format!(
        "{REST}version = \"3.1.1\"\n{KAFKA}{ROUTE}{alarms}{partial}"
    ));
    assert_eq!(warnings, "", "each lane's session gets one copy");
}

#[test]
fn lanes_that_would_share_with_each_other_are_refused() {
    let other = "[[route]]\nfrom = \"devices/{device}/telemetry\"\ntopic = \"b\"\nlane = \"alarms\"\n[[lane]]\nname = \"alarms\"\n";
    let said = refused(&format!("{REST}shared_group = \"plant\"\n{KAFKA}{ROUTE}{other}"));
    assert!(
        said.contains("route[1].from: is also what route[0] takes, in another lane"),
        "{said}"
    );
    accepted(&format!("{REST}{KAFKA}{ROUTE}{other}"));
}
