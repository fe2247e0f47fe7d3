//! Order under every fault of a Kafka of three brokers, and of the way to it, under load: first occurrences of each device
//! strictly ascend, and nothing is lost.
//!
//! All of these use the one cluster of this process, one after the other. Where no connection to a broker lost more than
//! an answer or a leader, the idempotent producer's own retries are nearly always all that happens: a duplicate has the same id and bytes.

use std::time::Duration;

use crate::support::cluster::{self, Cluster, GROUPS, NODES, TRANSACTIONS};
use crate::support::config::{CLIENT_ID, Config};
use crate::support::devices::{Devices, Plan};
use crate::support::kafka::Brokers;
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Oracle, Verdict};
use crate::support::proxy::{Proxy, Rules};
use crate::support::scene::{ACK_LIMIT, Scene};
use crate::support::seed::Seed;
use crate::support::wait;

/// Elections, and a machine that is busy with other tests.
const LIMIT: Duration = Duration::from_mins(2);
/// Longer than every timeout of [`Config::impatient`].
const LONGER_THAN_TIMEOUTS: Duration = Duration::from_secs(8);
/// Longer than a thread may be silent before the watchdog is no longer fed.
const LONGER_THAN_THE_WATCHDOG: Duration = Duration::from_secs(35);

/// A daemon under load with `change` to its configuration.
fn under_load(kafka: &impl Brokers, change: impl FnOnce(Config) -> Config) -> (Scene, Devices) {
    let scene = Scene::start("5", kafka, Mosquitto::start(), |config| {
        change(config.impatient())
    });
    let devices = scene.devices(&Plan {
        devices: 40,
        rate: Some(800),
        ..Plan::default()
    });
    devices.until_acked(500, ACK_LIMIT);
    (scene, devices)
}

fn any_node(seed: &mut Seed) -> usize {
    usize::try_from(seed.between(0, NODES as u64)).expect("small")
}

/// Waits until Kafka has `count` records more.
fn until_more(oracle: &Oracle, count: i64) {
    // While a leader is being elected nobody can say how many there are.
    let begin = wait::until("kafka says what it has", LIMIT, || {
        Some(oracle.available()).filter(|count| *count > 0)
    });
    wait::until(&format!("kafka has {count} records more"), LIMIT, || {
        (oracle.available() >= begin + count).then_some(())
    });
}

#[test]
fn each_broker_of_three_killed_or_stopped_in_turn_is_worked_around() {
    let mut seed = Seed::of_this_run("each_broker_of_three_killed_or_stopped_in_turn_is_worked_around");
    let mut cluster = cluster::whole();
    let (scene, devices) = under_load(&*cluster, |config| config);
    let oracle = Oracle::new(&*cluster, &scene.topic);
    for node in 0..NODES {
        match seed.between(0, 2) {
            0 => cluster.node(node).kill(),
            _ => cluster.node(node).stop(),
        }
        // Two of three are enough.
        until_more(&oracle, 1_000);
        cluster.restart(&[node]);
        cluster.until_in_sync();
    }
    scene.conclude(&*cluster, devices).assert_clean();
}

#[test]
fn a_paused_broker_that_wakes_up_as_a_leader_of_the_past_changes_nothing() {
    let mut seed = Seed::of_this_run("a_paused_broker_that_wakes_up_as_a_leader_of_the_past_changes_nothing");
    let mut cluster = cluster::whole();
    let (scene, devices) = under_load(&*cluster, |config| config);
    let oracle = Oracle::new(&*cluster, &scene.topic);
    let node = any_node(&mut seed);
    cluster.node(node).pause();
    let others: Vec<usize> = (0..NODES).filter(|other| *other != node).collect();
    cluster.until_in_sync_are(&scene.topic, &others);
    until_more(&oracle, 1_000);
    cluster.node(node).resume();
    cluster.until_in_sync();
    until_more(&oracle, 500);
    scene.conclude(&*cluster, devices).assert_clean();
}

#[test]
fn two_brokers_of_three_away_hold_everything_and_nothing_is_lost() {
    let mut seed = Seed::of_this_run("two_brokers_of_three_away_hold_everything_and_nothing_is_lost");
    let mut cluster = cluster::whole();
    let (mut scene, devices) = under_load(&*cluster, |config| config);
    let oracle = Oracle::new(&*cluster, &scene.topic);
    let stays = any_node(&mut seed);
    let gone: Vec<usize> = (0..NODES).filter(|node| *node != stays).collect();
    // The first one in order: with two replicas left, everything goes on. The second one is one too many.
    cluster.node(gone[0]).stop();
    until_more(&oracle, 1_000);
    cluster.node(gone[1]).kill();
    devices.until_acked(4_000, ACK_LIMIT);
    wait::let_pass("two of three brokers are away", LONGER_THAN_TIMEOUTS);
    scene.daemon.assert_alive();
    // One replica is not enough for any record.
    until_held(&scene, 4_000);
    cluster.restart(&gone);
    cluster.until_in_sync();
    until_more(&oracle, 4_000);
    scene.conclude(&*cluster, devices).assert_clean();
}

#[test]
fn leaders_moved_by_hand_under_load_cost_nothing() {
    let cluster = cluster::whole();
    let (scene, devices) = under_load(&*cluster, |config| config);
    let oracle = Oracle::new(&*cluster, &scene.topic);
    for _ in 0..4 {
        cluster.move_leaders(&scene.topic);
        until_more(&oracle, 500);
    }
    scene.conclude(&*cluster, devices).assert_clean();
}

#[test]
fn answers_swallowed_after_the_append_cost_nothing() {
    let cluster = cluster::whole();
    let (scene, devices) = under_load(&cluster.behind_proxies(), |config| config);
    let oracle = Oracle::new(&*cluster, &scene.topic);
    for _ in 0..2 {
        // Only a connection that carries records can lose the answer to one: a client that is still connecting never sends any.
        until_more(&oracle, 500);
        let before = swallowed(&cluster);
        set_all(
            &cluster,
            Rules {
                swallow_answers: true,
                ..Rules::default()
            },
        );
        // Requests arrive, and records with them: they are appended, and nobody hears of it.
        wait::until("answers are swallowed", LIMIT, || {
            (swallowed(&cluster) > before).then_some(())
        });
        wait::let_pass("answers are swallowed", LONGER_THAN_TIMEOUTS);
        wait::until("records are there that edgeferry knows nothing of", LIMIT, || {
            let known = scene.daemon.lane()["delivered"].as_i64().expect("a count");
            (oracle.available() > known).then_some(())
        });
        set_all(&cluster, Rules::default());
        until_more(&oracle, 3_000);
    }
    scene.conclude(&cluster.behind_proxies(), devices).assert_clean();
}

#[test]
fn connections_cut_in_the_middle_of_batches_cost_nothing() {
    /// Behind the greetings, mostly within a batch.
    const CUT_AFTER: std::ops::Range<u64> = 2_000..40_000;
    let mut seed = Seed::of_this_run("connections_cut_in_the_middle_of_batches_cost_nothing");
    let cluster = cluster::whole();
    let (scene, devices) = under_load(&cluster.behind_proxies(), |config| config);
    let oracle = Oracle::new(&*cluster, &scene.topic);
    for _ in 0..8 {
        let before = cuts(&cluster);
        set_all(
            &cluster,
            Rules {
                cut_after: Some(seed.between(CUT_AFTER.start, CUT_AFTER.end)),
                ..Rules::default()
            },
        );
        // Those that are open now know of no limit.
        cluster.proxies().iter().for_each(Proxy::cut);
        wait::until("connections are cut", LIMIT, || {
            (cuts(&cluster) >= before + 4).then_some(())
        });
    }
    set_all(&cluster, Rules::default());
    until_more(&oracle, 2_000);
    scene.conclude(&cluster.behind_proxies(), devices).assert_clean();
}

#[test]
fn a_slow_link_that_breaks_and_a_leader_that_cannot_be_reached_cost_nothing() {
    let mut seed =
        Seed::of_this_run("a_slow_link_that_breaks_and_a_leader_that_cannot_be_reached_cost_nothing");
    let cluster = cluster::whole();
    let (scene, devices) = under_load(&cluster.behind_proxies(), |config| config);
    let oracle = Oracle::new(&*cluster, &scene.topic);
    set_all(
        &cluster,
        Rules {
            delay: Duration::from_millis(300),
            bytes_per_second: Some(60_000),
            ..Rules::default()
        },
    );
    for _ in 0..4 {
        until_more(&oracle, 200);
        cluster.proxies().iter().for_each(Proxy::cut);
    }
    set_all(&cluster, Rules::default());
    let node = any_node(&mut seed);
    cluster.proxy(node).set(Rules {
        refuse: true,
        ..Rules::default()
    });
    // The broker is well and stays the leader of what it leads: there is no other way to these partitions.
    wait::let_pass("a leader cannot be reached", LONGER_THAN_TIMEOUTS);
    // What is behind its records waits for them.
    until_held(&scene, 1_000);
    cluster.proxy(node).set(Rules::default());
    until_more(&oracle, 2_000);
    scene.conclude(&cluster.behind_proxies(), devices).assert_clean();
}

#[test]
fn brokers_come_and_go_while_the_queue_is_full() {
    let mut cluster = cluster::whole();
    let (scene, small) = under_load(&*cluster, |config| config.queue("max_bytes = \"16MiB\""));
    cluster.node(0).kill();
    cluster.node(1).kill();
    // Three times the queue, and the broker takes everything: it has no limit.
    let large = scene.devices(&Plan {
        prefix: "large",
        messages: Some(6_000),
        rate: None,
        bytes: 8_000,
        ..Plan::default()
    });
    let mut sent = large.finish(ACK_LIMIT);
    wait::until("edgeferry disconnects because its queue is full", LIMIT, || {
        let log = scene.mosquitto.log();
        log.lines()
            .any(|line| line.starts_with("Client ") && line.contains(CLIENT_ID))
            .then_some(())
    });
    cluster.restart(&[0, 1]);
    let oracle = Oracle::new(&*cluster, &scene.topic);
    for node in [2, 0] {
        until_more(&oracle, 500);
        cluster.node(node).kill();
        until_more(&oracle, 500);
        cluster.restart(&[node]);
        cluster.until_in_sync();
    }
    sent.merge(small.finish(ACK_LIMIT));
    let mut scene = scene;
    scene.judge(&*cluster, &sent).assert_clean();
}

/// Waits until so many messages wait in the daemon's queue.
fn until_held(scene: &Scene, count: u64) {
    wait::until(&format!("{count} messages are held"), LIMIT, || {
        let held = scene.daemon.lane()["queued"].as_u64().expect("a count");
        (held >= count).then_some(())
    });
}

#[test]
fn coordinators_killed_under_load_deliver_each_message_once() {
    let mut cluster = cluster::whole();
    let (mut scene, devices) = under_load(&*cluster, Config::exactly_once);
    let oracle = Oracle::new(&*cluster, &scene.topic);
    for round in 0..3 {
        let node = cluster.coordinator([TRANSACTIONS, GROUPS][round % 2]);
        cluster.node(node).kill();
        // Whoever starts now has to find the coordinator that follows, and what the one before had open.
        if round == 2 {
            scene.daemon.kill();
            scene.daemon.restart();
        }
        until_more(&oracle, 1_000);
        cluster.restart(&[node]);
        cluster.until_in_sync();
    }
    assert_awake(&scene);
    assert_once(&scene.conclude(&*cluster, devices));
}

#[test]
fn commits_whose_answers_are_swallowed_or_cut_deliver_each_message_once() {
    let mut seed = Seed::of_this_run("commits_whose_answers_are_swallowed_or_cut_deliver_each_message_once");
    let cluster = cluster::whole();
    let (mut scene, devices) = under_load(&cluster.behind_proxies(), Config::exactly_once);
    let oracle = Oracle::new(&*cluster, &scene.topic);
    for round in 0..4 {
        let before = swallowed(&cluster);
        set_all(
            &cluster,
            Rules {
                swallow_answers: true,
                ..Rules::default()
            },
        );
        wait::until("answers are swallowed", LIMIT, || {
            (swallowed(&cluster) > before).then_some(())
        });
        // A commit that was done and a commit that was not look the same from here.
        wait::let_pass(
            "answers are swallowed",
            Duration::from_millis(seed.between(200, 3_000)),
        );
        if round % 2 == 0 {
            scene.daemon.kill();
            scene.daemon.restart();
        }
        set_all(&cluster, Rules::default());
        cluster.proxies().iter().for_each(Proxy::cut);
        until_more(&oracle, 1_000);
    }
    assert_once(&scene.conclude(&cluster.behind_proxies(), devices));
}

#[test]
fn two_brokers_of_three_away_deliver_each_message_once() {
    let mut cluster = cluster::whole();
    let (scene, devices) = under_load(&*cluster, Config::exactly_once);
    let oracle = Oracle::new(&*cluster, &scene.topic);
    cluster.node(0).kill();
    cluster.node(1).stop();
    wait::let_pass("two of three brokers are away", LONGER_THAN_THE_WATCHDOG);
    cluster.restart(&[0, 1]);
    until_more(&oracle, 3_000);
    assert_awake(&scene);
    assert_once(&scene.conclude(&*cluster, devices));
}

/// Whatever the client is asked while Kafka is away, it has to come back from: otherwise systemd ends the daemon.
fn assert_awake(scene: &Scene) {
    let log = scene.daemon.log();
    assert!(!log.contains("the pipeline does not move"), "it hung:\n{log}");
}

/// Messages may come twice from MQTT, marked; edgeferry itself repeats none.
fn assert_once(verdict: &Verdict) {
    verdict.assert_clean();
    assert_eq!(
        verdict.duplicates.same_id, 0,
        "sent twice by edgeferry:\n{verdict}"
    );
}

fn set_all(cluster: &Cluster, rules: Rules) {
    for proxy in cluster.proxies() {
        proxy.set(rules);
    }
}

fn swallowed(cluster: &Cluster) -> u64 {
    cluster.proxies().iter().map(Proxy::swallowed_bytes).sum()
}

fn cuts(cluster: &Cluster) -> u64 {
    cluster.proxies().iter().map(Proxy::cuts).sum()
}
