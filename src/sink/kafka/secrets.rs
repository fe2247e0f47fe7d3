//! Secrets, read from their files whenever a client is made or asks for a token.

use std::path::Path;

use base64ct::{Base64UrlUnpadded, Encoding};
use rdkafka::client::OAuthToken;
use rdkafka::config::ClientConfig;
use serde::Deserialize;

use crate::clock;
pub use crate::secret::SecretError;
use crate::secret::{bytes, line};
use crate::sink::config::{Sasl, Security};

/// No file of certificates is larger: those of a whole system are about 200 KB.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// How long a token that does not say so is used: the file is read again after four fifths of it.
const TOKEN_LIFETIME_MS: i64 = 5 * 60 * 1000;
/// Who a token that does not say so is for. The broker reads the token itself; this is for the client's logs.
const TOKEN_PRINCIPAL: &str = "edgeferry";

/// Puts the secrets as they are now into the settings of a client.
///
/// # Errors
/// [`SecretError`]
pub(super) fn apply(security: &Security, client: &mut ClientConfig) -> Result<(), SecretError> {
    if let Some(path) = password_file(security) {
        client.set("sasl.password", line(path)?);
    }
    if let Some(path) = key_password_file(security) {
        client.set("ssl.key.password", line(path)?);
    }
    Ok(())
}

/// Whether every secret can be read now.
///
/// # Errors
/// The first that cannot.
pub fn check(security: &Security) -> Result<(), SecretError> {
    unreadable(security)
        .into_iter()
        .next()
        .map_or(Ok(()), |(_, error)| Err(error))
}

/// Every file of `[kafka]` that cannot be read now, with its key.
#[must_use]
pub fn unreadable(security: &Security) -> Vec<(&'static str, SecretError)> {
    let tls = security.tls.as_ref();
    let certificate = tls.and_then(|tls| tls.client.as_ref());
    let files = [
        ("password_file", password_file(security)),
        ("key_password_file", key_password_file(security)),
        ("token_file", token_file(security)),
        (
            "key_file",
            certificate.map(|certificate| certificate.key_file.as_path()),
        ),
        (
            "cert_file",
            certificate.map(|certificate| certificate.cert_file.as_path()),
        ),
        ("ca_file", tls.and_then(|tls| tls.ca_file.as_deref())),
    ];
    let read = |(key, path): (&'static str, Option<&Path>)| Some((key, bytes(path?, FILE_BYTES_MAX).err()?));
    files.into_iter().filter_map(read).collect()
}

fn password_file(security: &Security) -> Option<&Path> {
    match &security.sasl {
        Some(Sasl::Password { password_file, .. }) => Some(password_file),
        _ => security.password_file.as_deref(),
    }
}

fn key_password_file(security: &Security) -> Option<&Path> {
    let certificate = security.tls.as_ref()?.client.as_ref()?;
    certificate.key_password_file.as_deref()
}

/// The file whose token says who edgeferry is.
pub(super) fn token_file(security: &Security) -> Option<&Path> {
    match &security.sasl {
        Some(Sasl::Token { token_file }) => Some(token_file),
        _ => None,
    }
}

/// The token as it is now. Whether it has expired is for the client to judge.
///
/// # Errors
/// [`SecretError`]
pub(super) fn token(path: &Path) -> Result<OAuthToken, SecretError> {
    let token = line(path)?;
    let claims = claims(&token);
    Ok(OAuthToken {
        principal_name: claims.sub.unwrap_or_else(|| TOKEN_PRINCIPAL.to_owned()),
        lifetime_ms: claims
            .exp
            .map_or_else(|| clock::unix_ms() + TOKEN_LIFETIME_MS, Seconds::as_ms),
        token,
    })
}

/// What a JWT says of itself (RFC 7519); other tokens say nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Claims {
    sub: Option<String>,
    exp: Option<Seconds>,
}

/// A number of seconds since 1970, fractions allowed.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Seconds(f64);

impl Seconds {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "`as` stops at the bounds, and a part of a millisecond does not matter"
    )]
    const fn as_ms(self) -> i64 {
        (self.0 * 1000.0) as i64
    }
}

fn claims(token: &str) -> Claims {
    let mut parts = token.split('.');
    let (Some(_header), Some(payload), Some(_signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Claims::default();
    };
    let json = Base64UrlUnpadded::decode_vec(payload).unwrap_or_default();
    serde_json::from_slice(&json).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(contents: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("temp file");
        std::fs::write(file.path(), contents).expect("writes");
        file
    }

    #[test]
    fn a_jwt_says_how_long_and_for_whom_and_other_tokens_do_not() {
        let jwt = |claims: &str| format!("e30.{}.", Base64UrlUnpadded::encode_string(claims.as_bytes()));
        let read = |token: &str| token_of(token.as_bytes());
        let read_claims = |claims: &str| read(&jwt(claims));
        assert_eq!(
            read_claims(r#"{"sub":"gw-7","exp":1700000000}"#),
            ("gw-7".to_owned(), 1_700_000_000_000)
        );
        assert_eq!(
            read_claims(r#"{"exp":1700000000.5}"#),
            ("edgeferry".to_owned(), 1_700_000_000_500)
        );
        let soon = clock::unix_ms() + TOKEN_LIFETIME_MS;
        for opaque in [
            "opaque",
            "a.b",
            "a.b.c.d",
            "a.!!.c",
            &jwt("[]"),
            &jwt(r#"{"exp":"soon"}"#),
        ] {
            let (principal, lifetime_ms) = read(opaque);
            assert_eq!(principal, "edgeferry", "{opaque}");
            assert!(
                (soon..soon + 60_000).contains(&lifetime_ms),
                "{opaque}: {lifetime_ms}"
            );
        }
    }

    fn token_of(contents: &[u8]) -> (String, i64) {
        let token = token(file(contents).path()).expect("reads");
        (token.principal_name, token.lifetime_ms)
    }
}
