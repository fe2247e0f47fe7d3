use std::sync::atomic::{AtomicU64, Ordering};

use tracing_subscriber::layer::SubscriberExt;

use super::*;

/// What is kept of what `say` says.
fn kept(say: impl FnOnce()) -> Vec<state::Event> {
    let events = Arc::new(Events::default());
    let subscriber = tracing_subscriber::registry().with(Keeper(Arc::clone(&events)));
    tracing::subscriber::with_default(subscriber, say);
    events.book.last()
}

/// A layer of its own, and what it has kept: texts, newest first.
pub fn keeper() -> (Keeper, impl Fn() -> Vec<String>) {
    let events = Arc::new(Events::default());
    let kept = Arc::clone(&events);
    let texts = move || kept.book.last().into_iter().map(|event| event.text).collect();
    (Keeper(events), texts)
}

#[test]
fn warnings_and_errors_are_kept_with_their_fields_and_nothing_below() {
    let kept = kept(|| {
        tracing::info!("connected");
        tracing::debug!("noise");
        tracing::warn!(broker = "local", untold = 3_u64, "disconnected; trying again");
        tracing::error!(error = %"no room", "cannot store");
    });
    let said: Vec<_> = kept
        .iter()
        .map(|event| (event.level, event.text.as_str()))
        .collect();
    assert_eq!(
        said,
        [
            (state::Level::Error, "cannot store error=no room"),
            (
                state::Level::Warning,
                "disconnected; trying again broker=local untold=3"
            ),
        ]
    );
}

#[test]
fn what_quotes_the_configuration_is_in_the_log_alone() {
    let kept = kept(|| {
        let in_full = "edgeferry.toml:6: \"hunter2\" is relative";
        tracing::error!(mistake = "line 6: x", in_full, "the configuration cannot be used");
        tracing::warn!(warning = in_full, "in the configuration");
    });
    let texts: Vec<&str> = kept.iter().map(|event| event.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "in the configuration",
            "the configuration cannot be used mistake=line 6: x"
        ]
    );
}

#[test]
fn lines_that_differ_in_numbers_alone_are_one_and_those_of_two_brokers_are_two() {
    let kept = kept(|| {
        for untold in 0..5_u64 {
            tracing::warn!(broker = "a", untold, "disconnected; trying again");
        }
        tracing::warn!(broker = "b", untold = 0_u64, "disconnected; trying again");
    });
    let counts: Vec<u64> = kept.iter().map(|event| event.count).collect();
    assert_eq!(counts, [1, 5]);
}

#[test]
fn a_line_belongs_to_the_lane_of_its_span() {
    let kept = kept(|| {
        for lane in ["default", "alarms"] {
            let span = tracing::info_span!("lane", lane);
            let _inside = span.enter();
            tracing::warn!("Kafka: down; trying again");
        }
    });
    let texts: Vec<&str> = kept.iter().map(|event| event.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "Kafka: down; trying again lane=alarms",
            "Kafka: down; trying again lane=default"
        ]
    );
}

#[test]
fn what_is_known_comes_with_advice() {
    let kept = kept(|| tracing::warn!(broker = "local", "disconnected; trying again"));
    let advice = kept.first().and_then(|event| event.advice.clone());
    assert!(advice.is_some_and(|advice| advice.contains("broker")));
}

/// Counts what comes through: at info level and above, and below.
#[derive(Clone, Default)]
pub struct Through(Arc<[AtomicU64; 2]>);

impl Through {
    pub fn loud(&self) -> u64 {
        self.0[0].load(Ordering::Relaxed)
    }

    fn quiet(&self) -> u64 {
        self.0[1].load(Ordering::Relaxed)
    }

    pub fn all(&self) -> u64 {
        self.loud() + self.quiet()
    }
}

impl<S: Subscriber> Layer<S> for Through {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let is_quiet = *event.metadata().level() > Level::INFO;
        self.0[usize::from(is_quiet)].fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn what_repeats_without_end_is_held_back_and_still_counted() {
    let (events, through) = (Arc::new(Events::default()), Through::default());
    let subscriber = tracing_subscriber::registry()
        .with(through.clone())
        .with(Keeper(Arc::clone(&events)));
    tracing::subscriber::with_default(subscriber, || {
        for number in 0..1000_u64 {
            tracing::warn!(number, "again");
            tracing::debug!(number, "for whoever looks for something: never held back");
        }
    });
    assert_eq!((through.loud(), through.quiet()), (u64::from(flood::BURST), 1000));
    let counts: Vec<u64> = events.book.last().iter().map(|event| event.count).collect();
    assert_eq!(counts, [1000]);
}
