//! What a seed decides before its world begins: the configuration, the devices, which faults come and when.

use edgeferry::queue::OnFull;

use crate::chaos::Fault;
use crate::dice::Dice;

/// Faults come in this time, simulated milliseconds. Devices publish as long.
const TIMES: [u64; 4] = [5_000, 20_000, 60_000, 180_000];
/// Faults of one seed at most: with more of them nothing gets through between them.
const FAULTS_MAX: u64 = 24;

/// Events behind which faults come: as many as most seeds have.
const EVENTS: u64 = 500;

/// How a broker gives packet ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// 1 to this, in turn. Real ones go to 65,535; few come round often.
    Cycle(u16),
    /// The smallest that is free.
    Smallest,
}

/// When a fault comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At this simulated millisecond.
    Time(u64),
    /// Behind so many events: most of them come while something is under way, so these meet it more often.
    Event(u64),
}

/// One fault.
#[derive(Debug, Clone, Copy)]
pub struct Planned {
    pub fault: Fault,
    pub at: When,
    /// How long it lasts, where it does.
    pub lasts: u64,
    /// What else its kind needs to be decided.
    pub luck: u64,
}

/// See the module documentation.
#[derive(Debug)]
pub struct Plan {
    pub seed: u64,
    pub exactly_once: bool,
    pub on_full: OnFull,
    /// Room for contents in the queue, bytes.
    pub room: u64,
    /// Of a unit of the store, bytes.
    pub unit_bytes: usize,
    pub brokers: Vec<Ids>,
    pub receive_maximum: u16,
    pub devices: usize,
    /// Messages of each device.
    pub messages: u32,
    /// Whether a device publishes with QoS 0.
    pub has_qos_0: bool,
    /// Of a thousand messages so many are refused by Kafka, or too large.
    pub poison: u64,
    /// Records in a batch of the Kafka client at most.
    pub batch: usize,
    pub partitions: usize,
    /// A topic is made only after so long.
    pub topic_made_at: Option<u64>,
    /// Publishing and faults end.
    pub calm_at: u64,
    pub faults: Vec<Planned>,
}

impl Plan {
    pub fn of(seed: u64) -> Self {
        let mut dice = Dice::of(seed, "plan");
        let calm_at = dice.pick(&TIMES);
        let exactly_once = dice.chance(400);
        let on_full = match dice.between(0, 10) {
            0..7 => OnFull::Backpressure,
            7 => OnFull::DropOldest,
            8 => OnFull::DropNewest,
            _ => OnFull::KeepLatest,
        };
        let brokers = (0..dice.between(1, 3)).map(|_| match dice.chance(700) {
            true => Ids::Cycle(u16::try_from(dice.between(24, 80)).expect("small")),
            false => Ids::Smallest,
        });
        Self {
            seed,
            exactly_once,
            on_full,
            brokers: brokers.collect(),
            room: dice.pick(&[2_000, 20_000, 1 << 26]),
            unit_bytes: dice.pick(&[400, 4_000, 40_000]),
            receive_maximum: dice.pick(&[4, 10, 20]),
            devices: dice.below(5) + 1,
            messages: u32::try_from(dice.between(3, 60)).expect("small"),
            has_qos_0: dice.chance(200),
            poison: dice.pick(&[0, 0, 10, 60]),
            batch: dice.below(8) + 1,
            partitions: dice.below(3) + 1,
            topic_made_at: dice.chance(200).then(|| dice.between(0, calm_at)),
            calm_at,
            faults: faults(&mut dice, calm_at, exactly_once),
        }
    }
}

/// Each seed has a few kinds that come again and again: what goes wrong twice in different states finds more than one of each.
fn faults(dice: &mut Dice, calm_at: u64, exactly_once: bool) -> Vec<Planned> {
    let kinds: Vec<Fault> = Fault::ALL
        .into_iter()
        .filter(|fault| exactly_once || !fault.is_of_transactions())
        .collect();
    let favourites: Vec<Fault> = (0..dice.between(1, 6)).map(|_| dice.pick(&kinds)).collect();
    let count = dice.between(0, FAULTS_MAX);
    (0..count)
        .map(|_| Planned {
            fault: match dice.chance(700) {
                true => dice.pick(&favourites),
                false => dice.pick(&kinds),
            },
            at: match dice.chance(400) {
                true => When::Time(dice.between(0, calm_at)),
                false => When::Event(dice.between(0, EVENTS)),
            },
            lasts: lasts(dice),
            luck: dice.any(),
        })
        .collect()
}

/// From a moment to longer than any pause of the product but one, which is ten minutes.
fn lasts(dice: &mut Dice) -> u64 {
    match dice.between(0, 100) {
        0..40 => dice.between(1, 300),
        40..80 => dice.between(300, 5_000),
        80..98 => dice.between(5_000, 60_000),
        _ => dice.between(60_000, 900_000),
    }
}
