//! A gateway that is switched off, killed, synchronised or not, in any order: what is said of a message that was submitted
//! once never changes, and nothing wrong is said.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// The right time when the first boot begins.
const START_MS: i64 = 1_700_000_000_000;

/// What happens to the gateway.
#[derive(Debug, Clone)]
enum Step {
    /// So many messages arrive, a second apart.
    Store(u8),
    /// Up to so many of those that were not submitted since the start are submitted.
    Submit(u8),
    /// Kafka confirms what was submitted since the start, up to this part of it.
    Confirm(u8),
    /// The clock is synchronised.
    Synchronise,
    /// SIGKILL, then a start.
    Kill,
    /// A stop in order, then a start.
    Restart,
    /// The power goes; so long (minutes) nothing runs.
    PowerCut(u16),
    /// Time passes, minutes.
    Pass(u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1_u8..6).prop_map(Step::Store),
        4 => (1_u8..6).prop_map(Step::Submit),
        2 => (1_u8..6).prop_map(Step::Confirm),
        1 => Just(Step::Synchronise),
        1 => Just(Step::Kill),
        1 => Just(Step::Restart),
        1 => (0_u16..2_000).prop_map(Step::PowerCut),
        1 => (0_u16..2_000).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..60)
}

struct Gateway {
    facts: Facts,
    /// As a kill or a power cut leaves them.
    kept: Facts,
    now_ms: i64,
    boot: u64,
    began_ms: i64,
    is_synchronised: bool,
    messages: Vec<(Arrival, i64)>,
    /// Submitted since the start, and confirmed.
    taken: usize,
    cursor: usize,
    /// What was said when a message was submitted first, and whether a right time was known then.
    said: BTreeMap<usize, Told>,
}

impl Gateway {
    fn new() -> Self {
        let mut gateway = Self {
            facts: Facts::default(),
            kept: Facts::default(),
            now_ms: START_MS,
            boot: 0,
            began_ms: START_MS,
            is_synchronised: false,
            messages: Vec::new(),
            taken: 0,
            cursor: 0,
            said: BTreeMap::new(),
        };
        gateway.open();
        gateway
    }

    fn tail(&self) -> Seq {
        Seq(self.messages.len() as u64)
    }

    fn open(&mut self) {
        self.facts.open(Opened {
            boot: self.boot,
            tail: self.tail(),
            cursor: Seq(self.cursor as u64),
        });
        self.taken = self.cursor;
    }

    fn keep(&mut self) {
        self.kept = self.facts.clone();
    }

    fn boot(&mut self) {
        self.boot += 1;
        self.began_ms = self.now_ms;
        self.is_synchronised = false;
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Store(count) => (0..count).for_each(|_| self.store()),
            Step::Submit(count) => (0..count).for_each(|_| self.submit()),
            Step::Confirm(count) => self.cursor = self.taken.min(self.cursor + usize::from(count)),
            Step::Synchronise => self.synchronise(),
            Step::Kill => {
                self.facts = self.kept.clone();
                self.open();
            }
            Step::Restart => {
                if self.is_synchronised {
                    self.facts.see(self.boot, self.now_ms);
                }
                self.facts.settle();
                self.keep();
                self.open();
            }
            Step::PowerCut(minutes) => {
                self.now_ms += 1 + i64::from(minutes) * 60_000;
                self.boot();
                self.facts = self.kept.clone();
                self.open();
            }
            Step::Pass(minutes) => self.now_ms += i64::from(minutes) * 60_000,
        }
    }

    fn store(&mut self) {
        self.now_ms += 1_000;
        let mut arrival = Arrival::trial(1, "a/b", "x");
        let since_boot = self.now_ms - self.began_ms;
        arrival.stamp = Stamp {
            // A clock without a battery begins in 1970.
            unix_ms: if self.is_synchronised {
                self.now_ms
            } else {
                since_boot
            },
            boot_ms: u64::try_from(since_boot).expect("time goes on"),
            boot: self.boot,
            synchronised: self.is_synchronised,
        };
        self.messages.push((arrival, self.now_ms));
    }

    fn submit(&mut self) {
        let Some((arrival, right_ms)) = self.messages.get(self.taken) else {
            return;
        };
        self.taken += 1;
        let seq = Seq(self.taken as u64);
        let told = self.facts.tell(seq, arrival);
        check(&told, *right_ms);
        if self.facts.is_as_it_stood(seq, arrival) {
            if !self.facts.is_reserved(seq) {
                self.facts.reserve(seq);
                self.keep();
            }
            self.facts.submitted(seq);
        }
        let first = self.said.entry(self.taken).or_insert_with(|| told.clone());
        assert_eq!(*first, told, "message {}", self.taken);
    }

    fn synchronise(&mut self) {
        let correction = Correction {
            boot: self.boot,
            began_ms: self.began_ms,
        };
        self.is_synchronised = true;
        if !self.facts.knows(self.boot) {
            let mut facts = self.facts.clone();
            let tail = self.tail();
            assert!(facts.correct(correction, tail));
            self.facts = facts;
            self.keep();
        }
        self.facts.see(self.boot, self.now_ms);
        self.every_message_of_this_boot_is_right();
    }

    /// What was not submitted before is corrected now.
    fn every_message_of_this_boot_is_right(&self) {
        for (index, (arrival, right_ms)) in self.messages.iter().enumerate() {
            let seq = index + 1;
            if arrival.stamp.boot == self.boot && seq > self.taken && !self.said.contains_key(&seq) {
                let told = self.facts.tell(Seq(seq as u64), arrival);
                let is_reserved = self.facts.is_as_it_stood(Seq(seq as u64), arrival);
                assert!(told.arrival_ms == *right_ms || is_reserved, "message {seq}");
            }
        }
    }
}

/// Nothing wrong is said of a message that arrived at `right_ms`.
fn check(told: &Told, right_ms: i64) {
    let Some(clock) = &told.clock else {
        assert_eq!(told.arrival_ms, right_ms);
        return;
    };
    if clock == "corrected" {
        assert_eq!((told.arrival_ms, told.record_ms), (right_ms, right_ms));
    }
    for part in clock.split("; ") {
        let bound = |text: &str| humantime::parse_rfc3339(text).expect("a time");
        let right =
            std::time::UNIX_EPOCH + std::time::Duration::from_millis(u64::try_from(right_ms).expect("late"));
        if let Some(before) = part.strip_prefix("before=") {
            assert!(right <= bound(before), "{clock}, {right_ms}");
        }
        if let Some(after) = part.strip_prefix("after=") {
            assert!(right >= bound(after), "{clock}, {right_ms}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn what_was_said_of_a_message_once_is_said_for_ever_and_is_right(steps in steps()) {
        let mut gateway = Gateway::new();
        for step in &steps {
            gateway.step(step);
        }
    }
}

/// A gateway that was in use, and is offline with its clock in 1970 since.
fn offline(stored: u8) -> Gateway {
    let mut gateway = Gateway::new();
    let past = [
        Step::Synchronise,
        Step::Store(1),
        Step::Submit(1),
        Step::Confirm(1),
        Step::Restart,
    ];
    for step in past.iter().chain(&[Step::PowerCut(60), Step::Store(stored)]) {
        gateway.step(step);
    }
    gateway
}

#[test]
fn what_was_never_submitted_is_corrected_and_what_was_stays() {
    let mut gateway = offline(4);
    gateway.step(&Step::Submit(2));
    gateway.step(&Step::Synchronise);
    let clocks = |gateway: &Gateway| -> Vec<Option<String>> {
        let messages = gateway.messages.iter().enumerate();
        messages
            .map(|(index, (arrival, _))| gateway.facts.tell(Seq(index as u64 + 1), arrival).clock)
            .collect()
    };
    let text = |text: &str| Some(text.to_owned());
    let expected = [
        None,
        text("unsynchronised"),
        text("unsynchronised"),
        text("corrected"),
        text("corrected"),
    ];
    assert_eq!(clocks(&gateway), expected);
    for step in [
        Step::Kill,
        Step::PowerCut(5),
        Step::Synchronise,
        Step::PowerCut(5),
        Step::Restart,
    ] {
        gateway.step(&step);
        assert_eq!(clocks(&gateway), expected);
    }
}

#[test]
fn a_boot_that_never_knew_the_time_gets_bounds_and_retention_leaves_it_alone() {
    let mut gateway = offline(2);
    gateway.step(&Step::PowerCut(60));
    gateway.step(&Step::Store(1));
    gateway.step(&Step::Synchronise);
    let told = gateway.facts.tell(Seq(3), &gateway.messages[2].0);
    assert_eq!(told.arrival_ms, 2_000, "its own idea");
    assert_eq!(told.record_ms, gateway.began_ms);
    let after = rfc3339(START_MS + 1_000);
    let before = rfc3339(gateway.began_ms);
    assert_eq!(
        told.clock,
        Some(format!("unsynchronised; after={after}; before={before}"))
    );
}

#[test]
fn what_goes_out_as_it_stood_is_not_stamped_before_the_last_right_time() {
    let gateway = offline(1);
    let told = gateway.facts.tell(Seq(2), &gateway.messages[1].0);
    assert_eq!((told.arrival_ms, told.record_ms), (1_000, START_MS + 1_000));
}

#[test]
fn a_kill_costs_the_corrections_of_one_step_at_most() {
    let mut gateway = offline(2);
    gateway.step(&Step::Submit(1));
    gateway.step(&Step::Kill);
    gateway.step(&Step::Synchronise);
    let arrival = &gateway.messages[2].0;
    let first = 2 + STEP;
    assert!(gateway.facts.is_as_it_stood(Seq(first), arrival));
    assert!(!gateway.facts.is_as_it_stood(Seq(first + 1), arrival));
}

#[test]
fn facts_are_bounded_and_go_with_their_messages() {
    let mut facts = Facts::default();
    let correction = |boot| Correction {
        boot,
        began_ms: START_MS,
    };
    let open = |facts: &mut Facts, boot, tail, cursor| {
        facts.open(Opened {
            boot,
            tail: Seq(tail),
            cursor: Seq(cursor),
        });
    };
    for boot in 0..FACTS_MAX as u64 {
        open(&mut facts, boot, 5, 0);
        assert!(facts.correct(correction(boot), Seq(5)));
    }
    assert!(!facts.correct(correction(1_000), Seq(5)));
    assert!(!facts.knows(1_000));
    let bytes = postcard::to_stdvec(&facts).expect("encodes").len();
    assert!(bytes < 8_000, "{bytes} bytes do not fit into a slot");
    open(&mut facts, 1_000, 9, 5 + UNPROVEN);
    assert!(facts.correct(correction(1_000), Seq(9)));
}

#[test]
fn a_log_without_notes_is_taken_to_have_been_submitted() {
    let facts = Facts::unknown(Seq(7));
    assert!(facts.is_reserved(Seq(7 + UNPROVEN)) && !facts.is_reserved(Seq(8 + UNPROVEN)));
}

#[test]
fn nothing_is_said_about_the_boots_of_another_gateway() {
    let mut gateway = offline(2);
    gateway.step(&Step::Synchronise);
    let mut arrival = gateway.messages[1].0.clone();
    arrival.origin = Some(Box::new(crate::message::Origin {
        gateway: "other".to_owned(),
        epoch: crate::message::Epoch(1),
        lane: "default".to_owned(),
        seq: Seq(1),
    }));
    assert_eq!(
        gateway.facts.tell(Seq(2), &arrival).clock,
        Some("unsynchronised".to_owned())
    );
}
