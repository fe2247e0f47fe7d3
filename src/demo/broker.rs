//! An MQTT broker in this process, on loopback.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rumqttd::{Config, ConnectionSettings, RouterConfig, ServerSettings};

use crate::demo::DemoError;

/// Messages without an acknowledgement that rumqttd sends to one client (its own constant).
pub(super) const MAX_INFLIGHT: u16 = 100;
/// A port that was free a moment ago can be taken.
const ATTEMPTS: u32 = 5;
/// Loopback, and nothing but a thread to start: far more than it needs.
const START_LIMIT: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Largest packet, bytes: what the pipeline forwards by default.
const MAX_PACKET: usize = 1024 * 1024;
/// What the broker keeps of one topic filter, in memory: pieces of this size, bytes, …
const SEGMENT_BYTES: usize = 256 * 1024;
/// … and so many: 2 MiB are minutes of readings, and the pipeline takes each within milliseconds.
const SEGMENTS: usize = 8;

/// The broker. It has no way to be stopped; it ends with the process.
#[derive(Debug)]
pub(super) struct Broker {
    address: SocketAddr,
}

impl Broker {
    /// Starts it on a free port and waits until it listens.
    pub(super) fn start() -> Result<Self, DemoError> {
        for _ in 0..ATTEMPTS {
            let address = free_address()?;
            let thread = spawn(address)?;
            if listens(address, &thread) {
                return Ok(Self { address });
            }
        }
        Err(DemoError::Broker)
    }

    /// Where it listens.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }
}

fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// The thread ends only when the broker cannot listen.
fn spawn(address: SocketAddr) -> std::io::Result<JoinHandle<()>> {
    let mut broker = rumqttd::Broker::new(settings(address));
    std::thread::Builder::new()
        .name("MQTT broker".to_owned())
        .spawn(move || {
            if let Err(error) = broker.start() {
                tracing::warn!(%error, "MQTT broker");
            }
        })
}

fn listens(address: SocketAddr, thread: &JoinHandle<()>) -> bool {
    let deadline = Instant::now() + START_LIMIT;
    while !thread.is_finished() && Instant::now() < deadline {
        if TcpStream::connect_timeout(&address, START_LIMIT).is_ok() {
            return !thread.is_finished();
        }
        std::thread::park_timeout(LOOK_EVERY);
    }
    false
}

fn settings(address: SocketAddr) -> Config {
    let connections = ConnectionSettings {
        connection_timeout_ms: 5_000,
        max_payload_size: MAX_PACKET,
        max_inflight_count: usize::from(MAX_INFLIGHT),
        auth: None,
        external_auth: None,
        dynamic_filters: false,
    };
    let server = ServerSettings {
        name: "demo".to_owned(),
        listen: address,
        tls: None,
        next_connection_delay_ms: 1,
        connections,
    };
    Config {
        router: RouterConfig {
            max_connections: 100,
            max_outgoing_packet_count: u64::from(MAX_INFLIGHT),
            max_segment_size: SEGMENT_BYTES,
            max_segment_count: SEGMENTS,
            ..RouterConfig::default()
        },
        v4: Some(HashMap::from([("demo".to_owned(), server)])),
        ..Config::default()
    }
}
