//! What is shown: one look a second at most, however many ask, and each form of it made once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;

use crate::ops::history::History;
use crate::ops::http::exposition::Form;
use crate::ops::http::metrics::{self, Baseline};
use crate::ops::{Look, State};

/// How old a look may be. With it, no number of clients costs more than one look a second.
const FRESH: Duration = Duration::from_secs(1);

/// Shared by all connections.
#[derive(Debug)]
pub struct Board {
    look: Look,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    history: History,
    baseline: Baseline,
    taken: Option<Taken>,
}

/// A look, and what was made of it.
#[derive(Debug)]
struct Taken {
    at: Instant,
    state: Arc<State>,
    status: Option<Bytes>,
    history: Option<Bytes>,
    text: Option<Bytes>,
    open_metrics: Option<Bytes>,
}

impl Board {
    /// Takes its looks with this, and goes on with this history.
    #[must_use]
    pub fn new(look: Look, history: History) -> Self {
        Self {
            look,
            inner: Mutex::new(Inner {
                history,
                baseline: Baseline::default(),
                taken: None,
            }),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, a second old at most.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.inner().fresh(&self.look).0.state)
    }

    /// The state as JSON.
    #[must_use]
    pub fn status(&self) -> Bytes {
        let mut inner = self.inner();
        let taken = inner.fresh(&self.look).0;
        let state = &taken.state;
        taken.status.get_or_insert_with(|| json(&**state)).clone()
    }

    /// How much waited over the last hours, as JSON.
    #[must_use]
    pub fn history(&self) -> Bytes {
        let mut inner = self.inner();
        let (taken, history, _) = inner.fresh(&self.look);
        let at = taken.at;
        taken
            .history
            .get_or_insert_with(|| json(&history.shown(at)))
            .clone()
    }

    /// The metrics.
    #[must_use]
    pub fn metrics(&self, form: Form) -> Bytes {
        let mut inner = self.inner();
        let (taken, _, baseline) = inner.fresh(&self.look);
        let kept = match form {
            Form::Text => &mut taken.text,
            Form::OpenMetrics => &mut taken.open_metrics,
        };
        let state = &taken.state;
        kept.get_or_insert_with(|| metrics::text(state, form, baseline).into())
            .clone()
    }

    /// Takes the samples of the history when they are due, for ever.
    pub async fn keep_history(&self) {
        loop {
            let due = {
                let mut inner = self.inner();
                let (taken, history, _) = inner.fresh(&self.look);
                let now = Instant::now();
                if history.due().is_none_or(|due| due <= now) {
                    history.record(now, &taken.state);
                }
                history.due().unwrap_or(now)
            };
            tokio::time::sleep_until(due.into()).await;
        }
    }
}

impl Inner {
    /// The last look, or a new one where that is too old.
    fn fresh(&mut self, look: &Look) -> (&mut Taken, &mut History, &Baseline) {
        let last = self.taken.take().filter(|taken| taken.at.elapsed() < FRESH);
        let taken = last.unwrap_or_else(|| {
            let taken = Taken::new(look.take());
            self.baseline.see(&taken.state);
            taken
        });
        (self.taken.insert(taken), &mut self.history, &self.baseline)
    }
}

impl Taken {
    fn new(state: State) -> Self {
        Self {
            at: Instant::now(),
            state: Arc::new(state),
            status: None,
            history: None,
            text: None,
            open_metrics: None,
        }
    }
}

/// Plain data of ours always becomes JSON; if it should not, that is what is said.
fn json(value: &impl Serialize) -> Bytes {
    match serde_json::to_vec(value) {
        Ok(json) => json.into(),
        Err(error) => {
            tracing::error!(%error, "http: a state cannot be written as JSON");
            Bytes::from_static(b"null")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::ops::state::sample;

    #[test]
    fn however_many_ask_there_is_one_look() {
        let looks = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&looks);
        let look = Look::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
            sample::state()
        });
        let board = Board::new(look, History::default());
        let began = Instant::now();
        let asked = 1_000;
        for _ in 0..asked {
            drop((
                board.state(),
                board.status(),
                board.metrics(Form::Text),
                board.history(),
            ));
        }
        let seconds = began.elapsed().as_secs();
        assert!(looks.load(Ordering::Relaxed) <= 1 + seconds, "{seconds} s");
    }

    #[test]
    fn the_status_is_the_state_and_goes_back() {
        let board = Board::new(Look::new(sample::state), History::default());
        let state: State = serde_json::from_slice(&board.status()).unwrap();
        assert_eq!(state, sample::state());
    }
}
