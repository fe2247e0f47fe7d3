//! A table on the terminal.

use std::fmt::Write as _;

/// Rows of words under headings; columns are as wide as they have to be.
#[derive(Debug)]
pub struct Table {
    title: String,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(title: impl Into<String>, headings: &[&str]) -> Self {
        Self {
            title: title.into(),
            rows: vec![headings.iter().map(|heading| (*heading).to_owned()).collect()],
        }
    }

    pub fn row(&mut self, words: impl IntoIterator<Item = String>) {
        self.rows.push(words.into_iter().collect());
    }

    /// The first column to the left, all others to the right.
    pub fn print(&self) {
        println!("\n{}", self.title);
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let words = self.rows.iter().filter_map(|row| row.get(column));
            words.map(|word| word.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (column, word) in row.iter().enumerate() {
                let width = widths[column];
                let written = match column {
                    0 => write!(line, "  {word:<width$}"),
                    _ => write!(line, "  {word:>width$}"),
                };
                written.expect("text can grow");
            }
            println!("{}", line.trim_end());
        }
    }
}
