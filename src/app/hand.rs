//! The queue of a stopped store, opened for `edgeferry queue …`.

use std::collections::BTreeSet;
use std::path::Path;
use std::thread::JoinHandle;

use crate::app::{AppError, DataDir, keys};
use crate::config::Config;
use crate::identity::{self, Machine};
use crate::ops::hand::{Hand, HandLane, Known};
use crate::queue::{self, Queue};
use crate::route::Router;

/// A store that this process has, without sources and sinks.
#[derive(Debug)]
pub struct Stopped {
    hand: Hand,
    writers: Vec<JoinHandle<()>>,
    _data_dir: DataDir,
}

impl Stopped {
    /// Opens all lanes that the configuration names or the store has. The store keeps its identity, also on another
    /// machine (a card in a reader); one that is to be written must be this machine's.
    ///
    /// # Errors
    /// [`AppError`]
    pub fn open(config: &Config, data_dir: DataDir, to_write: bool) -> Result<Self, AppError> {
        keys::check(config, &data_dir)?;
        let kept = identity::kept(data_dir.path())?;
        let identity = if let Some(kept) = kept.filter(|_| !to_write) {
            kept
        } else {
            let machine = Machine::read();
            let gateway = machine.gateway_id(config.gateway.id.as_deref())?;
            identity::open(data_dir.path(), gateway, &machine, data_dir.has_log())?
        };
        let mut lanes = Vec::new();
        let mut writers = Vec::new();
        for name in names(config, &data_dir.path().join("lanes"))? {
            let lane = config.lanes.iter().find(|lane| lane.name == name);
            let settings = lane.map(|lane| lane.queue.clone()).unwrap_or_default();
            let queue = queue::open(&data_dir.lane(&name), identity.epoch, &settings)?;
            let Queue {
                writer,
                door,
                monitor,
                ..
            } = queue;
            let writing = std::thread::Builder::new().name("queue writer".to_owned());
            writers.push(writing.spawn(move || writer.run())?);
            let router = Router::new(config.routes.clone(), &identity.gateway, &name);
            lanes.push(HandLane::new(name, monitor, router, Some(door)));
        }
        let mut known = Known::open(data_dir.path())?;
        known.reconcile(&lanes)?;
        Ok(Self {
            hand: Hand::new(identity, lanes, known, false),
            writers,
            _data_dir: data_dir,
        })
    }

    /// The hand on its lanes.
    #[must_use]
    pub const fn hand(&self) -> &Hand {
        &self.hand
    }

    /// Lets go of the store. What was answered as stored is.
    pub fn close(self) {
        self.hand.close();
        for writer in self.writers {
            if writer.join().is_err() {
                tracing::error!("a queue writer panicked");
            }
        }
    }
}

/// The lanes of the configuration, then those that only the store has.
fn names(config: &Config, folder: &Path) -> Result<Vec<String>, AppError> {
    let mut names: Vec<String> = config.lanes.iter().map(|lane| lane.name.clone()).collect();
    let mut left = BTreeSet::new();
    if folder.exists() {
        for entry in std::fs::read_dir(folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !names.contains(&name) {
                left.insert(name);
            }
        }
    }
    names.extend(left);
    Ok(names)
}
