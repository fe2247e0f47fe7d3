//! What nothing costs.

use std::time::Duration;

use serde_json::{Value, json};

use crate::fleet::Gateway;
use crate::goals::Goals;
use crate::options::Options;
use crate::sample::Rest;
use crate::support::threads::Work;
use crate::support::wait;
use crate::variant::{Parts, VARIANTS, Variant};

/// Until connections, topics and first looks are behind it.
const SETTLE: Duration = Duration::from_secs(15);
const CPU_GOAL_PERCENT: f64 = 0.3;

pub fn table(parts: &Parts, options: &Options, goals: &mut Goals) -> Value {
    let gateways: Vec<(Variant, Gateway)> = VARIANTS
        .iter()
        .map(|variant| (*variant, Gateway::start(*variant, parts)))
        .collect();
    wait::let_pass("what follows a start is done", SETTLE);
    let before: Vec<Work> = gateways
        .iter()
        .map(|(_, gateway)| Work::of(gateway.id()))
        .collect();
    wait::let_pass("nobody publishes", options.idle);
    println!("idle for {:?}, all at the same time", options.idle);
    println!(
        "{:>22} {:>9} {:>11}  wake-ups per second by thread",
        "", "CPU", "wake-ups/s"
    );
    let mut rows = Vec::new();
    for ((variant, gateway), before) in gateways.iter().zip(&before) {
        let rest = Rest::between(before, &Work::of(gateway.id()));
        println!(
            "{:>22} {:>8.3}% {:>11.1}  {}",
            variant.name(),
            rest.cpu_percent,
            rest.wakeups,
            by_thread(&rest)
        );
        if *variant == Variant::Plain {
            goals.note(
                "CPU when idle, percent of a core",
                rest.cpu_percent,
                CPU_GOAL_PERCENT,
            );
        }
        let threads = rest.threads.iter().map(|(name, (wakeups, cpu))| {
            json!({ "name": name, "wakeups_per_second": wakeups, "cpu_percent": cpu })
        });
        rows.push(json!({
            "variant": variant.name(),
            "cpu_percent": rest.cpu_percent,
            "wakeups_per_second": rest.wakeups,
            "threads": threads.collect::<Vec<_>>(),
        }));
    }
    println!();
    for (_, gateway) in gateways {
        gateway.end();
    }
    rows.into()
}

/// Those that wake up, the busiest first.
fn by_thread(rest: &Rest) -> String {
    let mut threads: Vec<_> = rest.threads.iter().collect();
    threads.sort_by(|a, b| b.1.0.total_cmp(&a.1.0));
    let words = threads
        .iter()
        .map(|(name, (wakeups, _))| format!("{name} {wakeups:.1}"));
    words.collect::<Vec<_>>().join(", ")
}
