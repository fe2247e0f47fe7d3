//! Log lines: fields in the journal under systemd, text on standard error elsewhere.

mod filter;

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

use crate::config::Level;

use crate::ops::events;
use crate::ops::journal::{self, Journal};
use filter::{Said, Unreadable};

/// Environment variable with the filter, as [`filter::parse`] reads it.
const FILTER: &str = "EDGEFERRY_LOG";
/// sled logs its own business at info level; the store's state is ours to tell.
const DEFAULT: &str = "info,sled=warn";

/// For the demo, which shows the same in another way: only what goes wrong unexpectedly. Kafka is taken away there on
/// purpose, and its other parts, in the same process, complain about every connection that ends.
const QUIET: &str = "warn,edgeferry::sink=error,rumqttd=off,rumqttc=off,librdkafka=off,rdkafka=off";

/// The way to the filter that is in use.
static IN_USE: OnceLock<reload::Handle<Said, Registry>> = OnceLock::new();

/// What became of a level that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It counts from now on.
    Yes,
    /// The environment says another filter, which goes over it.
    Environment,
}

/// Says as much as `level` from now on, unless the environment says otherwise.
pub fn set_level(level: Level) -> Applied {
    if matches!(from_environment(), Ok(Some(_))) {
        return Applied::Environment;
    }
    let changed = IN_USE.get().map(|filter| filter.reload(Said(filter_of(level))));
    if let Some(Err(error)) = changed {
        tracing::warn!(%error, "the level of the log stays as it was");
    }
    Applied::Yes
}

/// What a level lets through. Libraries say no more than at `info`: with more of it, passwords could be in the log.
fn filter_of(level: Level) -> Targets {
    built_in(match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => DEFAULT,
        Level::Debug => "info,sled=warn,edgeferry=debug",
        Level::Trace => "info,sled=warn,edgeferry=trace",
    })
}

/// One of the filters of this file, which a test reads: a mistake in one would say nothing at all.
fn built_in(text: &str) -> Targets {
    filter::parse(text).ok().flatten().unwrap_or_default()
}

/// The filter of whoever started the process, if there is one.
fn from_environment() -> Result<Option<Targets>, Unreadable> {
    match std::env::var_os(FILTER) {
        Some(text) => filter::parse(&text.to_string_lossy()),
        None => Ok(None),
    }
}

/// Has the last lines reach the journal, if it takes them soon. To be called before the process ends.
pub fn finish() {
    journal::finish();
}

/// Starts logging for the whole process, also of panics: one line each, whether they are caught or not. A second call changes nothing.
pub fn init() {
    init_with(DEFAULT);
}

/// The same, quiet unless the environment asks for more.
pub fn init_quiet() {
    init_with(QUIET);
}

fn init_with(default: &str) {
    let (asked, unreadable) = match from_environment() {
        Ok(asked) => (asked, None),
        Err(error) => (None, Some(error)),
    };
    let filter = asked.unwrap_or_else(|| built_in(default));
    let (filter, handle) = reload::Layer::new(Said(filter));
    let registry = tracing_subscriber::registry().with(filter);
    // systemd sets this when standard error is connected to the journal (systemd.exec(5)).
    let journal = std::env::var_os("JOURNAL_STREAM").and_then(|_| Journal::open());
    let text = journal.is_none().then(|| {
        tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
    });
    if registry
        .with(journal)
        .with(text)
        .with(events::layer())
        .try_init()
        .is_err()
    {
        tracing::debug!("logging was started before");
    } else if IN_USE.set(handle).is_err() {
        tracing::debug!("logging was started twice at once");
    }
    if let Some(error) = unreadable {
        tracing::warn!(%error, "EDGEFERRY_LOG cannot be read and does not count");
    }
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let text = panic.payload_as_str().unwrap_or("no message");
        let place = panic.location().map(ToString::to_string);
        tracing::error!(thread = thread.name(), place, text, "panicked");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_of_this_file_can_be_read() {
        let levels = [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];
        for filter in [built_in(DEFAULT), built_in(QUIET)]
            .into_iter()
            .chain(levels.map(filter_of))
        {
            assert!(filter.default_level().is_some(), "{filter}");
        }
    }
}
