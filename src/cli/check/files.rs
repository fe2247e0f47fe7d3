//! The files that a configuration names, and what else only this machine can tell.

use std::path::{Path, PathBuf};

use crate::config::{self, Config};
use crate::identity::Machine;
use crate::ops::http::access::{self, TokenError};
use crate::secret::SecretError;
use crate::{queue, settings, sink, source};

/// Something that `run` would complain of on this machine.
#[derive(Debug)]
pub(super) struct Finding {
    field: String,
    text: String,
    /// It would not work. Otherwise it may be right where the daemon runs.
    pub is_error: bool,
}

impl Finding {
    fn error(field: impl Into<String>, text: &dyn std::fmt::Display) -> Self {
        Self {
            field: field.into(),
            text: text.to_string(),
            is_error: true,
        }
    }

    fn warning(field: impl Into<String>, text: &dyn std::fmt::Display) -> Self {
        Self {
            is_error: false,
            ..Self::error(field, text)
        }
    }

    /// Like a problem of the file itself: with the line where the setting stands.
    pub fn line(&self, file: &Path) -> String {
        let text = config::read(file).unwrap_or_default();
        let line = settings::line_of(file, &text, &self.field);
        let line = line.map(|line| format!(":{line}")).unwrap_or_default();
        format!("{}{line}: {}: {}", file.display(), self.field, self.text)
    }
}

/// Everything that is found, now.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let mut all: Vec<Finding> = gateway(config).into_iter().collect();
    for (index, broker) in config.brokers.iter().enumerate() {
        for problem in source::file_problems(broker) {
            let field = of_broker(index, broker, &problem);
            // In the state of a link the setting has to be said; here it stands before the text.
            let text = problem.strip_prefix("password_file: ").unwrap_or(&problem);
            all.push(Finding::error(field, &text));
        }
    }
    all.extend(keys(config));
    all.extend(kafka(&config.kafka));
    all.extend(token(config));
    all
}

/// A file for a fleet may be checked on a machine that is none of it.
fn gateway(config: &Config) -> Option<Finding> {
    let made = Machine::read().gateway_id(config.gateway.id.as_deref());
    let error = made.err()?;
    Some(Finding::warning(
        "gateway.id",
        &format_args!("no gateway id on this machine, `run` would end here: {error}"),
    ))
}

/// The setting whose file a problem of a broker is about.
fn of_broker(index: usize, broker: &source::Config, problem: &str) -> String {
    let tls = broker.tls.as_ref();
    let client = tls.and_then(|tls| tls.client.as_ref());
    let files: [(&str, Option<&PathBuf>); 4] = [
        ("password_file", broker.password_file.as_ref()),
        ("ca_file", tls.and_then(|tls| tls.ca_file.as_ref())),
        ("cert_file", client.map(|client| &client.cert_file)),
        ("key_file", client.map(|client| &client.key_file)),
    ];
    let is_named = |path: &&PathBuf| problem.contains(&path.display().to_string());
    let found = files
        .iter()
        .find_map(|(key, path)| path.filter(is_named).map(|_| *key));
    found.map_or_else(|| format!("mqtt[{index}]"), |key| format!("mqtt[{index}].{key}"))
}

/// What opens the queues. Which of the keys a store needs is known on the gateway alone.
fn keys(config: &Config) -> Vec<Finding> {
    let mut all: Vec<Finding> = Vec::new();
    for (index, lane) in config.lanes.iter().filter(|lane| lane.has_table).enumerate() {
        let is_own = lane.queue.key_file != config.queue.key_file
            || lane.queue.old_key_files != config.queue.old_key_files;
        if is_own {
            all.extend(key(&format!("lane[{index}].key_file"), &lane.queue));
        }
    }
    all.extend(key("queue.key_file", &config.queue));
    all
}

fn key(field: &str, config: &queue::Config) -> Option<Finding> {
    use crate::queue::seal::KeyFileError;
    use queue::OpenError;
    match queue::keys_for(&[], config).err()? {
        error @ OpenError::KeyFile(KeyFileError::NoCredentials(_)) => Some(Finding::warning(field, &error)),
        error => Some(Finding::error(field, &error)),
    }
}

/// Without it nobody is answered on HTTP.
fn token(config: &Config) -> Option<Finding> {
    config.http.listen?;
    match access::read(config.http.token_file.as_deref()?).err()? {
        error @ TokenError::File(SecretError::NoCredentials(_)) => {
            Some(Finding::warning("http.token_file", &error))
        }
        error => Some(Finding::error("http.token_file", &error)),
    }
}

/// librdkafka's own complaints name no file.
fn kafka(config: &sink::Config) -> Vec<Finding> {
    sink::unreadable_secrets(&config.security)
        .into_iter()
        .map(|(key, error)| {
            let field = format!("kafka.{key}");
            match error {
                SecretError::NoCredentials(_) => Finding::warning(field, &error),
                error => Finding::error(field, &error),
            }
        })
        .chain(mismatch(config))
        .collect()
}

/// Certificates and keys that no TLS could use; what rustls alone cannot do, librdkafka's OpenSSL may.
fn mismatch(config: &sink::Config) -> Option<Finding> {
    let tls = config.security.tls.as_ref()?;
    let client = tls.client.as_ref();
    // A key with a password is for OpenSSL alone.
    let client = client.filter(|client| client.key_password_file.is_none());
    let wrong = source::mismatch(
        tls.ca_file.as_deref(),
        client.map(|client| (client.cert_file.as_path(), client.key_file.as_path())),
    )?;
    let is_of_ca = tls
        .ca_file
        .as_ref()
        .is_some_and(|path| wrong.contains(&path.display().to_string()));
    Some(Finding::error(
        if is_of_ca {
            "kafka.ca_file"
        } else {
            "kafka.cert_file"
        },
        &wrong,
    ))
}
