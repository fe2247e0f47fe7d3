//! `edgeferry demo`
use crate::cli::Exit;
/// Runs the demo.
pub fn run(_keep: bool) -> Exit {
    Exit::Failure
}
