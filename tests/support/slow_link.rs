//! A bad link between the daemon and everything else: real TCP over packets that are late, few and sometimes lost.
//!
//! The daemon runs in a network namespace of its own. The way out is a TUN device whose packets go through this process, which
//! does to them what a modem does. (`tc netem` would do the same where the kernel has it.) The MQTT broker is reached
//! past the link, through a Unix socket. Needs root, `ip`, `ss` and `socat`.

use std::collections::VecDeque;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::process::{Process, program};
use super::scratch::Scratch;
use super::seed::Seed;
use super::wait;

/// Our end of the link: where Kafka listens.
pub const NEAR: &str = "10.213.7.1";
const FAR: &str = "10.213.7.2";
/// Packets that the modem keeps for each direction, as a home router does.
const QUEUE_PACKETS: usize = 300;
const SETUP_LIMIT: Duration = Duration::from_secs(10);

/// What the link is like, in each direction.
#[derive(Debug, Clone, Copy)]
pub struct Quality {
    /// Bytes per second.
    pub rate: u32,
    /// On the way.
    pub delay: Duration,
    /// Packets of a thousand that are lost.
    pub lost_per_mille: u64,
}

/// The link, up until it is dropped.
#[derive(Debug)]
pub struct SlowLink {
    namespace: String,
    folder: Scratch,
    /// From the daemon.
    up: Arc<Traffic>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// Killed with the link.
    processes: Vec<Process>,
}

impl SlowLink {
    /// Why there cannot be one here.
    pub fn obstacle() -> Option<String> {
        if !rustix::process::geteuid().is_root() {
            return Some("network namespaces need root".into());
        }
        if !Path::new("/dev/net/tun").exists() {
            return Some("this kernel has no /dev/net/tun".into());
        }
        let name = format!("efprobe{}", std::process::id());
        let made = Command::new("ip").args(["netns", "add", &name]).output();
        match made {
            Ok(output) if output.status.success() => {
                ip(&["netns", "del", &name]);
                None
            }
            Ok(output) => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => Some(format!("ip: {error}")),
        }
    }

    /// A link of this quality, and a way past it to the local port `mqtt`.
    pub fn up(quality: Quality, mqtt: u16, seed: &mut Seed) -> Self {
        let folder = Scratch::new("link");
        let namespace = format!("ef{}", std::process::id());
        ip(&["netns", "add", &namespace]);
        ip(&["-n", &namespace, "link", "set", "lo", "up"]);
        let over = Arc::new(AtomicBool::new(false));
        let [up, down] = [(); 2].map(|()| Arc::new(Traffic::new()));
        let ends = [folder.join("near"), folder.join("far")].map(|path| bind(&path));
        let [near, far] = ends.map(Arc::new);
        let peers = [folder.join("near.socat"), folder.join("far.socat")];
        let mut direction =
            |from: &Arc<UnixDatagram>, to: &Arc<UnixDatagram>, peer: &PathBuf, traffic: &Arc<Traffic>| {
                let modem = Modem {
                    quality,
                    from: Arc::clone(from),
                    to: Arc::clone(to),
                    peer: peer.clone(),
                    seed: Seed::new(seed.next()),
                    traffic: Arc::clone(traffic),
                    over: Arc::clone(&over),
                };
                std::thread::spawn(move || modem.run())
            };
        let threads = vec![
            direction(&far, &near, &peers[0], &up),
            direction(&near, &far, &peers[1], &down),
        ];
        let mut link = Self {
            namespace,
            folder,
            up,
            over,
            threads,
            processes: Vec::new(),
        };
        link.start_socats(mqtt);
        link
    }

    fn start_socats(&mut self, mqtt: u16) {
        let device = |address: &str, end: &str| {
            let (ours, theirs) = (self.folder.join(&format!("{end}.socat")), self.folder.join(end));
            [
                format!("TUN:{address}/24,iff-no-pi=1,iff-up"),
                format!("UNIX-SENDTO:{},bind={}", theirs.display(), ours.display()),
            ]
        };
        let past = self.folder.join("mqtt");
        let near = self.socat(false, &device(NEAR, "near"));
        let far = self.socat(true, &device(FAR, "far"));
        let outside = self.socat(
            false,
            &[
                format!("UNIX-LISTEN:{},fork", past.display()),
                format!("TCP:127.0.0.1:{mqtt}"),
            ],
        );
        let inside = self.socat(
            true,
            &[
                format!("TCP-LISTEN:{mqtt},bind=127.0.0.1,fork,reuseaddr"),
                format!("UNIX-CONNECT:{}", past.display()),
            ],
        );
        self.processes = vec![near, far, outside, inside];
        for end in ["near.socat", "far.socat", "mqtt"] {
            let path = self.folder.join(end);
            wait::until(&format!("{end} is there"), SETUP_LIMIT, || {
                path.exists().then_some(())
            });
        }
        wait::until("the far end has its address", SETUP_LIMIT, || {
            let shown = Command::new("ip")
                .args(["-n", &self.namespace, "addr"])
                .output()
                .expect("ip runs");
            String::from_utf8_lossy(&shown.stdout).contains(FAR).then_some(())
        });
    }

    fn socat(&self, inside: bool, addresses: &[String; 2]) -> Process {
        let log = self.folder.join("socat.log");
        let start = |name: &Path, first: &[&str]| {
            Process::spawn("socat", name, &log, |command| {
                command.args(first).args(addresses);
            })
        };
        match inside {
            true => start(&program("ip"), &["netns", "exec", &self.namespace, "socat"]),
            false => start(&program("socat"), &[]),
        }
    }

    /// The namespace that the daemon has to run in.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Bytes of packets that left the daemon and went through so far.
    pub fn sent(&self) -> u64 {
        self.up.bytes.load(Ordering::Relaxed)
    }

    /// Whether the link from the daemon stands still and TCP has nothing that it could send for the first time. It may wait for the answer
    /// to what it has sent: with more to send, that would have been used.
    pub fn is_starved(&self) -> bool {
        self.up.stands_still() && self.unsent() == 0
    }

    /// Bytes that the daemon has written and TCP has not sent for the first time, of all connections over the link.
    fn unsent(&self) -> u64 {
        let shown = Command::new("ip")
            .args(["netns", "exec", &self.namespace, "ss", "-tinH", "dst", NEAR])
            .output()
            .expect("ip runs");
        assert!(
            shown.status.success(),
            "ss: {}",
            String::from_utf8_lossy(&shown.stderr)
        );
        let shown = String::from_utf8_lossy(&shown.stdout);
        let words = shown.split_whitespace();
        words
            .filter_map(|word| word.strip_prefix("notsent:"))
            .map(|bytes| bytes.parse::<u64>().expect("ss says a number"))
            .sum()
    }
}

impl Drop for SlowLink {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("a modem does not panic");
        }
        ip(&["netns", "del", &self.namespace]);
    }
}

fn bind(path: &Path) -> UnixDatagram {
    UnixDatagram::bind(path).expect("the folder is writable")
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("ip runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments:?}: {error}");
}

/// How long to wait for a packet: until the next one is due, and not so long that the end is missed.
fn glance(queue: &VecDeque<(Instant, Vec<u8>)>) -> Duration {
    const LONGEST: Duration = Duration::from_millis(50);
    let due = queue
        .front()
        .map(|(due, _)| due.saturating_duration_since(Instant::now()));
    due.unwrap_or(LONGEST).clamp(Duration::from_millis(1), LONGEST)
}

/// What one direction has carried.
#[derive(Debug)]
struct Traffic {
    /// Of packets that went through, also of those that were lost behind it.
    bytes: AtomicU64,
    /// When the last packet that came has left.
    free_at: Mutex<Instant>,
}

impl Traffic {
    fn new() -> Self {
        Self {
            bytes: AtomicU64::new(0),
            free_at: Mutex::new(Instant::now()),
        }
    }

    /// A packet came at `at`: when it will have left, which takes `time`.
    fn came(&self, at: Instant, time: Duration) -> Instant {
        let mut free_at = self.free_at.lock().expect("a modem does not panic");
        *free_at = at.max(*free_at) + time;
        *free_at
    }

    fn stands_still(&self) -> bool {
        *self.free_at.lock().expect("a modem does not panic") < Instant::now()
    }
}

/// One direction of the link.
struct Modem {
    quality: Quality,
    from: Arc<UnixDatagram>,
    to: Arc<UnixDatagram>,
    /// Whom `to` sends to.
    peer: PathBuf,
    seed: Seed,
    traffic: Arc<Traffic>,
    over: Arc<AtomicBool>,
}

impl Modem {
    fn run(mut self) {
        let mut queue: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
        // What waits in the socket came later than this. A modem that gets no processor time for a moment must not lose what
        // the link could have carried meanwhile.
        let mut seen_empty = Instant::now();
        let mut packet = [0; 2048];
        while !self.over.load(Ordering::Relaxed) {
            self.from.set_nonblocking(true).expect("a socket has this mode");
            let mut came = self.from.recv(&mut packet).map(|length| (length, seen_empty));
            if came.is_err() {
                seen_empty = Instant::now();
                came = self
                    .receive(&mut packet, glance(&queue))
                    .map(|length| (length, Instant::now()));
            }
            if let Ok((length, at)) = came
                && queue.len() < QUEUE_PACKETS
            {
                let time = Duration::from_secs(1) * u32::try_from(length).expect("a packet is small")
                    / self.quality.rate;
                let left = self.traffic.came(at, time);
                queue.push_back((left + self.quality.delay, packet[..length].to_vec()));
            }
            while queue.front().is_some_and(|(due, _)| *due <= Instant::now()) {
                let (_, packet) = queue.pop_front().expect("it is there");
                self.deliver(&packet);
            }
        }
    }

    fn receive(&self, packet: &mut [u8], patience: Duration) -> std::io::Result<usize> {
        self.from.set_nonblocking(false)?;
        self.from.set_read_timeout(Some(patience))?;
        self.from.recv(packet)
    }

    fn deliver(&mut self, packet: &[u8]) {
        let bytes = packet.len() as u64;
        self.traffic.bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.seed.between(0, 999) >= self.quality.lost_per_mille {
            // Whoever is not there yet, or not any more, loses it: as on any link.
            drop(self.to.send_to(packet, &self.peer));
        }
    }
}
