//! The processors, and the programs for them.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::support::process;
use crate::support::program::Program;

/// What the daemon gives itself at its start on a board, by starting itself once more. Under QEMU it can do that only where the
/// kernel starts programs of other processors by itself (binfmt_misc), which is not so on every machine.
pub const ALLOCATOR: [(&str, &str); 3] = [
    ("MALLOC_ARENA_MAX", "1"),
    ("MALLOC_TRIM_THRESHOLD_", "4194304"),
    ("MALLOC_TOP_PAD_", "1048576"),
];

/// A processor that edgeferry is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM, hard float.
    Armv7,
    /// The one that the tests run on.
    X86_64,
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aarch64 => "aarch64",
            Self::Armv7 => "armv7",
            Self::X86_64 => "x86-64",
        })
    }
}

impl Machine {
    /// Its program, as it runs on a board.
    pub fn program(self) -> Program {
        match self {
            Self::X86_64 => Program::native(),
            Self::Aarch64 | Self::Armv7 => self.bare_program().with_environment(&ALLOCATOR),
        }
    }

    /// Whether the kernel starts its programs by itself.
    pub fn runs_by_itself(self) -> bool {
        let name = match self {
            Self::X86_64 => return true,
            Self::Aarch64 => "qemu-aarch64",
            Self::Armv7 => "qemu-arm",
        };
        Path::new("/proc/sys/fs/binfmt_misc").join(name).exists()
    }

    /// Its program, which starts itself a second time. Where the kernel cannot do that, glibc would hand the file to a shell.
    pub fn bare_program(self) -> Program {
        let (variable, qemu, root) = match self {
            Self::Aarch64 => (
                "EDGEFERRY_AARCH64",
                "qemu-aarch64-static",
                "/usr/aarch64-linux-gnu",
            ),
            Self::Armv7 => ("EDGEFERRY_ARMV7", "qemu-arm-static", "/usr/arm-linux-gnueabihf"),
            Self::X86_64 => return Program::native(),
        };
        let named = std::env::var_os(variable);
        let binary = PathBuf::from(named.unwrap_or_else(|| {
            panic!("{variable} does not name a program: run packaging/emulation.sh, after ./dev cross")
        }));
        self.assert_is_for(&binary);
        Program::emulated(&process::program(qemu), root, &binary)
    }

    /// Fails unless the file is a program for this processor: a mixed up name would show nothing.
    fn assert_is_for(self, binary: &Path) {
        let bytes = std::fs::read(binary).unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
        let (class, number) = match self {
            Self::Aarch64 => (2, 183),
            Self::Armv7 => (1, 40),
            Self::X86_64 => (2, 62),
        };
        // elf(5): magic, class (1: 32 bits, 2: 64 bits), order (1: little endian); at 18 `e_machine`.
        let found = (
            &bytes[..4],
            bytes[4],
            bytes[5],
            u16::from_le_bytes([bytes[18], bytes[19]]),
        );
        assert_eq!(
            found,
            (&b"\x7fELF"[..], class, 1, number),
            "{} is no program for {self}",
            binary.display()
        );
    }
}
