//! `edgeferry reload`: asks the running daemon to read its configuration and secrets again, and says what came of it.
//!
//! For `ExecReload=` of a unit with `Type=notify`: it returns when the reload is done, or refused. The file says where the store is,
//! and so where the daemon listens. A file that is wrong has to reach the daemon too, which is the one to refuse it; so `data_dir`
//! is also found in a file that is no configuration.

use std::path::{Path, PathBuf};

use super::queue::access::{self, Failure};
use super::queue::print;
use crate::config;
use crate::exit::Exit;
use crate::ops::hand::{Answer, Verb};

/// Does what the command line says.
pub(super) fn run(file: &Path) -> Exit {
    access::told(|| try_run(file))
}

fn try_run(file: &Path) -> Result<Exit, Failure> {
    let data_dir = data_dir(file)?;
    access::ask_daemon(&data_dir, &Verb::Reload, &mut |answer| match answer {
        Answer::Note(line) => print::line(&line),
        _ => Ok(()),
    })
}

/// Where the store is, as far as the file says it.
fn data_dir(file: &Path) -> Result<PathBuf, Failure> {
    let error = match config::load(file) {
        Ok((config, _)) => return Ok(config.gateway.data_dir),
        Err(error) => error,
    };
    let text = config::read(file).unwrap_or_default();
    config::data_dir_of(&text).ok_or_else(|| Failure::Config(error))
}
