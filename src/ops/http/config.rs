//! `[http]`

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;

use crate::settings::Section;

/// Without `listen`. IANA has given the port to nobody, and none of the parts of such a gateway (Mosquitto, Kafka,
/// Prometheus and its exporters, Grafana) takes it.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8484);
/// `listen`: nobody is answered.
const OFF: &str = "off";

/// `[http]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `listen`: address and port; default `127.0.0.1:8484`. `None` is `"off"`.
    pub listen: Option<SocketAddr>,
    /// `token_file`: contents without the line end are the token that everybody has to know who asks. Required when
    /// `listen` is not loopback.
    pub token_file: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Some(DEFAULT_LISTEN),
            token_file: None,
        }
    }
}

/// `[http]` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Raw {
    listen: Option<String>,
    token_file: Option<PathBuf>,
}

/// What is wrong goes to `section`, and the default stands in for it.
pub(crate) fn resolve(raw: Raw, section: &mut Section<'_, '_>) -> Config {
    let listen = match raw.listen.as_deref() {
        None => Some(DEFAULT_LISTEN),
        Some(OFF) => None,
        Some(text) => Some(resolve_listen(text, section)),
    };
    section.absolute("token_file", raw.token_file.as_deref());
    if raw
        .token_file
        .as_ref()
        .is_some_and(|path| path.as_os_str().is_empty())
    {
        section.error(
            "token_file",
            "is empty",
            "write the path of a file with the token, or leave it out",
        );
    }
    if let Some(address) = listen.filter(|address| !address.ip().is_loopback()) {
        check_exposed(address, raw.token_file.is_some(), section);
    }
    Config {
        listen,
        token_file: raw.token_file,
    }
}

fn resolve_listen(text: &str, section: &mut Section<'_, '_>) -> SocketAddr {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() > 0 => address,
        _ => {
            let wrong = format!("{text:?} is not an IP address with a port");
            let right = "write for example \"127.0.0.1:8484\" or \"[::1]:8484\"; for all addresses \"0.0.0.0:8484\" or \
                         \"[::]:8484\"; \"off\" for no HTTP";
            section.error("listen", wrong, right);
            DEFAULT_LISTEN
        }
    }
}

/// Others than this machine can ask.
fn check_exposed(address: SocketAddr, has_token: bool, section: &mut Section<'_, '_>) {
    if has_token {
        section.warn(
            "listen",
            format!("{address} is not loopback, and HTTP is not encrypted: whoever is on the way can read the token and the state"),
            "use it in a network of your own only, such as a VPN, or listen on 127.0.0.1 behind a proxy with TLS",
        );
    } else {
        section.error(
            "token_file",
            format!("is missing: {address} can be asked from other machines"),
            "write token_file = \"/etc/edgeferry/http-token\", a file with a line that `openssl rand -hex 32` makes; or listen on \
             127.0.0.1",
        );
    }
}
