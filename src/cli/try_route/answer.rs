//! What becomes of the message, by route and by lane.

use std::sync::Arc;

use crate::clock::Told;
use crate::config::Config;
use crate::message::{Arrival, Epoch, Seq, Stored};
use crate::route::{KafkaRecord, Outcome, Router, Skip, Verdict};
use crate::sink::{Partitioner, size};

/// What becomes of one message.
#[derive(Debug)]
pub(super) struct Answer {
    pub arrival: Arrival,
    /// In file order.
    pub routes: Vec<RouteAnswer>,
    /// Lanes that get it, in file order.
    pub lanes: Vec<LaneAnswer>,
    /// `kafka.partitioner`
    pub partitioner: Partitioner,
    /// The largest record that the Kafka client takes, bytes as [`size::of`] counts them.
    pub most: usize,
}

/// What one route says.
#[derive(Debug)]
pub(super) struct RouteAnswer {
    pub from: String,
    pub lane: String,
    /// One word.
    pub verdict: &'static str,
    /// Why it makes no record.
    pub why: Option<String>,
}

/// What one lane does.
#[derive(Debug)]
pub(super) struct LaneAnswer {
    pub name: String,
    pub outcome: Outcome,
}

impl Answer {
    pub(super) fn of(config: &Config, gateway: &str, arrival: Arrival) -> Self {
        let stored = Stored {
            seq: Seq(1),
            epoch: Epoch(0),
            arrival,
        };
        let told = Told::as_it_stood(&stored.arrival.stamp);
        let by_lane: Vec<(Arc<str>, Router)> = config
            .lanes
            .iter()
            .map(|lane| {
                let router = Router::new(config.routes.clone(), gateway, &lane.name);
                (Arc::from(lane.name.as_str()), router)
            })
            .collect();
        let is_brought = |lane: &str| {
            let mut routes = config.routes.iter().filter(|route| route.lane == lane);
            let (broker, topic) = (&stored.arrival.broker, &stored.arrival.topic);
            routes.any(|route| route.takes(broker) && route.from.matches(topic).is_some())
        };
        let brought = by_lane.iter().filter(|(lane, _)| is_brought(lane));
        let lanes = brought.map(|(lane, router)| LaneAnswer {
            name: lane.to_string(),
            outcome: router.route(&stored, &told),
        });
        let lanes = lanes.collect();
        // All routers know all routes, and say the same of them but for the lane's name in the id.
        let verdicts = by_lane.first().map(|(_, router)| router.verdicts(&stored, &told));
        let routes = config.routes.iter().zip(verdicts.unwrap_or_default());
        let routes = routes.map(|(route, verdict)| {
            let (verdict, why) = words(&verdict, route, &stored.arrival);
            RouteAnswer {
                from: route.from.to_string(),
                lane: route.lane.clone(),
                verdict,
                why,
            }
        });
        Self {
            routes: routes.collect(),
            lanes,
            arrival: stored.arrival,
            partitioner: config.kafka.partitioner,
            most: size::most(&config.kafka),
        }
    }

    /// Whether all of it becomes records, at least one, and the client takes them.
    pub(super) fn is_delivered(&self) -> bool {
        let outcomes = || self.lanes.iter().map(|lane| &lane.outcome);
        let mut records = outcomes().flat_map(|outcome| &outcome.records).peekable();
        outcomes().all(|outcome| outcome.refusals.is_empty())
            && records.peek().is_some()
            && records.all(|record| self.too_large(record).is_none())
    }

    /// Why the client does not take a record.
    pub(super) fn too_large(&self, record: &KafkaRecord) -> Option<String> {
        let (bytes, most) = (size::of(record), self.most);
        (bytes > most).then(|| {
            format!(
                "a record of {bytes} bytes with its frame, and the Kafka client takes {most} (message.max.bytes in \
                 [kafka.properties])"
            )
        })
    }
}

fn words(
    verdict: &Verdict,
    route: &crate::route::Config,
    arrival: &Arrival,
) -> (&'static str, Option<String>) {
    match verdict {
        Verdict::OtherBroker => {
            let wanted = route.broker.as_deref().unwrap_or_default();
            (
                "other-broker",
                Some(format!(
                    "broker = {wanted:?}, and it comes from {:?}",
                    &*arrival.broker
                )),
            )
        }
        Verdict::OtherTopic => ("other-topic", Some("`from` does not match the topic".to_owned())),
        // The payload is cut, and no route is asked: what one would say of the rest means nothing.
        _ if arrival.oversize.is_some() => {
            ("refused", Some("the payload is over max_packet_size".to_owned()))
        }
        Verdict::Made(_) => ("record", None),
        Verdict::Refused(refusal) => ("refused", Some(refusal.to_string())),
        Verdict::Skipped(Skip::Retained) => ("filtered", Some("retained = \"skip\"".to_owned())),
        Verdict::Skipped(Skip::When { condition }) => {
            let asked = route
                .when
                .get(*condition)
                .map(|condition| condition.value.to_string());
            let asked = asked.unwrap_or_default();
            (
                "filtered",
                Some(format!("when[{condition}] does not hold: {asked}")),
            )
        }
        Verdict::Skipped(Skip::Unjudged { condition, error }) => (
            "unjudged",
            Some(format!("when[{condition}] cannot be judged: {error}")),
        ),
        Verdict::Skipped(Skip::Mismatch { name, text }) => {
            let wanted = route.matches.iter().find(|(known, _)| known == name);
            let wanted = wanted.map_or("", |(_, expression)| expression.as_str());
            (
                "mismatch",
                Some(format!("{name} = {text:?} does not match {wanted:?}")),
            )
        }
    }
}
