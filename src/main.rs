//! The `edgeferry` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    let exit = edgeferry::cli::main(std::env::args_os());
    edgeferry::ops::logging::finish();
    exit.into()
}
