//! What a connection is made over, and with which secrets, which are read for each attempt.
//!
//! TLS and Unix sockets are `rumqttc`'s own; TCP in the clear ([`super::tcp`]) and WebSockets ([`super::websocket`]) are ours.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::{TlsConfiguration, Transport};
use rustls::ClientConfig;
use tokio::time::timeout;

use super::pipe::{Broken, pipe_name};
use super::trouble::Trouble;
use super::{CONNECT_TIMEOUT_S, Failure, tcp, websocket};
use crate::secret::{self, SecretError};
use crate::source::config::{Config, Endpoint};
use crate::source::tls::{self, FileError};

/// What an attempt to connect is made with.
pub struct Prepared {
    pub transport: Transport,
    /// User name and password, if any are configured.
    pub credentials: Option<(String, String)>,
    /// Only where there is a pipe.
    pub broken: Option<Broken>,
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

/// Reads the files, and connects where the connection is ours: then `host` leads to it. A WebSocket lets packets up to `packet_limit`
/// bytes through.
pub async fn prepare(trouble: &Trouble, host: &str, packet_limit: usize) -> Result<Prepared, Failure> {
    let config = trouble.config();
    let Secrets { tls, credentials } = secrets(config.clone()).await?;
    let server = match &config.endpoint {
        Endpoint::Unix(_) => None,
        Endpoint::Server(server) => Some(server),
    };
    let limit = Duration::from_secs(CONNECT_TIMEOUT_S);
    let late = |_| Failure::Unreachable("no answer in time".to_owned());
    let (transport, broken) = match (server, tls) {
        (None, _) => (Transport::Unix, None),
        (Some(server), tls) if server.websocket.is_some() => {
            let url = config.endpoint.to_string();
            let opened = timeout(limit, websocket::open(server, &url, tls, host, packet_limit)).await;
            let opened = opened.map_err(late)?;
            let broken = opened.map_err(|error| trouble.websocket(&error))?;
            (Transport::Unix, Some(broken))
        }
        (Some(server), None) => {
            let opened = timeout(limit, tcp::open(server, host)).await;
            let broken = opened.map_err(late)?.map_err(|error| trouble.io(&error))?;
            (Transport::Unix, Some(broken))
        }
        (Some(_), Some(tls)) => (Transport::Tls(TlsConfiguration::Rustls(tls)), None),
    };
    Ok(Prepared {
        transport,
        credentials,
        broken,
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

/// Host and port as `rumqttc` wants them: it takes paths of sockets for hosts. A connection of ours has a pipe in front of it.
pub fn address(endpoint: &Endpoint) -> (String, u16) {
    match endpoint {
        Endpoint::Unix(path) => (path.to_string_lossy().into_owned(), 0),
        Endpoint::Server(server) if server.websocket.is_some() || !server.is_encrypted => (pipe_name(), 0),
        Endpoint::Server(server) => (server.host.clone(), server.port),
    }
}
