//! What an onlooker sees.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::app::lane_view::LaneView;
use crate::app::vigil::Vigil;
use crate::config::Config;
use crate::ops::certificates::Certificates;
use crate::ops::state::NotApplied;
use crate::sink::dead_letter::forward::ForwardMonitor;
use crate::source::Dropped;

/// All lanes that run; one that has been emptied is gone from it.
#[derive(Debug, Clone, Default)]
pub struct View(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    lanes: Vec<LaneView>,
    /// Names of lanes that are being stopped, to be opened anew.
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

impl View {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, lane: LaneView) {
        let mut inner = self.inner();
        inner.exchanged.remove(&lane.name);
        inner.lanes.push(lane);
    }

    /// These lanes are about to be stopped, and opened anew. They are known as such until then, or until [`View::settled`].
    pub(super) fn exchange(&self, names: &BTreeSet<String>) {
        self.inner().exchanged.extend(names.iter().cloned());
    }

    /// No lane is being exchanged any more; one that did not come back is gone.
    pub(super) fn settled(&self) {
        self.inner().exchanged.clear();
    }

    /// The lanes now, and the names of those that are being stopped and opened anew, which may be among them or not. Of one moment.
    /// Not to be held, as [`View::lanes`].
    #[must_use]
    pub fn lanes_and_exchanged(&self) -> (Vec<LaneView>, BTreeSet<String>) {
        let inner = self.inner();
        (inner.lanes.clone(), inner.exchanged.clone())
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
