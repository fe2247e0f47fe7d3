//! On real stores, with brokers and Kafka away.

use std::path::Path;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::*;
use crate::app::DataDir;
use crate::app::reload::judge::judge;
use crate::identity::{self, Machine};
use crate::message::{Arrival, Delivery, SessionTag, Stamp};

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
        let dir = tempfile::tempdir().expect("temp dir");
        let data_dir = Arc::new(DataDir::take(dir.path()).expect("takes"));
        let identity = identity::open(dir.path(), "gw".to_owned(), &Machine::read(), false).expect("opens");
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
        let arrival = Arrival {
            broker: Arc::from("default"),
            topic: "a/d".to_owned(),
            payload: Bytes::from_static(b"waits"),
            oversize: None,
            properties: None,
            delivery: Delivery {
                session: SessionTag(1),
                position: 1,
                packet_id: 1,
                qos: 1,
                dup: false,
                retained: false,
                fingerprint: 1,
            },
            stamp: Stamp {
                unix_ms: 1000,
                boot_ms: 1,
                boot: 7,
                synchronised: true,
            },
            origin: None,
        };
        let room = intake.reserve(arrival.cost()).await.expect("open");
        intake.offer_at(1, arrival, room, false).expect("open");
        let mut durable = intake.durable();
        let stored = durable.wait_for(|at| *at >= 1);
        tokio::time::timeout(Duration::from_secs(20), stored)
            .await
            .expect("in time")
            .expect("open");
    }

    /// What a lane has noted of its configuration.
    fn notes(&self, lane: &str) -> BTreeMap<String, String> {
        let folder = self.dir.path().join("lanes").join(lane);
        let items = std::fs::read_dir(&folder).expect("lists");
        let names = items.map(|item| item.expect("item").file_name().to_string_lossy().into_owned());
        let is_json = |name: &String| {
            Path::new(name)
                .extension()
                .is_some_and(|extension| extension == "json")
        };
        let is_note = |name: &String| is_json(name) || name.starts_with("filters-");
        let text = |name: &String| {
            let text = std::fs::read_to_string(folder.join(name)).expect("reads");
            // Every opening but the first says that nothing is settled.
            text.replace(",\"settled\":[]", "")
        };
        names
            .filter(is_note)
            .map(|name| (name.clone(), text(&name)))
            .collect()
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
    let (hand, _) = bench.stages.hand.as_ref().expect("is there");
    assert!(hand.is_idle());
    std::fs::remove_file(bench.dir.path().join("lanes/alarms")).expect("removes");
    assert_eq!(
        bench.anew(&format!("{other}{ALARMS}")).await,
        ["default", "alarms"]
    );
    bench.end().await;
}

#[tokio::test]
async fn a_store_that_somebody_does_not_let_go_of_ends_the_daemon_instead_of_a_lane() {
    let mut bench = Bench::start(&format!("{BASE}{ALARMS}"));
    let held = bench.stages.view.lanes();
    let limited =
        format!("{BASE}{ALARMS}").replace("name = \"alarms\"", "name = \"alarms\"\nmax_age = \"1h\"");
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
    bench.end().await;
}

#[tokio::test]
async fn a_stop_that_comes_during_a_change_stops_everything_at_once() {
    let mut bench = Bench::start(&format!("{BASE}{ALARMS}"));
    let stop = CancellationToken::new();
    stop.cancel();
    let changed = bench.change_to(BASE, &stop).await;
    assert!(matches!(changed, Ok(Changed::Interrupted)), "{changed:?}");
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
        judge(&bench.stages, &config(BASE), &difference).is_err(),
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
