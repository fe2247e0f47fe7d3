//! What errors below MQTT mean, in words for whoever has to mend it.
//!
//! A mistake in the configuration, here or at the broker, is a refusal: it needs a person. What may pass by itself
//! (a network, a broker that starts, a clock that is not set yet) is not. Told apart by types and codes, never by texts.

use std::error::Error;
use std::io;

use rumqttc::TlsError;
use rustls::{AlertDescription as Alert, CertificateError as Bad};
use tokio_tungstenite::tungstenite::{
    self,
    error::{CapacityError, ProtocolError},
};

use super::Failure;
use super::pipe::Broken;
use super::websocket::FRAME_LIMIT;
use crate::source::config::{Config, Endpoint};
use crate::source::tls;

/// Explains what happens to one connection.
#[derive(Debug)]
pub struct Trouble {
    config: Config,
    /// CONNACK has come.
    is_up: bool,
    /// What became of the connection behind the pipe, if there is one.
    broken: Option<Broken>,
}

impl Trouble {
    pub const fn new(config: Config) -> Self {
        Self {
            config,
            is_up: false,
            broken: None,
        }
    }

    /// Whose connection it is.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The connection behind a pipe says here why it ended.
    pub fn listen(&mut self, broken: Broken) {
        self.broken = Some(broken);
    }

    /// CONNACK.
    pub const fn connected(&mut self) {
        self.is_up = true;
    }

    /// CONNACK has come: whoever answers is a broker.
    pub const fn is_up(&self) -> bool {
        self.is_up
    }

    /// The connection ended, in order or not.
    pub fn closed(&self) -> Failure {
        match self.broken.as_ref().and_then(|broken| broken.get()) {
            Some(error) => self.websocket(error),
            None => self.ended(),
        }
    }

    /// The broker ended it.
    fn ended(&self) -> Failure {
        if self.is_up {
            return Failure::Closed;
        }
        let hint = match &self.config.endpoint {
            Endpoint::Unix(_) => "does a broker listen there?",
            Endpoint::Server(server) => match (&server.websocket, server.is_encrypted) {
                (None, false) => "is it a port for MQTT without TLS?",
                (None, true) => {
                    "is it a port for MQTT with TLS, and has the client a certificate if it needs one?"
                }
                (Some(_), false) => "is it a port for WebSockets without TLS?",
                (Some(_), true) => "is it a port for WebSockets with TLS?",
            },
        };
        Failure::Unreachable(format!(
            "{} closed the connection before it answered: {hint}",
            self.config.endpoint
        ))
    }

    /// Something answers, and it is not what the url says.
    pub fn no_broker(&self, what: &str) -> Failure {
        Failure::Refused(format!(
            "what answers at {} does not speak {what} there: scheme and port of the url do not fit",
            self.config.endpoint
        ))
    }

    /// CONNACK: not authorised, or wrong user name or password. Brokers use either for both.
    pub fn login(&self) -> Failure {
        let Config {
            username,
            password_file,
            tls,
            ..
        } = &self.config;
        let has_certificate = tls.as_ref().is_some_and(|tls| tls.client.is_some());
        let text = match (username, password_file) {
            (Some(name), Some(file)) => format!(
                "the broker refuses user {name:?}: the password in {} is wrong, or the user may not connect as this client",
                file.display()
            ),
            (Some(name), None) => {
                format!("the broker refuses user {name:?}, who comes without a password: write password_file")
            }
            (None, _) if has_certificate => {
                "the broker knows the certificate, and does not let the client in".to_owned()
            }
            (None, _) => {
                "the broker lets nobody in without a user name: write username and password_file".to_owned()
            }
        };
        Failure::Refused(text)
    }

    /// Anything that went wrong below MQTT.
    pub fn io(&self, error: &io::Error) -> Failure {
        // Behind a pipe every end is the pipe's, also within a packet, where the client does not call it an end. What broke the connection
        // is known there.
        match self.broken {
            Some(_) => self.closed(),
            None => self.io_or(error, || self.ended()),
        }
    }

    fn io_or(&self, error: &io::Error, closed: impl FnOnce() -> Failure) -> Failure {
        if let Some(error) = inner::<rustls::Error>(error) {
            return self.tls(error);
        }
        if is_close(error) {
            return closed();
        }
        let endpoint = &self.config.endpoint;
        match (endpoint, error.kind()) {
            (Endpoint::Unix(_), io::ErrorKind::NotFound) => Failure::Unreachable(format!(
                "{endpoint}: there is no such socket: is the broker running, and does it listen there?"
            )),
            (Endpoint::Unix(_), io::ErrorKind::PermissionDenied) => Failure::Refused(format!(
                "{endpoint}: permission denied: the user that edgeferry runs as needs the right to write to the socket, and \
                 to enter its folder"
            )),
            _ => Failure::Unreachable(format!("{endpoint}: {error}")),
        }
    }

    /// What `rumqttc` wraps around the handshake.
    pub fn handshake(&self, error: &TlsError) -> Failure {
        match error {
            TlsError::Io(error) => self.io(error),
            TlsError::TLS(error) => self.tls(error),
            error => Failure::Refused(format!("{}: {error}", self.config.endpoint)),
        }
    }

    fn tls(&self, error: &rustls::Error) -> Failure {
        match error {
            rustls::Error::InvalidCertificate(bad) => self.certificate(bad),
            rustls::Error::AlertReceived(alert) => self.alert(*alert),
            rustls::Error::InvalidMessage(_) if !self.is_up => self.no_broker("TLS"),
            rustls::Error::PeerIncompatible(_) => Failure::Refused(format!(
                "{} and edgeferry have no way to do TLS in common (1.2 and 1.3 are possible): {error}",
                self.config.endpoint
            )),
            error => Failure::Unreachable(format!("{}: TLS: {error}", self.config.endpoint)),
        }
    }

    /// The broker's certificate is not believed.
    fn certificate(&self, bad: &Bad) -> Failure {
        match bad {
            Bad::UnknownIssuer => {
                let ca_file = self.config.tls.as_ref().and_then(|tls| tls.ca_file.as_ref());
                let believed = ca_file.map_or_else(
                    || "this system believes: write ca_file, or add it to the system's".to_owned(),
                    |path| format!("is in {}", path.display()),
                );
                Failure::Refused(format!(
                    "the broker's certificate comes from no CA that {believed}"
                ))
            }
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => Failure::Refused(format!(
                "the broker's certificate is for another name than the one in {}: {bad}",
                self.config.endpoint
            )),
            Bad::Expired => Failure::Refused("the broker's certificate has expired".to_owned()),
            Bad::ExpiredContext { .. } => {
                Failure::Refused(format!("the broker's certificate has expired: {bad}"))
            }
            // A clock without a battery is in the past until it is set.
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => Failure::Unreachable(format!(
                "the broker's certificate is not valid yet by the clock of this machine, which may be wrong: {bad}"
            )),
            bad => Failure::Refused(format!("the broker's certificate cannot be believed: {bad}")),
        }
    }

    /// The broker ends the handshake.
    fn alert(&self, alert: Alert) -> Failure {
        let client = self.config.tls.as_ref().and_then(|tls| tls.client.as_ref());
        match (alert, client) {
            (Alert::CertificateRequired | Alert::NoCertificate | Alert::HandshakeFailure, None) => {
                Failure::Refused(format!(
                    "the broker wants a certificate of the client (TLS alert {alert:?}): write cert_file and key_file"
                ))
            }
            (
                Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::CertificateRequired
                | Alert::UnknownCA
                | Alert::AccessDenied
                | Alert::DecryptError
                | Alert::HandshakeFailure,
                Some(client),
            ) => {
                let time = tls::untimely(client).map(|untimely| format!("; {untimely}"));
                Failure::Refused(format!(
                    "the broker refuses the certificate in {} (TLS alert {alert:?}){}",
                    client.cert_file.display(),
                    time.unwrap_or_default()
                ))
            }
            (
                Alert::ProtocolVersion | Alert::UnrecognisedName | Alert::AccessDenied | Alert::UnknownCA,
                _,
            ) => Failure::Refused(format!("the broker ends the handshake with TLS alert {alert:?}")),
            _ => Failure::Unreachable(format!("the broker ends the connection with TLS alert {alert:?}")),
        }
    }

    /// What a connection of ours says, in the handshake or later.
    pub fn websocket(&self, error: &tungstenite::Error) -> Failure {
        let endpoint = &self.config.endpoint;
        match error {
            tungstenite::Error::Io(error) => self.io_or(error, || self.ended()),
            tungstenite::Error::ConnectionClosed
            | tungstenite::Error::AlreadyClosed
            | tungstenite::Error::Protocol(
                ProtocolError::HandshakeIncomplete | ProtocolError::ResetWithoutClosingHandshake,
            ) => self.ended(),
            tungstenite::Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(_)) => {
                self.subprotocol()
            }
            // The next connection lets it in. Over that, no packet could be in it.
            tungstenite::Error::Capacity(CapacityError::MessageTooLong { size, .. })
                if self.is_up && *size <= FRAME_LIMIT =>
            {
                Failure::TooLarge { size: *size }
            }
            tungstenite::Error::Http(response) if response.status().is_server_error() => {
                Failure::Unreachable(format!("{endpoint} answers {}", response.status()))
            }
            tungstenite::Error::Http(response) => Failure::Refused(format!(
                "{endpoint} answers {}, and opens no WebSocket: is the path right?",
                response.status()
            )),
            _ if self.is_up => Failure::Protocol(format!("WebSocket: {error}")),
            _ => self.no_broker("WebSocket"),
        }
    }

    /// It is a WebSocket, but not one for MQTT.
    fn subprotocol(&self) -> Failure {
        Failure::Refused(format!(
            "{} opens a WebSocket that is not for MQTT (no subprotocol mqtt): is the path right?",
            self.config.endpoint
        ))
    }
}

/// Whether the peer ended the connection, in order or not.
fn is_close(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
    )
}

/// The error of another kind that an I/O error was made of.
fn inner<T: Error + 'static>(error: &io::Error) -> Option<&T> {
    error.get_ref()?.downcast_ref()
}

#[cfg(test)]
pub mod tests;
