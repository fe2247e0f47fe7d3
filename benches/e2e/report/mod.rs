//! What a run says: tables for people, JSON for programs, pictures for the documents, and which goals were met.

pub mod goals;
pub mod table;

use std::path::PathBuf;

use serde_json::Value;

use crate::support::plots::folder;

/// Writes the whole result; where to.
pub fn write(result: &Value) -> PathBuf {
    let path = folder().join("e2e.json");
    let text = serde_json::to_string_pretty(result).expect("plain data");
    std::fs::write(&path, text + "\n").expect("the target folder is writable");
    path
}
