//! Simulated devices: each has a connection of its own and numbers its readings.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, Incoming, MqttOptions, QoS};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How many devices there are.
pub(super) const DEVICES: u32 = 10;
/// Each publishes a reading this often.
pub(super) const EVERY: Duration = Duration::from_millis(100);
/// Publishes until the pipeline hears it: before that, readings would go to nobody.
const DOORBELL: &str = "doorbell";
const RING_EVERY: Duration = Duration::from_secs(1);
const LISTEN_EVERY: Duration = Duration::from_millis(10);
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// Readings that wait for the client's event loop: two seconds of a device.
const REQUESTS: usize = 20;

/// What a device publishes.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Reading {
    device: String,
    /// Starts at 1 and ascends by one per device.
    pub(super) seq: u64,
    temperature_c: f64,
}

impl Reading {
    fn new(device: &str, seq: u64) -> Self {
        // A slow triangle between 20 and 22 degrees.
        let phase = u32::try_from(seq % 40).unwrap_or_default();
        Self {
            device: device.to_owned(),
            seq,
            temperature_c: 20.0 + f64::from(phase.min(40 - phase)) / 10.0,
        }
    }
}

/// The names of all devices.
pub(super) fn names() -> impl Iterator<Item = String> {
    (1..=DEVICES).map(|number| format!("sensor-{number:02}"))
}

/// Whether it is the device that only opens the way.
pub(super) fn is_doorbell(device: &[u8]) -> bool {
    device == DOORBELL.as_bytes()
}

/// Where a device publishes.
pub(super) fn topic(device: &str) -> String {
    format!("devices/{device}/telemetry")
}

/// All devices, on a thread of their own. Dropping it stops them.
#[derive(Debug)]
pub(super) struct Fleet {
    shared: Arc<Shared>,
    publishing: watch::Sender<bool>,
    stop: CancellationToken,
}

#[derive(Debug, Default)]
struct Shared {
    heard: AtomicBool,
    published: AtomicU64,
    acknowledged: AtomicU64,
}

impl Fleet {
    /// Rings until `heard` says that a message came through; the devices wait for [`Fleet::publish`].
    pub(super) fn start(
        broker: SocketAddr,
        heard: impl Fn() -> bool + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let publishing = watch::Sender::new(false);
        let stop = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let work = live(broker, heard, Arc::clone(&shared), publishing.subscribe());
        let stopping = stop.clone();
        std::thread::Builder::new()
            .name("devices".to_owned())
            .spawn(move || runtime.block_on(stopping.run_until_cancelled(work)))?;
        Ok(Self {
            shared,
            publishing,
            stop,
        })
    }

    /// Whether the way through the pipeline is open.
    pub(super) fn is_heard(&self) -> bool {
        self.shared.heard.load(Ordering::Acquire)
    }

    /// Lets the devices publish, or pause.
    pub(super) fn publish(&self, publishing: bool) {
        self.publishing.send_replace(publishing);
    }

    /// Readings published so far.
    pub(super) fn published(&self) -> u64 {
        self.shared.published.load(Ordering::Relaxed)
    }

    /// Readings that the MQTT broker has acknowledged to the devices.
    pub(super) fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Ends all devices.
    pub(super) fn stop(self) {
        drop(self);
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn live(
    broker: SocketAddr,
    heard: impl Fn() -> bool,
    shared: Arc<Shared>,
    publishing: watch::Receiver<bool>,
) {
    ring(broker, heard).await;
    shared.heard.store(true, Ordering::Release);
    let mut devices = tokio::task::JoinSet::new();
    for (name, number) in names().zip(0..DEVICES) {
        // Spread evenly over the interval.
        let first = Instant::now() + EVERY * number / DEVICES;
        devices.spawn(device(
            broker,
            name,
            first,
            Arc::clone(&shared),
            publishing.clone(),
        ));
    }
    while devices.join_next().await.is_some() {}
}

async fn ring(broker: SocketAddr, heard: impl Fn() -> bool) {
    let (client, events) = connect(broker, DOORBELL);
    let listening = tokio::spawn(listen(events, Arc::default()));
    while client
        .publish(topic(DOORBELL), QoS::AtLeastOnce, false, "ring")
        .await
        .is_ok()
    {
        let answer = async {
            while !heard() {
                sleep(LISTEN_EVERY).await;
            }
        };
        if timeout(RING_EVERY, answer).await.is_ok() {
            break;
        }
    }
    listening.abort();
}

async fn device(
    broker: SocketAddr,
    name: String,
    first: Instant,
    shared: Arc<Shared>,
    publishing: watch::Receiver<bool>,
) {
    let (client, events) = connect(broker, &name);
    tokio::spawn(listen(events, Arc::clone(&shared)));
    let topic = topic(&name);
    let mut ticks = interval_at(first, EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut seq = 0;
    loop {
        ticks.tick().await;
        if !*publishing.borrow() {
            continue;
        }
        seq += 1;
        let Ok(payload) = serde_json::to_vec(&Reading::new(&name, seq)) else {
            return;
        };
        // Counted first: no reading can be in Kafka that is not counted.
        shared.published.fetch_add(1, Ordering::Relaxed);
        let published = client.publish(&topic, QoS::AtLeastOnce, false, payload);
        if published.await.is_err() {
            return;
        }
    }
}

fn connect(broker: SocketAddr, name: &str) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new(name, broker.ip().to_string(), broker.port());
    options.set_keep_alive(Duration::from_secs(10));
    AsyncClient::new(options, REQUESTS)
}

/// Moves the client's traffic and counts acknowledgements.
async fn listen(mut events: EventLoop, shared: Arc<Shared>) {
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Incoming::PubAck(_))) => {
                shared.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Ok(_) => {}
            Err(_) => sleep(RETRY_AFTER).await,
        }
    }
}
