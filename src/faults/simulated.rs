//! What stands in the place of the machine while a simulation runs (`tests/sim`): clock, dice, small files.
//!
//! It is of one thread, the one on which the simulation runs the whole pipeline, so simulations of several seeds can run
//! beside each other in one process. Only builds with debug assertions have it.

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::rc::Rc;

use crate::message::Seq;

/// A step with a small file (`slots`, `files`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is about to be written.
    Write,
    /// It is about to be synced.
    Sync,
    /// What it holds now survives a power cut; so does that it is not there.
    Synced,
}

/// A machine that a simulation makes up.
pub trait Machine {
    /// A point at which a crash matters is passed. To crash there, unwind.
    fn passed(&self, point: &'static str);

    /// Whether the step `name` is left out.
    fn omits(&self, name: &str) -> bool;

    /// The sequence that goes into an id.
    fn sequence(&self, stored: Seq) -> Seq;

    /// Something is done with a small file.
    ///
    /// # Errors
    /// What the file system says instead of doing it.
    fn file(&self, path: &Path, step: Step) -> io::Result<()>;

    /// A number of this machine's dice.
    fn random(&self) -> u64;

    /// The wall clock, milliseconds since 1970.
    fn unix_ms(&self) -> i64;

    /// Milliseconds since boot.
    fn boot_ms(&self) -> u64;
}

thread_local! {
    static MACHINE: RefCell<Option<Rc<dyn Machine>>> = const { RefCell::new(None) };
}

/// As long as it is there, this thread is on a machine that is made up.
#[derive(Debug)]
pub struct Simulation(());

/// Puts this thread on `machine`.
#[must_use]
pub fn on(machine: Rc<dyn Machine>) -> Simulation {
    MACHINE.replace(Some(machine));
    Simulation(())
}

impl Drop for Simulation {
    fn drop(&mut self) {
        MACHINE.replace(None);
    }
}

impl std::fmt::Debug for dyn Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Machine")
    }
}

/// What the machine says, where there is one.
pub(super) fn ask<T>(question: impl FnOnce(&dyn Machine) -> T) -> Option<T> {
    // A copy, so that a question may ask again; and none is asked on a thread that ends.
    let machine = MACHINE.try_with(|machine| machine.borrow().clone()).ok()??;
    Some(question(&*machine))
}
