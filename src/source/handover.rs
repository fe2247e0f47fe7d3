//! Who wants what of one broker, over all lanes, so that a filter moves from one session to another without a gap.
//!
//! A session keeps a filter that its lane no longer wants until every wanted filter that shares messages with it has been
//! granted, whichever lane wants it. Meanwhile the broker may send a message to both sessions. Nobody can tell which
//! ones: so what the old session brings of another lane's messages, once that lane may have asked for them, is marked as
//! a possible second copy.

use std::sync::Arc;

use tokio::sync::watch;

use super::Subscription;
use crate::filter::{covers, overlaps};

/// All filters that are wanted, by any lane.
#[derive(Debug, Default)]
pub struct Handover(watch::Sender<Vec<Want>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Want {
    broker: String,
    lane: String,
    filter: String,
    /// The SUBSCRIBE may have left, in this process or an earlier one.
    asked: bool,
    /// The broker has granted it in this process.
    granted: bool,
}

/// One lane's place at one broker.
#[derive(Debug, Clone)]
pub struct Seat {
    all: Arc<Handover>,
    broker: String,
    lane: String,
}

impl Handover {
    /// The place of `lane` at `broker`.
    #[must_use]
    pub fn seat(self: &Arc<Self>, broker: &str, lane: &str) -> Seat {
        Seat {
            all: Arc::clone(self),
            broker: broker.to_owned(),
            lane: lane.to_owned(),
        }
    }
}

impl Seat {
    /// Says what the lane wants; `before` is what an earlier process asked for. To be said for all lanes before any of
    /// them connects.
    pub(super) fn want(&self, wanted: &[Subscription], before: &[String]) {
        let wants = wanted.iter().map(|wanted| Want {
            broker: self.broker.clone(),
            lane: self.lane.clone(),
            filter: wanted.filter.clone(),
            asked: before.contains(&wanted.filter),
            granted: false,
        });
        self.all.0.send_modify(|all| all.extend(wants));
    }

    /// A SUBSCRIBE for these is about to leave.
    pub(super) fn ask(&self, filters: &[Subscription]) {
        self.change(|want| want.asked |= filters.iter().any(|wanted| wanted.filter == want.filter));
    }

    /// Exactly these are granted now.
    pub(super) fn grant(&self, granted: &[&str]) {
        self.change(|want| want.granted = granted.contains(&want.filter.as_str()));
    }

    /// Whether the session can do without `filter`: all that is wanted of its messages comes another way.
    pub(super) fn can_spare(&self, filter: &str) -> bool {
        let all = self.all.0.borrow();
        let mut sharing = all
            .iter()
            .filter(|want| want.broker == self.broker && overlaps(&want.filter, filter));
        sharing.all(|want| want.granted)
    }

    /// Whether another lane may get this message too.
    pub(super) fn is_elsewhere(&self, topic: &str) -> bool {
        let all = self.all.0.borrow();
        let mut others = all
            .iter()
            .filter(|want| want.broker == self.broker && want.lane != self.lane);
        others.any(|want| want.asked && covers(&want.filter, topic))
    }

    /// Changes whenever [`Seat::can_spare`] may have changed.
    pub(super) fn changes(&self) -> Changes {
        Changes(self.all.0.subscribe())
    }

    fn change(&self, change: impl Fn(&mut Want)) {
        self.all.0.send_if_modified(|all| {
            let mut changed = false;
            let ours = all.iter_mut();
            for want in ours.filter(|want| want.broker == self.broker && want.lane == self.lane) {
                let before = want.clone();
                change(want);
                changed |= *want != before;
            }
            changed
        });
    }
}

/// See [`Seat::changes`].
#[derive(Debug)]
pub struct Changes(watch::Receiver<Vec<Want>>);

impl Changes {
    /// Waits for a change since the last wait. For ever when nobody is left to change anything.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Qos;

    fn wanted(filter: &str) -> Vec<Subscription> {
        vec![Subscription {
            filter: filter.to_owned(),
            qos: Qos::AtLeastOnce,
        }]
    }

    #[test]
    fn a_filter_stays_until_all_that_share_its_messages_are_granted() {
        let handover = Arc::new(Handover::default());
        let (old, new) = (handover.seat("b", "old"), handover.seat("b", "new"));
        let elsewhere = handover.seat("other broker", "new");
        old.want(&wanted("t/+"), &[]);
        new.want(&wanted("a/+"), &[]);
        elsewhere.want(&wanted("a/+"), &[]);
        assert!(old.can_spare("x/+"), "nobody wants it any more");
        assert!(!old.can_spare("a/1"));
        old.grant(&["t/+"]);
        assert!(!old.can_spare("+/+"));
        new.grant(&["a/+"]);
        assert!(old.can_spare("+/+"));
        assert!(old.can_spare("a/1"));
        new.grant(&[]);
        assert!(!old.can_spare("a/1"), "its session was lost");
    }

    #[test]
    fn a_message_is_elsewhere_from_the_moment_another_lane_may_have_asked_for_it() {
        let handover = Arc::new(Handover::default());
        let (old, new) = (handover.seat("b", "old"), handover.seat("b", "new"));
        old.want(&[], &[]);
        new.want(&wanted("a/+"), &[]);
        assert!(!old.is_elsewhere("a/1"));
        new.ask(&wanted("a/+"));
        assert!(old.is_elsewhere("a/1"));
        assert!(!old.is_elsewhere("b/1"));
        assert!(!new.is_elsewhere("a/1"), "only others count");
        let earlier = handover.seat("b", "earlier");
        earlier.want(&wanted("c/+"), &["c/+".to_owned()]);
        assert!(old.is_elsewhere("c/1"), "an earlier process asked");
    }
}
