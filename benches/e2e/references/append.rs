//! Raw appends: a block at the end of a file, and `fdatasync`. What the disk gives to somebody who writes one message's worth or a
//! large group at a time.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::child;
use crate::support::scratch::Scratch;

/// One page, and what a full group of small messages takes.
pub const BLOCKS: [usize; 2] = [4 * 1024, 64 * 1024];
/// Long enough for some thousand syncs of a disk, and some dozens of a card.
const FOR: Duration = Duration::from_secs(1);

/// Appends of `block` bytes a second.
pub fn rate(block: usize) -> f64 {
    let folder = Scratch::new("append");
    let case = json!({ "role": "append", "folder": folder.path(), "block": block });
    child::run(&case)["per_second"].as_f64().expect("a number")
}

/// The process from inside.
pub fn run(folder: &Path, case: &Value) -> Value {
    let block = vec![0x5a; usize::try_from(case["block"].as_u64().expect("a number")).expect("a small one")];
    let mut file = File::create(folder.join("appended")).expect("the folder is writable");
    let began = Instant::now();
    let mut appends = 0_u32;
    while began.elapsed() < FOR {
        file.write_all(&block).expect("the disk has room");
        file.sync_data().expect("the disk works");
        appends += 1;
    }
    json!({ "per_second": f64::from(appends) / began.elapsed().as_secs_f64() })
}
