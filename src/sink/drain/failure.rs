//! What went wrong, and what follows from it.

use std::time::Instant;

use rdkafka::types::RDKafkaErrorCode as Code;

use super::{Drain, PAUSE_MAX};
use crate::faults;
use crate::link::Link;
use crate::message::Seq;
use crate::outages::Say;
use crate::route::Refusal;
use crate::sink::producer::{Connector, Ticket};
use crate::sink::verdict::{Verdict, is_absence, verdict};

/// A record that fails alone this often is refused for what it is.
const STRIKES: u32 = 2;

/// The failure that decides what happens next.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) ticket: Ticket,
    pub(super) topic: String,
    pub(super) code: Code,
    pub(super) since: Instant,
}

/// A record that Kafka may refuse for what it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Suspect {
    /// Its message.
    seq: Seq,
    /// Which record of it.
    number: usize,
    /// Times that it was refused when nothing else was under way.
    strikes: u32,
}

/// Whether the error says nothing about reading: a cluster that answers questions may still refuse.
const fn is_about_writing(code: Code) -> bool {
    matches!(
        code,
        Code::ClusterAuthorizationFailed | Code::TopicAuthorizationFailed | Code::UnsupportedFeature
    )
}

impl<C: Connector> Drain<C> {
    /// Any record of a batch that failed as a whole may be the one.
    pub(super) fn note_suspect(&mut self, ticket: Ticket, code: Code) {
        if matches!(verdict(code), Verdict::Suspect | Verdict::Untimely) {
            self.alone_until = self
                .alone_until
                .max(self.window.get(ticket).map(|message| message.stored.seq));
        }
    }

    /// Keeps the first failure that is a cause rather than an echo of another one.
    pub(super) fn note_failure(&mut self, ticket: Ticket, topic: String, code: Code, now: Instant) {
        let is_cause = |code| verdict(code) != Verdict::Echo;
        let known = self.failure.as_ref();
        if known.is_none_or(|known| !is_cause(known.code) && is_cause(code)) {
            let since = known.map_or(now, |known| known.since);
            self.failure = Some(Failure {
                ticket,
                topic,
                code,
                since,
            });
        }
    }

    /// An error of the connection as a whole. Records wait in the client meanwhile.
    pub(super) fn note_trouble(&mut self, code: Code, now: Instant) {
        self.watch.note(code, now);
        match verdict(code) {
            Verdict::Hold => {
                self.refused_since.get_or_insert(now);
                self.write_refused |= is_about_writing(code);
                self.monitor.set_link(Link::Refused(code.to_string()));
            }
            // What refuses us closes the connection, and so looks like being away as well.
            _ if code == Code::AllBrokersDown => {
                self.topics.away();
                if self.refused_since.is_none() {
                    self.monitor.set_link(Link::Down(code.to_string()));
                }
            }
            _ => {}
        }
    }

    pub(super) fn react(&mut self, failure: &Failure, now: Instant) {
        let Some(seq) = self.window.get(failure.ticket).map(|message| message.stored.seq) else {
            return self.rewind(now);
        };
        let (topic, code) = (&failure.topic, failure.code);
        match self.watch.refusals.again(now.into()) {
            Say::Loudly { untold } => {
                tracing::warn!(%seq, topic, ?code, untold, "Kafka did not take a record");
            }
            Say::Quietly => tracing::debug!(%seq, topic, ?code, "Kafka did not take a record"),
        }
        match verdict(failure.code) {
            Verdict::Suspect => self.suspect(failure, seq, now),
            Verdict::Hold => self.hold(failure, seq, now),
            Verdict::Untimely => self.untimely(failure, seq, now),
            Verdict::Wait | Verdict::Rewind => {
                self.topics.doubt(&failure.topic);
                self.rewind(now);
            }
            Verdict::Echo => {
                self.topics.doubt(&failure.topic);
                self.ask_for_reason(now);
            }
            // Without a transactional id nobody can take our place: a new producer has one of its own.
            Verdict::Fenced => {
                self.fenced();
                self.rewind(now);
            }
        }
    }

    /// Somebody has to act. Tried again with as little as possible.
    fn hold(&mut self, failure: &Failure, seq: Seq, now: Instant) {
        self.alone_until = Some(seq);
        self.topics.doubt(&failure.topic);
        // That a topic is gone shows when it is asked for, and so does that it is back.
        self.write_refused |= !is_absence(failure.code);
        self.monitor
            .set_link(Link::Refused(format!("{}: {}", failure.topic, failure.code)));
        self.rewind(now);
    }

    /// Counts a strike when nothing else was under way; otherwise the next attempt sends it alone.
    fn suspect(&mut self, failure: &Failure, seq: Seq, now: Instant) {
        let (Some(number), Some(record)) =
            (self.window.number(failure.ticket), self.record_of(failure.ticket))
        else {
            return self.rewind(now);
        };
        let known = self
            .suspect
            .filter(|known| (known.seq, known.number) == (seq, number));
        let strikes = known.map_or(0, |known| known.strikes) + u32::from(self.lone == Some(failure.ticket));
        self.suspect = Some(Suspect { seq, number, strikes });
        self.alone_until = self.alone_until.max(Some(seq));
        if strikes >= STRIKES {
            let refusal = Refusal::Refused {
                route: record.route,
                topic: record.topic.clone(),
                code: failure.code.to_string(),
                attempts: strikes,
            };
            self.rejected.entry(seq).or_default().push((number, refusal));
            self.suspect = None;
        }
        self.rewind(now);
        // Nothing is wrong with the link: no reason to wait.
        self.feed_after = None;
    }

    /// Drops the producer and goes back to the cursor.
    pub(super) fn rewind(&mut self, now: Instant) {
        self.producer = None;
        self.firsts.forget();
        self.failure = None;
        self.unsent.clear();
        self.pace.abandoned(now);
        self.sent_through = self.sent_through.max(self.window.last_sent().unwrap_or_default());
        self.shares.clear();
        let mut stored = self.window.abandon();
        match &mut self.transactions {
            // Nobody sees what was stored in a transaction that did not commit.
            Some(transactions) => {
                transactions.reset();
                self.fates.clear();
            }
            None => self.ahead.append(&mut stored),
        }
        self.lone = None;
        self.stall.over();
        if !faults::omits(faults::REWIND_GOES_BACK) {
            self.reader.rewind();
        }
        self.monitor.rewound();
        self.hold_feed(now);
    }

    pub(super) fn hold_feed(&mut self, now: Instant) {
        self.feed_after = Some(now + self.pause);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }
}
