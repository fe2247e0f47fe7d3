//! How long and how much.

use std::time::Duration;

/// What to type.
pub const USAGE: &str = "\
usage: ./dev bench footprint [--quick] [--only start|memory|idle|backlog] [--queue-mib N] [--idle-s N]
  --quick        a short form of everything: two minutes
  --only PART    one part, or several, each with --only
  --queue-mib N  size of the long queue, MiB (4096)
  --idle-s N     how long nothing happens, seconds (60)";

/// A part of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    Start,
    Memory,
    Idle,
    Backlog,
}

#[derive(Debug)]
pub struct Options {
    only: Vec<Section>,
    /// Disk space of the long queue, bytes.
    pub queue_bytes: u64,
    /// How long idle processes are looked at.
    pub idle: Duration,
    /// How long the steady load lasts.
    pub load: Duration,
    /// Lengths of the backlog, messages, ascending.
    pub backlogs: [u64; 2],
    /// Starts with each queue.
    pub starts: usize,
}

impl Options {
    /// The arguments, or what is wrong with them.
    pub fn from_arguments(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            only: Vec::new(),
            queue_bytes: 4 << 30,
            idle: Duration::from_mins(1),
            load: Duration::from_secs(20),
            backlogs: [200_000, 1_000_000],
            starts: 7,
        };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                // Cargo says so to every benchmark.
                "--bench" => {}
                "--quick" => options.shorten(),
                "--only" => options.only.push(section(arguments.next().as_deref())?),
                "--queue-mib" => options.queue_bytes = number(&argument, arguments.next())? << 20,
                "--idle-s" => options.idle = Duration::from_secs(number(&argument, arguments.next())?),
                other => return Err(format!("there is no option {other}")),
            }
        }
        Ok(options)
    }

    fn shorten(&mut self) {
        self.queue_bytes = 256 << 20;
        self.idle = Duration::from_secs(15);
        self.load = Duration::from_secs(5);
        self.backlogs = [20_000, 100_000];
        self.starts = 3;
    }

    /// Whether this part is wanted.
    pub fn has(&self, section: Section) -> bool {
        self.only.is_empty() || self.only.contains(&section)
    }
}

fn section(name: Option<&str>) -> Result<Section, String> {
    match name {
        Some("start") => Ok(Section::Start),
        Some("memory") => Ok(Section::Memory),
        Some("idle") => Ok(Section::Idle),
        Some("backlog") => Ok(Section::Backlog),
        _ => Err("--only needs start, memory, idle or backlog".into()),
    }
}

fn number(option: &str, text: Option<String>) -> Result<u64, String> {
    text.and_then(|text| text.parse().ok())
        .filter(|number| (1..1 << 20).contains(number))
        .ok_or_else(|| format!("{option} needs a number from 1 to {}", (1 << 20) - 1))
}
