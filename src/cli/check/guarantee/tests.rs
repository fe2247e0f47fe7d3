use std::collections::BTreeMap;
use std::path::Path;

use super::facts::{Seen, SeenTopic};
use super::mosquitto::Mosquitto;
use super::place::{FileSystem, Place};
use super::unit::Unit;
use super::*;
use crate::ops::state::Certificate;
use crate::sink::admin::Topic;

const DAY: Duration = Duration::from_hours(24);
const DEMAND: Demand = Demand {
    absence: Duration::from_hours(7 * 24),
    load: None,
};

/// Parts of a file that leaves nothing open.
#[derive(Default)]
struct File<'a> {
    mqtt: &'a str,
    queue: &'a str,
    kafka: &'a str,
    dead_letter: &'a str,
    route: &'a str,
    more: &'a str,
}

impl File<'_> {
    fn config(&self) -> Config {
        let line = |given: &str, usual: &str| match given {
            "" => usual.to_owned(),
            given => given.to_owned(),
        };
        let text = format!(
            "[gateway]\nid = \"gw\"\ndata_dir = \"/var/lib/edgeferry\"\n[[mqtt]]\nname = \"local\"\nurl = \"mqtt://127.0.0.1\"\n{}\n\
             [queue]\n{}\n[kafka]\nbootstrap_servers = [\"k:9092\"]\n{}\n[dead_letter]\n{}\n[[route]]\n\
             from = \"d/{{device}}/+\"\n{}\n{}\n",
            self.mqtt,
            self.queue,
            line(
                self.kafka,
                "delivery = \"exactly-once\"\non_partition_change = \"drain\""
            ),
            line(self.dead_letter, "topic = \"letters\""),
            line(self.route, "topic = \"t\""),
            self.more,
        );
        let parsed = crate::config::parse(Path::new("test.toml"), &text);
        parsed.expect("valid").0
    }
}

fn topic(replicas: usize, settings: &[(&str, &str)]) -> SeenTopic {
    let settings: BTreeMap<String, String> = settings
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    SeenTopic {
        name: "t".to_owned(),
        topic: Topic {
            partitions: 3,
            leaderless: 0,
            replicas,
            in_sync: replicas,
            settings: Ok(settings),
        },
        longest_wait: None,
    }
}

const TIGHT_TOPIC: [(&str, &str); 3] = [
    ("min.insync.replicas", "2"),
    ("retention.ms", "2592000000"),
    ("cleanup.policy", "delete"),
];

/// Surroundings that leave nothing open.
fn tight() -> Facts {
    Facts {
        unix_ms: 1_800_000_000_000,
        place: Some(Place {
            kind: FileSystem::Disk,
            kind_name: "ext4".to_owned(),
            source: "/dev/sda1".to_owned(),
            lying_option: None,
            is_card: false,
        }),
        free_bytes: Some(1 << 40),
        store_bytes: None,
        unit: Some(Unit {
            has_watchdog: true,
            restarts: true,
        }),
        local_mosquitto: Some(Mosquitto {
            max_queued_messages: 0,
            persistence: true,
            autosave: Some(Duration::from_mins(1)),
            client_expiration: None,
        }),
        local_brokers: vec![true],
        brokers: Vec::new(),
        topics: vec![topic(3, &TIGHT_TOPIC)],
        offsets_retention: Some(30 * DAY),
        certificates: Vec::new(),
        is_clock_synchronised: Some(true),
    }
}

/// The only finding, as kind, standing, setting and why.
fn only(config: &Config, facts: &Facts, demand: Demand) -> (Kind, Standing, String, String) {
    let mut found = findings(config, facts, demand);
    assert_eq!(found.len(), 1, "{found:#?}");
    let found = found.remove(0);
    assert_eq!(found.promise, found.kind.promise());
    assert!(!found.right.is_empty());
    (found.kind, found.standing, found.setting, found.why)
}

/// What a file alone is found to do; everything around it is tight.
fn of_file(file: &File<'_>) -> (Kind, Standing, String) {
    let (kind, standing, setting, _) = only(&file.config(), &tight(), DEMAND);
    (kind, standing, setting)
}

/// What the surroundings alone do; the file is tight.
fn of_facts(change: impl FnOnce(&mut Facts)) -> (Kind, Standing, String) {
    let mut facts = tight();
    change(&mut facts);
    let (kind, standing, setting, _) = only(&File::default().config(), &facts, DEMAND);
    (kind, standing, setting)
}

fn expected(kind: Kind, standing: Standing, setting: &str) -> (Kind, Standing, String) {
    (kind, standing, setting.to_owned())
}

#[test]
fn a_configuration_that_is_tight_has_nothing_to_say() {
    let found = findings(&File::default().config(), &tight(), DEMAND);
    assert_eq!(found, []);
}

/// Files with one part that is not the usual one.
fn mqtt(mqtt: &str) -> File<'_> {
    File {
        mqtt,
        ..File::default()
    }
}

fn queue(queue: &str) -> File<'_> {
    File {
        queue,
        ..File::default()
    }
}

fn kafka(kafka: &str) -> File<'_> {
    File {
        kafka,
        ..File::default()
    }
}

fn dead_letter(dead_letter: &str) -> File<'_> {
    File {
        dead_letter,
        ..File::default()
    }
}

fn route(route: &str) -> File<'_> {
    File {
        route,
        ..File::default()
    }
}

fn more(more: &str) -> File<'_> {
    File {
        more,
        ..File::default()
    }
}

const EXACTLY: &str = "delivery = \"exactly-once\"\n";
const DRAIN: &str = "on_partition_change = \"drain\"\n";

#[test]
fn what_a_file_lets_go_is_said_with_the_setting_that_changes_it() {
    for (file, setting) in [
        (mqtt("session_expiry = \"1h\""), "mqtt[0].session_expiry"),
        (route("topic = \"t\"\nqos = 0"), "route[0].qos"),
        (queue("on_full = \"drop-oldest\""), "queue.on_full"),
        (queue("on_full = \"drop-newest\""), "queue.on_full"),
        (queue("on_full = \"keep-latest\""), "queue.on_full"),
        (queue("max_age = \"1h\""), "queue.max_age"),
        (dead_letter("on_full = \"drop-oldest\""), "dead_letter.on_full"),
    ] {
        let want = expected(Kind::Lose, Standing::AsConfigured, setting);
        assert_eq!(of_file(&file), want);
    }
}

#[test]
fn what_a_file_reorders_or_doubles_is_said_with_the_setting_that_changes_it() {
    use Kind::{Duplicate, Reorder};
    use Standing::{AsConfigured, Open};
    let second =
        "[[route]]\nfrom = \"e/{device}\"\ntopic = \"t\"\nlane = \"alarms\"\n[[lane]]\nname = \"alarms\"\n";
    let by_topic = "topic = \"t\"\npartition_by = \"{mqtt:topic}\"";
    for (file, kind, standing, setting) in [
        (
            mqtt("shared_group = \"plant\""),
            Reorder,
            AsConfigured,
            "mqtt[0].shared_group",
        ),
        (kafka(EXACTLY), Reorder, Open, "kafka.on_partition_change"),
        (route(by_topic), Reorder, AsConfigured, "route[0].partition_by"),
        (more(second), Reorder, AsConfigured, "route[1].lane"),
        (kafka(DRAIN), Duplicate, AsConfigured, "kafka.delivery"),
    ] {
        assert_eq!(of_file(&file), expected(kind, standing, setting));
    }
}

#[test]
fn what_a_file_delays_is_said_with_the_setting_that_changes_it() {
    use Standing::{AsConfigured, Open};
    let limited = format!("{EXACTLY}{DRAIN}max_rate = \"1MiB/s\"");
    let patient = File {
        mqtt: "keep_alive = \"5s\"",
        queue: "commit_interval = \"4s\"\ncommit_interval_max = \"4s\"",
        ..File::default()
    };
    for (file, standing, setting) in [
        (dead_letter("on_full = \"hold\""), Open, "dead_letter.topic"),
        (kafka(&limited), AsConfigured, "kafka.max_rate"),
        (patient, AsConfigured, "mqtt[0].keep_alive"),
    ] {
        assert_eq!(of_file(&file), expected(Kind::Delay, standing, setting));
    }
}

#[test]
fn topics_with_names_in_them_may_hold_their_lane() {
    let kafka = "delivery = \"exactly-once\"\non_partition_change = \"drain\"\ncursor_topic = \"c\"";
    let file = File {
        kafka,
        route: "topic = \"t-{device}\"",
        ..File::default()
    };
    let want = expected(Kind::Delay, Standing::AsConfigured, "kafka.unknown_topic_after");
    assert_eq!(of_file(&file), want);
}

#[test]
fn a_lane_is_said_by_its_own_table() {
    let file = File {
        more: "[[lane]]\nname = \"default\"\non_full = \"drop-oldest\"",
        ..File::default()
    };
    let want = expected(Kind::Lose, Standing::AsConfigured, "lane[0].on_full");
    assert_eq!(of_file(&file), want);
}

#[test]
fn filters_that_overlap_in_part_are_doubled_only_where_nobody_can_tell() {
    let more = "[[route]]\nfrom = \"d/x/+\"\ntopic = \"t\"\nkey = \"k-{mqtt:topic}\"\n[[route]]\nfrom = \"+/x/y\"\ntopic = \"t\"\nkey = \"k-{mqtt:topic}\"";
    let old = File {
        mqtt: "version = \"3.1.1\"",
        more,
        ..File::default()
    };
    let found = findings(&old.config(), &tight(), DEMAND);
    let settings: Vec<&str> = found.iter().map(|finding| finding.setting.as_str()).collect();
    assert_eq!(settings, ["route[2].from", "route[2].from"], "{found:#?}");
    assert!(found.iter().all(|finding| finding.kind == Kind::Duplicate));
    let new = File {
        more,
        ..File::default()
    };
    assert_eq!(findings(&new.config(), &tight(), DEMAND), []);
}

#[test]
fn what_a_broker_does_on_its_own_is_said() {
    use Kind::Lose;
    use Standing::{Open, Unseen};
    let queue = "max_queued_messages (mosquitto.conf)";
    let mosquitto = |change: fn(&mut Mosquitto)| {
        move |facts: &mut Facts| change(facts.local_mosquitto.as_mut().expect("it is local"))
    };
    assert_eq!(
        of_facts(mosquitto(|known| known.max_queued_messages = 1000)),
        expected(Lose, Open, queue)
    );
    assert_eq!(
        of_facts(|facts| facts.local_mosquitto = None),
        expected(Lose, Unseen, queue)
    );
    assert_eq!(
        of_facts(|facts| facts.local_brokers = vec![false]),
        expected(Lose, Unseen, queue)
    );
    assert_eq!(
        of_facts(mosquitto(|known| known.persistence = false)),
        expected(Lose, Open, "persistence (mosquitto.conf)")
    );
    assert_eq!(
        of_facts(mosquitto(|known| known.autosave = Some(DAY))),
        expected(Lose, Open, "autosave_interval (mosquitto.conf)")
    );
    let seen = |change: fn(&mut Seen)| {
        move |facts: &mut Facts| {
            let mut seen = Seen::of("local", None, None);
            change(&mut seen);
            facts.brokers = vec![Some(seen)];
        }
    };
    assert_eq!(
        of_facts(seen(|seen| seen.session_expiry = Some(DAY))),
        expected(Lose, Open, "the session limit of broker local")
    );
    assert_eq!(
        of_facts(seen(|seen| seen.max_qos = Some(0))),
        expected(Lose, Open, "the QoS limit of broker local")
    );
    assert_eq!(
        of_facts(seen(|seen| seen.dropped = Some(3))),
        expected(Lose, Open, queue)
    );
    let mut quiet = tight();
    quiet.brokers = vec![Some(Seen::of("local", None, Some(0)))];
    assert_eq!(findings(&File::default().config(), &quiet, DEMAND), []);
}

#[test]
fn sessions_of_the_old_version_are_the_brokers_alone() {
    let config = File {
        mqtt: "version = \"3.1.1\"",
        ..File::default()
    }
    .config();
    let mut facts = tight();
    assert_eq!(
        findings(&config, &facts, DEMAND),
        [],
        "the local Mosquitto keeps them for ever"
    );
    facts
        .local_mosquitto
        .as_mut()
        .expect("it is local")
        .client_expiration = Some(DAY);
    let (kind, standing, setting, _) = only(&config, &facts, DEMAND);
    assert_eq!((kind, standing), (Kind::Lose, Standing::Open));
    assert_eq!(setting, "persistent_client_expiration (mosquitto.conf)");
    facts.local_mosquitto = None;
    let unseen = findings(&config, &facts, DEMAND);
    assert!(unseen.iter().any(|finding| finding.setting == "mqtt[0].version"));
}

#[test]
fn what_kafka_keeps_is_said() {
    use Kind::{Duplicate, Lose};
    use Standing::{Open, Unseen};
    assert_eq!(
        of_facts(|facts| facts.topics = vec![topic(1, &TIGHT_TOPIC)]),
        expected(Lose, Open, "min.insync.replicas (topic t)")
    );
    let insync_1 = [("min.insync.replicas", "1"), ("retention.ms", "2592000000")];
    assert_eq!(
        of_facts(|facts| facts.topics = vec![topic(3, &insync_1)]),
        expected(Lose, Open, "min.insync.replicas (topic t)")
    );
    let short = [("min.insync.replicas", "2"), ("retention.ms", "3600000")];
    assert_eq!(
        of_facts(|facts| facts.topics = vec![topic(3, &short)]),
        expected(Lose, Open, "retention.ms (topic t)")
    );
    for fine in [
        ("cleanup.policy", "compact"),
        ("message.timestamp.type", "LogAppendTime"),
    ] {
        let mut facts = tight();
        facts.topics = vec![topic(3, &[short.as_slice(), &[fine]].concat())];
        assert_eq!(
            findings(&File::default().config(), &facts, DEMAND),
            [],
            "{fine:?}"
        );
    }
    assert_eq!(
        of_facts(|facts| facts.topics = Vec::new()),
        expected(Lose, Unseen, "min.insync.replicas, retention.ms (topics)")
    );
    let offsets = "offsets.retention.minutes (Kafka's brokers)";
    assert_eq!(
        of_facts(|facts| facts.offsets_retention = Some(DAY)),
        expected(Duplicate, Open, offsets)
    );
    assert_eq!(
        of_facts(|facts| facts.offsets_retention = None),
        expected(Duplicate, Unseen, offsets)
    );
}

#[test]
fn what_the_store_stands_on_is_said() {
    use Kind::Lose;
    use Standing::Open;
    for kind in [
        FileSystem::Memory,
        FileSystem::Overlay,
        FileSystem::Network,
        FileSystem::NoJournal,
    ] {
        let found = of_facts(|facts| facts.place.as_mut().expect("known").kind = kind);
        assert_eq!(found, expected(Lose, Open, "gateway.data_dir"), "{kind:?}");
    }
    let lying = |facts: &mut Facts| {
        facts.place.as_mut().expect("known").lying_option = Some("nobarrier".to_owned());
    };
    assert_eq!(
        of_facts(lying),
        expected(Lose, Open, "the mount options of data_dir (/etc/fstab)")
    );
    let card = |facts: &mut Facts| facts.place.as_mut().expect("known").is_card = true;
    assert_eq!(of_facts(card), expected(Lose, Open, "queue.flash_budget"));
    let mut facts = tight();
    card(&mut facts);
    let bounded = File {
        queue: "flash_budget = \"5GiB/day\"",
        ..File::default()
    };
    assert_eq!(findings(&bounded.config(), &facts, DEMAND), []);
    assert_eq!(
        of_facts(|facts| facts.free_bytes = Some(1 << 29)),
        expected(Lose, Open, "queue.max_bytes")
    );
    let mut half = tight();
    half.free_bytes = Some(1 << 29);
    half.store_bytes = Some(1 << 30);
    assert_eq!(
        findings(&File::default().config(), &half, DEMAND),
        [],
        "it has its space already"
    );
}

#[test]
fn who_starts_it_again_is_said() {
    use Kind::Delay;
    use Standing::{Open, Unseen};
    let unit = |has_watchdog, restarts| {
        move |facts: &mut Facts| {
            facts.unit = Some(Unit {
                has_watchdog,
                restarts,
            });
        }
    };
    assert_eq!(
        of_facts(unit(false, true)),
        expected(Delay, Open, "WatchdogSec (unit file)")
    );
    assert_eq!(
        of_facts(unit(true, false)),
        expected(Delay, Open, "Restart (unit file)")
    );
    assert_eq!(
        of_facts(|facts| facts.unit = None),
        expected(Delay, Unseen, "the unit file")
    );
}

#[test]
fn ends_of_certificates_and_clocks_are_said() {
    let certificate = |end| Certificate {
        of: "kafka".to_owned(),
        setting: "ca_file".to_owned(),
        file: "/ca.pem".to_owned(),
        not_after_unix_ms: end,
        failure: None,
    };
    let now = tight().unix_ms;
    let day = 24 * 60 * 60 * 1000;
    let want = expected(Kind::Delay, Standing::Open, "ca_file");
    for end in [now - day, now + day, now + 20 * day] {
        assert_eq!(
            of_facts(|facts| facts.certificates = vec![certificate(Some(end))]),
            want
        );
    }
    let mut fine = tight();
    fine.certificates = vec![certificate(Some(now + 31 * day)), certificate(None)];
    fine.is_clock_synchronised = None;
    assert_eq!(findings(&File::default().config(), &fine, DEMAND), []);
    assert_eq!(
        of_facts(|facts| facts.is_clock_synchronised = Some(false)),
        expected(Kind::Delay, Standing::Unseen, "the clock of this machine")
    );
}

#[test]
fn how_long_the_queue_lasts_is_reckoned_from_what_comes() {
    let config = File {
        queue: "max_bytes = \"1000MiB\"",
        ..File::default()
    }
    .config();
    let load = |per_second: u64| Load {
        messages_per_day: per_second * 86_400,
        payload_bytes: 854,
    };
    // 1024 bytes a message: 10 a second are 100 KiB in ten seconds.
    let lasts = horizons(&config, load(10));
    assert_eq!(lasts, [("default".to_owned(), Duration::from_secs(102_400))]);
    let demand = |absence, load| Demand {
        absence,
        load: Some(load),
    };
    assert_eq!(findings(&config, &tight(), demand(DAY, load(10))), []);
    let (kind, standing, setting, why) = only(&config, &tight(), demand(2 * DAY, load(10)));
    assert_eq!(
        (kind, standing, setting.as_str()),
        (Kind::Lose, Standing::Open, "queue.max_bytes")
    );
    assert!(why.contains("holds 1day 4h 26m 40s"), "{why}");
}

#[test]
fn a_window_that_is_smaller_than_what_comes_is_said() {
    let config = File {
        mqtt: "receive_maximum = 10",
        queue: "commit_interval = \"1s\"\nmax_bytes = \"1000GiB\"",
        ..File::default()
    }
    .config();
    let mut facts = tight();
    facts.free_bytes = Some(1 << 50);
    let demand = Demand {
        absence: DAY,
        load: Some(Load {
            messages_per_day: 11 * 86_400,
            payload_bytes: 1,
        }),
    };
    let (kind, _, setting, _) = only(&config, &facts, demand);
    assert_eq!((kind, setting.as_str()), (Kind::Delay, "mqtt[0].receive_maximum"));
}

#[test]
fn losses_come_first_and_what_was_chosen_last() {
    let file = File {
        kafka: "delivery = \"at-least-once\"",
        queue: "on_full = \"drop-oldest\"",
        ..File::default()
    };
    let mut facts = tight();
    facts.local_mosquitto = None;
    facts.place.as_mut().expect("known").kind = FileSystem::Memory;
    let found = findings(&file.config(), &facts, DEMAND);
    let order: Vec<_> = found
        .iter()
        .map(|finding| (finding.kind, finding.standing))
        .collect();
    let mut sorted = order.clone();
    sorted.sort();
    assert_eq!(order, sorted);
    assert_eq!(order.first(), Some(&(Kind::Lose, Standing::Open)));
    let mut text = Vec::new();
    print::print(&mut text, &found).expect("it grows");
    let text = String::from_utf8(text).expect("text");
    let place = |words: &str| text.find(words).unwrap_or_else(|| panic!("{words}: {text}"));
    assert!(place("can lose") < place("can reorder") && place("can reorder") < place("can duplicate"));
    assert!(text.contains("(as configured)") && text.contains("(cannot be seen from here)"));
    let mut line = Vec::new();
    print::summary(&mut line, &found).expect("it grows");
    assert_eq!(
        String::from_utf8(line).expect("text").lines().count(),
        1,
        "one line for the journal"
    );
}
