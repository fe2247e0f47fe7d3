//! A TCP proxy between the daemon and a broker: it delays, limits, cuts, refuses, and swallows what the broker answers.
//!
//! A broker tells its clients its address, so one behind a proxy has to advertise the proxy's port
//! ([`super::cluster`] does). Every proxy has a thread of its own with a small runtime on it.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// Chunks on the way in one direction. With those of 16 KiB that is a pipe of 1 MiB, far more than a delay of
/// seconds lets a slow link carry.
const PIPE_CHUNKS: usize = 64;
const CHUNK_BYTES: usize = 16 * 1024;
/// How long the port may stay taken by connections that were just closed.
const BIND_LIMIT: Duration = Duration::from_secs(20);

/// What becomes of bytes and connections.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules {
    /// How much later every byte arrives, each way.
    pub delay: Duration,
    /// Bytes per second, each way.
    pub bytes_per_second: Option<u32>,
    /// What the broker answers arrives nowhere; what the client sends does arrive. A connection on which something was
    /// swallowed stays silent for ever: the next answer would be taken for the one that is missing.
    pub swallow_answers: bool,
    /// The port refuses connections, and those that were open are closed.
    pub refuse: bool,
    /// A connection is closed after this many bytes from the client; counts for connections made from now on.
    pub cut_after: Option<u64>,
}

/// Who hears every byte that comes in, before it goes on.
pub trait Tap: fmt::Debug + Send + Sync {
    /// `bytes` came from `side` on the connection with this number; they count from 0.
    fn heard(&self, connection: u64, side: Side, bytes: &[u8]);
}

/// Where bytes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Whoever connected to the proxy.
    Client,
    /// What the proxy stands in front of.
    Broker,
}

/// What a proxy has done since its start.
#[derive(Debug, Default)]
struct Counters {
    swallowed_bytes: AtomicU64,
    cuts: AtomicU64,
}

/// One proxy in front of one port.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    rules: watch::Sender<Rules>,
    /// Connections are of a generation; those of an earlier one are closed.
    generation: watch::Sender<u64>,
    counters: Arc<Counters>,
}

impl Proxy {
    /// A proxy on `port` to `target`, both on the loopback interface. It ends when it is dropped.
    pub fn start(port: u16, target: u16) -> Self {
        Self::begin(port, target, None)
    }

    /// The same with somebody who listens.
    pub fn start_tapped(port: u16, target: u16, tap: Arc<dyn Tap>) -> Self {
        Self::begin(port, target, Some(tap))
    }

    fn begin(port: u16, target: u16, tap: Option<Arc<dyn Tap>>) -> Self {
        let (rules, _) = watch::channel(Rules::default());
        let (generation, _) = watch::channel(0);
        let counters = Arc::<Counters>::default();
        let way = Way {
            target,
            rules: rules.subscribe(),
            generation: generation.subscribe(),
            counters: Arc::clone(&counters),
            tap,
        };
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .enable_time()
                .build()
                .expect("a small runtime");
            runtime.block_on(serve(port, way));
        });
        Self {
            port,
            rules,
            generation,
            counters,
        }
    }

    /// The port that clients use.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on; see [`Rules`].
    pub fn set(&self, rules: Rules) {
        self.rules.send_replace(rules);
        if rules.refuse {
            self.cut();
        }
    }

    /// Nothing is in the way any more. Connections on which something was swallowed are closed: they would stay silent.
    pub fn clear(&self) {
        let before = self.rules.send_replace(Rules::default());
        if before.swallow_answers {
            self.cut();
        }
    }

    /// Closes all open connections, in the middle of whatever they carry.
    pub fn cut(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }

    /// Bytes of answers that arrived nowhere.
    pub fn swallowed_bytes(&self) -> u64 {
        self.counters.swallowed_bytes.load(Ordering::Relaxed)
    }

    /// Connections that were closed because of [`Rules::cut_after`].
    pub fn cuts(&self) -> u64 {
        self.counters.cuts.load(Ordering::Relaxed)
    }
}

/// What a connection needs to know.
#[derive(Debug, Clone)]
struct Way {
    target: u16,
    rules: watch::Receiver<Rules>,
    generation: watch::Receiver<u64>,
    counters: Arc<Counters>,
    tap: Option<Arc<dyn Tap>>,
}

impl Way {
    fn heard(&self, connection: u64, side: Side, bytes: &[u8]) {
        if let Some(tap) = &self.tap {
            tap.heard(connection, side, bytes);
        }
    }
}

/// Until the proxy is dropped.
async fn serve(port: u16, mut way: Way) {
    let mut numbers = 0..;
    loop {
        if way.rules.wait_for(|rules| !rules.refuse).await.is_err() {
            return;
        }
        let listener = bind(port).await;
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    if let (Ok((client, _)), Some(number)) = (accepted, numbers.next()) {
                        tokio::spawn(connection(number, client, way.clone()));
                    }
                }
                refused = async { way.rules.wait_for(|rules| rules.refuse).await.map(drop) } => {
                    if refused.is_err() {
                        return;
                    }
                    break;
                }
            }
        }
    }
}

async fn bind(port: u16) -> TcpListener {
    let deadline = Instant::now() + BIND_LIMIT;
    loop {
        match TcpListener::bind(("127.0.0.1", port)).await {
            Ok(listener) => return listener,
            Err(error) => assert!(Instant::now() < deadline, "port {port}: {error}"),
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// One connection: a pipe each way. It ends with the first end of any of them, or when it is cut; what was under way
/// then is gone, as on a real link.
async fn connection(number: u64, client: TcpStream, mut way: Way) {
    let born = *way.generation.borrow();
    let cut_after = way.rules.borrow().cut_after;
    let Ok(broker) = TcpStream::connect(("127.0.0.1", way.target)).await else {
        return;
    };
    // What goes out late goes out late because of the rules alone.
    drop((client.set_nodelay(true), broker.set_nodelay(true)));
    let tapped = &way.clone();
    let (from_client, to_client) = client.into_split();
    let (from_broker, to_broker) = broker.into_split();
    let (requests, to_send) = mpsc::channel(PIPE_CHUNKS);
    let (answers, to_answer) = mpsc::channel(PIPE_CHUNKS);
    let rules = || way.rules.clone();
    let heard = |side| move |bytes: &[u8]| tapped.heard(number, side, bytes);
    drop(tokio::select! {
        ended = take_in(from_client, requests, rules(), heard(Side::Client)) => ended,
        ended = take_in(from_broker, answers, rules(), heard(Side::Broker)) => ended,
        ended = send(to_send, to_broker, cut_after, &way.counters) => ended,
        ended = answer(to_answer, to_client, rules(), &way.counters) => ended,
        _ = way.generation.wait_for(|generation| *generation != born) => Ok(()),
    });
}

/// Bytes that are due at some time.
type Chunk = (Instant, Vec<u8>);

/// Reads what comes, and says when it is due on the other side.
async fn take_in(
    mut from: OwnedReadHalf,
    chunks: mpsc::Sender<Chunk>,
    rules: watch::Receiver<Rules>,
    heard: impl Fn(&[u8]),
) -> io::Result<()> {
    let mut free_at = Instant::now();
    loop {
        let mut buffer = vec![0; CHUNK_BYTES];
        let len = from.read(&mut buffer).await?;
        if len == 0 {
            return Ok(());
        }
        buffer.truncate(len);
        heard(&buffer);
        let now = *rules.borrow();
        // A narrow link carries one chunk after the other.
        free_at = free_at.max(Instant::now()) + time_on_the_wire(len, now.bytes_per_second);
        if chunks.send((free_at + now.delay, buffer)).await.is_err() {
            return Ok(());
        }
    }
}

fn time_on_the_wire(bytes: usize, bytes_per_second: Option<u32>) -> Duration {
    let bytes = u32::try_from(bytes).expect("a chunk is small");
    bytes_per_second.map_or(Duration::ZERO, |limit| Duration::from_secs(1) * bytes / limit)
}

/// What the client sends, up to where the connection is to be cut.
async fn send(
    mut chunks: mpsc::Receiver<Chunk>,
    mut to: OwnedWriteHalf,
    cut_after: Option<u64>,
    counters: &Counters,
) -> io::Result<()> {
    let mut left = cut_after.unwrap_or(u64::MAX);
    while let Some((due, chunk)) = chunks.recv().await {
        sleep_until(due).await;
        let len = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
        to.write_all(&chunk[..len]).await?;
        left -= len as u64;
        if left == 0 {
            counters.cuts.fetch_add(1, Ordering::Relaxed);
            break;
        }
    }
    Ok(())
}

/// What the broker answers, unless it is swallowed.
async fn answer(
    mut chunks: mpsc::Receiver<Chunk>,
    mut to: OwnedWriteHalf,
    rules: watch::Receiver<Rules>,
    counters: &Counters,
) -> io::Result<()> {
    let mut silent = false;
    while let Some((due, chunk)) = chunks.recv().await {
        sleep_until(due).await;
        silent |= rules.borrow().swallow_answers;
        if silent {
            counters
                .swallowed_bytes
                .fetch_add(chunk.len() as u64, Ordering::Relaxed);
        } else {
            to.write_all(&chunk).await?;
        }
    }
    Ok(())
}
