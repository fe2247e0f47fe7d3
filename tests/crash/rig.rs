//! Cuts the power: stops the load, copies the image below its file system, mounts and opens the copy.
//!
//! What is dirty in the page cache of the mounted file system is not in its image: that is what a power cut takes. An
//! image counts only if the device's write counters stood still while it was copied, and nothing was in flight: then it is
//! what the device held at one moment. From time to time the load goes on on such a copy, so cuts follow cuts, or is
//! killed and started again, so cuts hit starts.
//!
//! What it cannot show: what the device had in a cache of its own and had not flushed, and a write that was cut in the
//! middle. A device that lies about flushing loses more than any program can help.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use edgeferry::faults;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::account::{Account, May};
use crate::drain::drain;
use crate::support::process::Process;
use crate::support::seed::Seed;
use crate::support::wait;
use crate::{child, load};

/// File that the rig leaves in [`Orders::outside`].
pub const SUMMARY: &str = "summary.json";
/// Makes a mount namespace: what is mounted in it is gone when its last process is.
pub const NAMESPACE: &[&str] = &["unshare", "--mount", "--propagation", "private", "--"];

/// Small, so that a copy is quick, and many times what the load keeps.
const IMAGE_BYTES: u64 = 128 * 1024 * 1024;
/// Generations of 512 KiB.
const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// One power cut in so many is followed by work on the image that it left.
const GO_ON_EVERY: u64 = 4;
/// One in so many hits a process that has just started.
const RESTART_EVERY: u64 = 5;
/// More would hide the numbers.
const PROBLEMS_SHOWN: usize = 5;
const PROBLEM_CHARACTERS: usize = 300;
/// How long all threads may take to stop: one may be in a long sync.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// What to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Orders {
    /// Folder for images, mount points, journals and the summary.
    pub outside: PathBuf,
    /// How many images count.
    pub images: u64,
    /// For moments and loads.
    pub seed: u64,
    /// Leaves `fdatasync` out, and ends with the first image that lost something.
    pub without_sync: bool,
}

/// What came out.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Seed of the run.
    pub seed: u64,
    /// Images that counted.
    pub images: u64,
    /// Images thrown away, because the device was written to meanwhile.
    pub thrown_away: u64,
    /// Images that mounted, and whose queue opened and could be read.
    pub opened: u64,
    /// Images that a process had just started on.
    pub at_start: u64,
    /// Images whose store went on being used.
    pub gone_on: u64,
    /// Messages confirmed in all.
    pub acked: u64,
    /// Messages that were confirmed, not delivered, and read back, over all images.
    pub read_back: u64,
    /// Images with something wrong.
    pub damaged: u64,
    /// Confirmed messages that were missing, over all images.
    pub lost: u64,
    /// What was wrong.
    pub problems: Vec<String>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, count: u64| writeln!(f, "  {name:<44}{count:>9}");
        row("images", self.images)?;
        row("of these: right after a start", self.at_start)?;
        row("of these: the load went on on the copy", self.gone_on)?;
        row("thrown away: the device was written to", self.thrown_away)?;
        row("mounted, opened and read", self.opened)?;
        row("messages confirmed", self.acked)?;
        row("messages read back from images", self.read_back)?;
        row("images with something wrong", self.damaged)?;
        row("confirmed messages lost", self.lost)?;
        for problem in self.problems.iter().take(PROBLEMS_SHOWN) {
            writeln!(
                f,
                "  {}",
                problem.chars().take(PROBLEM_CHARACTERS).collect::<String>()
            )?;
        }
        write!(f, "  seed {}", self.seed)
    }
}

/// Whether file systems can be mounted here.
///
/// # Errors
/// Why not.
pub fn possible(outside: &Path) -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("only root can mount".into());
    }
    let (image, at) = (outside.join("probe.img"), outside.join("probe"));
    make(&image)?;
    fs::create_dir(&at).map_err(|error| error.to_string())?;
    let script = "mount -o loop \"$0\" \"$1\" && umount \"$1\"";
    let mut command = Command::new(NAMESPACE[0]);
    command
        .args(&NAMESPACE[1..])
        .args(["sh", "-c", script])
        .arg(&image)
        .arg(&at);
    say(&mut command)
}

/// Runs a command; its complaint when it fails.
fn say(command: &mut Command) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!(
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        ))
    }
}

/// A new file system. Nothing is left for the kernel to write later by itself.
fn make(image: &Path) -> Result<(), String> {
    let file = fs::File::create(image).map_err(|error| error.to_string())?;
    file.set_len(IMAGE_BYTES).map_err(|error| error.to_string())?;
    let mut command = Command::new("mkfs.ext4");
    command
        .args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"])
        .arg(image);
    say(&mut command)
}

/// A mounted image. Unmounted when dropped; the loop device goes with it.
#[derive(Debug)]
struct Mounted {
    image: PathBuf,
    at: PathBuf,
}

impl Mounted {
    fn new(image: PathBuf, at: PathBuf) -> Result<Self, String> {
        fs::create_dir_all(&at).map_err(|error| error.to_string())?;
        say(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&at))?;
        Ok(Self { image, at })
    }

    /// What the device has done, and what it is doing.
    fn counters(&self) -> Counters {
        let device = fs::metadata(&self.at).expect("it is mounted").dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let text = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat"));
        let text = text.expect("Linux counts for every device");
        // https://docs.kernel.org/block/stat.html
        let fields: Vec<u64> = text
            .split_whitespace()
            .map(|field| field.parse().expect("a number"))
            .collect();
        Counters {
            // Writes and discards; requests and sectors.
            done: [fields[4], fields[6], fields[11], fields[13]],
            in_flight: fields[8],
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = wait::or_give_up(STOP_LIMIT, || say(Command::new("umount").arg(&self.at)).ok());
        if unmounted.is_none() {
            eprintln!("{} stays mounted until the namespace ends", self.at.display());
        }
        drop(fs::remove_file(&self.image));
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Counters {
    done: [u64; 4],
    in_flight: u64,
}

/// The rig at work.
struct Rig {
    orders: Orders,
    seed: Seed,
    summary: Summary,
    /// Of all images so far.
    number: u64,
    live: Mounted,
    load: Option<Process>,
    account: Account,
}

/// Takes the images, and writes the summary.
pub fn run(orders: &Orders) {
    let mut rig = Rig::new(orders.clone());
    while rig.summary.images < orders.images && !(orders.without_sync && rig.summary.lost > 0) {
        rig.cut();
    }
    rig.load = None;
    rig.summary.acked = rig.account.acked() as u64;
    let text = serde_json::to_vec(&rig.summary).expect("plain data");
    fs::write(orders.outside.join(SUMMARY), text).expect("writes");
}

impl Rig {
    fn new(orders: Orders) -> Self {
        let image = orders.outside.join("image-0");
        make(&image).expect("a file system");
        let live = Mounted::new(image, orders.outside.join("at-0")).expect("mounts");
        let mut rig = Self {
            seed: Seed::new(orders.seed),
            summary: Summary {
                seed: orders.seed,
                ..Summary::default()
            },
            number: 0,
            live,
            load: None,
            account: Account::new(&orders.outside.join("journal")),
            orders,
        };
        rig.start();
        rig
    }

    /// Starts the load on the live image.
    fn start(&mut self) {
        let orders = load::Orders {
            folder: self.live.at.clone(),
            journal: self.orders.outside.join("journal"),
            seed: self.seed.next(),
            first: self.account.next_position(),
            messages: None,
            max_bytes: MAX_BYTES,
            delivers: true,
            extras: !self.orders.without_sync,
            on_full: load::Full::Backpressure,
        };
        let omitted = self
            .orders
            .without_sync
            .then(|| (faults::OMIT, "sync.fdatasync".to_owned()));
        let log = self.orders.outside.join("load.log");
        let orders = child::Orders::Load(orders);
        self.load = Some(child::start("load", &log, &orders, omitted.as_slice()));
    }

    /// One power cut, if nothing was written meanwhile.
    fn cut(&mut self) {
        let at_start = self.seed.between(0, RESTART_EVERY) == 0;
        let moment = if at_start {
            self.load = None;
            self.read_journal();
            self.adopt_live();
            self.start();
            self.seed.between(0, 60_000)
        } else {
            self.seed.between(20_000, 400_000)
        };
        wait::let_pass("the load works", Duration::from_micros(moment));
        let Some(copy) = self.copy() else {
            self.summary.thrown_away += 1;
            return;
        };
        self.summary.images += 1;
        self.summary.at_start += u64::from(at_start);
        self.judge(copy);
    }

    /// A killed process keeps its page cache: what it stored and nobody noted has to be known before it goes on.
    fn adopt_live(&mut self) {
        match drain(&self.live.at, MAX_BYTES, &self.orders.outside) {
            Ok(drained) => self.account.adopt(&drained),
            Err(error) => self.problem(0, &error),
        }
    }

    fn read_journal(&mut self) {
        self.account.read();
    }

    /// Copies the live image while the load stands still. `None` when the device was written to.
    fn copy(&mut self) -> Option<PathBuf> {
        self.number += 1;
        let copy = self.orders.outside.join(format!("image-{}", self.number));
        let load = self.load.as_mut().expect("it runs");
        let ended = load.ended();
        assert!(ended.is_none(), "the load ended: {ended:?} {}", load.log());
        load.signal(Signal::STOP);
        let id = load.id();
        wait::until("all threads stand still", STOP_LIMIT, || stands_still(id));
        let before = self.live.counters();
        say(Command::new("cp").arg(&self.live.image).arg(&copy)).expect("copies");
        let after = self.live.counters();
        self.account.read();
        self.load.as_mut().expect("it runs").signal(Signal::CONT);
        if before == after && before.in_flight == 0 {
            return Some(copy);
        }
        fs::remove_file(&copy).expect("removes");
        None
    }

    /// Mounts the copy and opens what is on it.
    fn judge(&mut self, copy: PathBuf) {
        // As of the stop; the load goes on meanwhile.
        let account = self.account.clone();
        let at = self.orders.outside.join(format!("at-{}", self.number));
        let mounted = match Mounted::new(copy, at) {
            Ok(mounted) => mounted,
            Err(error) => return self.problem(0, &error),
        };
        let drained = match drain(&mounted.at, MAX_BYTES, &self.orders.outside) {
            Ok(drained) => drained,
            Err(error) => return self.problem(0, &error),
        };
        self.summary.opened += 1;
        self.summary.read_back += drained.messages.len() as u64;
        let verdict = account.judge(&drained, May::LoseNothing);
        if !verdict.is_clean() {
            return self.problem(verdict.lost.len() as u64, &verdict.to_string());
        }
        if self.seed.between(0, GO_ON_EVERY) == 0 {
            self.summary.gone_on += 1;
            self.load = None;
            self.account = account;
            self.account.adopt(&drained);
            self.account.skip_to_the_end();
            self.live = mounted;
            self.start();
        }
    }

    fn problem(&mut self, lost: u64, what: &str) {
        self.summary.damaged += 1;
        self.summary.lost += lost;
        self.summary
            .problems
            .push(format!("image {}: {what}", self.number));
    }
}

/// Whether every thread of the process is stopped.
fn stands_still(id: u32) -> Option<()> {
    let threads = fs::read_dir(format!("/proc/{id}/task")).ok()?;
    for thread in threads.flatten() {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ")?.1.chars().next()?;
        if state != 'T' && state != 't' {
            return None;
        }
    }
    Some(())
}
