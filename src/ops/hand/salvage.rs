//! `salvage`: messages out of raw bytes into an export, from whatever is left of a store.
//!
//! Nothing is locked or written there, so it works on a copied folder, a card in a reader, an image of one, and on a store in
//! use.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::answer::Salvaged;
use super::format::{FORMAT, Header, HeaderLane, Lines, Record, VERSION};
use super::{Answer, HandError, Output};
use crate::clock;
use crate::exit::Exit;
use crate::identity;
use crate::message::{Epoch, Origin, Seq, Stored, rfc3339};
use crate::queue::dig::Dig;
use crate::queue::marks;
use crate::queue::seal::Keys;
use crate::ranges::Ranges;

/// Damaged blocks that are told one by one.
const DAMAGED_TOLD: u64 = 20;
/// Folders within folders that are followed: a copied root directory has the store four levels down.
const DEPTH_MAX: usize = 12;
/// Dead letters are kept in the same kind of chunks and are no queued messages.
const DEAD_LETTERS: &str = "dead-letters";

/// A place with raw bytes of one lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// A folder or a file.
    pub path: PathBuf,
    /// Name of the lane; it is part of the ids.
    pub lane: String,
    /// Id of the gateway.
    pub gateway: String,
    /// Every message up to here was delivered, if that is known.
    pub cursor: Option<Seq>,
}

/// What is wanted of it.
#[derive(Debug, Clone)]
pub struct Salvage {
    /// From this sequence on.
    pub from: Seq,
    /// Up to and with this one.
    pub to: Seq,
    /// Also what was delivered.
    pub delivered: bool,
    /// What opens sealed blocks.
    pub keys: Keys,
}

impl Site {
    /// The lanes in `path`, if it is a store or the folder of a lane in one. What is not said is taken from there.
    ///
    /// # Errors
    /// [`HandError::Usage`] when something is neither said nor there.
    pub fn find(path: &Path, lane: Option<&str>, gateway: Option<&str>) -> Result<Vec<Self>, HandError> {
        let lanes = path.join("lanes");
        if !lanes.is_dir() {
            let store = path.parent().and_then(Path::parent);
            return Ok(vec![Self::new(path, store, lane, gateway)?]);
        }
        let mut sites = Vec::new();
        for entry in fs::read_dir(&lanes)? {
            let folder = entry?.path();
            let name = name_of(&folder);
            if folder.is_dir() && lane.is_none_or(|lane| name.as_deref() == Some(lane)) {
                sites.push(Self::new(&folder, Some(path), name.as_deref(), gateway)?);
            }
        }
        sites.sort_by(|one, other| one.lane.cmp(&other.lane));
        Ok(sites)
    }

    fn new(
        path: &Path,
        store: Option<&Path>,
        lane: Option<&str>,
        gateway: Option<&str>,
    ) -> Result<Self, HandError> {
        let marks = marks::peek(path);
        let in_store = store.and_then(|store| identity::kept(store).ok().flatten());
        let named = lane.map(ToOwned::to_owned);
        let named = named.or_else(|| name_of(path).filter(|_| marks.is_some() || in_store.is_some()));
        let missing = |what: &str, option: &str| {
            let path = path.display();
            HandError::Usage(format!(
                "{path} does not say {what}, which is part of what is salvaged; write {option}"
            ))
        };
        let gateway = gateway.map(ToOwned::to_owned);
        Ok(Self {
            path: path.to_owned(),
            lane: named.ok_or_else(|| missing("which lane it is", "--lane NAME (usually default)"))?,
            gateway: gateway
                .or(in_store.map(|identity| identity.gateway))
                .ok_or_else(|| missing("whose gateway's it is", "--gateway ID"))?,
            cursor: marks.map(|marks| marks.cursor),
        })
    }
}

fn name_of(folder: &Path) -> Option<String> {
    folder.file_name()?.to_str().map(ToOwned::to_owned)
}

impl Salvage {
    /// Writes what is found in `sites` as an export.
    ///
    /// # Errors
    /// [`HandError`]
    pub fn run(&self, sites: &[Site], output: Output<'_>) -> Result<Exit, HandError> {
        let mut file = Lines::default();
        output(Answer::Record(file.header(&header(sites))?))?;
        let mut exit = Exit::Stopped;
        for site in sites {
            let salvaged = self.site(site, &mut file, output)?;
            if salvaged.unreadable > 0 || salvaged.damaged > 0 {
                exit = Exit::Storage;
            }
            output(Answer::Salvaged(salvaged))?;
        }
        output(Answer::Record(file.end()?))?;
        Ok(exit)
    }

    fn site(&self, site: &Site, file: &mut Lines, output: Output<'_>) -> Result<Salvaged, HandError> {
        let mut salvaged = Salvaged {
            lane: site.lane.clone(),
            ..Salvaged::default()
        };
        let mut dig = Dig::default();
        for path in files(&site.path)? {
            match dig.add(path.clone()) {
                Ok(found) => {
                    salvaged.files += 1;
                    salvaged.chunks += found.chunks;
                    salvaged.unreadable += found.unreadable;
                }
                Err(error) => output(Answer::Note(format!("{}: {error}", path.display())))?,
            }
        }
        let mut given: BTreeMap<Epoch, Ranges> = BTreeMap::new();
        for block in dig.messages(&self.keys) {
            let messages = match block {
                Ok(messages) => messages,
                Err((first, damage)) => {
                    salvaged.damaged += 1;
                    if salvaged.damaged <= DAMAGED_TOLD {
                        output(Answer::Note(format!("the block at {first}: {damage}")))?;
                    }
                    continue;
                }
            };
            for stored in messages {
                let given = given.entry(stored.epoch).or_default();
                if given.contains(stored.seq) || !(self.from..=self.to).contains(&stored.seq) {
                    continue;
                }
                given.insert(stored.seq);
                if !self.delivered && site.cursor.is_some_and(|cursor| stored.seq <= cursor) {
                    salvaged.delivered += 1;
                    continue;
                }
                salvaged.messages += 1;
                output(Answer::Record(file.record(&record(site, &stored))?))?;
            }
        }
        Ok(salvaged)
    }
}

fn record(site: &Site, stored: &Stored) -> Record {
    let here = || Origin {
        gateway: site.gateway.clone(),
        epoch: stored.epoch,
        lane: site.lane.clone(),
        seq: stored.seq,
    };
    let origin = stored.arrival.origin.as_deref().cloned().unwrap_or_else(here);
    Record::new(&origin, &stored.arrival)
}

fn header(sites: &[Site]) -> Header {
    let lanes = sites.iter().map(|site| HeaderLane {
        lane: site.lane.clone(),
        cursor: site.cursor.unwrap_or_default(),
        last: Seq::ZERO,
    });
    let gateway = sites.first().map(|site| site.gateway.clone());
    Header {
        format: FORMAT.to_owned(),
        version: VERSION,
        gateway: gateway.unwrap_or_default(),
        epoch: Epoch(0).to_string(),
        exported_at: rfc3339(clock::unix_ms()),
        still_queued: false,
        lanes: lanes.collect(),
    }
}

/// The file, or all files in the folder, in the order of their paths: that is the order of generations.
fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    let mut folders = vec![(path.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() && depth < DEPTH_MAX && entry.file_name() != DEAD_LETTERS {
                folders.push((entry.path(), depth + 1));
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}
