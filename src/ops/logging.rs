//! Log lines: fields in the journal under systemd, text on standard error elsewhere.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Environment variable with the filter, in the syntax of `tracing_subscriber::EnvFilter`.
const FILTER: &str = "EDGEFERRY_LOG";
/// sled logs its own business at info level; the store's state is ours to tell.
const DEFAULT: &str = "info,sled=warn";

/// Starts logging for the whole process. A second call changes nothing.
pub fn init() {
    let filter = EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let registry = tracing_subscriber::registry().with(filter);
    // systemd sets this when standard error is connected to the journal (systemd.exec(5)).
    let journal = std::env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok());
    let text = journal.is_none().then(|| {
        tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
    });
    if registry.with(journal).with(text).try_init().is_err() {
        tracing::debug!("logging was started before");
    }
}
