//! What was promised, and what was found.

use serde_json::{Value, json};

use super::table::Table;

/// Figures beside what they should be. A missed goal is said and fails nothing: the machine has a part in it.
#[derive(Debug, Default)]
pub struct Goals(Vec<Goal>);

#[derive(Debug)]
struct Goal {
    what: String,
    found: f64,
    bound: f64,
    is_least: bool,
}

impl Goal {
    fn is_met(&self) -> bool {
        match self.is_least {
            true => self.found >= self.bound,
            false => self.found <= self.bound,
        }
    }
}

impl Goals {
    pub fn at_least(&mut self, what: &str, found: f64, bound: f64) {
        self.note(what, found, bound, true);
    }

    pub fn at_most(&mut self, what: &str, found: f64, bound: f64) {
        self.note(what, found, bound, false);
    }

    fn note(&mut self, what: &str, found: f64, bound: f64, is_least: bool) {
        self.0.push(Goal {
            what: what.into(),
            found,
            bound,
            is_least,
        });
    }

    /// The table, and the same for programs.
    pub fn print(&self) -> Value {
        let mut table = Table::new("goals, on this machine", &["what", "found", "", "goal", ""]);
        for goal in &self.0 {
            let side = if goal.is_least { "at least" } else { "at most" };
            table.row([
                goal.what.clone(),
                format!("{:.2}", goal.found),
                side.into(),
                format!("{:.2}", goal.bound),
                if goal.is_met() { "met" } else { "MISSED" }.into(),
            ]);
        }
        if !self.0.is_empty() {
            table.print();
        }
        let rows = self.0.iter().map(|goal| {
            let side = if goal.is_least { "at_least" } else { "at_most" };
            json!({ "what": goal.what, "found": goal.found, side: goal.bound, "is_met": goal.is_met() })
        });
        rows.collect::<Vec<_>>().into()
    }
}
