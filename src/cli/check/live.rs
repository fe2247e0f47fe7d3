//! What `edgeferry check` says of a file that can be used. With `--live` it looks whether the brokers let us in, and at the
//! topics in Kafka, and makes those that are missing when it is told to. The end is what is left open of the promises.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use super::brokers::{self, BrokerAnswer};
use super::guarantee::facts::SeenTopic;
use super::guarantee::print::{print as print_findings, summary};
use super::guarantee::{self, Facts, Finding};
use super::judge::{self, Level, Remark, TEMPLATED};
use super::wanted::{Use, Wanted, may_create, templated, wanted};
use super::{Creation, Live};
use crate::config::Config;
use crate::exit::Exit;
use crate::sink::Delivery;
use crate::sink::admin::{Admin, AdminError, Topic};

/// What Kafka sees of who asks.
const CLIENT_ID: &str = "edgeferry-check";

/// One line of the answer.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    /// One MQTT broker.
    Mqtt(BrokerAnswer),
    /// The cluster answers.
    Cluster {
        bootstrap_servers: Vec<String>,
        brokers: usize,
    },
    /// The cluster does not.
    Unreachable { reason: String },
    /// One topic.
    Topic(TopicAnswer),
    /// A route whose topics cannot be known.
    Templated {
        route: usize,
        topic: String,
        text: &'static str,
    },
    /// What concerns all topics.
    Remark(Remark),
    /// What may become of messages.
    Finding(Finding),
    /// How long the queue of a lane lasts at the rate that was asked about.
    Holds { lane: String, seconds: u64 },
    /// The end.
    Done {
        errors: usize,
        warnings: usize,
        findings: usize,
    },
}

#[derive(Debug, serde::Serialize)]
struct TopicAnswer {
    name: String,
    uses: Vec<String>,
    state: State,
    #[serde(flatten)]
    found: Option<Found>,
    remarks: Vec<Remark>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Present,
    Created,
    Missing,
    Unknown,
}

#[derive(Debug, serde::Serialize)]
struct Found {
    partitions: usize,
    replicas: usize,
    in_sync: usize,
    /// Settings that decide what becomes of records.
    settings: std::collections::BTreeMap<String, String>,
}

/// Settings that are shown.
const SHOWN: [&str; 7] = [
    "cleanup.policy",
    "max.message.bytes",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "message.timestamp.type",
    "min.insync.replicas",
    "retention.ms",
];

impl Found {
    fn of(topic: &Topic) -> Self {
        let settings = topic.settings.clone().unwrap_or_default().into_iter();
        Self {
            partitions: topic.partitions,
            replicas: topic.replicas,
            in_sync: topic.in_sync,
            settings: settings
                .filter(|(name, _)| SHOWN.contains(&name.as_str()))
                .collect(),
        }
    }
}

/// Prints what it finds. Exit code 1 when an MQTT broker refuses us, when Kafka cannot be reached, or cannot take messages
/// as it is; with `--strict` also when messages can be lost and nobody chose that.
pub(super) fn check(file: &Path, config: &Config, live: &Live) -> Exit {
    let mut report = Report::new(live.json);
    match report.run(config, live) {
        Ok(open_losses) if report.errors == 0 && (open_losses == 0 || !live.strict) => Exit::Stopped,
        Ok(_) => Exit::Failure,
        Err(error) => {
            drop(writeln!(io::stderr(), "{}: {error}", file.display()));
            Exit::Failure
        }
    }
}

/// Prints answers and counts what is wrong.
struct Report {
    json: bool,
    errors: usize,
    warnings: usize,
}

impl Report {
    const fn new(json: bool) -> Self {
        Self {
            json,
            errors: 0,
            warnings: 0,
        }
    }

    /// Gives how many ways to lose messages are open.
    fn run(&mut self, config: &Config, live: &Live) -> io::Result<usize> {
        let mut facts = Facts::of_this_machine(config);
        if live.is_wanted {
            self.look_around(config, live, &mut facts)?;
        }
        let demand = live.demand();
        let findings = guarantee::findings(config, &facts, demand);
        self.tell(&findings)?;
        if let Some(load) = demand.load {
            for (lane, holds) in guarantee::horizons(config, load) {
                let seconds = holds.as_secs();
                self.say(&Answer::Holds { lane, seconds })?;
            }
        }
        if live.is_wanted || self.json {
            self.say(&Answer::Done {
                errors: self.errors,
                warnings: self.warnings,
                findings: findings.len(),
            })?;
        }
        Ok(findings.iter().filter(|finding| finding.is_open_loss()).count())
    }

    fn tell(&self, findings: &[Finding]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            drop(out);
            let mut all = findings.iter().cloned();
            return all.try_for_each(|finding| self.say(&Answer::Finding(finding)));
        }
        // systemd sets it when standard output goes to the journal: the check before each start is one line there.
        match std::env::var_os("JOURNAL_STREAM") {
            Some(_) => summary(&mut out, findings),
            None => print_findings(&mut out, findings),
        }
    }

    fn look_around(&mut self, config: &Config, live: &Live, facts: &mut Facts) -> io::Result<()> {
        for (answer, seen) in brokers::look(config)? {
            self.count(&answer.remarks);
            self.say(&Answer::Mqtt(answer))?;
            facts.brokers.push(seen);
        }
        let (admin, brokers) = match Admin::connect(&config.kafka, CLIENT_ID) {
            Ok(connected) => connected,
            Err(error) => {
                self.errors += 1;
                return self.say(&Answer::Unreachable {
                    reason: error.to_string(),
                });
            }
        };
        self.say(&Answer::Cluster {
            bootstrap_servers: config.kafka.bootstrap_servers.clone(),
            brokers,
        })?;
        for remark in judge::overall(config) {
            self.count(std::slice::from_ref(&remark));
            self.say(&Answer::Remark(remark))?;
        }
        if config.kafka.delivery == Delivery::ExactlyOnce {
            let minutes = admin.broker_setting("offsets.retention.minutes");
            let minutes = minutes.and_then(|minutes| minutes.parse::<u64>().ok());
            facts.offsets_retention = minutes.map(|minutes| Duration::from_secs(minutes.saturating_mul(60)));
        }
        for wanted in wanted(config) {
            let (answer, topic) = look(&admin, config, &wanted, live.creation());
            self.count(&answer.remarks);
            self.say(&Answer::Topic(answer))?;
            facts.topics.extend(topic.map(|topic| SeenTopic {
                name: wanted.name.clone(),
                topic,
                longest_wait: judge::backlog_age(config, &wanted),
            }));
        }
        for (route, table) in templated(config) {
            self.say(&Answer::Templated {
                route,
                topic: table.topic.to_string(),
                text: TEMPLATED,
            })?;
        }
        Ok(())
    }

    fn count(&mut self, remarks: &[Remark]) {
        for remark in remarks {
            match remark.level {
                Level::Error => self.errors += 1,
                Level::Warning => self.warnings += 1,
            }
        }
    }

    fn say(&self, answer: &Answer) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            serde_json::to_writer(&mut out, answer)?;
            return writeln!(out);
        }
        print(&mut out, answer)
    }
}

/// Looks at one topic, and makes it when it is missing and that is wanted.
fn look(
    admin: &Admin,
    config: &Config,
    wanted: &Wanted,
    creation: Option<Creation>,
) -> (TopicAnswer, Option<Topic>) {
    let (state, topic, remarks) = match admin.topic(&wanted.name) {
        Ok(Some(topic)) => (State::Present, Some(topic), Vec::new()),
        Ok(None) => make(admin, config, wanted, creation),
        Err(error) => (
            State::Unknown,
            None,
            vec![failed("it cannot be looked at", &error)],
        ),
    };
    let judged = topic.iter().flat_map(|topic| judge::judge(config, wanted, topic));
    let answer = TopicAnswer {
        name: wanted.name.clone(),
        uses: wanted.uses.iter().map(Use::to_string).collect(),
        state,
        remarks: remarks.into_iter().chain(judged).collect(),
        found: topic.as_ref().map(Found::of),
    };
    (answer, topic)
}

fn make(
    admin: &Admin,
    config: &Config,
    wanted: &Wanted,
    creation: Option<Creation>,
) -> (State, Option<Topic>, Vec<Remark>) {
    // Nothing but the forwarding waits for a topic of letters.
    let (level, what_waits) = if wanted.is_for_letters_alone() {
        (Level::Warning, "letters stay here")
    } else if wanted.is_for_status_alone() {
        (Level::Warning, "the state is not told there")
    } else {
        (Level::Error, "its lane waits")
    };
    let missing = |text: String| (State::Missing, None, vec![Remark { level, text }]);
    let Some(creation) = creation else {
        return missing(format!(
            "it is missing, or this user may not see it: {what_waits}. Make it, or add --create-topics --partitions N \
             --replicas M"
        ));
    };
    if !may_create(config, wanted) {
        return missing(
            "it is missing, and with this format the consumers make it: start them first".to_owned(),
        );
    }
    let made = admin.create(&wanted.name, creation.partitions, creation.replicas);
    match made.and_then(|()| admin.topic(&wanted.name)) {
        Ok(Some(topic)) => (State::Created, Some(topic), Vec::new()),
        Ok(None) => missing("it was made, and Kafka does not show it yet: look again".to_owned()),
        Err(error) => (State::Missing, None, vec![failed("it cannot be made", &error)]),
    }
}

fn failed(what: &str, error: &AdminError) -> Remark {
    Remark {
        level: Level::Error,
        text: format!("{what}: {error}"),
    }
}

fn print(out: &mut impl Write, answer: &Answer) -> io::Result<()> {
    match answer {
        Answer::Mqtt(broker) => print_broker(out, broker),
        Answer::Cluster {
            bootstrap_servers,
            brokers,
        } => writeln!(
            out,
            "Kafka at {}: {brokers} broker(s)",
            bootstrap_servers.join(", ")
        ),
        Answer::Unreachable { reason } => writeln!(out, "error: Kafka cannot be reached: {reason}"),
        Answer::Topic(topic) => print_topic(out, topic),
        Answer::Templated { route, topic, text } => writeln!(out, "{topic} (route[{route}]): {text}"),
        Answer::Remark(remark) => print_remark(out, "", remark),
        // People get them together.
        Answer::Finding(finding) => writeln!(out, "{}", finding.why),
        Answer::Holds { lane, seconds } => {
            let time = humantime::format_duration(Duration::from_secs(*seconds));
            writeln!(
                out,
                "\nAt this rate the queue of lane {lane} holds {time}, if it gets everything."
            )
        }
        Answer::Done { errors, warnings, .. } => writeln!(out, "\n{errors} error(s), {warnings} warning(s)"),
    }
}

fn print_broker(out: &mut impl Write, broker: &BrokerAnswer) -> io::Result<()> {
    let BrokerAnswer {
        name, url, client_id, ..
    } = broker;
    let state = match broker.state {
        brokers::State::Welcome => "lets us in",
        brokers::State::Away => "cannot be reached",
        brokers::State::Refused => "refuses us",
    };
    writeln!(out, "MQTT {name} at {url} {state} (tried as {client_id})")?;
    broker
        .remarks
        .iter()
        .try_for_each(|remark| print_remark(out, "  ", remark))
}

fn print_topic(out: &mut impl Write, topic: &TopicAnswer) -> io::Result<()> {
    write!(out, "{} ({}): ", topic.name, topic.uses.join(", "))?;
    match (topic.state, &topic.found) {
        (state, Some(found)) => {
            let made = if state == State::Created { "created, " } else { "" };
            let (partitions, replicas) = (found.partitions, found.replicas);
            write!(
                out,
                "{made}partitions {partitions}, replicas {replicas}, in sync {}",
                found.in_sync
            )?;
            for (name, value) in &found.settings {
                write!(out, ", {name} {value}")?;
            }
            writeln!(out)?;
        }
        (State::Missing, None) => writeln!(out, "missing")?,
        (_, None) => writeln!(out, "unknown")?,
    }
    topic
        .remarks
        .iter()
        .try_for_each(|remark| print_remark(out, "  ", remark))
}

fn print_remark(out: &mut impl Write, indent: &str, remark: &Remark) -> io::Result<()> {
    let level = match remark.level {
        Level::Warning => "warning",
        Level::Error => "error",
    };
    writeln!(out, "{indent}{level}: {}", remark.text)
}
