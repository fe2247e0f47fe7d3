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
use crate::app::lane::{Ground, OpenLane, Outcome};
use crate::app::plan::{Plan, plan};
use crate::app::reload::impact::{self, Known};
use crate::app::{AppError, DataDirError, letters, undo};
use crate::config::Config;
use crate::config::difference::{Difference, Takes};
use crate::ops::hand::{HandLane, LetterBox};
use crate::sink::Allowance;
use crate::sink::monitor::Counts;

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
    /// Counters of the lanes that ran, by name: each of them has to be opened.
    counts: BTreeMap<String, Counts>,
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
        let plans = match plan(config, &self.ground.data_dir) {
            Ok(plans) => plans,
            Err(error) => return Ok(Changed::Refused(error.into())),
        };
        let affected = match self.affected(config, difference, &plans) {
            Ok(affected) => affected,
            Err(error) => return Ok(Changed::Refused(error.into())),
        };
        let is_opened =
            |plan: &&Plan| !self.running.contains_key(&plan.name) || affected.contains(&plan.name);
        let opened: Vec<Plan> = plans.iter().filter(is_opened).cloned().collect();
        let moves_lanes = !opened.is_empty() || !affected.is_empty();
        if moves_lanes && !self.pause_hand(stop).await {
            return Ok(Changed::Refused(AppError::HandBusy));
        }
        let began = Instant::now();
        let forwards = difference.takes(|takes| matches!(takes, Takes::Forwarding | Takes::AllLanes));
        if moves_lanes || forwards {
            self.stop_forwarding().await?;
        }
        let mut refused = None;
        if moves_lanes {
            let ground = self.ground_of(config, difference);
            let old: Vec<Plan> = self.plans_of(&affected);
            let counts = self.take_down(&affected, stop).await?;
            if stop.is_cancelled() {
                return Ok(Changed::Interrupted);
            }
            let new = Opening {
                plans: opened.clone(),
                ground,
                counts: counts.clone(),
            };
            refused = match self.open(new).await? {
                Ok((ground, open)) => {
                    self.ground = ground;
                    self.bring_up(open, &affected).await?;
                    None
                }
                Err(error) => {
                    self.open_as_before(old, counts, &affected).await?;
                    Some(error)
                }
            };
        } else {
            self.ground = self.ground_of(config, difference);
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
    ) -> Result<BTreeSet<String>, DataDirError> {
        let mut brokers = Vec::with_capacity(self.running.len());
        for (name, lane) in &self.running {
            // A broker that comes back may still keep a session, with what waits in it.
            let mut own = self.ground.data_dir.sessions(name)?;
            own.extend(lane.brokers.iter().cloned());
            brokers.push(own);
        }
        let lanes = self.running.values().zip(&brokers);
        let lanes: Vec<Known<'_>> = lanes.map(|(lane, brokers)| lane.known(brokers)).collect();
        Ok(impact::affected(
            &self.ground.config,
            config,
            difference,
            &lanes,
            plans,
        ))
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

    /// Stops these lanes side by side, and waits until their stores are closed. Returns their counters as they stood then.
    async fn take_down(
        &mut self,
        names: &BTreeSet<String>,
        stop: &CancellationToken,
    ) -> Result<BTreeMap<String, Counts>, AppError> {
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
    /// Returns the counters of the lanes: what was delivered while they stopped is in them.
    async fn close(&mut self, names: &BTreeSet<String>) -> Result<BTreeMap<String, Counts>, AppError> {
        let mut counts = BTreeMap::new();
        let mut traces: Vec<(String, Weak<()>)> = Vec::new();
        for orphan in self.orphans.drain(..) {
            traces.push((orphan.lane, orphan.letters.trace()));
        }
        if let Some((hand, _)) = &self.hand {
            hand.forget_letters();
        }
        for name in names {
            self.view.remove(name);
            if let Some((hand, _)) = &self.hand {
                hand.release(name);
            }
            if let Some(lane) = self.running.remove(name) {
                counts.insert(name.clone(), lane.points.counts());
                traces.extend(lane.traces.into_iter().map(|trace| (name.clone(), trace)));
            }
        }
        let is_open = |(_, trace): &&(String, Weak<()>)| trace.strong_count() > 0;
        let began = Instant::now();
        while let Some((name, _)) = traces.iter().find(is_open) {
            if began.elapsed() >= CLOSE_PATIENCE {
                return Err(AppError::NotClosed(format!("the lane {name}")));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(counts)
    }

    /// Opens lanes, all of them or none. Stores are read meanwhile, so another thread does it.
    async fn open(
        &self,
        opening: Opening,
    ) -> Result<Result<(Ground, Vec<(Plan, OpenLane)>), AppError>, AppError> {
        let opened = tokio::task::spawn_blocking(move || {
            let Opening {
                plans,
                ground,
                mut counts,
            } = opening;
            let before = undo::Notes::of(&ground.data_dir, plans.iter().map(|plan| plan.name.as_str()));
            let mut open = Vec::new();
            for plan in plans {
                let (counts, ran) = match counts.remove(&plan.name) {
                    Some(counts) => (counts, Ran::Yes),
                    None => (Counts::default(), Ran::No),
                };
                match open_lane(&plan, &ground, counts, ran) {
                    Ok(lane) => open.extend(lane.map(|lane| (plan, lane))),
                    Err(error) => {
                        // No lane may write there any more.
                        drop(open);
                        before.put_back(&ground.data_dir);
                        return Err(error);
                    }
                }
            }
            Ok((ground, open))
        });
        opened
            .await
            .map_err(|error| AppError::StageEnded(format!("opening of lanes ({error})")))
    }

    /// The way back: the lanes that were there, with the configuration that was. What the new one made (a lane that nobody has
    /// used yet) is emptied and put away at the next change or start.
    async fn open_as_before(
        &mut self,
        plans: Vec<Plan>,
        counts: BTreeMap<String, Counts>,
        affected: &BTreeSet<String>,
    ) -> Result<(), AppError> {
        let old = Opening {
            plans,
            ground: self.ground.clone(),
            counts,
        };
        let (_, open) = self.open(old).await??;
        self.bring_up(open, affected).await
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
        let exchanged = tokio::task::spawn_blocking(move || {
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
        self.orphans = exchanged
            .await
            .map_err(|error| AppError::StageEnded(format!("exchange of lanes ({error})")))??;
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
                tellings.stop().await;
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

#[cfg(test)]
mod tests;
