//! `edgeferry --version --verbose`: what this program is made of, for whoever packs it and whoever helps. `edgeferry report`
//! says the same.

use std::io::{self, Write};

use rdkafka::config::ClientConfig;
use serde::Serialize;

use crate::app;
use crate::cli::text::wrap;
use crate::exit::Exit;

/// Says so when the build can be told to break its promises.
pub(super) const VERSION: &str = if cfg!(feature = "broken-promises") {
    concat!(env!("CARGO_PKG_VERSION"), "+broken-promises")
} else {
    env!("CARGO_PKG_VERSION")
};

/// What stands where a build did not know it: without git, or in an archive.
const UNKNOWN: &str = "unknown";

/// Where a name ends and what it names begins, columns.
const NAMES: usize = 17;

/// What can be told of this program without running the daemon.
#[derive(Debug, Serialize)]
pub(super) struct Facts {
    /// [`VERSION`]
    version: &'static str,
    /// The commit, with `-dirty` for sources that differ from it. `None`: not an optimised build, or none in a git repository.
    commit: Option<&'static str>,
    /// Whether steps on which the promises stand can be left out (`crate::faults`); never in what is packed.
    broken_promises: bool,
    /// Cargo features that are on.
    features: Vec<&'static str>,
    /// Whether it is optimised, or slower and with checks for tests.
    optimised: bool,
    /// What it was built for.
    target: &'static str,
    /// The C library that the target has, and whether it is in the program.
    c_library: String,
    /// The compiler.
    rustc: Option<&'static str>,
    /// Layout of the store that it writes; it refuses others that it does not know.
    store_format: u32,
    /// The Kafka client.
    librdkafka: Librdkafka,
    /// TLS to Kafka. As it is loaded now, which need not be the one that it was built with.
    openssl: &'static str,
    /// TLS to MQTT brokers.
    rustls: Option<&'static str>,
    /// What rustls computes with.
    ring: Option<&'static str>,
    /// The MQTT client.
    rumqttc: Option<&'static str>,
    /// The store.
    sled: Option<&'static str>,
    /// Compression, to Kafka and in the store.
    zstd: &'static str,
}

/// The library and what was built into it.
#[derive(Debug, Serialize)]
struct Librdkafka {
    version: String,
    /// The crate through which it is called.
    rdkafka: Option<&'static str>,
    /// Its own list (`builtin.features`).
    features: Vec<String>,
}

/// What a build script noted; empty where it did not know.
const fn noted(text: &'static str) -> Option<&'static str> {
    if text.is_empty() { None } else { Some(text) }
}

impl Facts {
    pub(super) fn gather() -> Self {
        let on = [
            ("demo", cfg!(feature = "demo")),
            // OpenSSL, zlib and zstd are in the program, not those of the system.
            ("static", cfg!(feature = "static")),
            ("broken-promises", cfg!(feature = "broken-promises")),
        ];
        Self {
            version: VERSION,
            commit: noted(env!("EDGEFERRY_BUILD_COMMIT")),
            broken_promises: cfg!(feature = "broken-promises"),
            features: on
                .iter()
                .filter(|(_, is_on)| *is_on)
                .map(|(name, _)| *name)
                .collect(),
            optimised: !cfg!(debug_assertions),
            target: env!("EDGEFERRY_BUILD_TARGET"),
            c_library: c_library(),
            rustc: noted(env!("EDGEFERRY_BUILD_RUSTC")),
            store_format: app::STORE_FORMAT,
            librdkafka: librdkafka(),
            openssl: openssl::version::version(),
            rustls: noted(env!("EDGEFERRY_BUILD_RUSTLS")),
            ring: noted(env!("EDGEFERRY_BUILD_RING")),
            rumqttc: noted(env!("EDGEFERRY_BUILD_RUMQTTC")),
            sled: noted(env!("EDGEFERRY_BUILD_SLED")),
            zstd: zstd::zstd_safe::version_string(),
        }
    }

    /// For people: a name and what it names in each line.
    pub(super) fn text(&self) -> String {
        let or_unknown = |text: Option<&'static str>| text.unwrap_or(UNKNOWN);
        let words = |list: &[&str]| match list {
            [] => "none".to_owned(),
            list => list.join(" "),
        };
        let profile = if self.optimised {
            "optimised"
        } else {
            "not optimised"
        };
        let promises = match (self.broken_promises, self.optimised) {
            (true, _) => "on: never for data that matters",
            (false, true) => "off",
            (false, false) => "off, but a build for tests listens too",
        };
        let kafka: Vec<&str> = self.librdkafka.features.iter().map(String::as_str).collect();
        let lines = [
            ("edgeferry", self.version.to_owned()),
            ("commit", or_unknown(self.commit).to_owned()),
            ("target", self.target.to_owned()),
            ("C library", self.c_library.clone()),
            ("build", format!("{profile}, {}", or_unknown(self.rustc))),
            ("features", words(&self.features)),
            ("broken-promises", promises.to_owned()),
            ("store format", self.store_format.to_string()),
            (
                "librdkafka",
                format!(
                    "{}, by rdkafka {}",
                    self.librdkafka.version,
                    or_unknown(self.librdkafka.rdkafka)
                ),
            ),
            ("  built in", words(&kafka)),
            ("TLS to Kafka", self.openssl.to_owned()),
            (
                "TLS to MQTT",
                format!(
                    "rustls {}, ring {}",
                    or_unknown(self.rustls),
                    or_unknown(self.ring)
                ),
            ),
            ("rumqttc", or_unknown(self.rumqttc).to_owned()),
            ("sled", or_unknown(self.sled).to_owned()),
            ("zstd", self.zstd.to_owned()),
        ];
        let mut out = String::new();
        for (name, what) in lines {
            out.push_str(&wrap(&what, &format!("{name:<NAMES$}"), &" ".repeat(NAMES)));
        }
        out
    }

    /// For programs: one object.
    fn json(&self) -> io::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

fn librdkafka() -> Librdkafka {
    let (_, version) = rdkafka::util::get_rdkafka_version();
    let listed = ClientConfig::new()
        .create_native_config()
        .and_then(|config| config.get("builtin.features"));
    // The value has the length of a text for C, whose last byte is a zero.
    let listed = listed.unwrap_or_else(|_| UNKNOWN.to_owned());
    let features = listed.trim_end_matches('\0').split(',').map(str::trim);
    Librdkafka {
        version,
        rdkafka: noted(env!("EDGEFERRY_BUILD_RDKAFKA")),
        features: features
            .filter(|feature| *feature == UNKNOWN || is_built_in(feature))
            .map(str::to_owned)
            .collect(),
    }
}

/// The list has every feature that there is a name for. Asking for one that this build lacks is refused: that is what the property is
/// for (librdkafka, CONFIGURATION.md).
fn is_built_in(feature: &str) -> bool {
    let mut asked = ClientConfig::new();
    asked.set("builtin.features", feature);
    asked.create_native_config().is_ok()
}

fn c_library() -> String {
    let name = match (cfg!(target_env = "gnu"), cfg!(target_env = "musl")) {
        (true, _) => "glibc",
        (_, true) => "musl",
        _ => "of the system",
    };
    let place = if cfg!(target_feature = "crt-static") {
        "in the program"
    } else {
        "loaded at the start"
    };
    format!("{name}, {place}")
}

/// Prints the version, or all that is known.
pub(super) fn print(is_verbose: bool, as_json: bool) -> Exit {
    let text = match (is_verbose, as_json) {
        (false, _) => Ok(format!("edgeferry {VERSION}\n")),
        (true, false) => Ok(Facts::gather().text()),
        (true, true) => Facts::gather().json(),
    };
    super::pages::end(text.and_then(|text| {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_program_is_made_of_is_known_and_fits_a_terminal() {
        let facts = Facts::gather();
        let text = facts.text();
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let value = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.get(NAMES..))
                .unwrap_or_else(|| panic!("{name}: {text}"))
        };
        assert_eq!(value("edgeferry"), env!("CARGO_PKG_VERSION"));
        assert_eq!(value("store format"), app::STORE_FORMAT.to_string());
        assert!(value("target").contains(std::env::consts::ARCH), "{text}");
        // A library that Cargo.lock no longer has is one that the build script must no longer look for.
        let is_unknown = |line: &&str| line.split([' ', ',']).any(|word| word == UNKNOWN);
        let mut unknown = text.lines().filter(is_unknown);
        assert!(unknown.all(|line| line.starts_with("commit")), "{text}");
        assert!(value("TLS to Kafka").starts_with("OpenSSL "), "{text}");
        for feature in ["ssl", "zstd", "gzip", "sasl_scram", "sasl_oauthbearer"] {
            assert!(
                facts.librdkafka.features.iter().any(|known| known == feature),
                "{text}"
            );
        }
        // Kerberos is left out, whatever librdkafka lists.
        assert!(!text.contains("gssapi"), "{text}");
    }

    #[test]
    fn the_json_has_what_the_text_has() {
        let facts = Facts::gather();
        let json: serde_json::Value =
            serde_json::from_str(&facts.json().expect("plain data")).expect("it is JSON");
        assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(json["store_format"], app::STORE_FORMAT);
        assert_eq!(json["broken_promises"], cfg!(feature = "broken-promises"));
        assert_eq!(json["target"], facts.target);
        assert_eq!(json["librdkafka"]["version"], facts.librdkafka.version);
        assert!(json["commit"].is_null() || json["commit"].is_string(), "{json}");
    }
}
