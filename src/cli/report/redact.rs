//! The configuration as it may leave the machine.
//!
//! What stands in the file is not copied: it is read, and said again value by value, so no comment comes along. Of a value that is a
//! secret, or may be one, only its length is said:
//!
//! * what has the name of a secret, or is one to librdkafka;
//! * user names: some brokers take an access token in their place;
//! * in a URL, what stands before the `@`, and the query;
//! * fixed texts of `add_headers`, which may be credentials of those behind Kafka;
//! * every text of a file with mistakes: a secret may stand where a secret does not belong.
//!
//! Paths of files are said, what is in the files never. At last [`Redacted::scrub`] takes out of the whole report what the files of
//! secrets hold, wherever it may have come from. What cannot be read cannot be looked for either: the report says which files
//! those are.

use std::path::{Path, PathBuf};

use toml::Value;

use crate::cli::text::put;
use crate::config::{self, LoadError};
use crate::secret::{self, SecretError};
use crate::sink;

/// Parts of names of secrets.
const SECRET_WORDS: [&str; 14] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "credential",
    "auth",
    "jaas",
    "pem",
    "private",
    "username",
    "apikey",
    "api_key",
];
/// Ends of names whose values are paths.
const PATHS: [&str; 4] = ["_file", "_files", ".location", "data_dir"];
/// Files that hold no secret, by the ends of the names of their settings.
const PUBLIC: [&str; 3] = ["ca_file", "cert_file", "ca.location"];
/// A shorter secret cannot be told from the words around it.
const SCRUBBED_MIN: usize = 4;

/// What may be shown.
#[derive(Debug)]
pub struct Redacted {
    /// The configuration in lines `path = value`, or why there is none.
    pub text: String,
    /// Where the store is.
    pub data_dir: Option<PathBuf>,
    /// What the files of secrets hold.
    secrets: Vec<String>,
}

/// Reads the configuration file.
pub fn read(path: &Path) -> Redacted {
    let mut text = format!("{}\n", path.display());
    let source = match config::read(path) {
        Ok(source) => source,
        Err(error) => {
            put(&mut text, format_args!("cannot be read: {error}\n"));
            return Redacted {
                text,
                data_dir: None,
                secrets: Vec::new(),
            };
        }
    };
    let loaded = config::load(path);
    if let Err(error) = &loaded {
        text.push_str(&mistakes(error));
    }
    // An error of the parser quotes the file, so it is not said; where it is was said above.
    let table: toml::Table = source.parse().unwrap_or_default();
    let (mut secrets, mut unread) = (Vec::new(), Vec::new());
    let mut line = |name: &str, value: &Value| {
        let shown = shown(name, value, loaded.is_ok());
        put(&mut text, format_args!("{name} = {shown}\n"));
        match value {
            Value::String(file) if is_file_of_secrets(name) => match held_by(Path::new(file)) {
                Ok(held) => secrets.extend(held),
                Err(error) => unread.push(format!("{name}: {}", why_unread(&error))),
            },
            _ => {}
        }
    };
    for (name, value) in &table {
        flatten(name, value, &mut line);
    }
    text.push_str(&not_looked_for(&unread));
    let configured = table.get("gateway").and_then(|gateway| gateway.get("data_dir"));
    let data_dir = match &loaded {
        Ok((config, _)) => Some(config.gateway.data_dir.clone()),
        Err(_) => configured.and_then(Value::as_str).map(PathBuf::from),
    };
    // The longest first: one may be part of another.
    secrets.sort_unstable_by_key(|secret: &String| std::cmp::Reverse(secret.len()));
    Redacted {
        text,
        data_dir,
        secrets,
    }
}

impl Redacted {
    /// The text without anything that a file of secrets holds.
    pub fn scrub(&self, mut text: String) -> String {
        for secret in &self.secrets {
            if text.contains(secret) {
                text = text.replace(secret, "(redacted)");
            }
            // As it stands in JSON.
            let escaped = serde_json::to_string(secret).unwrap_or_default();
            let escaped = escaped.trim_matches('"');
            if escaped != secret && !escaped.is_empty() {
                text = text.replace(escaped, "(redacted)");
            }
        }
        text
    }
}

/// Where the mistakes are. Their texts quote values.
fn mistakes(error: &LoadError) -> String {
    let LoadError::Invalid(problems) = error else {
        return "it cannot be read\n".to_owned();
    };
    let mut text =
        "it has mistakes, so of every text only the length is said; `edgeferry check` names them:\n"
            .to_owned();
    for problem in problems {
        let field = problem.field.escape_debug();
        put(&mut text, format_args!("  line {} {field}\n", problem.line));
    }
    text
}

/// Gives every value that is no table and no list of tables to `line`, with its path.
fn flatten(path: &str, value: &Value, line: &mut dyn FnMut(&str, &Value)) {
    match value {
        Value::Table(table) => {
            for (name, value) in table {
                flatten(&format!("{path}.{}", name.escape_debug()), value, line);
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                flatten(&format!("{path}[{index}]"), value, line);
            }
        }
        value => line(path, value),
    }
}

fn shown(name: &str, value: &Value, is_valid: bool) -> String {
    let text = match value {
        Value::String(text) => text,
        // Numbers may be secrets as well (a PIN), where their name says so.
        _ if is_secret(name) => return "(redacted)".to_owned(),
        Value::Integer(number) => return number.to_string(),
        Value::Float(number) => return number.to_string(),
        Value::Boolean(truth) => return truth.to_string(),
        Value::Datetime(time) => return time.to_string(),
        // Taken apart before.
        Value::Array(_) | Value::Table(_) => return String::new(),
    };
    if is_path(name) && is_valid {
        return format!("{text:?}");
    }
    let is_fixed_header = name.contains(".add_headers.") && !text.contains('{');
    if !is_valid || is_secret(name) || is_fixed_header {
        return format!("(a text of {} characters)", text.chars().count());
    }
    format!("{:?}", without_credentials(text))
}

fn is_path(name: &str) -> bool {
    let last = last(name);
    PATHS.iter().any(|end| last.ends_with(end) || name.ends_with(end))
}

fn is_secret(name: &str) -> bool {
    if is_path(name) {
        return false;
    }
    if let Some((_, property)) = name.split_once("kafka.properties.")
        && sink::is_secret_property(property)
    {
        return true;
    }
    // All of it: a table may have the name of a secret.
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// The last part of a path, without the index of a list.
fn last(name: &str) -> &str {
    let name = if name.ends_with(']') {
        name.rsplit_once('[').map_or(name, |(name, _)| name)
    } else {
        name
    };
    name.rsplit('.').next().unwrap_or(name)
}

/// A URL without what may be a credential; other text as it is.
fn without_credentials(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let (rest, query) = match rest.split_once('?') {
        Some((rest, _)) => (rest, "?(redacted)"),
        None => (rest, ""),
    };
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let authority = match authority.rsplit_once('@') {
        Some((_, host)) => format!("(redacted)@{host}"),
        None => authority.to_owned(),
    };
    format!("{scheme}://{authority}{path}{query}")
}

fn is_file_of_secrets(name: &str) -> bool {
    is_path(name) && last(name) != "data_dir" && !PUBLIC.iter().any(|end| name.ends_with(end))
}

/// The lines of a file of secrets.
fn held_by(file: &Path) -> Result<Vec<String>, SecretError> {
    let bytes = secret::bytes(file, secret::SECRET_BYTES_MAX)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().map(str::trim);
    Ok(lines
        .filter(|line| line.len() >= SCRUBBED_MIN && !line.starts_with("-----"))
        .map(str::to_owned)
        .collect())
}

/// Without the path: where none belongs it may be a secret.
fn why_unread(error: &SecretError) -> String {
    match error {
        SecretError::Unreadable { source, .. } => source.kind().to_string(),
        SecretError::NoFile(_) => "is not a file".to_owned(),
        SecretError::TooLarge { limit, .. } => format!("is over {limit} bytes"),
        SecretError::NoCredentials(_) => {
            "is a credential of the service, and CREDENTIALS_DIRECTORY is not set here".to_owned()
        }
        SecretError::Empty(_) | SecretError::NoText(_) => "holds no line of text".to_owned(),
    }
}

/// Says which files of secrets could not be read, if any.
fn not_looked_for(unread: &[String]) -> String {
    if unread.is_empty() {
        return String::new();
    }
    let mut text = "\nThese files of secrets cannot be read here, so what they hold was not looked for in this report. Make it as root or as \
                    the user of the daemon, or look through it for them:\n"
        .to_owned();
    for one in unread {
        put(&mut text, format_args!("  {one}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a file with this text, and of one that is valid.
    fn said(text: &str, is_valid: bool) -> String {
        let table: toml::Table = text.parse().expect("TOML");
        let mut out = String::new();
        for (name, value) in &table {
            flatten(name, value, &mut |name, value| {
                put(
                    &mut out,
                    format_args!("{name} = {}\n", shown(name, value, is_valid)),
                );
            });
        }
        out
    }

    const TEXT: &str = r#"
[gateway]
id = "gw-7" # hunter2 in a comment
data_dir = "/var/lib/x"
[[mqtt]]
url = "wss://joe:hunter2@broker.example:8443/mqtt?token=hunter2"
username = "hunter2"
password_file = "/etc/x/password"
keep_alive = "30s"
[kafka]
bootstrap_servers = ["a:9092", "b:9092"]
[kafka.properties]
linger.ms = 20
"sasl.password" = "hunter2"
ssl.key.pem = "hunter2"
"sasl.oauthbearer.config" = "hunter2"
"ssl.ca.location" = "/etc/ca"
pin_password = 4711
[[route]]
from = "devices/{device}/x"
[route.add_headers]
site = "{device}"
x-what = "hunter2"
"#;

    #[test]
    fn what_is_or_may_be_a_secret_is_not_said() {
        let said = said(TEXT, true);
        assert!(
            !said.contains("hunter2") && !said.contains("4711") && !said.contains("joe"),
            "{said}"
        );
        for line in [
            "gateway.id = \"gw-7\"",
            "gateway.data_dir = \"/var/lib/x\"",
            "mqtt[0].url = \"wss://(redacted)@broker.example:8443/mqtt?(redacted)\"",
            "mqtt[0].username = (a text of 7 characters)",
            "mqtt[0].password_file = \"/etc/x/password\"",
            "mqtt[0].keep_alive = \"30s\"",
            "kafka.bootstrap_servers[1] = \"b:9092\"",
            "kafka.properties.linger.ms = 20",
            "kafka.properties.sasl.password = (a text of 7 characters)",
            "kafka.properties.ssl.ca.location = \"/etc/ca\"",
            "route[0].from = \"devices/{device}/x\"",
            "route[0].add_headers.site = \"{device}\"",
        ] {
            assert!(said.lines().any(|said| said == line), "{line} in\n{said}");
        }
    }

    #[test]
    fn of_a_file_with_mistakes_no_text_is_said() {
        let said = said(
            "[mqtt]\nurl = \"hunter2\"\nca_file = \"hunter2\"\ncount = 3\n",
            false,
        );
        assert!(!said.contains("hunter2"), "{said}");
        assert!(said.contains("mqtt.count = 3"), "{said}");
    }

    #[test]
    fn what_the_files_of_secrets_hold_is_taken_out_wherever_it_came_from() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("password"), "hunt\"er2\n").expect("writes");
        std::fs::write(
            path("key"),
            "-----BEGIN KEY-----\nMIIEabcdefgh\n-----END KEY-----\n",
        )
        .expect("writes");
        std::fs::write(path("ca"), "public words\n").expect("writes");
        let text = format!(
            "[kafka]\npassword_file = {:?}\nkey_file = {:?}\nca_file = {:?}\n",
            path("password"),
            path("key"),
            path("ca")
        );
        std::fs::write(path("edgeferry.toml"), text).expect("writes");
        let redacted = read(&path("edgeferry.toml"));
        let text = "a hunt\"er2 b hunt\\\"er2 c MIIEabcdefgh public words -----BEGIN KEY-----".to_owned();
        assert_eq!(
            redacted.scrub(text),
            "a (redacted) b (redacted) c (redacted) public words -----BEGIN KEY-----"
        );
    }

    #[test]
    fn files_of_secrets_that_cannot_be_read_are_named_without_their_paths() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("password"), "hunter2\n").expect("writes");
        std::fs::create_dir(path("folder")).expect("makes");
        let text = format!(
            "[kafka]\npassword_file = {:?}\nkey_file = {:?}\nca_file = {:?}\n[[mqtt]]\npassword_file = {:?}\n",
            path("password"),
            path("folder"),
            path("no-ca"),
            path("hunter3"),
        );
        std::fs::write(path("edgeferry.toml"), text).expect("writes");
        let text = read(&path("edgeferry.toml")).text;
        let (_, unread) = text
            .split_once("These files of secrets cannot be read here")
            .expect("some");
        assert!(unread.contains("  kafka.key_file: is not a file\n"), "{unread}");
        assert!(
            unread.contains("  mqtt[0].password_file: entity not found\n"),
            "{unread}"
        );
        assert_eq!(unread.matches("_file").count(), 2, "{unread}");
        assert!(!unread.contains("hunter") && !text.contains("hunter"), "{text}");
        // Where all can be read nothing is said.
        std::fs::write(
            path("edgeferry.toml"),
            format!("[kafka]\npassword_file = {:?}\n", path("password")),
        )
        .expect("writes");
        assert!(!read(&path("edgeferry.toml")).text.contains("cannot be read"));
    }

    #[test]
    fn a_file_that_is_no_toml_is_not_quoted() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("edgeferry.toml");
        std::fs::write(&path, "[mqtt\npassword = hunter2\n").expect("writes");
        let text = read(&path).text;
        assert!(!text.contains("hunter2") && text.contains("line "), "{text}");
        std::fs::write(&path, "[gateway]\npassword = \"hunter2\"\nhunter = [1").expect("writes");
        assert!(!read(&path).text.contains("hunter2"));
        let text = read(&dir.path().join("none")).text;
        assert!(text.contains("cannot be read"), "{text}");
    }
}
