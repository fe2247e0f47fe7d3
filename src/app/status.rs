//! The connections beside the lanes, one for each broker: they say how the gateway is (`status_topic`), and hear what the broker
//! has dropped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
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
#[derive(Debug, Default)]
pub(super) struct Statuses {
    /// By the name of the broker. Some may have ended by themselves.
    running: BTreeMap<String, Running>,
}

/// One of them.
#[derive(Debug)]
struct Running {
    broker: source::Config,
    stop: CancellationToken,
    /// Another one goes on in its place.
    handover: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// Whether it says at that broker what this one says. One that may be refused does not count: nobody would take back what
    /// this one said last.
    fn is_followed_by(&self, after: &source::Config) -> bool {
        let before = &self.broker;
        before.is_same_way_in(after) && before.status_topic == after.status_topic
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Statuses {
    /// Starts them. Must be called in a tokio runtime.
    pub(super) fn start(
        config: &Config,
        identity: &Identity,
        plans: &[Plan],
        view: &View,
    ) -> Result<Self, AppError> {
        let mut statuses = Self::default();
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
                let (stop, handover) = (CancellationToken::new(), CancellationToken::new());
                let status = status.followed(handover.clone());
                let running = Running {
                    broker: broker.clone(),
                    stop: stop.clone(),
                    handover,
                    task: tokio::spawn(status.run(stop)),
                };
                self.running.insert(name, running);
            }
            None => {}
        }
        Ok(())
    }

    /// Says it anew at these brokers, by their tables in `config`; at those that have none any more it says goodbye. The other
    /// connections stay. Where the same is said in the same place nobody hears that the gateway stops, for it does not.
    pub(super) async fn renew(
        &mut self,
        names: &[String],
        config: &Config,
        identity: &Identity,
        plans: &[Plan],
        view: &View,
    ) -> Result<(), AppError> {
        let mut leaving: Vec<Running> = names
            .iter()
            .filter_map(|name| self.running.remove(name))
            .collect();
        for each in &leaving {
            if config.brokers.iter().any(|after| each.is_followed_by(after)) {
                each.handover.cancel();
            }
            each.stop.cancel();
        }
        // A second connection with the same client id would end the first in the middle of its goodbye.
        if !have_ended(&mut leaving).await {
            tracing::warn!("a broker did not hear in time that its status is told another way");
        }
        drop(leaving);
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
    pub(super) async fn stop(self) {
        let mut leaving: Vec<Running> = self.running.into_values().collect();
        for each in &leaving {
            each.stop.cancel();
        }
        if !have_ended(&mut leaving).await {
            tracing::warn!("a broker did not hear in time that the gateway stops; it will say offline");
        }
    }
}

/// Waits for those that were told to stop. False when that takes too long; they end as they are dropped.
async fn have_ended(leaving: &mut [Running]) -> bool {
    let ended = async {
        for each in leaving {
            // However it ended.
            drop((&mut each.task).await);
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.is_ok()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::identity::{self, Machine};

    fn config(lines: &str) -> Config {
        let text = format!(
            "[gateway]\nid = \"gw\"\ndata_dir = \"/tmp/x\"\n[[mqtt]]\nname = \"a\"\nurl = \"mqtt://127.0.0.1:1\"\n\
             watch_broker = false\n{lines}[kafka]\nbootstrap_servers = [\"127.0.0.1:1\"]\n[[route]]\nfrom = \"t/{{device}}\"\ntopic = \"t\"\n"
        );
        crate::config::parse(Path::new("test.toml"), &text)
            .expect("valid")
            .0
    }

    fn running(broker: &source::Config, goodbye: Duration, has_ended: &Arc<AtomicBool>) -> Running {
        let (stop, has_ended) = (CancellationToken::new(), Arc::clone(has_ended));
        let stopped = stop.clone();
        Running {
            broker: broker.clone(),
            stop,
            handover: CancellationToken::new(),
            task: tokio::spawn(async move {
                stopped.cancelled().await;
                tokio::time::sleep(goodbye).await;
                has_ended.store(true, Ordering::Relaxed);
            }),
        }
    }

    /// Renews the one at broker `a` with what `after` says of it, beside one that ended long ago. Whether the former had ended
    /// by then, and whether it was told that another one goes on.
    async fn renewed(before: &str, after: &str, goodbye: Duration) -> (bool, bool) {
        let dir = tempfile::tempdir().expect("temp dir");
        let identity = identity::open(dir.path(), "gw".to_owned(), &Machine::read(), false).expect("opens");
        let (before, after) = (config(before), config(after));
        let has_ended = Arc::new(AtomicBool::new(false));
        let leaving = running(&before.brokers[0], goodbye, &has_ended);
        let handover = leaving.handover.clone();
        let long_over = running(&before.brokers[0], Duration::ZERO, &Arc::default());
        long_over.stop.cancel();
        while !long_over.task.is_finished() {
            tokio::task::yield_now().await;
        }
        let mut statuses = Statuses::default();
        statuses.running.insert("a".to_owned(), leaving);
        statuses.running.insert("b".to_owned(), long_over);
        let names = ["a".to_owned()];
        let view = View::default();
        statuses
            .renew(&names, &after, &identity, &[], &view)
            .await
            .expect("renews");
        let has_ended = has_ended.load(Ordering::Relaxed);
        statuses.stop().await;
        (has_ended, handover.is_cancelled())
    }

    const SAME: &str = "status_topic = \"s\"\n";

    #[tokio::test(start_paused = true)]
    async fn the_next_connection_waits_for_the_goodbye_of_this_one_also_where_another_ended_long_ago() {
        let goodbye = Duration::from_secs(3);
        let (has_ended, _) = renewed(SAME, SAME, goodbye).await;
        assert!(has_ended);
        let (has_ended, _) = renewed(SAME, SAME, PATIENCE * 2).await;
        assert!(!has_ended, "but not for ever");
    }

    #[tokio::test(start_paused = true)]
    async fn only_who_says_it_nowhere_any_more_says_that_the_gateway_stops() {
        let cases = [
            ("keep_alive = \"7s\"\nstatus_topic = \"s\"\n", true),
            ("status_topic = \"other\"\n", false),
            ("username = \"somebody\"\nstatus_topic = \"s\"\n", false),
            ("version = \"3.1.1\"\nstatus_topic = \"s\"\n", false),
            ("", false),
        ];
        for (after, is_quiet) in cases {
            let (_, quiet) = renewed(SAME, after, Duration::ZERO).await;
            assert_eq!(quiet, is_quiet, "{after}");
        }
    }
}
