//! The certificates that the configuration names, and when they end.
//!
//! An end that nobody saw coming stops a gateway whose links were well for years, and all of a fleet on the same day. So it
//! is in the state, and in the log 30 days before, 7 days before and every day from then on. Files are read again now and
//! then and after a reload: one that was renewed is seen without a restart, as the links see it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock;
use crate::config::Config;
use crate::ops::state::Certificate;
use crate::source;

/// How often files are read: a person who renewed one and looks at the page sees it soon.
pub const LOOK_EVERY: Duration = Duration::from_mins(10);
/// The first warning: time to ask somebody for a new one.
const MONTH_MS: i64 = 30 * DAY_MS;
/// From here on every day.
const WEEK_MS: i64 = 7 * DAY_MS;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// librdkafka's names for files with certificates.
const PROPERTIES: [&str; 2] = ["ssl.ca.location", "ssl.certificate.location"];

/// A file that the configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Where it is used: `mqtt NAME`, `kafka`.
    pub of: String,
    /// The setting.
    pub setting: String,
    /// The file.
    pub path: PathBuf,
}

/// All files with certificates that the configuration names, in its order.
#[must_use]
pub fn named(config: &Config) -> Vec<Named> {
    let mut all = Vec::new();
    for broker in &config.brokers {
        let of = format!("mqtt {}", broker.name);
        let tls = broker.tls.as_ref();
        let client = tls.and_then(|tls| tls.client.as_ref());
        let ca_file = tls.and_then(|tls| tls.ca_file.as_deref());
        let cert_file = client.map(|client| client.cert_file.as_path());
        all.extend(both(&of, ca_file, cert_file));
    }
    let tls = config.kafka.security.tls.as_ref();
    let client = tls.and_then(|tls| tls.client.as_ref());
    let ca_file = tls.and_then(|tls| tls.ca_file.as_deref());
    let cert_file = client.map(|client| client.cert_file.as_path());
    all.extend(both("kafka", ca_file, cert_file));
    all.extend(PROPERTIES.iter().filter_map(|name| {
        let value = config.kafka.properties.get(*name)?;
        // librdkafka's word for the system's own; they are not the user's to renew.
        (value != "probe").then(|| Named {
            of: "kafka".to_owned(),
            setting: format!("properties.{name}"),
            path: value.into(),
        })
    }));
    all
}

fn both(of: &str, ca_file: Option<&Path>, cert_file: Option<&Path>) -> impl Iterator<Item = Named> {
    let files = [("ca_file", ca_file), ("cert_file", cert_file)];
    let named = |(setting, path): (&str, Option<&Path>)| {
        Some(Named {
            of: of.to_owned(),
            setting: setting.to_owned(),
            path: path?.to_owned(),
        })
    };
    files.map(named).into_iter().flatten()
}

/// Reads one. A folder of CAs, which librdkafka takes too, is told as such.
#[must_use]
pub fn read(named: &Named) -> Certificate {
    let (not_after_unix_ms, failure) = match source::first_end(&named.path) {
        Ok(end) => (Some(end), None),
        Err(error) => (None, Some(error)),
    };
    Certificate {
        of: named.of.clone(),
        setting: named.setting.clone(),
        file: named.path.display().to_string(),
        not_after_unix_ms,
        failure,
    }
}

/// What is said of an end. Ordered: what is later is more urgent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Less than 30 days.
    Month,
    /// Less than 7 days: so many full days are left.
    Week(std::cmp::Reverse<i64>),
    /// Over, for so many full days.
    Over(i64),
}

/// How near the end is; `None` when nobody has to do anything yet.
#[must_use]
pub const fn stage(not_after_ms: i64, now_ms: i64) -> Option<Stage> {
    let left = not_after_ms.saturating_sub(now_ms);
    match left {
        left if left < 0 => Some(Stage::Over(left.saturating_neg() / DAY_MS)),
        left if left < WEEK_MS => Some(Stage::Week(std::cmp::Reverse(left / DAY_MS))),
        left if left < MONTH_MS => Some(Stage::Month),
        _ => None,
    }
}

/// All of them, as they were read last.
#[derive(Debug, Default)]
pub struct Certificates {
    inner: Mutex<Inner>,
    again: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    files: Vec<Named>,
    read: Vec<Certificate>,
    /// What was said last of each file and its end.
    said: BTreeMap<(PathBuf, i64), Stage>,
}

impl Certificates {
    /// Those of `config`, read once.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let certificates = Self::default();
        certificates.configure(config);
        certificates.look(clock::unix_ms());
        certificates
    }

    /// Another configuration: its files are read at the next look.
    pub fn configure(&self, config: &Config) {
        self.lock().files = named(config);
    }

    /// As they were read last.
    #[must_use]
    pub fn last(&self) -> Vec<Certificate> {
        self.lock().read.clone()
    }

    /// Files may have changed: they are read again soon, not at the next turn.
    pub fn look_again(&self) {
        self.again.notify_one();
    }

    /// Looks for ever: in turns, and whenever that is asked for.
    pub async fn watch(self: Arc<Self>) -> std::convert::Infallible {
        loop {
            // Ends when asked, or when it is time: both mean to look.
            let _in_time = tokio::time::timeout(LOOK_EVERY, self.again.notified())
                .await
                .is_ok();
            let read = Arc::clone(&self);
            // On another thread than the caller's, which serves all MQTT connections: files are read.
            // Should it fail there, the next turn looks again.
            let _looked = tokio::task::spawn_blocking(move || read.look(clock::unix_ms()))
                .await
                .is_ok();
        }
    }

    /// Reads all, and says what is about to end.
    fn look(&self, now_ms: i64) {
        let files = self.lock().files.clone();
        let read: Vec<Certificate> = files.iter().map(read).collect();
        let mut inner = self.lock();
        let mut said = BTreeMap::new();
        for (file, certificate) in files.iter().zip(&read) {
            let Some(end) = certificate.not_after_unix_ms else {
                continue;
            };
            let Some(stage) = stage(end, now_ms) else { continue };
            let key = (file.path.clone(), end);
            if !said.contains_key(&key) && inner.said.get(&key).is_none_or(|before| *before != stage) {
                say(certificate, end, stage);
            }
            said.insert(key, stage);
        }
        inner.said = said;
        inner.read = read;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn say(certificate: &Certificate, end: i64, stage: Stage) {
    let (of, setting, file) = (&certificate.of, &certificate.setting, &certificate.file);
    let end = crate::message::rfc3339(end);
    match stage {
        Stage::Over(_) => tracing::error!(of, setting, file, end, "a certificate has expired"),
        Stage::Month | Stage::Week(_) => {
            tracing::warn!(of, setting, file, end, "a certificate ends soon");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;

    use super::*;
    use crate::ops::events::heard;

    /// 2029-08-17T19:29:34Z
    const END_2029_MS: i64 = 1_881_689_374_000;
    const UNTIL_2029: &str = "-----BEGIN CERTIFICATE-----
MIIBbTCCAROgAwIBAgIUFgIzaW38v09EF6MrbahCSGu7QWowCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBdDAeFw0yNjExMjExOTI5MzRaFw0yOTA4MTcxOTI5MzRaMAwx
CjAIBgNVBAMMAXQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAT0Aa7tGEHO/H7N
JQNVhhpAQoiF349vm1dNBX/PNif1AU0kRMdGutDMS42wpYAg03wsYNP1S/IHyQIE
bAE23t8Ro1MwUTAdBgNVHQ4EFgQUN0Lec3MxAz+QRDttNf8FTKqiw6UwHwYDVR0j
BBgwFoAUN0Lec3MxAz+QRDttNf8FTKqiw6UwDwYDVR0TAQH/BAUwAwEB/zAKBggq
hkjOPQQDAgNIADBFAiAhECYY2Xlx0oa3NtEefkNgHiafkOxAPGwy7owdcHHOxAIh
AKYTwQMIjhXPpvxzhbAImZQqP3xI5hB+KGBJDpmNh2Jb
-----END CERTIFICATE-----
";
    const UNTIL_2040: &str = "-----BEGIN CERTIFICATE-----
MIIBbDCCAROgAwIBAgIUMXWz2W10x8Lj7OVy5GNPvGNxOZIwCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBdDAeFw0yNjExMjExOTI5MzRaFw00MDA3MzAxOTI5MzRaMAwx
CjAIBgNVBAMMAXQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATcCokhoacrdAzg
WtwN2WNjCtR1Jdeqo3HQgpiGM7jeoDkncev7fEUWgcDeqvuFq1g+7lENcv3MW6Au
LjPNUxbIo1MwUTAdBgNVHQ4EFgQUNooJV6/3DXsnt5FZw5LxGQM0rH0wHwYDVR0j
BBgwFoAUNooJV6/3DXsnt5FZw5LxGQM0rH0wDwYDVR0TAQH/BAUwAwEB/zAKBggq
hkjOPQQDAgNHADBEAiAz2AiZogEalzSKWbGLfbq1C1uZsrXs4HAm4+FWNuisywIg
YTgU6G/HutOXYzZFJ1HN9e363Fjeh9ZdOHhcQVcofoQ=
-----END CERTIFICATE-----
";
    const HEAD: &str =
        "[gateway]\nid = \"gw\"\ndata_dir = \"/d\"\n[[route]]\nfrom = \"d/{device}\"\ntopic = \"t\"\n";

    fn config(rest: &str) -> Config {
        let text = format!("{HEAD}{rest}");
        crate::config::parse(Path::new("test.toml"), &text)
            .expect("valid")
            .0
    }

    #[test]
    fn every_setting_that_names_certificates_is_looked_at() {
        let config = config(
            "[[mqtt]]\nname = \"a\"\nurl = \"mqtts://b\"\nca_file = \"/ca\"\ncert_file = \"/c\"\nkey_file = \"/k\"\n\
             [[mqtt]]\nname = \"plain\"\nurl = \"mqtt://b\"\n[kafka]\nbootstrap_servers = [\"k:9092\"]\ncert_file = \"/kc\"\n\
             key_file = \"/kk\"\n[kafka.properties]\n\"ssl.ca.location\" = \"/kca\"\n",
        );
        let named: Vec<String> = named(&config)
            .iter()
            .map(|named| format!("{} {} {}", named.of, named.setting, named.path.display()))
            .collect();
        assert_eq!(
            named,
            [
                "mqtt a ca_file /ca",
                "mqtt a cert_file /c",
                "kafka cert_file /kc",
                "kafka properties.ssl.ca.location /kca"
            ]
        );
    }

    #[test]
    fn it_is_said_a_month_before_and_from_a_week_before_on_every_day() {
        let end = 100 * DAY_MS;
        let mut said = Vec::new();
        let mut before = None;
        for hour in 0..(105 * 24) {
            let now = hour * DAY_MS / 24 + 1;
            let stage = stage(end, now);
            if stage.is_some() && stage != before {
                said.push(now / DAY_MS);
            }
            before = stage;
        }
        assert_eq!(said, [70, 93, 94, 95, 96, 97, 98, 99, 100, 101, 102, 103, 104]);
        assert!(Stage::Month < Stage::Week(Reverse(6)));
        assert!(Stage::Week(Reverse(6)) < Stage::Week(Reverse(0)));
        assert!(Stage::Week(Reverse(0)) < Stage::Over(0));
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let file = Named {
            of: "kafka".to_owned(),
            setting: "ca_file".to_owned(),
            path: "/nowhere/ca.pem".into(),
        };
        let read = read(&file);
        assert_eq!(read.not_after_unix_ms, None);
        assert!(
            read.failure
                .is_some_and(|why| why.contains("/nowhere/ca.pem: No such file"))
        );
    }

    #[test]
    fn a_renewed_file_is_seen_at_the_next_look_and_said_no_more() {
        let folder = tempfile::tempdir().expect("temp dir");
        let path = folder.path().join("ca.pem");
        // A bundle: the first end counts, wherever it stands.
        std::fs::write(&path, format!("{UNTIL_2040}{UNTIL_2029}")).expect("written");
        let config = config(&format!(
            "[[mqtt]]\nurl = \"mqtts://b\"\nca_file = \"{}\"\n[kafka]\nbootstrap_servers = [\"k:9092\"]\n",
            path.display()
        ));
        let certificates = Certificates::default();
        certificates.configure(&config);
        let now = END_2029_MS - 3 * DAY_MS - DAY_MS / 2;
        let look = |now| heard(|| certificates.look(now));
        let end = || {
            certificates
                .last()
                .first()
                .and_then(|read| read.not_after_unix_ms)
        };
        assert_eq!(look(now), 1);
        assert_eq!(end(), Some(END_2029_MS));
        assert_eq!(look(now + 60_000), 0, "not every ten minutes");
        assert_eq!(look(now + DAY_MS), 1, "but every day");
        std::fs::write(&path, UNTIL_2040).expect("written");
        assert_eq!(look(now + 2 * DAY_MS), 0);
        assert!(end().is_some_and(|end| end > END_2029_MS));
    }
}
