//! Makes the [`State`] that everybody sees, from what the stages show of themselves.

use std::time::Instant;

use crate::app::view::{LaneView, View};
use crate::config::Config;
use crate::identity::Identity;
use crate::link::Link;
use crate::ops::events;
use crate::ops::state::{self, Look, State};
use crate::queue;

/// What does not change while the process lives.
struct Looker {
    view: View,
    identity: Identity,
    delivery: &'static str,
    data_dir: String,
    started: Instant,
}

/// Looks at everything that `view` shows.
pub fn over(view: View, config: &Config, identity: Identity) -> Look {
    let looker = Looker {
        view,
        identity,
        delivery: config.kafka.delivery.name(),
        data_dir: config.gateway.data_dir.display().to_string(),
        started: Instant::now(),
    };
    Look::new(move || looker.look())
}

impl Looker {
    fn look(&self) -> State {
        let overview = self.view.overview();
        let lanes: Vec<state::Lane> = self.view.lanes().iter().map(|lane| self.lane(lane)).collect();
        let wear = overview
            .lanes
            .first()
            .map(|lane| lane.queue.wear)
            .unwrap_or_default();
        State {
            version: state::VERSION,
            edgeferry: env!("CARGO_PKG_VERSION").to_owned(),
            gateway: self.identity.gateway.clone(),
            epoch: self.identity.epoch.to_string(),
            delivery: self.delivery.to_owned(),
            unix_ms: 0,
            is_clock_synchronised: false,
            uptime_s: self.started.elapsed().as_secs(),
            health: state::Health {
                is_ready: overview.is_ready(),
                is_buffering: lanes
                    .iter()
                    .any(|lane| lane.ledger.queued > 0 && lane.kafka != Link::Up),
                summary: overview.to_string(),
                advice: Vec::new(),
            },
            lanes,
            disk: disk(&self.data_dir, &wear),
            certificates: self.view.certificates().last(),
            events: events::last(),
            not_forwarded: overview.not_forwarded,
        }
    }

    fn lane(&self, view: &LaneView) -> state::Lane {
        let mut lane = lane(view);
        for broker in &mut lane.brokers {
            broker.dropped_by_broker = self.view.dropped_by(&broker.name);
        }
        lane
    }
}

fn lane(view: &LaneView) -> state::Lane {
    let overview = view.overview();
    let brokers = overview.brokers.into_iter().map(|(name, link)| state::Broker {
        name,
        link,
        received: 0,
        stored: 0,
        put_back: 0,
        reconnects: 0,
        dropped_by_broker: None,
    });
    let (status, letters) = (overview.queue, overview.letters);
    state::Lane {
        name: overview.name,
        is_leaving: overview.is_leaving,
        brokers: brokers.collect(),
        kafka: overview.kafka,
        held: overview.held,
        ledger: ledger(&status.balance),
        queue: state::Queue {
            bytes: status.bytes,
            max_bytes: 0,
            is_full: status.full,
            failure: status.failure,
            oldest_unix_ms: None,
            age_s: None,
            commit_interval_s: status.wear.commit_interval.as_secs_f64(),
        },
        flow: state::Flow {
            rewinds: overview.counts.rewinds,
            is_limited: view.sink.is_limited(),
            ..state::Flow::default()
        },
        letters: state::Letters {
            count: letters.letters,
            bytes: letters.bytes,
            dropped: letters.dropped,
            lost: letters.lost,
        },
        routes: Vec::new(),
        devices: state::Devices::default(),
    }
}

fn ledger(balance: &queue::Balance) -> state::Ledger {
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

fn disk(path: &str, wear: &queue::Wear) -> state::Disk {
    state::Disk {
        path: path.to_owned(),
        written_bytes: wear.written,
        written_last_day_bytes: wear.last_day,
        projected_per_day_bytes: wear.projected_per_day,
        written_per_payload_byte: wear.per_payload_byte(),
        ..state::Disk::default()
    }
}
