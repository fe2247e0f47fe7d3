//! The thread that forwards dead letters to a Kafka topic.

use std::sync::Arc;
use std::time::Duration;

use crate::app::threads::Threads;
use crate::app::{AppError, View};
use crate::config::Config;
use crate::identity::Identity;
use crate::ops::hand::LetterBox;
use crate::queue::Reason;
use crate::sink::KafkaConnector;
use crate::sink::dead_letter::forward::{Cursor, ForwardMonitor, Forwarder, LaneNow, Outbox};

const NAME: &str = "dead letters";
/// How long the thread may take to end once it is told to: a question to Kafka, and letting go of the producer, which waits for
/// names that are looked up while the DNS is away. As long as the threads of a lane, because a reload ends the daemon when it
/// takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The thread, running.
#[derive(Debug)]
pub(super) struct Forwarding {
    monitor: Arc<ForwardMonitor>,
    threads: Threads,
}

impl Forwarding {
    /// Starts it if a topic is configured. `view` has all lanes that run.
    pub(super) fn start(
        config: &Config,
        identity: &Identity,
        boxes: Vec<LetterBox>,
        view: &View,
    ) -> Result<Option<Self>, AppError> {
        let Some(topic) = config.dead_letter.topic.clone() else {
            view.forwards(None);
            return Ok(None);
        };
        let monitor = Arc::new(ForwardMonitor::default());
        let waker = Arc::clone(&monitor);
        let client_id = format!("edgeferry-{}-dead-letters", identity.gateway);
        let connector = KafkaConnector::beside(&config.kafka, &client_id, Arc::new(move || waker.wake()));
        let boxes = boxes.into_iter().map(|letters| outbox(letters, identity, view));
        let forwarder = Forwarder::new(topic, connector, boxes.collect(), Arc::clone(&monitor));
        let mut threads = Threads::new(1);
        threads.spawn(NAME.to_owned(), move || forwarder.run())?;
        view.forwards(Some(Arc::clone(&monitor)));
        Ok(Some(Self { monitor, threads }))
    }

    /// Waits until it ends by itself, which it does not.
    pub(super) async fn ended(&mut self) -> String {
        self.threads.next_end().await
    }

    /// Ends it. What is under way stays here, and is sent again. False when it did not end in time.
    pub(super) async fn stop(mut self) -> bool {
        self.monitor.stop();
        let joined = tokio::time::timeout(PATIENCE, self.threads.join(NAME)).await;
        if joined.is_err() {
            tracing::warn!("the forwarding of dead letters did not end in time");
        }
        joined.is_ok()
    }
}

fn outbox(letters: LetterBox, identity: &Identity, view: &View) -> Outbox {
    let (view, name) = (view.clone(), letters.lane.clone());
    Outbox {
        lane: letters.lane,
        letters: letters.letters,
        router: letters.router,
        gateway: identity.gateway.clone(),
        epoch: identity.epoch,
        now: Box::new(move |cursor| lane_now(&view, &name, cursor)),
    }
}

/// A lane that has been emptied meanwhile is none any more.
fn lane_now(view: &View, name: &str, wanted: Cursor) -> LaneNow {
    let lanes = view.lanes();
    let Some(lane) = lanes.iter().find(|lane| lane.name == name) else {
        return LaneNow::default();
    };
    if wanted == Cursor::Synced
        && let Err(error) = lane.queue.settle_cursor()
    {
        tracing::debug!(lane = name, %error, "cannot sync the cursor");
    }
    let holes = lane.queue.holes().into_iter();
    LaneNow {
        cursor: Some(lane.queue.synced_cursor()),
        lost: holes
            .filter(|hole| hole.reason == Reason::Damaged)
            .map(|hole| (hole.first, hole.last))
            .collect(),
    }
}
