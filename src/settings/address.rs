//! `host:port`

/// Host and port of a server. An IPv6 host stands between brackets in the text, and without them here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub host: String,
    pub port: Option<u16>,
}

/// Why a text is not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("has no host")]
    NoHost,
    #[error("has a port that is not a number from 1 to 65535")]
    Port,
    #[error("has a host with characters that no host name has")]
    Host,
}

impl Address {
    /// Reads `host`, `host:port` or `[::1]:port`.
    pub(crate) fn parse(text: &str) -> Result<Self, AddressError> {
        let (host, port) = split(text)?;
        if host.is_empty() {
            return Err(AddressError::NoHost);
        }
        let port = port.map(parse_port).transpose()?;
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

fn split(text: &str) -> Result<(&str, Option<&str>), AddressError> {
    if let Some(inner) = text.strip_prefix('[') {
        let (host, behind) = inner.split_once(']').ok_or(AddressError::Host)?;
        host.parse::<std::net::Ipv6Addr>()
            .map_err(|_| AddressError::Host)?;
        let port = behind.strip_prefix(':');
        return if port.is_some() || behind.is_empty() {
            Ok((host, port))
        } else {
            Err(AddressError::Host)
        };
    }
    let (host, port) = text
        .split_once(':')
        .map_or((text, None), |(host, port)| (host, Some(port)));
    let legal = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    if host.chars().all(legal) {
        Ok((host, port))
    } else {
        Err(AddressError::Host)
    }
}

fn parse_port(text: &str) -> Result<u16, AddressError> {
    text.parse()
        .ok()
        .filter(|port| *port > 0)
        .ok_or(AddressError::Port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<(String, Option<u16>), AddressError> {
        Address::parse(text).map(|address| (address.host, address.port))
    }

    #[test]
    fn hosts_with_and_without_port() {
        assert_eq!(check("broker"), Ok(("broker".to_owned(), None)));
        assert_eq!(check("10.0.0.1:9092"), Ok(("10.0.0.1".to_owned(), Some(9092))));
        assert_eq!(check("[::1]:1883"), Ok(("::1".to_owned(), Some(1883))));
        assert_eq!(check("[::1]"), Ok(("::1".to_owned(), None)));
    }

    #[test]
    fn what_is_not_an_address() {
        assert_eq!(check(""), Err(AddressError::NoHost));
        assert_eq!(check(":1883"), Err(AddressError::NoHost));
        assert_eq!(check("a:0"), Err(AddressError::Port));
        assert_eq!(check("a:65536"), Err(AddressError::Port));
        assert_eq!(check("a:"), Err(AddressError::Port));
        assert_eq!(check("::1"), Err(AddressError::NoHost));
        assert_eq!(check("a b:1"), Err(AddressError::Host));
        assert_eq!(check("[::1"), Err(AddressError::Host));
        assert_eq!(check("[x]:1"), Err(AddressError::Host));
        assert_eq!(check("a/b:1"), Err(AddressError::Host));
    }
}
