//! `[[mqtt]] url`: where a broker is, and how it is spoken to there.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use rustls::pki_types::ServerName;

use crate::settings::{Address, Section};

/// Path of a WebSocket without one in the url: what Mosquitto, EMQX, HiveMQ and AWS IoT listen on.
const DEFAULT_PATH: &str = "/mqtt";
/// Longest path of a Unix socket, bytes: `sun_path` has 108, one of them for the end (unix(7)).
const SOCKET_PATH_MAX: usize = 107;
/// Schemes, with what a url of each looks like.
const SCHEMES: [(&str, &str); 5] = [
    ("mqtt", "write for example \"mqtt://127.0.0.1:1883\""),
    ("mqtts", "write for example \"mqtts://broker.example.com:8883\""),
    ("ws", "write for example \"ws://127.0.0.1:80/mqtt\""),
    ("wss", "write for example \"wss://broker.example.com:443/mqtt\""),
    (
        "unix",
        "write the path of a socket, for example \"unix:///run/mosquitto/mqtt.sock\"",
    ),
];

/// Where a broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// `mqtt://`, `mqtts://`, `ws://`, `wss://`
    Server(Server),
    /// `unix://`: an absolute path.
    Unix(PathBuf),
}

/// A broker on the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Name or address; an IPv6 address without brackets.
    pub host: String,
    /// Default: 1883, with TLS 8883; of a WebSocket 80, with TLS 443.
    pub port: u16,
    /// `mqtts://` and `wss://`
    pub is_encrypted: bool,
    /// `ws://` and `wss://`: the path, which begins with `/`.
    pub websocket: Option<String>,
}

impl Endpoint {
    /// Stands in for one that could not be read.
    pub(super) const fn unknown() -> Self {
        Self::Server(Server {
            host: String::new(),
            port: 0,
            is_encrypted: false,
            websocket: None,
        })
    }

    /// It stands in for one that could not be read.
    pub(super) fn is_unknown(&self) -> bool {
        *self == Self::unknown()
    }

    /// The broker on the network.
    #[must_use]
    pub const fn server(&self) -> Option<&Server> {
        match self {
            Self::Server(server) => Some(server),
            Self::Unix(_) => None,
        }
    }

    /// What is sent can be read by nobody in between.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.server()
            .is_none_or(|server| server.is_encrypted || server.is_loopback())
    }

    /// The broker is on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.server().is_none_or(Server::is_loopback)
    }

    /// Both are the same place, whatever is spoken there.
    pub(super) fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Server(one), Self::Server(other)) => (&one.host, one.port) == (&other.host, other.port),
            (one, other) => one == other,
        }
    }
}

impl Server {
    const fn scheme(&self) -> &'static str {
        match (&self.websocket, self.is_encrypted) {
            (None, false) => "mqtt",
            (None, true) => "mqtts",
            (Some(_), false) => "ws",
            (Some(_), true) => "wss",
        }
    }

    const fn default_port(scheme: &str) -> u16 {
        match scheme.as_bytes() {
            b"mqtts" => 8883,
            b"ws" => 80,
            b"wss" => 443,
            _ => 1883,
        }
    }

    fn is_loopback(&self) -> bool {
        let address = self.host.parse::<IpAddr>();
        self.host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Endpoint {
    /// The complete url.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = match self {
            Self::Unix(path) => return write!(f, "unix://{}", path.display()),
            Self::Server(server) => server,
        };
        let (scheme, port) = (server.scheme(), server.port);
        match server.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{port}", server.host)?,
            false => write!(f, "{scheme}://{}:{port}", server.host)?,
        }
        f.write_str(server.websocket.as_deref().unwrap_or_default())
    }
}

/// Reads `url`.
pub(super) fn resolve(url: &str, section: &mut Section<'_, '_>) -> Endpoint {
    // First of all, because every other report repeats a part of the text. What stands before it in a path is none.
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let server = rest.split('/').next().unwrap_or_default();
    if scheme != "unix" && server.contains('@') {
        section.error("url", "holds user information", "use username and password_file");
        return Endpoint::unknown();
    }
    let Some((_, right)) = SCHEMES.iter().find(|(known, _)| *known == scheme) else {
        let wrong = match scheme {
            "" => format!("{url:?} has no scheme"),
            scheme => format!("{scheme:?} is not a scheme of MQTT"),
        };
        let right = "write mqtt, mqtts, ws, wss or unix, for example \"mqtt://127.0.0.1:1883\"";
        section.error("url", wrong, right);
        return Endpoint::unknown();
    };
    let endpoint = match scheme {
        "unix" => resolve_socket(rest),
        scheme => resolve_server(scheme, rest),
    };
    if let Ok(Endpoint::Server(server)) = &endpoint {
        warn_of_the_other_port(server, section);
    }
    endpoint.unwrap_or_else(|wrong| {
        section.error("url", format!("{url:?} {wrong}"), *right);
        Endpoint::unknown()
    })
}

/// Brokers listen with TLS on the one and without on the other, unless somebody turned it round on purpose.
fn warn_of_the_other_port(server: &Server, section: &mut Section<'_, '_>) {
    let (what, instead) = match (server.scheme(), server.port) {
        ("mqtt", 8883) => (
            "8883 is the port for TLS",
            "write mqtts:// if the broker wants TLS there",
        ),
        ("mqtts", 1883) => (
            "1883 is the port without TLS",
            "write port 8883 if the broker has TLS there",
        ),
        _ => return,
    };
    section.warn("url", what, instead);
}

fn resolve_socket(path: &str) -> Result<Endpoint, String> {
    if !path.starts_with('/') {
        return Err("is not the absolute path of a socket".to_owned());
    }
    if path.len() > SOCKET_PATH_MAX {
        return Err(format!(
            "is longer than the path of a socket can be, {SOCKET_PATH_MAX} bytes"
        ));
    }
    if path.contains('\0') || path.ends_with('/') {
        return Err("is not the path of a socket".to_owned());
    }
    Ok(Endpoint::Unix(PathBuf::from(path)))
}

fn resolve_server(scheme: &str, rest: &str) -> Result<Endpoint, String> {
    let (server, path) = match rest.find('/').and_then(|at| rest.split_at_checked(at)) {
        Some((server, path)) => (server, Some(path)),
        None => (rest, None),
    };
    if server.parse::<std::net::Ipv6Addr>().is_ok() {
        return Err(format!("has an IPv6 address without brackets: [{server}]"));
    }
    let address = Address::parse(server).map_err(|error| error.to_string())?;
    let is_encrypted = matches!(scheme, "mqtts" | "wss");
    if is_encrypted && ServerName::try_from(address.host.as_str()).is_err() {
        return Err("has a host that no certificate can be for".to_owned());
    }
    let websocket = match scheme {
        "ws" | "wss" => Some(resolve_path(path)?),
        _ if path.is_none_or(|path| path == "/") => None,
        _ => return Err("has a path, which only a WebSocket has".to_owned()),
    };
    Ok(Endpoint::Server(Server {
        host: address.host,
        port: address.port.unwrap_or(Server::default_port(scheme)),
        is_encrypted,
        websocket,
    }))
}

fn resolve_path(path: Option<&str>) -> Result<String, String> {
    let path = path.unwrap_or(DEFAULT_PATH);
    if path.contains(['?', '#']) {
        // Where a service puts them, they are secrets.
        return Err("has a query or a fragment: a path alone is possible".to_owned());
    }
    // RFC 3986, 3.3, and '%' for what is encoded.
    let legal = |c: char| c.is_ascii_alphanumeric() || "/-._~%!$&'()*+,;=:@".contains(c);
    if !path.chars().all(legal) {
        return Err("has a path with characters that have to be written as %XX".to_owned());
    }
    Ok(path.to_owned())
}
