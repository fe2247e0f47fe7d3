//! How the process ends: the exit codes of `docs/operations.md`.

use std::process::ExitCode;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what it was asked to, or was asked to stop.
    Stopped = 0,
    /// Something else went wrong; a restart may help.
    Failure = 1,
    /// `edgeferry try`: not all of the message becomes records. `edgeferry verify --strict`: not everything could be judged.
    NoRecord = 2,
    /// The command line or the configuration is wrong.
    Usage = 64,
    /// The store cannot be used.
    Storage = 74,
    /// Another gateway with the same identity took over: a restart would take it back.
    Fenced = 75,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
