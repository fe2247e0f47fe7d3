//! On real stores, with brokers and Kafka away.

use std::path::Path;

use tokio::sync::mpsc;

use super::*;
use crate::app::reload::Requests;
use crate::app::reload::judge::judge;
use crate::app::reload::refusal::Refusal;
use crate::app::{DataDir, View};
use crate::identity::{self, Machine};
use crate::message::{Arrival, Epoch, Seq, Stored};
use crate::ops::hand::Verb;
use crate::route::Refusal as Refused;

const BASE: &str = "[gateway]\nid = \"gw\"\ndata_dir = \"/tmp/x\"\n[[mqtt]]\nurl = \"mqtt://127.0.0.1:1\"\n[kafka]\n\
    bootstrap_servers = [\"127.0.0.1:1\"]\n[[route]]\nfrom = \"t/{device}\"\ntopic = \"t\"\n";
const ALARMS: &str =
    "[[lane]]\nname = \"alarms\"\n[[route]]\nfrom = \"a/{device}\"\ntopic = \"a\"\nlane = \"alarms\"\n";

fn config(text: &str) -> Arc<Config> {
    Arc::new(
        crate::config::parse(Path::new("test.toml"), text)
            .expect("valid")
            .0,
    )
}

struct Bench {
    stages: Stages,
    /// Given back last.
    dir: tempfile::TempDir,
}

impl Bench {
    fn start(text: &str) -> Self {
        Self::start_in(tempfile::tempdir().expect("temp dir"), text)
    }

    fn start_in(dir: tempfile::TempDir, text: &str) -> Self {
        let data_dir = Arc::new(DataDir::take(dir.path()).expect("takes"));
        let has_log = data_dir.has_log();
        let identity = identity::open(dir.path(), "gw".to_owned(), &Machine::read(), has_log).expect("opens");
        let (reloads, _) = mpsc::channel(1);
        let stages = Stages::start(&config(text), &data_dir, &identity, reloads).expect("starts");
        Self { stages, dir }
    }

    async fn change_to(&mut self, text: &str, stop: &CancellationToken) -> Result<Changed, AppError> {
        let new = config(text);
        let difference = Difference::between(self.stages.config(), &new);
        self.stages.change(&new, &difference, stop).await
    }

    async fn anew(&mut self, text: &str) -> Vec<String> {
        match self.change_to(text, &CancellationToken::new()).await {
            Ok(Changed::Applied { anew, .. }) => anew,
            other => panic!("{other:?}"),
        }
    }

    fn lanes(&self) -> Vec<String> {
        self.stages
            .view
            .lanes()
            .into_iter()
            .map(|lane| lane.name)
            .collect()
    }

    /// A lane has a message that Kafka has not.
    async fn store(&self, lane: &str) {
        let door = &self.stages.running.get(lane).expect("runs").hand.door;
        let intake = door.lock().expect("whole").as_ref().expect("open").intake();
        let arrival = Arrival::trial(1, if lane == "default" { "t/d" } else { "a/d" }, "waits");
        let room = intake.reserve(arrival.cost()).await.expect("open");
        intake.offer_at(1, arrival, room, false).expect("open");
        let mut durable = intake.durable();
        let stored = durable.wait_for(|at| *at >= 1);
        tokio::time::timeout(Duration::from_secs(20), stored)
            .await
            .expect("in time")
            .expect("open");
    }

    /// What a lane has noted beside its log, its account and its times. What a session is stays its own; that there is one is noted.
    fn notes(&self, lane: &str) -> BTreeMap<String, String> {
        let folder = self.dir.path().join("lanes").join(lane);
        let items = std::fs::read_dir(&folder).expect("lists");
        let names = items.map(|item| item.expect("item").file_name().to_string_lossy().into_owned());
        let is_log =
            |name: &String| name.starts_with("g-") || ["marks", "ledger", "clock"].contains(&name.as_str());
        let text = |name: &String| {
            if name.starts_with("session-") || name.starts_with("retained-") {
                return String::new();
            }
            let bytes = std::fs::read(folder.join(name)).expect("reads");
            // Every opening but the first says that nothing is settled.
            String::from_utf8_lossy(&bytes).replace(",\"settled\":[]", "")
        };
        names
            .filter(|name| !is_log(name))
            .map(|name| (name.clone(), text(&name)))
            .collect()
    }

    fn judge(&self, text: &str, difference: &Difference) -> Result<(), Refusal> {
        let (data_dir, running) = (self.stages.data_dir(), self.stages.names());
        judge(data_dir, &running, &config(text), difference)
    }

    /// Whether a command of a person is served: nothing is paused any more.
    async fn serves(&self) -> bool {
        let (hand, _) = self.stages.hand.as_ref().expect("is there");
        let hand = Arc::clone(hand);
        let listed = tokio::task::spawn_blocking(move || {
            hand.serve(&Verb::List { lane: None }, &mut std::io::empty(), &mut |_| Ok(()))
        });
        listed.await.expect("no panic").is_ok()
    }

    /// Messages that a lane has and Kafka has not.
    fn queued(&self, lane: &str) -> u64 {
        let lanes = self.stages.view.lanes();
        let lane = lanes.iter().find(|known| known.name == lane).expect("runs");
        lane.queue.balance().queued
    }

    /// Cancels the token as soon as it is seen that something is so. Looks each time that the change waits for something.
    fn cancel_when(&self, is_so: impl Fn(&View) -> bool + Send + 'static) -> CancellationToken {
        let (stop, view) = (CancellationToken::new(), self.stages.view());
        let canceller = stop.clone();
        tokio::spawn(async move {
            while !is_so(&view) {
                tokio::task::yield_now().await;
            }
            canceller.cancel();
        });
        stop
    }

    async fn end(mut self) {
        self.stages.stop().await;
        drop(self.dir);
    }
}

#[tokio::test]
async fn only_what_a_change_is_about_is_started_anew() {
    let mut bench = Bench::start(BASE);
    let both = format!("{BASE}{ALARMS}");
    assert_eq!(bench.anew(&both).await, ["alarms"]);
    assert_eq!(bench.lanes(), ["default", "alarms"], "in the order of the file");
    let limited = both.replace("name = \"alarms\"", "name = \"alarms\"\nmax_age = \"1h\"");
    assert_eq!(bench.anew(&limited).await, ["alarms"]);
    assert_eq!(
        bench
            .anew(&format!("{limited}[dead_letter]\ntopic = \"dead\"\n"))
            .await,
        [""; 0]
    );
    assert!(bench.stages.forwarding.is_some());
    assert_eq!(bench.anew(&limited).await, [""; 0]);
    assert!(bench.stages.forwarding.is_none());
    let rated = limited.replace("[kafka]", "[kafka]\nmax_rate = \"5 msg/s\"");
    assert_eq!(bench.anew(&rated).await, ["default", "alarms"]);
    assert!(bench.stages.ground.allowance.is_some());
    assert_eq!(bench.stages.boxes().len(), 2);
    bench.end().await;
}

#[tokio::test]
async fn a_lane_that_cannot_be_opened_takes_all_of_them_back() {
    let mut bench = Bench::start(BASE);
    std::fs::write(bench.dir.path().join("lanes/alarms"), b"no folder").expect("writes");
    let other = BASE.replace("topic = \"t\"", "topic = \"other\"");
    let refused = bench
        .change_to(&format!("{other}{ALARMS}"), &CancellationToken::new())
        .await;
    assert!(matches!(refused, Ok(Changed::Refused(_))), "{refused:?}");
    assert_eq!(bench.lanes(), ["default"]);
    assert_eq!(**bench.stages.config(), *config(BASE));
    assert!(bench.serves().await, "commands wait no longer");
    std::fs::remove_file(bench.dir.path().join("lanes/alarms")).expect("removes");
    assert_eq!(
        bench.anew(&format!("{other}{ALARMS}")).await,
        ["default", "alarms"]
    );
    bench.end().await;
}

#[tokio::test]
async fn a_store_that_somebody_does_not_let_go_of_ends_the_daemon_instead_of_a_lane_and_a_start_has_what_it_had()
 {
    let both = format!("{BASE}{ALARMS}");
    let mut bench = Bench::start(&both);
    bench.store("alarms").await;
    // As a thread does that hangs: the lane has told it to end, and waits no longer.
    let held = bench.stages.view.lanes();
    let limited = both.replace("name = \"alarms\"", "name = \"alarms\"\nmax_age = \"1h\"");
    let ended = bench.change_to(&limited, &CancellationToken::new()).await;
    let Err(error @ AppError::NotClosed(_)) = ended else {
        panic!("{ended:?}");
    };
    assert!(
        error.to_string().contains("the lane alarms could not be stopped"),
        "{error}"
    );
    assert_eq!(
        error.exit(),
        crate::exit::Exit::Failure,
        "so that the service manager starts it anew"
    );
    drop(held);
    let Bench { mut stages, dir } = bench;
    stages.stop().await;
    drop(stages);
    let bench = Bench::start_in(dir, &limited);
    assert_eq!(bench.queued("alarms"), 1);
    bench.end().await;
}

#[tokio::test]
async fn a_stop_that_comes_while_a_lane_stops_stops_all_of_them_at_once() {
    let mut bench = Bench::start(&format!("{BASE}{ALARMS}"));
    let stop = bench.cancel_when(|view| view.lanes_and_exchanged().1.contains("alarms"));
    let changed = bench.change_to(BASE, &stop).await;
    assert!(matches!(changed, Ok(Changed::Interrupted)), "{changed:?}");
    let left = &bench.stages.running;
    assert!(left.contains_key("default"));
    assert!(left.values().all(|lane| lane.stop.is_cancelled()));
    bench.end().await;
}

#[tokio::test]
async fn a_stop_that_comes_while_lanes_are_opened_leaves_nothing_of_what_they_were_opened_for() {
    let keys = tempfile::tempdir().expect("temp dir");
    // A medium that gives the key when the test does: until then the opening of the second lane stands.
    let key = keys.path().join("key");
    let made = std::process::Command::new("mkfifo").arg(&key).status();
    assert!(made.expect("mkfifo runs").success());
    let mut bench = Bench::start(&format!("{BASE}{ALARMS}"));
    let noted = bench.notes("alarms");
    let other = ALARMS.replace("from = \"a/{device}\"", "from = \"b/{device}\"");
    let sealed = format!("\"come\"\nkey_file = {:?}", key.display().to_string());
    let come = ALARMS
        .replace("lane = \"alarms\"", "lane = \"come\"")
        .replacen("\"alarms\"", &sealed, 1)
        .replace("\"a/", "\"c/");
    let stop = CancellationToken::new();
    let canceller = stop.clone();
    let opening = tokio::task::spawn_blocking(move || {
        // As long as nobody has it open for reading.
        let mut pipe = std::fs::File::options().write(true).open(&key).expect("a pipe");
        canceller.cancel();
        let text = "0123456789abcdef".repeat(4);
        std::io::Write::write_all(&mut pipe, text.as_bytes()).expect("it is read");
    });
    let changed = bench.change_to(&format!("{BASE}{other}{come}"), &stop).await;
    opening.await.expect("no panic");
    assert!(matches!(changed, Ok(Changed::Interrupted)), "{changed:?}");
    assert_eq!(bench.lanes(), ["default"], "they stay closed");
    let left = bench.notes("alarms");
    assert_eq!(left["routes.json"], noted["routes.json"]);
    // While it ran it may have noted more of the filters that it had.
    assert!(
        left["filters-default"].contains("a/+") && !left["filters-default"].contains("b/+"),
        "{left:?}"
    );
    assert!(!bench.dir.path().join("lanes/come").exists(), "it has never run");
    bench.end().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_file_that_stalls() {
    let (release, stalled) = std::sync::mpsc::sync_channel::<()>(1);
    let stop = CancellationToken::new();
    let look = look_beside("look", move || stalled.recv().is_ok(), &stop);
    let (looked, ()) = tokio::join!(look, async { stop.cancel() });
    assert!(matches!(looked, Ok(None)), "{looked:?}");
    drop(release);
    let looked = look_beside("look", || 7, &CancellationToken::new()).await;
    assert!(matches!(looked, Ok(Some(7))), "{looked:?}");
}

#[tokio::test]
async fn a_lane_that_a_refused_configuration_would_have_brought_leaves_no_folder() {
    let mut bench = Bench::start(BASE);
    let path = |name: &str| bench.dir.path().join(name);
    std::fs::create_dir_all(path("retired/old")).expect("makes");
    std::fs::write(path("retired/old/ledger"), b"").expect("writes");
    std::fs::write(path("lanes/alarms"), b"no folder").expect("writes");
    let folders = [path("lanes/new"), path("lanes/old"), path("dead-letters/new")];
    let (file, put_away) = (path("lanes/alarms"), path("retired/old"));
    let lane = |name: &str| {
        ALARMS
            .replace("alarms", name)
            .replace("\"a/", &format!("\"{name}/"))
    };
    let wanted = format!("{BASE}{}{}{ALARMS}", lane("new"), lane("old"));
    let refused = bench.change_to(&wanted, &CancellationToken::new()).await;
    assert!(matches!(refused, Ok(Changed::Refused(_))), "{refused:?}");
    for folder in &folders {
        assert!(!folder.exists(), "{}", folder.display());
    }
    assert!(put_away.exists(), "it is where it was");
    std::fs::remove_file(file).expect("removes");
    let nothing = format!("{BASE}[log]\nlevel = \"debug\"\n");
    assert_eq!(
        bench.anew(&nothing).await,
        [""; 0],
        "nothing is left to be emptied"
    );
    bench.end().await;
}

#[tokio::test]
async fn a_key_a_cursor_topic_and_another_way_of_delivery_take_the_backlog_along() {
    let keys = tempfile::tempdir().expect("temp dir");
    let key = keys.path().join("key");
    std::fs::write(&key, "0123456789abcdef".repeat(4)).expect("writes");
    let mut bench = Bench::start(&format!("{BASE}{ALARMS}"));
    bench.store("alarms").await;
    let own = format!("name = \"alarms\"\nkey_file = {:?}", key.display().to_string());
    let sealed = format!("{BASE}{}", ALARMS.replacen("name = \"alarms\"", &own, 1));
    assert_eq!(bench.anew(&sealed).await, ["alarms"]);
    assert_eq!(bench.queued("alarms"), 1);
    let once = sealed.replace("[kafka]", "[kafka]\ndelivery = \"exactly-once\"");
    assert_eq!(bench.anew(&once).await, ["default", "alarms"]);
    let elsewhere = once.replace("[kafka]", "[kafka]\ncursor_topic = \"cursors\"");
    assert_eq!(bench.anew(&elsewhere).await, ["default", "alarms"]);
    let noted = bench.notes("alarms");
    assert!(noted["cursor-topics.json"].contains("cursors"), "{noted:?}");
    assert_eq!(bench.anew(&sealed).await, ["default", "alarms"]);
    assert_eq!(bench.queued("alarms"), 1);
    bench.end().await;
}

#[tokio::test]
async fn a_lane_of_another_name_has_its_routes_and_the_former_one_is_emptied() {
    let mut bench = Bench::start(&format!("{BASE}{ALARMS}"));
    bench.store("alarms").await;
    let renamed = format!("{BASE}{}", ALARMS.replace("\"alarms\"", "\"urgent\""));
    let mut anew = bench.anew(&renamed).await;
    anew.sort();
    assert_eq!(anew, ["alarms", "urgent"]);
    let is_leaving = |name: &str| bench.stages.running.get(name).expect("runs").plan.is_leaving;
    assert!(is_leaving("alarms") && !is_leaving("urgent") && !is_leaving("default"));
    assert_eq!(bench.queued("alarms"), 1, "until Kafka has it");
    bench.end().await;
}

#[tokio::test]
async fn a_broker_of_another_name_is_another_broker() {
    let named = |name: &str| BASE.replace("[[mqtt]]", &format!("[[mqtt]]\nname = \"{name}\""));
    let mut bench = Bench::start(&named("one"));
    assert_eq!(bench.anew(&named("other")).await, ["default"]);
    let brokers = &bench.stages.running.get("default").expect("runs").brokers;
    assert_eq!(*brokers, ["other"]);
    bench.end().await;
}

#[tokio::test]
async fn a_file_of_kafka_that_cannot_be_read_is_not_in_the_way_of_what_is_not_about_kafka() {
    let secret =
        "[kafka]\ntls = true\nsasl = \"plain\"\nusername = \"me\"\npassword_file = \"/no/such/file\"";
    let before = BASE.replace("[kafka]", secret);
    let bench = Bench::start(&before);
    let judged = |text: &str| bench.judge(text, &Difference::between(bench.stages.config(), &config(text)));
    assert!(judged(&format!("{before}[dead_letter]\nmax_bytes = \"32 MiB\"\n")).is_ok());
    let about_it = judged(&before.replace("[kafka]", "[kafka]\ncompression = \"zstd\""));
    let refused = about_it.expect_err("it would not get in");
    assert!(refused.why[0].in_full.contains("/no/such/file"), "{refused:?}");
    assert!(judged(&before).is_err(), "it is what the reload is for");
    bench.end().await;
}

/// A file that is read for as long as somebody wants: it is a pipe.
#[tokio::test]
async fn all_connections_are_served_while_the_configuration_is_read_and_judged() {
    let mut bench = Bench::start(BASE);
    let file = bench.dir.path().join("edgeferry.toml");
    let made = std::process::Command::new("mkfifo").arg(&file).status();
    assert!(made.expect("mkfifo runs").success());
    let (reloads, mut requests) = Requests::channel();
    drop(reloads);
    let hangup = crate::app::reload::hangup().expect("a handler");
    requests.of_file(&file, hangup);
    // Written by the thread that serves the connections: were it the one that reads, nobody would ever write.
    let (text, written) = (BASE.to_owned(), file.clone());
    let served = tokio::spawn(async move {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let writing = tokio::task::spawn_blocking(move || std::fs::write(written, text));
        writing.await.expect("no panic").expect("writes");
    });
    let (answer, answered) = tokio::sync::oneshot::channel();
    let stop = CancellationToken::new();
    let reload = requests.reload(&mut bench.stages, vec![answer], &stop);
    let done = tokio::time::timeout(Duration::from_mins(1), reload).await;
    done.expect("in time").expect("goes on");
    served.await.expect("no panic");
    let said = answered.await.expect("an answer").expect("not refused");
    assert!(said.contains("nothing is different"), "{said}");
    bench.end().await;
}

#[tokio::test]
async fn a_refused_configuration_leaves_nothing_noted() {
    let before = BASE.replace("[kafka]", "[kafka]\ndelivery = \"exactly-once\"");
    let mut bench = Bench::start(&before);
    let noted = bench.notes("default");
    for file in ["routes.json", "cursor-topics.json", "filters-default"] {
        assert!(noted.contains_key(file), "{noted:?}");
    }
    std::fs::write(bench.dir.path().join("lanes/alarms"), b"no folder").expect("writes");
    let other = before
        .replace("from = \"t/{device}\"", "from = \"x/{device}\"")
        .replace("[kafka]", "[kafka]\ncursor_topic = \"typo\"");
    let refused = bench
        .change_to(&format!("{other}{ALARMS}"), &CancellationToken::new())
        .await;
    assert!(matches!(refused, Ok(Changed::Refused(_))), "{refused:?}");
    assert_eq!(bench.notes("default"), noted);
    bench.end().await;
}

/// Where a configuration has a file with a key in it.
fn with_key(folder: &Path, text: &str) -> String {
    let key = folder.join("key");
    std::fs::write(&key, "0123456789abcdef".repeat(4)).expect("writes");
    format!("{text}[queue]\nkey_file = {:?}\n", key.display().to_string())
}

#[tokio::test]
async fn a_key_of_a_refused_configuration_is_asked_for_by_nobody() {
    let keys = tempfile::tempdir().expect("temp dir");
    let mut bench = Bench::start(BASE);
    bench.store("default").await;
    let stored = Stored {
        seq: Seq(7),
        epoch: Epoch(1),
        arrival: Arrival::trial(7, "a/b", "x"),
    };
    let letters = Arc::clone(&bench.stages.running["default"].letters.letters);
    letters.keep(&stored, vec![Refused::NoRoute]).expect("keeps");
    drop(letters);
    std::fs::write(bench.dir.path().join("lanes/alarms"), b"no folder").expect("writes");
    let sealed = with_key(keys.path(), &format!("{BASE}{ALARMS}"));
    let refused = bench.change_to(&sealed, &CancellationToken::new()).await;
    assert!(matches!(refused, Ok(Changed::Refused(_))), "{refused:?}");
    assert_eq!(bench.lanes(), ["default"]);
    assert_eq!(bench.queued("default"), 1);
    let Bench { mut stages, dir } = bench;
    stages.stop().await;
    drop(stages);
    let bench = Bench::start_in(dir, BASE);
    assert_eq!(bench.queued("default"), 1);
    bench.end().await;
}

#[tokio::test]
async fn a_lane_whose_key_file_has_moved_is_opened_as_it_was() {
    let keys = tempfile::tempdir().expect("temp dir");
    let sealed = with_key(keys.path(), BASE);
    let mut bench = Bench::start(&sealed);
    bench.store("default").await;
    let (key, old) = (keys.path().join("key"), keys.path().join("old"));
    std::fs::rename(&key, &old).expect("moves");
    let rotated = format!(
        "{}old_key_files = [{:?}]\n",
        with_key(keys.path(), &format!("{BASE}{ALARMS}")),
        old.display().to_string()
    );
    std::fs::write(&key, "fedcba9876543210".repeat(4)).expect("writes");
    std::fs::write(bench.dir.path().join("lanes/alarms"), b"no folder").expect("writes");
    let refused = bench.change_to(&rotated, &CancellationToken::new()).await;
    assert!(matches!(refused, Ok(Changed::Refused(_))), "{refused:?}");
    assert_eq!(bench.queued("default"), 1);
    bench.end().await;
}

#[tokio::test]
async fn a_broker_of_a_refused_configuration_leaves_no_session() {
    let mut bench = Bench::start(BASE);
    let noted = bench.notes("default");
    std::fs::write(bench.dir.path().join("lanes/alarms"), b"no folder").expect("writes");
    let two = BASE.replace(
        "[kafka]",
        "name = \"a\"\n[[mqtt]]\nname = \"c\"\nurl = \"mqtt://127.0.0.1:2\"\n[kafka]",
    );
    let refused = bench
        .change_to(&format!("{two}{ALARMS}"), &CancellationToken::new())
        .await;
    assert!(matches!(refused, Ok(Changed::Refused(_))), "{refused:?}");
    assert_eq!(bench.notes("default"), noted);
    bench.end().await;
}

#[tokio::test]
async fn a_lane_that_loses_its_key_with_its_table_is_refused_and_goes_on() {
    let keys = tempfile::tempdir().expect("temp dir");
    let key = keys.path().join("key");
    std::fs::write(&key, "0123456789abcdef".repeat(4)).expect("writes");
    let own = format!("name = \"alarms\"\nkey_file = {:?}", key.display().to_string());
    let mut bench = Bench::start(&format!(
        "{BASE}{}",
        ALARMS.replacen("name = \"alarms\"", &own, 1)
    ));
    bench.store("alarms").await;
    let difference = Difference::between(bench.stages.config(), &config(BASE));
    assert!(
        bench.judge(BASE, &difference).is_err(),
        "before anything is stopped"
    );
    // Whatever else keeps it from being opened.
    let refused = bench.change_to(BASE, &CancellationToken::new()).await;
    assert!(matches!(refused, Ok(Changed::Refused(_))), "{refused:?}");
    assert_eq!(bench.lanes().len(), 2);
    let alarms = bench.stages.running.get("alarms").expect("it goes on");
    assert!(!alarms.plan.is_leaving);
    bench.end().await;
}

#[tokio::test]
async fn a_broker_that_comes_back_is_connected_to_where_it_keeps_a_session() {
    let one = BASE
        .replace("[[mqtt]]", "[[mqtt]]\nname = \"a\"")
        .replace("topic = \"t\"", "topic = \"t\"\nbroker = \"a\"");
    let mut bench = Bench::start(&one);
    std::fs::write(bench.dir.path().join("lanes/default/session-old"), b"").expect("writes");
    let both = format!("{one}[[mqtt]]\nname = \"old\"\nurl = \"mqtt://127.0.0.1:2\"\n");
    assert_eq!(bench.anew(&both).await, ["default"]);
    let brokers = &bench.stages.running.get("default").expect("runs").brokers;
    assert_eq!(*brokers, ["a", "old"]);
    bench.end().await;
}
