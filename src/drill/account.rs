//! What the stopped store says: its ledger, what waits, and its dead letters.

use std::collections::BTreeMap;
use std::io;

use super::judge::Account;
use super::mark;
use crate::app::{AppError, DataDir, Stopped};
use crate::config::Config;
use crate::ops::hand::{Answer, Filter, HandError, LetterFilter, Verb};

/// Why a store cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum AccountError {
    #[error(transparent)]
    App(#[from] AppError),
    #[error(transparent)]
    Hand(#[from] HandError),
}

/// Accounts by lane.
pub(super) fn read(config: &Config) -> Result<BTreeMap<String, Account>, AccountError> {
    let data_dir = DataDir::take(&config.gateway.data_dir).map_err(AppError::from)?;
    let stopped = Stopped::open(config, data_dir, false)?;
    let mut accounts = BTreeMap::new();
    let verbs = [
        Verb::List { lane: None },
        Verb::Verify { lane: None },
        Verb::Peek {
            filter: Filter::default(),
            limit: u64::MAX,
            payload: true,
        },
        Verb::ExportLetters {
            filter: LetterFilter::default(),
            limit: None,
        },
    ];
    let served = verbs.iter().try_for_each(|verb| {
        let mut note = |answer: Answer| {
            take(&mut accounts, answer);
            Ok(())
        };
        stopped.hand().serve(verb, &mut io::empty(), &mut note).map(drop)
    });
    stopped.close();
    served?;
    Ok(accounts)
}

fn take(accounts: &mut BTreeMap<String, Account>, answer: Answer) {
    match answer {
        Answer::Lane(state) => {
            let account = accounts.entry(state.lane).or_default();
            account.received = state.received;
            account.delivered = state.delivered;
            account.dead_lettered = state.dead_lettered;
            account.queued = state.queued;
            account.removed = state.removed;
        }
        Answer::Fault(fault) if !fault.delivered => {
            let account = accounts.entry(fault.lane).or_default();
            account
                .faults
                .push(format!("{} to {}: {}", fault.first, fault.last, fault.what));
        }
        Answer::Message(message) => {
            let payload = message.payload.unwrap_or_default();
            let account = accounts.entry(message.lane).or_default();
            account.waiting.extend(mark::find(payload.as_bytes()));
        }
        Answer::Record(record) => {
            // The line has the lane and the payload, as text or not.
            if let Some((lane, number)) = letter(record.get()) {
                accounts.entry(lane).or_default().letters.insert(number);
            }
        }
        _ => {}
    }
}

fn letter(line: &str) -> Option<(String, u64)> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    let lane = value.get("lane").or_else(|| value.get("kept_in"))?.as_str()?;
    Some((lane.to_owned(), mark::find(line.as_bytes())?))
}
