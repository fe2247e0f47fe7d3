//! The gateway's board: its clocks, its dice, its small files, and the moments at which it dies.
//!
//! Small files (marks, ledger, session, …) are real files on a memory file system: what they hold is what the page cache holds. Beside
//! them stands what is on the medium. A power cut brings that back, with any part of what was written since: each page
//! came through or did not, and one in ten is torn.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use edgeferry::faults;
use edgeferry::faults::simulated::{Machine, Step};
use edgeferry::message::Seq;
use edgeferry::slots::PAGE_BYTES;
use tokio::time::Instant;

use crate::coverage::Coverage;
use crate::dice::Dice;

/// The wall clock when the simulated world begins, milliseconds since 1970.
const BEGAN_MS: i64 = 1_750_000_000_000;
/// One in so many thousand random pages that were not synced is torn by a power cut.
const TORN: u64 = 100;

/// What a card says that takes no more (errno(3)).
const EIO: i32 = 5;

/// How a process ends without being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// SIGKILL: the page cache stays.
    Kill,
    /// Only what was synced stays for certain.
    PowerCut,
}

/// What unwinds when the process dies at a point.
pub struct Died;

/// See the module documentation.
pub struct Board {
    began: Instant,
    booted: Cell<u64>,
    /// By how much the wall clock is off, milliseconds.
    set_by: Cell<i64>,
    boot: Cell<u64>,
    dice: RefCell<Dice>,
    cuts: RefCell<Dice>,
    omitted: Option<&'static str>,
    /// Dies at the pass of so many more points.
    dying: Cell<Option<(u64, Death)>>,
    died: Cell<Option<(&'static str, Death)>>,
    /// Whether points count: only while the process works, not while somebody looks at it.
    is_armed: Cell<bool>,
    first: Cell<Option<Seq>>,
    life: Cell<u64>,
    medium: RefCell<BTreeMap<PathBuf, Vec<u8>>>,
    files_fail: Cell<bool>,
    files_full: Cell<bool>,
    pub coverage: RefCell<Coverage>,
}

impl Board {
    pub fn new(seed: u64, omitted: Option<&'static str>) -> Self {
        Self {
            began: Instant::now(),
            booted: Cell::new(0),
            set_by: Cell::new(0),
            boot: Cell::new(1),
            dice: RefCell::new(Dice::of(seed, "process")),
            cuts: RefCell::new(Dice::of(seed, "power cuts")),
            omitted,
            dying: Cell::new(None),
            died: Cell::new(None),
            is_armed: Cell::new(false),
            first: Cell::new(None),
            life: Cell::new(0),
            medium: RefCell::default(),
            files_fail: Cell::new(false),
            files_full: Cell::new(false),
            coverage: RefCell::default(),
        }
    }

    /// Simulated milliseconds since the world began.
    pub fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).expect("within the limit")
    }

    /// The instant at which it will be `at`.
    pub fn instant(&self, at: u64) -> Instant {
        self.began + std::time::Duration::from_millis(at)
    }

    pub fn boot(&self) -> u64 {
        self.boot.get()
    }

    pub fn omits(&self, name: &str) -> bool {
        self.omitted == Some(name)
    }

    /// Sets the wall clock, counted from a right one. Some minutes: records whose time is far ahead of the clock
    /// get another one, marked as such (docs/delivery.md).
    pub fn set_clock(&self, off_ms: i64) {
        self.set_by.set(off_ms);
    }

    pub fn fail_files(&self, fail: bool) {
        self.files_fail.set(fail);
    }

    pub fn fill_files(&self, full: bool) {
        self.files_full.set(full);
    }

    /// A new process begins; its dice are its own.
    pub fn begin_life(&self) {
        self.life.set(self.life.get() + 1);
        self.first.set(None);
        self.died.set(None);
        self.dying.set(None);
    }

    /// The process dies at the pass of `points` more points.
    pub fn die_after(&self, points: u64, death: Death) {
        self.dying.set(Some((points, death)));
    }

    /// A point of the simulated disk.
    pub fn point(&self, name: &'static str) {
        self.passed(name);
    }

    /// The process does not die by itself any more.
    pub fn calm(&self) {
        self.dying.set(None);
    }

    /// Points count while this runs. `None` when the process died in it.
    pub fn alive<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        self.is_armed.set(true);
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        self.is_armed.set(false);
        match worked {
            Ok(value) => Some(value),
            Err(panic) if panic.is::<Died>() => None,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// At which point the process died.
    pub fn death(&self) -> Option<(&'static str, Death)> {
        self.died.get()
    }

    /// Power comes back: a new boot, and of the small files in `folder` what the medium has.
    pub fn lose_power(&self, folder: &Path) {
        self.boot.set(self.boot.get() + 1);
        self.booted.set(self.now());
        self.fall_back(folder);
        self.settle(folder);
    }

    fn fall_back(&self, folder: &Path) {
        let mut medium = self.medium.borrow_mut();
        let mut dice = self.cuts.borrow_mut();
        for path in files(folder) {
            let cached = fs::read(&path).expect("reads");
            match medium.get(&path) {
                Some(synced) if *synced == cached => {}
                Some(synced) => {
                    let mixed = mix(synced, &cached, &mut dice);
                    fs::write(&path, mixed).expect("writes");
                }
                // Its name may have come through by itself.
                None if dice.chance(500) => fs::remove_file(&path).expect("removes"),
                None => fs::write(&path, mix(&[], &cached, &mut dice)).expect("writes"),
            }
        }
        for (path, synced) in medium.iter() {
            if !path.exists() && dice.chance(500) {
                fs::write(path, synced).expect("writes");
            }
        }
        medium.clear();
    }

    /// Whatever is there after a power cut is on the medium.
    fn settle(&self, folder: &Path) {
        let mut medium = self.medium.borrow_mut();
        for path in files(folder) {
            let bytes = fs::read(&path).expect("reads");
            medium.insert(path, bytes);
        }
    }
}

/// All files below the folder, in one order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("lists") {
        let path = entry.expect("lists").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

/// What a power cut leaves of a file: of each page what was synced or what was written since, or a torn one.
fn mix(synced: &[u8], cached: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut mixed = cached.to_vec();
    for (index, page) in mixed.chunks_mut(PAGE_BYTES).enumerate() {
        let from = index * PAGE_BYTES;
        let before = synced
            .get(from..(from + page.len()).min(synced.len()))
            .unwrap_or_default();
        if *before == *page {
            continue;
        }
        let mut old = vec![0; page.len()];
        old[..before.len()].copy_from_slice(before);
        match dice.between(0, 1000) {
            kind if kind < TORN => {
                // Sectors of 512 bytes come through whole.
                let sectors = page.len().div_ceil(512);
                let through = dice.below(sectors + 1) * 512;
                let through = through.min(page.len());
                page[through..].copy_from_slice(&old[through..]);
            }
            kind if kind < 550 => page.copy_from_slice(&old),
            _ => {}
        }
    }
    mixed
}

impl Machine for Board {
    fn passed(&self, point: &'static str) {
        if !self.is_armed.get() {
            return;
        }
        self.coverage.borrow_mut().passed(point);
        match self.dying.get() {
            Some((0, death)) => {
                self.dying.set(None);
                self.died.set(Some((point, death)));
                self.coverage
                    .borrow_mut()
                    .ended_at(point, death == Death::PowerCut);
                std::panic::resume_unwind(Box::new(Died));
            }
            Some((more, death)) => self.dying.set(Some((more - 1, death))),
            None => {}
        }
    }

    fn omits(&self, name: &str) -> bool {
        self.omits(name)
    }

    fn sequence(&self, stored: Seq) -> Seq {
        match self.omitted {
            Some(faults::SEQUENCE_GOES_ON) => {
                let first = self.first.get().unwrap_or(stored);
                self.first.set(Some(first));
                Seq(stored.0.saturating_sub(first.0)).next()
            }
            Some(faults::ID_STAYS) => stored.plus((1 << 32) * self.life.get()),
            _ => stored,
        }
    }

    fn file(&self, path: &Path, step: Step) -> io::Result<()> {
        match step {
            Step::Write if self.files_full.get() => Err(io::ErrorKind::StorageFull.into()),
            Step::Sync if self.files_fail.get() => Err(io::Error::from_raw_os_error(EIO)),
            Step::Write | Step::Sync => Ok(()),
            Step::Synced => {
                let mut medium = self.medium.borrow_mut();
                match fs::read(path) {
                    Ok(bytes) => medium.insert(path.to_owned(), bytes),
                    Err(_) => medium.remove(path),
                };
                Ok(())
            }
        }
    }

    fn random(&self) -> u64 {
        self.dice.borrow_mut().any()
    }

    fn unix_ms(&self) -> i64 {
        BEGAN_MS + self.set_by.get() + i64::try_from(self.now()).expect("within the limit")
    }

    fn boot_ms(&self) -> u64 {
        // The kernel needs some seconds.
        self.now() - self.booted.get() + 5_000
    }
}
