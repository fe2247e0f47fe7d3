//! What happens to the MQTT broker and to the way to it.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::{Fate, choose, pass};
use crate::support::mosquitto::Mosquitto;
use crate::support::proxy::{Proxy, Rules};
use crate::support::seed::Seed;

/// How long it is away, milliseconds: mostly less than the keep-alive, which is 5 s.
const AWAY_MS: Range<u64> = 100..6_000;
/// How long it is there before the next trouble, milliseconds.
const THERE_MS: Range<u64> = 500..4_000;
/// What a slow way adds, milliseconds, each way.
const DELAY_MS: Range<u64> = 20..500;
/// What a slow way carries.
const SLOW_BYTES_PER_SECOND: u32 = 128 * 1024;

/// How often.
#[derive(Debug, Default)]
pub struct Done {
    pub kills: u32,
    pub stops: u32,
    pub pauses: u32,
    /// The way to it was cut and stayed closed.
    pub closed: u32,
    /// The way to it was slow.
    pub slow: u32,
}

/// Until `end`; it is there afterwards, and nothing is in the way to it.
pub fn torment(mosquitto: &mut Mosquitto, way: &Proxy, fate: Fate, seed: &mut Seed, end: Instant) -> Done {
    let mut done = Done::default();
    let kills = if fate == Fate::Killed { 3 } else { 0 };
    while Instant::now() < end {
        pass("mosquitto is there", seed, THERE_MS);
        match choose(seed, &[kills, 2, 1, 2, 2]) {
            0 => {
                mosquitto.kill();
                pass("mosquitto is killed", seed, AWAY_MS);
                mosquitto.restart();
                done.kills += 1;
            }
            1 => {
                mosquitto.stop();
                pass("mosquitto is stopped", seed, AWAY_MS);
                mosquitto.restart();
                // A later SIGKILL would bring it back: messages that were acknowledged long ago, and not marked as repeated.
                mosquitto.forget_saved();
                done.stops += 1;
            }
            2 => {
                mosquitto.pause();
                pass("mosquitto stands still", seed, AWAY_MS);
                mosquitto.resume();
                done.pauses += 1;
            }
            3 => {
                way.set(Rules {
                    refuse: true,
                    ..Rules::default()
                });
                pass("the way to mosquitto is closed", seed, AWAY_MS);
                way.clear();
                done.closed += 1;
            }
            _ => {
                way.set(Rules {
                    delay: Duration::from_millis(seed.between(DELAY_MS.start, DELAY_MS.end)),
                    bytes_per_second: Some(SLOW_BYTES_PER_SECOND),
                    ..Rules::default()
                });
                pass("the way to mosquitto is slow", seed, AWAY_MS);
                way.clear();
                done.slow += 1;
            }
        }
    }
    done
}
