//! What happens to the three brokers and to the ways to them: one broker at a time, so that two have what counts.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::{choose, pass};
use crate::support::cluster::{Cluster, GROUPS, NODES, TRANSACTIONS};
use crate::support::proxy::Rules;
use crate::support::seed::Seed;

/// How long a broker is away, milliseconds: longer than it takes to notice and to elect, most of the time.
const AWAY_MS: Range<u64> = 1_000..8_000;
/// How long all brokers are there before the next one goes, milliseconds.
const TOGETHER_MS: Range<u64> = 200..3_000;
/// What a slow way adds, milliseconds, each way.
const DELAY_MS: Range<u64> = 50..500;
/// What a slow way carries.
const SLOW_BYTES_PER_SECOND: u32 = 64 * 1024;

/// How often, by broker.
#[derive(Debug, Default)]
pub struct Done {
    pub kills: [u32; NODES],
    pub stops: [u32; NODES],
    pub pauses: [u32; NODES],
    /// The way to it was slow.
    pub slow: [u32; NODES],
    /// The way to it was cut and stayed closed.
    pub closed: [u32; NODES],
    /// What it answered arrived nowhere.
    pub silent: [u32; NODES],
    /// Changes of leaders that were seen: of the topic's partitions, and of the coordinators.
    pub elections: u32,
    pub coordinators: u32,
}

/// Until `end`; all are there and in sync afterwards, and nothing is in the way to them.
pub fn torment(cluster: &mut Cluster, topic: &str, seed: &mut Seed, end: Instant) -> Done {
    let mut done = Done::default();
    while Instant::now() < end {
        let node = choose(seed, &[1; NODES]);
        let before = (cluster.leaders(topic), coordinators(cluster));
        strike(cluster, node, seed, &mut done);
        cluster.until_in_sync();
        done.elections += changes(&before.0, &cluster.leaders(topic));
        done.coordinators += changes(&before.1, &coordinators(cluster));
        // It leads again what is its own, so that its end means something the next time too.
        let leaders = cluster.leaders(topic);
        cluster.elect_preferred(topic);
        done.elections += changes(&leaders, &cluster.leaders(topic));
        pass("all brokers are there", seed, TOGETHER_MS);
    }
    done
}

fn strike(cluster: &mut Cluster, node: usize, seed: &mut Seed, done: &mut Done) {
    let kind = choose(seed, &[6, 2, 2, 2, 2, 2]);
    let (count, what) = match kind {
        0 => (&mut done.kills, "a broker is killed"),
        1 => (&mut done.stops, "a broker is stopped"),
        2 => (&mut done.pauses, "a broker stands still"),
        3 => (&mut done.slow, "the way to a broker is slow"),
        4 => (&mut done.closed, "the way to a broker is closed"),
        _ => (&mut done.silent, "the answers of a broker are swallowed"),
    };
    count[node] += 1;
    match kind {
        0 => cluster.node(node).kill(),
        1 => cluster.node(node).stop(),
        2 => cluster.node(node).pause(),
        3 => cluster.proxy(node).set(Rules {
            delay: Duration::from_millis(seed.between(DELAY_MS.start, DELAY_MS.end)),
            bytes_per_second: Some(SLOW_BYTES_PER_SECOND),
            ..Rules::default()
        }),
        4 => cluster.proxy(node).set(Rules {
            refuse: true,
            ..Rules::default()
        }),
        _ => cluster.proxy(node).set(Rules {
            swallow_answers: true,
            ..Rules::default()
        }),
    }
    pass(what, seed, AWAY_MS);
    match kind {
        0 | 1 => cluster.restart(&[node]),
        2 => cluster.node(node).resume(),
        _ => cluster.proxy(node).clear(),
    }
}

/// Leaders of the coordinators' topics; without transactions nobody has made those.
fn coordinators(cluster: &Cluster) -> Vec<Option<usize>> {
    let topics = [TRANSACTIONS, GROUPS];
    topics.iter().flat_map(|topic| cluster.leaders(topic)).collect()
}

fn changes(before: &[Option<usize>], after: &[Option<usize>]) -> u32 {
    let changed = before.iter().zip(after).filter(|(before, after)| before != after);
    u32::try_from(changed.count()).expect("few partitions")
}
