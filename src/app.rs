//! Builds the stages and connects them.

use std::path::Path;

use crate::cli::Exit;
use crate::config;

/// Runs the daemon with this configuration file until it is asked to stop.
#[must_use]
pub fn run_from_file(file: &Path) -> Exit {
    match config::load(file) {
        Ok(_) => Exit::Failure,
        Err(error) => {
            eprintln!("{error}");
            Exit::Usage
        }
    }
}

/// Runs the demo.
#[cfg(feature = "demo")]
#[must_use]
pub const fn demo(_keep: bool) -> Exit {
    Exit::Failure
}
