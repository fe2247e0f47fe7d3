//! Between the device and edgeferry: sessions, queues of the broker, QoS, overlaps.

use std::time::Duration;

use super::{Demand, Facts, Finding, Kind, Standing, span};
use crate::config::Config;
use crate::filter::{covers, overlaps};
use crate::message::Qos;
use crate::source::{self, Version};

/// Mosquitto's own default, which it uses where its configuration says nothing.
const SETTING_QUEUE: &str = "max_queued_messages (mosquitto.conf)";

pub fn findings(config: &Config, facts: &Facts, demand: Demand) -> Vec<Finding> {
    let mut all = Vec::new();
    for (index, broker) in config.brokers.iter().enumerate() {
        all.extend(session(config, facts, demand, index, broker));
        all.extend(queue_of_broker(facts, demand, index, broker));
        all.extend(persistence(facts, index, broker));
        all.extend(answers(facts, index));
        all.extend(late(config, index, broker));
        all.extend(window(config, demand, index, broker));
        all.extend(shared(index, broker));
    }
    all.extend(qos(config));
    all.extend(copies(config));
    all
}

/// How long the broker keeps the session while nobody is there.
fn session(
    _config: &Config,
    facts: &Facts,
    demand: Demand,
    index: usize,
    broker: &source::Config,
) -> Vec<Finding> {
    let (name, absence) = (&broker.name, demand.absence);
    let granted = facts.broker(index).and_then(|seen| seen.session_expiry);
    if let Some(granted) = granted.filter(|granted| *granted < absence.min(broker.session_expiry)) {
        return vec![Finding::new(
            Kind::Lose,
            Standing::Open,
            format!("the session limit of broker {name}"),
            format!(
                "broker {name} keeps the session for {} at most, whatever session_expiry asks for: what it has for edgeferry is \
                 gone when edgeferry is away for longer",
                span(granted)
            ),
            format!("raise it there to more than {}", span(absence)),
        )];
    }
    let expires = match broker.version {
        Version::V5 => Some(broker.session_expiry),
        Version::V3_1_1 => None,
    };
    match (expires, facts.mosquitto(index)) {
        (Some(expiry), _) if expiry < absence => vec![Finding::new(
            Kind::Lose,
            Standing::AsConfigured,
            format!("mqtt[{index}].session_expiry"),
            format!(
                "broker {name} forgets the session after {}, and with it all that came meanwhile, while edgeferry may be away \
                 for {}",
                span(expiry),
                span(absence)
            ),
            format!(
                "write session_expiry = \"{}\" or more",
                span(absence.saturating_mul(2))
            ),
        )],
        (Some(_), _) => Vec::new(),
        // Mosquitto 3.1.1 sessions end by this alone.
        (None, Some(mosquitto)) => mosquitto
            .client_expiration
            .filter(|expiry| *expiry < absence)
            .map(|expiry| {
                Finding::new(
                    Kind::Lose,
                    Standing::Open,
                    "persistent_client_expiration (mosquitto.conf)",
                    format!(
                        "broker {name} forgets sessions after {}, and with MQTT 3.1.1 edgeferry cannot ask for more",
                        span(expiry)
                    ),
                    format!(
                        "raise it, or use version = \"5\" with session_expiry = \"{}\"",
                        span(absence.saturating_mul(2))
                    ),
                )
            })
            .into_iter()
            .collect(),
        (None, None) => vec![Finding::new(
            Kind::Lose,
            Standing::Unseen,
            format!("mqtt[{index}].version"),
            format!(
                "with MQTT 3.1.1 broker {name} alone decides how long it keeps the session while edgeferry is away; from here that \
                 cannot be seen"
            ),
            "use version = \"5\", or see to it that the broker keeps sessions for long enough",
        )],
    }
}

/// While edgeferry is away or pushes back, the broker keeps the data, and drops what is over its limit.
fn queue_of_broker(facts: &Facts, demand: Demand, index: usize, broker: &source::Config) -> Option<Finding> {
    let name = &broker.name;
    let finding = |standing, why: String, right: &str| {
        Some(Finding::new(Kind::Lose, standing, SETTING_QUEUE, why, right))
    };
    let right = "write max_queued_messages 0 (no limit) and let max_queued_bytes bound it by memory, for example \
                 max_queued_bytes 100000000";
    match facts.mosquitto(index) {
        Some(mosquitto) if mosquitto.max_queued_messages > 0 => {
            let most = mosquitto.max_queued_messages;
            let lasts = demand.load.map(|load| {
                let seconds = most.saturating_mul(86_400) / load.messages_per_day.max(1);
                format!(
                    ", which at this rate takes {}",
                    span(Duration::from_secs(seconds))
                )
            });
            finding(
                Standing::Open,
                format!(
                    "broker {name} keeps {most} messages for edgeferry while it is away or its queue is full{}; what comes then is \
                     acknowledged to the devices and dropped",
                    lasts.unwrap_or_default()
                ),
                right,
            )
        }
        Some(_) => None,
        None => finding(
            Standing::Unseen,
            format!(
                "broker {name} keeps a limited number of messages for edgeferry while it is away or its queue is full, and drops \
                 what comes then (Mosquitto 1000 by default); the limit cannot be read over MQTT"
            ),
            right,
        ),
    }
}

/// What a restart or a power cut leaves of a local Mosquitto's queue.
fn persistence(facts: &Facts, index: usize, broker: &source::Config) -> Option<Finding> {
    let (mosquitto, name) = (facts.mosquitto(index)?, &broker.name);
    if !mosquitto.persistence {
        return Some(Finding::new(
            Kind::Lose,
            Standing::Open,
            "persistence (mosquitto.conf)",
            format!(
                "broker {name} keeps sessions and queued messages in memory alone: a restart of it loses those that edgeferry has \
                 not taken yet"
            ),
            "write persistence true",
        ));
    }
    let autosave = mosquitto
        .autosave
        .filter(|every| *every > Duration::from_mins(1))?;
    Some(Finding::new(
        Kind::Lose,
        Standing::Open,
        "autosave_interval (mosquitto.conf)",
        format!(
            "broker {name} writes what it keeps every {}: a power cut while edgeferry is away loses what came since",
            span(autosave)
        ),
        "write autosave_interval 60, or less, if the disk can take it",
    ))
}

/// What the broker says of itself when it is asked.
fn answers(facts: &Facts, index: usize) -> Vec<Finding> {
    let Some(seen) = facts.broker(index) else {
        return Vec::new();
    };
    let name = &seen.name;
    let mut all = Vec::new();
    if seen.max_qos == Some(0) {
        all.push(Finding::new(
            Kind::Lose,
            Standing::Open,
            format!("the QoS limit of broker {name}"),
            format!("broker {name} gives QoS 0 alone: what comes while edgeferry is away is lost"),
            "allow QoS 1 there, or use another broker",
        ));
    }
    if let Some(dropped) = seen.dropped.filter(|dropped| *dropped > 0) {
        all.push(Finding::new(
            Kind::Lose,
            Standing::Open,
            SETTING_QUEUE,
            format!(
                "broker {name} says that it has dropped {dropped} messages for its clients since it started: what it keeps for one \
                 of them was full"
            ),
            "raise the limit of the broker, and look at its log for whose messages went",
        ));
    }
    all
}

/// PUBACKs wait for the disk; a broker that hears nothing for one and a half keep alives ends the connection.
fn late(config: &Config, index: usize, broker: &source::Config) -> Option<Finding> {
    let slowest = config
        .lanes
        .iter()
        .map(|lane| longest_commit(&lane.queue))
        .max()?;
    (slowest.saturating_mul(2) > broker.keep_alive).then(|| {
        Finding::new(
            Kind::Delay,
            Standing::AsConfigured,
            format!("mqtt[{index}].keep_alive"),
            format!(
                "messages are acknowledged up to {} after they came, and the connection to broker {} counts as stuck after {}: it \
                 may be given up while nothing is wrong",
                span(slowest),
                broker.name,
                span(broker.keep_alive)
            ),
            format!(
                "write keep_alive = \"{}\" or more, or a smaller commit_interval (commit_interval_max with flash_budget)",
                span(slowest.saturating_mul(2))
            ),
        )
    })
}

/// The longest time between two groups.
fn longest_commit(queue: &crate::queue::Config) -> Duration {
    match queue.flash_budget {
        Some(_) => queue.commit_interval_max.max(queue.commit_interval),
        None => queue.commit_interval,
    }
}

/// The broker sends no more than `receive_maximum` before the next group is written.
fn window(config: &Config, demand: Demand, index: usize, broker: &source::Config) -> Option<Finding> {
    let load = demand.load?;
    let slowest = config
        .lanes
        .iter()
        .map(|lane| longest_commit(&lane.queue))
        .max()?;
    let groups_per_day = Duration::from_hours(24).as_millis() / slowest.as_millis().max(1);
    let most = u128::from(broker.receive_maximum).saturating_mul(groups_per_day);
    (most < u128::from(load.messages_per_day)).then(|| {
        Finding::new(
            Kind::Delay,
            Standing::Open,
            format!("mqtt[{index}].receive_maximum"),
            format!(
                "broker {} may have {} messages on their way, and a group is written every {} at worst: that is less than comes",
                broker.name,
                broker.receive_maximum,
                humantime::format_duration(slowest)
            ),
            "raise receive_maximum (with 3.1.1: the broker's max_inflight_messages), or lower commit_interval",
        )
    })
}

fn shared(index: usize, broker: &source::Config) -> Option<Finding> {
    let group = broker.shared_group.as_ref()?;
    Some(Finding::new(
        Kind::Reorder,
        Standing::AsConfigured,
        format!("mqtt[{index}].shared_group"),
        format!(
            "the gateways of group {group:?} share the messages of a device: each brings its part when it can, in no order between \
             them"
        ),
        "leave shared_group out where the order of a device matters",
    ))
}

fn qos(config: &Config) -> Vec<Finding> {
    let routes = config.routes.iter().enumerate();
    let unprotected = routes.filter(|(_, route)| route.qos == Qos::AtMostOnce);
    let finding = |(number, route): (usize, &crate::route::Config)| {
        Finding::new(
            Kind::Lose,
            Standing::AsConfigured,
            format!("route[{number}].qos"),
            format!(
                "{} is subscribed with QoS 0: what comes while edgeferry is away or its queue is full is lost",
                route.from.filter()
            ),
            "write qos = 1, or leave it out",
        )
    };
    unprotected.map(finding).collect()
}

/// Where a broker may send a message once for each of two filters, and nobody can tell.
fn copies(config: &Config) -> Vec<Finding> {
    let mut all = Vec::new();
    for (number, route) in config.routes.iter().enumerate() {
        for (earlier, other) in config.routes.iter().take(number).enumerate() {
            let (one, two) = (route.from.filter(), other.from.filter());
            let partly = overlaps(one, two) && !covers(one, two) && !covers(two, one);
            let is_ambiguous = config.brokers.iter().any(|broker| {
                let no_identifiers = broker.version == Version::V3_1_1 || broker.shared_group.is_some();
                no_identifiers && route.takes(&broker.name) && other.takes(&broker.name)
            });
            if partly && is_ambiguous && route.lane == other.lane {
                all.push(Finding::new(
                    Kind::Duplicate,
                    Standing::Open,
                    format!("route[{number}].from"),
                    format!(
                        "{one} and {two} (route[{earlier}]) overlap in part: without subscription identifiers (MQTT 3.1.1, \
                         shared_group) the broker may send a message once for each, and both are stored"
                    ),
                    "use version = \"5\" without shared_group, or one wider pattern",
                ));
            }
        }
    }
    all
}
