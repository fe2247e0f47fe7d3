//! Whether the keys are there for all that waits in the store: looked at before anything in it is touched.

use super::DataDir;
use crate::config::Config;
use crate::queue::{self, OpenError};

/// Checks the logs of all lanes, and says what a person should know of the keys.
///
/// # Errors
/// [`OpenError::KeyFile`] and [`OpenError::MissingKeys`].
pub(super) fn check(config: &Config, data_dir: &DataDir) -> Result<(), OpenError> {
    for lane in &config.lanes {
        let logs = [data_dir.lane(&lane.name), data_dir.dead_letters(&lane.name)];
        let keys = queue::keys_for(&logs, &lane.queue)?;
        for path in keys.exposed() {
            tracing::warn!(path = %path.display(), "everybody on this machine may read this key file: chmod 600 it");
        }
        for path in keys.unneeded(&logs) {
            tracing::info!(lane = lane.name, path = %path.display(), "nothing needs this old key any more");
        }
    }
    Ok(())
}
