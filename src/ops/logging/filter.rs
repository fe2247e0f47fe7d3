//! What is said, by a filter of the user's; and beside it warnings and errors, which the daemon keeps whatever is said.

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_log::NormalizeEvent;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer};

use crate::ops::events;

/// Lets warnings, errors and the spans of lanes come as far as the layer that keeps them
/// ([`events::layer`], which is to be over this one), and says no more than the filter inside does.
#[derive(Debug)]
pub struct Said(pub Targets);

/// A part of a filter that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is none of LEVEL, TARGET and TARGET=LEVEL, with off, error, warn, info, debug or trace for LEVEL and no spans or fields"
)]
pub struct Unreadable(String);

/// Reads `LEVEL`, `TARGET` and `TARGET=LEVEL`, with commas between; none if the text is empty.
///
/// By hand around `Targets`, which takes an empty text for "everything" and does not say what it could not read. Not
/// `EnvFilter`: its filters by spans and their fields bring regular expressions with them, 0.4 MB of the program.
///
/// # Errors
///
/// The first part that is none of these.
pub fn parse(text: &str) -> Result<Option<Targets>, Unreadable> {
    let parts: Vec<&str> = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect();
    for part in &parts {
        let by_fields = part.contains(['[', ']', '{', '}']);
        if by_fields || part.parse::<Targets>().is_err() {
            return Err(Unreadable((*part).to_owned()));
        }
    }
    match parts.is_empty() {
        true => Ok(None),
        false => parts
            .join(",")
            .parse()
            .map(Some)
            .map_err(|_| Unreadable(text.to_owned())),
    }
}

/// Whether whoever looks at the state wants to have it.
fn is_kept(metadata: &Metadata<'_>) -> bool {
    match metadata.is_span() {
        true => metadata.name() == events::LANE,
        false => *metadata.level() <= Level::WARN,
    }
}

impl<S: Subscriber> Layer<S> for Said {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        let said = Layer::<S>::register_callsite(&self.0, metadata);
        match is_kept(metadata) {
            true => Interest::always(),
            false => said,
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        is_kept(metadata) || Layer::<S>::enabled(&self.0, metadata, context)
    }

    fn event_enabled(&self, event: &Event<'_>, context: Context<'_, S>) -> bool {
        // Lines of libraries that use the `log` crate say in a field where they come from.
        let of_log = event.normalized_metadata();
        let metadata = of_log.as_ref().unwrap_or_else(|| event.metadata());
        Layer::<S>::enabled(&self.0, metadata, context)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // The spans of lanes are at this level.
        Layer::<S>::max_level_hint(&self.0).map(|hint| hint.max(LevelFilter::INFO))
    }
}

#[cfg(test)]
mod tests {
    use tracing_log::log;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::ops::events::tests::{Through, keeper};

    /// Lines that go out under `filter`, and texts that are kept, of one of each level in a lane.
    fn said(filter: &str) -> (u64, Vec<String>) {
        let (keeper, kept) = keeper();
        let through = Through::default();
        let subscriber = tracing_subscriber::registry()
            .with(Said(parse(filter).expect("can be read").expect("is not empty")))
            .with(through.clone())
            .with(keeper);
        tracing::subscriber::with_default(subscriber, || {
            let _inside = tracing::info_span!("lane", lane = "alarms").entered();
            tracing::error!("an error");
            tracing::warn!("a warning");
            tracing::info!("news");
            tracing::debug!("a detail");
        });
        (through.all(), kept())
    }

    #[test]
    fn what_goes_wrong_is_kept_whatever_the_log_says() {
        for (filter, lines) in [("off", 0), ("error", 1), ("warn", 2), ("info", 3), ("debug", 4)] {
            let (out, kept) = said(filter);
            assert_eq!(out, lines, "{filter}");
            assert_eq!(
                kept,
                ["a warning lane=alarms", "an error lane=alarms"],
                "{filter}"
            );
        }
    }

    #[test]
    fn a_filter_for_a_library_that_uses_the_log_crate_counts() {
        let say = |target: &str| {
            let line = log::Record::builder()
                .level(log::Level::Warn)
                .target(target)
                .args(format_args!("gone"))
                .build();
            tracing_log::format_trace(&line).expect("goes on");
        };
        let through = Through::default();
        let subscriber = tracing_subscriber::registry()
            .with(Said(
                parse("warn,librdkafka=off")
                    .expect("can be read")
                    .expect("is not empty"),
            ))
            .with(through.clone());
        tracing::subscriber::with_default(subscriber, || {
            say("librdkafka");
            assert_eq!(through.all(), 0);
            say("another");
            assert_eq!(through.all(), 1);
        });
    }

    #[test]
    fn a_filter_for_parts_of_the_program_counts_as_before() {
        let (out, kept) = said("info,edgeferry=off");
        assert_eq!((out, kept.len()), (0, 2));
        let (out, _) = said("off,edgeferry=info");
        assert_eq!(out, 3);
    }

    #[test]
    fn of_two_rules_the_longer_target_counts() {
        let (out, _) = said("edgeferry::ops=error,edgeferry=info, off");
        assert_eq!(out, 1);
        let (out, _) = said("edgeferry::ops,off");
        assert_eq!(out, 4, "a target without a level says all");
    }

    #[test]
    fn levels_are_read_in_any_case_and_as_numbers() {
        for (filter, lines) in [("WARN", 2), ("Info", 3), ("2", 2), ("edgeferry=DEBUG", 4)] {
            assert_eq!(said(filter).0, lines, "{filter}");
        }
    }

    #[test]
    fn an_empty_filter_is_none() {
        for text in ["", " ", ",", " , "] {
            assert_eq!(parse(text), Ok(None), "{text:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named_with_what_can() {
        for (text, part) in [
            ("info,sled=loud", "sled=loud"),
            ("a=b=info", "a=b=info"),
            ("info,[lane]=debug", "[lane]=debug"),
            (
                "edgeferry[lane{lane=x}]=debug,info",
                "edgeferry[lane{lane=x}]=debug",
            ),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(
                error.starts_with(&format!("`{part}` is none of LEVEL")),
                "{error}"
            );
        }
    }
}
