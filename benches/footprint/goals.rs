//! What was promised, and what was found.

use serde_json::{Value, json};

/// Figures with the number that none of them may exceed.
#[derive(Debug, Default)]
pub struct Goals(Vec<(String, f64, f64)>);

impl Goals {
    /// Notes a figure and its goal.
    pub fn note(&mut self, what: &str, found: f64, goal: f64) {
        self.0.push((what.into(), found, goal));
    }

    /// The table, and the same for programs. A missed goal is said and fails nothing: the machine has a part in it.
    pub fn print(&self) -> Value {
        println!("goals (of one lane without TLS, on this machine)");
        for (what, found, goal) in &self.0 {
            let word = if found <= goal { "met" } else { "MISSED" };
            println!("  {what:<48} {found:>10.2}  at most {goal:>7.2}  {word}");
        }
        let rows = self.0.iter().map(|(what, found, goal)| {
            json!({ "what": what, "found": found, "goal": goal, "is_met": found <= goal })
        });
        rows.collect::<Vec<_>>().into()
    }
}
