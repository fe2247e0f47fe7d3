//! What a daemon is started with: a program, and what runs it where this machine's processor cannot.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// An emulator translates each block of instructions when it is met first: starts are slower than anything else, by more
/// than this on an idle machine and less than this times what the limits are above the usual.
const EMULATION_SLOWER: u32 = 4;

/// A built edgeferry.
#[derive(Debug, Clone)]
pub struct Program {
    /// Stands in front of the program: an emulator with its arguments.
    runner: Vec<OsString>,
    binary: PathBuf,
    environment: Vec<(&'static str, &'static str)>,
}

impl Program {
    /// The one for this machine: that cargo built beside the tests, or that `EDGEFERRY_BIN` names.
    pub fn native() -> Self {
        Self {
            runner: Vec::new(),
            binary: super::daemon::binary(),
            environment: Vec::new(),
        }
    }

    /// One for another processor: `qemu` runs it in a process of this machine, with the C library below `root`. A signal to the
    /// process is one to the program: the emulator has no other.
    pub fn emulated(qemu: &Path, root: &'static str, binary: &Path) -> Self {
        Self {
            runner: vec![qemu.into()],
            binary: binary.to_owned(),
            // Not as an argument (-L): a kernel that starts programs of other processors by itself (binfmt_misc) gives the emulator
            // of what the program starts no arguments.
            environment: vec![("QEMU_LD_PREFIX", root)],
        }
    }

    /// The same, started by these words in front of it: something that becomes the program, on the same processor.
    pub fn run_by(mut self, words: Vec<OsString>) -> Self {
        self.runner = words;
        self
    }

    /// The same with further variables in its environment, below those of a test.
    pub fn with_environment(mut self, environment: &[(&'static str, &'static str)]) -> Self {
        self.environment.extend(environment);
        self
    }

    /// The program file.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Whether an emulator runs it.
    pub fn is_emulated(&self) -> bool {
        !self.runner.is_empty()
    }

    /// How long something may take that takes `native` at most on this machine's own processor.
    pub fn limit(&self, native: Duration) -> Duration {
        match self.is_emulated() {
            true => native * EMULATION_SLOWER,
            false => native,
        }
    }

    /// The words of a command line that starts it, before its own arguments. One at least.
    pub fn words(&self) -> Vec<OsString> {
        let mut words = self.runner.clone();
        words.push(self.binary.clone().into());
        words
    }

    /// What it finds in its environment.
    pub fn environment(&self) -> &[(&'static str, &'static str)] {
        &self.environment
    }

    /// A command to be run to its end, without arguments so far.
    pub fn command(&self) -> Command {
        let words = self.words();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).envs(self.environment.iter().copied());
        command
    }
}
