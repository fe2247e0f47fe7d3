//! Some lanes are exchanged while the others go on.
//!
//! A lane that a change is about is stopped in the direction of the data, as at the end of the process, its stores are closed, and
//! it is opened anew with its new plan, as at a start. So everything that holds over a restart holds here. Nothing is stopped
//! before it is known what will be opened; all lanes are opened before one of them begins to work; and when one cannot be opened,
//! all of them are opened as they were. Where that fails too, or a store is not let go of, there is nothing between the old
//! configuration and the new one: the daemon ends in order, and the service manager starts it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::{Ran, Running, Stages, open_lane};
use crate::app::forward::Forwarding;
use crate::app::lane::{Carried, Ground, OpenLane, Outcome};
use crate::app::plan::{Plan, plan};
use crate::app::reload::impact::{self, Known};
use crate::app::{AppError, DataDirError, letters, undo};
use crate::config::Config;
use crate::config::difference::{Difference, Takes};
use crate::ops::hand::{HandLane, LetterBox};
use crate::queue::NoRoom;
use crate::sink::Allowance;

/// How long a command of a person may take to notice that it has to make way: it looks between two blocks, and waits no
/// longer than it takes a bad card to give one.
const HAND_PATIENCE: Duration = Duration::from_secs(20);
/// How long whoever looks at a stopped lane may still hold it: looks are copies of a moment.
const CLOSE_PATIENCE: Duration = Duration::from_secs(10);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// What became of a change.
#[derive(Debug)]
pub enum Changed {
    /// Everything runs by the new configuration.
    Applied {
        /// Lanes that were stopped and started anew, how long they took together.
        anew: Vec<String>,
        /// From the first stop to the last start.
        took: Duration,
    },
    /// Everything runs by the old one.
    Refused(AppError),
    /// The process is to stop meanwhile: what was stopped stays so.
    Interrupted,
}

/// What is to be opened, and what for.
struct Opening {
    plans: Vec<Plan>,
    ground: Ground,
    /// Of the lanes that ran, by name: each of them has to be opened.
    carried: BTreeMap<String, Carried>,
}

/// Lanes that do not work yet.
struct Opened {
    ground: Ground,
    open: Vec<(Plan, OpenLane)>,
    before: undo::Notes,
}

impl Opened {
    /// Nobody wants them any more: they are closed, and what was noted for them is as it was.
    fn undo(self) {
        // No lane may write there any more.
        drop(self.open);
        self.before.put_back(&self.ground.data_dir);
    }
}

/// What the store says of lanes.
struct Survey {
    /// The lanes that are to run.
    plans: Vec<Plan>,
    /// The brokers that keep a session for a lane that runs.
    sessions: BTreeMap<String, BTreeSet<String>>,
}

impl Stages {
    /// Goes over to `config`. `stop` says that the process is to stop.
    ///
    /// # Errors
    /// [`AppError`]: neither the old configuration nor the new one runs as a whole. The daemon has to end.
    pub async fn change(
        &mut self,
        config: &Arc<Config>,
        difference: &Difference,
        stop: &CancellationToken,
    ) -> Result<Changed, AppError> {
        if stop.is_cancelled() {
            return Ok(Changed::Interrupted);
        }
        let Survey { plans, sessions } = match self.survey(config, stop).await? {
            Some(Ok(survey)) => survey,
            Some(Err(error)) => return Ok(Changed::Refused(error.into())),
            None => return Ok(Changed::Interrupted),
        };
        let affected = self.affected(config, difference, &plans, &sessions);
        let is_opened =
            |plan: &&Plan| !self.running.contains_key(&plan.name) || affected.contains(&plan.name);
        let opened: Vec<Plan> = plans.iter().filter(is_opened).cloned().collect();
        let moves_lanes = !opened.is_empty() || !affected.is_empty();
        if moves_lanes {
            match self.room_for(opened.len().max(affected.len()), stop).await? {
                Some(Ok(())) => {}
                Some(Err(error)) => return Ok(Changed::Refused(error.into())),
                None => return Ok(Changed::Interrupted),
            }
            if !self.pause_hand(stop).await {
                return Ok(Changed::Refused(AppError::HandBusy));
            }
        }
        let began = Instant::now();
        let forwards = difference.takes(|takes| matches!(takes, Takes::Forwarding | Takes::AllLanes));
        if moves_lanes || forwards {
            self.stop_forwarding().await?;
        }
        let ground = self.ground_of(config, difference);
        let refused = if moves_lanes {
            self.move_lanes(&opened, &affected, ground, stop).await?
        } else {
            self.ground = ground;
            None
        };
        if stop.is_cancelled() {
            // What stands beside the lanes is to be stopped, too.
            return Ok(Changed::Interrupted);
        }
        self.view.settled();
        if refused.is_none() {
            self.settle_in(&plans, difference).await?;
        }
        if self.forwarding.is_none() {
            self.start_forwarding()?;
        }
        Ok(match refused {
            Some(error) => Changed::Refused(error),
            None => Changed::Applied {
                anew: opened.into_iter().map(|plan| plan.name).collect(),
                took: began.elapsed(),
            },
        })
    }

    /// Exchanges the lanes. Gives why the new ones cannot be opened; then the old ones run again. Once `stop` has come, those that are
    /// down stay so.
    async fn move_lanes(
        &mut self,
        opened: &[Plan],
        affected: &BTreeSet<String>,
        ground: Ground,
        stop: &CancellationToken,
    ) -> Result<Option<AppError>, AppError> {
        let old: Vec<Plan> = self.plans_of(affected);
        let carried = self.take_down(affected, stop).await?;
        if stop.is_cancelled() {
            return Ok(None);
        }
        let new = Opening {
            plans: opened.to_vec(),
            ground,
            carried: carried.clone().into_iter().map(forward).collect(),
        };
        match self.open(new, stop).await? {
            Ok(opened) if stop.is_cancelled() => {
                beside("closing of lanes", move || opened.undo()).await?;
                Ok(None)
            }
            _ if stop.is_cancelled() => Ok(None),
            Ok(Opened { ground, open, .. }) => {
                self.ground = ground;
                self.bring_up(open, affected).await?;
                Ok(None)
            }
            Err(error) => {
                self.open_as_before(old, carried, affected, stop).await?;
                Ok(Some(error))
            }
        }
    }

    /// What the store says of lanes. Folders are read for it.
    async fn survey(
        &self,
        config: &Arc<Config>,
        stop: &CancellationToken,
    ) -> Result<Option<Result<Survey, DataDirError>>, AppError> {
        let (config, data_dir) = (Arc::clone(config), Arc::clone(&self.ground.data_dir));
        let names: Vec<String> = self.running.keys().cloned().collect();
        let look = move || {
            let sessions = names.into_iter().map(|lane| {
                let sessions = data_dir.sessions(&lane)?;
                Ok((lane, sessions))
            });
            Ok(Survey {
                sessions: sessions.collect::<Result<_, DataDirError>>()?,
                plans: plan(&config, &data_dir)?,
            })
        };
        look_beside("look at the store", look, stop).await
    }

    /// Whether the disk has room to open so many lanes.
    async fn room_for(
        &self,
        lanes: usize,
        stop: &CancellationToken,
    ) -> Result<Option<Result<(), NoRoom>>, AppError> {
        let ballast = Arc::clone(&self.ground.ballast);
        let look = move || ballast.has_room_to_open(lanes);
        look_beside("look at the disk", look, stop).await
    }

    /// Files may have changed: links that are not well are tried with them at once.
    pub fn try_links(&self) {
        for lane in self.view.lanes() {
            lane.sink.reload();
            lane.queue.wake_reader();
        }
        self.ground.nudge.notify_waiters();
        self.view.certificates().look_again();
    }

    fn affected(
        &self,
        config: &Config,
        difference: &Difference,
        plans: &[Plan],
        sessions: &BTreeMap<String, BTreeSet<String>>,
    ) -> BTreeSet<String> {
        let brokers = |(name, lane): (&String, &Running)| {
            // A broker that comes back may still keep a session, with what waits in it.
            let mut own = sessions.get(name).cloned().unwrap_or_default();
            own.extend(lane.brokers.iter().cloned());
            own
        };
        let brokers: Vec<BTreeSet<String>> = self.running.iter().map(brokers).collect();
        let lanes = self.running.values().zip(&brokers);
        let lanes: Vec<Known<'_>> = lanes.map(|(lane, brokers)| lane.known(brokers)).collect();
        impact::affected(&self.ground.config, config, difference, &lanes, plans)
    }

    fn plans_of(&self, names: &BTreeSet<String>) -> Vec<Plan> {
        let lanes = names.iter().filter_map(|name| self.running.get(name));
        lanes.map(|lane| lane.plan.clone()).collect()
    }

    /// The same ground with another configuration. The allowance goes on unless it is another one: lanes that stay have seats
    /// there.
    fn ground_of(&self, config: &Arc<Config>, difference: &Difference) -> Ground {
        let is_other = config.kafka.max_rate != self.ground.config.kafka.max_rate;
        let allowance = match is_other {
            true => config.kafka.max_rate.map(|rate| Arc::new(Allowance::new(rate))),
            false => self.ground.allowance.clone(),
        };
        debug_assert!(!is_other || difference.takes(|takes| *takes == Takes::AllLanes));
        Ground {
            config: Arc::clone(config),
            allowance,
            ..self.ground.clone()
        }
    }

    /// Waits until no command of a person holds a lane. False when one does not make way; then they go on.
    async fn pause_hand(&self, stop: &CancellationToken) -> bool {
        let Some((hand, _)) = &self.hand else {
            return true;
        };
        hand.pause();
        let idle = async {
            while !hand.is_idle() && !stop.is_cancelled() {
                tokio::time::sleep(LOOK).await;
            }
        };
        let is_idle = tokio::time::timeout(HAND_PATIENCE, idle).await.is_ok();
        if !is_idle {
            hand.resume();
        }
        is_idle
    }

    /// It is beside the path, and holds the dead letters of all lanes.
    async fn stop_forwarding(&mut self) -> Result<(), AppError> {
        let Some(forwarding) = self.forwarding.take() else {
            return Ok(());
        };
        match forwarding.stop().await {
            true => Ok(()),
            false => Err(AppError::NotClosed("the forwarding of dead letters".to_owned())),
        }
    }

    fn start_forwarding(&mut self) -> Result<(), AppError> {
        let Ground { config, identity, .. } = &self.ground;
        self.forwarding = Forwarding::start(config, identity, self.boxes(), &self.view)?;
        Ok(())
    }

    /// Stops these lanes side by side, and waits until their stores are closed. Returns what goes on of them.
    async fn take_down(
        &mut self,
        names: &BTreeSet<String>,
        stop: &CancellationToken,
    ) -> Result<BTreeMap<String, Carried>, AppError> {
        self.view.exchange(names);
        for lane in names.iter().filter_map(|name| self.running.get(name)) {
            lane.hand.shut();
            lane.stop.cancel();
        }
        let mut left = names.clone();
        let mut is_stopping = false;
        while !left.is_empty() {
            let next = tokio::select! {
                next = self.lanes.join_next() => next,
                () = stop.cancelled(), if !is_stopping => {
                    // The others need as long as these: all at once.
                    is_stopping = true;
                    self.stop_lanes();
                    continue;
                }
            };
            match next {
                Some(Ok((name, Outcome::Stopped | Outcome::Emptied))) if left.remove(&name) => {}
                Some(Ok((_, Outcome::Stopped))) if is_stopping => {}
                next => {
                    if let Some(failed) = self.lane_ended(next) {
                        return Err(failed);
                    }
                }
            }
        }
        if is_stopping {
            return Ok(BTreeMap::new());
        }
        self.close(names).await
    }

    /// Lets go of lanes that have stopped. What of dead letters nobody runs any more is let go of too: it may be theirs again.
    /// Returns what goes on of them: what was delivered while they stopped is in their counters.
    async fn close(&mut self, names: &BTreeSet<String>) -> Result<BTreeMap<String, Carried>, AppError> {
        let mut carried = BTreeMap::new();
        let mut traces: Vec<(String, Weak<()>)> = Vec::new();
        let orphans = std::mem::take(&mut self.orphans);
        for orphan in &orphans {
            traces.push((orphan.lane.clone(), orphan.letters.trace()));
        }
        if let Some((hand, _)) = &self.hand {
            hand.forget_letters();
        }
        let mut stopped = Vec::new();
        for name in names {
            self.view.remove(name);
            if let Some((hand, _)) = &self.hand {
                hand.release(name);
            }
            if let Some(lane) = self.running.remove(name) {
                carried.insert(name.clone(), lane.points.carried());
                traces.extend(lane.traces.iter().cloned().map(|trace| (name.clone(), trace)));
                stopped.push(lane);
            }
        }
        // A store that is closed is flushed and synced.
        beside("closing of lanes", move || drop((orphans, stopped))).await?;
        let is_open = |(_, trace): &&(String, Weak<()>)| trace.strong_count() > 0;
        let began = Instant::now();
        while let Some((name, _)) = traces.iter().find(is_open) {
            if began.elapsed() >= CLOSE_PATIENCE {
                return Err(AppError::NotClosed(format!("the lane {name}")));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(carried)
    }

    /// Opens lanes, all of them or none. Stores are read meanwhile, so another thread does it; at a stop the lanes that run do not wait for it.
    async fn open(
        &self,
        opening: Opening,
        stop: &CancellationToken,
    ) -> Result<Result<Opened, AppError>, AppError> {
        let mut opened = std::pin::pin!(beside("opening of lanes", move || open_all(opening)));
        tokio::select! {
            opened = &mut opened => opened,
            () = stop.cancelled() => {
                self.stop_lanes();
                opened.await
            }
        }
    }

    /// The way back: the lanes that were there, with the configuration that was.
    async fn open_as_before(
        &mut self,
        plans: Vec<Plan>,
        carried: BTreeMap<String, Carried>,
        affected: &BTreeSet<String>,
        stop: &CancellationToken,
    ) -> Result<(), AppError> {
        let old = Opening {
            plans,
            ground: self.ground.clone(),
            carried,
        };
        let Opened { open, .. } = self.open(old, stop).await??;
        match stop.is_cancelled() {
            true => Ok(()),
            false => self.bring_up(open, affected).await,
        }
    }

    /// Opened lanes join the others and begin to work.
    async fn bring_up(
        &mut self,
        open: Vec<(Plan, OpenLane)>,
        affected: &BTreeSet<String>,
    ) -> Result<(), AppError> {
        let open: Vec<(Running, OpenLane)> = open.into_iter().map(Running::of).collect();
        self.switch_routes();
        let mut boxes: Vec<LetterBox> = self.running.values().map(|lane| lane.letters.clone()).collect();
        boxes.extend(open.iter().map(|(lane, _)| lane.letters.clone()));
        let lanes = self.running.values().chain(open.iter().map(|(lane, _)| lane));
        let lanes: Vec<Arc<HandLane>> = lanes.map(|lane| Arc::clone(&lane.hand)).collect();
        let anew: Vec<String> = affected.iter().cloned().collect();
        let ground = self.ground.clone();
        let hand = self.hand.as_ref().map(|(hand, _)| Arc::clone(hand));
        // Stores are opened and read for this: the lanes that stay must not wait for it.
        let exchanged = beside("exchange of lanes", move || {
            let Ground {
                config,
                data_dir,
                identity,
                ..
            } = &ground;
            let orphans = letters::orphans(config, data_dir, identity, &boxes)?;
            boxes.extend(orphans.iter().cloned());
            if let Some(hand) = hand {
                hand.exchange(lanes, boxes, &anew);
            }
            Ok::<_, AppError>(orphans)
        });
        self.orphans = exchanged.await??;
        self.run(open)?;
        let running = &self.running;
        let is_there = |broker: &str, lane: &str| {
            let lane = running.get(lane);
            lane.is_some_and(|lane| lane.brokers.iter().any(|name| name == broker))
        };
        self.ground.handover.keep(is_there);
        Ok(())
    }

    /// Lanes that stay have the routes of the others too, for what a person puts into them.
    fn switch_routes(&mut self) {
        let Ground { config, identity, .. } = &self.ground;
        for lane in self.running.values_mut() {
            let router = lane.points.switch(config, &identity.gateway);
            lane.hand = lane.hand.rerouted(Arc::clone(&router));
            lane.letters.router = router;
        }
    }

    /// What is beside the lanes goes over to the configuration that is the ground now.
    async fn settle_in(&mut self, plans: &[Plan], difference: &Difference) -> Result<(), AppError> {
        let Ground { config, identity, .. } = &self.ground;
        let names: Vec<String> = plans.iter().map(|plan| plan.name.clone()).collect();
        self.view.sort(&names);
        self.view.runs(Arc::clone(config));
        self.view.certificates().configure(config);
        let told = difference
            .changes
            .iter()
            .filter_map(|change| match &change.takes {
                Takes::Status(broker) => Some(broker.clone()),
                _ => None,
            });
        let told: Vec<String> = told.collect();
        if let Some(statuses) = &mut self.statuses
            && !told.is_empty()
        {
            statuses.renew(&told, config, identity, plans, &self.view).await?;
        }
        let by_other_means =
            |takes: &Takes| matches!(takes, Takes::Telling | Takes::Broker(_) | Takes::AllLanes);
        if difference.takes(by_other_means) {
            if let Some(tellings) = self.tellings.take() {
                tellings.hand_over(config).await;
            }
            self.tellings = Some(self.start_tellings()?);
        }
        Ok(())
    }

    fn boxes(&self) -> Vec<LetterBox> {
        let own = self.running.values().map(|lane| &lane.letters);
        own.chain(&self.orphans).cloned().collect()
    }
}

impl Running {
    fn known<'a>(&'a self, brokers: &'a BTreeSet<String>) -> Known<'a> {
        Known {
            plan: &self.plan,
            interests: &self.interests,
            brokers,
        }
    }
}

/// What goes on in a lane that is opened by another configuration: that one names its keys.
fn forward((name, carried): (String, Carried)) -> (String, Carried) {
    (
        name,
        Carried {
            keys: None,
            ..carried
        },
    )
}

/// Opens lanes, all of them or none; of none it notes anything then.
fn open_all(opening: Opening) -> Result<Opened, AppError> {
    let Opening {
        plans,
        ground,
        mut carried,
    } = opening;
    let ran = carried.keys().cloned().collect();
    let names = plans.iter().map(|plan| plan.name.as_str());
    let before = undo::Notes::of(&ground.data_dir, names, &ran);
    let mut open = Vec::new();
    for plan in plans {
        let (carried, ran) = match carried.remove(&plan.name) {
            Some(carried) => (carried, Ran::Yes),
            None => (Carried::default(), Ran::No),
        };
        match open_lane(&plan, &ground, carried, ran) {
            Ok(lane) => open.extend(lane.map(|lane| (plan, lane))),
            Err(error) => {
                // No lane may write there any more.
                drop(open);
                before.put_back(&ground.data_dir);
                return Err(error);
            }
        }
    }
    Ok(Opened { ground, open, before })
}

/// Reads files as [`beside`], before anything is touched. `None` when the process is to stop meanwhile: nobody can promise how long a bad
/// card takes, and the thread that reads is left behind.
pub(in crate::app) async fn look_beside<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
    stop: &CancellationToken,
) -> Result<Option<T>, AppError> {
    tokio::select! {
        biased;
        () = stop.cancelled() => Ok(None),
        looked = beside(what, work) => looked.map(Some),
    }
}

/// Does work that reads or writes files, on a thread beside the one that serves all connections.
async fn beside<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, AppError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| AppError::StageEnded(format!("{what} ({error})")))
}

#[cfg(test)]
mod tests;
