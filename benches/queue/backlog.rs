//! What a long backlog costs: memory while it is written, opened, read and drained; time to open; space left behind.

use std::path::Path;
use std::time::Instant;

use edgeferry::queue::Config;
use serde_json::{Value, json};

use crate::lane::{Lane, Load};
use crate::measure::{Start, disk, heap, peak_rss};

const MESSAGES: u64 = 20_000_000;
/// Messages in a group while the backlog is written: what gathers on a busy gateway.
const GROUP: u64 = 1_000;
const STEPS: [&str; 5] = ["write", "open", "scan", "drain", "open empty"];

pub fn table(folder: &Path) -> Value {
    let messages =
        std::env::var("EDGEFERRY_BACKLOG").map_or(MESSAGES, |text| text.parse().expect("a number"));
    println!("{messages} messages of 200 bytes, JSON, queued");
    println!(
        "{:>12} {:>10} {:>10} {:>14} {:>14} {:>12} {:>12}",
        "", "open, s", "all, s", "peak RSS, MB", "heap, MB", "disk, MB", "written/byte"
    );
    let rows = STEPS.map(|step| {
        let row = crate::child(&json!({"what": step, "folder": folder, "messages": messages}));
        let float = |key: &str| row[key].as_f64().unwrap_or(f64::NAN);
        println!(
            "{step:>12} {:>10.3} {:>10.1} {:>14.1} {:>14.1} {:>12.1} {:>12.2}",
            float("open_s"),
            float("all_s"),
            float("peak_rss") / 1e6,
            float("heap") / 1e6,
            float("disk") / 1e6,
            float("written"),
        );
        json!({"step": step, "result": row})
    });
    println!();
    rows.to_vec().into()
}

/// One step, in its own process.
pub fn measure(case: &Value) -> Value {
    let folder = Path::new(case["folder"].as_str().expect("a folder")).join("backlog");
    let messages = case["messages"].as_u64().expect("a number");
    std::fs::create_dir_all(&folder).expect("makes the folder");
    let config = Config {
        max_bytes: 1 << 40,
        ..Config::default()
    };
    let start = Start::now(&folder);
    let opening = Instant::now();
    let mut lane = Lane::open(&folder, &config);
    let open_s = opening.elapsed().as_secs_f64();
    let mut bytes = messages * 200;
    match case["what"].as_str().expect("a step") {
        "write" => bytes = write(&mut lane, messages),
        "scan" => assert_eq!(lane.drain(false), messages),
        "drain" => assert_eq!(lane.drain(true), messages),
        _ => {}
    }
    let heap = heap();
    lane.close();
    let used = start.used(&folder);
    json!({
        "open_s": open_s,
        "all_s": used.seconds,
        "peak_rss": peak_rss(),
        "heap": heap,
        "disk": disk(&folder),
        "written": used.written as f64 / bytes as f64,
    })
}

fn write(lane: &mut Lane, messages: u64) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let mut load = Load::new(false);
    runtime.block_on(async {
        let mut left = messages;
        while left > 0 {
            let group = left.min(GROUP);
            lane.offer(&mut load, group, true).await;
            left -= group;
        }
        lane.durable(&load).await;
    });
    load.bytes
}
