//! Finds out what a closed generation holds, within a limit of time.
//!
//! The work is done by a thread that ends with it. Whoever needs the result waits for a moment and then asks again later:
//! the medium may hang in a read for as long as it likes, and what was found until the limit is all there is.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Waker;
use super::raw::{Finder, Index, search};
use crate::queue::generation::io_error;
use crate::queue::store::StoreError;

/// Threads of one lane at most: the reader's, the writer's, a visitor's, and one that looks ahead. When that many hang in a
/// read, the medium is gone, and there is nothing to go on with.
const THREADS_MAX: usize = 4;

/// How a thread goes about it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// What was not found until then is given up.
    pub(super) limit: Duration,
    /// Pause between two steps of 256 KiB, for one that nobody waits for.
    pub(super) pause: Duration,
}

/// One generation being read; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Salvage {
    state: Arc<State>,
    path: PathBuf,
    deadline: Instant,
}

#[derive(Debug, Default)]
struct State {
    progress: Mutex<Progress>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Progress {
    finder: Finder,
    file: Option<File>,
    outcome: Option<io::Result<()>>,
}

impl State {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts the threads of a lane.
#[derive(Debug, Default, Clone)]
pub(super) struct Threads(Arc<AtomicUsize>);

/// One of them, until it is dropped.
struct Place(Threads);

impl Threads {
    fn take(&self) -> Option<Place> {
        let place = Place(self.clone());
        (self.0.fetch_add(1, Ordering::Relaxed) < THREADS_MAX).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Salvage {
    /// Begins to read the generation in `folder`. `waker` is called at the end.
    ///
    /// # Errors
    /// [`StoreError`] when there can be no thread now: [`StoreError::Salvaging`] when all of them are at work.
    pub(super) fn start(
        folder: &Path,
        pace: Pace,
        threads: &Threads,
        waker: Waker,
    ) -> Result<Self, StoreError> {
        let taken = threads
            .take()
            // Like one that is at work: ask again.
            .ok_or(StoreError::Salvaging)?;
        let salvage = Self {
            state: Arc::default(),
            path: folder.join("db"),
            deadline: Instant::now() + pace.limit,
        };
        let work = salvage.clone();
        let spawned = std::thread::Builder::new()
            .name("queue salvage".to_owned())
            .spawn(move || {
                let outcome = work.read(pace.pause);
                // Before anybody hears of the end, who may want a thread for the next one.
                drop(taken);
                work.end(outcome);
                waker.wake();
            });
        spawned.map_err(|source| io_error(folder, source))?;
        Ok(salvage)
    }

    fn read(&self, pause: Duration) -> io::Result<()> {
        File::open(&self.path).and_then(|file| {
            self.state.progress().file = Some(file.try_clone()?);
            search(&file, |hits| {
                let mut progress = self.state.progress();
                progress.finder.add(&hits);
                drop(progress);
                if !pause.is_zero() {
                    std::thread::park_timeout(pause);
                }
                Instant::now() < self.deadline
            });
            Ok(())
        })
    }

    fn end(&self, outcome: io::Result<()>) {
        if Instant::now() < self.deadline {
            self.state.progress().outcome = Some(outcome);
        }
        self.state.ended.notify_all();
    }

    /// Whether it has ended, or its time is over, within `patience`.
    pub(super) fn wait(&self, patience: Duration) -> bool {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let (progress, _) = self
            .state
            .ended
            .wait_timeout_while(self.state.progress(), patience.min(left), |progress| {
                progress.outcome.is_none()
            })
            .unwrap_or_else(PoisonError::into_inner);
        progress.outcome.is_some() || Instant::now() >= self.deadline
    }

    /// Whether it has seen everything.
    pub(super) fn is_complete(&self) -> bool {
        self.state.progress().outcome.is_some()
    }

    /// Whether `other` is the same one.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }

    /// What was found. To be called once, and when [`Self::wait`] says so.
    ///
    /// # Errors
    /// [`StoreError`] when the file could not be opened for a reason that says nothing about what is in it.
    pub(super) fn finish(&self) -> Result<Index, StoreError> {
        let mut progress = self.state.progress();
        let outcome = progress.outcome.take();
        let file = progress.file.take();
        let finder = std::mem::take(&mut progress.finder);
        drop(progress);
        match outcome {
            Some(Ok(())) => {}
            Some(Err(source)) => {
                let error = io_error(&self.path, source);
                if !error.is_damage() {
                    return Err(error);
                }
                tracing::warn!(%error, "a generation cannot be read");
            }
            None => {
                tracing::error!(path = %self.path.display(), "reading a generation took too long: going on with what was found");
            }
        }
        Ok(finder.finish(file))
    }
}
