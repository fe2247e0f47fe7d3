//! The last warnings and errors, bounded; equal ones are one entry with a count.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::ops::state::{EVENTS_MAX, Event, Level};

/// Longest text that is kept, bytes: what a person reads of a line. With [`EVENTS_MAX`] of them the book takes 50 KB at most.
const TEXT_MAX: usize = 1000;

/// The oldest first.
#[derive(Debug, Default)]
pub struct Book(Mutex<VecDeque<Entry>>);

#[derive(Debug)]
struct Entry {
    subject: u64,
    event: Event,
}

impl Book {
    /// Something was said. `subject` is the same for what is the same trouble again: then the newest text counts.
    pub fn note(&self, unix_ms: i64, level: Level, subject: u64, text: String, advice: Option<&str>) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = entries
            .iter()
            .position(|entry| entry.subject == subject && entry.event.level == level);
        let before = known.and_then(|place| entries.remove(place));
        if entries.len() >= EVENTS_MAX {
            entries.pop_front();
        }
        let count = before.map_or(0, |entry| entry.event.count).saturating_add(1);
        entries.push_back(Entry {
            subject,
            event: Event {
                unix_ms,
                level,
                text: plain(text),
                count,
                advice: advice.map(str::to_owned),
            },
        });
    }

    /// All, newest first.
    pub fn last(&self) -> Vec<Event> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().rev().map(|entry| entry.event.clone()).collect()
    }
}

/// One line, not longer than [`TEXT_MAX`].
fn plain(text: String) -> String {
    let mut text: String = match text.contains(char::is_control) {
        true => text.replace(char::is_control, " "),
        false => text,
    };
    if text.len() > TEXT_MAX {
        let end = (0..=TEXT_MAX).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(book: &Book, at: i64, subject: u64, text: &str) {
        book.note(at, Level::Warning, subject, text.to_owned(), None);
    }

    #[test]
    fn equal_ones_are_one_with_a_count_and_the_newest_text() {
        let book = Book::default();
        note(&book, 1, 7, "disconnected untold=0");
        note(&book, 2, 8, "another");
        note(&book, 3, 7, "disconnected untold=3");
        let said = book.last();
        let said: Vec<_> = said
            .iter()
            .map(|event| (event.unix_ms, event.count, event.text.as_str()))
            .collect();
        assert_eq!(said, [(3, 2, "disconnected untold=3"), (2, 1, "another")]);
    }

    #[test]
    fn an_error_and_a_warning_are_two() {
        let book = Book::default();
        book.note(1, Level::Warning, 7, "x".to_owned(), None);
        book.note(2, Level::Error, 7, "x".to_owned(), Some("do it"));
        let levels: Vec<Level> = book.last().iter().map(|event| event.level).collect();
        assert_eq!(levels, [Level::Error, Level::Warning]);
        assert_eq!(
            book.last()
                .first()
                .and_then(|event| event.advice.clone())
                .as_deref(),
            Some("do it")
        );
    }

    #[test]
    fn it_keeps_the_last_ones_and_no_more_than_fit() {
        let book = Book::default();
        for subject in 0..200 {
            note(&book, i64::try_from(subject).expect("small"), subject, "x");
        }
        let said = book.last();
        assert_eq!(said.len(), EVENTS_MAX);
        assert_eq!(said.first().map(|event| event.unix_ms), Some(199));
    }

    #[test]
    fn a_long_text_is_cut_between_characters_and_is_one_line() {
        let book = Book::default();
        note(&book, 1, 1, &"ä\n".repeat(TEXT_MAX));
        let text = book.last().remove(0).text;
        assert!(text.len() <= TEXT_MAX + '…'.len_utf8(), "{}", text.len());
        assert!(!text.contains('\n') && text.ends_with('…'));
    }
}
