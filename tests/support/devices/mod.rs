//! Devices: they publish at QoS 1, number what they publish, and remember what the broker acknowledged.

mod publisher;
pub mod sent;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::mosquitto::Mosquitto;
use super::{payload, wait};
use publisher::Publisher;
use sent::Sent;

/// What a fleet does.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Names are this prefix and a number from 0.
    pub prefix: &'static str,
    /// How many devices.
    pub devices: usize,
    /// Over how many connections they are spread; one device stays on one connection.
    pub connections: usize,
    /// Messages in all; `None` means until [`Devices::finish`].
    pub messages: Option<u64>,
    /// Messages per second in all; `None` means as fast as the broker acknowledges.
    pub rate: Option<u32>,
    /// Bytes of one payload.
    pub bytes: usize,
    /// Makes it of its device, its number, and its bytes: [`payload::payload`], or what [`payload::is_sent`] knows too.
    pub contents: fn(&str, u64, usize) -> Vec<u8>,
    /// Whether the devices' own sessions outlive their connections.
    pub persistent: bool,
    /// MQTT topic with `{device}` and `{seq}`.
    pub topic: &'static str,
}

impl Default for Plan {
    /// 20 devices, 400 messages per second until told to finish.
    fn default() -> Self {
        Self {
            prefix: "d",
            devices: 20,
            connections: 4,
            messages: None,
            rate: Some(400),
            bytes: payload::USUAL_BYTES,
            contents: payload::payload,
            persistent: false,
            topic: sent::TOPIC,
        }
    }
}

/// A fleet at work.
#[derive(Debug)]
pub struct Devices {
    threads: Vec<JoinHandle<Sent>>,
    finish: Arc<AtomicBool>,
    acked: Arc<AtomicU64>,
}

impl Devices {
    /// Lets a fleet publish.
    pub fn start(mosquitto: &Mosquitto, plan: &Plan) -> Self {
        assert!(
            plan.devices >= plan.connections,
            "every connection needs a device"
        );
        let finish = Arc::new(AtomicBool::new(false));
        let acked = Arc::new(AtomicU64::new(0));
        let threads = (0..plan.connections)
            .map(|index| {
                let publisher = Publisher::new(
                    mosquitto.port(),
                    plan,
                    index,
                    Arc::clone(&finish),
                    Arc::clone(&acked),
                );
                std::thread::spawn(move || publisher.run())
            })
            .collect();
        Self {
            threads,
            finish,
            acked,
        }
    }

    /// Messages acknowledged so far.
    pub fn acked(&self) -> u64 {
        self.acked.load(Ordering::Relaxed)
    }

    /// Waits until the broker has acknowledged `count` messages more.
    pub fn until_acked(&self, count: u64, limit: Duration) {
        let goal = self.acked() + count;
        let what = format!("{count} more messages are acknowledged to the devices");
        wait::until(&what, limit, || (self.acked() >= goal).then_some(()));
    }

    /// Publishes no more, waits until all that was published is acknowledged, and tells what that is. With
    /// [`Plan::messages`] it waits until all of them are.
    pub fn finish(mut self, limit: Duration) -> Sent {
        self.finish.store(true, Ordering::Relaxed);
        wait::until(
            "the broker has acknowledged everything to the devices",
            limit,
            || self.threads.iter().all(JoinHandle::is_finished).then_some(()),
        );
        let mut all = Sent::new();
        for thread in std::mem::take(&mut self.threads) {
            all.merge(thread.join().expect("publishers do not panic"));
        }
        all
    }
}

impl Drop for Devices {
    /// A failed test does not wait for them; they end with the process at the latest.
    fn drop(&mut self) {
        self.finish.store(true, Ordering::Relaxed);
    }
}
