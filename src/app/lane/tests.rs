use std::path::Path;

use super::*;
use crate::identity::Machine;
use crate::message::{Arrival, Epoch, Seq};
use crate::queue::Share;

/// A lane that no route uses, without sessions, with Kafka away.
fn leaving(data_dir: &Arc<DataDir>) -> OpenLane {
    let text = "[gateway]\nid = \"gw\"\ndata_dir = \"/tmp/x\"\n[[mqtt]]\nurl = \"mqtt://127.0.0.1:1\"\n[kafka]\n\
                bootstrap_servers = [\"127.0.0.1:1\"]\n[[route]]\nfrom = \"t/{device}\"\ntopic = \"t\"\n";
    let (config, _) = crate::config::parse(Path::new("test.toml"), text).expect("valid");
    let identity =
        crate::identity::open(data_dir.path(), "gw".to_owned(), &Machine::read(), true).expect("opens");
    let ground = Ground {
        allowance: None,
        config: Arc::new(config.clone()),
        data_dir: Arc::clone(data_dir),
        identity: Arc::new(identity),
        clock: Clock::with_probe(1, || true),
        handover: Arc::default(),
        ballast: Arc::new(Ballast::open(data_dir.path())),
        nudge: Arc::default(),
    };
    let plan = Plan {
        weight: 1,
        max_rate: None,
        name: "old".to_owned(),
        queue: queue::Config {
            share: Share::of(2),
            ..config.queue.clone()
        },
        is_leaving: true,
    };
    OpenLane::open(&plan, &ground, Counts::default()).expect("opens")
}

/// Stores one message in the lane.
async fn fill(data_dir: &DataDir) {
    let lane = queue::open(&data_dir.lane("old"), Epoch(1), &queue::Config::default()).expect("opens");
    let (writer, intake) = (lane.writer, lane.door.intake());
    drop(lane.door);
    let writer = std::thread::spawn(move || writer.run());
    let arrival = Arrival {
        topic: "t/1".to_owned(),
        ..Arrival::for_test()
    };
    let room = intake.reserve(arrival.cost()).await.expect("room");
    intake.offer(arrival, room, true).expect("taken");
    drop(intake);
    writer.join().expect("ends");
}

#[tokio::test]
async fn a_lane_that_no_route_uses_ends_when_it_is_empty() {
    let dir = tempfile::tempdir().expect("temp dir");
    let data_dir = Arc::new(DataDir::take(dir.path()).expect("takes"));
    let lane = leaving(&data_dir).start().expect("starts");
    assert_eq!(lane.run(CancellationToken::new()).await, Outcome::Emptied);
}

#[tokio::test]
async fn a_lane_that_waits_for_kafka_without_a_source_does_not_look_as_if_it_hung() {
    let dir = tempfile::tempdir().expect("temp dir");
    let data_dir = Arc::new(DataDir::take(dir.path()).expect("takes"));
    fill(&data_dir).await;
    let open = leaving(&data_dir);
    let view = open.view().clone();
    assert_eq!(view.queue.status().balance.queued, 1);
    let stop = CancellationToken::new();
    let running = tokio::spawn(open.start().expect("starts").run(stop.clone()));
    // The threads go round twice a second.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(view.silence() < Duration::from_secs(3), "{:?}", view.silence());
    stop.cancel();
    assert_eq!(running.await.expect("no panic"), Outcome::Stopped);
}

/// A route that moved to another lane still says whose value a message of before is.
#[test]
fn keep_latest_takes_a_message_for_the_value_of_whom_the_sink_sends_it_to() {
    let text = "[gateway]\nid = \"gw\"\ndata_dir = \"/tmp/x\"\n[[mqtt]]\nurl = \"mqtt://127.0.0.1:1\"\n[kafka]\n\
                bootstrap_servers = [\"127.0.0.1:1\"]\n[[lane]]\nname = \"fast\"\n[[route]]\nfrom = \"a/{device}/{rest...}\"\n\
                topic = \"all\"\n[[route]]\nlane = \"fast\"\nfrom = \"a/{device}/{kind}\"\ntopic = \"kinds\"\n\
                key = \"{device}-{kind}\"\n";
    let (config, _) = crate::config::parse(Path::new("test.toml"), text).expect("valid");
    let dir = tempfile::tempdir().expect("temp dir");
    let data_dir = Arc::new(DataDir::take(dir.path()).expect("takes"));
    let identity =
        crate::identity::open(data_dir.path(), "gw".to_owned(), &Machine::read(), true).expect("opens");
    let ground = Ground {
        allowance: None,
        config: Arc::new(config.clone()),
        data_dir: Arc::clone(&data_dir),
        identity: Arc::new(identity),
        clock: Clock::with_probe(1, || true),
        handover: Arc::default(),
        ballast: Arc::new(Ballast::open(data_dir.path())),
        nudge: Arc::default(),
    };
    let current = CurrentRoutes::default();
    let key_of = outside(&ground, current.clone(), "default")
        .key_of
        .expect("has one");
    let message = |topic: &str, seq| Stored {
        seq: Seq(seq),
        epoch: Epoch(1),
        arrival: Arrival {
            topic: topic.to_owned(),
            ..Arrival::for_test()
        },
    };
    assert_eq!(
        key_of(&message("a/1/x", 5)),
        None,
        "nothing is removed before that is known"
    );
    let former = [Former {
        mark: config.routes[1].mark(),
        through: Seq(10),
    }];
    current.are(Arc::new(Router::after(
        config.routes.clone(),
        &former,
        "gw",
        "default",
    )));
    let is_same = |seq| key_of(&message("a/1/x", seq)) == key_of(&message("a/1/y", seq));
    assert!(!is_same(10), "two values for the readers of `kinds`");
    assert!(is_same(11));
}
