//! All lanes, started and supervised together.
//!
//! `change` exchanges some of them while the others go on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::app::forward::Forwarding;
use crate::app::lane::{Carried, Ground, OpenLane, Outcome, Points};
use crate::app::plan::{Plan, plan};
use crate::app::status::Statuses;
use crate::app::telling::Tellings;
use crate::app::view::View;
use crate::app::{AppError, DataDir, DataDirError, letters, look, retired};
use crate::clock::Clock;
use crate::config::Config;
use crate::identity::Identity;
use crate::ops::Look;
use crate::ops::control::{self, Control, Reloads};
use crate::ops::hand::{Hand, HandLane, Known, LetterBox};
use crate::queue::Ballast;
use crate::route::Mark;
use crate::sink::Allowance;
use crate::source::Handover;

mod change;

pub use change::Changed;
pub(super) use change::look_beside;

/// Everything that runs.
#[derive(Debug)]
pub struct Stages {
    ground: Ground,
    lanes: JoinSet<(String, Outcome)>,
    /// What is known of each lane that runs, by name.
    running: BTreeMap<String, Running>,
    view: View,
    look: Look,
    /// For people. It is no part of the pipeline: without it the daemon runs all the same.
    hand: Option<(Arc<Hand>, Control)>,
    /// The dead letters of lanes that are no more.
    orphans: Vec<LetterBox>,
    /// For dead letters, if they have a topic.
    forwarding: Option<Forwarding>,
    /// For those who look at the brokers.
    statuses: Option<Statuses>,
    /// For those who cannot ask.
    tellings: Option<Tellings>,
}

/// A lane that runs, seen from outside.
#[derive(Debug)]
struct Running {
    plan: Plan,
    stop: CancellationToken,
    hand: Arc<HandLane>,
    letters: LetterBox,
    points: Points,
    interests: Vec<Mark>,
    /// The brokers that it is connected to.
    brokers: Vec<String>,
    /// Both are gone when its stores are closed.
    traces: [Weak<()>; 2],
}

impl Stages {
    /// Opens the store and starts all lanes. Nothing waits for MQTT or Kafka to be there.
    pub fn start(
        config: &Arc<Config>,
        data_dir: &Arc<DataDir>,
        identity: &Identity,
        reloads: Reloads,
    ) -> Result<Self, AppError> {
        let ground = Ground {
            config: Arc::clone(config),
            data_dir: Arc::clone(data_dir),
            identity: Arc::new(identity.clone()),
            clock: Clock::system()?,
            ballast: Arc::new(Ballast::open(data_dir.path())),
            handover: Arc::new(Handover::default()),
            allowance: config.kafka.max_rate.map(|rate| Arc::new(Allowance::new(rate))),
            nudge: Arc::new(Notify::new()),
        };
        let view = View::default();
        let look = look::over(view.clone(), config, identity.clone(), ground.clock.clone());
        let plans = plan(config, data_dir)?;
        let mut open = Vec::new();
        for plan in &plans {
            open.extend(
                open_lane(plan, &ground, Carried::default(), Ran::No)?.map(|lane| (plan.clone(), lane)),
            );
        }
        let mut boxes: Vec<LetterBox> = open.iter().map(|(_, lane)| lane.letters()).collect();
        let orphans = letters::orphans(config, data_dir, identity, &boxes)?;
        boxes.extend(orphans.iter().cloned());
        let mut stages = Self {
            ground,
            lanes: JoinSet::new(),
            running: BTreeMap::new(),
            view,
            look,
            hand: None,
            orphans,
            forwarding: None,
            statuses: None,
            tellings: None,
        };
        let open: Vec<(Running, OpenLane)> = open.into_iter().map(Running::of).collect();
        let lanes = open
            .iter()
            .map(|(running, _)| Arc::clone(&running.hand))
            .collect();
        stages.hand = start_hand(data_dir, identity, lanes, boxes.clone(), reloads, stages.look());
        stages.run(open)?;
        stages.forwarding = Forwarding::start(config, identity, boxes, &stages.view)?;
        stages.statuses = Some(Statuses::start(config, identity, &plans, &stages.view)?);
        stages.view.runs(Arc::clone(config));
        stages.tellings = Some(stages.start_tellings()?);
        Ok(stages)
    }

    /// Begins to tell the state to those who cannot ask.
    fn start_tellings(&self) -> Result<Tellings, AppError> {
        let Ground {
            config,
            identity,
            allowance,
            ..
        } = &self.ground;
        Tellings::start(config, identity, &self.look, &self.view, allowance.clone())
    }

    /// For onlookers.
    pub fn view(&self) -> View {
        self.view.clone()
    }

    /// Takes looks at the whole.
    pub fn look(&self) -> Look {
        self.look.clone()
    }

    /// What runs now.
    pub fn config(&self) -> &Arc<Config> {
        &self.ground.config
    }

    /// The lanes that run.
    pub fn names(&self) -> BTreeSet<String> {
        self.running.keys().cloned().collect()
    }

    /// The folder of the store.
    pub const fn data_dir(&self) -> &Arc<DataDir> {
        &self.ground.data_dir
    }

    /// Lanes begin their work.
    fn run(&mut self, open: Vec<(Running, OpenLane)>) -> Result<(), AppError> {
        for (running, lane) in open {
            let (name, stop) = (running.plan.name.clone(), running.stop.clone());
            self.view.add(lane.view().clone());
            self.running.insert(name.clone(), running);
            let lane = lane.start()?;
            self.lanes.spawn(async move { (name, lane.run(stop).await) });
        }
        Ok(())
    }

    /// Waits for a stage that ends by itself, and names it. Lanes that are to go are put away meanwhile.
    pub async fn ended(&mut self) -> AppError {
        loop {
            let next = tokio::select! {
                next = self.lanes.join_next() => next,
                thread = forwarding_ended(&mut self.forwarding) => return AppError::StageEnded(thread),
            };
            if let Some(failed) = self.lane_ended(next) {
                return failed;
            }
        }
    }

    /// A lane ended by itself. One that is empty is put away; everything else ends the daemon.
    fn lane_ended(&mut self, next: Option<Result<(String, Outcome), JoinError>>) -> Option<AppError> {
        match next {
            Some(Ok((name, Outcome::Emptied))) => {
                self.put_away(&name);
                None
            }
            Some(Ok((_, Outcome::StageEnded(stage)))) => Some(AppError::StageEnded(stage)),
            Some(Ok((lane, Outcome::Fenced))) => Some(AppError::Fenced { lane }),
            Some(Ok((name, Outcome::Stopped))) => Some(AppError::StageEnded(format!("lane {name}"))),
            Some(Err(error)) => Some(AppError::StageEnded(format!("lane ({error})"))),
            None => Some(AppError::StageEnded("pipeline".to_owned())),
        }
    }

    /// Stops all lanes at the same time, each in the direction of the data.
    pub async fn stop(&mut self) {
        self.stop_lanes();
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
        if let Some(tellings) = self.tellings.take() {
            tellings.stop().await;
        }
    }

    /// All lanes begin to stop.
    fn stop_lanes(&self) {
        if let Some((hand, _)) = &self.hand {
            hand.close();
        }
        for lane in self.running.values() {
            lane.hand.shut();
            lane.stop.cancel();
        }
    }

    fn put_away(&mut self, name: &str) {
        // Closes its store.
        self.view.remove(name);
        if let Some((hand, _)) = &self.hand {
            hand.release(name);
        }
        let gone = self.running.remove(name);
        self.orphans.extend(gone.map(|lane| lane.letters));
        match retired::retire(&self.ground.data_dir, name) {
            Ok(()) => tracing::info!(lane = name, "the lane is empty, and was removed"),
            Err(error) => tracing::warn!(
                lane = name, %error,
                "the lane is empty, but its folder cannot be removed; tried again at the next start"
            ),
        }
    }
}

impl Running {
    fn of((plan, lane): (Plan, OpenLane)) -> (Self, OpenLane) {
        let letters = lane.letters();
        let running = Self {
            stop: CancellationToken::new(),
            hand: lane.hand(),
            points: lane.points(),
            interests: lane.interests(),
            brokers: lane
                .view()
                .brokers
                .iter()
                .map(|broker| broker.name.clone())
                .collect(),
            traces: [lane.view().queue.trace(), letters.letters.trace()],
            letters,
            plan,
        };
        (running, lane)
    }
}

/// For ever, when nothing is forwarded.
async fn forwarding_ended(forwarding: &mut Option<Forwarding>) -> String {
    match forwarding {
        Some(forwarding) => forwarding.ended().await,
        None => std::future::pending().await,
    }
}

/// Whether a lane ran in this process until it was stopped for a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ran {
    Yes,
    No,
}

/// A lane that no route uses must not keep the others from starting. One that ran must go on: a change that it cannot follow is
/// refused.
fn open_lane(plan: &Plan, ground: &Ground, carried: Carried, ran: Ran) -> Result<Option<OpenLane>, AppError> {
    let lane = plan.name.as_str();
    let unusable = |source| DataDirError::Unusable {
        path: ground.data_dir.retired(lane),
        source,
    };
    retired::revive(&ground.data_dir, lane).map_err(unusable)?;
    if !plan.is_leaving {
        return OpenLane::open(plan, ground, carried).map(Some);
    }
    match OpenLane::open(plan, ground, carried) {
        Ok(open) => {
            let backlog = open.view().queue.status().balance.queued;
            tracing::info!(
                lane,
                backlog,
                "no route uses this lane any more: it is emptied, then removed"
            );
            Ok(Some(open))
        }
        Err(error) if ran == Ran::Yes => Err(error),
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
    reloads: Reloads,
    look: Look,
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
    let hand = Hand::new(identity.clone(), lanes, known, true);
    let hand = Arc::new(hand.with_letters(boxes).with_look(look));
    match Control::start(data_dir.path(), Arc::clone(&hand), reloads) {
        Ok(control) => Some((hand, control)),
        Err(error) => {
            let path = control::path(data_dir.path());
            tracing::warn!(path = %path.display(), %error, "no control socket: `edgeferry queue` and `edgeferry dead-letter` work on the stopped store only, and `edgeferry status` sees no daemon");
            hand.close();
            None
        }
    }
}
