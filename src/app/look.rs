//! Makes the [`State`] that everybody sees, from what the stages show of themselves.

mod history;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::app::lane_view::{BrokerView, LaneView};
use crate::app::view::View;
use crate::clock::Clock;
use crate::config::Config;
use crate::identity::Identity;
use crate::link::Link;
use crate::message::Stamp;
use crate::ops::events;
use crate::ops::state::{self, Look, State};
use crate::queue;
use crate::sink::tally::{Named, Tally};
use history::{History, Sample};

/// Devices that are shown of each kind: what fits on a page.
const DEVICES_SHOWN: usize = 10;

/// What does not change while the process lives, and what is remembered between looks.
struct Looker {
    view: View,
    identity: Identity,
    clock: Clock,
    delivery: &'static str,
    data_dir: String,
    started: Instant,
    memory: Mutex<Memory>,
}

/// What is remembered between looks.
#[derive(Default)]
struct Memory {
    /// By lane.
    histories: BTreeMap<String, History>,
    /// As they were seen last.
    lanes: Vec<state::Lane>,
}

/// Looks at everything that `view` shows.
pub fn over(view: View, config: &Config, identity: Identity, clock: Clock) -> Look {
    let looker = Looker {
        view,
        identity,
        clock,
        delivery: config.kafka.delivery.name(),
        data_dir: config.gateway.data_dir.display().to_string(),
        started: Instant::now(),
        memory: Mutex::default(),
    };
    Look::new(move || looker.look())
}

impl Looker {
    fn look(&self) -> State {
        let (now, at) = (self.clock.now(), Instant::now());
        let (views, exchanged) = self.view.lanes_and_exchanged();
        let lanes: Vec<state::Lane> = views.iter().map(|view| self.lane(view, &now)).collect();
        let lanes = self.compare(lanes, &views, &exchanged, at);
        let mut state = State {
            version: state::VERSION,
            edgeferry: env!("CARGO_PKG_VERSION").to_owned(),
            gateway: self.identity.gateway.clone(),
            epoch: self.identity.epoch.to_string(),
            delivery: self
                .view
                .config()
                .map_or(self.delivery, |config| config.kafka.delivery.name())
                .to_owned(),
            unix_ms: now.unix_ms,
            is_clock_synchronised: self.clock.is_synchronised(),
            uptime_s: self.started.elapsed().as_secs(),
            health: state::Health::default(),
            lanes,
            disk: disk(&self.data_dir, &views),
            certificates: self.view.certificates().last(),
            events: events::last(),
            not_forwarded: self.view.not_forwarded(),
            stalled_s: self.view.vigil().main_stalled().map(|time| time.as_secs()),
        };
        state.health = state::Health::of(&state);
        let not_applied = self.view.not_applied();
        let advice = not_applied.iter().map(state::NotApplied::advice);
        state.health.advice.extend(advice);
        state.health.not_applied = not_applied;
        state
    }

    /// Fills in what only earlier looks tell, and puts lanes that are being exchanged back in their places as they were.
    fn compare(
        &self,
        mut lanes: Vec<state::Lane>,
        views: &[LaneView],
        exchanged: &BTreeSet<String>,
        now: Instant,
    ) -> Vec<state::Lane> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        // A lane that is gone is forgotten, but not one that a reload starts anew.
        memory
            .histories
            .retain(|name, history| lanes.iter().any(|lane| lane.name == *name) || history.is_of_use(now));
        for (lane, view) in lanes.iter_mut().zip(views) {
            let first = || {
                History::from(
                    view.before
                        .map(|before| Sample::before(&ledger(&before), lane, now)),
                )
            };
            let history = memory.histories.entry(lane.name.clone()).or_insert_with(first);
            history.note(lane, now);
            history.tell(lane);
        }
        put_back(&mut lanes, &memory.lanes, exchanged);
        memory.lanes.clone_from(&lanes);
        lanes
    }

    fn lane(&self, view: &LaneView, now: &Stamp) -> state::Lane {
        let mut lane = lane(view, now);
        for broker in &mut lane.brokers {
            broker.dropped_by_broker = self.view.dropped_by(&broker.name);
        }
        lane.stalled_s = self.view.vigil().stalled(view).map(|time| time.as_secs());
        lane
    }
}

/// Lanes that a reload stops and opens anew are shown as they were before that. Without them the state would say for these seconds
/// that nothing waits; half stopped they look as if nothing were the matter.
fn put_back(lanes: &mut Vec<state::Lane>, last: &[state::Lane], exchanged: &BTreeSet<String>) {
    for (place, known) in last.iter().enumerate() {
        if !exchanged.contains(&known.name) {
            continue;
        }
        match lanes.iter_mut().find(|lane| lane.name == known.name) {
            Some(lane) => lane.clone_from(known),
            None => lanes.insert(place.min(lanes.len()), known.clone()),
        }
    }
    for lane in lanes.iter_mut().filter(|lane| exchanged.contains(&lane.name)) {
        lane.is_reloading = true;
        lane.stalled_s = None;
    }
}

fn lane(view: &LaneView, now: &Stamp) -> state::Lane {
    let (status, letters, counts) = (view.queue.status(), view.letters.stand(), view.sink.counts());
    let recognised = view
        .brokers
        .iter()
        .map(|broker| broker.counters.totals().recognised);
    let (routes, devices) = tallies(view);
    let age_s = status.oldest.and_then(|stamp| age_s(&stamp, now));
    state::Lane {
        name: view.name.clone(),
        is_leaving: view.is_leaving,
        is_reloading: false,
        stalled_s: None,
        brokers: view.brokers.iter().filter_map(broker).collect(),
        kafka: view.sink.link(),
        kafka_away_s: None,
        held: view.sink.held(),
        ledger: state::Ledger {
            recognised: recognised.sum(),
            resent: counts.resent,
            unprotected: status.unprotected,
            unaccounted: status.unaccounted,
            ..ledger(&status.balance)
        },
        queue: state::Queue {
            bytes: status.bytes,
            max_bytes: view.limits.max_bytes,
            is_full: status.full,
            failure: status.failure,
            oldest_unix_ms: status.oldest.map(|stamp| stamp.unix_ms),
            age_s,
            is_age_unknown: age_s.is_none() && status.balance.queued > 0,
            commit_interval_s: status.wear.commit_interval.as_secs_f64(),
        },
        flow: state::Flow {
            rewinds: counts.rewinds,
            is_limited: view.sink.is_limited(),
            ..state::Flow::default()
        },
        letters: state::Letters {
            count: letters.letters,
            bytes: letters.bytes,
            dropped: letters.dropped,
            lost: letters.lost,
        },
        routes,
        devices,
        last_hour: state::LastHour::default(),
    }
}

/// Within a boot by the clock that nobody sets; over a boot only by two times that are both known to be right.
fn age_s(then: &Stamp, now: &Stamp) -> Option<f64> {
    let ms = if then.boot == now.boot {
        now.boot_ms.saturating_sub(then.boot_ms)
    } else if then.synchronised && now.synchronised {
        u64::try_from(now.unix_ms.saturating_sub(then.unix_ms)).unwrap_or(0)
    } else {
        return None;
    };
    Some(std::time::Duration::from_millis(ms).as_secs_f64())
}

/// `None` for one that has done its work.
fn broker(view: &BrokerView) -> Option<state::Broker> {
    let link: Link = view.link.upgrade()?.borrow().clone();
    let totals = view.counters.totals();
    Some(state::Broker {
        name: view.name.clone(),
        link,
        received: totals.received,
        stored: totals.stored,
        put_back: totals.put_back,
        reconnects: totals.reconnects,
        dropped_by_broker: None,
        dropped_last_hour: 0,
        away_s: None,
    })
}

fn tallies(view: &LaneView) -> (Vec<state::Tally>, state::Devices) {
    let tallies = view.sink.tallies();
    let of_route = |(place, name): (usize, &String)| tally((name.clone(), tallies.route(place)));
    let all = |devices: Vec<Named>| devices.into_iter().map(tally).collect();
    let devices = state::Devices {
        busiest: all(tallies.busiest(DEVICES_SHOWN)),
        troubled: all(tallies.troubled(DEVICES_SHOWN)),
        busiest_share: tallies.busiest_share(),
    };
    (view.routes.iter().enumerate().map(of_route).collect(), devices)
}

fn tally((name, tally): (String, Tally)) -> state::Tally {
    state::Tally {
        name,
        delivered: tally.delivered,
        dead_lettered: tally.dead_lettered,
        trouble: tally
            .trouble
            .map(|(unix_ms, why)| state::Trouble { unix_ms, why }),
    }
}

/// The account, as everybody sees it.
pub(crate) fn ledger(balance: &queue::Balance) -> state::Ledger {
    let removed = queue::Reason::ALL
        .into_iter()
        .filter(|reason| *reason != queue::Reason::Skipped)
        .map(|reason| (reason.name().to_owned(), balance.removed.of(reason)));
    state::Ledger {
        received: balance.received,
        delivered: balance.delivered,
        queued: balance.queued,
        dead_lettered: balance.dead_lettered,
        removed: removed.collect(),
        ..state::Ledger::default()
    }
}

fn disk(path: &str, lanes: &[LaneView]) -> state::Disk {
    // The account of written bytes is the process's, whichever lane tells it.
    let wear = lanes
        .first()
        .map(|lane| lane.queue.status().wear)
        .unwrap_or_default();
    let space = rustix::fs::statvfs(path).ok();
    let blocks = |count: fn(&rustix::fs::StatVfs) -> u64| {
        let space = space.as_ref()?;
        Some(count(space).saturating_mul(space.f_frsize))
    };
    let limits = || lanes.iter().map(|lane| &lane.limits);
    state::Disk {
        path: path.to_owned(),
        free_bytes: blocks(|space| space.f_bavail),
        total_bytes: blocks(|space| space.f_blocks),
        written_bytes: wear.written,
        written_last_day_bytes: wear.last_day,
        written_last_day_over_s: wear.last_day_over.as_secs(),
        projected_per_day_bytes: wear.projected_per_day,
        written_per_payload_byte: wear.per_payload_byte(),
        min_free_bytes: limits().map(|limits| limits.min_free_bytes).max().unwrap_or(0),
        budget_per_day_bytes: limits().filter_map(|limits| limits.flash_budget).min(),
    }
}

#[cfg(test)]
mod tests;
