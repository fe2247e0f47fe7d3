//! The `edgeferry` command.

use std::process::ExitCode;

use rustix::fs::Mode;

fn main() -> ExitCode {
    // Whatever is made is for its user alone, also outside of the unit: stores and exports hold payloads.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let exit = edgeferry::cli::main(std::env::args_os());
    edgeferry::ops::logging::finish();
    exit.into()
}
