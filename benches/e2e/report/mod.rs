//! What a run says: tables for people, JSON for programs, pictures for the documents, and which goals were met.

pub mod goals;
pub mod plots;
pub mod table;

use std::path::{Path, PathBuf};

use serde_json::Value;

/// Where everything goes that outlasts a run.
pub fn folder() -> PathBuf {
    // Cargo's folder for temporary files lies in the target folder, wherever that is.
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = tmp.parent().expect("it has a parent").join("bench");
    std::fs::create_dir_all(&folder).expect("the target folder is writable");
    folder
}

/// Writes the whole result; where to.
pub fn write(result: &Value) -> PathBuf {
    let path = folder().join("e2e.json");
    let text = serde_json::to_string_pretty(result).expect("plain data");
    std::fs::write(&path, text + "\n").expect("the target folder is writable");
    path
}
