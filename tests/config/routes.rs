//! `[[route]]`: keys, formats, conditions, headers, partitions; and routes beside each other.

use super::{KAFKA, REST, ROUTE, accepted, check, refused};

#[test]
fn a_format_that_is_not_known_is_refused_with_those_that_are() {
    assert_eq!(
        check("", "", "format = \"xml\"\n"),
        "route[0].format: \"xml\" is not known; write \"raw\" or \"cloudevents\" or \"wasp\" or \"ngsiv2\""
    );
}

#[test]
fn keys_must_spread_messages() {
    assert_eq!(
        check("", "", "key = \"all\"\n"),
        "route[0].key: \"all\" is the same for every message, all would go to one partition; \
         use a name of `from`, for example \"{device}\""
    );
    assert!(check("", "", "key = \"{site}\"\n").starts_with("route[0].key: {site} is not a name in"));
}

#[test]
fn routes_that_contradict_are_refused() {
    let second = |lines: &str| {
        let route = "[[route]]\nfrom = \"devices/{id}/telemetry\"\ntopic = \"telemetry\"\n";
        check("", "", &format!("{route}{lines}"))
    };
    assert_eq!(
        second("key = \"{id}\"\n"),
        "route[1].from: is the same as route[0], every message would be sent twice; remove one of them"
    );
    assert_eq!(
        second("key = \"k-{id}\"\n"),
        "route[1].key: differs from route[0] for the same messages and the same topic; use one key, or two topics"
    );
    let other_topic = "[[route]]\nfrom = \"devices/+/telemetry/{device}\"\ntopic = \"b\"\n";
    accepted(&format!("{REST}{KAFKA}{ROUTE}{other_topic}"));
    let other_qos = "[[route]]\nfrom = \"devices/{device}/telemetry\"\ntopic = \"b\"\nqos = 0\n";
    assert_eq!(
        check("", "", other_qos),
        "route[1].qos: is 0, but 1 in route[0] for the same messages; one subscription has one QoS"
    );
}

#[test]
fn a_device_id_may_come_from_what_a_message_carries() {
    let text = |device: &str| {
        let route =
            format!("[[route]]\nfrom = \"plants/{{plant}}/up\"\ntopic = \"t\"\ndevice = '{device}'\n");
        format!("{REST}{KAFKA}{route}")
    };
    for device in [
        "{json:/id}",
        "{property:serial}",
        "{plant}-{json:/a~1b/0}",
        "{mqtt:topic}",
    ] {
        let (config, warnings) = accepted(&text(device));
        assert_eq!(
            config.routes[0]
                .device
                .as_ref()
                .map(ToString::to_string)
                .as_deref(),
            Some(device)
        );
        assert_eq!(
            (config.routes[0].key.to_string().as_str(), warnings.as_str()),
            ("{device}", "")
        );
    }
    let wrong = |device: &str| {
        let problems = refused(&text(device));
        problems
            .trim_end()
            .split_once("route[0].")
            .map(|(_, problem)| problem.to_owned())
            .unwrap_or(problems)
    };
    assert_eq!(
        wrong("{gateway:id}"),
        "device: \"{gateway:id}\" is the same for all devices of a gateway; use what tells them apart, for example \
         \"{json:/id}\" or \"{property:serial}\""
    );
    assert_eq!(
        wrong("{device}"),
        "device: {device} is not a name in \"plants/{plant}/up\"; `from` has {plant}"
    );
    assert!(wrong("{json:id}").starts_with(
        "device: \"{json:id}\" has the name \"json:id\": a JSON pointer begins with '/', such as /sensor/id; write"
    ));
}

#[test]
fn a_key_that_tells_no_devices_apart_is_a_warning() {
    let (_, warnings) = accepted(&format!("{REST}{KAFKA}{ROUTE}key = \"{{gateway:id}}\"\n"));
    assert_eq!(
        warnings,
        "config.toml:10: route[0].key: \"{gateway:id}\" is the same for all devices of a gateway, they share one \
         partition; use a name of `from`, for example \"{device}\""
    );
}

#[test]
fn unique_times_are_off_for_raw_unless_they_are_asked_for() {
    let unique = |line: &str| {
        let (config, _) = accepted(&format!("{REST}{KAFKA}{ROUTE}{line}"));
        config.routes[0].unique_times
    };
    assert!(!unique("") && unique("unique_times = true\n") && !unique("unique_times = false\n"));
}

#[test]
fn every_mistake_in_when_says_what_would_be_right() {
    let when = |entry: &str| check("", "", &format!("when = [{{ {entry} }}]\n"));
    let tests =
        "write one of equals = .., one_of = [..], exists = .., between = [.., ..] and matches = \"..\"";
    assert_eq!(
        when("value = \"device\""),
        format!("route[0].when[0]: has no test; {tests}")
    );
    assert_eq!(
        when("value = \"device\", equals = 1, exists = true"),
        "route[0].when[0]: has 2 tests, one of them may be forgotten by a reader; write an entry of its own for each: all of \
         them must hold"
    );
    assert!(when("equals = 1").starts_with("route[0].when[0].value: is missing; write what is looked at"));
    assert!(when("value = \"json:type\", equals = 1").starts_with(
        "route[0].when[0].value: \"json:type\" has the name \"json:type\": a JSON pointer begins with '/', such as /sensor/id; write"
    ));
    assert_eq!(
        when("value = \"site\", equals = 1"),
        "route[0].when[0].value: {site} is not a name in \"devices/{device}/telemetry\"; `from` has {device}"
    );
    assert_eq!(
        when("value = \"device\", one_of = []"),
        "route[0].when[0].one_of: is empty, no message would pass; write at least one value"
    );
    assert_eq!(
        when("value = \"device\", equals = nan"),
        "route[0].when[0].equals: NaN is no number that a message could have; write a decimal number"
    );
    let range = "write the lowest and the highest number that pass, for example between = [-40, 85.5]";
    for bounds in ["[1]", "[1, 2, 3]", "[\"1\", 2]", "[1, inf]"] {
        assert_eq!(
            when(&format!("value = \"device\", between = {bounds}")),
            format!("route[0].when[0].between: is not two numbers; {range}")
        );
    }
    assert_eq!(
        when("value = \"device\", between = [2, 1.5]"),
        format!("route[0].when[0].between: has its higher number first, no message would pass; {range}")
    );
    assert!(
        when("value = \"device\", matches = \"[\"")
            .starts_with("route[0].when[0].matches: \"[\" is no regular expression: ")
    );
    assert!(when("value = \"device\", equal = 1").contains("did you mean equals?"));
    assert!(
        when("value = \"device\", equals = 2026-11-21").contains("expected text, a number, true or false")
    );
    assert!(check("", "", "when = { value = \"device\" }\n").contains("route[0].when: "));
}

#[test]
fn every_mistake_in_match_says_what_would_be_right() {
    let matched = |line: &str| check("", "", &format!("[route.match]\n{line}\n"));
    assert!(matched("device = \"(\"").starts_with("route[0].match.device: \"(\" is no regular expression: "));
    assert_eq!(
        matched("site = \"a\""),
        "route[0].match.site: {site} is not a name in \"devices/{device}/telemetry\"; `from` has {device}"
    );
    assert!(
        matched(&format!("device = \"{}\"", "a".repeat(1001)))
            .contains("is 1001 bytes long, an expression has 1000 at most")
    );
}

#[test]
fn every_mistake_in_headers_and_partitions_says_what_would_be_right() {
    let route = |lines: &str| check("", "", lines);
    assert_eq!(
        route("headers = \"none\"\n"),
        "route[0].headers: \"none\" is not known; write \"full\" or \"minimal\""
    );
    assert_eq!(
        route("retained = \"drop\"\n"),
        "route[0].retained: \"drop\" is not known; write \"forward\" or \"mark\" or \"skip\""
    );
    for name in ["edgeferry-id", "MQTT-topic"] {
        assert_eq!(
            route(&format!("[route.add_headers]\n{name} = \"x\"\n")),
            format!(
                "route[0].add_headers.{name}: is a name that edgeferry gives itself; write a name that begins with neither \
                 \"edgeferry-\" nor \"mqtt-\""
            )
        );
    }
    assert_eq!(
        route("[route.add_headers]\n\"a b\" = \"x\"\n"),
        "route[0].add_headers.a b: is no name of a header; write 1 to 249 printable ASCII characters without spaces"
    );
    assert!(
        route("[route.add_headers]\na = \"{site}\"\n")
            .starts_with("route[0].add_headers.a: {site} is not a name in")
    );
    assert!(
        route("partition_by = \"all\"\n")
            .starts_with("route[0].partition_by: \"all\" is the same for every message")
    );
    assert!(route("max_payload = \"much\"\n").contains("is not a size"));
}

#[test]
fn a_partition_that_the_key_does_not_decide_is_a_warning() {
    let warned = |lines: &str| accepted(&format!("{REST}{KAFKA}{ROUTE}{lines}")).1;
    assert_eq!(
        warned("partition_by = \"{json:/site}\"\n"),
        "config.toml:10: route[0].partition_by: {json:/site} is not in the key \"{device}\": records of one key may go to several \
         partitions, where they have no order; use only what the key has, or the same for all messages of a device"
    );
    for fine in [
        "key = \"{json:/site}/{device}\"\npartition_by = \"{json:/site}\"\n",
        "device = \"{json:/site}\"\nkey = \"{device}\"\npartition_by = \"{json:/site}\"\n",
        "key = \"{json:/site}{device}\"\npartition_by = \"{json:/site}{device}\"\n",
        "key = \"k-{device}\"\npartition_by = \"{device}\"\n",
    ] {
        assert_eq!(warned(fine), "", "{fine}");
    }
}

#[test]
fn a_key_that_two_partitions_could_have_is_a_warning() {
    let warned = |lines: &str| {
        let route = format!("[[route]]\nfrom = \"p/{{a}}/{{b}}/{{device}}\"\ntopic = \"t\"\n{lines}");
        accepted(&format!("{REST}{KAFKA}{route}")).1
    };
    let right =
        "separate the names in the key by '/', which no level of a topic has, or leave partition_by out";
    for key in [
        "{a}{b}",
        "{a}-{b}",
        "{a}{b}/{device}",
        "{json:/x}/{a}-{b}/{device}",
    ] {
        let warning = warned(&format!("key = \"{key}\"\npartition_by = \"{{a}}\"\n"));
        assert!(
            warning.contains(&format!(
                "partition_by: {{a}} cannot be told from the key \"{key}\""
            )) && warning.ends_with(right),
            "{warning}"
        );
    }
    assert!(
        warned("device = \"{json:/site}-{json:/id}\"\npartition_by = \"{json:/site}\"\n")
            .contains("cannot be told")
    );
    for key in [
        "{a}/{b}",
        "{a}/{b}/{device}",
        "{a}/{json:/x}/{device}",
        "x{a}-/{b}",
    ] {
        assert_eq!(
            warned(&format!("key = \"{key}\"\npartition_by = \"{{a}}\"\n")),
            "",
            "{key}"
        );
    }
    let nordic =
        "partition_by = \"{mqtt:topic}\"\nformat = \"wasp\"\n[route.wasp]\nenvelope = \"nordic-cloud\"\n";
    let route = format!("[[route]]\nfrom = \"prod/{{rest...}}\"\ntopic = \"raw-payloads\"\n{nordic}");
    let (_, warning) = accepted(&format!("{REST}{KAFKA}{route}"));
    assert!(
        warning.contains("partition_by: the key is the nrf- id that is found in")
            && warning.ends_with("the key decides then"),
        "{warning}"
    );
}

#[test]
fn a_route_whose_every_message_would_be_a_dead_letter_is_refused() {
    let problem = |route: &str| {
        let text = refused(&format!("{REST}{KAFKA}[[route]]\n{route}"));
        assert_eq!(text.lines().count(), 1, "{text}");
        text.trim_end().split_once(": ").unwrap().1.to_owned()
    };
    let wasp = "from = \"t/{device}\"\ntopic = \"raw-payloads\"\nformat = \"wasp\"\n";
    assert_eq!(
        problem(&format!("{wasp}key = \"mqtt:{{device}}\"\n")),
        "route[0].key: \"mqtt:{device}\" is never a UUID, every message would be a dead letter; write what is the UUID alone, \
         for example \"{device}\", or envelope = \"http\" in [route.wasp] for other ids"
    );
    assert!(problem(&format!("{wasp}device = \"dev-{{mqtt:topic}}\"\n")).contains("is never a UUID"));
    let long = format!(
        "{wasp}key = \"{}{{device}}\"\n[route.wasp]\nenvelope = \"http\"\ningest = \"http\"\n",
        "x".repeat(50)
    );
    assert!(
        problem(&long).contains("has always over 50 characters"),
        "{}",
        problem(&long)
    );
    let ngsi = |from: &str| {
        format!(
            "from = \"{from}\"\ntopic = \"raw_historic\"\nformat = \"ngsiv2\"\n[route.ngsiv2]\nservice = \"s\"\n"
        )
    };
    for from in [
        "/{apikey}/{device}/cmd",
        "json/{apikey}/{device}/cmdexe",
        "/+/{device}/configuration/values",
    ] {
        assert!(
            problem(&ngsi(from)).starts_with(&format!(
                "route[0].from: \"{from}\" takes commands of an IoT Agent alone"
            )),
            "{from}"
        );
    }
    for from in [
        "/{apikey}/{device}/attrs",
        "/{apikey}/{device}/{rest...}",
        "/{apikey}/{device}/{kind}",
    ] {
        accepted(&format!("{REST}{KAFKA}[[route]]\n{}", ngsi(from)));
    }
    let empty = problem("from = \"t/{device}\"\ntopic = \"t\"\nmax_payload = 0\n");
    assert!(
        empty.starts_with("route[0].max_payload: ") && empty.contains("is too little"),
        "{empty}"
    );
    let header =
        problem("from = \"t/{device}\"\ntopic = \"t\"\n[route.add_headers]\nFiware-Service = \" \"\n");
    assert!(
        header.contains("is empty, readers would take the tenant \"default\""),
        "{header}"
    );
}

#[test]
fn a_topic_that_no_reader_or_a_wrong_one_would_read_is_a_warning() {
    let warned = |topic: &str, format: &str| {
        let route =
            format!("[[route]]\nfrom = \"t/{{device}}\"\ntopic = \"{topic}\"\nformat = \"{format}\"\n");
        accepted(&format!("{REST}{KAFKA}{route}")).1
    };
    assert!(warned("wasp-input", "wasp").ends_with(
        "route[0].topic: WASP's router takes topics with \"raw-payloads\" in their names alone, \"wasp-input\" is none; write \
         topic = \"raw-payloads\", unless the router has been changed"
    ));
    assert!(warned("raw-payloads-archive", "raw").ends_with("write another name, or format = \"wasp\""));
    assert!(warned("{device}-raw-payloads", "raw").contains("takes every such topic for live data"));
    assert!(warned("smc_raw_errors", "raw").contains("errors of Kafka Connect"));
    for (topic, format) in [
        ("raw-payloads", "wasp"),
        ("{device}", "wasp"),
        ("raw_payloads", "raw"),
    ] {
        assert_eq!(warned(topic, format), "", "{topic}");
    }
}

#[test]
fn two_events_that_would_have_one_id_are_a_warning() {
    let route = |from: &str, topic: &str, lines: &str| {
        format!(
            "[[route]]\nfrom = \"{from}\"\ntopic = \"{topic}\"\nformat = \"cloudevents\"\n[route.cloudevents]\n{lines}"
        )
    };
    let warned = |first: &str, second: &str| accepted(&format!("{REST}{KAFKA}{first}{second}")).1;
    let first = route("a/{device}", "one", "type = \"com.example.one\"\n");
    assert!(
        warned(&first, &route("a/{id}", "two", "type = \"com.example.two\"\n").replace("topic", "key = \"{id}\"\ntopic"))
            .ends_with(
            "route[1].cloudevents.type: differs from route[0] for the same messages, and cloudevents.source does not: two \
             events would have one id, and readers drop one of them; write another source for one of them, for example \
             \"edgeferry/{gateway:id}/alarms\""
        )
    );
    let wider = route("a/{rest...}", "two", "type = \"com.example.two\"\n")
        .replace("topic", "key = \"{rest}\"\ntopic");
    assert!(
        warned(&first, &wider).contains("two events would have one id"),
        "filters that overlap"
    );
    let other_source = "type = \"com.example.two\"\nsource = \"edgeferry/two\"\n";
    assert_eq!(warned(&first, &route("a/{device}", "two", other_source)), "");
    let same_event = route(
        "a/{device}",
        "two",
        "type = \"com.example.one\"\nmode = \"binary\"\n",
    );
    assert_eq!(
        warned(&first, &same_event),
        "",
        "the same event twice is one event"
    );
    assert_eq!(
        warned(
            &first,
            &route("b/{device}", "two", "type = \"com.example.two\"\n")
        ),
        ""
    );
}

#[test]
fn routes_for_other_messages_of_the_same_topic_do_not_contradict() {
    let second = "[[route]]\nfrom = \"devices/{device}/telemetry\"\ntopic = \"telemetry\"\n";
    let cold = "when = [{ value = \"json:/c\", between = [-99, 0] }]\n";
    let warm = "when = [{ value = \"json:/c\", between = [0, 99] }]\nkey = \"{json:/site}\"\n";
    accepted(&format!("{REST}{KAFKA}{ROUTE}{cold}{second}{warm}"));
    assert!(check("", "", second).starts_with("route[1].from: is the same as route[0]"));
    assert!(
        check("", "", &format!("{second}partition_by = \"{{device}}\"\n")).starts_with(
            "route[1].partition_by: differs from route[0] for the same messages and the same topic"
        )
    );
}

#[test]
fn a_key_of_the_route_below_one_of_its_tables_is_told_to_move() {
    let (_, said) = accepted(&format!(
        "{REST}{KAFKA}{ROUTE}[route.add_headers]\nlane = \"alarms\"\nsite = \"north\"\n"
    ));
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(
        said.contains("route[0].add_headers.lane: is a header here") && said.contains("move the line above"),
        "{said}"
    );
    for (table, line) in [
        ("add_headers", "qos = 0"),
        ("cloudevents", "key = \"{device}\""),
        ("wasp", "retained = \"skip\""),
        ("match", "max_payload = 5"),
    ] {
        let format = match table {
            "cloudevents" | "wasp" => format!("format = {table:?}\n"),
            _ => String::new(),
        };
        let said = refused(&format!("{REST}{KAFKA}{ROUTE}{format}[route.{table}]\n{line}\n"));
        assert!(
            said.contains(&format!(
                "it is a key of the route: move the line above [route.{table}]"
            )),
            "{said}"
        );
    }
}

#[test]
fn every_key_of_a_route_is_known_to_stand_above_its_tables() {
    let said = refused(&format!("{REST}{KAFKA}{ROUTE}no_such_key = 1\n"));
    let (_, known) = said.trim_end().split_once("known here: ").unwrap();
    let tables = ["cloudevents", "wasp", "ngsiv2", "match", "when"];
    for key in known.split(", ").filter(|key| !tables.contains(key)) {
        let (_, said) = accepted(&format!(
            "{REST}{KAFKA}{ROUTE}[route.add_headers]\n{key} = \"x\"\n"
        ));
        assert!(said.contains("move the line above"), "{key}");
    }
}
