//! What the broker keeps for one client, as MQTT 3.1.1 and 5 ask for it in chapter 4.4: what was sent and not acknowledged is
//! sent again, in its order, on the next connection. Pure.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Message;
use super::wire::Say;
use crate::filter::covers;

/// Before the filter of a shared subscription; the group's name and a slash follow.
const SHARED: &str = "$share/";

/// A connection, counted from 1; 0 is none.
pub(super) type Link = u64;

#[derive(Debug)]
struct Subscription {
    /// As it was asked for.
    asked: String,
    qos: u8,
    identifier: Option<usize>,
}

impl Subscription {
    /// Without the group of a shared one.
    fn filter(&self) -> &str {
        let behind = self.asked.strip_prefix(SHARED);
        let filter = behind.and_then(|rest| rest.split_once('/'));
        filter.map_or(self.asked.as_str(), |(_, filter)| filter)
    }
}

/// Sent, and not acknowledged.
#[derive(Debug)]
struct Flight {
    packet: u16,
    message: Arc<Message>,
    identifiers: Vec<usize>,
    /// The connection that it was sent on last.
    sent_on: Link,
}

#[derive(Debug)]
struct Waiting {
    message: Arc<Message>,
    qos: u8,
    identifiers: Vec<usize>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Session {
    subscriptions: Vec<Subscription>,
    waiting: VecDeque<Waiting>,
    flights: VecDeque<Flight>,
    replies: VecDeque<Say>,
    last_packet: u16,
    /// The connection that it is on.
    link: Link,
    window: usize,
}

/// What became of an acknowledgement.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// It was of this message.
    Message(u64),
    /// Nothing with this packet id was sent on this connection.
    Strange,
}

/// What goes out next, and which message it is, with whether it went out before.
#[derive(Debug)]
pub(super) struct Next {
    pub(super) say: Say,
    pub(super) sent: Option<Sent>,
}

/// A message goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) number: u64,
    pub(super) qos: u8,
    pub(super) is_again: bool,
}

impl Session {
    /// A connection takes it over.
    pub(super) fn connect(&mut self, link: Link, window: usize) {
        self.link = link;
        self.window = window.max(1);
        self.replies.clear();
    }

    /// The connection ends. False when another one has the session by now.
    pub(super) fn disconnect(&mut self, link: Link) -> bool {
        let is_its = self.link == link;
        if is_its {
            self.link = 0;
            // With QoS 0 nothing is kept for who is away.
            self.waiting.retain(|waiting| waiting.qos > 0);
        }
        is_its
    }

    /// Whether the connection has the session.
    pub(super) const fn is_on(&self, link: Link) -> bool {
        self.link == link
    }

    /// Whether a client is connected.
    pub(super) const fn is_connected(&self) -> bool {
        self.link != 0
    }

    /// Whether anything is subscribed.
    pub(super) fn is_subscribed(&self) -> bool {
        !self.subscriptions.is_empty()
    }

    /// Filters of a SUBSCRIBE; a filter that is there is replaced.
    pub(super) fn subscribe(&mut self, packet: u16, filters: Vec<(String, u8)>, identifier: Option<usize>) {
        let mut granted = Vec::with_capacity(filters.len());
        for (asked, qos) in filters {
            self.subscriptions.retain(|known| known.asked != asked);
            let qos = qos.min(1);
            granted.push(qos);
            self.subscriptions.push(Subscription {
                asked,
                qos,
                identifier,
            });
        }
        self.reply(Say::Subscribed { packet, granted });
    }

    /// Filters of an UNSUBSCRIBE.
    pub(super) fn unsubscribe(&mut self, packet: u16, filters: &[String]) {
        self.subscriptions.retain(|known| !filters.contains(&known.asked));
        let count = filters.len();
        self.reply(Say::Unsubscribed { packet, count });
    }

    /// Says something beside the messages.
    pub(super) fn reply(&mut self, say: Say) {
        self.replies.push_back(say);
    }

    /// Takes a message in, if it is subscribed. The QoS that it will be sent with; a message comes once, whatever the number of
    /// filters that match it.
    pub(super) fn offer(&mut self, message: &Arc<Message>) -> Option<u8> {
        let matching = self
            .subscriptions
            .iter()
            .filter(|known| covers(known.filter(), &message.topic));
        let qos = matching.clone().map(|known| known.qos).max()?;
        if qos == 0 && !self.is_connected() {
            return Some(0);
        }
        let identifiers = matching.filter_map(|known| known.identifier).collect();
        self.waiting.push_back(Waiting {
            message: Arc::clone(message),
            qos,
            identifiers,
        });
        Some(qos)
    }

    /// Messages that are not acknowledged.
    pub(super) fn backlog(&self) -> usize {
        self.waiting.len() + self.flights.len()
    }

    /// What is to be written next.
    pub(super) fn next(&mut self) -> Option<Next> {
        if let Some(say) = self.replies.pop_front() {
            return Some(Next { say, sent: None });
        }
        if let Some(flight) = self.flights.iter_mut().find(|flight| flight.sent_on != self.link) {
            let is_again = flight.sent_on != 0;
            flight.sent_on = self.link;
            return Some(publish(flight, is_again));
        }
        if self.flights.len() >= self.window && self.waiting.front().is_none_or(|waiting| waiting.qos > 0) {
            return None;
        }
        let Waiting {
            message,
            qos,
            identifiers,
        } = self.waiting.pop_front()?;
        if qos == 0 {
            let sent = Sent {
                number: message.number,
                qos,
                is_again: false,
            };
            let say = Say::Publish {
                packet: 0,
                is_again: false,
                message,
                identifiers,
            };
            return Some(Next {
                say,
                sent: Some(sent),
            });
        }
        let flight = Flight {
            packet: self.free_packet(),
            message,
            identifiers,
            sent_on: self.link,
        };
        let next = publish(&flight, false);
        self.flights.push_back(flight);
        Some(next)
    }

    /// A PUBACK.
    pub(super) fn acknowledged(&mut self, packet: u16) -> Settled {
        let link = self.link;
        let is_it = |flight: &Flight| flight.packet == packet && flight.sent_on == link;
        let place = self.flights.iter().position(is_it);
        match place.and_then(|place| self.flights.remove(place)) {
            Some(flight) => Settled::Message(flight.message.number),
            None => Settled::Strange,
        }
    }

    /// All ids in turn, as Mosquitto does it: an id comes again as late as possible.
    fn free_packet(&mut self) -> u16 {
        loop {
            self.last_packet = self.last_packet.checked_add(1).unwrap_or(1);
            let wanted = self.last_packet;
            if !self.flights.iter().any(|flight| flight.packet == wanted) {
                return wanted;
            }
        }
    }
}

fn publish(flight: &Flight, is_again: bool) -> Next {
    Next {
        say: Say::Publish {
            packet: flight.packet,
            is_again,
            message: Arc::clone(&flight.message),
            identifiers: flight.identifiers.clone(),
        },
        sent: Some(Sent {
            number: flight.message.number,
            qos: 1,
            is_again,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: u64, topic: &str) -> Arc<Message> {
        Arc::new(Message::for_test(number, topic))
    }

    fn sent(session: &mut Session) -> Vec<(u16, u64, bool)> {
        let nexts = std::iter::from_fn(|| session.next());
        let publishes = nexts.filter_map(|next| match next.say {
            Say::Publish {
                packet,
                message,
                is_again,
                ..
            } => Some((packet, message.number, is_again)),
            _ => None,
        });
        publishes.collect()
    }

    fn subscribed(qos: u8) -> Session {
        let mut session = Session::default();
        session.connect(1, 2);
        session.subscribe(1, vec![("a/+".to_owned(), qos)], None);
        session
    }

    #[test]
    fn what_was_not_acknowledged_comes_again_in_its_order_and_says_so() {
        let mut session = subscribed(1);
        for number in 1..=3 {
            session.offer(&message(number, "a/b"));
        }
        assert_eq!(sent(&mut session), [(1, 1, false), (2, 2, false)], "the window");
        assert_eq!(session.acknowledged(1), Settled::Message(1));
        assert_eq!(sent(&mut session), [(3, 3, false)]);
        assert!(session.disconnect(1));
        session.connect(2, 2);
        assert_eq!(sent(&mut session), [(2, 2, true), (3, 3, true)]);
    }

    #[test]
    fn an_acknowledgement_of_an_earlier_connection_is_strange() {
        let mut session = subscribed(1);
        session.offer(&message(1, "a/b"));
        assert_eq!(sent(&mut session).len(), 1);
        session.disconnect(1);
        session.connect(2, 2);
        assert_eq!(
            session.acknowledged(1),
            Settled::Strange,
            "it was not sent on this one yet"
        );
        assert_eq!(sent(&mut session).len(), 1);
        assert_eq!(session.acknowledged(1), Settled::Message(1));
        assert_eq!(session.acknowledged(1), Settled::Strange, "twice");
    }

    #[test]
    fn with_qos_0_nothing_is_kept_for_who_is_away() {
        let mut session = subscribed(0);
        assert_eq!(session.offer(&message(1, "a/b")), Some(0));
        assert_eq!(sent(&mut session), [(0, 1, false)]);
        session.disconnect(1);
        assert_eq!(session.offer(&message(2, "a/b")), Some(0));
        session.connect(2, 2);
        assert_eq!(sent(&mut session), []);
    }

    #[test]
    fn a_message_comes_once_with_the_identifiers_of_all_its_filters() {
        let mut session = subscribed(0);
        session.subscribe(2, vec![("$share/group/a/#".to_owned(), 1)], Some(7));
        assert_eq!(session.offer(&message(1, "a/b")), Some(1));
        assert_eq!(session.offer(&message(2, "b")), None);
        let next = std::iter::from_fn(|| session.next())
            .find_map(|next| match next.say {
                Say::Publish { identifiers, .. } => Some(identifiers),
                _ => None,
            })
            .unwrap();
        assert_eq!(next, [7]);
        assert_eq!(session.backlog(), 1);
    }
}
