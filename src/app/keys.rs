//! Whether the keys are there for all that waits in the store: looked at before anything in it is touched.

use super::DataDir;
use crate::config::Config;
use crate::queue::{self, OpenError};

/// Checks the logs of all lanes that the configuration names, and says what a person should know of the keys.
///
/// # Errors
/// [`OpenError::KeyFile`] and [`OpenError::MissingKeys`].
pub(super) fn check(config: &Config, data_dir: &DataDir) -> Result<(), OpenError> {
    let lanes = config.lanes.iter();
    check_lanes(lanes.map(|lane| (lane.name.as_str(), &lane.queue)), data_dir)
}

/// The same of these lanes, with the queues that are planned for them.
///
/// # Errors
/// [`OpenError::KeyFile`] and [`OpenError::MissingKeys`].
pub(super) fn check_lanes<'a>(
    lanes: impl IntoIterator<Item = (&'a str, &'a queue::Config)>,
    data_dir: &DataDir,
) -> Result<(), OpenError> {
    for (lane, queue) in lanes {
        let logs = [data_dir.lane(lane), data_dir.dead_letters(lane)];
        let keys = queue::keys_for(&logs, queue)?;
        for path in keys.exposed() {
            tracing::warn!(path = %path.display(), "everybody on this machine may read this key file: chmod 600 it");
        }
        for path in keys.unneeded(&logs) {
            tracing::info!(lane, path = %path.display(), "nothing needs this old key any more");
        }
    }
    Ok(())
}
