//! Which Kafka topics a configuration needs.

use std::fmt;

use crate::config::Config;
use crate::route;
use crate::sink::Delivery;

/// A topic that has to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub name: String,
    pub uses: Vec<Use>,
}

/// What a topic is needed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Use {
    /// Number of the `[[route]]`, from 0.
    Route(usize),
    /// `kafka.cursor_topic`
    Cursor,
    /// `dead_letter.topic`
    DeadLetter,
    /// `status.kafka_topic`
    Status,
}

impl Wanted {
    /// Whether dead letters go there.
    pub fn takes_letters(&self) -> bool {
        self.uses.contains(&Use::DeadLetter)
    }

    /// Whether the state is told there, and nothing else goes there.
    pub fn is_for_status_alone(&self) -> bool {
        self.uses.iter().all(|needed| *needed == Use::Status)
    }

    /// Whether dead letters go there, and nothing that a lane would wait for.
    pub fn is_for_letters_alone(&self) -> bool {
        self.uses.iter().all(|needed| *needed == Use::DeadLetter)
    }
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Route(number) => write!(f, "route[{number}]"),
            Self::Cursor => f.write_str("cursor"),
            Self::DeadLetter => f.write_str("dead_letter"),
            Self::Status => f.write_str("status"),
        }
    }
}

/// All topics whose names are known, each once, in the order of the file.
pub(super) fn wanted(config: &Config) -> Vec<Wanted> {
    let mut all: Vec<Wanted> = Vec::new();
    let mut want = |name: &str, needed: Use| match all.iter_mut().find(|one| one.name == name) {
        Some(known) => known.uses.push(needed),
        None => all.push(Wanted {
            name: name.to_owned(),
            uses: vec![needed],
        }),
    };
    for (number, route) in config.routes.iter().enumerate() {
        if let Some(name) = static_topic(route) {
            want(&name, Use::Route(number));
        }
    }
    if config.kafka.delivery == Delivery::ExactlyOnce
        && let Some(name) = &config.kafka.cursor_topic
    {
        want(name, Use::Cursor);
    }
    if let Some(name) = &config.dead_letter.topic {
        want(name, Use::DeadLetter);
    }
    if let Some(name) = &config.status.kafka_topic {
        want(name, Use::Status);
    }
    all
}

fn static_topic(route: &route::Config) -> Option<String> {
    route
        .topic
        .is_static()
        .then(|| route.topic.render_with(|_| String::new()))
}

/// The routes whose topics have names in them: which ones they need is known only when messages come.
pub(super) fn templated(config: &Config) -> impl Iterator<Item = (usize, &route::Config)> {
    let routes = config.routes.iter().enumerate();
    routes.filter(|(_, route)| !route.topic.is_static())
}

/// Whether edgeferry may make the topic: of some formats the consumers make them, with settings of their own.
pub(super) fn may_create(config: &Config, wanted: &Wanted) -> bool {
    wanted.uses.iter().all(|needed| match needed {
        Use::Route(number) => config
            .routes
            .get(*number)
            .is_none_or(|route| route.format.may_create_topics()),
        Use::Cursor | Use::DeadLetter | Use::Status => true,
    })
}
