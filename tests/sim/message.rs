//! Messages that say who they are, so that they can be recognised wherever they come out.

use bytes::Bytes;

/// A message, as the world knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    pub device: u32,
    /// Of this device, from 1.
    pub number: u32,
}

/// A payload that holds this makes Kafka refuse its record.
pub const POISON: &str = "~poison";

/// What a broker has for a session.
#[derive(Debug, Clone)]
pub struct Message {
    pub topic: String,
    pub payload: Bytes,
    pub qos: u8,
}

impl Mark {
    /// A payload of at least `size` bytes.
    pub fn payload(self, size: usize, word: &str) -> Bytes {
        let Self { device, number } = self;
        let mut text = format!("{device}:{number}:{word}");
        while text.len() < size {
            text.push('.');
        }
        text.into()
    }

    pub fn of(payload: &[u8]) -> Self {
        let text = std::str::from_utf8(payload).expect("payloads are text");
        let mut parts = text.splitn(3, ':');
        let mut number = || {
            parts
                .next()
                .and_then(|part| part.parse().ok())
                .expect("payloads say who they are")
        };
        Self {
            device: number(),
            number: number(),
        }
    }
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.device, self.number)
    }
}
