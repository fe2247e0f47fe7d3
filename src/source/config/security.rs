//! `[[mqtt]]`: whom to believe, and who edgeferry is.

use std::path::PathBuf;

use super::{Endpoint, Raw};
use crate::settings::Section;

/// TLS: `mqtts://` and `wss://`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// `ca_file`: the CAs to believe, PEM; `None` means those of the system.
    pub ca_file: Option<PathBuf>,
    /// `cert_file` and `key_file`
    pub client: Option<ClientCertificate>,
}

/// Mutual TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// `cert_file`: PEM, the certificate first, then those of the CAs between it and the one that the broker knows.
    pub cert_file: PathBuf,
    /// `key_file`: PEM, not encrypted.
    pub key_file: PathBuf,
}

/// TLS when the url asks for it.
pub(super) fn resolve(raw: &Raw, endpoint: &Endpoint, section: &mut Section<'_, '_>) -> Option<Tls> {
    let files = [
        ("ca_file", &raw.ca_file),
        ("cert_file", &raw.cert_file),
        ("key_file", &raw.key_file),
    ];
    let is_encrypted = endpoint.server().is_some_and(|server| server.is_encrypted);
    let used = files.iter().find(|(_, path)| path.is_some());
    if let (Some((key, _)), false, false) = (used, is_encrypted, endpoint.is_unknown()) {
        let right = format!("write url = \"mqtts://…\" (or wss://), or leave {key} out");
        section.error(key, "is only of use with TLS", right);
    }
    for (key, path) in files.into_iter().chain([("password_file", &raw.password_file)]) {
        section.absolute(key, path.as_deref());
    }
    for (key, path) in files {
        if path.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            section.error(key, "is empty", "write the path of a PEM file");
        }
    }
    let client = resolve_client(raw, section);
    is_encrypted.then(|| Tls {
        ca_file: raw.ca_file.clone(),
        client,
    })
}

fn resolve_client(raw: &Raw, section: &mut Section<'_, '_>) -> Option<ClientCertificate> {
    match (&raw.cert_file, &raw.key_file) {
        (Some(cert_file), Some(key_file)) => Some(ClientCertificate {
            cert_file: cert_file.clone(),
            key_file: key_file.clone(),
        }),
        (Some(_), None) => {
            let right = "cert_file needs the key that belongs to it";
            section.error("key_file", "is missing", right);
            None
        }
        (None, Some(_)) => {
            let right = "key_file needs the certificate that belongs to it";
            section.error("cert_file", "is missing", right);
            None
        }
        (None, None) => None,
    }
}

/// A password in the clear is a secret of everybody on the way.
pub(super) fn warn_of_clear_text(raw: &Raw, endpoint: &Endpoint, section: &mut Section<'_, '_>) {
    if raw.password_file.is_some() && !endpoint.is_private() && !endpoint.is_unknown() {
        let what = "the password goes over the network as it is, anybody in between can read it";
        let instead = "use mqtts:// or wss://, where the broker offers it";
        section.warn("url", what, instead);
    }
}
