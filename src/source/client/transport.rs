//! What a connection is made over, and with which secrets, which are read for each attempt.
//!
//! All of it is ours ([`super::relay`], [`super::websocket`]), behind a pipe that is a Unix socket for `rumqttc`.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Error;

use super::pipe::{self, Near, pipe_name};
use super::shorten::{Cuts, Shortener};
use super::trouble::Trouble;
use super::{CONNECT_TIMEOUT_S, Failure, relay, websocket};
use crate::secret::{self, SecretError};
use crate::source::config::{Config, Endpoint};
use crate::source::tls::{self, FileError};

/// What an attempt to connect is made with.
pub struct Prepared {
    /// User name and password, if any are configured.
    pub credentials: Option<(String, String)>,
    /// What there is to know of the connection behind the pipe, and to say to it.
    pub near: Near,
    /// Payloads that came as their beginning alone.
    pub cuts: Cuts,
}

/// What is read from files.
struct Secrets {
    tls: Option<Arc<ClientConfig>>,
    credentials: Option<(String, String)>,
}

/// Why there is no attempt.
#[derive(Debug, thiserror::Error)]
enum Unprepared {
    #[error("password_file: {0}")]
    Password(SecretError),
    #[error(transparent)]
    Tls(#[from] FileError),
}

/// Reads the files, and connects: the pipe `name` then leads to the broker. A WebSocket lets packets up to `packet_limit` bytes through.
/// With MQTT 5 messages have properties.
pub async fn prepare(
    trouble: &Trouble,
    name: &str,
    packet_limit: usize,
    has_properties: bool,
) -> Result<Prepared, Failure> {
    let config = trouble.config();
    let Secrets { tls, credentials } = secrets(config.clone()).await?;
    let (near, far) = pipe::sides();
    let (shortener, cuts) = Shortener::new(has_properties);
    let url = config.endpoint.to_string();
    let opened = async {
        match &config.endpoint {
            Endpoint::Unix(path) => relay::open_unix(path, name, far, shortener)
                .await
                .map_err(Error::Io),
            Endpoint::Server(server) if server.websocket.is_some() => {
                websocket::open(server, &url, tls, name, packet_limit, far, shortener).await
            }
            Endpoint::Server(server) => relay::open(server, tls, name, far, shortener)
                .await
                .map_err(Error::Io),
        }
    };
    let opened = timeout(Duration::from_secs(CONNECT_TIMEOUT_S), opened).await;
    let opened = opened.map_err(|_| Failure::Unreachable("no answer in time".to_owned()))?;
    opened.map_err(|error| trouble.websocket(&error))?;
    Ok(Prepared {
        credentials,
        near,
        cuts,
    })
}

/// Beside the others: the thread of the connections waits for no medium.
async fn secrets(config: Config) -> Result<Secrets, Failure> {
    match tokio::task::spawn_blocking(move || read(&config)).await {
        Ok(Ok(secrets)) => Ok(secrets),
        Ok(Err(error)) => Err(Failure::Files(error.to_string())),
        Err(error) => Err(Failure::Unreachable(format!("cannot read the files: {error}"))),
    }
}

/// What keeps a connection from being made now, one text for each file.
pub fn file_problems(config: &Config) -> Vec<String> {
    let tls = config.tls.as_ref().map(tls::client_config);
    let tls = tls.and_then(Result::err).map(Unprepared::Tls);
    let password = credentials(config).err();
    tls.into_iter()
        .chain(password)
        .map(|error| error.to_string())
        .collect()
}

fn read(config: &Config) -> Result<Secrets, Unprepared> {
    Ok(Secrets {
        tls: config.tls.as_ref().map(tls::client_config).transpose()?,
        credentials: credentials(config)?,
    })
}

fn credentials(config: &Config) -> Result<Option<(String, String)>, Unprepared> {
    let Some(name) = config.username.clone() else {
        return Ok(None);
    };
    let password = config.password_file.as_deref().map(secret::line).transpose();
    let password = password.map_err(Unprepared::Password)?;
    Ok(Some((name, password.unwrap_or_default())))
}

/// Host and port as `rumqttc` wants them, and the name of the pipe: it takes paths of sockets for hosts.
pub fn address() -> (String, u16) {
    (pipe_name(), 0)
}
