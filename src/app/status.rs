//! The connections beside the lanes, one for each broker: they say how the gateway is (`status_topic`), and hear what the broker
//! has dropped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::AppError;
use crate::app::plan::Plan;
use crate::app::view::View;
use crate::config::Config;
use crate::identity::Identity;
use crate::source::{self, STATUS, Status};

/// How long the goodbyes may take; each has a limit of its own below it.
const PATIENCE: Duration = Duration::from_secs(5);

/// All of them, running. Whatever becomes of one, nothing else depends on it.
#[derive(Debug)]
pub(super) struct Statuses {
    tasks: JoinSet<String>,
    /// By the name of the broker.
    stops: BTreeMap<String, CancellationToken>,
}

impl Statuses {
    /// Starts them. Must be called in a tokio runtime.
    pub(super) fn start(
        config: &Config,
        identity: &Identity,
        plans: &[Plan],
        view: &View,
    ) -> Result<Self, AppError> {
        let mut statuses = Self {
            tasks: JoinSet::new(),
            stops: BTreeMap::new(),
        };
        for broker in &config.brokers {
            statuses.begin(broker, identity, plans, view)?;
        }
        Ok(statuses)
    }

    /// Begins to tell, and to hear, at this broker.
    fn begin(
        &mut self,
        broker: &source::Config,
        identity: &Identity,
        plans: &[Plan],
        view: &View,
    ) -> Result<(), AppError> {
        // The configuration has none of this name; an earlier one may have had, and it may still be emptied.
        let is_taken = plans.iter().any(|plan| plan.name == STATUS);
        let dropped = Arc::default();
        let status = Status::new(broker, &identity.gateway, Arc::clone(&dropped));
        view.listens(&broker.name, dropped);
        let status = status.map_err(|error| AppError::Source {
            broker: broker.name.clone(),
            source: source::OpenError::Backoff(error),
        })?;
        let name = broker.name.clone();
        match status {
            Some(status) if is_taken && status.is_telling() => tracing::error!(
                broker = name,
                lane = STATUS,
                "the status is not told: its client id is that of a lane that is still being emptied; it is told from the next \
                 start on after that"
            ),
            Some(status) => {
                let stop = CancellationToken::new();
                self.stops.insert(name.clone(), stop.clone());
                self.tasks.spawn(async move {
                    status.run(stop).await;
                    name
                });
            }
            None => {}
        }
        Ok(())
    }

    /// Says it anew at these brokers, by their tables in `config`; at those that have none any more it says goodbye. The other
    /// connections stay.
    pub(super) async fn renew(
        &mut self,
        names: &[String],
        config: &Config,
        identity: &Identity,
        plans: &[Plan],
        view: &View,
    ) -> Result<(), AppError> {
        for stop in names.iter().filter_map(|name| self.stops.remove(name)) {
            stop.cancel();
        }
        // Those that go on, and those that ended long ago, do not count.
        let ended = async {
            let mut waiting: Vec<&String> = names.iter().collect();
            while self.tasks.len() > self.stops.len() && !waiting.is_empty() {
                let Some(ended) = self.tasks.join_next().await else {
                    break;
                };
                waiting.retain(|name| ended.as_ref().ok() != Some(name));
            }
        };
        if tokio::time::timeout(PATIENCE, ended).await.is_err() {
            tracing::warn!("a broker did not hear in time that its status is told another way");
        }
        for broker in config
            .brokers
            .iter()
            .filter(|broker| names.contains(&broker.name))
        {
            self.begin(broker, identity, plans, view)?;
        }
        Ok(())
    }

    /// Says at each broker that the gateway stops.
    pub(super) async fn stop(mut self) {
        for stop in self.stops.values() {
            stop.cancel();
        }
        let stopped = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(PATIENCE, stopped).await.is_err() {
            tracing::warn!("a broker did not hear in time that the gateway stops; it will say offline");
        }
    }
}
