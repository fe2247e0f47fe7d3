//! What an onlooker sees.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;

use crate::app::watch::Vigil;
use crate::config::Config;
use crate::link::Link;
use crate::ops::certificates::Certificates;
use crate::ops::state::NotApplied;
use crate::sink::DeadLetters;
use crate::sink::dead_letter::forward::ForwardMonitor;
use crate::source::{Counters, Dropped};
use crate::{queue, sink};

/// All lanes that run; one that has been emptied is gone from it.
#[derive(Debug, Clone, Default)]
pub struct View(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    lanes: Vec<LaneView>,
    /// Names of lanes that are closed at the moment, to be opened anew.
    exchanged: BTreeSet<String>,
    /// Whether all goes round.
    vigil: Arc<Vigil>,
    /// The forwarding of dead letters, if it is configured.
    forward: Option<Arc<ForwardMonitor>>,
    /// What brokers say they dropped, by the name of the `[[mqtt]]` table.
    dropped: BTreeMap<String, Arc<Dropped>>,
    certificates: Arc<Certificates>,
    /// What runs, once something does.
    config: Option<Arc<Config>>,
    /// A configuration that was refused since.
    not_applied: Option<NotApplied>,
}

/// One lane.
#[derive(Debug, Clone)]
pub struct LaneView {
    /// Its name.
    pub name: String,
    /// No route uses it: it runs until it is empty.
    pub is_leaving: bool,
    /// Its connections, in file order.
    pub brokers: Vec<BrokerView>,
    /// Its own routes, by number in the file, with their names.
    pub routes: Vec<(usize, String)>,
    /// The limits of its queue.
    pub limits: queue::Config,
    /// The account that its files held before it was opened, if they did.
    pub before: Option<queue::Balance>,
    /// Its queue.
    pub queue: queue::Monitor,
    /// Its sink.
    pub sink: Arc<sink::Monitor>,
    /// Its dead letters.
    pub letters: Arc<DeadLetters>,
}

/// One connection to a broker.
#[derive(Debug, Clone)]
pub struct BrokerView {
    /// `[[mqtt]] name`
    pub name: String,
    /// Its state. A source that has done its work takes it with it.
    pub link: Weak<watch::Sender<Link>>,
    /// What it counts.
    pub counters: Arc<Counters>,
}

impl View {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, lane: LaneView) {
        let mut inner = self.inner();
        inner.exchanged.remove(&lane.name);
        inner.lanes.push(lane);
    }

    /// Lets go of a lane that is to be opened anew. It is known as such until then, or until [`View::settled`].
    pub(super) fn exchange(&self, name: &str) {
        let mut inner = self.inner();
        inner.lanes.retain(|lane| lane.name != name);
        inner.exchanged.insert(name.to_owned());
    }

    /// No lane is being exchanged any more; one that did not come back is gone.
    pub(super) fn settled(&self) {
        self.inner().exchanged.clear();
    }

    /// Lanes that are closed at the moment, to be opened anew.
    #[must_use]
    pub fn exchanged(&self) -> BTreeSet<String> {
        self.inner().exchanged.clone()
    }

    /// Who judges whether all goes round.
    #[must_use]
    pub fn vigil(&self) -> Arc<Vigil> {
        Arc::clone(&self.inner().vigil)
    }

    pub(super) fn forwards(&self, forward: Option<Arc<ForwardMonitor>>) {
        self.inner().forward = forward;
    }

    /// Lanes in the order of these names.
    pub(super) fn sort(&self, names: &[String]) {
        let place = |lane: &LaneView| names.iter().position(|name| *name == lane.name);
        self.inner().lanes.sort_by_key(place);
    }

    pub(super) fn runs(&self, config: Arc<Config>) {
        self.inner().config = Some(config);
    }

    /// The configuration that runs: another one after a reload. `None` before anything runs.
    #[must_use]
    pub fn config(&self) -> Option<Arc<Config>> {
        self.inner().config.clone()
    }

    pub(super) fn set_not_applied(&self, refused: Option<NotApplied>) {
        self.inner().not_applied = refused;
    }

    /// The configuration that was refused last, if none was applied since.
    #[must_use]
    pub fn not_applied(&self) -> Option<NotApplied> {
        self.inner().not_applied.clone()
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

    /// Why dead letters are not forwarded at the moment.
    #[must_use]
    pub fn not_forwarded(&self) -> Option<String> {
        self.inner()
            .forward
            .as_ref()
            .and_then(|forward| forward.trouble())
    }

    /// Messages that are durable and not done, in all lanes that run.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        let lanes = self.lanes();
        lanes.iter().map(|lane| lane.queue.balance().queued).sum()
    }

    /// Messages that have ever become durable, in all lanes that run.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.inner().lanes.iter().map(|lane| lane.queue.last().0).sum()
    }
}

impl LaneView {
    /// Time since the last sign of life of the thread that has been silent for longest.
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.queue.writer_pulse().age().max(self.sink.pulse.age())
    }
}
