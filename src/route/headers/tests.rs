use std::sync::LazyLock;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::route::subject::ask_of;

/// The headers behind the facts of a record that a route with these settings makes.
fn added(settings: &str, properties: Properties) -> Result<Vec<(String, Vec<u8>)>, HeaderError> {
    added_by(&route(settings), properties)
}

fn route(settings: &str) -> Config {
    let text = format!(
        "[gateway]\nid = \"gw\"\ndata_dir = \"/tmp/x\"\n[[mqtt]]\nurl = \"mqtt://127.0.0.1\"\n[kafka]\n\
         bootstrap_servers = [\"127.0.0.1:9092\"]\n[[route]]\nfrom = \"a/{{device}}\"\ntopic = \"t\"\n{settings}"
    );
    let (mut config, _) = crate::config::parse(std::path::Path::new("test.toml"), &text).expect("valid");
    config.routes.remove(0)
}

fn added_by(route: &Config, properties: Properties) -> Result<Vec<(String, Vec<u8>)>, HeaderError> {
    let mut arrival = Arrival::trial(1, "a/b", "x");
    arrival.delivery.dup = true;
    arrival.delivery.retained = true;
    arrival.properties = Some(Box::new(properties));
    ask_of("a/{device}", arrival, |subject| {
        let headers = of(route, &subject, Vec::new())?;
        let pairs = headers.into_iter();
        Ok(pairs
            .map(|header| (header.name.into_owned(), header.value.to_vec()))
            .collect())
    })
}

fn names(settings: &str, properties: Properties) -> Vec<String> {
    let headers = added(settings, properties).expect("headers");
    headers.into_iter().map(|(name, _)| name).collect()
}

fn user(pairs: &[(&str, &str)]) -> Properties {
    Properties {
        user: pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..Properties::default()
    }
}

const FACTS: [&str; 6] = [
    "edgeferry-id",
    "edgeferry-gateway",
    "edgeferry-arrival",
    "mqtt-topic",
    "edgeferry-dup",
    "edgeferry-retained",
];

#[test]
fn properties_of_mqtt_5_travel_and_correlation_data_stays_bytes() {
    let properties = Properties {
        content_type: Some("text/plain".to_owned()),
        response_topic: Some("answers/1".to_owned()),
        correlation_data: Some(Bytes::from_static(b"\0\xff")),
        ..user(&[("traceparent", "00-4bf9-00f0-01"), ("b", "2"), ("b", "3")])
    };
    let headers = added("", properties).expect("headers");
    let pair = |name: &str, value: &[u8]| (name.to_owned(), value.to_vec());
    assert_eq!(
        headers[6..],
        [
            pair("mqtt-content-type", b"text/plain"),
            pair("mqtt-response-topic", b"answers/1"),
            pair("mqtt-correlation-data", b"\0\xff"),
            pair("traceparent", b"00-4bf9-00f0-01"),
            pair("b", b"2"),
            pair("b", b"3"),
        ]
    );
}

#[test]
fn nobody_who_publishes_can_say_what_only_edgeferry_says() {
    let spoofed = [
        "edgeferry-id",
        "Edgeferry-Clock",
        "mqtt-topic",
        "Fiware-Service",
        "ce_id",
        "site",
        "SITE",
        "",
    ];
    let pairs: Vec<(&str, &str)> = spoofed.iter().map(|name| (*name, "x")).collect();
    let names = names("[route.add_headers]\nsite = \"north\"\n", user(&pairs));
    let mut expected: Vec<String> = FACTS.iter().map(|name| (*name).to_owned()).collect();
    expected.push("site".to_owned());
    expected.extend(spoofed.iter().map(|name| format!("mqtt-user-{name}")));
    assert_eq!(names, expected);
}

#[test]
fn minimal_keeps_the_id_the_marks_and_what_was_asked_for() {
    let settings = "headers = \"minimal\"\n[route.add_headers]\ndev = \"{device}\"\n";
    assert_eq!(
        names(settings, user(&[("a", "1")])),
        ["edgeferry-id", "edgeferry-dup", "edgeferry-retained", "dev"]
    );
}

#[test]
fn a_retained_message_that_is_forwarded_has_no_mark() {
    assert!(names("retained = \"mark\"\n", user(&[])).contains(&RETAINED.to_owned()));
    assert!(!names("retained = \"forward\"\n", user(&[])).contains(&RETAINED.to_owned()));
}

#[test]
fn a_thousand_user_properties_travel_and_one_more_does_not() {
    let many = |count: usize| {
        let properties = user(&vec![("n", "v"); count]);
        names("", properties)
    };
    assert_eq!(many(USER_PROPERTIES_MAX).len(), FACTS.len() + 1000);
    let error = added("", user(&vec![("n", "v"); 1001])).expect_err("too many");
    assert_eq!(
        error.refusal(0).to_string(),
        "route 0: 1001 user properties of 2002 bytes are more than the 1000 of 262144 that become headers"
    );
    assert_eq!(
        names("headers = \"minimal\"\n", user(&vec![("n", "v"); 1001])).len(),
        3,
        "where they are not headers they do no harm"
    );
}

#[test]
fn the_longest_properties_that_mqtt_has_travel_up_to_the_limit() {
    let value = "x".repeat(65_535);
    let four = added("", user(&[("", value.as_str()); 3])).expect("headers");
    assert_eq!(four.last().map(|(_, value)| value.len()), Some(65_535));
    assert!(matches!(
        added("", user(&[("n", value.as_str()); 5])),
        Err(HeaderError::TooMuch {
            count: 5,
            bytes: 327_680
        })
    ));
}

#[test]
fn a_property_with_nul_in_its_name_is_refused_and_one_in_its_value_travels() {
    assert_eq!(
        added("", user(&[("a\0b", "")])).expect_err("no name"),
        HeaderError::Nul
    );
    let headers = added("", user(&[("a", "b\0c")])).expect("headers");
    assert_eq!(headers.last(), Some(&("a".to_owned(), b"b\0c".to_vec())));
}

#[test]
fn a_header_whose_value_is_missing_refuses_the_record() {
    let settings = "[route.add_headers]\nserial = \"{property:serial}\"\n";
    let error = added(settings, user(&[])).expect_err("no value");
    assert_eq!(
        error.refusal(3).to_string(),
        "route 3: property:serial: is not among the message's properties"
    );
}

/// Made once: a million cases are run by `./dev fuzz`.
static ROUTE: LazyLock<Config> = LazyLock::new(|| route("[route.add_headers]\nsite = \"north\"\n"));

/// Any names, those that only edgeferry gives in any case, and what is nearly one.
fn property_names() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z]{1,3}",
        "([eE]dge[fF]erry-|[mM]qtt-|MQTT-USER-|[fF]iware-|[cC][eE]_|ce-)(id|clock|[a-z\\x00é]{0,3})",
        "[gG]raph[nN]ame|[cC]ontent-[tT]ype|SITE|site|sité",
    ]
}

proptest! {
    #[test]
    fn headers_from_any_properties_never_panic(
        user in prop::collection::vec((property_names(), any::<String>()), 0..8),
        content_type in any::<Option<String>>(),
        response_topic in any::<Option<String>>(),
        correlation in any::<Option<Vec<u8>>>(),
    ) {
        let sent = user.clone();
        let others = [content_type.is_some(), response_topic.is_some(), correlation.is_some()];
        let others = others.into_iter().filter(|is_there| *is_there).count();
        let correlation_data = correlation.map(Bytes::from);
        let properties = Properties { content_type, response_topic, correlation_data, user, ..Properties::default() };
        let has_nul = sent.iter().any(|(name, _)| name.contains('\0'));
        let headers = match added_by(&ROUTE, properties) {
            Ok(headers) => headers,
            Err(error) => {
                prop_assert!(has_nul && error == HeaderError::Nul, "{error:?}");
                return Ok(());
            }
        };
        prop_assert!(!has_nul);
        let first_of_user = FACTS.len() + 1 + others;
        prop_assert_eq!(headers.len(), first_of_user + sent.len(), "nothing is lost");
        for ((name, value), (sent_name, sent_value)) in headers[first_of_user..].iter().zip(&sent) {
            let is_free = !is_reserved(sent_name) && !sent_name.eq_ignore_ascii_case("site");
            let expected = if is_free { sent_name.clone() } else { format!("mqtt-user-{sent_name}") };
            prop_assert_eq!(name, &expected);
            prop_assert_eq!(value.as_slice(), sent_value.as_bytes());
        }
    }
}
