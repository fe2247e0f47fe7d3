//! `config/mosquitto.conf` in a real Mosquitto: what docs/mosquitto.md says of it, and what Mosquitto does without it.

use std::path::Path;
use std::time::Duration;

use rumqttc::{Publish, QoS};

use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::kafka::{Brokers, shared};
use crate::support::manual::page;
use crate::support::mosquitto::Mosquitto;
use crate::support::mqtt::Link;
use crate::support::oracle::Reader;
use crate::support::scene::FILTER;
use crate::support::wait;

/// Of `devices.passwd`.
const DEVICE: (&str, &str) = ("press-4", "first device password");
/// Far more than the 1,000 that Mosquitto keeps by itself.
const WITH_QOS_1: usize = 5_000;
const WITH_QOS_0: usize = 1_000;
const BYTES: usize = 200;
/// Through queue and Kafka, of a debug binary on a busy machine.
const DELIVERED: Duration = Duration::from_mins(1);
/// When nothing has come for so long, nothing more comes.
const SILENCE: Duration = Duration::from_secs(2);

/// The shipped file with the port and the folders of this test, behind the lines of Debian's own file.
fn shipped(port: u16, folder: &Path) -> String {
    let passwords = folder.join("passwords");
    // Made as docs/gateway.md says: one line for each device.
    let made = std::process::Command::new("mosquitto_passwd")
        .args(["-c", "-b"])
        .arg(&passwords)
        .args([DEVICE.0, DEVICE.1])
        .status();
    assert!(made.expect("it comes with mosquitto").success());
    let text = page("config/mosquitto.conf");
    let put = |text: String, from: &str, to: &str| {
        assert_eq!(text.matches(from).count(), 1, "{from:?} is there once");
        text.replace(from, to)
    };
    let comment = "# No port and no password";
    let text = text.lines().filter(|line| !line.starts_with(comment));
    let text: String = text.flat_map(|line| [line, "\n"]).collect();
    let text = put(
        text,
        "\nlistener 1883\n",
        &format!("\nlistener {port} 127.0.0.1\n"),
    );
    let text = put(
        text,
        "/etc/mosquitto/devices.passwd",
        &passwords.display().to_string(),
    );
    // A socket's path must be short, and this test's folder is not.
    let text = put(text, "/run/edgeferry-mqtt/mqtt.sock", &socket(port));
    format!("persistence_location {}/\n{text}", folder.join("store").display())
}

fn socket(port: u16) -> String {
    format!("/tmp/edgeferry-test-{port}.sock")
}

/// The shipped broker; its socket goes with it.
struct Shipped(Mosquitto);

impl Shipped {
    fn start() -> Self {
        Self(Mosquitto::start_as(shipped))
    }

    /// With one line of the shipped file as another one.
    fn start_with(line: &str, other: &str) -> Self {
        Self(Mosquitto::start_as(|port, folder| {
            let text = shipped(port, folder);
            assert_eq!(text.lines().filter(|there| *there == line).count(), 1, "{line}");
            let lines = text
                .lines()
                .map(|there| if there == line { other } else { there });
            lines.flat_map(|line| [line, "\n"]).collect()
        }))
    }

    /// How often it has written its database.
    fn saves(&self) -> usize {
        self.0.log().matches("Saving in-memory database").count()
    }

    /// A session that is kept for a subscriber who is away.
    fn leave_a_session(&self) {
        self.subscriber().subscribe(FILTER);
    }

    fn device(&self) -> Link {
        Link::connect_as(self.0.port(), "device", true, Some(DEVICE)).expect("the device is let in")
    }

    /// A subscriber that the broker keeps messages for, as it does for edgeferry; it acknowledges what it gets.
    fn subscriber(&self) -> Link {
        Link::connect_as(self.0.port(), "subscriber", false, Some(DEVICE)).expect("it is let in")
    }
}

impl Drop for Shipped {
    fn drop(&mut self) {
        drop(std::fs::remove_file(socket(self.0.port())));
    }
}

fn publish(link: &mut Link, qos: QoS, first: usize, count: usize) {
    for number in first..first + count {
        let mut payload = format!("{number} ").into_bytes();
        payload.resize(BYTES, b'.');
        link.publish_packet(Publish::new("devices/d1/telemetry", qos, payload));
    }
}

/// The numbers of all messages that come, each acknowledged.
fn numbers(link: &mut Link) -> Vec<usize> {
    let mut found = Vec::new();
    while let Some(packet) = link.receive(SILENCE).expect("the broker is there") {
        if let rumqttc::Packet::Publish(publish) = packet {
            found.push(number_of(&publish.payload));
            if publish.qos == QoS::AtLeastOnce {
                link.acknowledge(&publish);
            }
        }
    }
    found
}

fn number_of(payload: &[u8]) -> usize {
    let text = String::from_utf8_lossy(payload);
    let number = text.split(' ').next().expect("there is a first word");
    number.parse().expect("the payload begins with a number")
}

#[test]
fn what_devices_publish_with_qos_1_and_0_while_edgeferry_is_away_is_kept_and_delivered() {
    let kafka = shared();
    for version in ["5", "3.1.1"] {
        let broker = Shipped::start();
        let topic = kafka.fresh_topic("shipped");
        let url = format!("unix://{}", socket(broker.0.port()));
        let config = Config::new(kafka)
            .broker_at("local", version, &url, "")
            .route("devices/{device}/telemetry", &topic);
        let mark = broker.0.mark();
        let mut daemon = Daemon::start(&config);
        broker.0.until_subscribed(FILTER, mark);
        daemon.terminate();
        let mut device = broker.device();
        publish(&mut device, QoS::AtLeastOnce, 0, WITH_QOS_1);
        publish(&mut device, QoS::AtMostOnce, WITH_QOS_1, WITH_QOS_0);
        // Behind those with QoS 0, so that the broker has taken them.
        publish(&mut device, QoS::AtLeastOnce, WITH_QOS_1 + WITH_QOS_0, 1);
        daemon.restart();
        let mut reader = Reader::new(&Brokers::bootstrap(kafka), &topic);
        let all: Vec<usize> = (0..=WITH_QOS_1 + WITH_QOS_0).collect();
        let found: Vec<usize> = all
            .iter()
            .map_while(|_| reader.next(DELIVERED))
            .map(|record| number_of(&record.value))
            .collect();
        daemon.terminate();
        assert_eq!(found.len(), all.len(), "MQTT {version}");
        assert!(found == all, "MQTT {version}: in order, each once");
        assert!(reader.rest(DELIVERED).is_empty(), "MQTT {version}");
    }
}

#[test]
fn without_the_shipped_file_mosquitto_keeps_a_thousand_messages_and_none_of_qos_0() {
    let plain = |port: u16, folder: &Path| {
        let store = folder.join("store").display().to_string();
        format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {store}/\n"
        )
    };
    let broker = Mosquitto::start_as(plain);
    let connect = |name: &str, clean: bool| Link::connect(broker.port(), name, clean).expect("it is open");
    let mut subscriber = connect("subscriber", false);
    subscriber.subscribe(FILTER);
    drop(subscriber);
    let mut device = connect("device", true);
    publish(&mut device, QoS::AtMostOnce, 0, 100);
    publish(&mut device, QoS::AtLeastOnce, 100, 2_000);
    let kept = numbers(&mut connect("subscriber", false));
    eprintln!("of 100 with QoS 0 and 2,000 with QoS 1, {} were kept", kept.len());
    assert!((1_000..1_100).contains(&kept.len()), "{}", kept.len());
    assert!(kept.iter().all(|number| *number >= 100), "none with QoS 0");
}

#[test]
fn what_mosquitto_acknowledged_behind_its_last_save_is_lost_by_a_crash_and_kept_by_a_stop() {
    let mut broker = Shipped::start();
    let mut subscriber = broker.subscriber();
    subscriber.subscribe(FILTER);
    drop(subscriber);
    let mut device = broker.device();
    publish(&mut device, QoS::AtLeastOnce, 0, 500);
    broker.0.save();
    publish(&mut device, QoS::AtLeastOnce, 500, 500);
    broker.0.kill();
    broker.0.restart();
    let kept = numbers(&mut broker.subscriber());
    eprintln!("killed: {} of 1,000 acknowledged messages are left", kept.len());
    assert!(
        kept == (0..500).collect::<Vec<_>>(),
        "those before the save: {kept:?}"
    );

    let mut device = broker.device();
    publish(&mut device, QoS::AtLeastOnce, 0, 1_000);
    broker.0.stop();
    broker.0.restart();
    assert!(numbers(&mut broker.subscriber()) == (0..1_000).collect::<Vec<_>>());
}

#[test]
fn the_bound_of_a_queue_that_nobody_fetches_is_in_bytes_of_payload() {
    const BOUND: usize = 100_000;
    let broker = Shipped::start_with("max_queued_bytes 32000000", &format!("max_queued_bytes {BOUND}"));
    let mut subscriber = broker.subscriber();
    subscriber.subscribe(FILTER);
    drop(subscriber);
    publish(&mut broker.device(), QoS::AtLeastOnce, 0, 4_000);
    let kept = numbers(&mut broker.subscriber());
    eprintln!("of 4,000 messages {} were kept in {BOUND} bytes", kept.len());
    let fit = BOUND / BYTES;
    // Those of a window come on top, if the broker counts them apart.
    assert!((fit..=fit + 1_001).contains(&kept.len()), "{}", kept.len());
    assert!(
        kept == (0..kept.len()).collect::<Vec<_>>(),
        "the newest are dropped"
    );
}

#[test]
fn what_came_before_an_autosave_is_kept_over_a_crash_and_the_interval_is_in_seconds() {
    let mut broker = Shipped::start_with("autosave_interval 60", "autosave_interval 1");
    broker.leave_a_session();
    publish(&mut broker.device(), QoS::AtLeastOnce, 0, 500);
    let before = broker.saves();
    wait::until("it saves by itself, twice", DELIVERED, || {
        (broker.saves() >= before + 2).then_some(())
    });
    broker.0.kill();
    broker.0.restart();
    assert!(numbers(&mut broker.subscriber()) == (0..500).collect::<Vec<_>>());
}

#[test]
fn with_autosave_on_changes_the_interval_is_a_number_of_messages_and_not_of_seconds() {
    for (line, saved) in [
        ("autosave_on_changes false", false),
        ("autosave_on_changes true", true),
    ] {
        let broker = Shipped::start_with("autosave_on_changes false", line);
        broker.leave_a_session();
        // More than 60 changes, in much less than 60 seconds.
        publish(&mut broker.device(), QoS::AtLeastOnce, 0, 500);
        drop(Link::knock(broker.0.port()));
        assert_eq!(broker.saves() > 0, saved, "{line}");
    }
}

#[test]
fn each_save_writes_the_whole_database_however_little_is_new() {
    use std::os::unix::fs::MetadataExt;
    let mut database = std::path::PathBuf::new();
    let mut broker = Shipped(Mosquitto::start_as(|port, folder| {
        database = folder.join("store/mosquitto.db");
        shipped(port, folder)
    }));
    broker.leave_a_session();
    let mut device = broker.device();
    publish(&mut device, QoS::AtLeastOnce, 0, 5_000);
    broker.0.save();
    let first = std::fs::metadata(&database).expect("it was saved");
    publish(&mut device, QoS::AtLeastOnce, 5_000, 1);
    broker.0.save();
    let second = std::fs::metadata(&database).expect("it was saved");
    assert_ne!(first.ino(), second.ino(), "another file");
    assert!(
        second.len() > first.len() && first.len() > 1_000_000,
        "with everything in it"
    );
}

#[test]
fn a_client_of_mqtt_3_1_1_has_a_thousand_messages_under_way_and_twenty_without_the_line() {
    for (line, window) in [("max_inflight_messages 1000", 1_000), ("", 20)] {
        let broker = Shipped::start_with("max_inflight_messages 1000", line);
        broker.leave_a_session();
        publish(&mut broker.device(), QoS::AtLeastOnce, 0, 1_500);
        let mut subscriber = broker.subscriber();
        let mut under_way = 0;
        while let Some(packet) = subscriber.receive(SILENCE).expect("the broker is there") {
            under_way += usize::from(matches!(packet, rumqttc::Packet::Publish(_)));
        }
        assert_eq!(under_way, window, "{line:?}");
    }
}

#[test]
fn nobody_without_a_password_comes_in_at_the_port_of_the_devices() {
    let broker = Shipped::start();
    let port = broker.0.port();
    assert!(Link::connect(port, "nobody", true).is_err(), "without a name");
    let wrong = Link::connect_as(port, "liar", true, Some((DEVICE.0, "another password")));
    assert!(wrong.is_err(), "with a wrong password");
    // The socket asks for none: only listeners that are told apart can differ.
    let everybody = Shipped::start_with("per_listener_settings true", "");
    assert!(
        Link::connect(everybody.0.port(), "nobody", true).is_ok(),
        "one allow_anonymous counts for both"
    );
}

/// Nobody waits two months: that Mosquitto forgets a session then is its own word.
#[test]
fn sessions_are_kept_for_longer_than_edgeferry_asks_for() {
    let text = page("config/mosquitto.conf");
    let kept = text
        .lines()
        .find_map(|line| line.strip_prefix("persistent_client_expiration "));
    let days: u64 = kept
        .and_then(|kept| kept.strip_suffix('d')?.parse().ok())
        .expect("a number of days");
    let asked = page("config/edgeferry.toml");
    assert!(
        asked.contains("\n# session_expiry = \"30days\""),
        "the default is written there"
    );
    assert!(days >= 2 * 30, "{days} days");
}
