//! Whether a changed configuration can be applied, as far as that is known before anything is touched. Files are read for it, and
//! where a key is lacking a whole generation: no work for a thread of the runtime.

use std::collections::BTreeSet;

use super::refusal::{Mistake, Refusal};
use crate::app::plan::plan;
use crate::app::{AppError, DataDir, keys, lane_marks};
use crate::config::Config;
use crate::config::difference::Difference;
use crate::exit::Exit;
use crate::{sink, source};

/// Everything that is in the way. `running` are the lanes that run.
///
/// A file that cannot be used is in the way where its setting is new: a link that is refused for another one must not keep a route
/// from being changed. When nothing is different the files are what the reload is for, so all of them count.
pub(in crate::app) fn judge(
    data_dir: &DataDir,
    running: &BTreeSet<String>,
    new: &Config,
    difference: &Difference,
) -> Result<(), Refusal> {
    let restarts: Vec<Mistake> = difference
        .restarts()
        .map(|(change, why)| {
            Mistake::plain(format!(
                "{} is another one, which needs a restart ({why}); nothing else of the file is applied without it",
                change.setting
            ))
        })
        .collect();
    if !restarts.is_empty() {
        return Err(Refusal {
            exit: Exit::Usage,
            why: restarts,
        });
    }
    let mut why = broker_files(new, difference);
    why.extend(kafka_files(new, difference));
    if !why.is_empty() {
        return Err(Refusal {
            exit: Exit::Failure,
            why,
        });
    }
    let stored = keys::check(new, data_dir).map_err(AppError::from);
    let stored = stored.and_then(|()| leaving_keys(data_dir, running, new));
    let stored = stored.and_then(|()| lane_marks::check(new, data_dir));
    stored.map_err(|error| {
        let shown = "a key file or a lane does not fit what is stored: the log says which";
        Refusal::one(error.exit(), Mistake::new(error.to_string(), shown))
    })
}

/// A lane that runs and loses its routes, perhaps also its table and its keys with that, has to be opened to be emptied.
fn leaving_keys(data_dir: &DataDir, running: &BTreeSet<String>, new: &Config) -> Result<(), AppError> {
    let plans = plan(new, data_dir)?;
    let leaving = plans
        .iter()
        .filter(|plan| plan.is_leaving && running.contains(&plan.name));
    let lanes = leaving.map(|plan| (plan.name.as_str(), &plan.queue));
    Ok(keys::check_lanes(lanes, data_dir)?)
}

fn broker_files(new: &Config, difference: &Difference) -> Vec<Mistake> {
    let counts = |broker: &&source::Config| difference.is_empty() || difference.is_about_broker(&broker.name);
    let mut why = Vec::new();
    for broker in new.brokers.iter().filter(counts) {
        let shown = format!("mqtt {}: a file that it names cannot be used", broker.name);
        let problems = source::file_problems(broker).into_iter();
        why.extend(problems.map(|problem| Mistake::new(format!("mqtt {}: {problem}", broker.name), &shown)));
    }
    why
}

fn kafka_files(new: &Config, difference: &Difference) -> Vec<Mistake> {
    // Other settings start all lanes anew too, and then a link that was well is refused: said, and no reason to hold back a change.
    if !difference.is_empty() && !difference.is_about_kafka() {
        return Vec::new();
    }
    let unreadable = sink::unreadable_secrets(&new.kafka.security).into_iter();
    unreadable
        .map(|(key, error)| {
            let shown = format!("kafka.{key}: the file cannot be used");
            Mistake::new(format!("kafka.{key}: {error}"), &shown)
        })
        .collect()
}
