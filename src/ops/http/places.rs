//! Who has a connection, and who loses it when another one comes.
//!
//! A place is for whoever asks, not for whoever holds on to it: when all are taken, the newcomer gets the place of whoever has
//! most of them, and of those the one that has been quiet for longest. So no number of idle or slow connections keeps a
//! Prometheus or a liveness probe out. Only one whose answer is being made just now, a wrong token's for instance, which is held
//! back, keeps its place; they pass within seconds.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// All places. Bounded.
#[derive(Debug)]
pub struct Places {
    most: usize,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Grows with everything that happens: who has the lowest has been quiet for longest.
    clock: u64,
    taken: HashMap<u64, Taken>,
}

#[derive(Debug)]
struct Taken {
    peer: IpAddr,
    heard: u64,
    is_answering: bool,
    end: CancellationToken,
}

/// The place of a connection, until it is dropped.
#[derive(Debug)]
pub struct Place {
    id: u64,
    inner: Arc<Mutex<Inner>>,
    /// Somebody else needs it.
    pub end: CancellationToken,
}

/// While an answer is made.
#[derive(Debug)]
pub struct Answering<'a>(&'a Place);

impl Places {
    /// So many.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            most,
            inner: Arc::default(),
        }
    }

    /// A place for a connection from there; `None` if all are answering.
    #[must_use]
    pub fn take(&self, peer: IpAddr) -> Option<Place> {
        let mut inner = lock(&self.inner);
        if inner.taken.len() >= self.most {
            let id = inner.whose_turn_it_is()?;
            inner.taken.remove(&id)?.end.cancel();
        }
        let (id, end) = (inner.tick(), CancellationToken::new());
        let taken = Taken {
            peer,
            heard: id,
            is_answering: false,
            end: end.clone(),
        };
        inner.taken.insert(id, taken);
        drop(inner);
        Some(Place {
            id,
            inner: Arc::clone(&self.inner),
            end,
        })
    }
}

impl Inner {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Of the peer that has most, the one that has been quiet for longest.
    fn whose_turn_it_is(&self) -> Option<u64> {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for taken in self.taken.values() {
            *counts.entry(taken.peer).or_default() += 1;
        }
        let quiet = self.taken.iter().filter(|(_, taken)| !taken.is_answering);
        let rank = |taken: &Taken| {
            let count = counts.get(&taken.peer).copied().unwrap_or_default();
            (count, u64::MAX - taken.heard)
        };
        quiet.max_by_key(|(_, taken)| rank(taken)).map(|(id, _)| *id)
    }

    fn set(&mut self, id: u64, is_answering: bool) {
        let heard = self.tick();
        if let Some(taken) = self.taken.get_mut(&id) {
            (taken.heard, taken.is_answering) = (heard, is_answering);
        }
    }
}

impl Place {
    /// From now on, until what is given is dropped, an answer is made.
    pub fn answering(&self) -> Answering<'_> {
        lock(&self.inner).set(self.id, true);
        Answering(self)
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        lock(&self.0.inner).set(self.0.id, false);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.inner).taken.remove(&self.id);
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn the_one_that_was_quiet_for_longest_makes_room() {
        let places = Places::new(3);
        let held: Vec<Place> = (0..3).map(|_| places.take(ONE).unwrap()).collect();
        drop(held[0].answering());
        let newcomer = places.take(ONE).unwrap();
        let ended: Vec<bool> = held.iter().map(|place| place.end.is_cancelled()).collect();
        assert_eq!(ended, [false, true, false], "the first was heard since");
        assert!(!newcomer.end.is_cancelled());
        assert_eq!(lock(&places.inner).taken.len(), 3);
    }

    #[test]
    fn whoever_has_most_makes_room_and_not_who_has_one() {
        let places = Places::new(4);
        let prometheus = places.take(OTHER).unwrap();
        let flood: Vec<Place> = (0..100).map(|_| places.take(ONE).unwrap()).collect();
        assert!(!prometheus.end.is_cancelled());
        assert_eq!(flood.iter().filter(|place| !place.end.is_cancelled()).count(), 3);
    }

    #[test]
    fn while_all_are_answering_there_is_no_room_and_then_there_is() {
        let places = Places::new(2);
        let held = [places.take(ONE).unwrap(), places.take(ONE).unwrap()];
        let answering = held.each_ref().map(Place::answering);
        assert!(places.take(OTHER).is_none());
        drop(answering);
        assert!(places.take(OTHER).is_some());
    }

    #[test]
    fn a_place_that_is_given_back_is_free() {
        let places = Places::new(1);
        let first = places.take(ONE).unwrap();
        let end = first.end.clone();
        drop(first);
        let _second = places.take(ONE).unwrap();
        assert!(!end.is_cancelled());
        assert_eq!(lock(&places.inner).taken.len(), 1);
    }
}
