//! The dead letters of all lanes, also of those that are no more.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::app::{AppError, DataDir};
use crate::config::Config;
use crate::identity::Identity;
use crate::ops::hand::LetterBox;
use crate::queue;
use crate::queue::seal::Keys;
use crate::route::Router;
use crate::sink::{DeadLetters, KeepError};

/// Opens the dead letters of a lane.
pub(super) fn open(
    config: &Config,
    data_dir: &DataDir,
    identity: &Identity,
    lane: &str,
    keys: Keys,
) -> Result<Arc<DeadLetters>, KeepError> {
    let folder = data_dir.dead_letters(lane);
    let letters = DeadLetters::open(&folder, identity.epoch, config.dead_letter.max_bytes, keys)?;
    Ok(Arc::new(letters.on_full(config.dead_letter.on_full)))
}

/// The dead letters of lanes that are not among `running`. What cannot be opened is said, and left alone.
///
/// # Errors
/// [`AppError::DataDir`]
pub(super) fn orphans(
    config: &Config,
    data_dir: &DataDir,
    identity: &Identity,
    running: &[LetterBox],
) -> Result<Vec<LetterBox>, AppError> {
    let known: BTreeSet<&str> = running.iter().map(|letters| letters.lane.as_str()).collect();
    let lanes = data_dir.letter_lanes()?;
    let gone = lanes.into_iter().filter(|lane| !known.contains(lane.as_str()));
    Ok(gone
        .filter_map(|lane| orphan(config, data_dir, identity, lane))
        .collect())
}

fn orphan(config: &Config, data_dir: &DataDir, identity: &Identity, lane: String) -> Option<LetterBox> {
    let table = config.lanes.iter().find(|known| known.name == lane);
    let settings = table.map_or(&config.queue, |table| &table.queue);
    let logs = [data_dir.dead_letters(&lane)];
    let opened = queue::keys_for(&logs, settings)
        .map_err(AppError::from)
        .and_then(|keys| Ok(open(config, data_dir, identity, &lane, keys)?));
    match opened {
        Ok(letters) => Some(LetterBox {
            letters,
            router: Arc::new(Router::new(config.routes.clone(), &identity.gateway, &lane)),
            lane,
        }),
        Err(error) => {
            tracing::warn!(lane, %error, "the dead letters of a lane that is no more cannot be opened");
            None
        }
    }
}
