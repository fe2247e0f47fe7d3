//! The state of the whole daemon at one moment, as everybody gets it who looks: the terminal, the page, the metrics, the
//! service manager, and whoever reads `/api/status` or the topic of `[status]`.
//!
//! One type, so that no two of them can say different things. It is plain data and goes through JSON in both directions;
//! docs/status.md describes it. Fields may be added; one that is there keeps its name and meaning within a [`VERSION`].
//!
//! Counters are totals since the store was made, unless they say "since the start". Times are Unix milliseconds of the gateway's
//! clock, sizes are bytes, durations are seconds.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::link::Link;

/// Version of the JSON form.
pub const VERSION: u32 = 1;

/// One look at everything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// [`VERSION`] of whoever wrote it.
    pub version: u32,
    /// Version of edgeferry.
    pub edgeferry: String,
    /// Gateway id.
    pub gateway: String,
    /// Store epoch.
    pub epoch: String,
    /// `at-least-once` or `exactly-once`
    pub delivery: String,
    /// When this was taken.
    pub unix_ms: i64,
    /// Whether the clock is right; `None` where nothing on the machine says so either way.
    #[serde(default)]
    pub is_clock_synchronised: Option<bool>,
    /// Since the start of the process, seconds.
    pub uptime_s: u64,
    /// What it comes to.
    pub health: Health,
    /// All lanes that run.
    pub lanes: Vec<Lane>,
    /// Where the store is.
    pub disk: Disk,
    /// Every certificate that the configuration names.
    pub certificates: Vec<Certificate>,
    /// The last warnings and errors, newest first, at most [`EVENTS_MAX`].
    pub events: Vec<Event>,
    /// Why dead letters are not forwarded to their topic at the moment; they wait here.
    pub not_forwarded: Option<String>,
    /// The main thread, which serves all MQTT connections, has given no sign of life for so long, seconds: it hangs. `None` while
    /// it goes round.
    #[serde(default)]
    pub stalled_s: Option<u64>,
}

/// Events kept at most: what fits on a page.
pub const EVENTS_MAX: usize = 50;

/// The answer to the operator's one question: is my data safe, and if not, what do I do?
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Health {
    /// The configuration works on all links, everything can be stored, and what should move does. A link that is merely away is
    /// no reason to be unready. A lane that a reload exchanges is as ready as it was before: its messages stay with the MQTT
    /// broker for these seconds. Where no lane runs nothing is ready.
    pub is_ready: bool,
    /// Every thread goes round, and what should move does: what the watchdog of the service manager is fed by.
    #[serde(default)]
    pub is_live: bool,
    /// Messages wait because Kafka is away; they are safe.
    pub is_buffering: bool,
    /// How it stands, for a colour.
    #[serde(default)]
    pub level: Grade,
    /// The answer in one sentence, to be shown as it is.
    #[serde(default)]
    pub heading: String,
    /// What belongs to it: sentences, to be shown as they are. May be empty.
    #[serde(default)]
    pub more: String,
    /// The same answer in one line, for a terminal.
    pub summary: String,
    /// What a person should do, the most urgent first. Empty when there is nothing.
    pub advice: Vec<Advice>,
    /// A changed configuration that a reload refused: the one before it runs, and a restart would not start.
    #[serde(default)]
    pub not_applied: Option<NotApplied>,
}

/// How the whole stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// All is well.
    Ok,
    /// Should be looked at, or is about to pass. Also that of a daemon which does not say.
    #[default]
    Warn,
    /// Messages are lost, or nothing moves until somebody acts.
    Bad,
}

/// Most mistakes of a file that a [`NotApplied`] has: it goes with every look to everybody who looks.
pub const MISTAKES_MAX: usize = 10;

/// A configuration file that was not applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotApplied {
    /// The file.
    pub file: String,
    /// When a reload refused it.
    pub unix_ms: i64,
    /// Why: where something is wrong and what kind of mistake it is, at most [`MISTAKES_MAX`]. What stands in the file is not
    /// quoted: it may be a secret in a wrong place.
    pub why: Vec<String>,
    /// How many mistakes there are beside those.
    #[serde(default)]
    pub more: u64,
}

impl NotApplied {
    /// What a person should do about it.
    #[must_use]
    pub fn advice(&self) -> Advice {
        let others = self.why.len().saturating_sub(1) as u64;
        let first = self.why.first().map_or("", String::as_str);
        let others = match others.saturating_add(self.more) {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        Advice {
            level: Level::Warning,
            what: format!("{} is not applied: {first}{others}", self.file),
            todo: "`edgeferry check` says what is wrong: put it right and reload; until then the configuration from before it runs".to_owned(),
        }
    }
}

/// Something for a person to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    /// How urgent.
    pub level: Level,
    /// What is the matter.
    pub what: String,
    /// What to do.
    pub todo: String,
}

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Needs a person: messages are lost, or nothing moves until then.
    Error,
    /// Should be looked at.
    Warning,
}

/// One lane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lane {
    /// Its name.
    pub name: String,
    /// No route uses it: it runs until it is empty.
    pub is_leaving: bool,
    /// A reload exchanges it at the moment: all else here is from before that, seconds ago.
    #[serde(default)]
    pub is_reloading: bool,
    /// It hangs: a thread of it gave no sign of life, or messages wait in front of a link that works and none went, for so long,
    /// seconds. The watchdog of the service manager starves by the same. `None` while it moves, or has no reason to.
    #[serde(default)]
    pub stalled_s: Option<u64>,
    /// Its connections, in file order.
    pub brokers: Vec<Broker>,
    /// The link to Kafka.
    pub kafka: Link,
    /// For how long it has not been up, seconds, as far as this process has seen. `None` while it is.
    #[serde(default)]
    pub kafka_away_s: Option<u64>,
    /// Why delivery is held by something on this machine.
    pub held: Option<String>,
    /// What became of every message.
    pub ledger: Ledger,
    /// The queue.
    pub queue: Queue,
    /// What moves.
    pub flow: Flow,
    /// Dead letters.
    pub letters: Letters,
    /// Its routes, in file order, and what they delivered.
    pub routes: Vec<Tally>,
    /// The devices that deliver most, and those in trouble most lately; bounded.
    pub devices: Devices,
    /// What went wrong lately: an old loss needs nobody any more, a new one does.
    pub last_hour: LastHour,
}

/// Messages in the last hour, or since the start of the process if that was later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LastHour {
    /// Kept as dead letters.
    pub dead_lettered: u64,
    /// Removed by a policy that the configuration chose: a full queue, an age, a full store of dead letters.
    pub dropped: u64,
    /// Lost by damage, queued or as dead letters. What the start of this process found in the queue is among it: it was not known
    /// before.
    pub lost: u64,
    /// How much time these cover, seconds: less than an hour means since the start.
    #[serde(default)]
    pub over_s: u64,
}

/// A connection to an MQTT broker. Counters since the start of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broker {
    /// `[[mqtt]] name`
    pub name: String,
    /// Its state.
    pub link: Link,
    /// PUBLISH packets that came.
    pub received: u64,
    /// Handed to the queue.
    pub stored: u64,
    /// Left with the broker, unacknowledged: the queue was full, or edgeferry was stopping.
    pub put_back: u64,
    /// Connections that ended other than by a stop.
    pub reconnects: u64,
    /// Messages that the broker itself dropped, for any client, by its `$SYS` topics; `None` where it does not say.
    pub dropped_by_broker: Option<u64>,
    /// How many of those in the last hour, or since the start if that was later.
    #[serde(default)]
    pub dropped_last_hour: u64,
    /// For how long the link has not been up, seconds, as far as this process has seen. `None` while it is.
    #[serde(default)]
    pub away_s: Option<u64>,
}

/// `received = delivered + queued + dead_lettered + sum of removed + unaccounted`, and the last is 0.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// Messages that were acknowledged.
    pub received: u64,
    /// Confirmed by Kafka.
    pub delivered: u64,
    /// Durable and none of the others yet.
    pub queued: u64,
    /// Kept as dead letters.
    pub dead_lettered: u64,
    /// Removed, by reason; all reasons, also those with 0.
    pub removed: BTreeMap<String, u64>,
    /// What was received, less all of the above, where `queued` is counted on its own, by the log. 0 unless edgeferry is wrong or a
    /// file that counts was damaged; `None` where it cannot be counted at the moment: then `queued` is what is left over.
    #[serde(default)]
    pub unaccounted: Option<i64>,
    /// Beside the account, since the start: redeliveries of the broker that were recognised and not stored again.
    pub recognised: u64,
    /// Beside the account, since the start: records of messages that had been handed to the Kafka client before.
    pub resent: u64,
    /// Beside the account: messages of `received` that came with QoS 0. What comes so while edgeferry is away the broker drops,
    /// and nobody counts it.
    pub unprotected: u64,
}

/// The queue of a lane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    /// Space taken on disk.
    pub bytes: u64,
    /// `max_bytes`
    pub max_bytes: u64,
    /// The budget is used up.
    pub is_full: bool,
    /// Why nothing can be stored at the moment.
    pub failure: Option<String>,
    /// Arrival of the oldest message that waits.
    pub oldest_unix_ms: Option<i64>,
    /// How long it has waited, seconds; `None` when nothing waits, and when it is not known.
    pub age_s: Option<f64>,
    /// Messages wait, and how long the oldest has is not known: the disk was not asked yet, or it came in another boot and one of
    /// the two times is not known to be right. It may be old.
    #[serde(default)]
    pub is_age_unknown: bool,
    /// Time between two groups now, seconds.
    pub commit_interval_s: f64,
}

/// What moves, over the last seconds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Flow {
    /// Messages stored per second.
    pub in_per_s: f64,
    /// Messages delivered per second.
    pub out_per_s: f64,
    /// Seconds until nothing waits, if both rates stay; `None` when the backlog does not shrink. What is merely on its way, less
    /// than a minute old behind a link that works, is no backlog: 0.
    pub drained_in_s: Option<f64>,
    /// Times that everything behind the cursor was sent again, since the start.
    pub rewinds: u64,
    /// `max_rate` holds messages back.
    pub is_limited: bool,
}

/// The dead letters of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Letters {
    /// That are there.
    pub count: u64,
    /// Space taken on disk.
    pub bytes: u64,
    /// Removed by `on_full = "drop-oldest"`.
    pub dropped: u64,
    /// Lost by damage.
    pub lost: u64,
}

/// What one route or device had, since the start of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Name of the route (`FROM -> TOPIC`); or device: the Kafka key, of a dead letter without one the MQTT topic.
    pub name: String,
    /// Records confirmed by Kafka. Of a device at least so many: exact up to 256 devices, see docs/status.md.
    pub delivered: u64,
    /// Messages kept as dead letters.
    pub dead_lettered: u64,
    /// The last trouble, if there was any.
    pub trouble: Option<Trouble>,
}

/// When something went wrong last, and what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// When.
    pub unix_ms: i64,
    /// What.
    pub why: String,
}

/// Devices, bounded. Counters since the start of the process.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Devices {
    /// The busiest first.
    pub busiest: Vec<Tally>,
    /// The most recently troubled first.
    pub troubled: Vec<Tally>,
    /// Key skew: what share of all records the busiest device has, 0 to 1. `None` before the first record.
    pub busiest_share: Option<f64>,
}

/// The file system of the store, and what was written to it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Disk {
    /// `data_dir`
    pub path: String,
    /// Free for edgeferry; `None` when the system does not say.
    pub free_bytes: Option<u64>,
    /// Size of the file system.
    pub total_bytes: Option<u64>,
    /// Written since the start of the process.
    pub written_bytes: u64,
    /// Written in the last 24 hours, or since the start of the process if that was later: nobody counted before.
    pub written_last_day_bytes: u64,
    /// How much time those cover, seconds: less than a day means since the start.
    #[serde(default)]
    pub written_last_day_over_s: u64,
    /// What a day would take at the rate of the last ten minutes.
    pub projected_per_day_bytes: u64,
    /// Bytes written for each byte of payload.
    pub written_per_payload_byte: Option<f64>,
    /// The largest `min_free_bytes` of all lanes: with less free than that nothing is stored.
    pub min_free_bytes: u64,
    /// The smallest `flash_budget` of all lanes.
    pub budget_per_day_bytes: Option<u64>,
}

/// A certificate that the configuration names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Where it is used: `mqtt local`, `kafka`.
    pub of: String,
    /// The setting that names it.
    pub setting: String,
    /// The file.
    pub file: String,
    /// When it ends: of several in the file, the first that does. `None` when it cannot be read.
    pub not_after_unix_ms: Option<i64>,
    /// Why it cannot be read.
    pub failure: Option<String>,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When it was said last.
    pub unix_ms: i64,
    /// How bad.
    pub level: Level,
    /// What was said, with its fields.
    pub text: String,
    /// How often, since the start.
    pub count: u64,
    /// What to do about it, in plain words.
    pub advice: Option<String>,
}

/// Takes looks. Cheap enough for once a second; never blocks for long.
#[derive(Clone)]
pub struct Look(Arc<dyn Fn() -> State + Send + Sync>);

impl Look {
    /// By this.
    pub fn new(take: impl Fn() -> State + Send + Sync + 'static) -> Self {
        Self(Arc::new(take))
    }

    /// The state now.
    #[must_use]
    pub fn take(&self) -> State {
        (self.0)()
    }
}

impl fmt::Debug for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Look")
    }
}

mod health;
mod line;
#[cfg(test)]
pub(crate) mod sample;
mod verdict;
