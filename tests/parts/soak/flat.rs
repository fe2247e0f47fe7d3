//! Whether what was looked at is in the end as it was in the beginning.

use super::latency::Minute;
use super::look::Look;
use crate::support::trend::Trend;

/// What a straight line through all looks but the first quarter may rise by: noise of the allocator; a file or a connection that is on its way;
/// two generations of the queue, of 4 MiB each.
const RESIDENT_BYTES: f64 = 3e6;
const FILES: f64 = 3.0;
const THREADS: f64 = 0.5;
const DISK_BYTES: f64 = 2.0 * 4.0 * 1024.0 * 1024.0;
/// In a minute buffers still grow to their sizes.
const RESIDENT_BYTES_SHORT: f64 = 15e6;
/// What the median latency of the last quarter may be, of that of the first.
const LATENCY: f64 = 1.5;

/// A figure of a look or of a minute.
type Of<T> = fn(&T) -> f64;

/// What is not flat, in words. Prints the figures.
pub fn judge(looks: &[Look], minutes: &[Minute], is_short: bool) -> Vec<String> {
    let mut found = Vec::new();
    let resident = if is_short {
        RESIDENT_BYTES_SHORT
    } else {
        RESIDENT_BYTES
    };
    let quantities: [(&str, Of<Look>, f64); 4] = [
        ("resident memory, bytes", |look| look.resident, resident),
        ("open files", |look| look.files, FILES),
        ("threads", |look| look.threads, THREADS),
        ("bytes on disk", |look| look.disk, DISK_BYTES),
    ];
    for (name, value, slack) in quantities {
        let (from, to) = ends(looks, value);
        eprintln!("| {name} | {from:.1} | {to:.1} |");
        if to - from > slack {
            found.push(format!("{name}: from {from} to {to}"));
        }
    }
    let quantities: [(&str, Of<Minute>); 2] = [
        ("latency, median, ms", |minute| minute.p50_ms),
        ("latency, p99, ms", |minute| minute.p99_ms),
    ];
    for (name, value) in quantities {
        let quarter = minutes.len().div_ceil(4);
        let from = median(minutes[..quarter].iter().map(value));
        let to = median(minutes[minutes.len() - quarter..].iter().map(value));
        eprintln!("| {name} | {from:.2} | {to:.2} |");
        if !is_short && to > from * LATENCY {
            found.push(format!("{name}: from {from} to {to}"));
        }
    }
    found
}

/// Where a straight line begins and ends.
fn ends(looks: &[Look], value: Of<Look>) -> (f64, f64) {
    let settled = &looks[looks.len() / 4..];
    let trend = Trend::through(settled.iter().map(|look| (look.seconds, value(look))));
    let [first, .., last] = settled else {
        panic!("there are looks");
    };
    (trend.at(first.seconds), trend.at(last.seconds))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
