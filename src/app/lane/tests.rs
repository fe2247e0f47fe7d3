use std::path::Path;
use std::time::Instant;

use super::*;
use crate::app::look;
use crate::app::view::View;
use crate::identity::Machine;
use crate::message::{Arrival, Epoch, Seq};
use crate::ops::Look;
use crate::pulse::Pulse;
use crate::queue::Share;

fn ground(data_dir: &Arc<DataDir>) -> Ground {
    let text = "[gateway]\nid = \"gw\"\ndata_dir = \"/tmp/x\"\n[[mqtt]]\nurl = \"mqtt://127.0.0.1:1\"\n[kafka]\n\
                bootstrap_servers = [\"127.0.0.1:1\"]\n[[route]]\nfrom = \"t/{device}\"\ntopic = \"t\"\n";
    let (config, _) = crate::config::parse(Path::new("test.toml"), text).expect("valid");
    let identity =
        crate::identity::open(data_dir.path(), "gw".to_owned(), &Machine::read(), true).expect("opens");
    Ground {
        allowance: None,
        config: Arc::new(config),
        data_dir: Arc::clone(data_dir),
        identity: Arc::new(identity),
        clock: Clock::with_probe(1, || Some(true)),
        handover: Arc::default(),
        ballast: Arc::new(Ballast::open(data_dir.path())),
        nudge: Arc::default(),
    }
}

/// A lane that no route uses, without sessions, with Kafka away.
fn leaving(data_dir: &Arc<DataDir>) -> OpenLane {
    let ground = ground(data_dir);
    let plan = Plan {
        weight: 1,
        max_rate: None,
        name: "old".to_owned(),
        queue: queue::Config {
            share: Share::of(2),
            ..ground.config.queue.clone()
        },
        is_leaving: true,
    };
    OpenLane::open(&plan, &ground, Carried::default()).expect("opens")
}

/// Stores one message in the lane.
async fn fill(data_dir: &DataDir) {
    let lane = queue::open(&data_dir.lane("old"), Epoch(1), &queue::Config::default()).expect("opens");
    let (writer, intake) = (lane.writer, lane.door.intake());
    drop(lane.door);
    let writer = std::thread::spawn(move || writer.run());
    let arrival = Arrival {
        topic: "t/1".to_owned(),
        ..Arrival::trial(1, "a/b", "x")
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

/// Looks at these lanes.
fn look_at(view: &View, data_dir: &Arc<DataDir>) -> Look {
    let ground = ground(data_dir);
    let identity = Identity::clone(&ground.identity);
    look::over(view.clone(), &ground.config, identity, ground.clock.clone())
}

#[tokio::test]
async fn a_lane_that_a_reload_exchanges_is_seen_as_it_was_before_that() {
    let dir = tempfile::tempdir().expect("temp dir");
    let data_dir = Arc::new(DataDir::take(dir.path()).expect("takes"));
    fill(&data_dir).await;
    let (view, lane) = (View::default(), leaving(&data_dir));
    view.add(lane.view().clone());
    let look = look_at(&view, &data_dir);
    let before = look.take();
    assert_eq!((before.backlog(), before.lanes[0].is_reloading), (1, false));
    view.exchange(&["old".to_owned()].into());
    for _ in 0..2 {
        let during = look.take();
        assert!(during.lanes[0].is_reloading, "{during:?}");
        assert_eq!(during.backlog(), 1);
        assert_eq!(during.health.heading, "The configuration is being changed.");
        assert_eq!(during.health.is_ready, before.health.is_ready);
        view.remove("old");
    }
    view.add(lane.view().clone());
    assert!(!look.take().lanes[0].is_reloading, "it is back");
    view.exchange(&["old".to_owned()].into());
    view.remove("old");
    view.settled();
    let after = look.take();
    assert!(after.lanes.is_empty() && !after.health.is_ready, "{after:?}");
}

#[tokio::test]
async fn a_lane_whose_threads_are_silent_is_seen_to_hang() {
    let dir = tempfile::tempdir().expect("temp dir");
    let data_dir = Arc::new(DataDir::take(dir.path()).expect("takes"));
    let (view, lane) = (View::default(), leaving(&data_dir));
    let mut sink = sink::Monitor::after(Counts::default());
    sink.pulse = Pulse::silent_for(Duration::from_secs(50));
    view.add(LaneView {
        sink: Arc::new(sink),
        ..lane.view().clone()
    });
    let state = look_at(&view, &data_dir).take();
    assert!(
        state.lanes[0].stalled_s.is_some_and(|time| time >= 50),
        "{state:?}"
    );
    assert!(!state.health.is_live && !state.health.is_ready);
    view.vigil().stops();
    let stopping = look_at(&view, &data_dir).take();
    assert!(
        stopping.health.is_live,
        "what falls silent at the end does not hang"
    );
}

/// The threads go round twice a second.
async fn beats_again_and_again(pulse: &Pulse) {
    let deadline = Instant::now() + Duration::from_mins(1);
    let (mut beats, mut age) = (0, pulse.age());
    while beats < 3 {
        assert!(Instant::now() < deadline, "silent for {age:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = pulse.age();
        beats += u32::from(now < age);
        age = now;
    }
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
    beats_again_and_again(view.queue.writer_pulse()).await;
    beats_again_and_again(&view.sink.pulse).await;
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
        clock: Clock::with_probe(1, || Some(true)),
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
            ..Arrival::trial(1, "a/b", "x")
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

#[test]
fn a_lane_that_is_started_anew_keeps_its_own_limit_unless_that_is_another_one() {
    let dir = tempfile::tempdir().expect("temp dir");
    let data_dir = Arc::new(DataDir::take(dir.path()).expect("takes"));
    let rate = |text: &str| crate::settings::Rate::Messages(text.parse().expect("a number"));
    let mut plan = Plan {
        weight: 1,
        max_rate: Some(rate("5")),
        name: "old".to_owned(),
        queue: ground(&data_dir).config.queue.clone(),
        is_leaving: true,
    };
    let first = own_allowance(&plan, None).expect("has a limit");
    let again = own_allowance(&plan, Some(Arc::clone(&first))).expect("has a limit");
    assert!(Arc::ptr_eq(&first, &again), "with what it owes");
    plan.max_rate = Some(rate("6"));
    let other = own_allowance(&plan, Some(Arc::clone(&first))).expect("has a limit");
    assert!(!Arc::ptr_eq(&first, &other));
    plan.max_rate = None;
    assert!(own_allowance(&plan, Some(first)).is_none());
}
