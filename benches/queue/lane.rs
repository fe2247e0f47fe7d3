//! An open queue with its writer's thread, fed like a source feeds it.

use std::path::Path;
use std::thread::JoinHandle;

use bytes::Bytes;
use edgeferry::message::{Arrival, Epoch};
use edgeferry::queue::intake::Position;
use edgeferry::queue::{self, Intake, Monitor, Passed, Reader};
use tokio::sync::watch;

use crate::support::arrival;
use crate::support::seed::Seed;
use crate::support::telemetry::Telemetry;

/// Bytes of a random payload: as long as a usual reading.
pub const PAYLOAD_BYTES: usize = 200;
const SEED: u64 = 1;

/// Makes the messages.
pub struct Load {
    telemetry: Telemetry,
    noise: Seed,
    /// Payloads of random bytes in place of readings.
    random: bool,
    made: u64,
    /// Payload bytes made so far.
    pub bytes: u64,
}

impl Load {
    pub fn new(random: bool) -> Self {
        Self {
            telemetry: Telemetry::new(SEED),
            noise: Seed::new(SEED),
            random,
            made: 0,
            bytes: 0,
        }
    }

    fn next(&mut self) -> Arrival {
        self.made += 1;
        let (device, reading) = self.telemetry.next();
        let topic = format!("devices/{device}/telemetry");
        let payload = if self.random {
            let words = (0..PAYLOAD_BYTES / 8).flat_map(|_| self.noise.next().to_le_bytes());
            words.collect::<Bytes>()
        } else {
            reading.into()
        };
        self.bytes += payload.len() as u64;
        arrival::live(self.made, topic, payload, &mut self.noise)
    }
}

/// See the module documentation.
pub struct Lane {
    intake: Intake,
    durable: watch::Receiver<Position>,
    writer: JoinHandle<()>,
    pub reader: Reader,
    pub monitor: Monitor,
}

impl Lane {
    pub fn open(folder: &Path, config: &queue::Config) -> Self {
        let queue = queue::open(folder, Epoch(1), config).expect("opens");
        let intake = queue.door.intake();
        let writer = queue.writer;
        Self {
            durable: intake.durable(),
            intake,
            writer: std::thread::spawn(move || writer.run()),
            reader: queue.reader,
            monitor: queue.monitor,
        }
    }

    /// Offers so many messages; the last one says whether the group ends with it.
    pub async fn offer(&self, load: &mut Load, count: u64, commit_now: bool) {
        for number in 1..=count {
            let arrival = load.next();
            let room = self.intake.reserve(arrival.cost()).await.expect("is open");
            self.intake
                .offer(arrival, room, commit_now && number == count)
                .expect("is open");
        }
    }

    /// Waits until all that was offered is durable.
    pub async fn durable(&mut self, load: &Load) {
        let all = load.made;
        self.durable
            .wait_for(|durable| *durable >= all)
            .await
            .expect("is open");
    }

    /// Reads what is there, and confirms it when `confirm` is set. How many messages it was.
    pub fn drain(&mut self, confirm: bool) -> u64 {
        let (mut count, mut waiting) = (0, 0);
        while let Some(stored) = self.reader.read_next().expect("reads") {
            count += 1;
            waiting += 1;
            if confirm && waiting == 500 {
                self.confirm(stored.seq, waiting);
                waiting = 0;
            }
        }
        if confirm && waiting > 0 {
            self.confirm(self.monitor.last(), waiting);
        }
        count
    }

    fn confirm(&mut self, through: edgeferry::message::Seq, delivered: u64) {
        let passed = Passed {
            delivered,
            ..Passed::default()
        };
        self.reader.advance(through, passed).expect("advances");
    }

    pub fn close(self) {
        drop(self.intake);
        self.writer.join().expect("the writer ends");
    }
}
