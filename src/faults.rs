//! Faults on order, for the tests that kill the process at a named point, leave a step out, or put the clock wrong.
//!
//! Only builds with debug assertions listen; in a release build every function here is empty. `tests/crash` names the
//! points and kills at each of them, so a point without an entry there is dead code.
//!
//! Own code because it is this small: the `fail` crate knows no SIGKILL, and its switch is a cargo feature that
//! `cargo test` and `cargo bench` would share.

/// `NAME:N`: the process ends with SIGKILL when it passes the point NAME for the Nth time, counted from 1.
pub const KILL_AT: &str = "EDGEFERRY_KILL_AT";
/// Name of a step that is left out.
pub const OMIT: &str = "EDGEFERRY_OMIT";

/// Milliseconds by which the wall clock is off, until the file of [`CLOCK_FILE`] says otherwise.
pub const CLOCK_SHIFT: &str = "EDGEFERRY_CLOCK_SHIFT_MS";
/// A file: the clock counts as synchronised once it is there, whatever the machine says. What it holds is the shift from then
/// on, in milliseconds; empty means none.
pub const CLOCK_FILE: &str = "EDGEFERRY_CLOCK_FILE";

/// Stands in for the kernel's boot id.
pub const BOOT_ID: &str = "EDGEFERRY_BOOT_ID";

/// A point at which a crash matters.
#[inline]
pub fn point(name: &'static str) {
    #[cfg(debug_assertions)]
    armed::pass(name);
    #[cfg(not(debug_assertions))]
    let _: &str = name;
}

/// Whether the step `name` is to be left out.
#[inline]
#[must_use]
pub fn omits(name: &str) -> bool {
    #[cfg(debug_assertions)]
    return armed::omits(name);
    #[cfg(not(debug_assertions))]
    {
        let _: &str = name;
        false
    }
}

/// The boot id to use instead of the kernel's.
#[inline]
#[must_use]
pub fn boot_id() -> Option<String> {
    #[cfg(debug_assertions)]
    return std::env::var(BOOT_ID).ok();
    #[cfg(not(debug_assertions))]
    None
}

/// By how much the wall clock is to be off, milliseconds.
#[inline]
#[must_use]
pub fn clock_shift_ms() -> i64 {
    #[cfg(debug_assertions)]
    return armed::clock_shift_ms();
    #[cfg(not(debug_assertions))]
    0
}

/// Whether the clock is to count as synchronised; `None` leaves that to the machine.
#[inline]
#[must_use]
pub fn clock_synchronised() -> Option<bool> {
    #[cfg(debug_assertions)]
    return armed::clock_synchronised();
    #[cfg(not(debug_assertions))]
    None
}

/// How often each point was passed so far; empty in a release build.
#[must_use]
pub fn passes() -> std::collections::BTreeMap<&'static str, u64> {
    #[cfg(debug_assertions)]
    return armed::passes();
    #[cfg(not(debug_assertions))]
    std::collections::BTreeMap::new()
}

#[cfg(debug_assertions)]
mod armed {
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use std::sync::{LazyLock, Mutex, PoisonError};

    use rustix::process::{Signal, getpid, kill_process};

    static KILL: LazyLock<Option<(String, u64)>> = LazyLock::new(|| {
        let order = std::env::var(super::KILL_AT).ok()?;
        let (name, pass) = order.rsplit_once(':')?;
        Some((name.to_owned(), pass.parse().ok()?))
    });
    static OMIT: LazyLock<Option<String>> = LazyLock::new(|| std::env::var(super::OMIT).ok());
    static CLOCK_SHIFT_MS: LazyLock<i64> = LazyLock::new(|| number(std::env::var(super::CLOCK_SHIFT).ok()));
    static CLOCK_FILE: LazyLock<Option<PathBuf>> =
        LazyLock::new(|| std::env::var_os(super::CLOCK_FILE).map(PathBuf::from));
    static PASSES: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());

    pub(super) fn pass(name: &'static str) {
        let mut passes = PASSES.lock().unwrap_or_else(PoisonError::into_inner);
        let pass = passes.entry(name).or_default();
        *pass += 1;
        if KILL.as_ref().is_some_and(|(at, nth)| at == name && nth == pass)
            && kill_process(getpid(), Signal::KILL).is_ok()
        {
            // The lock is kept: no other thread passes a point while the kernel ends the process.
            loop {
                std::thread::park();
            }
        }
    }

    pub(super) fn omits(name: &str) -> bool {
        OMIT.as_deref() == Some(name)
    }

    pub(super) fn clock_shift_ms() -> i64 {
        let file = CLOCK_FILE
            .as_ref()
            .and_then(|path| std::fs::read_to_string(path).ok());
        file.map_or(*CLOCK_SHIFT_MS, |text| number(Some(text)))
    }

    pub(super) fn clock_synchronised() -> Option<bool> {
        CLOCK_FILE.as_ref().map(|path| path.exists())
    }

    /// What is no number is none.
    fn number(text: Option<String>) -> i64 {
        text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    pub(super) fn passes() -> BTreeMap<&'static str, u64> {
        PASSES.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
