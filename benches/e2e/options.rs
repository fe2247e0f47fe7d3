//! How long and how much.

use std::path::PathBuf;
use std::time::Duration;

/// What to type.
pub const USAGE: &str = "\
usage: ./dev bench e2e [--quick] [--only PART]... [--rounds N] [--messages N] [--peers]
  --quick        a short form of everything: under four minutes
  --only PART    throughput, pull, drain, latency, idle, load, stages, growth, card
                 link or far; several, each with --only
  --rounds N     rounds of each part in which bridges take turns (3)
  --messages N   messages of one run at full rate (200000)
  --peers        Telegraf as well, in turn with the others";

/// Names the peer's program; `./dev bench e2e --peers` sets it when it has one.
const TELEGRAF: &str = "EDGEFERRY_BENCH_TELEGRAF";
/// Rounds of what takes long.
const FEW_ROUNDS: usize = 2;

/// A part of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Throughput,
    Pull,
    Drain,
    Latency,
    Idle,
    Load,
    Stages,
    Growth,
    Card,
    Link,
    Far,
}

const PARTS: [(&str, Part); 11] = [
    ("throughput", Part::Throughput),
    ("pull", Part::Pull),
    ("drain", Part::Drain),
    ("latency", Part::Latency),
    ("idle", Part::Idle),
    ("load", Part::Load),
    ("stages", Part::Stages),
    ("growth", Part::Growth),
    ("card", Part::Card),
    ("link", Part::Link),
    ("far", Part::Far),
];

/// How far each thing grows, ascending.
#[derive(Debug)]
pub struct Growth {
    pub routes: &'static [usize],
    pub devices: &'static [usize],
    /// Of a payload; one of ours says who sent it, and is not smaller than 40.
    pub bytes: &'static [usize],
    /// Eight at most.
    pub brokers: &'static [usize],
    /// Of each point.
    pub seconds: u64,
}

#[derive(Debug)]
pub struct Options {
    only: Vec<Part>,
    pub rounds: usize,
    /// Of one run at full rate; a multiple of the devices' connections.
    pub messages: u64,
    /// That the broker keeps, and that gather in an outage.
    pub backlog: u64,
    /// Of a steady load.
    pub steady_seconds: u64,
    /// Of the load of next to nothing.
    pub idle_seconds: u64,
    /// Messages a second, ascending.
    pub rates: &'static [u32],
    /// Of each of those.
    pub load_seconds: u64,
    pub growth: Growth,
    /// By how much a slow card's sync takes longer.
    pub delays_ms: &'static [u64],
    /// How long a slow card should be kept busy.
    pub card_seconds: u64,
    /// How long the link carries messages.
    pub link_seconds: u64,
    /// Before an idle link is looked at.
    pub rest: Duration,
    /// For how long.
    pub idle_link: Duration,
    /// The peer's program, when it is wanted and there.
    pub telegraf: Option<PathBuf>,
}

impl Options {
    /// The arguments, or what is wrong with them.
    pub fn from_arguments(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::whole();
        let (mut messages, mut rounds) = (None, None);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                // Cargo says so to every benchmark.
                "--bench" => {}
                "--quick" => options.shorten(),
                "--peers" => options.telegraf = telegraf(),
                "--only" => options.only.push(part(arguments.next().as_deref())?),
                "--rounds" => rounds = Some(number(&argument, arguments.next(), 1..=100)?),
                "--messages" => messages = Some(number(&argument, arguments.next(), 4_000..=10_000_000)?),
                other => return Err(format!("there is no option {other}")),
            }
        }
        // A connection publishes its whole part.
        options.messages = messages.map_or(options.messages, |messages| messages / 4 * 4);
        options.rounds = rounds.map_or(options.rounds, |rounds| usize::try_from(rounds).unwrap_or(1));
        Ok(options)
    }

    fn whole() -> Self {
        Self {
            only: Vec::new(),
            rounds: 3,
            messages: 200_000,
            backlog: 400_000,
            steady_seconds: 10,
            idle_seconds: 20,
            rates: &[100, 1_000, 5_000, 10_000, 20_000, 40_000],
            load_seconds: 3,
            growth: Growth {
                routes: &[1, 10, 100, 1_000],
                devices: &[10, 1_000, 20_000, 200_000],
                bytes: &[40, 200, 2_000, 20_000, 200_000],
                brokers: &[1, 2, 4, 8],
                seconds: 5,
            },
            delays_ms: &[1, 10, 30, 100],
            card_seconds: 4,
            link_seconds: 3,
            rest: Duration::from_secs(5),
            idle_link: Duration::from_secs(40),
            telegraf: None,
        }
    }

    fn shorten(&mut self) {
        *self = Self {
            only: std::mem::take(&mut self.only),
            telegraf: self.telegraf.take(),
            rounds: 1,
            messages: 60_000,
            backlog: 80_000,
            steady_seconds: 4,
            idle_seconds: 8,
            rates: &[1_000, 10_000],
            load_seconds: 2,
            growth: Growth {
                routes: &[1, 1_000],
                devices: &[10, 20_000],
                bytes: &[200, 20_000],
                brokers: &[1, 8],
                seconds: 2,
            },
            delays_ms: &[30],
            card_seconds: 3,
            link_seconds: 2,
            rest: Duration::from_secs(2),
            idle_link: Duration::from_secs(10),
        };
    }

    /// Whether this part is wanted.
    pub fn has(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    /// Rounds of what takes long.
    pub fn few(&self) -> usize {
        self.rounds.min(FEW_ROUNDS)
    }
}

fn telegraf() -> Option<PathBuf> {
    let path = std::env::var_os(TELEGRAF).map(PathBuf::from);
    if path.is_none() {
        println!(
            "Telegraf is left out: {TELEGRAF} names no program; ./dev bench e2e --peers builds one, and says why it cannot"
        );
    }
    path
}

fn part(name: Option<&str>) -> Result<Part, String> {
    let found = PARTS.iter().find(|(known, _)| name == Some(*known));
    let names = PARTS.map(|(known, _)| known).join(", ");
    found
        .map(|(_, part)| *part)
        .ok_or_else(|| format!("--only needs one of {names}"))
}

fn number(option: &str, text: Option<String>, within: std::ops::RangeInclusive<u64>) -> Result<u64, String> {
    text.and_then(|text| text.parse().ok())
        .filter(|number| within.contains(number))
        .ok_or_else(|| {
            format!(
                "{option} needs a number from {} to {}",
                within.start(),
                within.end()
            )
        })
}
