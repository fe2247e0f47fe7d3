//! TLS, as the files say it now: they are read for every attempt to connect, so what was renewed is used without a
//! restart.
//!
//! rustls with ring: no C library beside it, and nothing that is hard to build for ARM. TLS 1.2 and 1.3.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use x509_cert::der::{Decode, SliceReader};
use x509_cert::{Certificate, Version, time::Validity};
use zeroize::Zeroizing;

use super::config::{ClientCertificate, Tls};
use crate::clock;
use crate::secret::{self, SecretError};

/// No file of certificates is larger: those of a whole system are about 200 KB.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Why files cannot be used for TLS.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] SecretError),
    /// Damaged. What is in it may be a key, so it is not shown.
    #[error("{0} is damaged or cut off: base64 between a BEGIN and an END line is right (PEM)")]
    Pem(PathBuf),
    /// PEM, but of something else.
    #[error("{0} holds no certificate, which begins with -----BEGIN CERTIFICATE-----")]
    NoCertificate(PathBuf),
    /// A certificate that TLS cannot use.
    #[error("{path} holds a certificate that cannot be used: {error}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: rustls::Error,
    },
    /// No key.
    #[error("{0} holds no private key, which begins with -----BEGIN PRIVATE KEY----- (or EC, or RSA)")]
    NoKey(PathBuf),
    /// A key that needs a password.
    #[error("{0} holds an encrypted key: `openssl pkey -in {0} -out NEW` gives one that is not")]
    EncryptedKey(PathBuf),
    /// Certificate and key of different makes.
    #[error("{cert} and {key} do not belong together: the key is that of another certificate")]
    Mismatch {
        /// `cert_file`
        cert: PathBuf,
        /// `key_file`
        key: PathBuf,
    },
    /// An algorithm that is not built in.
    #[error("{cert} with {key} cannot be used: {error}")]
    Unusable {
        /// `cert_file`
        cert: PathBuf,
        /// `key_file`
        key: PathBuf,
        /// What is wrong with them.
        error: rustls::Error,
    },
    /// A certificate from before extensions, which `openssl x509 -req` makes when it is not told otherwise.
    #[error(
        "{0} holds a certificate of X.509 version 1: make one of version 3, with `openssl x509 -req -extfile FILE` and a FILE that says \
         `basicConstraints = CA:FALSE`"
    )]
    Version1(PathBuf),
    /// The system has no CAs.
    #[error("this system has no CA certificates{0}: install ca-certificates, or write ca_file")]
    NoSystemRoots(String),
    /// rustls and ring do not fit together.
    #[error("TLS cannot be set up: {0}")]
    Provider(rustls::Error),
}

/// What a connection needs. Reads files, so it may take a moment.
///
/// # Errors
/// [`FileError`]
pub fn client_config(tls: &Tls) -> Result<Arc<ClientConfig>, FileError> {
    let roots = match &tls.ca_file {
        Some(path) => roots_of(path)?,
        None => system_roots()?,
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(FileError::Provider)?
        .with_root_certificates(roots);
    let mut config = match &tls.client {
        Some(client) => {
            let (chain, key) = (chain(&client.cert_file)?, key(&client.key_file)?);
            if chain.first().is_some_and(is_version_1) {
                return Err(FileError::Version1(client.cert_file.clone()));
            }
            let unfit = |error| unfit(client, error);
            builder.with_client_auth_cert(chain, key).map_err(unfit)?
        }
        None => builder.with_no_client_auth(),
    };
    // Made anew for each connection, so there is never a session to resume.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn unfit(client: &ClientCertificate, error: rustls::Error) -> FileError {
    let (cert, key) = (client.cert_file.clone(), client.key_file.clone());
    match error {
        rustls::Error::InconsistentKeys(_) => FileError::Mismatch { cert, key },
        error => FileError::Unusable { cert, key, error },
    }
}

fn roots_of(path: &Path) -> Result<RootCertStore, FileError> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(path)? {
        roots.add(certificate).map_err(|error| FileError::Certificate {
            path: path.to_owned(),
            error,
        })?;
    }
    Ok(roots)
}

/// One that cannot be read is none; they are not the user's.
fn system_roots() -> Result<RootCertStore, FileError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first();
        return Err(FileError::NoSystemRoots(
            why.map(|error| format!(" ({error})")).unwrap_or_default(),
        ));
    }
    Ok(roots)
}

/// All certificates of a file, at least one.
fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let bytes = secret::bytes(path, FILE_BYTES_MAX)?;
    let chain = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|_| FileError::Pem(path.to_owned()))?;
    match chain.is_empty() {
        true => Err(FileError::NoCertificate(path.to_owned())),
        false => Ok(chain),
    }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    let bytes = Zeroizing::new(secret::bytes(path, FILE_BYTES_MAX)?);
    if is_encrypted(&bytes) {
        return Err(FileError::EncryptedKey(path.to_owned()));
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => FileError::NoKey(path.to_owned()),
        _ => FileError::Pem(path.to_owned()),
    })
}

/// PKCS#8 says it in its first line; the older form says it in a header.
fn is_encrypted(pem: &[u8]) -> bool {
    let says = |mark: &str| memchr::memmem::find(pem, mark.as_bytes()).is_some();
    says("-----BEGIN ENCRYPTED PRIVATE KEY-----") || says("Proc-Type: 4,ENCRYPTED")
}

/// A certificate whose time is over, or has not come, by the clock of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Untimely {
    /// Ended.
    Expired {
        /// The file.
        path: PathBuf,
        /// Its end, RFC 3339.
        at: String,
    },
    /// Not begun.
    Early {
        /// The file.
        path: PathBuf,
        /// Its begin, RFC 3339.
        at: String,
    },
}

impl fmt::Display for Untimely {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { path, at } => {
                write!(f, "{} has expired at {at}: renew it", path.display())
            }
            Self::Early { path, at } => {
                let path = path.display();
                write!(
                    f,
                    "{path} is valid from {at} on: is the clock of this machine right?"
                )
            }
        }
    }
}

/// What the clock says of a client's certificate. It is sent all the same: whether it counts is for the broker to say,
/// whose clock is better.
pub fn untimely(client: &ClientCertificate) -> Option<Untimely> {
    let chain = chain(&client.cert_file).ok()?;
    let validity = validity(chain.first()?)?;
    let now = Duration::from_millis(u64::try_from(clock::unix_ms()).unwrap_or(0));
    let (begin, end) = (
        validity.not_before.to_unix_duration(),
        validity.not_after.to_unix_duration(),
    );
    let path = client.cert_file.clone();
    let text = |time| humantime::format_rfc3339_seconds(UNIX_EPOCH + time).to_string();
    match now {
        now if now > end => Some(Untimely::Expired { path, at: text(end) }),
        now if now < begin => Some(Untimely::Early {
            path,
            at: text(begin),
        }),
        _ => None,
    }
}

/// When the first certificate of a PEM file ends, Unix milliseconds. One that only TLS can read does not count.
///
/// # Errors
/// Why there is none, in words.
pub fn first_end(path: &Path) -> Result<i64, String> {
    let chain = chain(path).map_err(|error| error.to_string())?;
    let ends = chain.iter().filter_map(validity);
    let ends = ends.map(|validity| validity.not_after.to_unix_duration().as_millis());
    let end = ends.min().and_then(|end| i64::try_from(end).ok());
    end.ok_or_else(|| format!("{} holds no certificate whose end can be read", path.display()))
}

/// What is wrong with files that another TLS library is to use, as far as no library could: for those that can be read. A key
/// that rustls does not know may be one that the other knows.
#[must_use]
pub fn mismatch(ca_file: Option<&Path>, client: Option<(&Path, &Path)>) -> Option<String> {
    let client = client.map(|(cert_file, key_file)| ClientCertificate {
        cert_file: cert_file.to_owned(),
        key_file: key_file.to_owned(),
    });
    let tls = Tls {
        ca_file: ca_file.map(Path::to_owned),
        client,
    };
    match client_config(&tls).err()? {
        error @ (FileError::Pem(_)
        | FileError::NoCertificate(_)
        | FileError::NoKey(_)
        | FileError::EncryptedKey(_)
        | FileError::Mismatch { .. }) => Some(error.to_string()),
        _ => None,
    }
}

fn is_version_1(certificate: &CertificateDer<'_>) -> bool {
    let mut reader = SliceReader::new(certificate).ok();
    let certificate = reader
        .as_mut()
        .and_then(|reader| Certificate::decode(reader).ok());
    certificate.is_some_and(|certificate| certificate.tbs_certificate.version == Version::V1)
}

/// `None` for a certificate that only TLS can read.
fn validity(certificate: &CertificateDer<'_>) -> Option<Validity> {
    let mut reader = SliceReader::new(certificate).ok()?;
    let certificate = Certificate::decode(&mut reader).ok()?;
    Some(certificate.tbs_certificate.validity)
}

#[cfg(test)]
mod tests;
