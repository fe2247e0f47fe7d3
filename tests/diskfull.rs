//! The queue on disks that are full: by itself and by a neighbour, at every stage, on tmpfs and on ext4.
//!
//! What must hold: nothing acknowledged is lost, what waits is delivered, the writer never ends, and it goes on by itself
//! once there is room.

#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "all of this is a test: it fails by panicking, and says on standard error what it does"
)]

#[path = "support/disk.rs"]
mod disk;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use disk::{Disk, Kind};
use edgeferry::message::{Arrival, Epoch};
use edgeferry::queue::{self, Ballast, Config, Intake, Monitor, OnFull, OpenError, Outside, Passed, Reader};

/// Enough for the ballast and some generations.
const DISK_MIB: u64 = 40;
/// Does not compress.
const MESSAGE_BYTES: usize = 8_000;
/// Cuts the log into generations of 2 MiB.
const MAX_BYTES: u64 = 16 << 20;
/// Messages offered at once while a disk is filled.
const FILL_GROUP: u64 = 16;
/// For what the queue does by itself.
const PATIENCE: Duration = Duration::from_mins(1);
/// A message that is not durable after this long is held back.
const HELD_BACK: Duration = Duration::from_millis(700);

/// A lane on a disk, as the daemon runs it.
struct Gateway {
    reader: Reader,
    monitor: Monitor,
    intake: Intake,
    ballast: Arc<Ballast>,
    writer: JoinHandle<()>,
    runtime: tokio::runtime::Runtime,
    offered: u64,
    /// Positions that were acknowledged before this start.
    before: u64,
}

fn config(on_full: OnFull, max_bytes: u64) -> Config {
    Config {
        max_bytes,
        min_free_bytes: 0,
        on_full,
        ..Config::default()
    }
}

/// By budget nothing is ever full here: the disk is.
fn unbounded() -> Config {
    config(OnFull::Backpressure, MAX_BYTES << 10)
}

/// Small generations, and a budget above what the disk has.
fn small_generations() -> Config {
    config(OnFull::DropOldest, DISK_MIB << 20)
}

impl Gateway {
    fn try_start(disk: &Disk, config: &Config, before: u64) -> Result<Self, OpenError> {
        let ballast = Arc::new(Ballast::open(&disk.path()));
        let outside = Outside {
            ballast: Some(Arc::clone(&ballast)),
            ..Outside::default()
        };
        let queue = queue::open_with(&folder(disk), Epoch(5), config, &outside)?;
        let intake = queue.door.intake();
        let writer = std::thread::spawn(move || queue.writer.run());
        Ok(Self {
            reader: queue.reader,
            monitor: queue.monitor,
            intake,
            ballast,
            writer,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .expect("runtime"),
            offered: before,
            before,
        })
    }

    fn start(disk: &Disk, config: &Config) -> Self {
        Self::try_start(disk, config, 0).expect("opens")
    }

    /// Offers one message; false when the queue has no memory for it.
    fn offer(&mut self) -> bool {
        let arrival = message(self.offered + 1);
        let reserve = self.intake.reserve(arrival.cost());
        let Ok(room) = self
            .runtime
            .block_on(async { tokio::time::timeout(HELD_BACK, reserve).await })
        else {
            return false;
        };
        self.intake
            .offer(arrival, room.expect("the writer lives"), false)
            .expect("the writer lives");
        self.offered += 1;
        true
    }

    fn acknowledged(&self) -> u64 {
        self.before.max(*self.intake.durable().borrow())
    }

    /// Waits for the last offer to be acknowledged; false when it is held back.
    fn settle(&self, patience: Duration) -> bool {
        let mut durable = self.intake.durable();
        let wanted = self.offered;
        if wanted == self.before {
            return true;
        }
        let settling = durable.wait_for(|at| *at >= wanted);
        let settled = self
            .runtime
            .block_on(async { tokio::time::timeout(patience, settling).await.is_ok() });
        assert!(!self.writer.is_finished(), "the writer goes on");
        settled
    }

    /// Stores `count` messages.
    fn store(&mut self, count: u64) {
        for _ in 0..count {
            assert!(self.offer() && self.settle(PATIENCE), "there is room");
        }
    }

    /// Stores until it is held back; returns how many were acknowledged.
    fn fill(&mut self) -> u64 {
        while (0..FILL_GROUP).all(|_| self.offer()) && self.settle(HELD_BACK) {}
        assert!(!self.settle(HELD_BACK), "the disk is full");
        self.assert_says_why();
        self.acknowledged()
    }

    fn assert_says_why(&self) {
        let status = self.monitor.status();
        assert!(status.failure.is_some(), "{status:?}");
    }

    /// Delivers `count` messages, or all that can be read.
    fn deliver(&mut self, count: usize) -> Vec<u64> {
        let mut delivered = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while delivered.len() < count {
            match self.reader.read_next() {
                Ok(Some(stored)) => {
                    delivered.push(stored.arrival.delivery.position);
                    let passed = Passed {
                        delivered: 1,
                        ..Passed::default()
                    };
                    // What fails for want of space is tried again by the sink, too.
                    while let Err(error) = self.reader.advance(stored.seq, passed) {
                        assert!(Instant::now() < deadline, "{error}");
                    }
                }
                Ok(None) => break,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
        }
        delivered
    }

    /// Delivers the rest; with what was delivered before it must be everything, once and in order.
    fn conclude(mut self, mut delivered: Vec<u64>) {
        assert!(
            self.settle(PATIENCE),
            "goes on by itself: {:?}",
            self.monitor.status()
        );
        delivered.extend(self.deliver(usize::MAX));
        assert_eq!(delivered, (1..=self.offered).collect::<Vec<_>>());
        let status = self.monitor.status();
        assert_eq!((status.failure, status.balance.queued), (None, 0));
        assert_eq!(status.balance.removed.removed(), 0);
        until("the ballast is made again", || self.ballast.restore());
        self.stop();
    }

    /// As the daemon stops: what is not durable was never acknowledged.
    fn stop(self) {
        drop(self.intake);
        self.monitor.close();
        self.writer.thread().unpark();
        self.writer.join().expect("the writer ends without a panic");
    }
}

fn folder(disk: &Disk) -> PathBuf {
    disk.path().join("lanes/default")
}

fn message(position: u64) -> Arrival {
    let mut state = position;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    });
    Arrival::trial(
        position,
        format!("devices/d{}/telemetry", position % 7),
        noise.take(MESSAGE_BYTES).collect::<Vec<_>>(),
    )
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Runs `test` on each kind of disk that can be mounted.
fn on_each_disk(test: impl Fn(&Disk)) {
    for kind in [Kind::Tmpfs, Kind::Ext4] {
        if let Some(disk) = Disk::mount(kind, DISK_MIB) {
            eprintln!("on {kind:?}");
            test(&disk);
        }
    }
}

#[test]
fn a_disk_that_a_killed_test_left_is_unmounted_by_the_next() {
    let mut ended = std::process::Command::new("true").spawn().expect("it starts");
    ended.wait().expect("it ends");
    let folder = std::env::temp_dir().join(format!("edgeferry-disk-{}-left", ended.id()));
    let at = folder.join("mnt");
    std::fs::create_dir_all(&at).expect("there is room");
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "tmpfs"])
        .arg(&at)
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("skipped: mounting needs root");
        std::fs::remove_dir_all(&folder).expect("it is ours");
        return;
    }
    let disk = Disk::mount(Kind::Tmpfs, 1).expect("the other one could be mounted");
    // Another test may be the one that does it.
    let deadline = Instant::now() + Duration::from_mins(1);
    while folder.exists() {
        assert!(Instant::now() < deadline, "{} is still there", folder.display());
        std::thread::park_timeout(Duration::from_millis(10));
    }
    assert!(disk.path().is_dir());
}

#[test]
fn a_disk_that_the_queue_filled_itself_is_emptied_by_delivering() {
    on_each_disk(|disk| {
        let mut gateway = Gateway::start(disk, &unbounded());
        let acknowledged = gateway.fill();
        assert!(
            acknowledged * (MESSAGE_BYTES as u64) > DISK_MIB << 18,
            "{acknowledged}"
        );
        let delivered = gateway.deliver(usize::MAX);
        assert!(delivered.len() as u64 >= acknowledged);
        gateway.conclude(delivered);
    });
}

#[test]
fn a_neighbour_at_the_first_append() {
    on_each_disk(|disk| {
        let mut gateway = Gateway::start(disk, &unbounded());
        disk.eat();
        assert!(gateway.offer() && !gateway.settle(HELD_BACK));
        gateway.assert_says_why();
        disk.leave();
        gateway.conclude(Vec::new());
    });
}

#[test]
fn a_neighbour_at_any_point_of_a_generation_and_at_its_end() {
    on_each_disk(|disk| {
        let mut config = unbounded();
        config.max_bytes = MAX_BYTES;
        let mut gateway = Gateway::start(disk, &config);
        let mut delivered = Vec::new();
        // A generation takes about a hundred messages: in these steps the disk is full at many places of several.
        for _ in 0..24 {
            gateway.store(23);
            disk.eat();
            assert!(gateway.offer());
            // Space that a file system or sled had taken ahead may still do for this one.
            if !gateway.settle(HELD_BACK) {
                gateway.assert_says_why();
            }
            delivered.extend(gateway.deliver(20));
            disk.leave();
            assert!(gateway.settle(PATIENCE), "{:?}", gateway.monitor.status());
        }
        gateway.conclude(delivered);
    });
}

#[test]
fn what_waits_is_delivered_and_trimmed_while_the_neighbour_stays() {
    on_each_disk(|disk| {
        let mut config = unbounded();
        config.max_bytes = MAX_BYTES;
        let mut gateway = Gateway::start(disk, &config);
        gateway.store(1_000);
        disk.eat();
        assert!(gateway.offer() && !gateway.settle(HELD_BACK));
        let used = gateway.monitor.status().bytes;
        // The sink reconnects and begins again: everything is read from disk.
        gateway.reader.rewind();
        let mut delivered = gateway.deliver(usize::MAX);
        assert!(delivered.len() >= 1_000);
        assert!(
            gateway.monitor.status().bytes < used,
            "what was delivered gives its space back"
        );
        // That space is enough to go on with, beside the neighbour.
        assert!(gateway.settle(PATIENCE), "{:?}", gateway.monitor.status());
        delivered.extend(gateway.deliver(usize::MAX));
        gateway.conclude(delivered);
    });
}

#[test]
fn a_start_on_a_full_disk_delivers_what_waits() {
    on_each_disk(|disk| {
        let config = small_generations();
        let mut gateway = Gateway::start(disk, &config);
        gateway.store(300);
        gateway.stop();
        disk.eat();
        let mut gateway = Gateway::try_start(disk, &config, 300).expect("the ballast makes room");
        assert!(
            gateway.offer() && !gateway.settle(HELD_BACK),
            "nothing is acknowledged"
        );
        let delivered = gateway.deliver(300);
        assert_eq!(delivered, (1..=300).collect::<Vec<_>>());
        disk.leave();
        gateway.conclude(delivered);
    });
}

#[test]
fn a_start_without_room_and_without_a_ballast_loses_nothing() {
    on_each_disk(|disk| {
        let config = small_generations();
        let mut gateway = Gateway::start(disk, &config);
        gateway.store(300);
        gateway.stop();
        std::fs::remove_file(disk.path().join("ballast")).expect("there is one");
        disk.eat();
        match Gateway::try_start(disk, &config, 300) {
            Ok(mut gateway) => {
                assert!(
                    gateway.offer() && !gateway.settle(HELD_BACK),
                    "nothing is acknowledged"
                );
                gateway.stop();
            }
            Err(error) => assert!(error.is_full(), "{error}"),
        }
        disk.leave();
        let gateway = Gateway::try_start(disk, &config, 300).expect("opens");
        gateway.conclude(Vec::new());
    });
}

#[test]
fn a_stop_on_a_full_disk_loses_nothing() {
    on_each_disk(|disk| {
        let config = unbounded();
        let mut gateway = Gateway::start(disk, &config);
        let acknowledged = gateway.fill();
        gateway.stop();
        let mut gateway =
            Gateway::try_start(disk, &config, acknowledged).expect("the ballast was given already");
        let delivered = gateway.deliver(usize::MAX);
        // What was stored and not acknowledged any more may be there too.
        assert!(delivered.len() as u64 >= acknowledged);
        assert_eq!(delivered, (1..=delivered.len() as u64).collect::<Vec<_>>());
        until("goes on", || gateway.ballast.restore());
        gateway.offered = delivered.len() as u64;
        gateway.store(10);
        gateway.stop();
    });
}

#[test]
fn dropping_needs_no_space() {
    on_each_disk(|disk| {
        let mut gateway = Gateway::start(disk, &small_generations());
        gateway.store(400);
        disk.eat();
        assert!(gateway.offer() && !gateway.settle(HELD_BACK));
        assert_eq!(
            gateway.monitor.status().balance.removed.removed(),
            0,
            "somebody else's file makes us drop nothing"
        );
        // On request: the ledger writes in its place.
        let taken = gateway.deliver(1).len() as u64;
        let purged = gateway.monitor.purge(Arc::new(|_| true));
        let removed = gateway.monitor.status().balance.removed.removed();
        assert!(removed > 100, "{purged:?} {removed}");
        disk.leave();
        assert!(gateway.settle(PATIENCE), "{:?}", gateway.monitor.status());
        let delivered = gateway.deliver(usize::MAX).len() as u64;
        assert_eq!(taken + removed + delivered, gateway.offered);
        assert_eq!(gateway.monitor.status().balance.queued, 0);
        gateway.stop();
    });
}

#[test]
fn what_min_free_bytes_keeps_is_left_to_the_neighbours() {
    on_each_disk(|disk| {
        let mut config = unbounded();
        config.min_free_bytes = 12 << 20;
        let mut gateway = Gateway::start(disk, &config);
        gateway.fill();
        assert!(disk.free() >= config.min_free_bytes, "{} free", disk.free());
        assert!(gateway.ballast.is_held(), "it never came to that");
        let failure = gateway.monitor.status().failure.expect("says why");
        assert!(failure.contains("min_free_bytes"), "{failure}");
        let delivered = gateway.deliver(usize::MAX);
        gateway.conclude(delivered);
    });
}
