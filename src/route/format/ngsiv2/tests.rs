use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::route::Router;
use crate::route::format::tests::{
    bad_payloads, ends_well, own_headers, problems, record, refusal, router, stored, user, value,
    with_properties,
};

const ROUTE: &str = "[[route]]\nfrom = \"/{agent}/{apikey}/{device}/attrs\"\ntopic = \"raw_historic\"\nformat = \"ngsiv2\"\n\
                     [route.ngsiv2]\nservice = \"Test\"\nservicepath = \"AccessCount\"\n";
const SINGLE: &str = "[[route]]\nfrom = \"/{agent}/{apikey}/{device}/attrs/{name}\"\ntopic = \"raw_historic\"\nformat = \"ngsiv2\"\n\
                      [route.ngsiv2]\nservice = \"test\"\nattribute = \"{name}\"\n";

const TIME_NOW: &str = "2026-11-20T11:00:00.000Z";

fn with(table: &str) -> String {
    format!("{ROUTE}{table}")
}

fn json(payload: &str) -> crate::message::Stored {
    stored("/json/KEY/d1/attrs", payload.as_bytes())
}

fn ul(payload: &str) -> crate::message::Stored {
    stored("/ul/KEY/d1/attrs", payload.as_bytes())
}

/// Times and attributes of the entities.
fn entities(routes: &str, message: &crate::message::Stored) -> Vec<(String, String)> {
    let record = record(&router(routes), message);
    let inner = value(&record)
        .strip_prefix("{\"data\":[")
        .and_then(|text| text.strip_suffix("]}"))
        .expect("a notification");
    let begin = "{\"id\":\"Thing:d1\",\"type\":\"Thing\",\"TimeInstant\":{\"type\":\"DateTime\",\"value\":\"";
    let entities = inner.split(begin).filter(|part| !part.is_empty()).map(|part| {
        let (time, attributes) = part.trim_end_matches(',').split_once("\"},").expect("has a time");
        (
            time.to_owned(),
            attributes.strip_suffix('}').expect("ends").to_owned(),
        )
    });
    entities.collect()
}

fn attributes(routes: &str, message: &crate::message::Stored) -> String {
    let mut all = entities(routes, message);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0).1
}

#[test]
fn the_tenant_is_in_the_headers_in_lower_case_with_a_leading_slash() {
    let record = record(&router(ROUTE), &json("{\"t\":15}"));
    assert_eq!(
        own_headers(&record),
        ["fiware-service=test", "fiware-servicepath=/accesscount"]
    );
}

#[test]
fn the_key_is_the_entity_unless_the_route_says_another() {
    assert_eq!(record(&router(ROUTE), &json("{\"t\":15}")).key, "Thing:d1");
    let routes = ROUTE.replace("format", "key = \"{apikey}/{device}\"\nformat");
    assert_eq!(record(&router(&routes), &json("{\"t\":15}")).key, "KEY/d1");
}

#[test]
fn a_correlator_is_the_message_id() {
    let record = record(&router(&with("correlator = true")), &json("{\"t\":15}"));
    assert_eq!(
        record.header("fiware-correlator"),
        Some("0123456789abcdef-default-42")
    );
}

#[test]
fn the_tenant_may_come_from_the_message_and_is_checked_then() {
    let routes = with("").replace("\"Test\"", "\"{property:tenant}\"");
    let tenant = |name: &str| with_properties(json("{\"t\":15}"), user(&[("tenant", name)]));
    let record = record(&router(&routes), &tenant("Plant_2"));
    assert_eq!(record.header("fiware-service"), Some("plant_2"));
    let why = refusal(&router(&routes), &tenant("a/b"));
    assert_eq!(
        why,
        "ngsiv2.service came out as \"a/b\": 1 to 50 letters, digits and '_'"
    );
    let why = refusal(&router(&routes), &json("{\"t\":15}"));
    assert!(why.starts_with("ngsiv2.service: property:tenant"), "{why}");
}

#[test]
fn numbers_are_carried_as_they_were_written() {
    assert_eq!(
        attributes(ROUTE, &json("{\"n\":12345678901234567890,\"x\":1.0}")),
        "\"n\":{\"type\":\"Number\",\"value\":12345678901234567890},\"x\":{\"type\":\"Number\",\"value\":1.0}"
    );
}

#[test]
fn the_devices_own_time_is_used_with_three_digits() {
    for (time, expected) in [
        ("\"2016-06-13T00:35:30Z\"", "2016-06-13T00:35:30.000Z"),
        ("\"2016-06-13T02:35:30.123456+02:00\"", "2016-06-13T00:35:30.123Z"),
        ("\"2016-06-13T00:35:30+0200\"", "2016-06-12T22:35:30.000Z"),
        ("\"2016-06-13T00:35:30\\u005a\"", "2016-06-13T00:35:30.000Z"),
        ("1465778130", "2016-06-13T00:35:30.000Z"),
        ("1465778130123", "2016-06-13T00:35:30.123Z"),
        ("null", TIME_NOW),
    ] {
        let message = json(&format!("{{\"TimeInstant\":{time},\"t\":15}}"));
        let all = entities(ROUTE, &message);
        assert_eq!(
            all[0],
            (
                expected.to_owned(),
                "\"t\":{\"type\":\"Number\",\"value\":15}".to_owned()
            ),
            "{time}"
        );
    }
}

#[test]
fn a_time_of_the_device_that_cannot_be_read_is_refused_and_not_replaced() {
    for time in [
        "\"yesterday\"",
        "\"2016-06-13T00:35:30\"",
        "\"1969-12-31T23:59:59Z\"",
        "5",
        "\"\"",
        "true",
        "{}",
    ] {
        let why = refusal(
            &router(ROUTE),
            &json(&format!("{{\"TimeInstant\":{time},\"t\":15}}")),
        );
        assert_eq!(why, format!("TimeInstant is {time:?}: write {}", time::RULE));
    }
    let why = refusal(&router(ROUTE), &ul("TimeInstant|yesterday|t|15"));
    assert!(why.starts_with("TimeInstant is \"yesterday\": write "), "{why}");
}

#[test]
fn times_that_could_not_be_told_apart_are_refused() {
    let last = "{\"TimeInstant\":\"9999-12-31T23:59:59.999Z\",\"t\":1}";
    let why = refusal(&router(ROUTE), &json(&format!("[{last},{last}]")));
    assert_eq!(why, "its times go on behind the end of the year 9999");
}

#[test]
fn messages_that_follow_each_other_share_no_time_of_an_entity() {
    use crate::message::Series;

    let keyed = ROUTE.replace("format", "key = \"{apikey}/{device}\"\nformat");
    let series = |payload: &str| router(&keyed).series(&json(payload).arrival);
    let times = |payload: &str| -> Vec<u32> {
        let mut times: Vec<u32> = series(payload)
            .iter()
            .map(|series: &Series| series.times)
            .collect();
        times.sort_unstable();
        times
    };
    assert_eq!(times("{\"t\":1}"), [1, 1], "the key and the entity");
    assert_eq!(times("[{\"t\":1},{\"t\":2},{\"t\":3}]"), [1, 3]);
    let own = "{\"TimeInstant\":\"2016-06-13T00:35:30Z\",\"t\":1}";
    assert_eq!(times(&format!("[{own},{{\"t\":2}},{own}]")), [1, 1]);
    let plain = router(ROUTE).series(&json("[{\"t\":1},{\"t\":2}]").arrival);
    assert_eq!(plain.len(), 1, "the key is the entity");
    assert_eq!(plain[0].times, 2);
    // Another API key, the same entity: the hash of the entity is the same, that of the key is not.
    let other = router(&keyed).series(&stored("/json/OTHER/d1/attrs", b"{\"t\":1}").arrival);
    let shared = other.iter().filter(|one| series("{\"t\":1}").contains(one));
    assert_eq!(shared.count(), 1);
}

#[test]
fn each_of_several_measures_has_a_time_of_its_own() {
    let times = |payload: &str| -> Vec<String> {
        let all = entities(ROUTE, &json(payload));
        all.into_iter().map(|(time, _)| time).collect()
    };
    assert_eq!(
        times("[{\"t\":1},{\"t\":2},{\"t\":3}]"),
        [TIME_NOW, "2026-11-20T11:00:00.001Z", "2026-11-20T11:00:00.002Z"]
    );
    let equal = "{\"TimeInstant\":\"2016-06-13T00:35:30Z\",\"t\":1}";
    assert_eq!(
        times(&format!("[{equal},{equal},{{\"t\":2}},{equal}]")),
        [
            "2016-06-13T00:35:30.000Z",
            "2016-06-13T00:35:30.001Z",
            TIME_NOW,
            "2016-06-13T00:35:30.002Z"
        ]
    );
}

#[test]
fn ultralight_groups_become_entities() {
    assert_eq!(
        entities(ROUTE, &ul("2016-06-13T00:35:30Z|t|15|k|abc#t|16")),
        [
            (
                "2016-06-13T00:35:30.000Z".to_owned(),
                "\"t\":{\"type\":\"Number\",\"value\":15},\"k\":{\"type\":\"Text\",\"value\":\"abc\"}"
                    .to_owned()
            ),
            (
                TIME_NOW.to_owned(),
                "\"t\":{\"type\":\"Number\",\"value\":16}".to_owned()
            )
        ]
    );
}

#[test]
fn a_topic_without_an_agents_prefix_is_read_by_what_the_payload_is() {
    let routes = ROUTE.replace("/{agent}/{apikey}", "/{apikey}");
    let message = |payload: &str| stored("/KEY/d1/attrs", payload.as_bytes());
    let expected = "\"t\":{\"type\":\"Number\",\"value\":15}";
    assert_eq!(attributes(&routes, &message("{\"t\":15}")), expected);
    assert_eq!(attributes(&routes, &message("t|15")), expected);
}

#[test]
fn the_configured_kind_of_payload_is_kept_to() {
    let why = refusal(&router(&with("payload = \"json\"")), &ul("t|15"));
    assert!(why.starts_with("the payload is not JSON"), "{why}");
    let why = refusal(&router(&with("payload = \"ul\"")), &json("{\"t\":15}"));
    assert!(
        why.starts_with("the payload is no Ultralight: it has an odd number of fields"),
        "{why}"
    );
}

#[test]
fn a_single_measure_has_its_name_from_the_topic() {
    let single = |agent: &str, payload: &[u8]| {
        attributes(SINGLE, &stored(&format!("/{agent}/KEY/d1/attrs/t"), payload))
    };
    for (agent, payload, expected) in [
        ("json", &b"15"[..], "\"t\":{\"type\":\"Number\",\"value\":15}"),
        (
            "json",
            b"[1,2]",
            "\"t\":{\"type\":\"StructuredValue\",\"value\":[1,2]}",
        ),
        (
            "json",
            b"hello",
            "\"t\":{\"type\":\"Text\",\"value\":\"68656c6c6f\"}",
        ),
        (
            "json",
            b"\xff\x00",
            "\"t\":{\"type\":\"Text\",\"value\":\"ff00\"}",
        ),
        ("ul", b"15", "\"t\":{\"type\":\"Number\",\"value\":15}"),
        ("ul", b"hello", "\"t\":{\"type\":\"Text\",\"value\":\"hello\"}"),
    ] {
        assert_eq!(single(agent, payload), expected);
    }
    let why = refusal(&router(SINGLE), &stored("/ul/KEY/d1/attrs/t", b"\xff"));
    assert_eq!(why, "the payload is no UTF-8 text");
}

#[test]
fn types_come_from_the_configuration() {
    let routes = with("types = { t = \"Number\", at = \"DateTime\", place = \"geo:point\" }");
    assert_eq!(
        attributes(&routes, &ul("t|15|at|2016-06-13T00:35:30Z|place|40.1,-3.2")),
        "\"t\":{\"type\":\"Number\",\"value\":15},\"at\":{\"type\":\"DateTime\",\"value\":\"2016-06-13T00:35:30.000Z\"},\
         \"place\":{\"type\":\"geo:point\",\"value\":\"40.1,-3.2\"}"
    );
    let why = refusal(&router(&routes), &json("{\"t\":\"warm\"}"));
    assert_eq!(
        why,
        "the attribute \"t\" is not a number, which its type Number needs"
    );
}

#[test]
fn names_of_the_entity_itself_are_renamed_as_the_agents_do() {
    assert_eq!(
        attributes(ROUTE, &json("{\"id\":1,\"type\":2}")),
        "\"measure_id\":{\"type\":\"Number\",\"value\":1},\"measure_type\":{\"type\":\"Number\",\"value\":2}"
    );
}

#[test]
fn names_of_kafnus_rows_are_renamed_in_any_case() {
    for name in [
        "ID",
        "Type",
        "entityId",
        "ENTITYTYPE",
        "fiwareServicePath",
        "recvTime",
        "alterationtype",
    ] {
        let expected = format!("\"measure_{name}\":{{\"type\":\"Number\",\"value\":1}}");
        assert_eq!(attributes(ROUTE, &json(&format!("{{\"{name}\":1}}"))), expected);
        assert_eq!(attributes(ROUTE, &ul(&format!("{name}|1"))), expected);
        let single = stored(&format!("/json/KEY/d1/attrs/{name}"), b"1");
        assert_eq!(attributes(SINGLE, &single), expected);
    }
}

#[test]
fn a_measure_that_is_renamed_replaces_no_other() {
    for (payload, pair) in [
        ("{\"id\":\"x\",\"measure_id\":7}", "\"id\" and \"measure_id\""),
        ("{\"measure_type\":7,\"type\":1}", "\"measure_type\" and \"type\""),
        ("{\"ID\":1,\"id\":7}", "\"ID\" and \"id\""),
    ] {
        let why = refusal(&router(ROUTE), &json(payload));
        assert!(
            why.starts_with(&format!("{pair} are one attribute for readers")),
            "{why}"
        );
    }
}

#[test]
fn more_measures_than_the_limit_are_refused() {
    let object = |members: usize| {
        let members: Vec<String> = (0..members).map(|n| format!("\"a{n}\":{n}")).collect();
        format!("{{{}}}", members.join(","))
    };
    let full = object(1_024);
    let most = vec![&*full; measures::MEASURES_MAX / 1_024].join(",");
    assert_eq!(entities(ROUTE, &json(&format!("[{most}]"))).len(), 16);
    let why = refusal(&router(ROUTE), &json(&format!("[{most},{}]", object(1))));
    assert_eq!(why, "the payload has more than 16384 measures");
}

#[test]
fn json_with_a_mistake_is_refused_as_json() {
    let routes = ROUTE.replace("/{agent}/{apikey}", "/{apikey}");
    for payload in ["{\"t\":15,}", " {a|1}", "[{\"t\":1}", "{"] {
        let why = refusal(&router(&routes), &stored("/KEY/d1/attrs", payload.as_bytes()));
        assert!(why.starts_with("the payload is not JSON"), "{payload}: {why}");
    }
}

#[test]
fn bytes_without_the_name_of_an_attribute_are_refused_with_a_hint() {
    let why = refusal(&router(ROUTE), &json("hello"));
    assert!(why.starts_with("the payload is not JSON ("), "{why}");
    assert!(
        why.ends_with("; other bytes become hex only as a single measure, whose name the topic has"),
        "{why}"
    );
}

#[test]
fn an_entity_with_a_hole_in_its_name_is_refused() {
    let routes = "[[route]]\nfrom = \"a/{site}/{device}\"\ntopic = \"t\"\nkey = \"{device}\"\nformat = \"ngsiv2\"\n[route.ngsiv2]\n";
    for (table, why) in [
        (
            "id = \"urn:{site}:{device}\"\nservice = \"test\"\n",
            "ngsiv2.id: site: the level is empty",
        ),
        (
            "type = \"In{site}\"\nid = \"{device}\"\nservice = \"test\"\n",
            "ngsiv2.type: site: the level is empty",
        ),
        (
            "service = \"test{property:p}\"\n",
            "ngsiv2.service: property:p: is empty",
        ),
        (
            "attribute = \"t{site}\"\nservice = \"test\"\n",
            "ngsiv2.attribute: site: the level is empty",
        ),
    ] {
        let message = with_properties(stored("a//d1", b"{\"t\":1}"), user(&[("p", "")]));
        assert_eq!(refusal(&router(&format!("{routes}{table}")), &message), why);
    }
}

#[test]
fn of_a_double_name_the_last_value_counts() {
    let expected = "\"t\":{\"type\":\"Number\",\"value\":2},\"u\":{\"type\":\"Number\",\"value\":3}";
    assert_eq!(attributes(ROUTE, &json("{\"t\":1,\"u\":3,\"t\":2}")), expected);
    assert_eq!(attributes(ROUTE, &ul("t|1|u|3|t|2")), expected);
}

#[test]
fn names_that_differ_in_case_only_are_refused() {
    for (payload, pair) in [
        ("{\"t\":1,\"T\":2}", "\"t\" and \"T\""),
        ("{\"timeinstant\":1}", "\"TimeInstant\" and \"timeinstant\""),
        ("{\"id\":1,\"Measure_Id\":2}", "\"id\" and \"Measure_Id\""),
    ] {
        let why = refusal(&router(ROUTE), &json(payload));
        assert_eq!(
            why,
            format!("{pair} are one attribute for readers, which ignore case and have names of their own")
        );
    }
}

#[test]
fn payloads_without_a_measure_are_refused() {
    let nothing = "there is nothing measured in it";
    let kind = "measures are a JSON object, or an array of objects";
    for (payload, expected) in [
        ("", "the payload is empty"),
        ("{}", nothing),
        ("[]", nothing),
        ("[{\"t\":1},{}]", nothing),
        ("{\"TimeInstant\":\"2016-06-13T00:35:30Z\"}", nothing),
        ("15", kind),
        ("[1]", kind),
        (
            "{\"t\":1e400}",
            "the attribute \"t\" is a number over every double",
        ),
    ] {
        assert_eq!(refusal(&router(ROUTE), &json(payload)), expected, "{payload}");
    }
    let why = refusal(&router(ROUTE), &json("{\"a b\":1}"));
    assert!(
        why.starts_with("\"a b\" is no name of an attribute: 1 to 256 visible ASCII characters"),
        "{why}"
    );
}

#[test]
fn commands_are_never_forwarded_even_when_the_pattern_lets_them_through() {
    let routes = ROUTE.replace("/{agent}/{apikey}/{device}/attrs", "/{apikey}/{device}/{rest...}");
    for topic in [
        "/KEY/d1/cmd",
        "/KEY/d1/cmdexe",
        "/KEY/d1/configuration/commands",
        "/KEY/d1/configuration/values",
    ] {
        let why = refusal(&router(&routes), &stored(topic, b"{\"t\":1}"));
        assert_eq!(
            why,
            "the topic carries commands, results of commands or configurations of an IoT Agent"
        );
    }
}

#[test]
fn an_entity_that_ngsi_does_not_allow_is_refused() {
    let why = refusal(&router(ROUTE), &stored("/json/KEY/d 1/attrs", b"{\"t\":1}"));
    assert!(
        why.starts_with("ngsiv2.id came out as \"Thing:d 1\": 1 to 256"),
        "{why}"
    );
}

#[test]
fn settings_that_no_message_could_satisfy_are_refused() {
    let table = "id = \"Thi ng\"\ntype = \"a b\"\nservice = \"a-b\"\nservicepath = \"//\"\nattribute = \"\"\n\
                 types = { TimeInstant = \"Text\", \"a b\" = \"Text\", c = \"\" }\n";
    let head = ROUTE.split("service =").next().expect("has one");
    let found = problems(&format!("{head}{table}"));
    let fields: Vec<&str> = found.iter().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(
        fields,
        [
            "route[0].ngsiv2.id",
            "route[0].ngsiv2.type",
            "route[0].ngsiv2.service",
            "route[0].ngsiv2.servicepath",
            "route[0].ngsiv2.attribute",
            "route[0].ngsiv2.types.TimeInstant",
            "route[0].ngsiv2.types.a b",
            "route[0].ngsiv2.types.c",
        ]
    );
}

#[test]
fn bad_payloads_become_records_or_are_refused() {
    for routes in [
        ROUTE.to_owned(),
        with("payload = \"ul\""),
        with("payload = \"json\""),
    ] {
        let router = router(&routes);
        for payload in bad_payloads() {
            ends_well(&router, &stored("/x/KEY/d1/attrs", &payload));
        }
    }
    let router = router(SINGLE);
    for payload in bad_payloads() {
        ends_well(&router, &stored("/x/KEY/d1/attrs/t", &payload));
    }
}

/// One for each way to read a payload: by its topic, as JSON, as Ultralight, as a single attribute. Made once: a million cases are
/// run by `./dev fuzz`.
static ROUTERS: LazyLock<[Router; 4]> = LazyLock::new(|| {
    let forced = |payload: &str| router(&with(&format!("payload = \"{payload}\"")));
    [router(ROUTE), forced("json"), forced("ul"), router(SINGLE)]
});

/// JSON of an agent, or nearly so.
const NEARLY_JSON: &str = "\\[?(\\{(\"[a-zT]{1,3}\":(-?[0-9]{1,3}(\\.[0-9]{1,3})?(e[0-9]{1,3})?|\"[^\"]{0,8}\"|true|null|\\[1,\\{\\}\\]),?){0,3}\
                           (\"TimeInstant\":\"20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9](:[0-5][0-9](\\.[0-9]{1,7})?)?Z?\")?\\}?,?){0,3}\\]?";
/// Ultralight, or nearly so.
const NEARLY_UL: &str = "((20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9](:[0-5][0-9])?Z?\\|)?([a-z]{1,3}\\|[0-9a-z. ]{0,5}[|#]?){0,4}#?){0,3}";

/// Any bytes, signs of both languages, and what is nearly right with one byte that may be anything.
fn payloads() -> impl Strategy<Value = Vec<u8>> {
    let nearly = prop_oneof![NEARLY_JSON, NEARLY_UL].prop_map(String::into_bytes);
    let broken = (nearly.clone(), any::<prop::sample::Index>(), any::<u8>());
    let broken = broken.prop_map(|(mut bytes, place, byte)| {
        if !bytes.is_empty() {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes
    });
    let signs = "[\\[\\]{}\":,0-9a-zTe|#. -]{0,60}".prop_map(String::into_bytes);
    prop_oneof![any::<Vec<u8>>(), signs, nearly, broken]
}

proptest! {
    #[test]
    fn a_notification_from_any_payload_never_panics(
        payload in payloads(),
        agent in prop_oneof![Just("json"), Just("ul"), Just("x")],
        device in "[a-z0-9]{1,4}|[^/+#\\x00]{1,12}",
        name in "[a-zT]{1,4}|TimeInstant|id|[^/+#\\x00]{1,12}",
    ) {
        let measures = stored(&format!("/{agent}/KEY/{device}/attrs"), &payload);
        let single = stored(&format!("/{agent}/KEY/{device}/attrs/{name}"), &payload);
        let [by_topic, json, ul, attribute] = &*ROUTERS;
        for router in [by_topic, json, ul] {
            ends_well(router, &measures);
        }
        ends_well(attribute, &single);
    }
}
