//! All lanes, started and supervised together.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::forward::Forwarding;
use crate::app::lane::{Ground, OpenLane, Outcome};
use crate::app::plan::{Plan, plan};
use crate::app::status::Statuses;
use crate::app::view::View;
use crate::app::{AppError, DataDir, DataDirError, letters, retired};
use crate::clock::Clock;
use crate::config::Config;
use crate::identity::Identity;
use crate::ops::control::{self, Control};
use crate::ops::hand::{Hand, HandLane, Known, LetterBox};
use crate::queue::Ballast;
use crate::sink::Allowance;
use crate::source::Handover;

/// Everything that runs.
#[derive(Debug)]
pub struct Stages {
    lanes: JoinSet<(String, Outcome)>,
    stop: CancellationToken,
    view: View,
    /// For people. It is no part of the pipeline: without it the daemon runs all the same.
    hand: Option<(Arc<Hand>, Control)>,
    /// For dead letters, if they have a topic.
    forwarding: Option<Forwarding>,
    /// For those who look at the brokers.
    statuses: Option<Statuses>,
    /// What all lanes together may send.
    allowance: Option<Arc<Allowance>>,
    data_dir: Arc<DataDir>,
}

impl Stages {
    /// Opens the store and starts all lanes. Nothing waits for MQTT or Kafka to be there.
    pub fn start(config: &Config, data_dir: &Arc<DataDir>, identity: &Identity) -> Result<Self, AppError> {
        let ground = Ground {
            config,
            data_dir,
            identity,
            clock: Clock::system()?,
            ballast: Arc::new(Ballast::open(data_dir.path())),
            handover: Arc::new(Handover::default()),
            allowance: config.kafka.max_rate.map(|rate| Arc::new(Allowance::new(rate))),
        };
        let view = View::default();
        let mut open = Vec::new();
        let plans = plan(config, data_dir)?;
        for plan in &plans {
            open.extend(open_lane(plan, &ground)?);
        }
        let mut boxes: Vec<LetterBox> = open.iter().map(OpenLane::letters).collect();
        boxes.extend(letters::orphans(config, data_dir, identity, &boxes)?);
        let hand = start_hand(
            data_dir,
            identity,
            open.iter().map(OpenLane::hand).collect(),
            boxes.clone(),
        );
        let (mut lanes, stop) = (JoinSet::new(), CancellationToken::new());
        for lane in open {
            let (name, stop) = (lane.view().name.clone(), stop.clone());
            view.add(lane.view().clone());
            let lane = lane.start()?;
            lanes.spawn(async move { (name, lane.run(stop).await) });
        }
        let forwarding = Forwarding::start(config, identity, boxes, &view)?;
        let statuses = Some(Statuses::start(config, identity, &plans)?);
        Ok(Self {
            allowance: ground.allowance,
            forwarding,
            statuses,
            lanes,
            stop,
            view,
            hand,
            data_dir: Arc::clone(data_dir),
        })
    }

    /// What all lanes together may send, for whoever sends beside them.
    pub fn allowance(&self) -> Option<Arc<Allowance>> {
        self.allowance.clone()
    }

    /// For onlookers.
    pub fn view(&self) -> View {
        self.view.clone()
    }

    /// Waits for a stage that ends by itself, and names it. Lanes that are to go are put away meanwhile.
    pub async fn ended(&mut self) -> AppError {
        loop {
            let next = tokio::select! {
                next = self.lanes.join_next() => next,
                thread = forwarding_ended(&mut self.forwarding) => return AppError::StageEnded(thread),
            };
            match next {
                Some(Ok((name, Outcome::Emptied))) => self.put_away(&name),
                Some(Ok((_, Outcome::StageEnded(stage)))) => return AppError::StageEnded(stage),
                Some(Ok((lane, Outcome::Fenced))) => return AppError::Fenced { lane },
                Some(Ok((name, Outcome::Stopped))) => return AppError::StageEnded(format!("lane {name}")),
                Some(Err(error)) => return AppError::StageEnded(format!("lane ({error})")),
                None => return AppError::StageEnded("pipeline".to_owned()),
            }
        }
    }

    /// Stops all lanes at the same time, each in the direction of the data.
    pub async fn stop(&mut self) {
        self.stop.cancel();
        if let Some((_, control)) = self.hand.take() {
            control.stop().await;
        }
        if let Some(forwarding) = self.forwarding.take() {
            forwarding.stop().await;
        }
        while let Some(ended) = self.lanes.join_next().await {
            if let Ok((name, Outcome::Emptied)) = ended {
                self.put_away(&name);
            }
        }
        // Last: now it is true.
        if let Some(statuses) = self.statuses.take() {
            statuses.stop().await;
        }
    }

    fn put_away(&self, name: &str) {
        // Closes its store.
        self.view.remove(name);
        if let Some((hand, _)) = &self.hand {
            hand.release(name);
        }
        match retired::retire(&self.data_dir, name) {
            Ok(()) => tracing::info!(lane = name, "the lane is empty, and was removed"),
            Err(error) => tracing::warn!(
                lane = name, %error,
                "the lane is empty, but its folder cannot be removed; tried again at the next start"
            ),
        }
    }
}

/// For ever, when nothing is forwarded.
async fn forwarding_ended(forwarding: &mut Option<Forwarding>) -> String {
    match forwarding {
        Some(forwarding) => forwarding.ended().await,
        None => std::future::pending().await,
    }
}

/// A lane that no route uses must not keep the others from starting.
fn open_lane(plan: &Plan, ground: &Ground<'_>) -> Result<Option<OpenLane>, AppError> {
    let lane = plan.name.as_str();
    let unusable = |source| DataDirError::Unusable {
        path: ground.data_dir.retired(lane),
        source,
    };
    retired::revive(ground.data_dir, lane).map_err(unusable)?;
    if !plan.is_leaving {
        return OpenLane::open(plan, ground).map(Some);
    }
    match OpenLane::open(plan, ground) {
        Ok(open) => {
            let backlog = open.view().queue.status().balance.queued;
            tracing::info!(
                lane,
                backlog,
                "no route uses this lane any more: it is emptied, then removed"
            );
            Ok(Some(open))
        }
        Err(error) => {
            tracing::error!(lane, %error, "no route uses this lane any more, and it cannot be emptied");
            Ok(None)
        }
    }
}

/// Lets people look into the lanes.
fn start_hand(
    data_dir: &DataDir,
    identity: &Identity,
    lanes: Vec<Arc<HandLane>>,
    boxes: Vec<LetterBox>,
) -> Option<(Arc<Hand>, Control)> {
    let mut known = match Known::open(data_dir.path()) {
        Ok(known) => known,
        Err(error) => {
            tracing::error!(%error, "no control socket: what was imported is not known");
            return None;
        }
    };
    if let Err(error) = known.reconcile(&lanes) {
        tracing::error!(%error, "it is not known what became of an interrupted import");
    }
    let hand = Arc::new(Hand::new(identity.clone(), lanes, known, true).with_letters(boxes));
    match Control::start(data_dir.path(), Arc::clone(&hand)) {
        Ok(control) => Some((hand, control)),
        Err(error) => {
            let path = control::path(data_dir.path());
            tracing::warn!(path = %path.display(), %error, "no control socket: `edgeferry queue` and `edgeferry dead-letter` work on the stopped store only");
            hand.close();
            None
        }
    }
}
