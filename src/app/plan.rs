//! Which lanes run.

use crate::app::{DataDir, DataDirError};
use crate::config::{Config, Lane};
use crate::queue::{self, OnFull, Share};
use crate::settings::Rate;

/// A lane that is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// Its queue.
    pub queue: queue::Config,
    /// Its part of a rate that all lanes share.
    pub weight: u32,
    /// What it may send by itself.
    pub max_rate: Option<Rate>,
    /// No route uses it: it runs until it is empty.
    pub is_leaving: bool,
}

/// The lanes that routes use, and those that an earlier configuration used and that are not empty yet.
///
/// # Errors
/// [`DataDirError::Unusable`].
pub fn plan(config: &Config, data_dir: &DataDir) -> Result<Vec<Plan>, DataDirError> {
    let is_used = |lane: &&Lane| config.routes.iter().any(|route| route.lane == lane.name);
    let mut plans: Vec<Plan> = config
        .lanes
        .iter()
        .filter(is_used)
        .map(|lane| Plan {
            name: lane.name.clone(),
            queue: lane.queue.clone(),
            weight: lane.weight,
            max_rate: lane.max_rate,
            is_leaving: false,
        })
        .collect();
    for name in data_dir.lanes()? {
        if plans.iter().all(|plan| plan.name != name) {
            let table = config.lanes.iter().find(|lane| lane.name == name);
            plans.push(Plan {
                queue: leaving_queue(config, &name),
                weight: table.map_or(1, |lane| lane.weight),
                max_rate: table.and_then(|lane| lane.max_rate),
                name,
                is_leaving: true,
            });
        }
    }
    let share = Share::of(plans.len());
    for plan in &mut plans {
        plan.queue.share = share;
    }
    Ok(plans)
}

/// Without a table, nobody knows any more what the lane's own policy was: then nothing is removed.
fn leaving_queue(config: &Config, name: &str) -> queue::Config {
    let table = config
        .lanes
        .iter()
        .find(|lane| lane.name == name && lane.has_table);
    table.map_or_else(
        || queue::Config {
            on_full: OnFull::Backpressure,
            max_age: None,
            ..config.queue.clone()
        },
        |lane| lane.queue.clone(),
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn planned(lanes: &str, route_lane: &str, folders: &[&str]) -> Vec<(String, bool)> {
        let dir = tempfile::tempdir().expect("temp dir");
        let data_dir = DataDir::take(dir.path()).expect("takes");
        for folder in folders {
            std::fs::create_dir_all(data_dir.lane(folder)).expect("makes");
        }
        let text = format!(
            "[gateway]\nid = \"gw\"\ndata_dir = \"/tmp/x\"\n[[mqtt]]\nurl = \"mqtt://127.0.0.1\"\n[kafka]\n\
             bootstrap_servers = [\"127.0.0.1:9092\"]\n[queue]\nmax_age = \"1h\"\n{lanes}\n[[route]]\n\
             from = \"t/{{device}}\"\ntopic = \"t\"\nlane = \"{route_lane}\"\n"
        );
        let (config, _) = crate::config::parse(Path::new("test.toml"), &text).expect("valid");
        let plans = plan(&config, &data_dir).expect("plans").into_iter();
        plans.map(|plan| (plan.name, plan.is_leaving)).collect()
    }

    #[test]
    fn a_lane_runs_when_a_route_uses_it_or_when_it_may_not_be_empty() {
        let lane = |name: &str, is_leaving| (name.to_owned(), is_leaving);
        let alarms = "[[lane]]\nname = \"alarms\"";
        assert_eq!(planned("", "default", &[]), [lane("default", false)]);
        assert_eq!(
            planned(alarms, "alarms", &[]),
            [lane("alarms", false)],
            "no connections for nothing"
        );
        assert_eq!(planned(alarms, "default", &[]), [lane("default", false)]);
        assert_eq!(
            planned(alarms, "alarms", &["default", "alarms", "old"]),
            [lane("alarms", false), lane("default", true), lane("old", true)]
        );
    }

    #[test]
    fn nothing_is_removed_from_a_lane_whose_table_is_gone() {
        let text = "[gateway]\nid = \"gw\"\ndata_dir = \"/tmp/x\"\n[[mqtt]]\nurl = \"mqtt://127.0.0.1\"\n[kafka]\n\
             bootstrap_servers = [\"127.0.0.1:9092\"]\n[queue]\nmax_age = \"1h\"\non_full = \"drop-oldest\"\n\
             max_bytes = \"32MiB\"\n[[lane]]\nname = \"kept\"\nmax_age = \"2h\"\n[[route]]\n\
             from = \"t/{device}\"\ntopic = \"t\"\n";
        let (config, _) = crate::config::parse(Path::new("test.toml"), text).expect("valid");
        let gone = leaving_queue(&config, "gone");
        assert_eq!((gone.on_full, gone.max_age), (OnFull::Backpressure, None));
        assert_eq!(gone.max_bytes, 32 * 1024 * 1024);
        assert_eq!(
            leaving_queue(&config, "kept").max_age.map(|age| age.as_secs()),
            Some(7200)
        );
    }
}
