//! Who may ask.
//!
//! With a token: whoever sends it, as `Authorization: Bearer TOKEN`, or as the password of `Basic`, which is what browsers ask
//! their users for and then send by themselves. Neither gets into an address, a log or the history of a browser, and no page,
//! session or cookie is needed.
//!
//! Without one, which is possible on loopback only: everybody on this machine. Not a page of the internet in a browser of this
//! machine whose name was made to point here ("DNS rebinding"): it sends its own name as `Host`, and only names of this machine
//! are answered.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64ct::{Base64, Encoding};
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::http::uri::Authority;
use subtle::ConstantTimeEq;

use crate::secret::{self, SecretError};

/// A shorter token could be guessed by somebody with patience.
const TOKEN_LEN_MIN: usize = 16;
/// The file is read again when somebody asks and this has passed: a new token counts without a restart, and nobody can make
/// the daemon read files all day.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// The rule.
#[derive(Debug)]
pub enum Access {
    /// Whoever asks for a name of this machine.
    Local,
    /// Whoever knows the token.
    Token(TokenFile),
}

/// Why somebody gets no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The name is not one of this machine.
    Host,
    /// No token.
    Missing,
    /// A wrong one.
    Wrong,
    /// There is no token to compare with.
    NoToken,
}

impl Access {
    /// By what the configuration says.
    #[must_use]
    pub fn new(token_file: Option<PathBuf>) -> Self {
        token_file.map_or(Self::Local, |path| Self::Token(TokenFile::new(path)))
    }

    /// Whether somebody with these headers, who asked for this name in the request line, if any, is answered.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn check(&self, headers: &HeaderMap, asked_for: Option<&Authority>) -> Result<(), Refusal> {
        match self {
            Self::Local => is_local(headers, asked_for).then_some(()).ok_or(Refusal::Host),
            Self::Token(file) => file.check(headers),
        }
    }
}

/// Whether every name that is asked for is one of this machine. Programs without a name (HTTP/1.0) are no browsers.
fn is_local(headers: &HeaderMap, asked_for: Option<&Authority>) -> bool {
    let hosts = headers.get_all(HOST).iter();
    let mut hosts = hosts.map(|host| host.to_str().ok()?.parse::<Authority>().ok());
    hosts.all(|host| host.is_some_and(|host| is_own_name(host.host())))
        && asked_for.is_none_or(|authority| is_own_name(authority.host()))
}

/// RFC 6761: names below `localhost` are loopback too.
fn is_own_name(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let address = bare.unwrap_or(host).parse::<IpAddr>();
    let name = host.to_ascii_lowercase();
    address.is_ok_and(|address| address.is_loopback()) || name == "localhost" || name.ends_with(".localhost")
}

/// A token in a file.
#[derive(Debug)]
pub struct TokenFile {
    path: PathBuf,
    last: Mutex<Option<Read>>,
}

struct Read {
    at: Instant,
    token: Option<String>,
}

impl std::fmt::Debug for Read {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Read")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl TokenFile {
    const fn new(path: PathBuf) -> Self {
        Self {
            path,
            last: Mutex::new(None),
        }
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let token = self.token().ok_or(Refusal::NoToken)?;
        let mut given = headers.get_all(AUTHORIZATION).iter();
        let Some(first) = given.next() else {
            return Err(Refusal::Missing);
        };
        let given = match given.next() {
            None => given_token(first.to_str().unwrap_or_default()),
            Some(_) => None,
        };
        let is_right = given.is_some_and(|given| given.as_bytes().ct_eq(token.as_bytes()).into());
        if is_right { Ok(()) } else { Err(Refusal::Wrong) }
    }

    /// The token; `None` while there is none that could be used, which is said once.
    fn token(&self) -> Option<String> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(read) = last.as_ref().filter(|read| read.at.elapsed() < READ_AGAIN) {
            return read.token.clone();
        }
        let was_there = last.as_ref().is_none_or(|read| read.token.is_some());
        let token = match read(&self.path) {
            Ok(token) => Some(token),
            Err(error) => {
                if was_there {
                    tracing::error!(%error, "http: nobody is answered, because there is no token");
                }
                None
            }
        };
        *last = Some(Read {
            at: Instant::now(),
            token: token.clone(),
        });
        token
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] SecretError),
    /// What is in it is no token.
    #[error(
        "{}: a token has {TOKEN_LEN_MIN} or more letters, digits and signs of ASCII, without spaces; `openssl rand -hex 32` makes \
         one",
        .0.display()
    )]
    NoToken(PathBuf),
}

/// The token in a file.
///
/// # Errors
/// [`TokenError`]
pub fn read(path: &Path) -> Result<String, TokenError> {
    let token = secret::line(path)?;
    let is_plain = token.chars().all(|letter| letter.is_ascii_graphic());
    match is_plain && token.len() >= TOKEN_LEN_MIN {
        true => Ok(token),
        false => Err(TokenError::NoToken(path.to_owned())),
    }
}

/// The token in a header. The user of `Basic` is anything.
fn given_token(header: &str) -> Option<String> {
    let (scheme, given) = header.split_once(' ')?;
    let given = given.trim();
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" => Some(given.to_owned()),
        "basic" => {
            let decoded = String::from_utf8(Base64::decode_vec(given).ok()?).ok()?;
            let (_, password) = decoded.split_once(':')?;
            Some(password.to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef-token";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let name = hyper::header::HeaderName::from_static(name);
            (name, value.parse().unwrap())
        });
        pairs
            .collect::<Vec<_>>()
            .into_iter()
            .fold(HeaderMap::new(), |mut map, (name, value)| {
                map.append(name, value);
                map
            })
    }

    #[test]
    fn without_a_token_only_names_of_this_machine_are_answered() {
        for (host, is_right) in [
            ("localhost", true),
            ("LOCALHOST:8484", true),
            ("gateway.localhost:1", true),
            ("127.0.0.1:9999", true),
            ("127.1.2.3", true),
            ("[::1]:8484", true),
            ("evil.example", false),
            ("localhost.evil.example:8484", false),
            ("evillocalhost", false),
            ("10.0.0.7:8484", false),
            ("[fe80::1]", false),
            ("127.0.0.1.evil.example", false),
            ("0.0.0.0:8484", false),
            ("", false),
            ("a b", false),
        ] {
            let checked = Access::Local.check(&headers(&[("host", host)]), None);
            assert_eq!(checked.is_ok(), is_right, "{host:?}");
        }
        let twice = headers(&[("host", "localhost"), ("host", "evil.example")]);
        assert_eq!(Access::Local.check(&twice, None), Err(Refusal::Host));
        // A request line with a name in it.
        let evil = Authority::from_static("evil.example");
        let asked = Access::Local.check(&headers(&[("host", "localhost")]), Some(&evil));
        assert_eq!(asked, Err(Refusal::Host));
        assert_eq!(Access::Local.check(&HeaderMap::new(), None), Ok(()));
    }

    fn file(contents: &str) -> (tempfile::NamedTempFile, Access) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), contents).unwrap();
        let access = Access::new(Some(file.path().to_owned()));
        (file, access)
    }

    #[test]
    fn the_token_comes_as_bearer_or_as_the_password_of_basic() {
        let (_file, access) = file(&format!("{TOKEN}\n"));
        let check = |value: &str| access.check(&headers(&[("authorization", value)]), None);
        let basic = |text: &str| format!("Basic {}", Base64::encode_string(text.as_bytes()));
        for right in [
            format!("Bearer {TOKEN}"),
            format!("bearer  {TOKEN}"),
            basic(&format!(":{TOKEN}")),
            basic(&format!("anybody:{TOKEN}")),
        ] {
            assert_eq!(check(&right), Ok(()), "{right}");
        }
        for wrong in [
            "Bearer".to_owned(),
            "Bearer ".to_owned(),
            TOKEN.to_owned(),
            format!("Bearer {TOKEN}x"),
            format!("Bearer {}", TOKEN.get(1..).unwrap()),
            format!("Digest {TOKEN}"),
            format!("Basic {TOKEN}"),
            basic(TOKEN),
            basic(&format!("{TOKEN}:")),
            "Basic ====".to_owned(),
        ] {
            assert_eq!(check(&wrong), Err(Refusal::Wrong), "{wrong}");
        }
        assert_eq!(access.check(&HeaderMap::new(), None), Err(Refusal::Missing));
        let twice = headers(&[
            ("authorization", &format!("Bearer {TOKEN}")),
            ("authorization", "Bearer x"),
        ]);
        assert_eq!(access.check(&twice, None), Err(Refusal::Wrong));
        // Any name will do: the token is what counts.
        let named = headers(&[
            ("host", "gw.example"),
            ("authorization", &format!("Bearer {TOKEN}")),
        ]);
        assert_eq!(access.check(&named, None), Ok(()));
    }

    #[test]
    fn without_a_usable_token_nobody_is_answered() {
        for contents in [
            "",
            "short",
            "with spaces in it and long enough",
            "ünïcödé-is-long-enough-here",
        ] {
            let (_file, access) = file(contents);
            let given = headers(&[("authorization", &format!("Bearer {TOKEN}"))]);
            assert_eq!(access.check(&given, None), Err(Refusal::NoToken), "{contents:?}");
        }
        let access = Access::new(Some("/no/such/file".into()));
        assert_eq!(access.check(&HeaderMap::new(), None), Err(Refusal::NoToken));
    }

    #[test]
    fn a_token_is_in_no_debug_text() {
        let (_file, access) = file(TOKEN);
        assert!(access.check(&HeaderMap::new(), None).is_err());
        assert!(!format!("{access:?}").contains(TOKEN));
    }
}
