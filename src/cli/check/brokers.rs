//! Whether the MQTT brokers let edgeferry in.

use super::guarantee::facts::Seen;
use super::judge::{Level, Remark};
use crate::config::Config;
use crate::identity::Machine;
use crate::source::{self, Look};

/// What stands behind the client id of the gateway here. No lane can have that name, so no session is disturbed.
const SUFFIX: &str = "live-check";

/// One broker.
#[derive(Debug, serde::Serialize)]
pub(super) struct BrokerAnswer {
    pub name: String,
    pub url: String,
    pub client_id: String,
    pub state: State,
    pub remarks: Vec<Remark>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum State {
    Welcome,
    Away,
    Refused,
}

/// Connects to each broker, one after the other. What it says of itself is asked of one that lets us in; no session is left.
pub(super) fn look(config: &Config) -> std::io::Result<Vec<(BrokerAnswer, Option<Seen>)>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // An id that no gateway may have is found at the start; here any will do.
    let gateway = Machine::read().gateway_id(config.gateway.id.as_deref());
    let gateway = gateway.unwrap_or_else(|_| "unknown".to_owned());
    let answers = config.brokers.iter().map(|broker| {
        let client_id = format!("{}-{SUFFIX}", broker.client_id_of(&gateway));
        let look = runtime.block_on(source::look(broker, client_id.clone()));
        let seen = (look == Look::Welcome).then(|| {
            let capabilities = runtime.block_on(source::capabilities(broker, client_id.clone()));
            // What was asked with a session leaves one; this ends it.
            drop(runtime.block_on(source::look(broker, client_id.clone())));
            let dropped = runtime.block_on(source::dropped_by(broker, client_id.clone()));
            Seen::of(&broker.name, capabilities, dropped)
        });
        (answer(broker, client_id, look), seen)
    });
    Ok(answers.collect())
}

/// A broker that is away is waited for; one that refuses waits for a person.
fn answer(broker: &source::Config, client_id: String, look: Look) -> BrokerAnswer {
    let remark = |level, text| vec![Remark { level, text }];
    let (state, remarks) = match look {
        Look::Welcome => (State::Welcome, Vec::new()),
        Look::Away(why) => (State::Away, remark(Level::Warning, why)),
        Look::Refused(why) => (State::Refused, remark(Level::Error, why)),
    };
    BrokerAnswer {
        name: broker.name.clone(),
        url: broker.endpoint.to_string(),
        client_id,
        state,
        remarks,
    }
}
