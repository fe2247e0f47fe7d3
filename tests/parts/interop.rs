//! Every shipped example for another system, as a user gets it: samples of that system go in at Mosquitto, and the records in
//! Kafka are compared with what its readers expect. What must not be forwarded is published before what must be, and topics
//! have one partition, so that it would be seen.
//!
//! Payloads have the shape that the systems' own documents give; their contents are ours.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use rumqttc::{Publish, QoS};

use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::example::example;
use crate::support::kafka::shared;
use crate::support::mosquitto::Mosquitto;
use crate::support::mqtt::Link;
use crate::support::oracle::{Oracle, Record};

/// One broker for all examples: none of them subscribes to another one's topics.
static BROKER: LazyLock<Mosquitto> = LazyLock::new(Mosquitto::start);

/// What an example makes of what is published.
#[derive(Default)]
struct Case<'a> {
    /// `config/examples/NAME.toml`
    example: &'a str,
    /// Kept by the broker before edgeferry comes: topic and payload.
    retained: &'a [(&'a str, &'a str)],
    /// Must not become records.
    ignored: &'a [(&'a str, &'a str)],
    /// Must become records.
    published: &'a [(&'a str, &'a str)],
    /// In the order of their topics.
    expected: &'a [Expected<'a>],
    /// Several links bring them: only the records of one key have an order. Those that are returned are in the order of their keys.
    has_several_links: bool,
}

/// One record.
struct Expected<'a> {
    topic: &'a str,
    key: &'a str,
    headers: Headers<'a>,
    /// With `<time>`, `<uuid>` and `<id>` where a value differs from run to run, see [`fits`].
    value: &'a str,
}

enum Headers<'a> {
    /// These and no others.
    Only(&'a [(&'a str, &'a str)]),
    /// These, and where the message came from.
    With(&'a [(&'a str, &'a str)]),
}

/// A record of `format = "raw"`: the payload as it came.
const fn raw<'a>(topic: &'a str, key: &'a str, value: &'a str) -> Expected<'a> {
    Expected {
        topic,
        key,
        headers: Headers::With(&[]),
        value,
    }
}

impl Case<'_> {
    /// Publishes everything and compares. The records, by topic.
    fn run(&self) -> BTreeMap<String, Vec<Record>> {
        let kafka = shared();
        let example = example(self.example, &BROKER, kafka);
        let topics: BTreeSet<&str> = self.expected.iter().map(|record| record.topic).collect();
        for topic in &topics {
            kafka.create_topic(topic, 1, &[]);
        }
        let client = format!("devices of {}", self.example);
        let mut link = Link::connect(BROKER.port(), &client, true).expect("it accepts");
        for (topic, payload) in self.retained {
            let mut publish = Publish::new(*topic, QoS::AtLeastOnce, *payload);
            publish.retain = true;
            link.publish_packet(publish);
        }
        let mark = BROKER.mark();
        let mut daemon = Daemon::start(&example.config);
        for filter in &example.filters {
            BROKER.until_subscribed(filter, mark);
        }
        for (topic, payload) in self.ignored.iter().chain(self.published) {
            link.publish(topic, payload.as_bytes());
        }
        let mut oracles = Vec::new();
        for topic in topics {
            let expected = self.expected.iter().filter(|record| record.topic == topic);
            let mut expected: Vec<_> = expected.collect();
            if self.has_several_links {
                expected.sort_by_key(|record| record.key);
            }
            let mut oracle = Oracle::new(kafka, topic);
            oracle.first(expected.len());
            oracles.push((oracle, expected));
        }
        daemon.assert_alive();
        daemon.terminate();
        let found = oracles.into_iter().map(|(mut oracle, expected)| {
            let mut records = oracle.rest().to_vec();
            if self.has_several_links {
                records.sort_by(|one, other| one.key.cmp(&other.key));
            }
            for (record, expected) in records.iter().zip(&expected) {
                assert_is(record, expected);
            }
            assert_eq!(records.len(), expected.len(), "{}: {records:?}", oracle.topic());
            (oracle.topic().to_owned(), records)
        });
        found.collect()
    }
}

fn assert_is(record: &Record, expected: &Expected<'_>) {
    let (key, value) = (text(record.key.as_deref()), text(Some(&record.value)));
    assert_eq!(key, expected.key, "{}: {value}", expected.topic);
    assert!(
        fits(expected.value, &value),
        "{}:\n{value}\nis not\n{}",
        expected.topic,
        expected.value
    );
    let headers: BTreeMap<&str, String> = record
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), text(Some(value))))
        .collect();
    let wanted = match expected.headers {
        Headers::Only(wanted) => {
            assert_eq!(headers.len(), wanted.len(), "{headers:?}");
            wanted
        }
        Headers::With(wanted) => {
            assert!(headers.contains_key("edgeferry-id"), "{headers:?}");
            wanted
        }
    };
    for (name, wanted) in wanted {
        let found = headers.get(name).map(String::as_str).unwrap_or_default();
        assert!(fits(wanted, found), "{name}: {headers:?}");
    }
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8(bytes.unwrap_or_default().to_vec()).expect("text")
}

/// Whether a text is the pattern with, for `<time>`, a time in UTC with exactly three fraction digits; for `<uuid>`, a UUID of version 4;
/// for `<id>`, an id of edgeferry; for `<word>`, anything but nothing.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((before, rest)) = pattern.split_once('<') else {
        return pattern == text;
    };
    let (hole, after) = rest.split_once('>').expect("a closed hole");
    let Some(text) = text.strip_prefix(before) else {
        return false;
    };
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || "-:._".contains(c)))
        .unwrap_or(text.len());
    let (filling, text) = text.split_at(end);
    is_a(hole, filling) && fits(after, text)
}

fn is_a(hole: &str, filling: &str) -> bool {
    let digits: String = filling
        .chars()
        .map(|c| match c {
            '0'..='9' => '0',
            'a'..='f' => 'x',
            other => other,
        })
        .collect();
    let hex = digits.replace('x', "0");
    match hole {
        "time" => digits == "0000-00-00T00:00:00.000Z",
        "uuid" => {
            hex == "00000000-0000-0000-0000-000000000000"
                && filling[14..].starts_with('4')
                && filling[19..].starts_with(['8', '9', 'a', 'b'])
        }
        "word" => !filling.is_empty(),
        "id" => filling.split('-').count() == 3 && hex.starts_with("0000000000000000-"),
        other => panic!("there is no hole <{other}>"),
    }
}

#[test]
fn holes_take_what_they_say_and_nothing_else() {
    assert!(
        fits("at <time>.", "at 2026-11-20T11:00:00.000Z.")
            || fits("at <time>", "at 2026-11-20T11:00:00.000Z")
    );
    for wrong in [
        "2026-11-20T11:00:00Z",
        "2026-11-20T11:00:00.123456Z",
        "2026-11-20 11:00:00.000Z",
        "",
    ] {
        assert!(!fits("<time>", wrong), "{wrong}");
    }
    assert!(fits(
        "{\"a\":\"<uuid>\"}",
        "{\"a\":\"574bd77c-4aba-4557-aa9e-066939f938cc\"}"
    ));
    assert!(
        !fits("<uuid>", "574bd77c-4aba-1557-aa9e-066939f938cc"),
        "version 1"
    );
    assert!(
        !fits("<uuid>", "574BD77C-4ABA-4557-AA9E-066939F938CC"),
        "upper case"
    );
    assert!(fits("<id>", "00000000000000ab-default-17"));
    assert!(!fits("<id>x", "00000000000000ab-default-17"));
}

#[test]
fn telemetry() {
    Case {
        example: "telemetry",
        ignored: &[
            ("plants/berlin/press-7/config", "{}"),
            ("plants/berlin/telemetry", "1"),
        ],
        published: &[
            ("plants/berlin/press-7/telemetry", r#"{"pressure":7.25}"#),
            ("plants/lyon/press-7/telemetry", "7.5 bar"),
            ("plants/lyon/press-7/alarm/high", "door open"),
        ],
        expected: &[
            raw("plant-telemetry", "berlin/press-7", r#"{"pressure":7.25}"#),
            Expected {
                headers: Headers::With(&[("mqtt-topic", "plants/lyon/press-7/telemetry"), ("plant", "lyon")]),
                ..raw("plant-telemetry", "lyon/press-7", "7.5 bar")
            },
            raw("plant-alarms", "lyon/press-7", "door open"),
        ],
        ..Case::default()
    }
    .run();
}

#[test]
fn chirpstack() {
    const UP: &str = r#"{"deduplicationId":"0b1c8a3e-6b0c-4b7e-9c1d-5f2f0f8d7a11","time":"2026-11-20T11:00:00.123456+00:00","deviceInfo":{"tenantId":"52f14cd4-c6f1-4fbd-8f87-4025e1d49242","tenantName":"Works","applicationId":"ca739e26-7b67-4f14-b69e-d568c22a5a75","applicationName":"meters","deviceProfileName":"EM300","deviceName":"hall-3","devEui":"24e124136b3269f7","tags":{"hall":"3"}},"devAddr":"01d9a2f4","adr":true,"dr":5,"fCnt":812,"fPort":85,"confirmed":false,"data":"AXVkA2cKAQ==","object":{"battery":100,"temperature":26.6},"rxInfo":[{"gatewayId":"0016c001f153a14c","uplinkId":40210,"rssi":-57,"snr":10.2,"crcStatus":"CRC_OK"}],"txInfo":{"frequency":868300000,"modulation":{"lora":{"bandwidth":125000,"spreadingFactor":7,"codeRate":"CR_4_5"}}}}"#;
    const JOIN: &str = r#"{"deduplicationId":"9d6f4b0a-0d1d-4b35-8f6d-1f6f4b9a2c77","time":"2026-11-20T10:59:58.5+00:00","deviceInfo":{"deviceName":"hall-3","devEui":"24e124136b3269f7"},"devAddr":"01d9a2f4"}"#;
    let device = "application/ca739e26-7b67-4f14-b69e-d568c22a5a75/device/24e124136b3269f7";
    let [join, up, down, stats] =
        ["event/join", "event/up", "command/down", "state/conn"].map(|rest| format!("{device}/{rest}"));
    Case {
        example: "chirpstack",
        ignored: &[
            (
                &down,
                r#"{"devEui":"24e124136b3269f7","confirmed":false,"fPort":10,"data":"AQ=="}"#,
            ),
            (&stats, "{}"),
            ("eu868/gateway/0016c001f153a14c/event/up", "{}"),
        ],
        published: &[(&join, JOIN), (&up, UP)],
        expected: &[
            Expected {
                headers: Headers::With(&[("mqtt-topic", &join)]),
                ..raw("chirpstack-events", "24e124136b3269f7", JOIN)
            },
            Expected {
                headers: Headers::With(&[("mqtt-topic", &up)]),
                ..raw("chirpstack-events", "24e124136b3269f7", UP)
            },
        ],
        ..Case::default()
    }
    .run();
}

#[test]
fn the_things_stack() {
    const UP: &str = r#"{"end_device_ids":{"device_id":"hall-3","application_ids":{"application_id":"plant-sensors"},"dev_eui":"70B3D57ED005A1B2","join_eui":"0000000000000000","dev_addr":"260B1234"},"correlation_ids":["gs:uplink:01HFR"],"received_at":"2026-11-20T11:00:00.412345678Z","uplink_message":{"session_key_id":"AYv4","f_port":2,"f_cnt":17,"frm_payload":"AQID","decoded_payload":{"temperature":21.5},"rx_metadata":[{"gateway_ids":{"gateway_id":"roof","eui":"0016C001F153A14C"},"rssi":-97,"snr":7.5}],"settings":{"data_rate":{"lora":{"bandwidth":125000,"spreading_factor":7}},"frequency":"868100000"}}}"#;
    const JOIN: &str = r#"{"end_device_ids":{"device_id":"hall-3","application_ids":{"application_id":"plant-sensors"},"dev_eui":"70B3D57ED005A1B2"},"received_at":"2026-11-20T10:59:00.5Z","join_accept":{"session_key_id":"AYv4"}}"#;
    Case {
        example: "the-things-stack",
        ignored: &[
            (
                "v3/plant-sensors@ttn/devices/hall-3/down/push",
                r#"{"downlinks":[]}"#,
            ),
            (
                "v3/plant-sensors@ttn/devices/hall-3/down/replace",
                r#"{"downlinks":[]}"#,
            ),
            ("v3/plant-sensors@ttn/devices/hall-3/service/data", "{}"),
        ],
        published: &[
            ("v3/plant-sensors@ttn/devices/hall-3/join", JOIN),
            ("v3/plant-sensors@ttn/devices/hall-3/up", UP),
            ("v3/plant-sensors/devices/hall-3/up", UP),
        ],
        expected: &[
            raw("tts-joins", "plant-sensors@ttn/hall-3", JOIN),
            raw("tts-uplinks", "plant-sensors@ttn/hall-3", UP),
            raw("tts-uplinks", "plant-sensors/hall-3", UP),
        ],
        ..Case::default()
    }
    .run();
}

#[test]
fn tasmota() {
    const SENSOR: &str = r#"{"Time":"2026-11-20T12:00:00","ENERGY":{"TotalStartTime":"2025-01-01T00:00:00","Total":812.044,"Yesterday":1.204,"Today":0.311,"Power":63,"Voltage":231,"Current":0.291}}"#;
    const STATE: &str = r#"{"Time":"2026-11-20T12:00:00","Uptime":"4T03:02:01","Heap":27,"POWER":"ON","Wifi":{"SSId":"iot","RSSI":78,"Signal":-61}}"#;
    Case {
        example: "tasmota",
        retained: &[
            (
                "tasmota/discovery/DC4F22A1B2C3/config",
                r#"{"ip":"192.0.2.7","dn":"Plug"}"#,
            ),
            ("homeassistant/switch/DC4F22_RL_1/config", "{}"),
        ],
        ignored: &[
            ("cmnd/plug-7/POWER", "TOGGLE"),
            ("tele/plug-7", "?"),
            ("tasmota/discovery/DC4F22A1B2C3/sensors", "{}"),
        ],
        published: &[
            ("tele/plug-7/STATE", STATE),
            ("tele/plug-7/SENSOR", SENSOR),
            ("stat/plug-7/RESULT", r#"{"POWER":"OFF"}"#),
            ("stat/plug-7/POWER", "OFF"),
        ],
        expected: &[
            raw("tasmota-telemetry", "plug-7", STATE),
            raw("tasmota-telemetry", "plug-7", SENSOR),
            raw("tasmota-results", "plug-7", r#"{"POWER":"OFF"}"#),
            Expected {
                headers: Headers::With(&[("mqtt-topic", "stat/plug-7/POWER")]),
                ..raw("tasmota-results", "plug-7", "OFF")
            },
        ],
        ..Case::default()
    }
    .run();
}

#[test]
fn zigbee2mqtt() {
    const CLIMATE: &str =
        r#"{"battery":97,"humidity":44.72,"linkquality":138,"temperature":21.34,"voltage":2985}"#;
    const LAMP: &str = r#"{"brightness":215,"color_temp":325,"linkquality":96,"state":"ON"}"#;
    Case {
        example: "zigbee2mqtt",
        retained: &[
            ("zigbee2mqtt/bridge/devices", "[]"),
            ("zigbee2mqtt/bridge/state", r#"{"state":"online"}"#),
            ("zigbee2mqtt/hall/door", r#"{"contact":true}"#),
            ("homeassistant/sensor/0x00158d0001a2b3c4/temperature/config", "{}"),
        ],
        ignored: &[
            (
                "zigbee2mqtt/bridge/logging",
                r#"{"level":"info","message":"..."}"#,
            ),
            ("zigbee2mqtt/bridge/request/device/remove", r#"{"id":"lamp"}"#),
            ("zigbee2mqtt/kitchen/lamp/set", r#"{"state":"ON"}"#),
            ("zigbee2mqtt/kitchen/lamp/set/brightness", "200"),
            ("zigbee2mqtt/kitchen/lamp/get", r#"{"state":""}"#),
            ("zigbee2mqtt/kitchen/lamp/availability", r#"{"state":"online"}"#),
        ],
        published: &[
            ("zigbee2mqtt/kitchen/lamp", LAMP),
            ("zigbee2mqtt/0x00158d0001a2b3c4", CLIMATE),
            ("zigbee2mqtt/upstairs/bath/climate", CLIMATE),
            // Names that only look like what is left out.
            ("zigbee2mqtt/bridge", LAMP),
            ("zigbee2mqtt/jet/setter", LAMP),
        ],
        expected: &[
            raw("zigbee2mqtt", "kitchen/lamp", LAMP),
            raw("zigbee2mqtt", "0x00158d0001a2b3c4", CLIMATE),
            raw("zigbee2mqtt", "upstairs/bath/climate", CLIMATE),
            raw("zigbee2mqtt", "bridge", LAMP),
            raw("zigbee2mqtt", "jet/setter", LAMP),
        ],
        ..Case::default()
    }
    .run();
}

#[test]
fn shelly() {
    const STATUS: &str = r#"{"src":"shellyplus1pm-a8032ab12345","dst":"shellyplus1pm-a8032ab12345/events","method":"NotifyStatus","params":{"ts":1795173600.52,"switch:0":{"id":0,"apower":63.4,"aenergy":{"total":812.044,"minute_ts":1795173540}}}}"#;
    Case {
        example: "shelly",
        retained: &[("homeassistant/switch/shelly/config", "{}")],
        ignored: &[
            ("shellies/command", "announce"),
            ("shellies/announce", r#"{"id":"shelly1pm-B1E3F7"}"#),
            ("shellies/shelly1pm-B1E3F7/relay/0/command", "on"),
            ("shellies/shelly1pm-B1E3F7/command", "update"),
            (
                "shellyplus1pm-a8032ab12345/rpc",
                r#"{"id":1,"src":"me","method":"Shelly.GetStatus"}"#,
            ),
            ("shellyplus1pm-a8032ab12345/command/switch:0", "on"),
        ],
        published: &[
            ("shellies/shelly1pm-B1E3F7/relay/0", "on"),
            ("shellies/shelly1pm-B1E3F7/relay/0/power", "63.42"),
            (
                "shellies/shelly1pm-B1E3F7/announce",
                r#"{"id":"shelly1pm-B1E3F7"}"#,
            ),
            ("shellyplus1pm-a8032ab12345/events/rpc", STATUS),
        ],
        expected: &[
            raw("shelly-gen1", "shelly1pm-B1E3F7", "on"),
            Expected {
                headers: Headers::With(&[("mqtt-topic", "shellies/shelly1pm-B1E3F7/relay/0/power")]),
                ..raw("shelly-gen1", "shelly1pm-B1E3F7", "63.42")
            },
            raw("shelly-gen1", "shelly1pm-B1E3F7", r#"{"id":"shelly1pm-B1E3F7"}"#),
            raw("shelly-gen2", "shellyplus1pm-a8032ab12345", STATUS),
        ],
        ..Case::default()
    }
    .run();
}

const UUID: &str = "574bd77c-4aba-4557-aa9e-066939f938cc";

/// What WASP's router takes from a record, and nothing else: the key as text, the value as a JSON object, `ingest` in it. It
/// writes the value on with two more fields, and leaves the headers behind.
fn as_the_router_of_wasp(
    record: &Record,
) -> Option<(String, String, serde_json::Map<String, serde_json::Value>)> {
    let ingest_id = String::from_utf8(record.key.clone()?).ok()?;
    let mut value: serde_json::Map<_, _> = serde_json::from_slice(&record.value).ok()?;
    let ingest = value.get("ingest")?.as_str()?.to_owned();
    value.insert("thingId".to_owned(), "a thing".into());
    value.insert("type".to_owned(), "a type".into());
    Some((ingest, ingest_id, value))
}

const UPPER: &str = "574BD77C-4ABA-4557-AA9E-066939F938CD";
const NORDIC: &str = r#"{"appId":"TEMP","data":"20.9","messageType":"DATA"}"#;
const TTN: &str = r#"{"app_id":"plant","dev_id":"hall-3","hardware_serial":"70B3D57ED005A1B2","port":2,"counter":17,"payload_raw":"AQID","metadata":{"time":"2026-11-20T11:00:00Z","gateways":[{"gtw_id":"eui-0016c001f153a14c","channel":3,"rssi":-97,"snr":7.5,"latitude":52.5,"longitude":13.4}]}}"#;

/// Ingest, device id, payload and metadata of the records that WASP gets.
const ENVELOPES: [(&str, &str, &str, &str); 6] = [
    ("mqtt", UUID, r#"{"answer":42}"#, PLAIN),
    ("mqtt", UPPER, r#"{"n":12345678901234567890,"x":1.0}"#, PLAIN),
    ("mqtt", UUID, r#""AQL/""#, PLAIN),
    (
        "mqtt",
        UUID,
        r#""bm90IGpzb24=""#,
        r#"{"deviceId":"ID","payloadEncoding":"base64"}"#,
    ),
    ("nordic-cloud", "nrf-111111111111111", NORDIC, PLAIN),
    (
        "ttn",
        "70B3D57ED005A1B2",
        r#""AQID""#,
        r#"{"devEui":"ID","port":2,"gateways":[{"id":"eui-0016c001f153a14c","snr":7.5,"rssi":-97,"channel":3,"coordinates":{"latitude":52.5,"longitude":13.4,"altitude":null}}]}"#,
    ),
];
const PLAIN: &str = r#"{"deviceId":"ID"}"#;

#[test]
fn wasp() {
    let values = ENVELOPES.map(|(ingest, id, payload, metadata)| {
        let metadata = metadata.replace("\"ID\"", &format!("\"{id}\""));
        format!(
            r#"{{"payloadId":"<uuid>","ingest":"{ingest}","ingestId":"{id}","timestamp":"<time>","payload":{payload},"metadata":{metadata}}}"#
        )
    });
    let mut expected: Vec<Expected<'_>> = ENVELOPES
        .iter()
        .zip(&values)
        .map(|((_, key, ..), value)| Expected {
            topic: "raw-payloads",
            key,
            headers: Headers::Only(&[]),
            value,
        })
        .collect();
    // No UUID and no id at all: messages that end WASP's own ingest.
    let letters = ["things/abc/messages", "things//messages"];
    // And a message of Nordic's without what its ingest asks for.
    let unfit = ["prod/c1/m/d/nrf-111111111111111/d2c"];
    expected.extend(letters.into_iter().chain(unfit).map(|topic| Expected {
        headers: Headers::With(&[("edgeferry-dead-letter-reason", "<word>")]),
        ..raw("edge-gateway.dead-letter", topic, "{}")
    }));
    let [own, upper] = [UUID, UPPER].map(|id| format!("things/{id}/messages"));
    let case = Case {
        example: "wasp",
        ignored: &letters.map(|topic| (topic, "{}")),
        published: &[
            (&own, ENVELOPES[0].2),
            (&upper, ENVELOPES[1].2),
            (&own, ENVELOPES[2].2),
            (&own, "not json"),
            ("prod/c1/m/d/nrf-111111111111111/d2c", "{}"),
            ("prod/c1/m/d/nrf-111111111111111/d2c", NORDIC),
            ("plant/devices/hall-3/up", TTN),
        ],
        expected: &expected,
        has_several_links: true,
        ..Case::default()
    };
    let mut ids = BTreeSet::new();
    let mut envelopes = ENVELOPES;
    envelopes.sort_by_key(|(_, id, ..)| *id);
    for (record, (ingest, id, ..)) in case.run()["raw-payloads"].iter().zip(envelopes) {
        let (found, ingest_id, routed) = as_the_router_of_wasp(record).expect("the router takes it");
        assert_eq!((found.as_str(), ingest_id.as_str()), (ingest, id));
        assert_eq!(routed["ingestId"], id);
        assert!(ids.insert(routed["payloadId"].to_string()), "ids are unique");
    }
}

#[test]
fn kafnus() {
    const NOTIFICATION: &str = r#"{"subscriptionId":"6895adbe6eab6b403605331a","data":[{"id":"NPO-101","type":"Access","TimeInstant":{"type":"DateTime","value":"2025-06-26T12:00:00.000Z"},"numberofincoming":{"type":"Number","value":67},"status":{"type":"Text","value":"abierto"}}]}"#;
    const OWN_TIME: &str = r#"{"subscriptionId":"6895adbe6eab6b403605331a","data":[{"id":"NPO-102","type":"Access","TimeInstant":{"type":"DateTime","value":"<time>"},"numberofincoming":{"type":"Number","value":3}}]}"#;
    let record = |topic, key, value| Expected {
        topic,
        key,
        headers: Headers::With(&[("fiware-service", "test"), ("fiware-servicepath", "/accesscount")]),
        value,
    };
    Case {
        example: "kafnus",
        ignored: &[
            // Another number of levels is nobody's, as it was with the bridge of Kafnus.
            ("kafnus/tests/raw", "text"),
            ("kafnus/tests/sensors/deep/raw", "text"),
        ],
        published: &[
            (
                "counters/NPO-101/attrs",
                r#"{"TimeInstant":"2025-06-26T12:00:00.000Z","numberofincoming":67,"status":"abierto"}"#,
            ),
            ("counters/NPO-102/attrs", r#"{"numberofincoming":3}"#),
            ("kafnus/tests/sensors/raw", "any text"),
        ],
        expected: &[
            record("smc_raw_historic", "NPO-101", NOTIFICATION),
            record("smc_raw_historic", "NPO-102", OWN_TIME),
            record("smc_raw_lastdata", "NPO-101", NOTIFICATION),
            record("smc_raw_lastdata", "NPO-102", OWN_TIME),
            Expected {
                headers: Headers::With(&[("fiware-service", "tests"), ("fiware-servicepath", "sensors")]),
                ..raw("raw", "tests/sensors", "any text")
            },
        ],
        ..Case::default()
    }
    .run();
}

#[test]
fn iot_agent() {
    const ENTITY: &str =
        r#"{"id":"Thing:DEVICE","type":"Thing","TimeInstant":{"type":"DateTime","value":"<time>"},"#;
    let entity = |device: &str, rest: &str| format!("{}{rest}}}", ENTITY.replace("DEVICE", device));
    let t = |device: &str, t: &str| entity(device, &format!(r#""t":{{"type":"Number","value":{t}}}"#));
    let data = |entities: &[String]| format!(r#"{{"data":[{}]}}"#, entities.join(","));
    let two = r#""h":{"type":"Number","value":70},"t":{"type":"Number","value":15}"#;
    let ul = r#""t":{"type":"Number","value":15},"k":{"type":"Text","value":"abc"}"#;
    let values = [
        ("Thing:id_sen1", data(&[entity("id_sen1", two)])),
        ("Thing:id_sen1", data(&[t("id_sen1", "16")])),
        ("Thing:id_sen2", data(&[t("id_sen2", "17")])),
        ("Thing:id_sen1", data(&[t("id_sen1", "18")])),
        ("Thing:id_sen1", data(&[t("id_sen1", "19")])),
        ("Thing:id_sen3", data(&[entity("id_sen3", ul)])),
        ("Thing:id_sen3", data(&[t("id_sen3", "20"), t("id_sen3", "21")])),
        ("Thing:id_sen1", data(&[t("id_sen1", "22"), t("id_sen1", "23")])),
    ];
    let measures = [
        ("ABCDEF/id_sen1", r#"{"h":70,"t":15}"#),
        ("ABCDEF/id_sen1", r#"{"t":18}"#),
        ("ABCDEF/id_sen3", "t|15|k|abc"),
        ("ABCDEF/id_sen3", "t|20#t|21"),
        ("ABCDEF/id_sen1", r#"[{"t":22},{"t":23}]"#),
    ];
    let mut expected: Vec<Expected<'_>> = values
        .iter()
        .map(|(key, value)| Expected {
            topic: "iota_raw_historic",
            key,
            headers: Headers::With(&[
                ("fiware-service", "smartcity"),
                ("fiware-servicepath", "/sensors"),
            ]),
            value,
        })
        .collect();
    expected.extend(measures.map(|(key, value)| raw("iota-measures", key, value)));
    Case {
        example: "iot-agent",
        ignored: &[
            ("/ABCDEF/id_sen1/cmd", r#"{"ping":"1"}"#),
            ("/json/ABCDEF/id_sen1/cmdexe", r#"{"ping":"ok"}"#),
            ("/json/ABCDEF/id_sen1/configuration/commands", "{}"),
            ("/ABCDEF/id_sen1/configuration/values", "{}"),
            ("/lorawan/ABCDEF/id_sen1/attrs", r#"{"t":1}"#),
        ],
        published: &[
            ("/json/ABCDEF/id_sen1/attrs", r#"{"h":70,"t":15}"#),
            ("json/ABCDEF/id_sen1/attrs", r#"{"t":16}"#),
            ("/ABCDEF/id_sen2/attrs", r#"{"t":17}"#),
            ("/JSON/ABCDEF/id_sen1/attrs", r#"{"t":18}"#),
            ("/json/ABCDEF/id_sen1/attrs/t", "19"),
            ("/ul/ABCDEF/id_sen3/attrs", "t|15|k|abc"),
            ("/ul/ABCDEF/id_sen3/attrs", "t|20#t|21"),
            ("/json/ABCDEF/id_sen1/attrs", r#"[{"t":22},{"t":23}]"#),
        ],
        expected: &expected,
        ..Case::default()
    }
    .run();
}

#[test]
fn cloudevents() {
    Case {
        example: "cloudevents",
        published: &[
            ("machines/line-1/press-7/state", r#"{"rpm":812.50}"#),
            ("machines/line-1/press-7/label", "plain text"),
            ("cameras/line-1/cam-2/image", "GIF89a"),
        ],
        expected: &[
            raw(
                "machine-events",
                "line-1/press-7",
                r#"{"specversion":"1.0","id":"<id>","source":"factory/line-1/press-7","type":"com.example.machine.state","subject":"machines/line-1/press-7/state","time":"<time>","datacontenttype":"application/json","data":{"rpm":812.50}}"#,
            ),
            raw(
                "machine-events",
                "line-1/press-7",
                r#"{"specversion":"1.0","id":"<id>","source":"factory/line-1/press-7","type":"com.example.machine.label","subject":"machines/line-1/press-7/label","time":"<time>","datacontenttype":"application/octet-stream","data_base64":"cGxhaW4gdGV4dA=="}"#,
            ),
            Expected {
                headers: Headers::With(&[
                    ("ce_specversion", "1.0"),
                    ("ce_id", "<id>"),
                    ("ce_source", "factory/line-1/cam-2"),
                    ("ce_type", "com.example.camera.image"),
                    ("ce_time", "<time>"),
                ]),
                ..raw("camera-images", "line-1/cam-2", "GIF89a")
            },
        ],
        ..Case::default()
    }
    .run();
}

#[test]
fn sparkplug() {
    // What stands for Protocol Buffers; edgeferry does not look into it.
    const METRICS: &str = "\u{8}\u{7f}\u{12}\u{5}rpm";
    let kind = |kind| {
        Headers::With(match kind {
            "NBIRTH" => &[("sparkplug-kind", "NBIRTH")],
            "DBIRTH" => &[("sparkplug-kind", "DBIRTH")],
            _ => &[("sparkplug-kind", "DDATA")],
        })
    };
    let record = |key, of| Expected {
        headers: kind(of),
        ..raw("sparkplug", key, METRICS)
    };
    Case {
        example: "sparkplug",
        ignored: &[
            ("spBv1.0/plant/NCMD/node-1", METRICS),
            ("spBv1.0/plant/DCMD/node-1/press-7", METRICS),
        ],
        published: &[
            ("spBv1.0/plant/NBIRTH/node-1", METRICS),
            ("spBv1.0/plant/DBIRTH/node-1/press-7", METRICS),
            ("spBv1.0/plant/DDATA/node-1/press-7", METRICS),
            (
                "spBv1.0/STATE/scada",
                r#"{"online":true,"timestamp":1795173600000}"#,
            ),
        ],
        expected: &[
            record("plant/node-1", "NBIRTH"),
            record("plant/node-1/press-7", "DBIRTH"),
            record("plant/node-1/press-7", "DDATA"),
            raw(
                "sparkplug-hosts",
                "scada",
                r#"{"online":true,"timestamp":1795173600000}"#,
            ),
        ],
        ..Case::default()
    }
    .run();
}

/// Each of these stops some other system. Here each is a record or a dead letter, and the device's next message goes on.
#[test]
fn poison_becomes_dead_letters_and_its_neighbours_flow() {
    let kafka = shared();
    let wasp = kafka.fresh_topic_with("poisoned", 1, &[]);
    let plain = kafka.fresh_topic_with("poisoned", 1, &[]);
    let (prefix, device) = plain.rsplit_once('-').expect("it ends in a number");
    let config = Config::new(kafka)
        .broker("local", "5", &BROKER)
        .gateway("gw-poison")
        .route_with("poison/{device}/messages", &wasp, "format = \"wasp\"")
        .route("poison/{device}/plain", &format!("{prefix}-{{device}}"));
    let mark = BROKER.mark();
    let mut daemon = Daemon::start(&config);
    for filter in ["poison/+/messages", "poison/+/plain"] {
        BROKER.until_subscribed(filter, mark);
    }
    let mut link = Link::connect(BROKER.port(), "poison", true).expect("it accepts");
    let good = [
        format!("poison/{UUID}/messages"),
        format!("poison/{device}/plain"),
    ];
    let large = vec![b' '; 2 * 1024 * 1024];
    let long = format!("poison/{}/plain", "x".repeat(250));
    // What becomes a record nevertheless is below.
    let letters: [(&str, &[u8]); 7] = [
        ("poison/abc/messages", b"{}"),
        ("poison//messages", b"{}"),
        (&good[0], &large),
        ("poison//plain", b"1"),
        ("poison/a b/plain", b"1"),
        (&long, b"1"),
        (&good[1], &large),
    ];
    let mut expected = Vec::new();
    for (number, (topic, payload)) in letters.iter().enumerate() {
        link.publish(topic, payload);
        for topic in &good {
            link.publish(topic, number.to_string().as_bytes());
        }
        expected.push(number.to_string());
    }
    // Neither JSON nor anything at all.
    for topic in &good {
        link.publish(topic, b"{\"cut\":");
        link.publish(topic, b"");
    }
    expected.extend(["{\"cut\":".to_owned(), String::new()]);
    let mut oracle = Oracle::new(kafka, &plain);
    let values: Vec<String> = oracle
        .first(expected.len())
        .iter()
        .map(|record| text(Some(&record.value)))
        .collect();
    assert_eq!(values, expected);
    let mut oracle = Oracle::new(kafka, &wasp);
    let payloads: Vec<serde_json::Value> = oracle
        .first(expected.len())
        .iter()
        .map(|record| as_the_router_of_wasp(record).expect("the router takes it").2["payload"].take())
        .collect();
    let numbers = (0..letters.len()).map(serde_json::Value::from);
    let of_wasp: Vec<_> = numbers.chain(["eyJjdXQiOg==".into(), "".into()]).collect();
    assert_eq!(payloads, of_wasp);
    daemon.assert_alive();
    let said = daemon.dead_letter(&["ls", "--json"]);
    daemon.terminate();
    let answer: serde_json::Value = serde_json::from_str(&said).expect("one line of JSON");
    let count = answer["letters"]["letters"].as_u64();
    assert_eq!(count, Some(letters.len() as u64), "{said}");
}
