//! The queue of a stopped store, opened for `edgeferry queue …` and `edgeferry dead-letter …`.

use std::sync::Arc;
use std::thread::JoinHandle;

use crate::app::plan::{Plan, plan};
use crate::app::{AppError, DataDir, keys, letters};
use crate::config::Config;
use crate::identity::{self, Machine};
use crate::ops::hand::{Hand, HandLane, Known, LetterBox};
use crate::queue::{self, Door, Queue};
use crate::route::Router;

/// A store that this process has, without sources and sinks.
#[derive(Debug)]
pub struct Stopped {
    hand: Hand,
    /// Keep the writers going, which purge.
    doors: Vec<Door>,
    writers: Vec<JoinHandle<()>>,
    _data_dir: DataDir,
}

impl Stopped {
    /// Opens the lanes that a daemon would run; those that are to be emptied take no imports. The store keeps its
    /// identity, also on another machine (a card in a reader); one that is to be written must be this machine's.
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
        let (mut doors, mut writers) = (Vec::new(), Vec::new());
        let mut boxes = Vec::new();
        for Plan {
            name,
            queue: settings,
            is_leaving,
            ..
        } in plan(config, &data_dir)?
        {
            let Queue {
                writer,
                door,
                monitor,
                reader,
                keys: sealing,
                ..
            } = queue::open(&data_dir.lane(&name), identity.epoch, &settings)?;
            let writing = std::thread::Builder::new().name("queue writer".to_owned());
            writers.push(writing.spawn(move || writer.run())?);
            let router = Router::new(config.routes.clone(), &identity.gateway, &name);
            let kept = letters::open(config, &data_dir, &identity, &name, sealing)?;
            kept.recall(reader.cursor(), reader.reach())?;
            boxes.push(LetterBox {
                lane: name.clone(),
                letters: kept,
                router: Arc::new(router.clone()),
            });
            let entrance = (!is_leaving).then(|| door.clone());
            doors.push(door);
            lanes.push(HandLane::new(name, monitor, router, entrance));
        }
        let mut known = Known::open(data_dir.path())?;
        known.reconcile(&lanes)?;
        boxes.extend(letters::orphans(config, &data_dir, &identity, &boxes)?);
        Ok(Self {
            hand: Hand::new(identity, lanes, known, false).with_letters(boxes),
            doors,
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
        drop(self.doors);
        for writer in self.writers {
            if writer.join().is_err() {
                tracing::error!("a queue writer panicked");
            }
        }
    }
}
