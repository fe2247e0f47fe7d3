//! Sequences, message ids and times as people write them.

use std::time::UNIX_EPOCH;

use super::Filters;
use super::access::Failure;
use crate::clock;
use crate::message::{Epoch, Seq};
use crate::ops::hand::{Bound, Filter};

impl Filters {
    /// The filter that they stand for now.
    pub(super) fn resolve(&self) -> Result<Filter, Failure> {
        self.resolve_at(clock::unix_ms())
    }

    /// The same; all messages are meant only when that is said.
    pub(super) fn for_purge(&self, all: bool) -> Result<Filter, Failure> {
        let filter = self.resolve()?;
        let everything = Filter {
            lane: None,
            ..filter.clone()
        } == Filter::default();
        if everything && !all {
            let text = "purge without a filter would remove everything; write a filter, or --all";
            return Err(Failure::Usage(text.to_owned()));
        }
        if all && !everything {
            let text = "--all means every message; leave it away to use the filter";
            return Err(Failure::Usage(text.to_owned()));
        }
        Ok(filter)
    }

    fn resolve_at(&self, now_ms: i64) -> Result<Filter, Failure> {
        let mut lane = self.lane.clone();
        let from = bound("--from", self.from.as_deref(), &mut lane)?;
        let to = bound("--to", self.to.as_deref(), &mut lane)?;
        Ok(Filter {
            lane,
            device: self.device.clone(),
            topic: self.topic.clone(),
            from,
            to,
            since_ms: time("--since", self.since.as_deref(), now_ms)?,
            until_ms: time("--until", self.until.as_deref(), now_ms)?,
        })
    }
}

/// Checks that the text is a message id.
pub(super) fn message_id(option: &str, text: &str) -> Result<(), Failure> {
    let found = bound(option, Some(text), &mut None)?;
    match found.and_then(|bound| bound.epoch) {
        Some(_) => Ok(()),
        None => Err(Failure::Usage(format!(
            "{option} {text:?} is no message id such as 0123456789abcdef-default-4711"
        ))),
    }
}

/// A sequence, or a message id: that names its lane and its epoch too.
fn bound(option: &str, text: Option<&str>, lane: &mut Option<String>) -> Result<Option<Bound>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let wrong = || {
        Failure::Usage(format!(
            "{option} {text:?} is neither a sequence such as 4711 nor a message id such as 0123456789abcdef-default-4711"
        ))
    };
    if let Ok(seq) = text.parse() {
        let seq = Seq(seq);
        return Ok(Some(Bound { seq, epoch: None }));
    }
    let mut parts = text.splitn(3, '-');
    let (Some(epoch), Some(name), Some(seq)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(wrong());
    };
    let epoch = u64::from_str_radix(epoch, 16).map_err(|_| wrong())?;
    let seq = seq.parse().map_err(|_| wrong())?;
    if lane.as_deref().is_some_and(|lane| lane != name) {
        return Err(Failure::Usage(format!(
            "{option} {text:?} is of the lane {name:?}, but another lane is asked for; sequences count within one lane"
        )));
    }
    *lane = Some(name.to_owned());
    Ok(Some(Bound {
        seq: Seq(seq),
        epoch: Some(Epoch(epoch)),
    }))
}

/// A time, or how long ago it is, in milliseconds since 1970.
pub(in crate::cli) fn time(option: &str, text: Option<&str>, now_ms: i64) -> Result<Option<i64>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let millis = match humantime::parse_duration(text.trim_end_matches("ago").trim()) {
        Ok(ago) => i64::try_from(ago.as_millis()).ok().map(|ago| now_ms - ago),
        Err(_) => point(text),
    };
    let millis = millis.filter(|millis| *millis >= 0);
    millis.map(Some).ok_or_else(|| {
        Failure::Usage(format!(
            "{option} {text:?} is no time; write for example \"2026-05-01T12:00:00Z\" (UTC) or \"2h ago\""
        ))
    })
}

fn point(text: &str) -> Option<i64> {
    let time = humantime::parse_rfc3339_weak(text).ok()?;
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters() -> Filters {
        Filters {
            lane: None,
            device: None,
            topic: None,
            from: None,
            to: None,
            since: None,
            until: None,
        }
    }

    fn resolved(filters: &Filters) -> Result<Filter, String> {
        filters
            .resolve_at(10 * 3_600_000)
            .map_err(|failure| failure.to_string())
    }

    #[test]
    fn times_are_points_or_how_long_ago() {
        let at = |text: &str| {
            let since = Some(text.to_owned());
            resolved(&Filters { since, ..filters() }).map(|filter| filter.since_ms)
        };
        for text in ["2h ago", "2h", "1970-01-01T08:00:00Z", "1970-01-01 08:00:00"] {
            assert_eq!(at(text), Ok(Some(8 * 3_600_000)), "{text}");
        }
        for text in ["yesterday", "", "11h ago", "-3"] {
            let error = at(text).expect_err(text);
            assert!(error.contains("--since") && error.contains("2h ago"), "{error}");
        }
    }

    #[test]
    fn a_message_id_names_lane_and_epoch_too() {
        let from = |text: &str, lane: Option<&str>| {
            let lane = lane.map(ToOwned::to_owned);
            let from = Some(text.to_owned());
            resolved(&Filters {
                lane,
                from,
                ..filters()
            })
            .map(|filter| (filter.lane, filter.from))
        };
        let bound = |seq, epoch: Option<u64>| {
            Some(Bound {
                seq: Seq(seq),
                epoch: epoch.map(Epoch),
            })
        };
        assert_eq!(from("12", None), Ok((None, bound(12, None))));
        let id = "00000000000000ab-alarms-7";
        assert_eq!(
            from(id, None),
            Ok((Some("alarms".to_owned()), bound(7, Some(0xab))))
        );
        assert_eq!(from(id, Some("alarms")).expect("agrees").1, bound(7, Some(0xab)));
        assert!(
            from(id, Some("default"))
                .expect_err("another lane")
                .contains("alarms")
        );
        for text in ["x", "1-2", "zz-default-7", "ab-default-x"] {
            assert!(from(text, None).expect_err(text).contains("message id"));
        }
    }

    #[test]
    fn everything_is_purged_only_when_that_is_said() {
        let lane = || Filters {
            lane: Some("default".to_owned()),
            ..filters()
        };
        assert!(filters().for_purge(false).is_err());
        assert!(lane().for_purge(false).is_err());
        assert!(lane().for_purge(true).is_ok());
        let device = Filters {
            device: Some("d1".to_owned()),
            ..filters()
        };
        assert!(device.for_purge(false).is_ok());
        assert!(device.for_purge(true).is_err());
    }
}
