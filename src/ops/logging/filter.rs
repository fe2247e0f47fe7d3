//! What is said, by a filter of the user's; and beside it warnings and errors, which the daemon keeps whatever is said.

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_log::NormalizeEvent;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::{Context, Layer};

use crate::ops::events;

/// Lets warnings, errors and the spans of lanes come as far as the layer that keeps them
/// ([`events::layer`], which is to be over this one), and says no more than the filter inside does.
#[derive(Debug)]
pub struct Said(pub EnvFilter);

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
        is_kept(metadata) || self.0.enabled(metadata, context)
    }

    fn event_enabled(&self, event: &Event<'_>, context: Context<'_, S>) -> bool {
        // Lines of libraries that use the `log` crate say in a field where they come from.
        let of_log = event.normalized_metadata();
        let metadata = of_log.as_ref().unwrap_or_else(|| event.metadata());
        self.0.enabled(metadata, context)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // The spans of lanes are at this level.
        self.0.max_level_hint().map(|hint| hint.max(LevelFilter::INFO))
    }

    // The filter may be about spans and their fields.

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.0.on_new_span(attributes, id, context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.0.on_record(id, values, context);
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        self.0.on_enter(id, context);
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        self.0.on_exit(id, context);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.0.on_close(id, context);
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
            .with(Said(EnvFilter::new(filter)))
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
            .with(Said(EnvFilter::new("warn,librdkafka=off")))
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
}
