//! What the end of a connection means, and when to try again. Pure.

use std::time::Duration;

use super::backoff::{Backoff, Invalid};
use super::client::Failure;
use super::connection::End;

/// First wait. Also bounds the random wait after a connection that was good.
const FIRST: Duration = Duration::from_secs(1);
/// Longest wait: an operator who has mended something watches for about this long.
const CAP: Duration = Duration::from_mins(1);
/// Longest wait when another client uses our id. Each of us throws the other out, and each time the broker
/// sends all unacknowledged messages again, to one or the other: the less often the better.
const TAKEOVER_CAP: Duration = Duration::from_mins(5);
/// A connection that lasted this long was good.
const GOOD: Duration = Duration::from_secs(30);
/// Often nobody says that a session was taken over: MQTT 3.1.1 cannot, Mosquitto 2.0.11 does not with MQTT 5
/// either (tried), and this client does not understand a DISCONNECT that has a reason but no properties. So
/// many short connections in a row that the broker closed are taken for it.
const SHORT_IN_A_ROW: u32 = 3;

/// The largest remaining length that MQTT can express, bytes (MQTT 3.1.1, 2.2.3; MQTT 5, 1.5.5).
pub const PROTOCOL_LIMIT: u32 = 268_435_455;

/// What to do after a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Stopped as asked.
    Finish,
    /// The queue is closed.
    Closed,
    /// Stay away until there is room.
    AwaitRoom,
    /// End the session.
    EndSession,
    /// Try again after `wait`.
    Again {
        /// How long to stay away.
        wait: Duration,
        /// What to tell.
        why: Why,
    },
}

/// Why we are not connected.
#[derive(Debug, PartialEq, Eq)]
pub enum Why {
    /// The link is down.
    Down(String),
    /// The broker refuses our configuration.
    Refused(String),
    /// A file of ours cannot be used.
    Files(String),
    /// Somebody else uses our client id.
    TakenOver,
    /// A packet was over the limit; it will be allowed from now on.
    TooLarge {
        /// Its remaining length, bytes.
        size: usize,
    },
}

/// Remembers how the last connections went.
#[derive(Debug)]
pub struct Retry {
    backoff: Backoff,
    /// Short connections in a row that the broker closed.
    short: u32,
    packet_limit: u32,
}

impl Retry {
    /// `packet_limit` is the first one, bytes; `seed` spreads the waits.
    pub fn new(packet_limit: u32, seed: u64) -> Result<Self, Invalid> {
        Ok(Self {
            backoff: Backoff::new(FIRST, CAP, seed)?,
            short: 0,
            packet_limit,
        })
    }

    /// Largest packet to accept on the next connection, bytes.
    pub const fn packet_limit(&self) -> u32 {
        self.packet_limit
    }

    /// A connection ended, `up` after its CONNACK (`None`: it never came).
    pub fn ended(&mut self, end: End, up: Option<Duration>) -> Step {
        let failure = match end {
            End::Stopped => return Step::Finish,
            End::Closed => return Step::Closed,
            End::PushedBack => return Step::AwaitRoom,
            End::Unused => return Step::EndSession,
            End::Silent => Failure::Unreachable("nothing heard for three keep alives".to_owned()),
            End::SessionFile(error) => {
                Failure::Unreachable(format!("cannot write the session file: {error}"))
            }
            End::Failed(failure) => failure,
        };
        let good = up.is_some_and(|up| up >= GOOD);
        self.short = match (&failure, up) {
            (Failure::TakenOver, _) => SHORT_IN_A_ROW,
            (Failure::Closed, Some(_)) if !good => self.short.saturating_add(1),
            // An attempt that never reached the broker says nothing about who else is there.
            (Failure::Unreachable(_), None) => self.short,
            _ => 0,
        };
        let why = self.why(failure, up.is_some());
        let wait = self.wait(&why, good);
        Step::Again { wait, why }
    }

    fn why(&mut self, failure: Failure, was_up: bool) -> Why {
        match failure {
            Failure::Refused(text) => Why::Refused(text),
            Failure::Files(text) => Why::Files(text),
            _ if was_up && self.short >= SHORT_IN_A_ROW => Why::TakenOver,
            Failure::TooLarge { size } => {
                self.allow(size);
                Why::TooLarge { size }
            }
            failure => Why::Down(failure.to_string()),
        }
    }

    fn wait(&mut self, why: &Why, good: bool) -> Duration {
        match why {
            Why::Refused(_) => self.backoff.longest(),
            Why::TakenOver => self.backoff.next_up_to(TAKEOVER_CAP),
            Why::Down(_) | Why::TooLarge { .. } if good => self.backoff.reset(),
            // Whoever renews several files has them in place within seconds.
            Why::Down(_) | Why::TooLarge { .. } | Why::Files(_) => self.backoff.next(),
        }
    }

    /// A packet of `size` bytes is at the head of the broker's queue, and all behind it wait for it.
    fn allow(&mut self, size: usize) {
        let size = u32::try_from(size).unwrap_or(PROTOCOL_LIMIT);
        // MQTT 5 counts the fixed header, at most 5 bytes, into the limit (3.1.2.11.4); the client does not.
        self.packet_limit = self.packet_limit.max(size.min(PROTOCOL_LIMIT) + 5);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Option<Duration> = Some(Duration::from_secs(2));

    fn retry() -> Retry {
        Retry::new(1_000, 1).expect("valid bounds")
    }

    fn again(retry: &mut Retry, failure: Failure, up: Option<Duration>) -> (Duration, Why) {
        match retry.ended(End::Failed(failure), up) {
            Step::Again { wait, why } => (wait, why),
            other => panic!("a failure means to try again, not {other:?}"),
        }
    }

    fn down() -> Failure {
        Failure::Unreachable("no route".to_owned())
    }

    #[test]
    fn failures_back_off_and_a_good_connection_resets() {
        let mut retry = retry();
        for _ in 0..10 {
            again(&mut retry, down(), None);
        }
        assert!(
            again(&mut retry, down(), SHORT).0 >= CAP / 2,
            "a short connection resets nothing"
        );
        assert!(again(&mut retry, Failure::Closed, Some(GOOD)).0 <= FIRST);
        assert!(again(&mut retry, down(), None).0 <= FIRST * 2);
    }

    #[test]
    fn a_refusal_waits_long_at_once() {
        let (wait, why) = again(&mut retry(), Failure::Refused("not authorised".to_owned()), None);
        assert_eq!(why, Why::Refused("not authorised".to_owned()));
        assert!(wait >= CAP * 3 / 4);
    }

    #[test]
    fn a_file_that_cannot_be_used_is_looked_at_again_soon_and_then_less_often() {
        let mut retry = retry();
        let files = || Failure::Files("key.pem is empty".to_owned());
        let (wait, why) = again(&mut retry, files(), None);
        assert_eq!(why, Why::Files("key.pem is empty".to_owned()));
        assert!(wait <= FIRST * 2);
        for _ in 0..8 {
            again(&mut retry, files(), None);
        }
        assert!(again(&mut retry, files(), None).0 >= CAP / 2);
    }

    #[test]
    fn three_short_connections_are_a_takeover_also_with_attempts_between() {
        let mut retry = retry();
        assert!(matches!(
            again(&mut retry, Failure::Closed, SHORT).1,
            Why::Down(_)
        ));
        assert!(matches!(again(&mut retry, down(), None).1, Why::Down(_)));
        assert!(matches!(
            again(&mut retry, Failure::Closed, SHORT).1,
            Why::Down(_)
        ));
        assert_eq!(again(&mut retry, Failure::Closed, SHORT).1, Why::TakenOver);
        for _ in 0..8 {
            again(&mut retry, Failure::Closed, SHORT);
        }
        assert!(again(&mut retry, Failure::Closed, SHORT).0 > CAP * 2, "no fight");
        assert!(
            matches!(again(&mut retry, down(), None).1, Why::Down(_)),
            "a broker that is away is just away"
        );
        assert!(matches!(
            again(&mut retry, Failure::Closed, Some(GOOD)).1,
            Why::Down(_)
        ));
    }

    #[test]
    fn a_break_of_our_own_is_no_takeover() {
        let mut retry = retry();
        for _ in 0..5 {
            let (_, why) = again(&mut retry, Failure::Protocol("alias".to_owned()), SHORT);
            assert!(matches!(why, Why::Down(_)));
        }
    }

    #[test]
    fn mqtt_5_says_so() {
        assert_eq!(
            again(&mut retry(), Failure::TakenOver, Some(GOOD * 9)).1,
            Why::TakenOver
        );
    }

    #[test]
    fn a_large_packet_is_allowed_next_time_but_never_over_the_protocol() {
        let mut retry = retry();
        assert_eq!(
            again(&mut retry, Failure::TooLarge { size: 5_000 }, SHORT).1,
            Why::TooLarge { size: 5_000 }
        );
        assert_eq!(retry.packet_limit(), 5_005);
        again(&mut retry, Failure::TooLarge { size: 2_000 }, SHORT);
        assert_eq!(retry.packet_limit(), 5_005);
        again(&mut retry, Failure::TooLarge { size: usize::MAX }, SHORT);
        assert_eq!(retry.packet_limit(), PROTOCOL_LIMIT + 5);
    }

    #[test]
    fn ends_that_are_no_failures() {
        let mut retry = retry();
        assert_eq!(retry.ended(End::Stopped, SHORT), Step::Finish);
        assert_eq!(retry.ended(End::Closed, SHORT), Step::Closed);
        assert_eq!(retry.ended(End::PushedBack, SHORT), Step::AwaitRoom);
        assert_eq!(retry.ended(End::Unused, SHORT), Step::EndSession);
    }
}
