//! The `edgeferry` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    edgeferry::cli::main(std::env::args_os()).into()
}
