//! What an onlooker sees.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;

use crate::link::Link;
use crate::ops::certificates::Certificates;
use crate::ops::{LaneOverview, Overview};
use crate::sink::DeadLetters;
use crate::sink::dead_letter::forward::ForwardMonitor;
use crate::source::Dropped;
use crate::{queue, sink};

/// All lanes that run; one that has been emptied is gone from it.
#[derive(Debug, Clone, Default)]
pub struct View(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    lanes: Vec<LaneView>,
    /// The forwarding of dead letters, if it is configured.
    forward: Option<Arc<ForwardMonitor>>,
    /// What brokers say they dropped, by the name of the `[[mqtt]]` table.
    dropped: BTreeMap<String, Arc<Dropped>>,
    certificates: Arc<Certificates>,
}

/// One lane.
#[derive(Debug, Clone)]
pub struct LaneView {
    /// Its name.
    pub name: String,
    /// No route uses it: it runs until it is empty.
    pub is_leaving: bool,
    /// `[[mqtt]] name` and state, in file order. A source that has done its work takes its link with it.
    pub brokers: Vec<(String, Weak<watch::Sender<Link>>)>,
    /// Its queue.
    pub queue: queue::Monitor,
    /// Its sink.
    pub sink: Arc<sink::Monitor>,
    /// Its dead letters.
    pub letters: Arc<DeadLetters>,
}

impl View {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, lane: LaneView) {
        self.inner().lanes.push(lane);
    }

    pub(super) fn forwards(&self, forward: Arc<ForwardMonitor>) {
        self.inner().forward = Some(forward);
    }

    pub(super) fn listens(&self, broker: &str, dropped: Arc<Dropped>) {
        self.inner().dropped.insert(broker.to_owned(), dropped);
    }

    /// What a broker says it dropped, for any of its clients; `None` where it does not say.
    #[must_use]
    pub fn dropped_by(&self, broker: &str) -> Option<u64> {
        self.inner().dropped.get(broker)?.total()
    }

    /// The certificates that the configuration names.
    #[must_use]
    pub fn certificates(&self) -> Arc<Certificates> {
        Arc::clone(&self.inner().certificates)
    }

    pub(super) fn remove(&self, name: &str) {
        self.inner().lanes.retain(|lane| lane.name != name);
    }

    /// The lanes now. Not to be held: a lane that has been emptied is closed when the last of these is gone.
    #[must_use]
    pub fn lanes(&self) -> Vec<LaneView> {
        self.inner().lanes.clone()
    }

    /// The state of everything now.
    #[must_use]
    pub fn overview(&self) -> Overview {
        let inner = self.inner();
        Overview {
            lanes: inner.lanes.iter().map(LaneView::overview).collect(),
            not_forwarded: inner.forward.as_ref().and_then(|forward| forward.trouble()),
        }
    }

    /// Messages that have ever become durable, in all lanes that run.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.inner().lanes.iter().map(|lane| lane.queue.last().0).sum()
    }
}

impl LaneView {
    /// The state of the lane now.
    #[must_use]
    pub fn overview(&self) -> LaneOverview {
        let brokers = self.brokers.iter();
        LaneOverview {
            name: self.name.clone(),
            is_leaving: self.is_leaving,
            brokers: brokers
                .filter_map(|(name, link)| Some((name.clone(), link.upgrade()?.borrow().clone())))
                .collect(),
            kafka: self.sink.link(),
            queue: self.queue.status(),
            held: self.sink.held(),
            counts: self.sink.counts(),
            letters: self.letters.stand(),
        }
    }

    /// Time since the last sign of life of the thread that has been silent for longest.
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.queue.writer_pulse().age().max(self.sink.pulse.age())
    }
}
