//! The keys of `[kafka]` about TLS and SASL: complete sets only, and nothing said twice.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::settings::Section;

/// What belongs to `sasl = "plain"` and the two SCRAMs.
const WORDS: [(&str, Mechanism); 4] = [
    ("plain", Mechanism::Plain),
    ("scram-sha-256", Mechanism::ScramSha256),
    ("scram-sha-512", Mechanism::ScramSha512),
    ("oauthbearer", Mechanism::OauthBearer),
];

/// How the link to Kafka is protected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Security {
    /// `tls`, `ca_file` or `cert_file`.
    pub tls: Option<Tls>,
    /// `sasl`
    pub sasl: Option<Sasl>,
    /// `password_file` where SASL is set up in `[kafka.properties]`.
    pub password_file: Option<PathBuf>,
}

/// An encrypted link.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// `ca_file`: whose certificates are believed; default the system's CAs.
    pub ca_file: Option<PathBuf>,
    /// Mutual TLS.
    pub client: Option<ClientCertificate>,
}

/// What edgeferry shows the broker with mutual TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// `cert_file`: PEM, with the chain behind it.
    pub cert_file: PathBuf,
    /// `key_file`: PEM.
    pub key_file: PathBuf,
    /// `key_password_file`: what `key_file` is encrypted with.
    pub key_password_file: Option<PathBuf>,
}

/// How edgeferry says who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sasl {
    /// `"plain"`, `"scram-sha-256"`, `"scram-sha-512"`.
    Password {
        /// Which of them.
        mechanism: Mechanism,
        /// `username`
        username: String,
        /// `password_file`
        password_file: PathBuf,
    },
    /// `"oauthbearer"`
    Token {
        /// `token_file`: reread whenever a token is needed.
        token_file: PathBuf,
    },
}

/// A SASL mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// The password goes to the broker as it is.
    Plain,
    /// The password does not leave the gateway.
    ScramSha256,
    /// The password does not leave the gateway.
    ScramSha512,
    /// A token that somebody else issued.
    OauthBearer,
}

impl Mechanism {
    /// Its registered name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::OauthBearer => "OAUTHBEARER",
        }
    }
}

impl Sasl {
    /// The mechanism.
    #[must_use]
    pub const fn mechanism(&self) -> Mechanism {
        match self {
            Self::Password { mechanism, .. } => *mechanism,
            Self::Token { .. } => Mechanism::OauthBearer,
        }
    }
}

/// The keys as they are written. They stand in `[kafka]` itself: serde cannot flatten and refuse unknown keys.
#[derive(Debug, Default)]
pub(super) struct RawSecurity {
    pub tls: Option<bool>,
    pub ca_file: Option<PathBuf>,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    pub key_password_file: Option<PathBuf>,
    pub sasl: Option<String>,
    pub username: Option<String>,
    pub password_file: Option<PathBuf>,
    pub token_file: Option<PathBuf>,
}

/// Checks the keys together, and against `properties`; what is incomplete is an error and left out.
pub(super) fn resolve(
    raw: RawSecurity,
    properties: &BTreeMap<String, String>,
    section: &mut Section<'_, '_>,
) -> Security {
    check_said_twice(&raw, properties, section);
    for (key, path) in [
        ("ca_file", &raw.ca_file),
        ("cert_file", &raw.cert_file),
        ("key_file", &raw.key_file),
        ("key_password_file", &raw.key_password_file),
        ("password_file", &raw.password_file),
        ("token_file", &raw.token_file),
    ] {
        section.absolute(key, path.as_deref());
    }
    let tls_keys = [
        ("ca_file", raw.ca_file.is_some()),
        ("cert_file", raw.cert_file.is_some()),
        ("key_file", raw.key_file.is_some()),
        ("key_password_file", raw.key_password_file.is_some()),
    ];
    let used = tls_keys
        .into_iter()
        .find_map(|(key, is_there)| is_there.then_some(key));
    if let (Some(false), Some(key)) = (raw.tls, used) {
        let right = format!("write tls = true, or leave {key} out");
        section.error(
            "tls",
            format!("is false, but {key} is only of use with TLS"),
            right,
        );
    }
    let is_encrypted = raw.tls.unwrap_or(used.is_some());
    let client = resolve_certificate(raw.cert_file, raw.key_file, raw.key_password_file, section);
    let word = section.one_of(
        "sasl",
        raw.sasl.as_deref(),
        &WORDS.map(|(word, mechanism)| (word, Some(mechanism))),
        &[],
        None,
    );
    let keys = SaslKeys {
        username: raw.username,
        password_file: raw.password_file,
        token_file: raw.token_file,
    };
    let (sasl, password_file) = match (word, raw.sasl) {
        (Some(mechanism), _) => (keys.resolve(mechanism, section), None),
        // It is there, and wrong: what belongs to it cannot be judged.
        (None, Some(_)) => (None, None),
        (None, None) => (None, keys.without_sasl(properties, section)),
    };
    warn_of_clear_text(sasl.as_ref(), is_encrypted, section);
    Security {
        tls: is_encrypted.then_some(Tls {
            ca_file: raw.ca_file,
            client,
        }),
        sasl,
        password_file,
    }
}

fn warn_of_clear_text(sasl: Option<&Sasl>, is_encrypted: bool, section: &mut Section<'_, '_>) {
    let what = match sasl.map(Sasl::mechanism) {
        Some(Mechanism::Plain) => "the password",
        Some(Mechanism::OauthBearer) => "the token",
        _ => return,
    };
    if !is_encrypted {
        let wrong = format!("{what} goes over the network as it is, anybody in between can read it");
        section.warn("sasl", wrong, "write tls = true, where the broker offers it");
    }
}

fn resolve_certificate(
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    key_password_file: Option<PathBuf>,
    section: &mut Section<'_, '_>,
) -> Option<ClientCertificate> {
    match (cert_file, key_file, &key_password_file) {
        (Some(cert_file), Some(key_file), _) => Some(ClientCertificate {
            cert_file,
            key_file,
            key_password_file,
        }),
        (Some(_), None, _) => {
            section.error(
                "key_file",
                "is missing",
                "cert_file needs the key that belongs to it",
            );
            None
        }
        (None, Some(_), _) => {
            let right = "key_file needs the certificate that belongs to it";
            section.error("cert_file", "is missing", right);
            None
        }
        (None, None, Some(_)) => {
            let right = "write cert_file and key_file, or leave it out";
            section.error("key_password_file", "has no key that it could open", right);
            None
        }
        (None, None, None) => None,
    }
}

/// The keys that belong to `sasl`.
struct SaslKeys {
    username: Option<String>,
    password_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
}

impl SaslKeys {
    fn resolve(self, mechanism: Mechanism, section: &mut Section<'_, '_>) -> Option<Sasl> {
        if mechanism == Mechanism::OauthBearer {
            let strange = [
                ("username", self.username.is_some()),
                ("password_file", self.password_file.is_some()),
            ];
            for (key, _) in strange.into_iter().filter(|(_, is_there)| *is_there) {
                let right = "leave it out, the token says who edgeferry is";
                section.error(key, "does not go with sasl = \"oauthbearer\"", right);
            }
            let right = "sasl = \"oauthbearer\" needs a file with a token that somebody keeps fresh";
            let token_file = section.required("token_file", self.token_file, right)?;
            return Some(Sasl::Token { token_file });
        }
        if self.token_file.is_some() {
            let right = "leave it out, or write sasl = \"oauthbearer\"";
            section.error("token_file", "does not go with a password", right);
        }
        let right = "sasl with a password needs username and password_file";
        let username = section.required("username", self.username, right);
        let password_file = section.required("password_file", self.password_file, right);
        if username.as_deref().is_some_and(str::is_empty) {
            section.error("username", "is empty", right);
        }
        Some(Sasl::Password {
            mechanism,
            username: username?,
            password_file: password_file?,
        })
    }

    /// Before there were keys, SASL was set up by properties, and the password alone had a key.
    fn without_sasl(
        self,
        properties: &BTreeMap<String, String>,
        section: &mut Section<'_, '_>,
    ) -> Option<PathBuf> {
        let by_properties = ["sasl.mechanism", "sasl.mechanisms"]
            .iter()
            .any(|name| properties.contains_key(*name));
        let keys = [
            ("username", self.username.is_some()),
            ("password_file", self.password_file.is_some() && !by_properties),
            ("token_file", self.token_file.is_some()),
        ];
        if let Some((key, _)) = keys.into_iter().find(|(_, is_there)| *is_there) {
            let words: Vec<String> = WORDS.iter().map(|(word, _)| format!("{word:?}")).collect();
            let right = format!("{key} needs it: write {}", words.join(" or "));
            section.error("sasl", "is missing", right);
        }
        self.password_file
    }
}

/// A property that says what a key says could contradict it.
fn check_said_twice(raw: &RawSecurity, properties: &BTreeMap<String, String>, section: &mut Section<'_, '_>) {
    let has_certificate = raw.cert_file.is_some() || raw.key_file.is_some();
    let has_keys = raw.tls.is_some() || raw.ca_file.is_some() || has_certificate || raw.sasl.is_some();
    let pairs = [
        ("security.protocol", "kafka.tls and kafka.sasl", has_keys),
        ("sasl.mechanism", "kafka.sasl", has_keys),
        ("sasl.mechanisms", "kafka.sasl", has_keys),
        ("sasl.username", "kafka.username", has_keys),
        ("ssl.ca.location", "kafka.ca_file", raw.ca_file.is_some()),
        ("ssl.ca.pem", "kafka.ca_file", raw.ca_file.is_some()),
        ("ssl.certificate.location", "kafka.cert_file", has_certificate),
        ("ssl.certificate.pem", "kafka.cert_file", has_certificate),
        ("ssl.key.location", "kafka.key_file", has_certificate),
        ("ssl.keystore.location", "kafka.cert_file", has_certificate),
    ];
    for (name, key, is_used) in pairs {
        if is_used && properties.contains_key(name) {
            let wrong = format!("says what {key} says");
            section.error(&format!("properties.{name}"), wrong, format!("use {key} alone"));
        }
    }
}
