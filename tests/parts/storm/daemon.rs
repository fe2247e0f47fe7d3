//! What happens to the daemon.

use std::ops::Range;
use std::time::Instant;

use rustix::process::Signal;

use super::{choose, pass};
use crate::support::daemon::Daemon;
use crate::support::seed::Seed;

/// How long it lives, milliseconds: from a start that is cut short to some seconds of work.
const LIFE_MS: Range<u64> = 50..2_000;
/// How long it stands still, milliseconds.
const STILL_MS: Range<u64> = 100..3_000;

/// How often.
#[derive(Debug, Default)]
pub struct Done {
    pub kills: u32,
    pub stops: u32,
    pub pauses: u32,
}

/// Until `end`; it runs afterwards.
pub fn torment(daemon: &mut Daemon, seed: &mut Seed, end: Instant) -> Done {
    let mut done = Done::default();
    while Instant::now() < end {
        pass("the daemon lives", seed, LIFE_MS);
        daemon.assert_alive();
        match choose(seed, &[10, 1, 1]) {
            0 => {
                daemon.kill();
                daemon.restart();
                done.kills += 1;
            }
            1 => {
                daemon.terminate();
                daemon.restart();
                done.stops += 1;
            }
            _ => {
                daemon.signal(Signal::STOP);
                pass("the daemon stands still", seed, STILL_MS);
                daemon.signal(Signal::CONT);
                done.pauses += 1;
            }
        }
    }
    done
}
