//! Faults on order, for the tests that kill the process at a named point, leave a step out, make a thread hang,
//! or put the clock wrong.
//!
//! Only builds with debug assertions listen; in a release build every function here is empty. `tests/crash` names the
//! points and kills at each of them, so a point without an entry there is dead code.
//!
//! One thing more can be had: with the feature `broken-promises` an optimised build listens to [`OMIT`] too, so that
//! `edgeferry drill` can be seen to fail on what is shipped otherwise. [`BROKEN`] names the steps on which a promise stands.
//!
//! A simulation (`tests/sim`) stands in the place of the machine, for the thread that it runs on: see `simulated`.
//!
//! Own code because it is this small: the `fail` crate knows no SIGKILL, and its switch is a cargo feature that
//! `cargo test` and `cargo bench` would share.

use std::io;
use std::path::Path;
use std::time::Duration;

use rand::distr::{Distribution, StandardUniform};
#[cfg(debug_assertions)]
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::message::Seq;

#[cfg(debug_assertions)]
pub mod simulated;

/// `NAME:N`: the process ends with SIGKILL when it passes the point NAME for the Nth time, counted from 1.
pub const KILL_AT: &str = "EDGEFERRY_KILL_AT";
/// Name of a step that is left out.
pub const OMIT: &str = "EDGEFERRY_OMIT";

/// Acknowledging waits until a message is durable.
pub const ACK_WAITS: &str = "ack.waits";
/// The cursor waits for Kafka's delivery report.
pub const CURSOR_WAITS: &str = "cursor.waits";
/// What there is no room for is counted before it is dropped, or waits.
pub const DROP_COUNTS: &str = "drop.counts";
/// The sequence in an id goes on where it was before a crash.
pub const SEQUENCE_GOES_ON: &str = "sequence.goes-on";
/// A message that is sent again has the id that it had.
pub const ID_STAYS: &str = "id.stays";
/// A failed flush is a failure.
pub const FLUSH_COUNTS: &str = "flush.counts";

/// Steps on which a promise stands, with what goes wrong without each.
pub const BROKEN: [(&str, &str); 6] = [
    (ACK_WAITS, "acknowledges before a message is durable"),
    (CURSOR_WAITS, "advances the cursor before the delivery report"),
    (DROP_COUNTS, "drops what there is no room for without counting it"),
    (SEQUENCE_GOES_ON, "uses a sequence again after a crash"),
    (ID_STAYS, "sends a duplicate under another id"),
    (FLUSH_COUNTS, "ignores a failed flush"),
];

/// The first record of a producer in a partition goes there alone.
pub const FIRST_GOES_ALONE: &str = "first.goes-alone";
/// A failure that leaves records behind sends all that follow them again.
pub const REWIND_GOES_BACK: &str = "rewind.goes-back";
/// The unproven end of the log is written anew before anybody hears of it.
pub const END_IS_RENEWED: &str = "end.is-renewed";
/// What a repetition is taken for has to be equal to it.
pub const REPETITION_IS_EQUAL: &str = "repetition.is-equal";
/// A delivery report may say that nothing was delivered.
pub const STATUS_COUNTS: &str = "status.counts";
/// What the client had not sent when something failed goes again.
pub const PURGED_GO_AGAIN: &str = "purged.go-again";
/// The cursor stops before a message that is not done, whatever is done behind it.
pub const CURSOR_STOPS: &str = "cursor.stops";
/// With exactly-once the cursor moves when the transaction is committed.
pub const CURSOR_IS_COMMITTED: &str = "cursor.is-committed";
/// A message that Kafka refuses is kept.
pub const LETTER_IS_KEPT: &str = "letter.is-kept";
/// It makes room for those behind it.
pub const LETTER_MAKES_ROOM: &str = "letter.makes-room";
/// What is durable is noted behind it.
pub const MARK_FOLLOWS: &str = "mark.follows";
/// What the broker marks as sent again is not known for that.
pub const DUP_IS_JUDGED: &str = "dup.is-judged";
/// A broker that has lost the session has lost what was subscribed.
pub const SUBSCRIBES_AGAIN: &str = "subscription.comes-again";
/// What the client has no room for goes before what comes behind it.
pub const FULL_KEEPS_ORDER: &str = "full.keeps-order";

/// Further steps on which a promise stands: without them it takes what the drill's Kafka and a healthy disk do not do to break
/// it, so only the simulation leaves them out.
pub const BROKEN_IN_SIMULATION: [(&str, &str); 14] = [
    (
        FIRST_GOES_ALONE,
        "sends a second batch to a partition that does not know the producer",
    ),
    (
        REWIND_GOES_BACK,
        "goes on behind a failure instead of sending again",
    ),
    (
        END_IS_RENEWED,
        "believes what a start found in the page cache to be on the disk",
    ),
    (
        REPETITION_IS_EQUAL,
        "takes any repetition with a known packet id for what had the id before",
    ),
    (STATUS_COUNTS, "takes a report of a failure for a delivery"),
    (
        PURGED_GO_AGAIN,
        "forgets what the client had not sent when something failed",
    ),
    (CURSOR_STOPS, "moves the cursor past a message that is not done"),
    (
        CURSOR_IS_COMMITTED,
        "moves the cursor before the transaction is committed",
    ),
    (LETTER_IS_KEPT, "drops what Kafka refuses"),
    (LETTER_MAKES_ROOM, "never gets past what Kafka refuses"),
    (MARK_FOLLOWS, "notes as durable what is not stored yet"),
    (
        DUP_IS_JUDGED,
        "takes whatever is marked as sent again for what it has",
    ),
    (
        SUBSCRIBES_AGAIN,
        "does not subscribe again in a session that is new",
    ),
    (
        FULL_KEEPS_ORDER,
        "sends the next message first when the client is full",
    ),
];

/// Whether this build can be told to break its promises.
#[must_use]
pub const fn can_break() -> bool {
    cfg!(any(debug_assertions, feature = "broken-promises"))
}

/// Milliseconds by which the wall clock is off, until the file of [`CLOCK_FILE`] says otherwise.
pub const CLOCK_SHIFT: &str = "EDGEFERRY_CLOCK_SHIFT_MS";
/// A file: the clock counts as synchronised once it is there, whatever the machine says. What it holds is the shift from then
/// on, in milliseconds; empty means none.
pub const CLOCK_FILE: &str = "EDGEFERRY_CLOCK_FILE";

/// Stands in for the kernel's boot id.
pub const BOOT_ID: &str = "EDGEFERRY_BOOT_ID";

/// A file: as long as it is there, a thread that comes to the place that it names stays there, as one does that hangs.
pub const HANG_FILE: &str = "EDGEFERRY_HANG_FILE";
/// Milliseconds after which a silent thread counts as hung, and as one that does not end, in the place of the limits that are built in.
pub const HANG_LIMIT: &str = "EDGEFERRY_HANG_LIMIT_MS";

/// A round of a sink.
pub const SINK_ROUND: &str = "sink.round";
/// A round of a writer.
pub const WRITER_ROUND: &str = "writer.round";

/// A place at which a thread may hang on order.
#[inline]
pub fn hang(name: &'static str) {
    #[cfg(debug_assertions)]
    armed::hang(name);
    #[cfg(not(debug_assertions))]
    let _: &str = name;
}

/// How long a thread may be silent: `limit`, unless a test has less patience.
#[inline]
#[must_use]
pub fn hang_limit(limit: Duration) -> Duration {
    #[cfg(debug_assertions)]
    return armed::hang_limit().unwrap_or(limit);
    #[cfg(not(debug_assertions))]
    limit
}

/// A point at which a crash matters.
#[inline]
pub fn point(name: &'static str) {
    #[cfg(debug_assertions)]
    if simulated::ask(|machine| machine.passed(name)).is_none() {
        armed::pass(name);
    }
    #[cfg(not(debug_assertions))]
    let _: &str = name;
}

/// Whether the step `name` is to be left out.
#[inline]
#[must_use]
pub fn omits(name: &str) -> bool {
    #[cfg(debug_assertions)]
    if let Some(omitted) = simulated::ask(|machine| machine.omits(name)) {
        return omitted;
    }
    #[cfg(any(debug_assertions, feature = "broken-promises"))]
    return omitted::is(name);
    #[cfg(not(any(debug_assertions, feature = "broken-promises")))]
    {
        let _: &str = name;
        false
    }
}

/// The sequence that goes into an id: the one that was stored, unless a step that keeps ids apart is left out.
#[inline]
#[must_use]
pub fn sequence(stored: Seq) -> Seq {
    #[cfg(debug_assertions)]
    if let Some(sequence) = simulated::ask(|machine| machine.sequence(stored)) {
        return sequence;
    }
    #[cfg(any(debug_assertions, feature = "broken-promises"))]
    return omitted::sequence(stored);
    #[cfg(not(any(debug_assertions, feature = "broken-promises")))]
    stored
}

/// A small file is about to be written.
///
/// # Errors
/// What a simulated file system says to that.
#[inline]
pub(crate) fn writes(path: &Path) -> io::Result<()> {
    #[cfg(debug_assertions)]
    return simulated::ask(|machine| machine.file(path, simulated::Step::Write)).unwrap_or(Ok(()));
    #[cfg(not(debug_assertions))]
    {
        let _: &Path = path;
        Ok(())
    }
}

/// A small file, or its absence, is made durable by `sync`.
///
/// # Errors
/// What `sync` says, or a simulated file system.
#[inline]
pub(crate) fn syncs(path: &Path, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    #[cfg(debug_assertions)]
    {
        let ask = |step| simulated::ask(|machine| machine.file(path, step)).unwrap_or(Ok(()));
        ask(simulated::Step::Sync)?;
        sync()?;
        ask(simulated::Step::Synced)
    }
    #[cfg(not(debug_assertions))]
    {
        let _: &Path = path;
        sync()
    }
}

/// A random value; a simulation has it of its seed.
#[inline]
pub(crate) fn random<T>() -> T
where
    StandardUniform: Distribution<T>,
{
    #[cfg(debug_assertions)]
    if let Some(seed) = simulated::ask(|machine| machine.random()) {
        return StdRng::seed_from_u64(seed).random();
    }
    rand::random()
}

/// A simulation's clocks: the wall clock in milliseconds since 1970, and milliseconds since boot.
#[inline]
#[must_use]
pub(crate) fn clocks() -> Option<(i64, u64)> {
    #[cfg(debug_assertions)]
    return simulated::ask(|machine| (machine.unix_ms(), machine.boot_ms()));
    #[cfg(not(debug_assertions))]
    None
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

#[cfg(any(debug_assertions, feature = "broken-promises"))]
mod omitted {
    use std::sync::{LazyLock, OnceLock};

    use crate::message::Seq;

    static OMIT: LazyLock<Option<String>> = LazyLock::new(|| std::env::var(super::OMIT).ok());

    /// The first sequence that this process gave an id.
    static FIRST: OnceLock<Seq> = OnceLock::new();
    /// Further than any store gets.
    const ELSEWHERE: u64 = 1 << 32;

    pub(super) fn is(name: &str) -> bool {
        OMIT.as_deref() == Some(name)
    }

    pub(super) fn sequence(stored: Seq) -> Seq {
        match OMIT.as_deref() {
            Some(super::SEQUENCE_GOES_ON) => {
                let first = FIRST.get_or_init(|| stored);
                Seq(stored.0.saturating_sub(first.0)).next()
            }
            Some(super::ID_STAYS) => stored.plus(ELSEWHERE * u64::from(std::process::id())),
            _ => stored,
        }
    }
}

#[cfg(debug_assertions)]
mod armed {
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use std::sync::{LazyLock, Mutex, PoisonError};
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};

    /// How often a thread that hangs looks whether it still has to.
    const LOOK: Duration = Duration::from_millis(50);
    static KILL: LazyLock<Option<(String, u64)>> = LazyLock::new(|| {
        let order = std::env::var(super::KILL_AT).ok()?;
        let (name, pass) = order.rsplit_once(':')?;
        Some((name.to_owned(), pass.parse().ok()?))
    });
    static CLOCK_SHIFT_MS: LazyLock<i64> = LazyLock::new(|| number(std::env::var(super::CLOCK_SHIFT).ok()));
    static CLOCK_FILE: LazyLock<Option<PathBuf>> =
        LazyLock::new(|| std::env::var_os(super::CLOCK_FILE).map(PathBuf::from));
    static HANG_FILE: LazyLock<Option<PathBuf>> =
        LazyLock::new(|| std::env::var_os(super::HANG_FILE).map(PathBuf::from));
    static HANG_LIMIT: LazyLock<Option<Duration>> = LazyLock::new(|| {
        let limit = std::env::var(super::HANG_LIMIT).ok()?;
        limit.parse().ok().map(Duration::from_millis)
    });
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

    pub(super) fn hang(name: &'static str) {
        let is_ordered = |path: &PathBuf| std::fs::read_to_string(path).is_ok_and(|text| text.trim() == name);
        while HANG_FILE.as_ref().is_some_and(is_ordered) {
            std::thread::park_timeout(LOOK);
        }
    }

    pub(super) fn hang_limit() -> Option<Duration> {
        *HANG_LIMIT
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
