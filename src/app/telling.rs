//! Those who tell the state of the gateway by themselves (`[status]`), beside the lanes: a thread for Kafka, a task for each broker.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::AppError;
use crate::app::threads::Threads;
use crate::app::view::View;
use crate::config::Config;
use crate::identity::Identity;
use crate::ops::Look;
use crate::ops::brief::{Standing, brief};
use crate::sink::telling::{TellMonitor, Teller};
use crate::sink::{Allowance, Gate, KafkaConnector};
use crate::source::{self, Moment, STATE, Telling};

const NAME: &str = "status";
/// How long they may take to end once they are told to: a question to Kafka, a last word, and letting go of the producer.
const PATIENCE: Duration = Duration::from_secs(5);

/// All of them, running. Whatever becomes of one, nothing else depends on it.
#[derive(Debug)]
pub(super) struct Tellings {
    config: Arc<Config>,
    kafka: Option<(Arc<TellMonitor>, Threads)>,
    brokers: JoinSet<()>,
    /// Cancelled where another one goes on: for each broker of the configuration.
    handovers: Vec<CancellationToken>,
    stop: CancellationToken,
}

impl Tellings {
    /// Starts those that the configuration asks for; `view` has all lanes that run. Must be called in a tokio runtime. No look is taken:
    /// whoever calls serves all MQTT connections, and nobody can promise how long one takes on a card that stalls.
    pub(super) fn start(
        config: &Arc<Config>,
        identity: &Identity,
        look: &Look,
        view: &View,
        allowance: Option<Arc<Allowance>>,
    ) -> Result<Self, AppError> {
        let (mut brokers, stop) = (JoinSet::new(), CancellationToken::new());
        let handovers: Vec<CancellationToken> =
            config.brokers.iter().map(|_| CancellationToken::new()).collect();
        if let Some(topic) = &config.status.mqtt_topic {
            // The configuration has none of this name; an earlier one may have had, and it may still be emptied.
            let is_taken = view.lanes().iter().any(|lane| lane.name == STATE);
            if is_taken {
                tracing::error!(
                    lane = STATE,
                    "the state is not told to the brokers: its client id is that of a lane that is still being emptied; it is told \
                     from the next start on after that"
                );
            }
            let places = config.brokers.iter().zip(&handovers);
            for (broker, handover) in places.filter(|_| !is_taken) {
                let look = look.clone();
                let words = move |moment| brief(&look.take(), standing(moment));
                let interval = config.status.interval;
                let telling = Telling::new(broker, &identity.gateway, topic, interval, Arc::new(words));
                let telling = telling.map_err(|error| AppError::Source {
                    broker: broker.name.clone(),
                    source: source::OpenError::Backoff(error),
                })?;
                brokers.spawn(telling.followed(handover.clone()).run(stop.clone()));
            }
        }
        let kafka = match &config.status.kafka_topic {
            Some(topic) => Some(start_teller(config, topic, identity, look.clone(), allowance)?),
            None => None,
        };
        Ok(Self {
            config: Arc::clone(config),
            kafka,
            brokers,
            handovers,
            stop,
        })
    }

    /// Ends them for those of `after`. Where the same is told in the same place nobody hears that the gateway stops, for it does not.
    pub(super) async fn hand_over(self, after: &Config) {
        let before = &*self.config;
        for (broker, handover) in before.brokers.iter().zip(&self.handovers) {
            let is_there = after.brokers.iter().any(|other| broker.is_same_way_in(other));
            if is_there && before.status.mqtt_topic == after.status.mqtt_topic {
                handover.cancel();
            }
        }
        if let Some((monitor, _)) = &self.kafka
            && before.kafka.is_same_way_in(&after.kafka)
            && before.status.kafka_topic == after.status.kafka_topic
        {
            monitor.hand_over();
        }
        self.stop().await;
    }

    /// Says everywhere that the gateway stops.
    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        if let Some((monitor, _)) = &self.kafka {
            monitor.stop();
        }
        let stopped = async {
            while self.brokers.join_next().await.is_some() {}
            if let Some((_, threads)) = &mut self.kafka {
                threads.join(NAME).await;
            }
        };
        if tokio::time::timeout(PATIENCE, stopped).await.is_err() {
            tracing::warn!("not everybody heard in time that the gateway stops");
        }
    }
}

const fn standing(moment: Moment) -> Standing {
    match moment {
        Moment::Now => Standing::Online,
        Moment::Stop => Standing::Stopped,
        Moment::Will => Standing::Offline,
    }
}

fn start_teller(
    config: &Config,
    topic: &str,
    identity: &Identity,
    look: Look,
    allowance: Option<Arc<Allowance>>,
) -> Result<(Arc<TellMonitor>, Threads), AppError> {
    let monitor = Arc::new(TellMonitor::default());
    let waker = Arc::clone(&monitor);
    let client_id = format!("edgeferry-{}-status", identity.gateway);
    let connector = KafkaConnector::beside(&config.kafka, &client_id, Arc::new(move || waker.wake()));
    let mut gate = Gate::default();
    if let Some(allowance) = allowance {
        gate.join_last(&allowance);
    }
    let words = move |is_last| {
        let standing = if is_last {
            Standing::Stopped
        } else {
            Standing::Online
        };
        brief(&look.take(), standing)
    };
    let names = (topic.to_owned(), identity.gateway.clone());
    let teller = Teller::new(
        names,
        config.status.interval,
        Box::new(words),
        connector,
        gate,
        Arc::clone(&monitor),
    );
    let mut threads = Threads::new(1);
    threads.spawn(NAME.to_owned(), move || teller.run())?;
    Ok((monitor, threads))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::identity::{self, Machine};

    #[tokio::test]
    async fn no_look_is_taken_by_whoever_starts_them() {
        let text = "[gateway]\nid = \"gw\"\ndata_dir = \"/tmp/x\"\n[[mqtt]]\nurl = \"mqtt://127.0.0.1:1\"\n[kafka]\n\
                    bootstrap_servers = [\"127.0.0.1:1\"]\n[status]\nmqtt_topic = \"state/{gateway}\"\n[[route]]\n\
                    from = \"t/{device}\"\ntopic = \"t\"\n";
        let (config, _) = crate::config::parse(Path::new("test.toml"), text).expect("valid");
        let dir = tempfile::tempdir().expect("temp dir");
        let identity = identity::open(dir.path(), "gw".to_owned(), &Machine::read(), true).expect("opens");
        let (here, looked) = (std::thread::current().id(), Arc::new(AtomicBool::new(false)));
        let seen = Arc::clone(&looked);
        let look = Look::new(move || {
            seen.fetch_or(std::thread::current().id() == here, Ordering::Relaxed);
            crate::ops::state::sample::state()
        });
        let started = Tellings::start(&Arc::new(config), &identity, &look, &View::default(), None);
        started.expect("starts").stop().await;
        assert!(!looked.load(Ordering::Relaxed));
    }
}
