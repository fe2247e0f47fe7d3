//! `edgeferry check`

use std::io::{self, Write};
use std::path::Path;

use crate::config::{self, LoadError};
use crate::exit::Exit;
use crate::settings::Problem;

/// Prints what the file's problems are to stderr, or to stdout that it has none; warnings go to stderr.
pub(super) fn check(file: &Path) -> Exit {
    let outcome = config::load(file);
    let exit = if outcome.is_ok() {
        Exit::Stopped
    } else {
        Exit::Usage
    };
    if print(file, &outcome.map(|(_, warnings)| warnings)).is_err() {
        Exit::Failure
    } else {
        exit
    }
}

fn print(file: &Path, outcome: &Result<Vec<Problem>, LoadError>) -> io::Result<()> {
    match outcome {
        Ok(warnings) => {
            for warning in warnings {
                writeln!(io::stderr(), "warning: {warning}")?;
            }
            writeln!(io::stdout(), "{}: ok", file.display())
        }
        Err(error) => writeln!(io::stderr(), "{error}"),
    }
}
