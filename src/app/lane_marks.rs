//! Whether lanes of the configuration could be taken for lanes that this store had before, where records name a lane by a short
//! mark: the `payloadId` of WASP.

use super::{AppError, DataDir};
use crate::config::Config;
use crate::route::Format;
use crate::route::format::wasp::payload_id::lane_mark;

/// Compares the lanes that routes use with all others that the store knows: those that are being emptied, those that are put away,
/// and those that left dead letters. Of two lanes that were both there before, nothing can be changed any more.
///
/// # Errors
/// [`AppError::LaneMark`], [`AppError::DataDir`].
pub(super) fn check(config: &Config, data_dir: &DataDir) -> Result<(), AppError> {
    if !config
        .routes
        .iter()
        .any(|route| matches!(route.format, Format::Wasp(_)))
    {
        return Ok(());
    }
    let live = data_dir.lanes()?;
    let mut known = live.clone();
    known.extend(data_dir.retired_lanes()?);
    known.extend(data_dir.letter_lanes()?);
    let used = config.lanes.iter().map(|lane| lane.name.as_str());
    let new =
        used.filter(|name| config.routes.iter().any(|route| route.lane == *name) && !live.contains(*name));
    for new in new {
        let is_same = |old: &&String| *old != new && lane_mark(old) == lane_mark(new);
        if let Some(old) = known.iter().find(is_same) {
            return Err(AppError::LaneMark {
                new: new.to_owned(),
                old: old.clone(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Two names of one mark (a test of `payload_id` has how rare they are).
    const PAIR: (&str, &str) = ("lane784", "lane1060");

    fn checked(format: &str, lane: &str, folders: &[&str]) -> Result<(), String> {
        let dir = tempfile::tempdir().expect("temp dir");
        let data_dir = DataDir::take(dir.path()).expect("takes");
        for folder in folders {
            std::fs::create_dir_all(data_dir.path().join(folder)).expect("makes");
        }
        let text = format!(
            "[gateway]\nid = \"gw\"\ndata_dir = \"/tmp/x\"\n[[mqtt]]\nurl = \"mqtt://127.0.0.1\"\n[kafka]\n\
             bootstrap_servers = [\"127.0.0.1:9092\"]\n[[lane]]\nname = \"{lane}\"\n[[route]]\n\
             from = \"t/{{device}}\"\ntopic = \"raw-payloads\"\nlane = \"{lane}\"\nformat = \"{format}\"\n"
        );
        let (config, _) = crate::config::parse(Path::new("test.toml"), &text).expect("valid");
        check(&config, &data_dir).map_err(|error| error.to_string())
    }

    #[test]
    fn a_new_lane_that_would_have_the_payload_ids_of_a_former_one_is_refused() {
        let (one, other) = PAIR;
        assert_eq!(lane_mark(one), lane_mark(other));
        for place in ["lanes", "retired", "dead-letters"] {
            let folder = format!("{place}/{one}");
            assert_eq!(
                checked("wasp", other, &[&folder]).expect_err("refused"),
                format!(
                    "lane {other:?} could not be told from the former lane {one:?} of this store in the payloadId of format = \
                     \"wasp\": give it another name, for example with a digit more"
                )
            );
        }
        assert_eq!(checked("raw", other, &["lanes/lane784"]), Ok(()));
    }

    #[test]
    fn a_lane_that_comes_back_or_has_a_mark_of_its_own_is_fine() {
        let (one, _) = PAIR;
        let retired = format!("retired/{one}");
        assert_eq!(checked("wasp", one, &[&retired, "lanes/default"]), Ok(()));
    }
}
