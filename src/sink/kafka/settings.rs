//! What the Kafka client is told: one place for every client, so that all of them reach the cluster in the same way.

use std::path::Path;
use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

use crate::files::{self, NoCredentials};
use crate::queue::Share;
use crate::sink::batches::{CLIENT_LINGER, Limits};
use crate::sink::config::{Config, Preset, Sasl, Security, Tls};
use crate::sink::size;

use super::secrets::{self, SecretError};
use super::transactional::Transactional;

/// Records under way at most: 20,000 a second at a round trip of 200 ms. Each costs about a kilobyte beside its contents, in the
/// client and in the window.
pub(in crate::sink) const WINDOW_RECORDS: usize = 4_096;
/// What the records under way may take, bytes.
pub(in crate::sink) const WINDOW_BYTES: usize = WINDOW_KBYTES * 1024;
/// Memory for records under way, KiB. librdkafka's default is 1 GiB. Several lanes share this and the records.
const WINDOW_KBYTES: usize = 4096;

/// What edgeferry sets; `kafka.properties` may override only the others.
const FIXED: [(&str, &str); 4] = [
    ("acks", "all"),
    ("enable.idempotence", "true"),
    ("max.in.flight.requests.per.connection", "5"),
    // The queue is the buffer: nothing expires in the client.
    ("message.timeout.ms", "0"),
];
/// How long a record waits for company, milliseconds.
const LINGER: &str = "linger.ms";
/// The same under its older name. The client takes what it is told last, and we tell it in no order.
const LINGER_BEFORE: &str = "queue.buffering.max.ms";
/// librdkafka's defaults.
const BATCH_BYTES: usize = 1_000_000;
const BATCH_RECORDS: usize = 10_000;
/// What a request has beside its records, at most: names of client, topic and transaction, and the head of the batch.
const REQUEST_BYTES: usize = 1_024;

/// For every client. librdkafka looks names up anew after a second, tries all addresses that they have in turn, and spreads its
/// pauses by -25 % to +50 %, so that a fleet does not come back at one moment.
const LINK: [(&str, &str); 6] = [
    // To ask for a topic must not make it.
    ("allow.auto.create.topics", "false"),
    // When no broker that it knows answers any more, the bootstrap servers are asked again.
    ("metadata.recovery.strategy", "rebootstrap"),
    ("broker.address.family", "any"),
    ("socket.keepalive.enable", "true"),
    ("statistics.interval.ms", "0"),
    // Where a vendored OpenSSL would look there are no CAs. `probe` looks where systems keep them, and then where OpenSSL does.
    ("ssl.ca.location", "probe"),
];

/// What each preset sets. A link that is lost is tried again with growing pauses: a metered one is not hammered, and a
/// returned one is found within seconds.
pub(super) const fn preset(preset: Preset) -> [(&'static str, &'static str); 4] {
    match preset {
        Preset::Balanced => [
            (LINGER, "5"),
            ("batch.size", "131072"),
            ("reconnect.backoff.ms", "250"),
            ("reconnect.backoff.max.ms", "10000"),
        ],
        Preset::Latency => [
            (LINGER, "0"),
            ("batch.size", "65536"),
            ("reconnect.backoff.ms", "100"),
            ("reconnect.backoff.max.ms", "2000"),
        ],
        Preset::Throughput => [
            (LINGER, "200"),
            ("batch.size", "524288"),
            ("reconnect.backoff.ms", "1000"),
            ("reconnect.backoff.max.ms", "30000"),
        ],
    }
}

/// Settings of a producer that takes its share of memory, without secrets.
pub(super) fn producer(
    config: &Config,
    client_id: &str,
    share: Share,
    transactional: Option<&Transactional>,
) -> Result<ClientConfig, SecretError> {
    let mut client = link(config, client_id)?;
    client.set("compression.type", &config.compression);
    match transactional {
        Some(transactional) => transactional.configure(&mut client),
        // Without it librdkafka sends batches behind a permanently failed one, and its records overtake.
        None => {
            client.set("enable.gapless.guarantee", "true");
        }
    }
    for (name, value) in FIXED {
        client.set(name, value);
    }
    client.set("partitioner", config.partitioner.in_librdkafka());
    client.set(
        "queue.buffering.max.messages",
        share.part(WINDOW_RECORDS).to_string(),
    );
    client.set(
        "queue.buffering.max.kbytes",
        window_kbytes(config, share).to_string(),
    );
    Ok(client)
}

/// What a batch is, by the settings of a producer. Of the time that records wait for company there the client keeps as much as it
/// needs to get a batch together.
pub(super) fn limits(config: &Config, share: Share, client: &mut ClientConfig) -> Limits {
    let number = |name: &str| client.get(name).and_then(|value| value.parse().ok());
    let record_bytes = size::most(config);
    let (batch_bytes, batch_records) = (number("batch.size"), number("batch.num.messages"));
    let linger = client.get(LINGER).and_then(milliseconds).unwrap_or_default();
    let kept = linger.min(CLIENT_LINGER);
    client.set(LINGER, (kept.as_secs_f64() * 1_000.0).to_string());
    let batch_bytes = batch_bytes.unwrap_or(BATCH_BYTES).min(record_bytes);
    Limits {
        holds: !kept.is_zero(),
        linger: linger.saturating_sub(kept),
        batch_bytes: batch_bytes.saturating_sub(REQUEST_BYTES).max(1),
        batch_records: batch_records.unwrap_or(BATCH_RECORDS),
        record_bytes,
        records: share.part(WINDOW_RECORDS),
        bytes: window_kbytes(config, share) * 1024,
    }
}

/// As the client reads it: with fractions.
fn milliseconds(text: &str) -> Option<Duration> {
    let milliseconds: f64 = text.parse().ok()?;
    Duration::try_from_secs_f64(milliseconds / 1_000.0).ok()
}

/// Settings of any client: where the cluster is, how it is reached, and who we are; without secrets.
pub(super) fn link(config: &Config, client_id: &str) -> Result<ClientConfig, NoCredentials> {
    let mut client = ClientConfig::new();
    for (name, value) in LINK.into_iter().chain(preset(config.preset)) {
        client.set(name, value);
    }
    client.set("client.id", client_id);
    secure(&mut client, &config.security)?;
    if config.properties.contains_key("ssl.ca.pem") {
        client.remove("ssl.ca.location");
    }
    for (name, value) in &config.properties {
        let name = if name == LINGER_BEFORE { LINGER } else { name };
        client.set(name, value);
    }
    client.set("bootstrap.servers", config.bootstrap_servers.join(","));
    client.set_log_level(RDKafkaLogLevel::Warning);
    Ok(client)
}

/// Settings of a client beside the producer, with secrets as they are now. It is to be made with the context
/// [`super::Beside`], and polled: that is how it gets tokens.
///
/// # Errors
/// A secret cannot be read.
pub fn beside(config: &Config, client_id: &str) -> Result<ClientConfig, SecretError> {
    let mut client = link(config, client_id)?;
    secrets::apply(&config.security, &mut client)?;
    Ok(client)
}

fn secure(client: &mut ClientConfig, security: &Security) -> Result<(), NoCredentials> {
    let protocol = match (&security.tls, &security.sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    client.set("security.protocol", protocol);
    if let Some(tls) = &security.tls {
        secure_by_tls(client, tls)?;
    }
    if let Some(sasl) = &security.sasl {
        client.set("sasl.mechanism", sasl.mechanism().name());
        if let Sasl::Password { username, .. } = sasl {
            client.set("sasl.username", username);
        }
    }
    Ok(())
}

/// The client reads these files itself, each time it is made.
fn secure_by_tls(client: &mut ClientConfig, tls: &Tls) -> Result<(), NoCredentials> {
    let mut set = |name: &str, path: &Path| {
        files::in_credentials(path).map(|path| {
            client.set(name, path.to_string_lossy());
        })
    };
    if let Some(path) = &tls.ca_file {
        set("ssl.ca.location", path)?;
    }
    if let Some(certificate) = &tls.client {
        set("ssl.certificate.location", &certificate.cert_file)?;
        set("ssl.key.location", &certificate.key_file)?;
    }
    Ok(())
}

/// The client never takes a record larger than its whole buffer, so the buffer follows the largest record.
fn window_kbytes(config: &Config, share: Share) -> usize {
    share.part(WINDOW_KBYTES).max(2 * size::most(config) / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(config: &Config) -> ClientConfig {
        producer(config, "me", Share::default(), None).expect("no credentials are needed")
    }

    #[test]
    fn properties_go_over_a_preset_and_nothing_goes_over_what_is_promised() {
        let mut config = Config {
            preset: Preset::Throughput,
            ..Config::for_test()
        };
        assert_eq!(told(&config).get("linger.ms"), Some("200"));
        for (name, value) in [(LINGER, "7"), ("acks", "0")] {
            config.properties.insert(name.to_owned(), value.to_owned());
        }
        assert_eq!(told(&config).get("linger.ms"), Some("7"));
        assert_eq!(told(&config).get("acks"), Some("all"));
    }

    #[test]
    fn the_time_for_company_is_kept_in_front_of_the_client_by_whichever_name_it_was_set() {
        let with = |name: &str, value: &str| {
            let mut config = Config::for_test();
            config.properties.insert(name.to_owned(), value.to_owned());
            let mut client = told(&config);
            let limits = limits(&config, Share::default(), &mut client);
            client.create_native_config().expect("the client takes it");
            (limits, client.get(LINGER).map(str::to_owned))
        };
        for name in [LINGER, LINGER_BEFORE] {
            let (limits, kept) = with(name, "20.5");
            assert_eq!(
                (limits.linger, kept.as_deref()),
                (Duration::from_micros(10_500), Some("10"))
            );
        }
        let (short, kept) = with(LINGER, "0.5");
        assert_eq!((short.linger, kept.as_deref()), (Duration::ZERO, Some("0.5")));
        let batch = (short.batch_bytes + REQUEST_BYTES, short.batch_records);
        assert_eq!(batch, (131_072, BATCH_RECORDS), "as the preset says");
        assert!(short.holds && !with(LINGER, "0").0.holds);
        assert_eq!(with("batch.num.messages", "7").0.batch_records, 7);
        let batch = with("message.max.bytes", "5000").0.batch_bytes;
        assert_eq!(batch + REQUEST_BYTES, 5_000);
    }

    #[test]
    fn the_systems_cas_are_looked_for_unless_others_are_named() {
        let mut config = Config::for_test();
        config.security.tls = Some(Tls::default());
        assert_eq!(told(&config).get("security.protocol"), Some("ssl"));
        assert_eq!(told(&config).get("ssl.ca.location"), Some("probe"));
        config.security.tls = Some(Tls {
            ca_file: Some("/etc/ca.pem".into()),
            client: None,
        });
        assert_eq!(told(&config).get("ssl.ca.location"), Some("/etc/ca.pem"));
        config.security.tls = Some(Tls::default());
        config
            .properties
            .insert("ssl.ca.pem".to_owned(), "-----".to_owned());
        assert_eq!(told(&config).get("ssl.ca.location"), None);
    }

    #[test]
    fn the_client_takes_all_that_the_presets_set() {
        for which in [Preset::Balanced, Preset::Latency, Preset::Throughput] {
            let config = Config {
                preset: which,
                ..Config::for_test()
            };
            told(&config)
                .create_native_config()
                .expect("names and values are right");
        }
    }
}
