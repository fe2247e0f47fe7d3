//! How much of what can go wrong, at which moments, was tried: seeds alone prove little.

use std::collections::BTreeMap;

use crate::chaos::Fault;

/// What the pipeline is busy with when something happens to it: the first that is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// No process runs.
    Down,
    /// It was asked to stop and has not ended.
    Stopping,
    /// It was started within the last second.
    Starting,
    /// Nothing can be stored.
    StoreFails,
    /// The queue is full.
    Full,
    /// A transaction is open.
    Transaction,
    /// Records are on their way to Kafka.
    UnderWay,
    /// Messages wait in the queue, and Kafka takes none.
    Backlog,
    /// Messages came that are not durable yet.
    Filling,
    /// Nothing is to be done.
    Idle,
}

impl State {
    pub const ALL: [Self; 10] = [
        Self::Down,
        Self::Stopping,
        Self::Starting,
        Self::StoreFails,
        Self::Full,
        Self::Transaction,
        Self::UnderWay,
        Self::Backlog,
        Self::Filling,
        Self::Idle,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Stopping => "stopping",
            Self::Starting => "starting",
            Self::StoreFails => "store fails",
            Self::Full => "full",
            Self::Transaction => "transaction",
            Self::UnderWay => "under way",
            Self::Backlog => "backlog",
            Self::Filling => "filling",
            Self::Idle => "idle",
        }
    }
}

/// Counted over seeds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    faults: BTreeMap<(Fault, State), u64>,
    /// Passes of named points, and of them those at which the process was killed, and the power was cut.
    points: BTreeMap<&'static str, [u64; 3]>,
}

impl Coverage {
    pub fn fault(&mut self, fault: Fault, state: State) {
        *self.faults.entry((fault, state)).or_default() += 1;
    }

    pub fn passed(&mut self, point: &'static str) {
        self.points.entry(point).or_default()[0] += 1;
    }

    pub fn ended_at(&mut self, point: &'static str, is_power_cut: bool) {
        self.points.entry(point).or_default()[1 + usize::from(is_power_cut)] += 1;
    }

    pub fn add(&mut self, other: &Self) {
        for (cell, count) in &other.faults {
            *self.faults.entry(*cell).or_default() += count;
        }
        for (point, counts) in &other.points {
            let sums = self.points.entry(point).or_default();
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += count;
            }
        }
    }

    /// Cells that were reached, and all there are.
    pub fn reached(&self) -> (usize, usize) {
        let all = Fault::ALL.len() * State::ALL.len() - Self::impossible().count();
        (self.faults.len(), all)
    }

    fn impossible() -> impl Iterator<Item = (Fault, State)> {
        let cells = Fault::ALL
            .into_iter()
            .flat_map(|fault| State::ALL.map(|state| (fault, state)));
        cells.filter(|(fault, state)| !fault.is_possible_in(*state))
    }

    fn missing(&self) -> Vec<(Fault, State)> {
        let cells = Fault::ALL
            .into_iter()
            .flat_map(|fault| State::ALL.map(|state| (fault, state)));
        cells
            .filter(|(fault, state)| fault.is_possible_in(*state))
            .filter(|cell| !self.faults.contains_key(cell))
            .collect()
    }

    /// The table, for people.
    pub fn table(&self) -> String {
        let mut lines = Vec::new();
        let head: Vec<String> = State::ALL
            .iter()
            .map(|state| format!("{:>11}", state.name()))
            .collect();
        lines.push(format!("{:<24}{}", "fault \\ pipeline is", head.join(" ")));
        for fault in Fault::ALL {
            let counts = State::ALL.map(|state| match self.faults.get(&(fault, state)) {
                Some(count) => format!("{count:>11}"),
                None if fault.is_possible_in(state) => format!("{:>11}", "NEVER"),
                None => format!("{:>11}", "-"),
            });
            lines.push(format!("{:<24}{}", fault.name(), counts.join(" ")));
        }
        lines.push(format!(
            "{:<24}{:>11} {:>11} {:>11}",
            "point", "passed", "killed at", "power cut"
        ));
        for (point, [passed, killed, cut]) in &self.points {
            lines.push(format!("{point:<24}{passed:>11} {killed:>11} {cut:>11}"));
        }
        let (reached, all) = self.reached();
        let missing: Vec<String> = self
            .missing()
            .iter()
            .map(|(fault, state)| format!("{} while {}", fault.name(), state.name()))
            .collect();
        lines.push(format!(
            "{reached} of {all} pairs of fault and state were reached; never: {}",
            match missing.is_empty() {
                true => "none".to_owned(),
                false => missing.join(", "),
            }
        ));
        lines.join("\n")
    }
}
