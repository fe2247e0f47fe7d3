//! The TOML file: composed of the parts that each stage owns.
//!
//! [`crate::settings`] turns the text into raw structs (syntax, unknown settings, types); then every stage resolves its
//! own raw struct (what is missing, bounds, defaults), and `cross` looks at what only the whole file can tell. Each step
//! reports all it finds instead of the first.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::ops::http;
use crate::settings::{self, Problem, Problems};
use crate::{queue, route, sink, source};

mod cross;
pub mod difference;
mod gateway;
mod lane;
mod log;
mod slips;
mod status;
mod versions;

pub use gateway::Gateway;
pub(crate) use lane::is_name as is_lane_name;
pub use lane::{DEFAULT_LANE, Lane};
pub use log::{Level, Log};
pub use status::Status;

/// Everything the file says, checked and complete with defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `[gateway]`
    pub gateway: Gateway,
    /// `[[mqtt]]`, at least one, names unique.
    pub brokers: Vec<source::Config>,
    /// `[[route]]`, at least one, in file order.
    pub routes: Vec<route::Config>,
    /// `[queue]`: for lanes without a table.
    pub queue: queue::Config,
    /// `[[lane]]` over `[queue]`, in file order; always one named `default`.
    pub lanes: Vec<Lane>,
    /// `[kafka]`
    pub kafka: sink::Config,
    /// `[dead_letter]`
    pub dead_letter: sink::DeadLetterConfig,
    /// `[http]`
    pub http: http::Config,
    /// `[log]`
    pub log: Log,
    /// `[status]`
    pub status: Status,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file is not there, not ours to read, or not text.
    #[error("cannot read {}: {io}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        io: io::Error,
    },
    /// Every mistake in the file, in its order; at least one.
    #[error("{}", lines(.0))]
    Invalid(Vec<Problem>),
}

/// The file as it is written; everything may be missing.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    gateway: gateway::Raw,
    mqtt: Vec<source::Raw>,
    route: Vec<route::Raw>,
    queue: queue::Raw,
    lane: Vec<queue::RawLane>,
    kafka: sink::Raw,
    dead_letter: sink::RawDeadLetter,
    http: http::Raw,
    log: log::Raw,
    status: status::Raw,
}

/// Reads a configuration file. The second part of the result are warnings, in the order of the file.
///
/// # Errors
/// [`LoadError`], with all mistakes of the file at once.
pub fn load(path: &Path) -> Result<(Config, Vec<Problem>), LoadError> {
    let text = read(path).map_err(|io| LoadError::Unreadable {
        path: path.to_owned(),
        io,
    })?;
    parse(path, &text)
}

/// No configuration is longer, bytes: ten thousand routes have room. A wrong path must not fill the memory.
const BYTES_MAX: u64 = 4 << 20;

/// The text of a configuration file.
///
/// # Errors
/// The file system's; [`io::ErrorKind::FileTooLarge`] when it is none by its size, [`io::ErrorKind::InvalidData`] when it is not UTF-8.
pub fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > BYTES_MAX {
        let too_large = format!("it is over {BYTES_MAX} bytes, which is no configuration");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, too_large));
    }
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
}

/// Reads the text of a configuration file; `file` is the name used in problems.
///
/// # Errors
/// [`LoadError::Invalid`], with all mistakes of the text at once.
pub fn parse(file: &Path, text: &str) -> Result<(Config, Vec<Problem>), LoadError> {
    settings::parse(file, text, resolve)
        .map_err(|problems| LoadError::Invalid(problems.into_iter().map(slips::explained).collect()))
}

/// Checks the raw file. `None` only together with a problem.
fn resolve(raw: Raw, problems: &mut Problems<'_>) -> Option<Config> {
    let brokers = source::resolve(raw.mqtt, problems);
    let routes = route::resolve(raw.route, problems);
    let gateway = gateway::resolve(raw.gateway, &mut problems.section("gateway"));
    let base = queue::Config::default();
    let base = queue::resolve(raw.queue, &base, &mut problems.section("queue"));
    let lanes = lane::resolve(raw.lane, &base, problems);
    cross::check(&brokers, &lanes, &routes, problems);
    versions::check(&brokers, &routes, problems);
    let id = gateway.as_ref().and_then(|gateway| gateway.id.as_deref());
    cross::check_status(&brokers, &lanes, &routes, id, problems);
    let kafka = sink::resolve(raw.kafka, &mut problems.section("kafka"));
    cross::check_cursor(&kafka, &lanes, &routes, problems);
    let dead_letter = sink::resolve_dead_letter(raw.dead_letter, &mut problems.section("dead_letter"));
    cross::check_dead_letters(dead_letter.topic.as_deref(), &routes, problems);
    let http = http::resolve(raw.http, &mut problems.section("http"));
    let log = log::resolve(&raw.log, &mut problems.section("log"));
    let status = status::resolve(raw.status, &mut problems.section("status"));
    let letters = dead_letter.topic.as_deref();
    cross::check_state_topics(&status, (&brokers, &lanes, &routes), (id, letters), problems);
    let routes = routes.into_iter().collect::<Option<Vec<_>>>()?;
    Some(Config {
        gateway: gateway?,
        brokers,
        routes,
        queue: base,
        lanes,
        kafka,
        dead_letter,
        http,
        log,
        status,
    })
}

/// `data_dir` as a file says it that may be wrong otherwise: what asks a running daemon has to find it all the same.
#[must_use]
pub fn data_dir_of(text: &str) -> Option<PathBuf> {
    let mut values = text.lines().filter_map(|line| {
        let value = line
            .trim_start()
            .strip_prefix("data_dir")?
            .trim_start()
            .strip_prefix('=')?;
        let value = value.trim_start().strip_prefix('"')?;
        Some(PathBuf::from(value.split('"').next()?))
    });
    values.next().filter(|path| path.is_absolute())
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    lines.join("\n")
}
