//! Who wants what of one broker, over all lanes, so that a filter moves from one session to another without a gap.
//!
//! A session keeps a filter that its lane no longer wants until every wanted filter that shares messages with it has been
//! granted, whichever lane wants it. Meanwhile the broker sends a message to both sessions, and nobody can tell which
//! ones: so they are marked as possible second copies, on both sides ([`Copies`]).

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
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
    /// No earlier process asked for it: the broker has sent nothing for it to this session before. Where nothing was ever
    /// settled, all that is not new counts as settled.
    is_new: bool,
    /// The SUBSCRIBE may have left, in this process or an earlier one.
    asked: bool,
    /// The lane is connected.
    is_up: bool,
    grant: Grant,
}

/// What the broker says to a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grant {
    /// Nothing in this process, or it refused it.
    Open,
    /// Granted, and nothing says that it forgot it since.
    Given,
    /// It has forgotten sessions since it last granted this, if it ever did.
    InDoubt,
}

/// A filter that another lane wants of the same broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Foreign {
    /// Who wants it.
    pub lane: String,
    /// MQTT topic filter.
    pub filter: String,
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

impl Want {
    fn foreign(&self) -> Foreign {
        Foreign {
            lane: self.lane.clone(),
            filter: self.filter.clone(),
        }
    }

    fn is(&self, foreign: &Foreign) -> bool {
        self.lane == foreign.lane && self.filter == foreign.filter
    }
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

    /// Forgets the places that are no more: what was wanted there nobody will ever be granted, and what the others hold for
    /// it they would hold for ever. To be called when all lanes that come instead have said what they want.
    pub fn keep(&self, is_there: impl Fn(&str, &str) -> bool) {
        self.0.send_modify(|all| {
            all.wants.retain(|want| is_there(&want.broker, &want.lane));
            all.holds.retain(|hold| is_there(&hold.broker, &hold.lane));
        });
    }
}

impl Seat {
    /// Says what the lane wants; `before` is what its session may hold. To be said for all lanes that start together before
    /// any of them connects. A lane that runs again says it anew, in one step: what other sessions hold for it they go on
    /// holding.
    pub(super) fn want(&self, wanted: &[Subscription], before: &[String]) {
        let wants = wanted.iter().map(|wanted| Want {
            broker: self.broker.clone(),
            lane: self.lane.clone(),
            filter: wanted.filter.clone(),
            is_new: !before.contains(&wanted.filter),
            asked: before.contains(&wanted.filter),
            is_up: false,
            grant: Grant::Open,
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
            all.wants.retain(|want| !self.is_ours(&want.broker, &want.lane));
            all.holds.retain(|hold| !self.is_ours(&hold.broker, &hold.lane));
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
    pub(super) fn grant<'a>(&self, granted: impl IntoIterator<Item = &'a str>) {
        // Looked for with each filter, at each SUBACK: a list would cost the cube of the filters.
        let granted: HashSet<&str> = granted.into_iter().collect();
        self.change(|want| {
            want.grant = match want.grant {
                _ if granted.contains(want.filter.as_str()) => Grant::Given,
                Grant::InDoubt => Grant::InDoubt,
                Grant::Open | Grant::Given => Grant::Open,
            };
        });
    }

    /// CONNACK. A broker that has lost our session may have lost those of lanes that are not back yet: what they were
    /// granted is in doubt until they are told so again.
    pub(super) fn connected(&self, session_present: bool) {
        self.change(|want| {
            want.is_up = true;
            if !session_present {
                want.grant = Grant::InDoubt;
            }
        });
        if session_present {
            return;
        }
        self.all.0.send_modify(|all| {
            let wants = all.wants.iter_mut();
            for want in wants.filter(|want| self.is_other(want) && !want.is_up) {
                want.grant = Grant::InDoubt;
            }
        });
    }

    /// The connection is over.
    pub(super) fn disconnected(&self) {
        self.change(|want| want.is_up = false);
    }

    /// Whether the session can do without `filter`: all that is wanted of its messages comes another way.
    pub(super) fn can_spare(&self, filter: &str) -> bool {
        let all = self.all.0.borrow();
        let mut sharing = all
            .wants
            .iter()
            .filter(|want| want.broker == self.broker && overlaps(&want.filter, filter));
        sharing.all(|want| want.grant == Grant::Given)
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

    /// What other lanes want, and this is true of.
    fn foreign(&self, is_meant: impl Fn(&Want) -> bool) -> Vec<Foreign> {
        let all = self.all.0.borrow();
        let wants = all.wants.iter();
        wants
            .filter(|want| self.is_other(want) && is_meant(want))
            .map(Want::foreign)
            .collect()
    }

    /// What other lanes want for the first time of messages that this session was sent before, when that was never settled.
    fn new_elsewhere(&self) -> Vec<Foreign> {
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
        let others = all.wants.iter().filter(|want| self.is_other(want) && want.is_new);
        others.filter(|want| is_shared(want)).map(Want::foreign).collect()
    }

    /// Changes whenever [`Seat::can_spare`] may have changed.
    pub(super) fn changes(&self) -> Changes {
        Changes(self.all.0.subscribe())
    }

    fn is_other(&self, want: &Want) -> bool {
        want.broker == self.broker && want.lane != self.lane
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

/// What a broker had queued for a session counts as sent when more pings than this in a row found the line idle after another
/// lane was granted its filter: all that came was acknowledged before the ping left, and nothing came before its answer. A broker
/// with something queued sends it as soon as there is room in its window, so one would do for a broker that does so at once. With
/// the usual keep-alive of half a minute this is some minutes, and on a line that is never idle it does not end: messages that
/// are marked may come twice, without the mark some would not come at all.
const QUEUED_PONGS: u32 = 10;

/// Knows the messages that another lane's session may have got too.
#[derive(Debug)]
pub struct Copies {
    seat: Seat,
    others: Others,
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
    /// What was settled in earlier processes; `None` when nothing is known of it.
    settled: Option<Vec<Foreign>>,
    /// What is not settled: the broker may have something for this session that the other lane has no copy of.
    coming: Vec<Coming>,
    /// Messages of this connection that are not acknowledged.
    owed: u32,
    /// Nothing was owed when the last PINGREQ left, and nothing came since.
    is_idle: bool,
}

/// A filter that another lane gets, and what this session has queued for it from before.
#[derive(Debug)]
struct Coming {
    what: Foreign,
    /// PINGRESPs in a row that found the line idle since it was granted.
    quiet_pongs: u32,
}

impl Copies {
    pub(super) fn new(
        seat: Seat,
        wanted: &[Subscription],
        is_old: bool,
        settled: Option<Vec<Foreign>>,
    ) -> Self {
        let here = seat.held_here();
        Self {
            others: Others::of(&seat),
            seat,
            wanted: wanted.iter().map(|wanted| wanted.filter.clone()).collect(),
            is_old,
            elsewhere: Vec::new(),
            last_seen: Vec::new(),
            last_seen_here: here.clone(),
            here,
            settled,
            coming: Vec::new(),
            owed: 0,
            is_idle: false,
        }
    }

    /// All lanes have said what they want, and none is connected.
    pub(super) fn begin(&mut self) {
        let coming = match &self.settled {
            Some(settled) => self
                .seat
                .foreign(|want| !settled.iter().any(|settled| want.is(settled))),
            None => self.seat.new_elsewhere(),
        };
        self.await_copies_of(coming);
    }

    /// What other lanes surely have their own copies of, whatever the broker still has for this session.
    pub(super) fn settled(&self) -> Vec<Foreign> {
        let is_coming = |want: &Want| self.coming.iter().any(|coming| want.is(&coming.what));
        self.seat
            .foreign(|want| want.grant != Grant::InDoubt && !is_coming(want))
    }

    fn await_copies_of(&mut self, what: Vec<Foreign>) {
        for what in what {
            match self.coming.iter_mut().find(|coming| coming.what == what) {
                Some(coming) => coming.quiet_pongs = 0,
                None => self.coming.push(Coming { what, quiet_pongs: 0 }),
            }
        }
    }

    /// PUBLISH.
    pub(super) const fn came(&mut self, qos: u8) {
        self.is_idle = false;
        if qos > 0 {
            self.owed = self.owed.saturating_add(1);
        }
    }

    /// PUBACK left.
    pub(super) const fn acknowledged(&mut self) {
        self.owed = self.owed.saturating_sub(1);
    }

    /// PINGREQ left.
    pub(super) const fn pinged(&mut self) {
        self.is_idle = self.owed == 0;
    }

    /// CONNACK, after [`Seat::connected`].
    pub(super) fn connected(&mut self, session_present: bool) {
        (self.owed, self.is_idle) = (0, false);
        if session_present {
            // The broker may have queued while we were away what a lane without a session did not get.
            self.await_copies_of(self.seat.foreign(|want| want.grant == Grant::InDoubt));
        }
        if self.elsewhere.is_empty() {
            self.elsewhere = self.seat.held_elsewhere();
            self.last_seen = self.elsewhere.clone();
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
        self.await_copies_of(self.seat.foreign(|want| want.grant == Grant::InDoubt));
        let is_idle = std::mem::take(&mut self.is_idle);
        if self.coming.is_empty() {
            return;
        }
        let missing = self.seat.foreign(|want| want.grant != Grant::Given);
        for coming in &mut self.coming {
            let is_quiet = is_idle && !missing.contains(&coming.what);
            coming.quiet_pongs = if is_quiet { coming.quiet_pongs + 1 } else { 0 };
        }
        self.coming.retain(|coming| coming.quiet_pongs <= QUEUED_PONGS);
    }

    /// Whether this message may be one of them. What others want is looked at first: our own filters may be thousands, and mostly nobody else
    /// wants anything.
    pub(super) fn has(&mut self, topic: &str) -> bool {
        self.others.look(&self.seat);
        let has_it = |filters: &[String]| filters.iter().any(|filter| covers(filter, topic));
        let is_ours = || has_it(&self.wanted);
        let is_coming = || {
            let mut coming = self.coming.iter();
            coming.any(|coming| covers(&coming.what.filter, topic)) || has_it(&self.others.in_doubt)
        };
        has_it(&self.elsewhere)
            // What is wanted by nobody here goes out by the other lane's routes anyway.
            || (is_coming() || has_it(&self.here)) && is_ours()
            || self.is_old && has_it(&self.others.asked) && !is_ours()
    }
}

/// Filters that other lanes want of the broker. Each message asks for them, so they are read again only when something changed.
#[derive(Debug)]
struct Others {
    all: watch::Receiver<All>,
    /// They may have asked for these.
    asked: Vec<String>,
    /// They may have no session that gets these.
    in_doubt: Vec<String>,
}

impl Others {
    fn of(seat: &Seat) -> Self {
        let mut others = Self {
            all: seat.all.0.subscribe(),
            asked: Vec::new(),
            in_doubt: Vec::new(),
        };
        others.read(seat);
        others
    }

    fn look(&mut self, seat: &Seat) {
        // The seat has the other end, so it cannot be gone.
        if self.all.has_changed().unwrap_or(true) {
            self.read(seat);
        }
    }

    fn read(&mut self, seat: &Seat) {
        let all = self.all.borrow_and_update();
        let those = |is_meant: fn(&Want) -> bool| -> Vec<String> {
            let wants = all
                .wants
                .iter()
                .filter(|want| seat.is_other(want) && is_meant(want));
            wants.map(|want| want.filter.clone()).collect()
        };
        let asked = those(|want| want.asked);
        let in_doubt = those(|want| want.grant == Grant::InDoubt);
        drop(all);
        (self.asked, self.in_doubt) = (asked, in_doubt);
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
        old.grant(["t/+"]);
        assert!(!old.can_spare("+/+"));
        new.grant(["a/+"]);
        assert!(old.can_spare("+/+"));
        assert!(old.can_spare("a/1"));
        new.grant([]);
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
        let mut copies = Copies::new(old, &wanted("b/+"), true, None);
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
        let mut copies = Copies::new(seat.clone(), &shared, true, None);
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
        let mut copies = Copies::new(new, &wanted("#"), false, None);
        copies.begin();
        copies.connected(true);
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
        let mut copies = Copies::new(old.clone(), &wanted("d/#"), false, None);
        copies.begin();
        copies.connected(true);
        pings(&mut copies, 3 * QUEUED_PONGS);
        assert!(copies.has("d/1/alarm"), "nobody else is subscribed yet");
        assert!(!copies.has("d/1/other"));
        new.ask(&wanted("d/+/alarm"));
        new.grant(["d/+/alarm"]);
        for _ in 0..QUEUED_PONGS {
            pings(&mut copies, 1);
            assert!(copies.has("d/1/alarm"), "it may have been queued before");
        }
        assert_eq!(copies.settled(), []);
        pings(&mut copies, 1);
        assert!(!copies.has("d/1/alarm"));
        let settled = copies.settled();
        assert_eq!(settled.len(), 1);
        copies.connected(true);
        assert!(!copies.has("d/1/alarm"), "that was once");
        let mut later = Copies::new(old, &wanted("d/#"), false, Some(settled));
        later.begin();
        assert!(!later.has("d/1/alarm"), "in all processes");
    }

    /// So many pings, each answered before anything else comes.
    fn pings(copies: &mut Copies, count: u32) {
        for _ in 0..count {
            copies.pinged();
            copies.ponged();
        }
    }

    #[test]
    fn pings_do_not_end_the_marking_while_the_broker_is_still_sending_what_it_had_queued() {
        let handover = Arc::new(Handover::default());
        let (old, new) = (handover.seat("b", "old"), handover.seat("b", "new"));
        old.want(&wanted("d/#"), &["d/#".to_owned()]);
        new.want(&wanted("d/+/alarm"), &[]);
        let mut copies = Copies::new(old, &wanted("d/#"), false, None);
        copies.begin();
        copies.connected(true);
        new.grant(["d/+/alarm"]);
        for _ in 0..3 * QUEUED_PONGS {
            copies.came(1);
            pings(&mut copies, 1);
            copies.acknowledged();
            assert!(copies.has("d/1/alarm"), "the window may have been full");
        }
        for _ in 0..3 * QUEUED_PONGS {
            copies.pinged();
            copies.came(0);
            copies.ponged();
            assert!(copies.has("d/1/alarm"), "it came before the answer");
        }
        pings(&mut copies, QUEUED_PONGS);
        copies.ponged();
        pings(&mut copies, QUEUED_PONGS);
        assert!(copies.has("d/1/alarm"), "they have to be in a row");
        pings(&mut copies, 1);
        assert!(!copies.has("d/1/alarm"));
    }

    #[test]
    fn lanes_that_begin_together_mark_what_the_other_one_may_lack_until_it_is_granted() {
        let handover = Arc::new(Handover::default());
        let (one, other) = (handover.seat("b", "one"), handover.seat("b", "other"));
        one.want(&wanted("d/#"), &[]);
        other.want(&wanted("d/+/alarm"), &[]);
        let mut copies = Copies::new(one.clone(), &wanted("d/#"), false, None);
        copies.begin();
        one.connected(false);
        copies.connected(false);
        assert!(copies.has("d/1/alarm"));
        assert_eq!(copies.settled(), []);
        other.connected(false);
        other.grant(["d/+/alarm"]);
        assert!(!copies.has("d/1/alarm"));
        assert_eq!(copies.settled().len(), 1);
    }

    #[test]
    fn a_lane_that_runs_again_is_never_seen_without_its_wants_and_one_that_is_gone_holds_nobody_up() {
        let handover = Arc::new(Handover::default());
        let (one, other) = (handover.seat("b", "one"), handover.seat("b", "other"));
        one.want(&[], &["d/#".to_owned()]);
        other.want(&wanted("d/+/alarm"), &[]);
        other.grant(["d/+/alarm"]);
        assert!(one.can_spare("d/#"));
        other.want(&wanted("d/+/alarm"), &["d/+/alarm".to_owned()]);
        assert!(
            !one.can_spare("d/#"),
            "it is not granted to the lane that runs now"
        );
        other.grant(["d/+/alarm"]);
        assert!(
            one.can_spare("d/#"),
            "what it said before does not count any more"
        );
        other.want(&wanted("d/+/log"), &[]);
        handover.keep(|broker, lane| (broker, lane) != ("b", "other"));
        assert!(one.can_spare("d/#"), "nobody will ever grant it");
        assert_eq!(one.held_here(), ["d/#"], "those that are there stay");
    }

    #[test]
    fn a_lost_session_puts_what_lanes_that_are_not_back_were_granted_in_doubt() {
        let handover = Arc::new(Handover::default());
        let (one, other) = (handover.seat("b", "one"), handover.seat("b", "other"));
        let third = handover.seat("b", "third");
        for (seat, filter) in [(&one, "d/#"), (&other, "d/+/alarm"), (&third, "d/+/log")] {
            seat.want(&wanted(filter), &[filter.to_owned()]);
            seat.connected(true);
            seat.grant([filter]);
        }
        let mut copies = Copies::new(one.clone(), &wanted("d/#"), false, None);
        copies.begin();
        copies.connected(true);
        other.disconnected();
        one.connected(true);
        copies.connected(true);
        assert!(!copies.has("d/1/alarm"), "the broker kept our session");
        one.connected(false);
        copies.connected(false);
        assert!(copies.has("d/1/alarm"));
        assert!(!copies.has("d/1/log"), "that lane is connected");
        assert!(!one.can_spare("d/#"));
        pings(&mut copies, 1);
        other.connected(true);
        other.grant(["d/+/alarm"]);
        pings(&mut copies, QUEUED_PONGS);
        assert!(copies.has("d/1/alarm"), "what came meanwhile may be queued");
        pings(&mut copies, 1);
        assert!(!copies.has("d/1/alarm"));
    }
}
