//! Log lines: fields in the journal under systemd, text on standard error elsewhere.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::ops::events;
use crate::ops::journal::Journal;

/// Environment variable with the filter, in the syntax of `tracing_subscriber::EnvFilter`.
const FILTER: &str = "EDGEFERRY_LOG";
/// sled logs its own business at info level; the store's state is ours to tell.
const DEFAULT: &str = "info,sled=warn";

/// For the demo, which shows the same in another way: only what goes wrong unexpectedly. Kafka is taken away there on
/// purpose, and its other parts, in the same process, complain about every connection that ends.
const QUIET: &str = "warn,edgeferry::sink=error,rumqttd=off,rumqttc=off,librdkafka=off,rdkafka=off";

/// Starts logging for the whole process, also of panics: one line each, whether they are caught or not. A second call changes nothing.
pub fn init() {
    init_with(DEFAULT);
}

/// The same, quiet unless the environment asks for more.
pub fn init_quiet() {
    init_with(QUIET);
}

fn init_with(default: &str) {
    let filter = EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| EnvFilter::new(default));
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
    }
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let text = panic.payload_as_str().unwrap_or("no message");
        let place = panic.location().map(ToString::to_string);
        tracing::error!(thread = thread.name(), place, text, "panicked");
    }));
}
