//! What goes from the route to the sink.

use std::borrow::Cow;

use bytes::Bytes;

/// One record for Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaRecord {
    /// Number of the `[[route]]` that made it, from 0.
    pub route: usize,
    /// The topic came from names in the route's `topic`: it may be one that nobody made.
    pub is_templated: bool,
    /// Kafka topic; legal.
    pub topic: String,
    /// Key; never empty.
    pub key: String,
    /// What decides the partition instead of the key; not empty.
    pub partition_by: Option<String>,
    /// Value.
    pub payload: Bytes,
    /// Headers in order.
    pub headers: Vec<Header>,
    /// Record time, milliseconds since 1970.
    pub timestamp_ms: i64,
}

impl KafkaRecord {
    /// What it takes on the way, about: contents and headers before compression.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let headers = self
            .headers
            .iter()
            .map(|header| header.name.len() + header.value.len());
        self.key.len() + self.payload.len() + headers.sum::<usize>()
    }

    /// The text whose hash decides the partition.
    #[must_use]
    pub fn hashed(&self) -> &str {
        self.partition_by.as_deref().unwrap_or(&self.key)
    }

    /// The first header of that name, as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|header| header.name == name)?;
        std::str::from_utf8(&header.value).ok()
    }
}

/// One header of a record. Kafka allows one name several times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Name.
    pub name: Cow<'static, str>,
    /// Any bytes; text is UTF-8.
    pub value: Bytes,
}

impl Header {
    /// A header whose value is text.
    pub fn text(name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        Self::raw(name, value.into())
    }

    /// A header whose value is bytes as they came.
    pub fn raw(name: impl Into<Cow<'static, str>>, value: impl Into<Bytes>) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
        }
    }
}
