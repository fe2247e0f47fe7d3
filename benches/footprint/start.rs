//! From exec to READY=1.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use edgeferry::message::{Arrival, Epoch};
use edgeferry::queue;
use serde_json::{Value, json};

use crate::goals::Goals;
use crate::memory::mb;
use crate::options::Options;
use crate::sample::{Memory, median};
use crate::support::arrival;
use crate::support::config::Config;
use crate::support::daemon::{STOP_LIMIT, binary};
use crate::support::kafka::Kafka;
use crate::support::mosquitto::Mosquitto;
use crate::support::process::Process;
use crate::support::scratch::{Scratch, disk_bytes};
use crate::support::seed::Seed;

const LIMIT: Duration = Duration::from_mins(2);
/// They do not compress, and few of them make a long queue: what opens is files and blocks, not messages.
const PAYLOAD_BYTES: usize = 4_000;
/// Messages between two looks at how much it is.
const STEP: u64 = 2_000;
const EMPTY_GOAL_MS: f64 = 300.0;
const LONG_GOAL_MS: f64 = 2_000.0;

pub fn table(options: &Options, goals: &mut Goals) -> Value {
    println!(
        "exec to READY=1, milliseconds: median and largest of {} starts",
        options.starts
    );
    // Nothing is delivered meanwhile, and a start needs neither broker.
    let place = Place::new();
    let times: Vec<f64> = (0..options.starts)
        .map(|_| {
            place.clear();
            place.start().0
        })
        .collect();
    let mut rows = vec![row("no store yet", &times)];
    let times: Vec<f64> = (0..options.starts).map(|_| place.start().0).collect();
    rows.push(row("an empty queue", &times));
    goals.note("start with an empty queue, ms", median(times), EMPTY_GOAL_MS);
    let filling = Instant::now();
    let (messages, bytes) = place.fill(options.queue_bytes);
    println!(
        "  ({messages} messages of {PAYLOAD_BYTES} random bytes, {bytes} bytes on disk, in {:.0} s)",
        filling.elapsed().as_secs_f64()
    );
    let warm: Vec<(f64, Memory)> = (0..options.starts).map(|_| place.start()).collect();
    let times: Vec<f64> = warm.iter().map(|(time, _)| *time).collect();
    rows.push(row("the long queue", &times));
    goals.note("start with the long queue, ms", median(times), LONG_GOAL_MS);
    let cold: Vec<f64> = (0..options.starts)
        .map(|_| {
            evict(&place.store);
            place.start().0
        })
        .collect();
    rows.push(row("the long queue, not in the page cache", &cold));
    goals.note("the same, not in the page cache, ms", median(cold), LONG_GOAL_MS);
    let rss = median(warm.iter().map(|(_, memory)| mb(memory.rss)).collect());
    println!("  RSS at READY with the long queue: {rss:.1} MB\n");
    json!({ "rows": rows, "queue_bytes": bytes, "queue_messages": messages, "rss_mb_at_ready": rss })
}

fn row(what: &str, times: &[f64]) -> Value {
    let (median, largest) = (median(times.to_vec()), times.iter().copied().fold(0.0, f64::max));
    println!("  {what:<40} {median:>8.1} {largest:>8.1}");
    json!({ "what": what, "median_ms": median, "largest_ms": largest, "all_ms": times })
}

/// Where a daemon lives that nobody talks to.
struct Place {
    folder: Scratch,
    sockets: tempfile::TempDir,
    socket: UnixDatagram,
    store: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = Scratch::new("footprint");
        let store = folder.join("store");
        let config = Config::usual("5", &Mosquitto::absent(), &Kafka::absent(), "nowhere")
            .queue("max_bytes = \"1 TiB\"");
        std::fs::write(folder.join("edgeferry.toml"), config.text(&store)).expect("the folder is writable");
        // The path of a socket must be short.
        let sockets = tempfile::tempdir().expect("the system has a folder for temporary files");
        let socket = UnixDatagram::bind(sockets.path().join("notify")).expect("the folder is new");
        socket.set_read_timeout(Some(LIMIT)).expect("it is no zero");
        Self {
            folder,
            sockets,
            socket,
            store,
        }
    }

    fn clear(&self) {
        drop(std::fs::remove_dir_all(&self.store));
    }

    /// Starts it, and stops it when it is ready: milliseconds, and its memory at that moment.
    fn start(&self) -> (f64, Memory) {
        let began = Instant::now();
        let process = Process::spawn("edgeferry", &binary(), &self.folder.join("log"), |command| {
            command
                .args(["run", "--config"])
                .arg(self.folder.join("edgeferry.toml"))
                .env("NOTIFY_SOCKET", self.sockets.path().join("notify"));
        });
        self.until_told("READY=1");
        let took = began.elapsed().as_secs_f64() * 1e3;
        let memory = Memory::of(process.id());
        let status = process.terminate(STOP_LIMIT);
        assert_eq!(status.code(), Some(0), "asked to stop, it must exit with 0");
        // What it still said while it ended is not for the next one.
        self.socket.set_nonblocking(true).expect("a socket");
        while self.socket.recv(&mut [0; 64]).is_ok() {}
        self.socket.set_nonblocking(false).expect("a socket");
        (took, memory)
    }

    fn until_told(&self, word: &str) {
        let mut buffer = [0; 8192];
        loop {
            let len = self.socket.recv(&mut buffer).expect("edgeferry is ready in time");
            if String::from_utf8_lossy(&buffer[..len])
                .lines()
                .any(|line| line == word)
            {
                return;
            }
        }
    }

    /// Fills the lane through the library until it takes so much disk space: messages and bytes.
    fn fill(&self, bytes: u64) -> (u64, u64) {
        let identity = std::fs::read_to_string(self.store.join("identity.json")).expect("the store was made");
        let identity: Value = serde_json::from_str(&identity).expect("it is JSON");
        let epoch = identity["epoch"].as_str().expect("it has one");
        let epoch = Epoch(u64::from_str_radix(epoch, 16).expect("hexadecimal"));
        let lane = self.store.join("lanes/default");
        let config = queue::Config {
            max_bytes: 1 << 40,
            ..queue::Config::default()
        };
        let opened = queue::open(&lane, epoch, &config).expect("opens");
        let (intake, writer) = (opened.door.intake(), opened.writer);
        let writer = std::thread::spawn(move || writer.run());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let mut load = Load::new();
        runtime.block_on(async {
            let mut durable = intake.durable();
            while disk_bytes(&lane) < bytes {
                for _ in 0..STEP {
                    let arrival = load.next();
                    let room = intake.reserve(arrival.cost()).await.expect("is open");
                    intake.offer(arrival, room, false).expect("is open");
                }
                durable
                    .wait_for(|durable| *durable >= load.made)
                    .await
                    .expect("is open");
            }
        });
        drop((intake, opened.door, opened.reader));
        writer.join().expect("the writer ends");
        (load.made, disk_bytes(&lane))
    }
}

struct Load {
    noise: Seed,
    made: u64,
}

impl Load {
    fn new() -> Self {
        Self {
            noise: Seed::new(1),
            made: 0,
        }
    }

    fn next(&mut self) -> Arrival {
        self.made += 1;
        let payload: Bytes = (0..PAYLOAD_BYTES / 8)
            .flat_map(|_| self.noise.next().to_le_bytes())
            .collect();
        let topic = format!("devices/d{}/telemetry", self.made % 100);
        arrival::live(self.made, topic, payload, &mut self.noise)
    }
}

/// Takes the files below a folder out of the page cache, so that they are read from the disk again.
fn evict(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("reads the folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            evict(&path);
        } else if let Ok(file) = std::fs::File::open(&path) {
            // What is not on the disk yet cannot leave.
            file.sync_all().expect("our own file");
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("a file");
        }
    }
}
