//! What an onlooker sees of one lane.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;

use crate::link::Link;
use crate::sink::DeadLetters;
use crate::source::Counters;
use crate::{queue, sink};

/// One lane.
#[derive(Debug, Clone)]
pub struct LaneView {
    /// Its name.
    pub name: String,
    /// No route uses it: it runs until it is empty.
    pub is_leaving: bool,
    /// Its connections, in file order.
    pub brokers: Vec<BrokerView>,
    /// The names of its own routes, in file order.
    pub routes: Vec<String>,
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

impl LaneView {
    /// Time since the last sign of life of the thread that has been silent for longest.
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.queue.writer_pulse().age().max(self.sink.pulse.age())
    }
}
