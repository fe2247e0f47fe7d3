//! Log lines: fields in the journal under systemd, text on standard error elsewhere.

mod filter;

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::config::Level;

use crate::ops::events;
use crate::ops::journal::{self, Journal};
use filter::Said;

/// Environment variable with the filter, in the syntax of `tracing_subscriber::EnvFilter`.
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
    if from_environment().is_some() {
        return Applied::Environment;
    }
    let changed = IN_USE.get().map(|filter| filter.reload(Said(filter_of(level))));
    if let Some(Err(error)) = changed {
        tracing::warn!(%error, "the level of the log stays as it was");
    }
    Applied::Yes
}

/// What a level lets through. Libraries say no more than at `info`: with more of it, passwords could be in the log.
fn filter_of(level: Level) -> EnvFilter {
    EnvFilter::new(match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => DEFAULT,
        Level::Debug => "info,sled=warn,edgeferry=debug",
        Level::Trace => "info,sled=warn,edgeferry=trace",
    })
}

/// A filter that cannot be read counts as none.
fn from_environment() -> Option<EnvFilter> {
    EnvFilter::try_from_env(FILTER).ok()
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
    let filter = from_environment().unwrap_or_else(|| EnvFilter::new(default));
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
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let text = panic.payload_as_str().unwrap_or("no message");
        let place = panic.location().map(ToString::to_string);
        tracing::error!(thread = thread.name(), place, text, "panicked");
    }));
}
