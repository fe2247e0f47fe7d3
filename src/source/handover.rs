//! Who wants what of one broker, over all lanes, so that a filter moves from one session to another without a gap.
//!
//! A session keeps a filter that its lane no longer wants until every wanted filter that shares messages with it has been
//! granted, whichever lane wants it. Meanwhile the broker sends a message to both sessions, and nobody can tell which
//! ones: so they are marked as possible second copies, on both sides ([`Copies`]).

use std::sync::Arc;

use tokio::sync::watch;

use super::Subscription;
use crate::filter::{covers, overlaps};

/// All filters that are wanted, by any lane.
#[derive(Debug, Default)]
pub struct Handover(watch::Sender<All>);

#[derive(Debug, Default)]
struct All {
    wants: Vec<Want>,
    holds: Vec<Hold>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Want {
    broker: String,
    lane: String,
    filter: String,
    /// No earlier process asked for it: the broker has sent nothing for it to this session before.
    is_new: bool,
    /// The SUBSCRIBE may have left, in this process or an earlier one.
    asked: bool,
    /// The broker has granted it in this process.
    granted: bool,
}

/// A filter that a session may hold and that its lane does not want.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hold {
    broker: String,
    lane: String,
    filter: String,
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
    /// Says what the lane wants; `before` is what its session may hold. To be said for all lanes before any of them
    /// connects.
    pub(super) fn want(&self, wanted: &[Subscription], before: &[String]) {
        let wants = wanted.iter().map(|wanted| Want {
            broker: self.broker.clone(),
            lane: self.lane.clone(),
            filter: wanted.filter.clone(),
            is_new: !before.contains(&wanted.filter),
            asked: before.contains(&wanted.filter),
            granted: false,
        });
        let left = before
            .iter()
            .filter(|held| wanted.iter().all(|wanted| wanted.filter != **held));
        let holds = left.map(|filter| Hold {
            broker: self.broker.clone(),
            lane: self.lane.clone(),
            filter: filter.clone(),
        });
        self.all.0.send_modify(|all| {
            all.wants.extend(wants);
            all.holds.extend(holds);
        });
    }

    /// Of what it does not want, the session holds no more than this.
    pub(super) fn hold(&self, left: &[&str]) {
        self.all.0.send_if_modified(|all| {
            let before = all.holds.len();
            all.holds.retain(|hold| {
                !self.is_ours(&hold.broker, &hold.lane) || left.contains(&hold.filter.as_str())
            });
            all.holds.len() != before
        });
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
            .wants
            .iter()
            .filter(|want| want.broker == self.broker && overlaps(&want.filter, filter));
        sharing.all(|want| want.granted)
    }

    /// Whether another lane may have asked for this message too.
    fn is_wanted_elsewhere(&self, topic: &str) -> bool {
        let all = self.all.0.borrow();
        let mut others = all
            .wants
            .iter()
            .filter(|want| want.broker == self.broker && want.lane != self.lane);
        others.any(|want| want.asked && covers(&want.filter, topic))
    }

    /// What other lanes' sessions hold and should not.
    fn held_elsewhere(&self) -> Vec<String> {
        self.held(|lane| lane != self.lane)
    }

    /// What our own session holds and should not.
    fn held_here(&self) -> Vec<String> {
        self.held(|lane| lane == self.lane)
    }

    fn held(&self, by: impl Fn(&str) -> bool) -> Vec<String> {
        let all = self.all.0.borrow();
        let holds = all.holds.iter();
        holds
            .filter(|hold| hold.broker == self.broker && by(&hold.lane))
            .map(|hold| hold.filter.clone())
            .collect()
    }

    /// What other lanes want for the first time of messages that this session was sent before.
    fn new_elsewhere(&self, is_pending: impl Fn(&Want) -> bool) -> Vec<String> {
        let all = self.all.0.borrow();
        let is_shared = |want: &Want| {
            let wants = all.wants.iter();
            let kept = wants
                .filter(|own| self.is_ours(&own.broker, &own.lane) && !own.is_new)
                .map(|own| &own.filter);
            let holds = all.holds.iter();
            let left = holds
                .filter(|hold| self.is_ours(&hold.broker, &hold.lane))
                .map(|hold| &hold.filter);
            kept.chain(left).any(|held| overlaps(held, &want.filter))
        };
        let others = all
            .wants
            .iter()
            .filter(|want| want.broker == self.broker && want.lane != self.lane && want.is_new);
        others
            .filter(|want| is_pending(want) && is_shared(want))
            .map(|want| want.filter.clone())
            .collect()
    }

    /// Changes whenever [`Seat::can_spare`] may have changed.
    pub(super) fn changes(&self) -> Changes {
        Changes(self.all.0.subscribe())
    }

    fn is_ours(&self, broker: &str, lane: &str) -> bool {
        self.broker == broker && self.lane == lane
    }

    fn change(&self, change: impl Fn(&mut Want)) {
        self.all.0.send_if_modified(|all| {
            let mut changed = false;
            let wants = all.wants.iter_mut();
            for want in wants.filter(|want| self.is_ours(&want.broker, &want.lane)) {
                let before = want.clone();
                change(want);
                changed |= *want != before;
            }
            changed
        });
    }
}

/// What a broker had queued for a session counts as sent when so many pings were answered after another lane was granted its
/// filter. A broker answers a ping at once, and sends what it has queued as fast as it is acknowledged; with the usual keep-alive of
/// half a minute this is some minutes. Meanwhile messages are marked, and some come twice; without it some would not come at all.
const QUEUED_PONGS: u32 = 10;

/// Knows the messages that another lane's session may have got too.
#[derive(Debug)]
pub struct Copies {
    seat: Seat,
    wanted: Vec<String>,
    /// The session was found with filters that are not wanted.
    is_old: bool,
    /// What other sessions may have got until lately.
    elsewhere: Vec<String>,
    /// What they held at the last PINGRESP.
    last_seen: Vec<String>,
    /// The same for our own session: the broker may send it a copy for what is wanted and one for what is left.
    here: Vec<String>,
    last_seen_here: Vec<String>,
    /// What other lanes want for the first time, of messages that this session may have had queued before they were granted it;
    /// `None` before the first connection.
    coming: Option<Vec<String>>,
    /// PINGRESPs since all of that was granted.
    quiet_pongs: u32,
}

impl Copies {
    pub(super) fn new(seat: Seat, wanted: &[Subscription], is_old: bool) -> Self {
        let here = seat.held_here();
        Self {
            seat,
            wanted: wanted.iter().map(|wanted| wanted.filter.clone()).collect(),
            is_old,
            elsewhere: Vec::new(),
            last_seen: Vec::new(),
            last_seen_here: here.clone(),
            here,
            coming: None,
            quiet_pongs: 0,
        }
    }

    /// CONNACK.
    pub(super) fn connected(&mut self) {
        if self.elsewhere.is_empty() {
            self.elsewhere = self.seat.held_elsewhere();
            self.last_seen = self.elsewhere.clone();
        }
        if self.coming.is_none() {
            self.coming = Some(self.seat.new_elsewhere(|_| true));
        }
    }

    /// PINGRESP. What other sessions let go of before the last one cannot have a copy of what comes now: our ping left
    /// after that, and what the broker sent before its answer has come.
    pub(super) fn ponged(&mut self) {
        if !self.elsewhere.is_empty() {
            self.elsewhere = std::mem::replace(&mut self.last_seen, self.seat.held_elsewhere());
        }
        if !self.here.is_empty() {
            self.here = std::mem::replace(&mut self.last_seen_here, self.seat.held_here());
        }
        if let Some(coming) = self.coming.as_mut().filter(|coming| !coming.is_empty()) {
            match self.seat.new_elsewhere(|want| !want.granted).is_empty() {
                true => self.quiet_pongs += 1,
                false => self.quiet_pongs = 0,
            }
            if self.quiet_pongs > QUEUED_PONGS {
                coming.clear();
            }
        }
    }

    /// Whether this message may be one of them.
    pub(super) fn has(&self, topic: &str) -> bool {
        let is_ours = || self.wanted.iter().any(|filter| covers(filter, topic));
        let is_coming = || self.coming.iter().flatten().any(|filter| covers(filter, topic));
        self.elsewhere.iter().any(|filter| covers(filter, topic))
            // What is wanted by nobody here goes out by the other lane's routes anyway.
            || is_ours() && is_coming()
            || self.here.iter().any(|filter| covers(filter, topic)) && is_ours()
            || self.is_old && !is_ours() && self.seat.is_wanted_elsewhere(topic)
    }
}

/// See [`Seat::changes`].
#[derive(Debug)]
pub struct Changes(watch::Receiver<All>);

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
    use crate::source::RetainHandling;

    fn wanted(filter: &str) -> Vec<Subscription> {
        vec![Subscription {
            filter: filter.to_owned(),
            qos: Qos::AtLeastOnce,
            retain: RetainHandling::OnNewSubscription,
            id: None,
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
    fn what_comes_on_an_old_session_is_marked_once_another_lane_may_have_asked_for_it() {
        let handover = Arc::new(Handover::default());
        let (old, new) = (handover.seat("b", "old"), handover.seat("b", "new"));
        old.want(
            &wanted("b/+"),
            &["a/+".to_owned(), "b/+".to_owned(), "c/+".to_owned()],
        );
        new.want(&wanted("a/+"), &[]);
        let copies = Copies::new(old, &wanted("b/+"), true);
        assert!(!copies.has("a/1"));
        new.ask(&wanted("a/+"));
        assert!(copies.has("a/1"));
        assert!(!copies.has("b/1"), "its own");
        assert!(!copies.has("c/1"), "nobody else's");
        let earlier = handover.seat("b", "earlier");
        earlier.want(&wanted("c/+"), &["c/+".to_owned()]);
        assert!(copies.has("c/1"), "an earlier process asked");
    }

    #[test]
    fn what_a_wanted_filter_and_one_that_is_left_both_match_is_marked_until_that_one_is_surely_gone() {
        let handover = Arc::new(Handover::default());
        let seat = handover.seat("b", "lane");
        let shared = wanted("$share/g/a/+");
        seat.want(&shared, &["a/+".to_owned(), "c/+".to_owned()]);
        let mut copies = Copies::new(seat.clone(), &shared, true);
        assert!(copies.has("a/1"));
        assert!(!copies.has("c/1"), "nothing else is wanted of it");
        seat.hold(&["c/+"]);
        copies.ponged();
        assert!(copies.has("a/1"), "it may have been sent before");
        copies.ponged();
        assert!(!copies.has("a/1"));
    }

    #[test]
    fn what_comes_to_the_new_lane_is_marked_until_the_old_session_has_surely_let_go() {
        let handover = Arc::new(Handover::default());
        let (old, new) = (handover.seat("b", "old"), handover.seat("b", "new"));
        old.want(&wanted("b/+"), &["a/+".to_owned(), "b/+".to_owned()]);
        new.want(&wanted("#"), &[]);
        let mut copies = Copies::new(new, &wanted("#"), false);
        copies.connected();
        copies.ponged();
        assert!(copies.has("a/1") && !copies.has("b/1"));
        old.hold(&[]);
        copies.ponged();
        assert!(copies.has("a/1"), "its ping may have left before");
        copies.ponged();
        assert!(!copies.has("a/1"));
    }

    #[test]
    fn what_a_session_had_queued_is_marked_until_another_lane_surely_gets_its_own_copy() {
        let handover = Arc::new(Handover::default());
        let (old, new) = (handover.seat("b", "old"), handover.seat("b", "new"));
        old.want(&wanted("d/#"), &["d/#".to_owned()]);
        new.want(&wanted("d/+/alarm"), &[]);
        let mut copies = Copies::new(old, &wanted("d/#"), false);
        copies.connected();
        for _ in 0..3 * QUEUED_PONGS {
            copies.ponged();
        }
        assert!(copies.has("d/1/alarm"), "nobody else is subscribed yet");
        assert!(!copies.has("d/1/other"));
        new.ask(&wanted("d/+/alarm"));
        new.grant(&["d/+/alarm"]);
        for _ in 0..QUEUED_PONGS {
            copies.ponged();
            assert!(copies.has("d/1/alarm"), "it may have been queued before");
        }
        copies.ponged();
        assert!(!copies.has("d/1/alarm"));
        copies.connected();
        assert!(!copies.has("d/1/alarm"), "that was once");
    }

    #[test]
    fn lanes_that_begin_together_have_nothing_queued_for_each_other() {
        let handover = Arc::new(Handover::default());
        let (one, other) = (handover.seat("b", "one"), handover.seat("b", "other"));
        one.want(&wanted("d/#"), &[]);
        other.want(&wanted("d/+/alarm"), &[]);
        let mut copies = Copies::new(one, &wanted("d/#"), false);
        copies.connected();
        assert!(!copies.has("d/1/alarm"));
    }
}
