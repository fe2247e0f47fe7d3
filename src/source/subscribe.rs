//! Which filters the broker has granted, and when to ask again. Pure.
//!
//! Everything is asked for at the first connection of the process (the routes may have changed since the
//! session was made), at every connection without a session, and when a SUBSCRIBE was never answered. A
//! refused filter is asked for again after [`RETRY`]; the others flow meanwhile.
//!
//! So it is behind an attempt to connect that was never answered: the broker may have lost the session, made a new one, and its
//! answer was lost. The next answer says that there is a session, and it is true; but nothing is subscribed in it.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::Subscription;
use super::client::Answer;

/// Filters per SUBSCRIBE packet: AWS IoT Core takes no more than 8 (its quota "subscriptions per subscribe
/// request"), and a packet more costs nothing.
const BATCH: usize = 8;

/// How long a refused filter rests. An access list is corrected by a person.
pub const RETRY: Duration = Duration::from_mins(1);

/// What a SUBACK brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Filter, and the broker's words.
    pub refused: Vec<(String, String)>,
    /// Filters granted with a lower QoS than asked for.
    pub lowered: Vec<String>,
}

/// What one broker has granted.
#[derive(Debug)]
pub struct Subscriptions {
    filters: Vec<Filter>,
    /// SUBSCRIBE packets on their way on this connection, oldest first.
    asked: VecDeque<Asked>,
    /// When the first rest of a refused filter is over. This is looked at with every packet, the filters are
    /// not.
    retry_at: Option<Instant>,
    /// The broker may have made a session and its answer did not come.
    is_unsure: bool,
}

/// One filter, and what the broker says to it.
#[derive(Debug)]
struct Filter {
    wanted: Subscription,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Not asked, or never answered.
    Open,
    Granted,
    Refused {
        since: Instant,
        why: String,
    },
}

#[derive(Debug)]
struct Asked {
    /// Known once the packet left.
    packet_id: Option<u16>,
    /// What it asks for; the SUBACK answers in this order.
    batch: Vec<Subscription>,
}

impl Subscriptions {
    pub fn new(wanted: Vec<Subscription>) -> Self {
        let open = |wanted| Filter {
            wanted,
            state: State::Open,
        };
        Self {
            filters: wanted.into_iter().map(open).collect(),
            asked: VecDeque::new(),
            retry_at: None,
            is_unsure: false,
        }
    }

    /// An attempt to connect was not answered.
    pub fn unanswered(&mut self) {
        self.is_unsure = true;
    }

    /// Whether the broker may have made a session that we do not know of.
    pub const fn is_unsure(&self) -> bool {
        self.is_unsure
    }

    /// A connection began; `is_held` says whether its session surely holds what was granted. Gives the SUBSCRIBE packets to send.
    pub fn connected(&mut self, is_held: bool) -> Vec<Vec<Subscription>> {
        self.asked.clear();
        self.is_unsure = false;
        let mut open = Vec::new();
        for filter in &mut self.filters {
            if !is_held {
                filter.state = State::Open;
            }
            if filter.state == State::Open {
                open.push(filter.wanted.clone());
            }
        }
        self.ask(&open)
    }

    /// Refused filters whose rest is over.
    pub fn due(&mut self, now: Instant) -> Vec<Vec<Subscription>> {
        if self.retry_at.is_none_or(|retry_at| now < retry_at) {
            return Vec::new();
        }
        let mut due = Vec::new();
        self.retry_at = None;
        for filter in &mut self.filters {
            let State::Refused { since, .. } = &mut filter.state else {
                continue;
            };
            if now >= *since + RETRY {
                *since = now;
                due.push(filter.wanted.clone());
            }
            let over = *since + RETRY;
            self.retry_at = Some(self.retry_at.map_or(over, |first| first.min(over)));
        }
        self.ask(&due)
    }

    /// The next SUBSCRIBE left.
    pub fn sent(&mut self, packet_id: u16) {
        if let Some(asked) = self.asked.iter_mut().find(|asked| asked.packet_id.is_none()) {
            asked.packet_id = Some(packet_id);
        }
    }

    /// A SUBACK came.
    pub fn answered(&mut self, packet_id: u16, answers: &[Answer], now: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        let is_meant = |asked: &Asked| asked.packet_id == Some(packet_id);
        let at = self.asked.iter().position(is_meant);
        let Some(asked) = at.and_then(|at| self.asked.remove(at)) else {
            return outcome;
        };
        for (subscription, answer) in asked.batch.into_iter().zip(answers) {
            self.take(subscription, answer, now, &mut outcome);
        }
        outcome
    }

    fn take(&mut self, subscription: Subscription, answer: &Answer, now: Instant, outcome: &mut Outcome) {
        let state = match answer {
            Answer::Granted(_) => State::Granted,
            Answer::Refused(why) => {
                self.retry_at.get_or_insert(now + RETRY);
                State::Refused {
                    since: now,
                    why: why.clone(),
                }
            }
        };
        let of_it = self.filters.iter_mut();
        for filter in of_it.filter(|filter| filter.wanted == subscription) {
            filter.state = state.clone();
        }
        match answer {
            Answer::Granted(qos) if *qos >= subscription.qos as u8 => {}
            Answer::Granted(_) => outcome.lowered.push(subscription.filter),
            Answer::Refused(why) => outcome.refused.push((subscription.filter, why.clone())),
        }
    }

    /// All filters that are wanted.
    pub fn wanted(&self) -> impl Iterator<Item = &str> {
        self.filters.iter().map(|filter| filter.wanted.filter.as_str())
    }

    /// Those of them that the broker has granted.
    pub fn granted(&self) -> impl Iterator<Item = &str> {
        let granted = self
            .filters
            .iter()
            .filter(|filter| filter.state == State::Granted);
        granted.map(|filter| filter.wanted.filter.as_str())
    }

    /// What is refused at the moment, in one line; `None` when nothing is.
    pub fn refusal(&self) -> Option<String> {
        let mut refused = self.filters.iter().filter_map(|filter| match &filter.state {
            State::Refused { why, .. } => Some((&filter.wanted, why)),
            State::Open | State::Granted => None,
        });
        let (wanted, why) = refused.next()?;
        let more = match refused.count() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Some(format!("subscription `{}`{more}: {why}", wanted.filter))
    }

    fn ask(&mut self, filters: &[Subscription]) -> Vec<Vec<Subscription>> {
        // An identifier is for all filters of its packet (MQTT 5, 3.8.2.1.2).
        let (alone, together): (Vec<_>, Vec<_>) =
            filters.iter().cloned().partition(|wanted| wanted.id.is_some());
        let together = together.chunks(BATCH).map(<[_]>::to_vec);
        let packets: Vec<Vec<Subscription>> = together
            .chain(alone.into_iter().map(|wanted| vec![wanted]))
            .collect();
        self.asked.extend(packets.iter().map(|batch| Asked {
            packet_id: None,
            batch: batch.clone(),
        }));
        packets
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Qos, RetainHandling};

    fn wanted(count: usize) -> Vec<Subscription> {
        let one = |number| Subscription {
            filter: format!("f/{number}"),
            qos: Qos::AtLeastOnce,
            retain: RetainHandling::OnNewSubscription,
            id: None,
        };
        (0..count).map(one).collect()
    }

    fn lengths(packets: &[Vec<Subscription>]) -> Vec<usize> {
        packets.iter().map(Vec::len).collect()
    }

    #[test]
    fn the_first_connection_always_subscribes_in_batches() {
        let mut subscriptions = Subscriptions::new(wanted(20));
        assert_eq!(lengths(&subscriptions.connected(true)), [8, 8, 4]);
    }

    #[test]
    fn a_filter_with_an_identifier_has_a_packet_of_its_own() {
        let mut wanted = wanted(4);
        wanted[1].id = Some(7);
        wanted[2].id = Some(8);
        let mut subscriptions = Subscriptions::new(wanted);
        assert_eq!(lengths(&subscriptions.connected(true)), [2, 1, 1]);
    }

    #[test]
    fn a_kept_session_is_not_subscribed_again_but_a_lost_one_is() {
        let mut subscriptions = Subscriptions::new(wanted(1));
        subscriptions.connected(true);
        subscriptions.sent(7);
        subscriptions.answered(7, &[Answer::Granted(1)], Instant::now());
        assert_eq!(lengths(&subscriptions.connected(true)), [0; 0]);
        assert_eq!(lengths(&subscriptions.connected(false)), [1]);
    }

    #[test]
    fn an_unanswered_subscribe_is_sent_again() {
        let mut subscriptions = Subscriptions::new(wanted(1));
        subscriptions.connected(false);
        subscriptions.sent(7);
        assert_eq!(lengths(&subscriptions.connected(true)), [1]);
    }

    #[test]
    fn a_new_session_counts_only_once_it_is_answered() {
        let mut subscriptions = Subscriptions::new(wanted(1));
        subscriptions.connected(false);
        subscriptions.sent(7);
        subscriptions.answered(7, &[Answer::Granted(1)], Instant::now());
        subscriptions.connected(false);
        assert_eq!(lengths(&subscriptions.connected(true)), [1]);
    }

    #[test]
    fn answers_find_their_packet_in_any_order() {
        let mut subscriptions = Subscriptions::new(wanted(9));
        subscriptions.connected(false);
        subscriptions.sent(1);
        subscriptions.sent(2);
        let now = Instant::now();
        let refused = Answer::Refused("no".to_owned());
        let outcome = subscriptions.answered(2, &[refused], now);
        assert_eq!(outcome.refused, [("f/8".to_owned(), "no".to_owned())]);
        assert_eq!(
            subscriptions.answered(1, &vec![Answer::Granted(1); 8], now),
            Outcome::default()
        );
        assert_eq!(subscriptions.refusal().as_deref(), Some("subscription `f/8`: no"));
    }

    #[test]
    fn a_refused_filter_rests_and_is_asked_alone() {
        let mut subscriptions = Subscriptions::new(wanted(2));
        subscriptions.connected(false);
        subscriptions.sent(1);
        let now = Instant::now();
        subscriptions.answered(1, &[Answer::Granted(1), Answer::Refused("no".to_owned())], now);
        assert!(
            subscriptions
                .due(now + RETRY - Duration::from_millis(1))
                .is_empty()
        );
        let packets = subscriptions.due(now + RETRY);
        assert_eq!(packets, [vec![wanted(2)[1].clone()]]);
        assert!(subscriptions.due(now + RETRY).is_empty(), "asked once per rest");
        subscriptions.sent(2);
        subscriptions.answered(2, &[Answer::Granted(1)], now + RETRY);
        assert_eq!(subscriptions.refusal(), None);
    }

    #[test]
    fn a_lowered_qos_is_told() {
        let mut subscriptions = Subscriptions::new(wanted(1));
        subscriptions.connected(false);
        subscriptions.sent(1);
        let outcome = subscriptions.answered(1, &[Answer::Granted(0)], Instant::now());
        assert_eq!(outcome.lowered, ["f/0"]);
    }
}
