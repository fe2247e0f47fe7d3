//! What a connection is made over, and with which secrets: `rumqttc`'s own transports, all five of which both versions
//! have, with files that are read for each attempt.

use rumqttc::{TlsConfiguration, Transport};

use super::Failure;
use crate::secret::{self, SecretError};
use crate::source::config::{Config, Endpoint};
use crate::source::tls::{self, FileError};

/// Largest packet over a WebSocket, bytes: the largest frame that `rumqttc`'s WebSocket takes, and brokers put a packet
/// into one frame.
pub const WEBSOCKET_LIMIT: u32 = 16 * 1024 * 1024;

/// What an attempt to connect reads from files.
pub struct Prepared {
    pub transport: Transport,
    /// User name and password, if any are configured.
    pub credentials: Option<(String, String)>,
}

/// Why there is no attempt.
#[derive(Debug, thiserror::Error)]
pub enum Unprepared {
    #[error("password_file: {0}")]
    Password(SecretError),
    #[error(transparent)]
    Tls(#[from] FileError),
}

/// Reads the files, beside the others: the thread of the connections waits for no medium.
pub async fn prepare(config: Config) -> Result<Prepared, Failure> {
    match tokio::task::spawn_blocking(move || read(&config)).await {
        Ok(Ok(prepared)) => Ok(prepared),
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

fn read(config: &Config) -> Result<Prepared, Unprepared> {
    let tls = config.tls.as_ref().map(tls::client_config).transpose()?;
    let tls = tls.map(TlsConfiguration::Rustls);
    let is_websocket = (config.endpoint.server()).is_some_and(|server| server.websocket.is_some());
    let transport = match (&config.endpoint, tls) {
        (Endpoint::Unix(_), _) => Transport::Unix,
        (Endpoint::Server(_), None) if is_websocket => Transport::Ws,
        (Endpoint::Server(_), None) => Transport::Tcp,
        (Endpoint::Server(_), Some(tls)) if is_websocket => Transport::Wss(tls),
        (Endpoint::Server(_), Some(tls)) => Transport::Tls(tls),
    };
    Ok(Prepared {
        transport,
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

/// Host and port as `rumqttc` wants them: it takes urls of WebSockets whole, and paths of sockets for hosts.
pub fn address(endpoint: &Endpoint) -> (String, u16) {
    match endpoint {
        Endpoint::Unix(path) => (path.to_string_lossy().into_owned(), 0),
        Endpoint::Server(server) if server.websocket.is_some() => (endpoint.to_string(), server.port),
        Endpoint::Server(server) => (server.host.clone(), server.port),
    }
}
