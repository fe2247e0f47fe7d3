//! What was imported, and what was purged: so that importing a file twice adds nothing, and importing what was purged
//! brings it back.
//!
//! `data_dir/imports.json`, written whole beside the old one and renamed. Before a batch is offered to the queue it is
//! noted as **pending**, with the place where the lane ended. After a crash what became of it is read from the lane itself,
//! before anything can be delivered and trimmed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::HandLane;
use crate::identity::Identity;
use crate::message::{Origin, Seq};
use crate::queue::inspect::Piece;
use crate::queue::store::StoreError;
use crate::ranges::Ranges;

const FILE: &str = "imports.json";
/// Stretches kept for one origin: about 2 MB of file, which is written anew for every batch of an import. A file of one
/// device among a hundred has a stretch for each message.
const RANGES_MAX: usize = 100_000;

/// Why it cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum KnownError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The file is no such file.
    #[error(
        "{path} is damaged ({reason}): it says what was imported, so nothing more is; move it away if importing twice does no harm"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There would be too many stretches.
    #[error(
        "the messages of this gateway were imported in more than {RANGES_MAX} separate stretches: no more can be told apart"
    )]
    TooMany,
    /// The lane cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The lane can be read later.
    #[error(
        "an import was interrupted, and the lane cannot be read yet to see what became of it; try again in a minute"
    )]
    NotYet,
}

/// A log in which messages were stored first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Place {
    gateway: String,
    epoch: String,
    lane: String,
}

impl Place {
    fn of(origin: &Origin) -> Self {
        Self {
            gateway: origin.gateway.clone(),
            epoch: origin.epoch.to_string(),
            lane: origin.lane.clone(),
        }
    }
}

/// Sequences by the log in which they were given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Places(BTreeMap<Place, Ranges>);

impl Places {
    /// Adds a message.
    pub fn insert(&mut self, origin: &Origin) {
        let ranges = self.0.entry(Place::of(origin)).or_default();
        ranges.insert(origin.seq);
        if ranges.stretches() > 2 * RANGES_MAX {
            ranges.coarsen(RANGES_MAX);
        }
    }

    /// Whether the message is in it.
    #[must_use]
    pub fn contains(&self, origin: &Origin) -> bool {
        self.0
            .get(&Place::of(origin))
            .is_some_and(|ranges| ranges.contains(origin.seq))
    }

    fn add(&mut self, other: &Self) {
        for (place, ranges) in &other.0 {
            self.0.entry(place.clone()).or_default().add(ranges);
        }
    }
}

/// Lists are what JSON has for maps whose keys are no texts.
mod listed {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Place, Places, Ranges};

    #[derive(Serialize, Deserialize)]
    struct Item {
        #[serde(flatten)]
        place: Place,
        ranges: Ranges,
    }

    impl Serialize for Places {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(self.0.iter().map(|(place, ranges)| Item {
                place: place.clone(),
                ranges: ranges.clone(),
            }))
        }
    }

    impl<'de> Deserialize<'de> for Places {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let items = Vec::<Item>::deserialize(deserializer)?;
            Ok(Self(
                items.into_iter().map(|item| (item.place, item.ranges)).collect(),
            ))
        }
    }
}

/// A batch on its way into a lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Pending {
    /// The lane that takes it.
    lane: String,
    /// The last message of that lane before it.
    behind: Seq,
    messages: Places,
}

/// See the module documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    path: PathBuf,
    kept: Result<Kept, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    imported: Places,
    purged: Places,
    #[serde(skip_serializing_if = "Option::is_none")]
    pending: Option<Pending>,
}

impl Known {
    /// Reads what is known in `data_dir`. A damaged file keeps imports and purges from being done, nothing else.
    ///
    /// # Errors
    /// [`KnownError::Io`]
    pub fn open(data_dir: &Path) -> Result<Self, KnownError> {
        let path = data_dir.join(FILE);
        let kept = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Kept::default()),
            Err(source) => return Err(KnownError::Io { path, source }),
        };
        Ok(Self { path, kept })
    }

    fn kept(&mut self) -> Result<&mut Kept, KnownError> {
        let path = &self.path;
        self.kept.as_mut().map_err(|reason| KnownError::Damaged {
            path: path.clone(),
            reason: reason.clone(),
        })
    }

    /// Finds out what became of a batch that a crash interrupted. To be called before the sink begins, and before an import.
    ///
    /// # Errors
    /// [`KnownError`]
    pub fn reconcile(&mut self, lanes: &[Arc<HandLane>]) -> Result<(), KnownError> {
        let kept = self.kept()?;
        let Some(pending) = kept.pending.clone() else {
            return Ok(());
        };
        if let Some(lane) = lanes.iter().find(|lane| lane.name == pending.lane) {
            kept.imported.add(&found(lane, &pending)?);
        }
        kept.pending = None;
        self.save()
    }

    /// Whether the message was imported.
    ///
    /// # Errors
    /// [`KnownError::Damaged`]
    pub fn is_imported(&mut self, origin: &Origin) -> Result<bool, KnownError> {
        Ok(self.kept()?.imported.contains(origin))
    }

    /// Whether a message of this store was purged.
    ///
    /// # Errors
    /// [`KnownError::Damaged`]
    pub fn is_purged(&mut self, origin: &Origin) -> Result<bool, KnownError> {
        Ok(self.kept()?.purged.contains(origin))
    }

    /// Messages that were imported and not purged since.
    ///
    /// # Errors
    /// [`KnownError::Damaged`]
    pub fn imported_count(&mut self) -> Result<u64, KnownError> {
        Ok(self.kept()?.imported.0.values().map(Ranges::count).sum())
    }

    /// Notes, durably, that a batch is about to be offered to `lane`.
    ///
    /// # Errors
    /// [`KnownError`]: it must not be offered.
    pub fn begin(&mut self, lane: &HandLane, messages: Places) -> Result<(), KnownError> {
        let kept = self.kept()?;
        for (place, ranges) in &messages.0 {
            let known = kept.imported.0.get(place).map_or(0, Ranges::stretches);
            if known + ranges.stretches() > RANGES_MAX {
                return Err(KnownError::TooMany);
            }
        }
        kept.pending = Some(Pending {
            lane: lane.name.clone(),
            behind: lane.monitor.last(),
            messages,
        });
        self.save()
    }

    /// Notes that the pending batch is stored: all of it, or, `unsure`, what is found in the lane; then it says how many
    /// that are. [`Known::begin`] or [`Known::save`] make it durable; until then the lane itself would tell.
    ///
    /// # Errors
    /// [`KnownError`]
    pub fn commit(&mut self, lane: &HandLane, unsure: bool) -> Result<Option<u64>, KnownError> {
        let kept = self.kept()?;
        let Some(pending) = kept.pending.clone() else {
            return Ok(None);
        };
        let messages = match unsure {
            true => found(lane, &pending)?,
            false => pending.messages,
        };
        kept.imported.add(&messages);
        kept.pending = None;
        Ok(unsure.then(|| messages.0.values().map(Ranges::count).sum()))
    }

    /// Notes that messages were purged: they may be imported again.
    ///
    /// # Errors
    /// [`KnownError::Damaged`]
    pub fn purged(&mut self, own: &Identity, messages: &Places) -> Result<(), KnownError> {
        let kept = self.kept()?;
        for (place, ranges) in &messages.0 {
            if let Some(imported) = kept.imported.0.get_mut(place) {
                imported.remove_all(ranges);
            }
            if place.gateway == own.gateway {
                let purged = kept.purged.0.entry(place.clone()).or_default();
                purged.add(ranges);
                purged.coarsen(RANGES_MAX);
            }
        }
        Ok(())
    }

    /// Makes it durable, whole or not at all.
    ///
    /// # Errors
    /// [`KnownError`]
    pub fn save(&mut self) -> Result<(), KnownError> {
        let path = self.path.clone();
        let fail = |source| KnownError::Io {
            path: path.clone(),
            source,
        };
        let text = serde_json::to_vec(self.kept()?).map_err(|error| fail(error.into()))?;
        let unfinished = path.with_extension("new");
        let mut file = fs::File::create(&unfinished).map_err(fail)?;
        file.write_all(&text)
            .and_then(|()| file.sync_all())
            .map_err(fail)?;
        fs::rename(&unfinished, &path).map_err(fail)?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        fs::File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(fail)
    }
}

/// The messages of a pending batch that are in the lane.
fn found(lane: &HandLane, pending: &Pending) -> Result<Places, KnownError> {
    let mut found = Places::default();
    let mut browser = lane.monitor.browse(pending.behind.next(), Seq(u64::MAX));
    while let Some(piece) = browser.next_piece()? {
        let messages = match piece {
            Piece::Messages(messages) => messages,
            Piece::Wait => return Err(KnownError::NotYet),
            Piece::Hole(_) | Piece::Gone(_) | Piece::Fault(..) => continue,
        };
        let origins = messages
            .iter()
            .filter_map(|stored| stored.arrival.origin.as_deref());
        for origin in origins.filter(|origin| pending.messages.contains(origin)) {
            found.insert(origin);
        }
    }
    Ok(found)
}
