//! Bytes written for each byte of payload, by rate and commit interval; and commits per second.
//!
//! A cell runs a bounded number of groups, not minutes: the groups that a rate and an interval make are offered one after
//! the other without the time between them. What is written is the same, because nothing in the queue writes by the clock
//! but the cursor (two pages each five seconds). With an interval of 0 a group is what arrives while the one before it is
//! being written; that runs at its real rate.

use std::path::Path;
use std::time::Duration;

use edgeferry::queue::Config;
use serde_json::{Value, json};

use crate::lane::{Lane, Load};
use crate::measure::{Start, peak_rss};

const RATES: [u32; 4] = [10, 100, 1_000, 10_000];
const INTERVALS_MS: [u64; 4] = [0, 10, 100, 1_000];
const GROUPS_MAX: u64 = 4_000;
const PAYLOAD_MAX: u64 = 40_000_000;
/// Cells at their real rate run this long.
const REAL_SECONDS: u64 = 3;
const GROUP_SIZES: [u64; 4] = [1, 10, 100, 1_000];

pub fn table(folder: &Path) -> Value {
    let mut cells = Vec::new();
    for payload in ["json", "random"] {
        println!("bytes written per payload byte, 200-byte {payload} payloads (device in brackets)");
        println!(
            "{:>12} {}",
            "msg/s",
            INTERVALS_MS.map(|ms| format!("{ms:>17} ms")).concat()
        );
        for rate in RATES {
            print!("{rate:>12} ");
            for interval in INTERVALS_MS {
                // One or fewer messages in an interval make groups of one.
                let group = u64::from(rate) * interval / 1000;
                let cell = crate::child(&json!({
                    "what": "wear", "folder": folder, "payload": payload, "rate": rate, "group": group,
                }));
                print!(
                    "{:>20}",
                    format!("{:.2} ({:.2})", number(&cell["written"]), number(&cell["device"]))
                );
                cells.push(
                    json!({"payload": payload, "rate": rate, "commit_interval_ms": interval, "result": cell}),
                );
            }
            println!();
        }
        println!();
    }
    cells.into()
}

pub fn commits(folder: &Path) -> Value {
    println!("groups committed one after the other, JSON");
    println!(
        "{:>20} {:>12} {:>12} {:>16} {:>12}",
        "messages in a group", "groups/s", "messages/s", "CPU µs/message", "RSS MB"
    );
    let rows = GROUP_SIZES.map(|group| {
        let row = crate::child(&json!({
            "what": "wear", "folder": folder, "payload": "json", "rate": 1_000, "group": group,
        }));
        println!(
            "{group:>20} {:>12.0} {:>12.0} {:>16.1} {:>12.1}",
            number(&row["groups_per_second"]),
            number(&row["messages_per_second"]),
            number(&row["cpu_us_per_message"]),
            number(&row["peak_rss"]) / 1e6,
        );
        json!({"group": group, "result": row})
    });
    println!();
    rows.to_vec().into()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

/// One cell, in its own process.
pub fn measure(case: &Value) -> Value {
    let folder = Path::new(case["folder"].as_str().expect("a folder")).join("wear");
    let rate = case["rate"].as_u64().expect("a rate") as u32;
    let group = case["group"].as_u64().expect("a number");
    std::fs::create_dir_all(&folder).expect("makes the folder");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    // Groups that gather by themselves need a rate at which something gathers.
    let real = group == 0 && rate >= 1_000;
    let config = Config {
        commit_interval: if real {
            Duration::ZERO
        } else {
            Duration::from_secs(10)
        },
        ..Config::default()
    };
    let start = Start::now(&folder);
    let mut lane = Lane::open(&folder, &config);
    let mut load = Load::new(case["payload"] == "random");
    let groups = runtime.block_on(async {
        if real {
            pace(&mut lane, &mut load, rate).await
        } else {
            let group = group.max(1);
            let groups = (PAYLOAD_MAX / (200 * group)).clamp(20, GROUPS_MAX);
            for _ in 0..groups {
                lane.offer(&mut load, group, true).await;
                lane.durable(&load).await;
                lane.drain(true);
            }
            groups
        }
    });
    lane.close();
    let used = start.used(&folder);
    std::fs::remove_dir_all(&folder).expect("removes the folder");
    let payload = load.bytes as f64;
    let messages = payload / 200.0;
    json!({
        "written": used.written as f64 / payload,
        "device": used.device.map(|bytes| bytes as f64 / payload),
        "groups": groups,
        "groups_per_second": groups as f64 / used.seconds,
        "messages_per_second": messages / used.seconds,
        "cpu_us_per_message": used.cpu_seconds * 1e6 / messages,
        "peak_rss": peak_rss(),
    })
}

/// Offers at the real rate, in steps of a millisecond or of one message.
async fn pace(lane: &mut Lane, load: &mut Load, rate: u32) -> u64 {
    let per_tick = u64::from(rate) / 1000;
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    for _ in 0..REAL_SECONDS * 1000 {
        ticks.tick().await;
        lane.offer(load, per_tick, false).await;
        lane.drain(true);
    }
    lane.durable(load).await;
    lane.drain(true);
    REAL_SECONDS * 1000
}
