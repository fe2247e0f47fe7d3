//! Between edgeferry and whoever reads: what a partition, a topic and a cluster keep.

use std::time::Duration;

use super::{Demand, Facts, Finding, Kind, Standing, span};
use crate::config::Config;
use crate::sink::admin::Topic;
use crate::sink::{Delivery, OnPartitionChange, RecordTimestamp};

pub fn findings(config: &Config, facts: &Facts, demand: Demand) -> Vec<Finding> {
    let mut all = Vec::new();
    for seen in &facts.topics {
        all.extend(replicas(&seen.name, &seen.topic));
        all.extend(retention(
            config,
            &seen.name,
            &seen.topic,
            seen.longest_wait,
            demand,
        ));
    }
    if facts.topics.is_empty() {
        all.push(unseen());
    }
    all.extend(delivery(config, facts, demand));
    all.extend(partitions(config));
    all.extend(unknown_topics(config));
    all.extend(rates(config));
    all
}

fn setting<'a>(topic: &'a Topic, name: &str) -> Option<&'a str> {
    topic.settings.as_ref().ok()?.get(name).map(String::as_str)
}

fn unseen() -> Finding {
    Finding::new(
        Kind::Lose,
        Standing::Unseen,
        "min.insync.replicas, retention.ms (topics)",
        "whether Kafka keeps what it confirmed when a broker dies, and for longer than a message may wait here, is set at the topics",
        "edgeferry check --live looks",
    )
}

fn replicas(name: &str, topic: &Topic) -> Option<Finding> {
    let (why, right) = if topic.replicas == 1 {
        (
            format!("topic {name} is kept by one broker alone: what it confirmed is lost with its disk"),
            "make the topic with three replicas and min.insync.replicas = 2",
        )
    } else if setting(topic, "min.insync.replicas") == Some("1") {
        (
            format!(
                "topic {name} confirms what one of its {} brokers has: it is lost when that one dies before the others have it",
                topic.replicas
            ),
            "write min.insync.replicas = 2 for the topic",
        )
    } else {
        return None;
    };
    let setting = format!("min.insync.replicas (topic {name})");
    Some(Finding::new(Kind::Lose, Standing::Open, setting, why, right))
}

/// Kafka deletes by the record's time.
fn retention(
    config: &Config,
    name: &str,
    topic: &Topic,
    longest_wait: Option<Duration>,
    demand: Demand,
) -> Option<Finding> {
    let kept = setting(topic, "retention.ms")?.parse::<u64>().ok()?;
    let deletes = setting(topic, "cleanup.policy").is_none_or(|policy| policy.contains("delete"));
    let by_broker = setting(topic, "message.timestamp.type") == Some("LogAppendTime");
    if !deletes || by_broker || config.kafka.record_timestamp != RecordTimestamp::Arrival {
        return None;
    }
    let kept = Duration::from_millis(kept);
    let wait = longest_wait.unwrap_or(demand.absence).min(demand.absence);
    (kept <= wait).then(|| {
        Finding::new(
            Kind::Lose,
            Standing::Open,
            format!("retention.ms (topic {name})"),
            format!(
                "topic {name} keeps records for {} from their arrival at the gateway, and they may wait here for {}: then Kafka \
                 deletes them soon after they come",
                span(kept),
                span(wait)
            ),
            "raise retention.ms, or write record_timestamp = \"send\" in [kafka]",
        )
    })
}

fn delivery(config: &Config, facts: &Facts, demand: Demand) -> Option<Finding> {
    match (config.kafka.delivery, facts.offsets_retention) {
        (Delivery::AtLeastOnce, _) => Some(Finding::new(
            Kind::Duplicate,
            Standing::AsConfigured,
            "kafka.delivery",
            "what was under way when edgeferry or its connection died comes again, with the same edgeferry-id",
            "drop ids that were seen (docs/consumers.md), or write delivery = \"exactly-once\"",
        )),
        (Delivery::ExactlyOnce, None) => Some(Finding::new(
            Kind::Duplicate,
            Standing::Unseen,
            "offsets.retention.minutes (Kafka's brokers)",
            format!(
                "Kafka forgets a cursor that was not moved for offsets.retention.minutes (7 days by default), and edgeferry may be \
                 away for {}: after a power cut up to 5 s then come twice",
                span(demand.absence)
            ),
            "raise it above the longest absence; edgeferry check --live looks",
        )),
        (Delivery::ExactlyOnce, Some(kept)) if kept <= demand.absence => Some(Finding::new(
            Kind::Duplicate,
            Standing::Open,
            "offsets.retention.minutes (Kafka's brokers)",
            format!(
                "Kafka forgets a cursor that was not moved for {}, and edgeferry may be away for {}: after a power cut up to 5 s then \
                 come twice",
                span(kept),
                span(demand.absence)
            ),
            "raise it above the longest absence",
        )),
        (Delivery::ExactlyOnce, Some(_)) => None,
    }
}

fn partitions(config: &Config) -> Vec<Finding> {
    let mut all = Vec::new();
    if config.kafka.on_partition_change == OnPartitionChange::Warn {
        all.push(Finding::new(
            Kind::Reorder,
            Standing::Open,
            "kafka.on_partition_change",
            "when a topic gets more partitions, devices move to others while their older messages are still under way",
            "write on_partition_change = \"drain\", or never add partitions",
        ));
    }
    for (number, route) in config.routes.iter().enumerate() {
        let Some(by) = route.partition_by.as_ref().filter(|by| **by != route.key) else {
            continue;
        };
        all.push(Finding::new(
            Kind::Reorder,
            Standing::AsConfigured,
            format!("route[{number}].partition_by"),
            format!("messages with one key go to several partitions when {by} differs, and Kafka orders within one alone"),
            "leave partition_by out where the order of a key matters",
        ));
    }
    all
}

fn unknown_topics(config: &Config) -> Option<Finding> {
    let (number, route) = config
        .routes
        .iter()
        .enumerate()
        .find(|(_, route)| !route.topic.is_static())?;
    Some(Finding::new(
        Kind::Delay,
        Standing::AsConfigured,
        "kafka.unknown_topic_after",
        format!(
            "the topics of route[{number}] ({}) have names in them: what goes to one that nobody made holds its lane for {}, and \
             becomes a dead letter then",
            route.topic,
            span(config.kafka.unknown_topic_after)
        ),
        "make topics before their devices send, or write a shorter time",
    ))
}

fn rates(config: &Config) -> Vec<Finding> {
    let whole = config.kafka.max_rate.map(|_| "kafka.max_rate".to_owned());
    let tables = config.lanes.iter().filter(|lane| lane.has_table).enumerate();
    let lanes = tables.filter_map(|(index, lane)| lane.max_rate.map(|_| format!("lane[{index}].max_rate")));
    let finding = |setting| {
        Finding::new(
            Kind::Delay,
            Standing::AsConfigured,
            setting,
            "what comes faster than this waits in the queue",
            "leave it out, or raise it",
        )
    };
    whole.into_iter().chain(lanes).map(finding).collect()
}
