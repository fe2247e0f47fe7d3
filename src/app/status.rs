//! The connections beside the lanes, one for each broker: they say how the gateway is (`status_topic`), and hear what the broker
//! has dropped.

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
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Statuses {
    /// Starts them. Must be called in a tokio runtime.
    pub(super) fn start(
        config: &Config,
        identity: &Identity,
        plans: &[Plan],
        view: &View,
    ) -> Result<Self, AppError> {
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        // The configuration has none of this name; an earlier one may have had, and it may still be emptied.
        let is_taken = plans.iter().any(|plan| plan.name == STATUS);
        for broker in &config.brokers {
            let dropped = Arc::default();
            let status = Status::new(broker, &identity.gateway, Arc::clone(&dropped));
            view.listens(&broker.name, dropped);
            let status = status.map_err(|error| AppError::Source {
                broker: broker.name.clone(),
                source: source::OpenError::Backoff(error),
            })?;
            match status {
                Some(status) if is_taken && status.is_telling() => tracing::error!(
                    broker = broker.name,
                    lane = STATUS,
                    "the status is not told: its client id is that of a lane that is still being emptied; it is told from the next \
                     start on after that"
                ),
                Some(status) => {
                    tasks.spawn(status.run(stop.clone()));
                }
                None => {}
            }
        }
        Ok(Self { tasks, stop })
    }

    /// Says at each broker that the gateway stops.
    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        let stopped = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(PATIENCE, stopped).await.is_err() {
            tracing::warn!("a broker did not hear in time that the gateway stops; it will say offline");
        }
    }
}
