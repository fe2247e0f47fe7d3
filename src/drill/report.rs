//! The result of a drill, for people and for machines (docs/drill.md).

use serde::Serialize;

use super::judge::{Finding, Row};

/// Version of the JSON: a field that is there keeps its name and meaning within it.
pub(super) const VERSION: u32 = 1;

/// What a drill shows, and what it cannot.
pub(super) const CLAIMS: &str = "\
Kafka was librdkafka's mock cluster, which checks no sequence numbers: this says nothing about order and exactly-once.
The disk was full for the daemon's files alone (a limit of their size), and no power was cut: docs/drill.md says what that shows.";

/// The result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Report {
    pub(super) version: u32,
    pub(super) edgeferry: String,
    pub(super) passed: bool,
    pub(super) seed: u64,
    /// As it was asked for.
    pub(super) seconds: u64,
    pub(super) published: u64,
    /// Times that the daemon was started, and killed with SIGKILL.
    pub(super) starts: u32,
    pub(super) kills: u32,
    pub(super) acknowledged_on_full_disk: u64,
    pub(super) published_on_full_disk: u64,
    pub(super) acknowledged_while_refused: u64,
    pub(super) stored_while_refused: u64,
    pub(super) repeated_after_late_answers: u64,
    pub(super) lanes: Vec<Row>,
    pub(super) findings: Vec<Finding>,
    /// What was left out, and what could not be tried.
    pub(super) notes: Vec<String>,
    /// The scratch directory, when it was kept.
    pub(super) scratch: Option<String>,
    pub(super) claims: &'static str,
}
