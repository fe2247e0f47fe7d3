//! `edgeferry verify`: are all messages in Kafka? Pure: records go in one after the other, findings come out.
//!
//! ```text
//! Kafka ──sink::reader──▶ identify ──Sighting──▶ Judge ──▶ Report
//!                           this store's account ──────────▲
//! ```
//!
//! A message is named by (epoch, lane, sequence), and sequences of a lane have no gaps but those that the store can explain. So it is enough to
//! note which sequences were seen (`seen`): a bit for each where they are scattered, nothing where they are dense. A message that several
//! routes deliver has one name in several topics, therefore repetition is judged by topic, and absence over all of them.
//!
//! What is missing and why (`explain`): still queued, a dead letter, in a hole of the log: these the store knows by sequence. What was
//! filtered, dropped by a limit, purged or put back by hand it knows by number alone. What lies before the beginning of a topic
//! (retention, compaction) nobody knows. What is left over is lost, or, without the store, a gap.

mod explain;
mod identify;
mod judge;
mod recent;
mod report;
mod seen;
mod window;

pub use explain::{Hole, LaneAccount};
pub use identify::{Name, identify};
pub use judge::{Judge, Role, Sighting, TooMuch, Topic};
pub use report::{
    Duplicate, Finding, Known, LaneReport, Misplaced, Report, Settings, StoreAccount, Stretch, TopicReport,
    Verdict,
};
pub use window::{Begin, Place, Window};
