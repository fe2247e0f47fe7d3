//! What routes promise, on real parts: MQTT 5 properties byte for byte, refusals and filters, odd JSON, a broker that makes topics.

use std::time::Duration;

use base64ct::{Base64, Encoding as _};
use edgeferry::route::format::wasp::payload_id;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use rumqttc::{Publish, QoS};
use serde_json::Value;

use crate::support::config::{Config, GATEWAY};
use crate::support::daemon::Daemon;
use crate::support::devices::sent::Sent;
use crate::support::kafka::{self, Kafka, PARTITIONS, shared, unused_topic};
use crate::support::mosquitto::{Mark, Mosquitto};
use crate::support::mqtt::Link;
use crate::support::mqtt5::{Publisher, user_properties};
use crate::support::oracle::murmur2::partition;
use crate::support::oracle::{Oracle, PATIENCE, Record};
use crate::support::payload::{USUAL_BYTES, payload};
use crate::support::scene::FILTER;
use crate::support::wait;

const SERIAL: &str = "574bd77c-4aba-4557-aa9e-066939f938cc";
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[test]
fn mqtt_5_properties_are_in_kafka_byte_for_byte_and_those_of_wasp_in_its_metadata() {
    const PAYLOAD: &[u8] = br#"{ "answer" : 42.50 }"#;
    let kafka = shared();
    let mosquitto = Mosquitto::start();
    let (plain, wasp) = (kafka.fresh_topic("plain"), kafka.fresh_topic("raw-payloads"));
    let device = "device = \"{property:serial}\"\n";
    let config = Config::new(kafka)
        .broker("local", "5", &mosquitto)
        .route_with("sites/{site}", &plain, device)
        .route_with(
            "sites/{site}",
            &wasp,
            &format!("{device}format = \"wasp\"\n[route.wasp]\nuser_properties = [\"traceparent\"]"),
        );
    let mut daemon = Daemon::start(&config);
    mosquitto.until_subscribed("sites/+", Mark::default());
    let pairs = [
        ("serial", SERIAL),
        ("note", "first"),
        ("traceparent", TRACEPARENT),
        ("note", "zweite – größer"),
    ];
    Publisher::connect(mosquitto.port(), "publisher").publish(
        "sites/north",
        PAYLOAD,
        PublishProperties {
            content_type: Some("application/json; v=1".into()),
            response_topic: Some("answers/north".into()),
            correlation_data: Some(b"\0\xff".as_slice().into()),
            user_properties: pairs.map(|(name, value)| (name.into(), value.into())).into(),
            ..PublishProperties::default()
        },
    );

    let record = Oracle::new(kafka, &plain).first(1)[0].clone();
    assert_eq!(record.key.as_deref(), Some(SERIAL.as_bytes()));
    assert_eq!(record.value, PAYLOAD);
    let id = record.header("edgeferry-id").expect("it has an id");
    let arrival = record.header("edgeferry-arrival").expect("it has a time");
    let expected: [(&str, &[u8]); 11] = [
        ("edgeferry-id", id.as_bytes()),
        ("edgeferry-gateway", GATEWAY.as_bytes()),
        ("edgeferry-arrival", arrival.as_bytes()),
        ("mqtt-topic", b"sites/north"),
        ("mqtt-content-type", b"application/json; v=1"),
        ("mqtt-response-topic", b"answers/north"),
        ("mqtt-correlation-data", b"\0\xff"),
        ("serial", SERIAL.as_bytes()),
        ("note", b"first"),
        ("traceparent", TRACEPARENT.as_bytes()),
        ("note", "zweite – größer".as_bytes()),
    ];
    assert_eq!(carried(&record), expected);

    let shaped = Oracle::new(kafka, &wasp).first(1)[0].clone();
    daemon.terminate();
    judge_wasp(&shaped, &record);
}

/// The same message as `plain`, in WASP's envelope.
fn judge_wasp(shaped: &Record, plain: &Record) {
    assert_eq!(shaped.key.as_deref(), Some(SERIAL.as_bytes()));
    assert_eq!(carried(shaped), [], "WASP throws headers away");
    let text = String::from_utf8(shaped.value.clone()).expect("WASP's envelope is JSON");
    assert!(
        text.contains(r#""payload":{ "answer" : 42.50 }"#),
        "JSON is carried as the text that came: {text}"
    );
    let mut envelope: Value = serde_json::from_str(&text).expect("WASP's envelope is JSON");
    let payload_id = payload_id::decode(envelope["payloadId"].as_str().expect("text")).expect("one of ours");
    let message_id = payload_id.message_id(["default"]).expect("the usual lane");
    assert_eq!(
        Some(message_id.to_string().as_str()),
        plain.header("edgeferry-id")
    );
    assert_eq!(envelope["ingest"], "mqtt");
    assert_eq!(envelope["ingestId"], SERIAL);
    assert_eq!(envelope["timestamp"].as_str(), plain.header("edgeferry-arrival"));
    let mut metadata = envelope["metadata"].take();
    let clock = metadata.as_object_mut().expect("an object").remove("clock");
    let clock = clock.as_ref().and_then(Value::as_str);
    assert_eq!(
        clock,
        plain.header("edgeferry-clock"),
        "the same is said of the clock"
    );
    assert_eq!(
        metadata,
        serde_json::json!({"deviceId": SERIAL, "userProperties": {"traceparent": TRACEPARENT}})
    );
}

/// Headers in their order, but for the one that only a machine without a time service has.
fn carried(record: &Record) -> Vec<(&str, &[u8])> {
    record
        .all_headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_slice()))
        .filter(|(name, _)| *name != "edgeferry-clock")
        .collect()
}

/// Partitions of the topic that several routes share.
const FOUR: i32 = 4;
/// `max_payload` of the route below, bytes.
const MAX_PAYLOAD: usize = 1024;

#[test]
fn match_when_max_payload_and_partition_by_hold_on_a_live_topic_of_four_partitions() {
    let kafka = shared();
    let mosquitto = Mosquitto::start();
    let topic = kafka.fresh_topic_with("routed", FOUR, &[]);
    let rules = "key = \"{plant}/{device}\"\npartition_by = \"{plant}\"\nmax_payload = \"1 KiB\"\n\
                 when = [{ value = \"json:/test\", equals = true, not = true }]\n\
                 [route.match]\ndevice = \"[0-9a-f]{4}\"";
    let config = Config::new(kafka)
        .broker("local", "5", &mosquitto)
        .route_with("plants/{plant}/{device}", &topic, rules)
        .route_with("uplinks/{rest...}", &topic, "key = \"{json:/info/id}\"");
    let (mut daemon, mut link) = start(&config, &mosquitto, &["plants/+/+", "uplinks/#"]);

    let devices = ["00f0", "00f1", "00f2", "00f3", "00f4"];
    let mut expected = vec![
        home("0018b2", "0018b2"),
        home("21.50", "21.50"),
        home("north/ffff", "north"),
    ];
    for plant in ["north", "south", "east"] {
        for device in devices {
            link.publish(&format!("plants/{plant}/{device}"), br#"{"c":1}"#);
            expected.push(home(&format!("{plant}/{device}"), plant));
        }
    }
    assert!(
        expected
            .iter()
            .any(|(key, home)| partition(key.as_bytes(), FOUR) != *home),
        "it is seen that partition_by decides and not the key"
    );
    link.publish("uplinks/a/b", br#"{"info":{"id":"0018b2"}}"#);
    link.publish("uplinks/a/b", br#"{"info":{"id":21.50}}"#);
    link.publish("plants/north/ffff", &padded(MAX_PAYLOAD));
    let refused = [
        Letter::new("mismatch", "plants/north/xyz", br#"{"c":1}"#),
        Letter::new("no-value", "uplinks/a/b", br#"{"info":{}}"#),
        Letter::new("over-max-payload", "plants/north/fffe", &padded(MAX_PAYLOAD + 1)),
    ];
    for letter in &refused {
        link.publish(&letter.topic, &letter.payload);
    }
    for device in devices {
        link.publish(&format!("plants/north/{device}"), br#"{"test":true}"#);
    }
    until_done(&daemon, expected.len(), refused.len(), devices.len());
    let records = all_records(&topic, expected.len());
    assert_eq!(homes(&records), sorted(expected));
    assert_eq!(letters(&daemon), refused);
    daemon.terminate();
}

#[test]
fn retained_messages_are_marked_forwarded_or_skipped_as_the_route_says() {
    let kafka = shared();
    let mosquitto = Mosquitto::start();
    let topic = kafka.fresh_topic_with("kept", FOUR, &[]);
    let config = Config::new(kafka)
        .broker("local", "5", &mosquitto)
        .route("kept/mark/{device}", &topic)
        .route_with("kept/forward/{device}", &topic, "retained = \"forward\"")
        .route_with("kept/unasked/{device}", &topic, "retained = \"skip\"")
        .route_with("kept/skip/{device}", &topic, "retained = \"skip\"")
        // For this one the broker is asked for what it has kept.
        .route_with(
            "kept/skip/{device}",
            &topic,
            "when = [{ value = \"device\", equals = \"another\" }]",
        );
    let mut link = Link::connect(mosquitto.port(), "retainer", true).expect("it accepts");
    let kinds = ["mark", "forward", "unasked", "skip"];
    for kind in kinds {
        let mut publish = Publish::new(format!("kept/{kind}/old-{kind}"), QoS::AtLeastOnce, "old");
        publish.retain = true;
        link.publish_packet(publish);
    }
    let filters = kinds.map(|kind| format!("kept/{kind}/+"));
    let (mut daemon, mut link) = start(&config, &mosquitto, &filters.each_ref().map(String::as_str));
    for kind in kinds {
        link.publish(&format!("kept/{kind}/new-{kind}"), b"new");
    }
    // One is filtered; the broker is not asked for what no route of a filter wants.
    until_done(&daemon, kinds.len() + 2, 0, 1);
    let records = all_records(&topic, kinds.len() + 2);
    let mut found: Vec<_> = records
        .iter()
        .map(|record| (key(record), record.header("edgeferry-retained")))
        .collect();
    found.sort();
    let expected = [
        ("new-forward", None),
        ("new-mark", None),
        ("new-skip", None),
        ("new-unasked", None),
        ("old-forward", None),
        ("old-mark", Some("true")),
    ];
    assert_eq!(found, expected.map(|(key, mark)| (key.to_owned(), mark)));
    daemon.terminate();
}

/// The daemon, subscribed to all of `filters`, and somebody who publishes.
fn start(config: &Config, mosquitto: &Mosquitto, filters: &[&str]) -> (Daemon, Link) {
    let daemon = Daemon::start(config);
    for filter in filters {
        mosquitto.until_subscribed(filter, Mark::default());
    }
    let link = Link::connect(mosquitto.port(), "publisher", true).expect("it accepts");
    (daemon, link)
}

/// A key and the partition where the hash of `decides` puts it.
fn home(key: &str, decides: &str) -> (String, i32) {
    (key.to_owned(), partition(decides.as_bytes(), FOUR))
}

/// Key and partition of each record, sorted.
fn homes(records: &[Record]) -> Vec<(String, i32)> {
    sorted(
        records
            .iter()
            .map(|record| (key(record), record.partition))
            .collect(),
    )
}

fn sorted<T: Ord>(mut all: Vec<T>) -> Vec<T> {
    all.sort();
    all
}

/// Everything in a topic that must have at least `count` records.
fn all_records(topic: &str, count: usize) -> Vec<Record> {
    let mut oracle = Oracle::new(shared(), topic);
    oracle.first(count);
    oracle.rest().to_vec()
}

/// JSON of so many bytes.
fn padded(bytes: usize) -> Vec<u8> {
    let mut text = br#"{"c":1}"#.to_vec();
    text.resize(bytes, b' ');
    text
}

fn key(record: &Record) -> String {
    String::from_utf8(record.key.clone().expect("every record has a key")).expect("keys are text")
}

/// Waits until the only lane has done exactly so many messages of each kind.
fn until_done(daemon: &Daemon, delivered: usize, dead_lettered: usize, filtered: usize) {
    let mut last = Value::Null;
    let all = delivered + dead_lettered + filtered;
    let done = wait::or_give_up(PATIENCE, || {
        last = daemon.lane();
        (last["received"] == all && last["queued"] == 0).then_some(())
    });
    assert!(done.is_some(), "{all} messages are not done: {last}");
    assert_eq!(last["delivered"], delivered, "{last}");
    assert_eq!(last["dead_lettered"], dead_lettered, "{last}");
    assert_eq!(
        last["removed"]["filtered"].as_u64().unwrap_or(0),
        filtered as u64,
        "{last}"
    );
}

/// A dead letter, as it is exported.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Letter {
    reason: String,
    topic: String,
    payload: Vec<u8>,
}

impl Letter {
    fn new(reason: &str, topic: &str, payload: &[u8]) -> Self {
        Self {
            reason: reason.to_owned(),
            topic: topic.to_owned(),
            payload: payload.to_vec(),
        }
    }

    /// The first and the last line of a file are no letters.
    fn read(line: &str) -> Option<Self> {
        let letter: Value = serde_json::from_str(line).expect("JSON");
        let reasons = letter["reasons"].as_array()?;
        assert_eq!(reasons.len(), 1, "one route refused it: {line}");
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let payload = text(&letter["payload"]).map(String::into_bytes);
        let payload = payload.or_else(|| Base64::decode_vec(letter["payload_base64"].as_str()?).ok());
        Some(Self {
            reason: text(&reasons[0]["reason"]).expect("it has a reason"),
            topic: text(&letter["topic"]).expect("it has a topic"),
            payload: payload.expect("it has a payload"),
        })
    }
}

/// All dead letters, in alphabetical order of their reasons; `ls` counts the same.
fn letters(daemon: &Daemon) -> Vec<Letter> {
    let file = daemon.beside("letters.jsonl");
    daemon.dead_letter(&["export", "--output", file.to_str().expect("text")]);
    let text = std::fs::read_to_string(&file).expect("it was written");
    let letters = sorted(text.lines().filter_map(Letter::read).collect::<Vec<_>>());
    let said = daemon.dead_letter(&["ls", "--json"]);
    let mut counted: Value = serde_json::from_str(&said).expect("one line of JSON");
    let mut ours = serde_json::Map::new();
    for letter in &letters {
        let count = ours.entry(letter.reason.clone()).or_insert_with(|| 0.into());
        *count = (count.as_u64().unwrap_or(0) + 1).into();
    }
    assert_eq!(counted["letters"]["reasons"].take(), Value::Object(ours));
    letters
}

/// Levels of JSON that are looked into.
const JSON_DEPTH: usize = 64;
/// User properties that become headers, in number and in bytes of all of them.
const PROPERTIES: usize = 1000;
/// The longest text that MQTT can carry.
const TEXT_BYTES: usize = 65_535;

#[test]
fn odd_messages_become_records_or_dead_letters_and_their_neighbours_keep_flowing_in_order() {
    let kafka = shared();
    let mosquitto = Mosquitto::start();
    let topic = kafka.fresh_topic_with("odd", FOUR, &[]);
    let config = Config::new(kafka)
        .broker("local", "5", &mosquitto)
        .route_with("json/{device}", &topic, "key = \"{json:/id}\"")
        .route("props/{device}", &topic);
    let mut daemon = Daemon::start(&config);
    mosquitto.until_subscribed("json/+", Mark::default());
    mosquitto.until_subscribed("props/+", Mark::default());
    let mut odd = Odd {
        publisher: Publisher::connect(mosquitto.port(), "odd"),
        expected: Vec::new(),
        refused: Vec::new(),
        neighbours: 0,
    };

    odd.properties("d1", &many(PROPERTIES), Ok(()));
    odd.properties("d1", &many(PROPERTIES + 1), Err("bad-properties"));
    let long = "ä".repeat(TEXT_BYTES / 2) + "x";
    assert_eq!(long.len(), TEXT_BYTES);
    odd.properties("d1", &[("long".into(), long.clone())], Ok(()));
    // Together over 256 KiB.
    let five = ["1", "2", "3", "4", "5"].map(|name| (name.to_owned(), long.clone()));
    odd.properties("d1", &five, Err("bad-properties"));
    odd.properties(&"t".repeat(61 * 1024), &[], Ok(()));

    odd.json(&nested(JSON_DEPTH), Ok("deep"));
    odd.json(&nested(JSON_DEPTH + 1), Err("no-value"));
    let huge = format!(r#"{{"fill":"{}","id":"huge"}}"#, "x".repeat(900_000));
    odd.json(huge.as_bytes(), Ok("huge"));
    odd.json(br#"{"id":"first","id":"last"}"#, Ok("last"));
    odd.json(br#"{"id":1e400}"#, Ok("1e400"));
    odd.json(b"{\"id\":\"\xff\"}", Err("no-value"));
    odd.json(b"", Err("no-value"));

    let Odd {
        expected, refused, ..
    } = odd;
    until_done(&daemon, expected.len(), refused.len(), 0);
    let records = all_records(&topic, expected.len());
    for neighbour in ["d1", "neighbour"] {
        let in_log_order = records.iter().filter(|record| key(record) == neighbour);
        let sent = expected.iter().filter(|expected| expected.key == neighbour);
        // As text and cut, so that a failure can be read.
        let begin = |value: &[u8]| String::from_utf8_lossy(&value[..value.len().min(60)]).into_owned();
        let in_log_order: Vec<_> = in_log_order.map(|record| begin(&record.value)).collect();
        let sent: Vec<_> = sent.map(|expected| begin(&expected.value)).collect();
        assert_eq!(in_log_order, sent, "the order of {neighbour}");
    }
    let found = sorted(records.iter().map(Expected::of).collect());
    let expected = sorted(expected);
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert!(
            found == expected,
            "{:.60} is altered, or {:.60} is missing",
            found.key,
            expected.key
        );
    }
    let (letters, refused) = (letters(&daemon), sorted(refused));
    let reasons: Vec<_> = letters.iter().map(|letter| &letter.reason).collect();
    assert!(letters == refused, "{} letters: {reasons:?}", letters.len());
    daemon.terminate();
}

/// What a record must be: key, value and those headers that the publisher gave.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Expected {
    key: String,
    value: Vec<u8>,
    headers: Vec<(String, Vec<u8>)>,
    topic: String,
}

impl Expected {
    fn of(record: &Record) -> Self {
        let headers = record.all_headers.iter();
        let given = headers.filter(|(name, _)| !name.starts_with("edgeferry-") && name != "mqtt-topic");
        Self {
            key: key(record),
            value: record.value.clone(),
            headers: given.cloned().collect(),
            topic: record.header("mqtt-topic").expect("it has a topic").to_owned(),
        }
    }
}

/// Publishes odd messages, each with a usual one of the same MQTT topic behind it.
struct Odd {
    publisher: Publisher,
    /// What must become records, in the order in which they were published.
    expected: Vec<Expected>,
    /// What must become dead letters, and why.
    refused: Vec<Letter>,
    neighbours: usize,
}

impl Odd {
    /// Publishes to the route whose key is the device.
    fn properties(&mut self, device: &str, pairs: &[(String, String)], fate: Result<(), &str>) {
        let topic = format!("props/{device}");
        let payload = format!("odd {}", self.neighbours);
        self.publish(&topic, payload.as_bytes(), pairs, fate.map(|()| device));
        let neighbour = format!("neighbour {}", self.neighbours);
        self.publish(&topic, neighbour.as_bytes(), &[], Ok(device));
        self.neighbours += 1;
    }

    /// Publishes to the route whose key is in the payload.
    fn json(&mut self, payload: &[u8], fate: Result<&str, &str>) {
        self.publish("json/d1", payload, &[], fate);
        let neighbour = format!(r#"{{"id":"neighbour","number":{}}}"#, self.neighbours);
        self.publish("json/d1", neighbour.as_bytes(), &[], Ok("neighbour"));
        self.neighbours += 1;
    }

    /// `fate` is the key of a record, or the reason of a dead letter.
    fn publish(&mut self, topic: &str, payload: &[u8], pairs: &[(String, String)], fate: Result<&str, &str>) {
        let properties = user_properties(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        self.publisher.publish(topic, payload, properties);
        match fate {
            Ok(key) => self.expected.push(Expected {
                key: key.to_owned(),
                value: payload.to_vec(),
                headers: pairs
                    .iter()
                    .map(|(name, value)| (name.clone(), value.clone().into_bytes()))
                    .collect(),
                topic: topic.to_owned(),
            }),
            Err(reason) => self.refused.push(Letter::new(reason, topic, payload)),
        }
    }
}

/// So many user properties, each with a name of its own.
fn many(count: usize) -> Vec<(String, String)> {
    (0..count)
        .map(|number| (format!("name-{number}"), format!("value {number}")))
        .collect()
}

/// JSON of so many levels, the first of which is the object with the id.
fn nested(levels: usize) -> Vec<u8> {
    let (open, close) = ("[".repeat(levels - 1), "]".repeat(levels - 1));
    format!(r#"{{"id":"deep","levels":{open}{close}}}"#).into_bytes()
}

/// How long it may take until the daemon says that a topic is missing.
const STATUS_LIMIT: Duration = Duration::from_mins(1);

#[test]
fn a_broker_that_makes_topics_is_never_made_to_make_one() {
    let kafka = Kafka::start_with("auto.create.topics.enable=true");
    let mosquitto = Mosquitto::start();
    let topic = unused_topic("late");
    let config = Config::usual("5", &mosquitto, &kafka, &topic).impatient();
    let mut daemon = Daemon::start(&config);
    mosquitto.until_subscribed(FILTER, Mark::default());
    let mut link = Link::connect(mosquitto.port(), "publisher", true).expect("it accepts");
    let mut sent = Sent::new();
    for seq in 1..=20 {
        for device in ["d1", "d2", "d3"] {
            link.publish(&sent.topic_of(device, seq), &payload(device, seq, USUAL_BYTES));
            sent.note(device, seq);
        }
    }
    daemon
        .notify()
        .until_status("the missing topic is named", STATUS_LIMIT, |status| {
            status.contains("NOT READY") && status.contains(&topic)
        });
    assert_eq!(kafka.partitions(&topic), None, "edgeferry never creates topics");
    // This broker really makes topics for whoever does not say that it should not.
    let other = unused_topic("made-by-use");
    use_topic(&kafka, &other);
    assert_eq!(kafka.partitions(&other), Some(1));
    assert_eq!(kafka.partitions(&topic), None, "edgeferry never creates topics");

    kafka.create_topic(&topic, PARTITIONS, &[]);
    let mut oracle = Oracle::new(&kafka, &topic);
    oracle.until_all_there(&sent, PATIENCE);
    daemon.terminate();
    oracle.verdict(&sent).assert_clean_without_duplicates();
    assert_eq!(kafka.partitions(&topic), Some(PARTITIONS));
}

/// Writes to a topic as a producer does that is left at its defaults.
fn use_topic(kafka: &Kafka, topic: &str) {
    let producer: BaseProducer = kafka::client(&kafka.bootstrap())
        .remove("allow.auto.create.topics")
        .create()
        .expect("a plain producer");
    let sent = producer.send(BaseRecord::to(topic).key("key").payload("value"));
    assert!(sent.is_ok(), "the producer takes a record: {sent:?}");
    producer.flush(PATIENCE).expect("kafka takes it");
}
