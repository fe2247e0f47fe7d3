//! The instruments themselves: parts that start, stop and come back, and an oracle that finds every fault
//! which was put there on purpose. A test that cannot fail shows nothing.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAck, Publish};

use crate::support::config::GATEWAY;
use crate::support::devices::sent::Sent;
use crate::support::devices::{Devices, Plan};
use crate::support::kafka::{Kafka, PARTITIONS, shared};
use crate::support::mosquitto::Mosquitto;
use crate::support::mqtt::Link;
use crate::support::oracle::verdict::Duplicates;
use crate::support::oracle::{Oracle, Verdict, murmur2};
use crate::support::payload::{USUAL_BYTES, is_sent, origin, payload};
use crate::support::proxy::{Proxy, Rules};
use crate::support::takeover::Takeover;
use crate::support::telemetry::reading;
use crate::support::{ports, wait};

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn our_murmur2_gives_the_partitions_of_javas_producer() {
    /// Key and its partition among 4, 5, 8 and 15; taken from a Java producer.
    const VECTORS: &[(&str, [i32; 4])] = &[
        ("574bd77c-4aba-4557-aa9e-066939f938cc", [2, 3, 6, 3]),
        ("nrf-111111111111111", [3, 2, 3, 7]),
        ("NPO-101", [3, 2, 7, 12]),
        ("sensor-1", [1, 1, 5, 1]),
        ("urn:ngsi-ld:Sensor:001", [2, 3, 6, 8]),
        ("Thing:id_sen1", [1, 0, 1, 10]),
        ("sérial-é", [1, 2, 5, 2]),
    ];
    for (key, expected) in VECTORS {
        let ours = [4, 5, 8, 15].map(|count| murmur2::partition(key.as_bytes(), count));
        assert_eq!(ours, *expected, "{key}");
    }
    assert_eq!(murmur2::partition(b"TT0124", 15), 10);
}

#[test]
fn a_payload_tells_its_origin_and_has_the_size_asked_for() {
    let value = payload("d7", 123, USUAL_BYTES);
    assert_eq!(value.len(), USUAL_BYTES);
    assert_eq!(origin(&value), Some(("d7".into(), 123)));
    assert_eq!(value, payload("d7", 123, USUAL_BYTES));
    assert_ne!(value, payload("d8", 123, USUAL_BYTES));
}

#[test]
fn a_reading_is_json_of_the_size_asked_for_and_known_again_whatever_that_is() {
    for (device, size) in [
        ("d7", 40),
        ("pump-1007", 120),
        ("pump-1007", USUAL_BYTES),
        ("d199999", 2_000),
    ] {
        for seq in [1, 123, 90_000] {
            let value = reading(device, seq, size);
            assert_eq!(value.len(), size, "{}", String::from_utf8_lossy(&value));
            assert_eq!(origin(&value), Some((device.into(), seq)));
            assert!(is_sent(&value, device, seq) && !is_sent(&value, device, seq + 1));
        }
    }
    // All fields fit into the usual size.
    let usual = reading("pump-1007", 90_000, USUAL_BYTES);
    assert!(usual.windows(7).any(|part| part == b"\"state\""));
}

#[test]
fn mosquitto_keeps_a_session_over_sigterm_and_forgets_it_when_wiped() {
    let mut mosquitto = Mosquitto::start();
    drop(Link::connect(mosquitto.port(), "somebody", false).expect("it accepts"));
    mosquitto.stop();
    mosquitto.restart();
    assert!(session_present(&mosquitto), "kept over SIGTERM");
    mosquitto.stop();
    mosquitto.wipe();
    mosquitto.restart();
    assert!(!session_present(&mosquitto), "wiped");
    mosquitto.kill();
    assert!(
        Link::connect(mosquitto.port(), "somebody", false).is_err(),
        "killed"
    );
}

fn session_present(mosquitto: &Mosquitto) -> bool {
    Link::connect(mosquitto.port(), "somebody", false)
        .expect("it accepts")
        .session_present()
}

#[test]
fn devices_send_again_what_a_killed_broker_left_unacknowledged() {
    let mut mosquitto = Mosquitto::start();
    let devices = Devices::start(
        &mosquitto,
        &Plan {
            rate: None,
            ..Plan::default()
        },
    );
    devices.until_acked(2_000, LIMIT);
    mosquitto.kill();
    mosquitto.restart();
    devices.until_acked(2_000, LIMIT);
    mosquitto.pause();
    mosquitto.resume();
    devices.until_acked(2_000, LIMIT);
    let sent = devices.finish(LIMIT);
    let all: usize = sent.devices.values().map(BTreeMap::len).sum();
    assert_eq!(sent.acked().count(), all, "at the end everything is acknowledged");
    assert!(sent.resent() > 0, "a full window was cut off");
    for (device, log) in &sent.devices {
        let last = *log.keys().next_back().expect("every device has published");
        assert_eq!(log.len() as u64, last, "{device} counts without gaps");
    }
}

#[test]
fn devices_publish_as_many_and_as_fast_as_planned() {
    let mosquitto = Mosquitto::start();
    let started = Instant::now();
    let plan = Plan {
        messages: Some(1_000),
        rate: Some(500),
        ..Plan::default()
    };
    let sent = Devices::start(&mosquitto, &plan).finish(LIMIT);
    assert_eq!(sent.acked().count(), 1_000);
    assert_eq!(sent.devices.len(), 20);
    assert!(
        started.elapsed() > Duration::from_millis(1_900),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn kafka_keeps_records_over_sigkill_and_topics_come_and_go() {
    let mut kafka = Kafka::start();
    let topic = kafka.fresh_topic("kept");
    let sent = faultless();
    produce(&kafka, &topic, &in_order());
    kafka.kill();
    assert_eq!(kafka.partitions(&topic), None, "killed");
    kafka.restart();
    judge(&kafka, &topic, &sent).assert_clean();
    kafka.pause();
    kafka.resume();
    kafka.stop();
    kafka.restart();
    judge(&kafka, &topic, &sent).assert_clean();
    kafka.delete_topic(&topic);
    wait::until("the topic is gone", LIMIT, || {
        kafka.partitions(&topic).is_none().then_some(())
    });
}

#[test]
fn the_oracle_finds_nothing_where_nothing_is_wrong() {
    let verdict = judge_on_purpose(|_| {});
    verdict.assert_clean_without_duplicates();
    assert_eq!((verdict.expected, verdict.records), (30, 30));
}

#[test]
fn the_oracle_finds_a_lost_message() {
    let verdict = judge_on_purpose(|records| drop(records.remove(7)));
    assert_eq!(verdict.lost, ["d1#3"]);
}

#[test]
fn the_oracle_finds_two_messages_of_a_device_swapped() {
    let verdict = judge_on_purpose(|records| records.swap(7, 10));
    assert_eq!(verdict.reordered, ["d1#3"]);
}

#[test]
fn the_oracle_ignores_the_order_between_devices() {
    judge_on_purpose(|records| records.swap(7, 8)).assert_clean();
}

#[test]
fn the_oracle_tells_the_kinds_of_duplicates_apart() {
    let again = |change: fn(&mut Fake)| {
        judge_on_purpose(|records| {
            let mut copy = records[7].clone();
            change(&mut copy);
            records.push(copy);
        })
    };
    let verdict = again(|_| {});
    verdict.assert_clean();
    assert_eq!(
        verdict.duplicates,
        Duplicates {
            same_id: 1,
            ..Duplicates::default()
        }
    );

    let verdict = again(|copy| (copy.id, copy.dup) = ("0123456789abcdef-default-900".into(), true));
    verdict.assert_clean();
    assert_eq!(
        verdict.duplicates,
        Duplicates {
            marked: 1,
            ..Duplicates::default()
        }
    );

    let verdict = again(|copy| copy.id = "0123456789abcdef-default-900".into());
    assert_eq!(verdict.unrecognisable, ["d1#3"], "another id and no mark");

    let verdict = again(|copy| copy.dup = true);
    assert_eq!(verdict.unrecognisable, ["d1#3"], "the same id, but other bytes");
}

#[test]
fn the_oracle_allows_as_many_copies_as_the_device_sent() {
    let mut sent = faultless();
    sent.devices
        .get_mut("d1")
        .and_then(|log| log.get_mut(&3))
        .expect("it was sent")
        .times = 2;
    let mut records = in_order();
    for number in [900, 901] {
        records.push(Fake {
            id: format!("0123456789abcdef-default-{number}"),
            ..records[7].clone()
        });
    }
    let verdict = judge_records(&records, &sent);
    assert_eq!(
        verdict.duplicates,
        Duplicates {
            resent: 1,
            unrecognisable: 1,
            ..Duplicates::default()
        }
    );
}

#[test]
fn the_oracle_finds_a_wrong_key() {
    let verdict = judge_on_purpose(|records| records[7].key = "d2".into());
    assert_eq!(verdict.wrong_key, ["d1#3"]);
}

#[test]
fn the_oracle_finds_a_key_in_a_wrong_partition() {
    let verdict = judge_on_purpose(|records| {
        let right = murmur2::partition(b"d1", PARTITIONS);
        records[7].partition = Some((right + 1) % PARTITIONS);
    });
    assert_eq!(verdict.split_keys, ["d1"]);
    assert_eq!(verdict.wrong_partition.len(), 1);
}

#[test]
fn the_oracle_knows_a_topic_that_grew() {
    let grown = |spoil: fn(&mut Vec<Fake>)| {
        let mut records = in_order();
        for (index, fake) in records.iter_mut().enumerate() {
            let layout = if index < 15 { 5 } else { 8 };
            fake.partition = Some(murmur2::partition(fake.key.as_bytes(), layout));
        }
        spoil(&mut records);
        let topic = shared().fresh_topic_with("grown", 8, &[]);
        produce(shared(), &topic, &records);
        let mut oracle = Oracle::new(shared(), &topic);
        oracle.until_all_there(&faultless(), Duration::from_secs(1));
        let first = oracle.verdict_over(&faultless(), &[5, 8]);
        (first, oracle.verdict(&faultless()))
    };
    let (verdict, without_growth) = grown(|_| {});
    verdict.assert_clean_without_duplicates();
    assert!(!without_growth.wrong_partition.is_empty() && !without_growth.split_keys.is_empty());
    let moved = |key: &str| murmur2::partition(key.as_bytes(), 5) != murmur2::partition(key.as_bytes(), 8);
    assert!(moved("d0"), "else the next case shows nothing");
    // The fifth message of d0 in the new partition, the sixth in the old one.
    let (verdict, _) = grown(|records| {
        let (old, new) = (records[12].partition, records[15].partition);
        (records[12].partition, records[15].partition) = (new, old);
    });
    assert_eq!(verdict.reordered, ["d0#5"]);
}

#[test]
fn the_oracle_finds_altered_and_foreign_records_and_bad_headers() {
    let verdict = judge_on_purpose(|records| {
        let noise = records[7].value.len() - 10;
        records[7].value[noise] = b'!';
        records[8].value = payload("nobody", 1, USUAL_BYTES);
        records[9].gateway = "another".into();
        records[10].id = "without-structure".into();
        records[11].id = records[12].id.clone();
    });
    assert_eq!(verdict.altered, ["d1#3"]);
    assert_eq!(verdict.foreign.len(), 1);
    assert_eq!(verdict.bad_headers.len(), 3, "{:?}", verdict.bad_headers);
}

/// A record as edgeferry would write it, before it is spoilt.
#[derive(Clone)]
struct Fake {
    key: String,
    value: Vec<u8>,
    id: String,
    gateway: String,
    topic: String,
    dup: bool,
    partition: Option<i32>,
}

/// Ten messages of three devices each, one device after the other.
fn in_order() -> Vec<Fake> {
    let messages = (1..=10_u64).flat_map(|seq| (0..3).map(move |device| (format!("d{device}"), seq)));
    messages
        .enumerate()
        .map(|(index, (device, seq))| Fake {
            value: payload(&device, seq, USUAL_BYTES),
            id: format!("0123456789abcdef-default-{}", index + 1),
            gateway: GATEWAY.into(),
            topic: Sent::new().topic_of(&device, seq),
            key: device,
            dup: false,
            partition: None,
        })
        .collect()
}

/// What devices would have noted for [`in_order`].
fn faultless() -> Sent {
    let mut sent = Sent::new();
    for seq in 1..=10 {
        for device in ["d0", "d1", "d2"] {
            sent.note(device, seq);
        }
    }
    sent
}

fn judge_on_purpose(spoil: impl FnOnce(&mut Vec<Fake>)) -> Verdict {
    let mut records = in_order();
    spoil(&mut records);
    judge_records(&records, &faultless())
}

fn judge_records(records: &[Fake], sent: &Sent) -> Verdict {
    let topic = shared().fresh_topic("oracle");
    produce(shared(), &topic, records);
    judge(shared(), &topic, sent)
}

fn judge(kafka: &Kafka, topic: &str, sent: &Sent) -> Verdict {
    let mut oracle = Oracle::new(kafka, topic);
    // Everything is there already: a short patience is enough for what is missing on purpose.
    oracle.until_all_there(sent, Duration::from_secs(1));
    oracle.verdict(sent)
}

fn produce(kafka: &Kafka, topic: &str, records: &[Fake]) {
    let producer: BaseProducer = kafka
        .client()
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random")
        .create()
        .expect("a plain producer");
    for fake in records {
        let header = |key, value| Header {
            key,
            value: Some(value),
        };
        let mut headers = OwnedHeaders::new()
            .insert(header("edgeferry-id", fake.id.as_str()))
            .insert(header("edgeferry-gateway", &fake.gateway))
            .insert(header("edgeferry-arrival", "2026-01-31T12:00:00.123Z"))
            .insert(header("mqtt-topic", &fake.topic));
        if fake.dup {
            headers = headers.insert(header("edgeferry-dup", "1"));
        }
        let mut record = BaseRecord::to(topic)
            .key(&fake.key)
            .payload(&fake.value)
            .headers(headers);
        record.partition = fake.partition;
        producer
            .send(record)
            .map_err(|(error, _)| error)
            .expect("the queue has room");
    }
    producer.flush(LIMIT).expect("kafka takes them");
}

/// Somebody who says back whatever is said, and counts it.
fn echo() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let heard = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&heard);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, counter) = (stream.expect("a connection"), Arc::clone(&counter));
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(len @ 1..) = stream.read(&mut buffer) {
                    counter.fetch_add(len, Ordering::Relaxed);
                    if stream.write_all(&buffer[..len]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (port, heard)
}

/// Says something through the proxy and waits for the answer: all of it, and how long that took.
fn say(port: u16, words: &[u8]) -> io::Result<Duration> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(SILENCE))?;
    let begun = Instant::now();
    stream.write_all(words)?;
    let mut answer = vec![0; words.len()];
    stream.read_exact(&mut answer)?;
    assert_eq!(answer, words, "bytes arrive as they were sent");
    Ok(begun.elapsed())
}

/// Longer than any answer takes here.
const SILENCE: Duration = Duration::from_secs(3);

#[test]
fn a_proxy_delays_limits_cuts_refuses_and_swallows() {
    let (target, heard) = echo();
    let proxy = Proxy::start(ports::free(), target);
    let port = proxy.port();
    wait::until("the proxy is there", LIMIT, || say(port, b"hello").ok());

    proxy.set(Rules {
        delay: Duration::from_millis(200),
        ..Rules::default()
    });
    let there_and_back = say(port, b"hello").expect("an answer");
    assert!(there_and_back >= Duration::from_millis(400), "{there_and_back:?}");

    proxy.set(Rules {
        bytes_per_second: Some(100_000),
        ..Rules::default()
    });
    let time = say(port, &vec![7; 50_000]).expect("an answer");
    assert!(time >= Duration::from_millis(500), "{time:?}");

    let before = heard.load(Ordering::Relaxed);
    proxy.set(Rules {
        cut_after: Some(1_000),
        ..Rules::default()
    });
    say(port, &[7; 5_000]).expect_err("it was cut");
    wait::until("what came before the cut is there", LIMIT, || {
        (heard.load(Ordering::Relaxed) == before + 1_000).then_some(())
    });
    assert_eq!(proxy.cuts(), 1);

    let before = heard.load(Ordering::Relaxed);
    proxy.set(Rules {
        swallow_answers: true,
        ..Rules::default()
    });
    say(port, b"hello").expect_err("no answer");
    assert_eq!(heard.load(Ordering::Relaxed), before + 5, "it was heard");
    assert_eq!(proxy.swallowed_bytes(), 5);

    proxy.set(Rules {
        refuse: true,
        ..Rules::default()
    });
    wait::until("the port is closed", LIMIT, || {
        TcpStream::connect(("127.0.0.1", port)).is_err().then_some(())
    });
    proxy.set(Rules::default());
    wait::until("the proxy is there again", LIMIT, || say(port, b"hello").ok());
}

/// Both ends of a connection through what notes PUBACKs: edgeferry's and the broker's.
fn link(takeover: &Takeover, broker: &TcpListener) -> (TcpStream, TcpStream) {
    let ours = wait::until("the way is there", LIMIT, || {
        TcpStream::connect(("127.0.0.1", takeover.proxy().port())).ok()
    });
    (ours, broker.accept().expect("a connection").0)
}

/// A PUBLISH of a device's message, as MQTT 5 has it.
fn publish(device: &str, seq: u64, packet_id: u16) -> Packet {
    let mut publish = Publish::new("any", QoS::AtLeastOnce, payload(device, seq, USUAL_BYTES), None);
    publish.pkid = packet_id;
    Packet::Publish(publish)
}

/// Sends packets on their way; returns when they have come out at the other end.
fn carry(mut from: &TcpStream, mut to: &TcpStream, packets: &[Packet]) {
    let mut bytes = BytesMut::new();
    for packet in packets {
        packet.write(&mut bytes, None).expect("it can be written");
    }
    // Packets do not come whole.
    for piece in bytes.chunks(3) {
        from.write_all(piece).expect("it is open");
    }
    let mut arrived = vec![0; bytes.len()];
    to.read_exact(&mut arrived).expect("it comes through");
    assert_eq!(arrived, bytes);
}

#[test]
fn what_was_taken_over_is_what_was_acknowledged_on_its_own_connection() {
    let broker = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let takeover = Takeover::start_before(broker.local_addr().expect("it is bound").port());
    let ack = |packet_id| Packet::PubAck(PubAck::new(packet_id, None));

    let (ours, theirs) = link(&takeover, &broker);
    carry(&theirs, &ours, &[publish("d1", 1, 1), publish("d1", 2, 2)]);
    // Of a message that edgeferry published under the same packet identifier.
    carry(&theirs, &ours, &[ack(2)]);
    carry(&ours, &theirs, &[ack(1)]);
    assert!(takeover.messages().has("d1", 1));
    assert_eq!(takeover.messages().count(), 1, "only edgeferry's word counts");

    // The packet identifier means nothing on another connection, until the message has come again there.
    let (ours, theirs) = link(&takeover, &broker);
    carry(&ours, &theirs, &[ack(2)]);
    assert_eq!(takeover.messages().count(), 1);
    carry(&theirs, &ours, &[publish("d1", 2, 2)]);
    carry(&ours, &theirs, &[ack(2)]);
    assert!(takeover.messages().has("d1", 2));
}
