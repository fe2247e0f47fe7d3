//! What the log says, seen by the daemon itself: the last warnings and errors are kept for whoever looks at the state,
//! and a line that repeats without end is held back.
//!
//! One layer does both, because both have to see every line: what is held back still counts. What repeats by design (a
//! link that comes and goes, messages that are removed) is summed up where it is said; this is the net below all of
//! them, also for lines that nobody thought of.

mod book;
mod flood;
pub mod known;

use std::fmt::{self, Write as _};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::clock;
use crate::ops::state;
use book::Book;
use flood::{Flood, Verdict};

/// Name of the span, and of its field, that says which lane a line is about.
pub const LANE: &str = "lane";

/// Fields that say what a line is about: lines that differ in others alone are the same trouble again.
const SUBJECT: [&str; 9] = [
    LANE, "broker", "topic", "path", "filter", "setting", "thread", "stage", "said",
];

/// Fields that are for the log alone: they quote the configuration file, where a secret may stand in a wrong place. The state goes
/// to brokers, Kafka and reports.
const LOG_ALONE: [&str; 2] = ["in_full", "warning"];

/// Those of the process. The log is of the process, so this is too.
static OF_THE_PROCESS: LazyLock<Arc<Events>> = LazyLock::new(Arc::default);

/// What was said.
#[derive(Debug, Default)]
pub struct Events {
    book: Book,
    flood: Flood,
}

/// The last warnings and errors of this process, newest first.
#[must_use]
pub fn last() -> Vec<state::Event> {
    OF_THE_PROCESS.book.last()
}

/// Keeps those of this process; to be the layer over all others.
#[must_use]
pub fn layer() -> Keeper {
    Keeper(Arc::clone(&OF_THE_PROCESS))
}

/// The layer.
#[derive(Debug)]
pub struct Keeper(Arc<Events>);

/// The lane that a span says.
struct LaneOf(String);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Keeper {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id).filter(|span| span.name() == LANE) else {
            return;
        };
        let mut line = Line::default();
        attributes.record(&mut line);
        if let Some(lane) = line.value(LANE) {
            span.extensions_mut().insert(LaneOf(lane.to_owned()));
        }
    }

    fn event_enabled(&self, event: &Event<'_>, context: Context<'_, S>) -> bool {
        let level = *event.metadata().level();
        if level > Level::INFO {
            return true;
        }
        let mut line = Line::default();
        event.record(&mut line);
        if line.value(LANE).is_none()
            && let Some(lane) = lane_of(event, &context)
        {
            line.fields.push((LANE, lane));
        }
        self.0.see(level, &line)
    }
}

fn lane_of<S: Subscriber + for<'a> LookupSpan<'a>>(
    event: &Event<'_>,
    context: &Context<'_, S>,
) -> Option<String> {
    let mut spans = context.event_scope(event)?;
    spans.find_map(|span| span.extensions().get::<LaneOf>().map(|lane| lane.0.clone()))
}

impl Events {
    /// Whether the line is to be said.
    fn see(&self, level: Level, line: &Line) -> bool {
        let subject = line.subject();
        let level = match level {
            Level::ERROR => Some(state::Level::Error),
            Level::WARN => Some(state::Level::Warning),
            _ => None,
        };
        if let Some(level) = level {
            let advice = known::advice(&line.message);
            self.book
                .note(clock::unix_ms(), level, subject, line.text(), advice);
        }
        // The lock is free again: what is said here comes back through this layer.
        match self.flood.judge(line.kind(), subject, Instant::now()) {
            Verdict::Say { held_back: 0 } => true,
            Verdict::Say { held_back } => {
                tracing::warn!(
                    held_back,
                    said = line.message,
                    "a line came so often that it was held back"
                );
                true
            }
            Verdict::Hold => false,
        }
    }
}

/// A line of the log: its message, and its fields as text.
#[derive(Debug, Default)]
struct Line {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Line {
    fn value(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The same for all lines with these words.
    fn kind(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(self.message.as_bytes())
    }

    /// The same for lines about the same thing.
    fn subject(&self) -> u64 {
        let mut text = self.message.clone();
        for name in SUBJECT {
            if let Some(value) = self.value(name) {
                // U+0000 is in no name.
                let _infallible = write!(text, "\0{name}\0{value}");
            }
        }
        xxhash_rust::xxh3::xxh3_64(text.as_bytes())
    }

    /// For the state.
    fn text(&self) -> String {
        let mut text = self.message.clone();
        let told = self.fields.iter().filter(|(name, _)| !LOG_ALONE.contains(name));
        for (name, value) in told {
            let _infallible = write!(text, " {name}={value}");
        }
        text
    }

    fn put(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value,
            name => self.fields.push((name, value)),
        }
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

/// Lines at info level and above that `say` says to the log.
#[cfg(test)]
pub fn heard(say: impl FnOnce()) -> u64 {
    let ear = tests::Through::default();
    let subscriber =
        tracing_subscriber::layer::SubscriberExt::with(tracing_subscriber::registry(), ear.clone());
    tracing::subscriber::with_default(subscriber, say);
    ear.loud()
}

#[cfg(test)]
pub(super) mod tests;
