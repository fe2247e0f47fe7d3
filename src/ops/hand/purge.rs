//! `purge`: removes messages, counted in the ledger.
//!
//! The writer removes, between two groups, and never what may be on its way to Kafka. What is removed is noted first, so
//! that an export of it can be imported again: a crash in between costs duplicates with the same id, never that.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::answer::Purged;
use super::filter::Matcher;
use super::known::Places;
use super::request::Filter;
use super::{Answer, Flow, Hand, HandError, HandLane, Output};
use crate::exit::Exit;
use crate::message::{Origin, Seq, Stored};
use crate::route::Router;

/// Devices that are counted one by one: a table that a person can read, and a bound for the memory.
const DEVICES_MAX: usize = 1000;

impl Hand {
    pub(super) fn purge(&self, filter: &Filter, yes: bool, output: Output<'_>) -> Result<Exit, HandError> {
        let matcher = Arc::new(Matcher::new(filter)?);
        for lane in self.chosen(filter.lane.as_deref())? {
            let plan = self.plan(&lane, &matcher, output)?;
            let purged = if yes && plan.count.messages > 0 {
                self.remove(&lane, &matcher, &plan)?
            } else {
                plan.count.answer(&lane.name, 0, false)
            };
            output(Answer::Purged(purged))?;
        }
        Ok(Exit::Stopped)
    }

    /// What would be removed.
    fn plan(&self, lane: &HandLane, matcher: &Matcher, output: Output<'_>) -> Result<Plan, HandError> {
        let mut plan = Plan::default();
        self.walk(lane, matcher, output, |stored, _| {
            plan.last = stored.seq;
            plan.add(&stored, &lane.router, &self.origin(lane, &stored));
            Ok(Flow::On)
        })?;
        Ok(plan)
    }

    fn remove(&self, lane: &HandLane, matcher: &Arc<Matcher>, plan: &Plan) -> Result<Purged, HandError> {
        let mut known = self.known();
        let before = known.clone();
        known.purged(&self.identity, &plan.places)?;
        known.save()?;
        let picked = Arc::new(Mutex::new(Plan::default()));
        let (noting, matching) = (Arc::clone(&picked), Arc::clone(matcher));
        let (router, identity) = (Arc::clone(&lane.router), self.identity.clone());
        let name = lane.name.clone();
        // What arrived since was not in the plan.
        let last = plan.last;
        let outcome = lane.monitor.purge(Arc::new(move |stored: &Stored| {
            let wanted = stored.seq <= last && matching.matches(stored, &router);
            if wanted {
                let mut picked = noting.lock().unwrap_or_else(PoisonError::into_inner);
                picked.add(stored, &router, &super::origin(&identity, &name, stored));
            }
            wanted
        }));
        // Of what was picked the reader may have taken some just then; to call those purged costs a duplicate at most.
        let picked = picked.lock().unwrap_or_else(PoisonError::into_inner);
        *known = before;
        known.purged(&self.identity, &picked.places)?;
        known.save()?;
        let messages = outcome?;
        let under_way = plan.count.messages.saturating_sub(messages);
        Ok(Purged {
            messages,
            ..picked.count.answer(&lane.name, under_way, true)
        })
    }
}

/// What is to be removed, or was.
#[derive(Debug, Default)]
struct Plan {
    last: Seq,
    count: Count,
    places: Places,
}

impl Plan {
    /// Adds a message. The writer may ask for one twice; it counts once.
    fn add(&mut self, stored: &Stored, router: &Router, origin: &Origin) {
        if !self.places.contains(origin) {
            self.count.add(stored, router);
            self.places.insert(origin);
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Count {
    messages: u64,
    devices: HashMap<String, u64>,
    other: u64,
}

impl Count {
    /// Counts the message for its first key: a message with several is still one.
    pub(super) fn add(&mut self, stored: &Stored, router: &Router) {
        self.messages += 1;
        let device = router.keys(stored).into_iter().next().unwrap_or_default();
        let room = self.devices.len() < DEVICES_MAX;
        match self.devices.get_mut(&device) {
            Some(count) => *count += 1,
            None if room => {
                self.devices.insert(device, 1);
            }
            None => self.other += 1,
        }
    }

    pub(super) fn answer(&self, lane: &str, under_way: u64, done: bool) -> Purged {
        let mut devices: Vec<(String, u64)> = self.devices.clone().into_iter().collect();
        devices.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        Purged {
            lane: lane.to_owned(),
            messages: self.messages,
            devices,
            other: self.other,
            under_way,
            done,
        }
    }
}
