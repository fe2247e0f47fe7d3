//! Figures of several rounds: the middle one, and how far they lie apart.

use std::fmt;

use serde_json::{Value, json};

/// See the module documentation.
#[derive(Debug, Clone, Default)]
pub struct Figures(Vec<f64>);

impl Figures {
    pub fn add(&mut self, figure: f64) {
        self.0.push(figure);
        self.0.sort_by(f64::total_cmp);
    }

    /// The middle one; the upper one of two.
    pub fn median(&self) -> f64 {
        self.0.get(self.0.len() / 2).copied().unwrap_or(f64::NAN)
    }

    pub fn least(&self) -> f64 {
        self.0.first().copied().unwrap_or(f64::NAN)
    }

    pub fn most(&self) -> f64 {
        self.0.last().copied().unwrap_or(f64::NAN)
    }

    pub fn json(&self) -> Value {
        json!({ "median": self.median(), "all": self.0 })
    }
}

impl FromIterator<f64> for Figures {
    fn from_iter<I: IntoIterator<Item = f64>>(figures: I) -> Self {
        let mut all = Self::default();
        for figure in figures {
            all.add(figure);
        }
        all
    }
}

impl fmt::Display for Figures {
    /// As many digits as were asked for, three significant ones without; the spread behind it when there is any.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or_else(|| digits(self.median()));
        write!(f, "{:.digits$}", self.median())?;
        if self.0.len() > 1 {
            write!(f, " ({:.digits$}–{:.digits$})", self.least(), self.most())?;
        }
        Ok(())
    }
}

/// Digits behind the point that make three significant ones.
fn digits(figure: f64) -> usize {
    match figure.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    }
}
