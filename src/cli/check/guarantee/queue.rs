//! Within the gateway: what policies remove, how long the queue lasts, what dead letters do when there are many.

use std::time::Duration;

use super::{Demand, Facts, Finding, Kind, Standing, span};
use crate::config::{Config, Lane};
use crate::queue::OnFull;
use crate::sink::OnFull as DeadLetterOnFull;

/// What a stored message takes on disk beside its payload, uncompressed, bytes: 163 were measured (docs/reliability.md,
/// "Kafka slower than the input").
const OVERHEAD_BYTES: u64 = 170;

pub fn findings(config: &Config, facts: &Facts, demand: Demand) -> Vec<Finding> {
    let mut all = Vec::new();
    for lane in used(config) {
        all.extend(policy(config, lane));
        all.extend(age(config, lane));
        all.extend(lasts(config, lane, demand));
    }
    all.extend(disk(config, facts));
    all.extend(letters(config));
    all.extend(order_of_lanes(config));
    all
}

/// The lanes that routes use.
pub fn used(config: &Config) -> impl Iterator<Item = &Lane> {
    let is_used = |lane: &&Lane| config.routes.iter().any(|route| route.lane == lane.name);
    config.lanes.iter().filter(is_used)
}

/// Where a setting of a lane's queue stands, or would stand.
fn place(config: &Config, lane: &Lane, key: &str) -> String {
    let tables = config.lanes.iter().filter(|known| known.has_table);
    let index = tables.into_iter().position(|known| known.name == lane.name);
    match index {
        Some(index) => format!("lane[{index}].{key}"),
        None => format!("queue.{key}"),
    }
}

fn policy(config: &Config, lane: &Lane) -> Option<Finding> {
    let name = &lane.name;
    let why = match lane.queue.on_full {
        OnFull::Backpressure => return None,
        OnFull::DropOldest => {
            format!("when the queue of lane {name} is full, its oldest messages go, counted")
        }
        OnFull::DropNewest => format!(
            "when the queue of lane {name} is full, what arrives is acknowledged, counted and not stored"
        ),
        OnFull::KeepLatest => format!(
            "when the queue of lane {name} is full, the newest value of each device stays and older ones go, counted"
        ),
    };
    Some(Finding::new(
        Kind::Lose,
        Standing::AsConfigured,
        place(config, lane, "on_full"),
        why,
        "write on_full = \"backpressure\": then the broker keeps the data, up to its own limit",
    ))
}

fn age(config: &Config, lane: &Lane) -> Option<Finding> {
    let age = lane.queue.max_age?;
    Some(Finding::new(
        Kind::Lose,
        Standing::AsConfigured,
        place(config, lane, "max_age"),
        format!(
            "messages of lane {} that have waited for {} are not delivered any more, counted",
            lane.name,
            span(age)
        ),
        "leave max_age out, or write more than the longest outage of the link",
    ))
}

/// How long the lane's queue lasts when nothing is delivered and this lane gets everything.
pub fn horizon(lane: &Lane, load: super::Load) -> Duration {
    let per_day = u128::from(load.messages_per_day.max(1))
        .saturating_mul(u128::from(load.payload_bytes.saturating_add(OVERHEAD_BYTES)));
    let seconds = u128::from(lane.queue.max_bytes).saturating_mul(86_400) / per_day.max(1);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX))
}

fn lasts(config: &Config, lane: &Lane, demand: Demand) -> Option<Finding> {
    let load = demand.load?;
    let horizon = horizon(lane, load);
    // What a policy removes is said there.
    if horizon >= demand.absence || lane.queue.on_full != OnFull::Backpressure {
        return None;
    }
    Some(Finding::new(
        Kind::Lose,
        Standing::Open,
        place(config, lane, "max_bytes"),
        format!(
            "at this rate the queue of lane {} holds {}, and Kafka may be away for {}: after that the broker keeps the data, up \
             to its own limit",
            lane.name,
            span(horizon),
            span(demand.absence)
        ),
        format!(
            "write max_bytes = \"{}\" or more",
            bytesize::ByteSize::b(needed(load, demand.absence))
        ),
    ))
}

fn needed(load: super::Load, absence: Duration) -> u64 {
    let bytes = u128::from(load.messages_per_day)
        .saturating_mul(u128::from(load.payload_bytes.saturating_add(OVERHEAD_BYTES)))
        .saturating_mul(u128::from(absence.as_secs()))
        / 86_400;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// What is promised to the lanes has to fit.
fn disk(config: &Config, facts: &Facts) -> Option<Finding> {
    let free = facts.free_bytes?;
    let promised: u64 = used(config).map(|lane| lane.queue.max_bytes).sum();
    // What the store has already is part of what is promised.
    let room = free.saturating_add(facts.store_bytes.unwrap_or(0));
    let min_free = config.queue.min_free_bytes;
    (promised.saturating_add(min_free) > room).then(|| {
        let size = |bytes: u64| bytesize::ByteSize::b(bytes);
        Finding::new(
            Kind::Lose,
            Standing::Open,
            "queue.max_bytes",
            format!(
                "the lanes may take {}, and the file system of data_dir has {} for them now ({} stay free): the disk is full before \
                 the queue is, and then the broker keeps the data, up to its own limit",
                size(promised),
                size(room),
                size(min_free)
            ),
            "lower max_bytes to what is there, give data_dir a larger disk, or make room",
        )
    })
}

fn letters(config: &Config) -> Option<Finding> {
    let letters = &config.dead_letter;
    let size = bytesize::ByteSize::b(letters.max_bytes);
    match letters.on_full {
        DeadLetterOnFull::DropOldest => Some(Finding::new(
            Kind::Lose,
            Standing::AsConfigured,
            "dead_letter.on_full",
            format!("when a lane has {size} of dead letters, the oldest go, counted"),
            "write on_full = \"hold\", or set dead_letter.topic so that they are carried on",
        )),
        DeadLetterOnFull::Hold if letters.topic.is_none() => Some(Finding::new(
            Kind::Delay,
            Standing::Open,
            "dead_letter.topic",
            format!("when a lane has {size} of dead letters it waits for a person: nothing carries them on"),
            "write topic = \"NAME\" in [dead_letter], or look at them: edgeferry dead-letter ls",
        )),
        DeadLetterOnFull::Hold => None,
    }
}

/// Lanes overtake each other; that is what they are for.
fn order_of_lanes(config: &Config) -> Vec<Finding> {
    let mut all: Vec<Finding> = Vec::new();
    for (number, route) in config.routes.iter().enumerate() {
        let earlier = config.routes.iter().take(number).enumerate();
        let shares = |other: &crate::route::Config| {
            let same_topics = crate::filter::overlaps(route.from.filter(), other.from.filter());
            other.lane != route.lane && (same_topics || other.topic == route.topic)
        };
        if let Some((other, lane)) = earlier
            .filter(|(_, other)| shares(other))
            .map(|(other, route)| (other, &route.lane))
            .next()
        {
            all.push(Finding::new(
                Kind::Reorder,
                Standing::AsConfigured,
                format!("route[{number}].lane"),
                format!(
                    "lane {} and lane {lane} (route[{other}]) may carry messages of one device, each in order, in no order between \
                     them",
                    route.lane
                ),
                "give both routes the same lane where that matters",
            ));
        }
    }
    all
}
