//! What reads bytes that somebody else made, each as one function of any bytes: it may refuse them, and neither panics nor takes long nor fills
//! the memory.
//!
//! `./dev fuzz` looks for bytes that break this, led by which branches they reach. What it kept because it reached something new is in `fuzz/corpus`,
//! a folder for each target, and the tests run all of it again. A directory of the store is not here: `queue::damage` goes
//! through it byte by byte.

use std::path::Path;
use std::sync::LazyLock;

use hyper::header::{HeaderName, HeaderValue};
use hyper::http::HeaderMap;
use hyper::http::uri::Authority;

use crate::clock::Told;
use crate::config;
use crate::message::{Arrival, Epoch, Properties, Seq, Stored};
use crate::ops::hand::format::Reader;
use crate::ops::http::access::Access;
use crate::route::Router;
use crate::verify::identify;

pub use crate::ops::control::fuzz::request;
pub use crate::queue::codec::fuzz::{block, card};
pub use crate::source::fuzz::packets;

/// One of them.
pub type Target = fn(&[u8]);

/// All of them, by the name of their folder and of their program.
pub const TARGETS: [(&str, Target); 9] = [
    ("access", access),
    ("block", block),
    ("card", card),
    ("export", export),
    ("message", message),
    ("packets", packets),
    ("record", record),
    ("request", request),
    ("settings", settings),
];

/// A route of each kind, beside a fixed head.
const ROUTES: &str = include_str!("fuzz/routes.toml");

static ROUTER: LazyLock<Option<Router>> = LazyLock::new(|| {
    let (config, _) = config::parse(Path::new("routes.toml"), ROUTES).ok()?;
    Some(Router::new(config.routes, "gw-7", "default"))
});

/// A configuration.
pub fn settings(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        drop(config::parse(Path::new("config.toml"), text));
    }
}

/// A message of a device: topic, content type and a user property are a line each, the payload is what follows.
pub fn message(bytes: &[u8]) {
    let mut parts = bytes.splitn(4, |byte| *byte == b'\n');
    let mut line = || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let (topic, content_type, property) = (line(), line(), line());
    let (name, value) = property.split_once('=').unwrap_or(("", &property));
    let properties = Properties {
        content_type: Some(content_type),
        user: vec![(name.to_owned(), value.to_owned())],
        ..Properties::default()
    };
    let arrival = Arrival {
        properties: Some(Box::new(properties)),
        ..Arrival::trial(1, topic, parts.next().unwrap_or_default().to_vec())
    };
    let stored = Stored {
        seq: Seq(42),
        epoch: Epoch(0xabc),
        arrival,
    };
    let told = Told::as_it_stood(&stored.arrival.stamp);
    if let Some(router) = &*ROUTER {
        drop(router.route(&stored, &told));
        drop(router.verdicts(&stored, &told));
        drop(router.keys(&stored));
        drop(router.series(&stored.arrival));
    }
}

/// A file that `edgeferry queue import` reads.
pub fn export(bytes: &[u8]) {
    let Ok(mut reader) = Reader::open(bytes) else {
        return;
    };
    while let Ok(Some(_)) = reader.next_line() {}
}

/// A record of Kafka, for `edgeferry verify`: headers are lines of `name: value`, the value is what follows an empty one.
pub fn record(bytes: &[u8]) {
    let (head, value) = split_at_empty_line(bytes);
    let lines = head.split(|byte| *byte == b'\n');
    let headers = lines.filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at_checked(colon)?;
        Some((std::str::from_utf8(name).ok()?, value.get(2..)?))
    });
    drop(identify(headers, value));
}

/// Who asks the page for something: the headers of a request, its target in the first line.
pub fn access(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let authority = lines.next().and_then(|line| Authority::try_from(line).ok());
    let mut headers = HeaderMap::new();
    for line in lines.take(100) {
        let Some((name, value)) = line
            .iter()
            .position(|byte| *byte == b':')
            .and_then(|colon| line.split_at_checked(colon))
        else {
            continue;
        };
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name),
            HeaderValue::from_bytes(value.get(2..).unwrap_or_default()),
        ) {
            headers.append(name, value);
        }
    }
    for token_file in [None, Some(concat!(env!("CARGO_MANIFEST_DIR"), "/src/fuzz/token"))] {
        drop(Access::new(token_file.map(Into::into)).check(&headers, authority.as_ref()));
    }
}

fn split_at_empty_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let at = bytes.windows(2).position(|pair| pair == b"\n\n");
    at.and_then(|at| Some((bytes.get(..at)?, bytes.get(at + 2..)?)))
        .unwrap_or((bytes, &[]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_corpora_panics() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        for (name, target) in TARGETS {
            let files = std::fs::read_dir(folder.join(name)).expect("each target has a folder");
            let mut count = 0;
            for file in files {
                let path = file.expect("an entry").path();
                eprintln!("{}", path.display());
                target(&std::fs::read(path).expect("readable"));
                count += 1;
            }
            assert!(count > 0, "{name} has a corpus");
        }
    }

    #[test]
    fn the_routes_for_any_message_are_a_configuration() {
        if let Err(error) = config::parse(Path::new("routes.toml"), ROUTES) {
            panic!("{error}");
        }
        assert!(ROUTER.is_some());
    }
}
