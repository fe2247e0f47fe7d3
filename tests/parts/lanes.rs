//! Lanes: they do not hold each other up, and they come, move, go and are renamed over restarts without a loss.
//!
//! Alarms and telemetry are published on topics of their own and go to Kafka topics of their own, so that each is judged
//! alone, whichever lane carried it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::support::config::{CLIENT_ID, Config};
use crate::support::daemon::Daemon;
use crate::support::devices::sent::Sent;
use crate::support::devices::{Devices, Plan};
use crate::support::kafka::{Kafka, shared};
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Oracle, PATIENCE, Record, Verdict};
use crate::support::payload::origin;
use crate::support::scene::{ACK_LIMIT, FILTER};
use crate::support::wait;

const ALARMS: &str = "devices/{device}/alarm";
const ALARM_FILTER: &str = "devices/+/alarm";
const TELEMETRY: &str = "devices/{device}/telemetry";
/// Emptying a session needs 10 s of silence and one answered ping after it; the rest is for a busy machine.
const REMOVAL_LIMIT: Duration = Duration::from_mins(1);

/// One broker, one Kafka topic for alarms and one for telemetry.
struct Plant<'k> {
    kafka: &'k Kafka,
    mosquitto: Mosquitto,
    version: &'static str,
    alarms: String,
    telemetry: String,
}

impl<'k> Plant<'k> {
    fn new(kafka: &'k Kafka, version: &'static str) -> Self {
        Self {
            kafka,
            mosquitto: Mosquitto::start(),
            version,
            alarms: kafka.fresh_topic("alarms"),
            telemetry: kafka.fresh_topic("telemetry"),
        }
    }

    /// Without lanes: telemetry alone in `default`.
    fn config(&self) -> Config {
        Config::new(self.kafka)
            .broker_with("local", self.version, &self.mosquitto, "keep_alive = \"5s\"")
            .route(TELEMETRY, &self.telemetry)
            .impatient()
    }

    /// And alarms in `lane`.
    fn with_alarms_in(&self, lane: &str) -> Config {
        let config = match lane {
            "default" => self.config(),
            lane => self.config().lane(lane, ""),
        };
        config.route_with(ALARMS, &self.alarms, &format!("lane = \"{lane}\""))
    }

    fn start(&self, config: &Config, filters: &[&str]) -> Daemon {
        let mark = self.mosquitto.mark();
        let daemon = Daemon::start(config);
        for filter in filters {
            self.mosquitto.until_subscribed(filter, mark);
        }
        daemon
    }

    fn telemetry_fleet(&self, plan: &Plan) -> Devices {
        Devices::start(&self.mosquitto, plan)
    }

    fn alarm_fleet(&self, plan: &Plan) -> Devices {
        Devices::start(
            &self.mosquitto,
            &Plan {
                prefix: "a",
                topic: ALARMS,
                ..plan.clone()
            },
        )
    }

    fn has_all(&self, topic: &str, sent: &Sent) -> Oracle {
        let mut oracle = Oracle::new(self.kafka, topic);
        oracle.until_all_there(sent, PATIENCE);
        oracle
    }
}

/// A fixed number of messages as fast as the broker takes them.
fn burst(messages: u64) -> Plan {
    Plan {
        messages: Some(messages),
        rate: None,
        ..Plan::default()
    }
}

/// Waits until the lane's folder is gone.
fn until_removed(daemon: &Daemon, lane: &str) {
    let folder = daemon.store().join("lanes").join(lane);
    wait::until(&format!("lane {lane} is removed"), REMOVAL_LIMIT, || {
        (!folder.exists()).then_some(())
    });
}

/// Lanes that the records went through, by their ids.
fn lanes_of(oracle: &Oracle) -> Vec<String> {
    let ids = oracle
        .records()
        .iter()
        .filter_map(|record| record.header("edgeferry-id"));
    let mut lanes: Vec<String> = ids
        .filter_map(|id| id.split('-').nth(1).map(str::to_owned))
        .collect();
    lanes.sort();
    lanes.dedup();
    lanes
}

/// Fails unless each device's messages lie in order within each lane.
fn assert_in_order_within_each_lane(oracle: &Oracle) {
    let mut records: Vec<&Record> = oracle.records().iter().collect();
    records.sort_by_key(|record| (record.partition, record.offset));
    let mut newest: HashMap<(String, String), u64> = HashMap::new();
    let mut seen = HashSet::new();
    for record in records {
        let (device, seq) = origin(&record.value).expect("one of ours");
        let id = record.header("edgeferry-id").expect("it has an id");
        let lane = id.split('-').nth(1).expect("it has a lane").to_owned();
        if seen.insert((lane.clone(), device.clone(), seq)) {
            let before = newest.insert((lane.clone(), device.clone()), seq);
            assert!(
                before < Some(seq),
                "lane {lane}, {device}#{seq} behind {before:?}"
            );
        }
    }
}

fn print(what: &str, verdict: &Verdict) {
    eprintln!("{what}:\n{verdict}");
}

#[test]
fn alarms_overtake_a_large_backlog_of_telemetry_and_both_stay_in_order() {
    let kafka = shared();
    let plant = Plant::new(kafka, "5");
    // Telemetry has nowhere to go yet: its lane is held, and its backlog grows.
    let late = crate::support::kafka::unused_topic("late");
    let config = Config::new(kafka)
        .broker("local", "5", &plant.mosquitto)
        .lane("alarms", "")
        .route(TELEMETRY, &late)
        .route_with(ALARMS, &plant.alarms, "lane = \"alarms\"")
        .impatient();
    let mut daemon = plant.start(&config, &[FILTER, ALARM_FILTER]);
    let telemetry = plant.telemetry_fleet(&burst(30_000)).finish(ACK_LIMIT);
    let alarms = plant.alarm_fleet(&burst(500)).finish(ACK_LIMIT);
    let mut oracle = plant.has_all(&plant.alarms, &alarms);
    daemon
        .notify()
        .until_status("telemetry waits", ACK_LIMIT, |status| {
            status.contains("default: backlog 30000;") && status.contains("alarms: backlog 0;")
        });
    let verdict = oracle.verdict(&alarms);
    print("alarms", &verdict);
    verdict.assert_clean_without_duplicates();
    assert_eq!(lanes_of(&oracle), ["alarms"]);

    kafka.create_topic(&late, crate::support::kafka::PARTITIONS, &[]);
    let mut oracle = plant.has_all(&late, &telemetry);
    daemon.terminate();
    let verdict = oracle.verdict(&telemetry);
    print("telemetry", &verdict);
    verdict.assert_clean_without_duplicates();
    assert_eq!(lanes_of(&oracle), ["default"]);
}

#[test]
fn a_full_lane_pushes_back_alone() {
    let kafka = shared();
    let plant = Plant::new(kafka, "5");
    let late = crate::support::kafka::unused_topic("late");
    let config = Config::new(kafka)
        .broker_with("local", "5", &plant.mosquitto, "keep_alive = \"5s\"")
        .queue("max_bytes = \"16MiB\"")
        .lane("alarms", "")
        .route(TELEMETRY, &late)
        .route_with(ALARMS, &plant.alarms, "lane = \"alarms\"")
        .impatient();
    let mut daemon = plant.start(&config, &[FILTER, ALARM_FILTER]);
    let telemetry = Plan {
        bytes: 8_000,
        ..burst(12_000)
    };
    let telemetry = plant.telemetry_fleet(&telemetry).finish(ACK_LIMIT);
    daemon
        .notify()
        .until_status("telemetry is pushed back", ACK_LIMIT, |status| {
            status.contains("(queue full); mqtt local: pushed back")
        });
    let alarms = plant.alarm_fleet(&burst(2_000)).finish(ACK_LIMIT);
    let mut oracle = plant.has_all(&plant.alarms, &alarms);
    let verdict = oracle.verdict(&alarms);
    print("alarms", &verdict);
    verdict.assert_clean_without_duplicates();
    let status = daemon.notify().status().expect("it says something");
    assert!(status.contains("(queue full)"), "still full: {status}");

    kafka.create_topic(&late, crate::support::kafka::PARTITIONS, &[]);
    let mut oracle = plant.has_all(&late, &telemetry);
    daemon.terminate();
    let verdict = oracle.verdict(&telemetry);
    print("telemetry", &verdict);
    verdict.assert_clean();
}

#[test]
fn a_lane_that_is_added_takes_its_messages_from_the_start() {
    let kafka = shared();
    let plant = Plant::new(kafka, "5");
    let mut daemon = plant.start(&plant.config(), &[FILTER]);
    let load = plant.telemetry_fleet(&Plan::default());
    load.until_acked(500, ACK_LIMIT);
    let mark = plant.mosquitto.mark();
    daemon.terminate();
    daemon.reconfigure(&plant.with_alarms_in("alarms"));
    daemon.restart();
    plant.mosquitto.until_subscribed(ALARM_FILTER, mark);
    let alarms = plant.alarm_fleet(&burst(1_000)).finish(ACK_LIMIT);
    load.until_acked(500, ACK_LIMIT);
    let telemetry = load.finish(ACK_LIMIT);
    let mut alarm_oracle = plant.has_all(&plant.alarms, &alarms);
    let mut oracle = plant.has_all(&plant.telemetry, &telemetry);
    daemon.terminate();
    alarm_oracle.verdict(&alarms).assert_clean_without_duplicates();
    let verdict = oracle.verdict(&telemetry);
    print("telemetry over the restart", &verdict);
    verdict.assert_clean();
}

#[test]
fn a_route_that_moves_to_another_lane_under_load_loses_nothing_mqtt_5() {
    a_route_moves("5");
}

#[test]
fn a_route_that_moves_to_another_lane_under_load_loses_nothing_mqtt_3_1_1() {
    a_route_moves("3.1.1");
}

/// Alarms go through `default`, then through a lane of their own, then through `default` again, under load all the time.
fn a_route_moves(version: &'static str) {
    let kafka = shared();
    let plant = Plant::new(kafka, version);
    let mut daemon = plant.start(&plant.with_alarms_in("default"), &[FILTER, ALARM_FILTER]);
    let alarms = plant.alarm_fleet(&Plan {
        rate: Some(1_000),
        ..Plan::default()
    });
    alarms.until_acked(1_000, ACK_LIMIT);
    for lane in ["alarms", "default"] {
        daemon.terminate();
        // The broker keeps these for the session that is subscribed to them.
        alarms.until_acked(1_000, ACK_LIMIT);
        daemon.reconfigure(&plant.with_alarms_in(lane));
        daemon.restart();
        wait::until("the old lane has let go of the alarms", REMOVAL_LIMIT, || {
            let gone = format!("filter=\"{ALARM_FILTER}\"");
            let lines = daemon.log();
            let said = lines
                .lines()
                .filter(|line| line.contains("unsubscribed") && line.contains(&gone));
            let wanted = if lane == "alarms" { 1 } else { 2 };
            (said.count() == wanted).then_some(())
        });
        alarms.until_acked(1_000, ACK_LIMIT);
    }
    let sent = alarms.finish(ACK_LIMIT);
    let mut oracle = plant.has_all(&plant.alarms, &sent);
    assert_eq!(lanes_of(&oracle), ["alarms", "default"]);
    until_removed(&daemon, "alarms");
    daemon.terminate();
    let verdict = oracle.verdict(&sent);
    print("alarms over two moves", &verdict);
    // Order holds within a lane: where the route moved, a device's messages come from two lanes.
    let in_order = Verdict {
        reordered: Vec::new(),
        ..verdict.clone()
    };
    in_order.assert_clean();
    assert_in_order_within_each_lane(&oracle);
    assert!(
        verdict.duplicates.marked <= verdict.expected / 2,
        "what comes twice is what came while the route moved"
    );
}

#[test]
fn what_a_lane_had_stored_for_a_route_that_moved_still_takes_it() {
    let mut kafka = Kafka::start();
    let mosquitto = Mosquitto::start();
    let (all, alarms) = (kafka.fresh_topic("all"), kafka.fresh_topic("alarms"));
    let config = |lane: &str| {
        let config = Config::new(&kafka)
            .broker("local", "5", &mosquitto)
            .route("devices/{device}/{rest...}", &all)
            .route_with(ALARMS, &alarms, &format!("lane = \"{lane}\""))
            .impatient();
        if lane == "default" {
            config
        } else {
            config.lane(lane, "")
        }
    };
    let (before, after) = (config("default"), config("alarms"));
    let mark = mosquitto.mark();
    let mut daemon = Daemon::start(&before);
    mosquitto.until_subscribed("devices/+/#", mark);
    kafka.kill();
    let plan = Plan {
        prefix: "a",
        topic: ALARMS,
        ..burst(1_000)
    };
    let sent = Devices::start(&mosquitto, &plan).finish(ACK_LIMIT);
    daemon
        .notify()
        .until_status("all are stored", ACK_LIMIT, |status| {
            status.contains("backlog 1000;")
        });
    daemon.terminate();
    daemon.reconfigure(&after);
    daemon.restart();
    kafka.restart();
    for topic in [&all, &alarms] {
        let mut oracle = Oracle::new(&kafka, topic);
        oracle.until_all_there(&sent, PATIENCE);
        let verdict = oracle.verdict(&sent);
        print(topic, &verdict);
        verdict.assert_clean();
        assert_eq!(lanes_of(&oracle), ["default"], "the other lane never had them");
    }
    daemon.terminate();
}

#[test]
fn a_removed_lane_is_drained_and_its_session_ended_before_it_goes() {
    let mut kafka = Kafka::start();
    let mosquitto = Mosquitto::start();
    let (alarms, telemetry) = (kafka.fresh_topic("alarms"), kafka.fresh_topic("telemetry"));
    let base = Config::new(&kafka)
        .broker("local", "5", &mosquitto)
        .route(TELEMETRY, &telemetry)
        .impatient();
    let with = base
        .clone()
        .lane("alarms", "")
        .route_with(ALARMS, &alarms, "lane = \"alarms\"");
    // The route goes with its lane: what the lane has is routed by what is left, here nothing but this.
    let without = base.route(ALARMS, &alarms);
    let mark = mosquitto.mark();
    let mut daemon = Daemon::start(&with);
    mosquitto.until_subscribed(ALARM_FILTER, mark);
    kafka.kill();
    let plan = Plan {
        prefix: "a",
        topic: ALARMS,
        ..Plan::default()
    };
    let fleet = Devices::start(&mosquitto, &plan);
    fleet.until_acked(1_000, ACK_LIMIT);
    daemon.terminate();
    fleet.until_acked(500, ACK_LIMIT);
    daemon.reconfigure(&without);
    daemon.restart();
    fleet.until_acked(500, ACK_LIMIT);
    let folder = daemon.store().join("lanes/alarms");
    daemon
        .notify()
        .until_status("the lane is being removed", ACK_LIMIT, |status| {
            status.contains("alarms (being removed): backlog ")
        });
    // A lane that comes back before it is empty just goes on, and goes again.
    daemon.kill();
    daemon.reconfigure(&with);
    daemon.restart();
    fleet.until_acked(500, ACK_LIMIT);
    daemon.terminate();
    daemon.reconfigure(&without);
    daemon.restart();
    assert!(folder.exists(), "Kafka is away, so it has a backlog");
    kafka.restart();
    wait::until("the lane is removed", REMOVAL_LIMIT * 2, || {
        (!folder.exists()).then_some(())
    });
    let sent = fleet.finish(ACK_LIMIT);
    let mut oracle = Oracle::new(&kafka, &alarms);
    oracle.until_all_there(&sent, PATIENCE);
    daemon.assert_alive();
    daemon.terminate();
    let verdict = oracle.verdict(&sent);
    print("alarms", &verdict);
    let in_order = Verdict {
        reordered: Vec::new(),
        ..verdict
    };
    in_order.assert_clean();
    assert_in_order_within_each_lane(&oracle);
    let mut old =
        crate::support::mqtt::Link::connect(mosquitto.port(), &format!("{CLIENT_ID}-alarms"), false)
            .expect("the broker is there");
    assert!(!old.session_present(), "the broker keeps nothing for it any more");
    assert!(matches!(old.receive(Duration::from_secs(1)), Ok(None)));
}

#[test]
fn a_lane_is_renamed_and_renamed_back_without_a_loss_and_no_id_is_used_twice() {
    let kafka = shared();
    let plant = Plant::new(kafka, "5");
    let mut daemon = plant.start(&plant.with_alarms_in("first"), &[FILTER, ALARM_FILTER]);
    let fleet = plant.alarm_fleet(&Plan::default());
    fleet.until_acked(500, ACK_LIMIT);
    for (old, new) in [("first", "second"), ("second", "first")] {
        daemon.terminate();
        fleet.until_acked(300, ACK_LIMIT);
        daemon.reconfigure(&plant.with_alarms_in(new));
        daemon.restart();
        until_removed(&daemon, old);
        fleet.until_acked(500, ACK_LIMIT);
    }
    let sent = fleet.finish(ACK_LIMIT);
    let mut oracle = plant.has_all(&plant.alarms, &sent);
    daemon.terminate();
    let verdict = oracle.verdict(&sent);
    print("alarms over two names", &verdict);
    let in_order = Verdict {
        reordered: Vec::new(),
        ..verdict
    };
    in_order.assert_clean();
    assert_in_order_within_each_lane(&oracle);
    assert_eq!(lanes_of(&oracle), ["first", "second"]);
}

#[test]
fn a_default_lane_without_routes_makes_no_connections() {
    let kafka = shared();
    let plant = Plant::new(kafka, "5");
    let config = Config::new(kafka)
        .broker("local", "5", &plant.mosquitto)
        .lane("alarms", "")
        .route_with(ALARMS, &plant.alarms, "lane = \"alarms\"");
    let mut daemon = plant.start(&config, &[ALARM_FILTER]);
    let alarms = plant.alarm_fleet(&burst(100)).finish(ACK_LIMIT);
    plant.has_all(&plant.alarms, &alarms);
    daemon.terminate();
    let connections = |id: &str| {
        plant
            .mosquitto
            .connections(id, crate::support::mosquitto::Mark::default())
    };
    assert_eq!(connections(&format!("{CLIENT_ID}-alarms")), 1);
    assert_eq!(connections(CLIENT_ID), 1, "and no other");
    assert!(!daemon.store().join("lanes/default").exists());
}
