//! Lines for systemd's journal: each field for machines, and a text with all of them for people.
//!
//! Own code because of that text. `tracing-journald` sends the same fields, but its `MESSAGE` is the bare message: `journalctl -u
//! edgeferry` said "stopped" and not why, which only `-o verbose` had. Names and priorities are as there.
//!
//! The protocol is one datagram for each entry (systemd's `NATIVE_JOURNAL_PROTOCOL`). An entry that does not fit into one is cut
//! instead of being passed in a file: nobody needs a line of more than some kilobytes.

use std::fmt::{self, Debug, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// Where the journal listens (systemd-journald.service(8)).
const SOCKET: &str = "/run/systemd/journal/socket";
/// Longest value that is sent whole, bytes. All values of an entry together stay far below the 208 KiB that a datagram may have
/// on Linux (`net.core.wmem_default`).
const VALUE_MAX_BYTES: usize = 8 * 1024;
/// Behind a value that was cut.
const ELLIPSIS: char = '…';
/// Most fields of one entry; an event has a handful.
const FIELDS_MAX: usize = 16;
/// A journal that does not read must not hold up the pipeline for longer; the line is lost then.
const PATIENCE: Duration = Duration::from_millis(500);
/// Which program speaks.
const IDENTIFIER: &str = "edgeferry";

/// Sends every event that it is told to the journal.
#[derive(Debug)]
pub struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Journal {
    /// The journal of this machine; `None` where there is none.
    #[must_use]
    pub fn open() -> Option<Self> {
        Self::at(Path::new(SOCKET)).ok()
    }

    fn at(path: &Path) -> std::io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        // Whether somebody listens.
        socket.send_to(&[], path)?;
        Ok(Self {
            socket,
            path: path.to_owned(),
        })
    }
}

/// Names and values in the order in which they came.
#[derive(Debug, Default, Clone)]
struct Fields {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl Fields {
    /// The later one of two values counts.
    fn put(&mut self, name: &'static str, value: String) {
        let has_room = self.others.len() < FIELDS_MAX;
        match self.others.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None if has_room => self.others.push((name, value)),
            None => {}
        }
    }

    /// The message with all fields behind it, as a terminal would have it.
    fn text(&self) -> String {
        let others = self.others.iter();
        others.fold(self.message.clone(), |text, (name, value)| {
            let gap = if text.is_empty() { "" } else { " " };
            format!("{text}{gap}{name}={value}")
        })
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name => self.put(name, value.to_owned()),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = Bounded::default();
        if write!(text, "{value:?}").is_err() {
            text.0.push(ELLIPSIS);
        }
        self.record_str(field, &text.0);
    }
}

/// Text that takes [`VALUE_MAX_BYTES`] and no more, with room for [`ELLIPSIS`].
#[derive(Debug, Default)]
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = VALUE_MAX_BYTES.saturating_sub(self.0.len() + ELLIPSIS.len_utf8());
        let fits = cut(text, room);
        self.0.push_str(fits);
        if fits.len() == text.len() {
            Ok(())
        } else {
            Err(fmt::Error)
        }
    }
}

/// As much of the text as has room.
fn cut(text: &str, room: usize) -> &str {
    text.get(..text.floor_char_boundary(room)).unwrap_or_default()
}

impl<S> Layer<S> for Journal
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context
            .event_scope(event)
            .into_iter()
            .flat_map(tracing_subscriber::registry::Scope::from_root)
        {
            if let Some(known) = span.extensions().get::<Fields>() {
                for (name, value) in &known.others {
                    fields.put(name, value.clone());
                }
            }
        }
        event.record(&mut fields);
        // There is nobody left to tell.
        drop(self.socket.send_to(&entry(event.metadata(), &fields), &self.path));
    }
}

/// One entry in the journal's protocol.
fn entry(metadata: &Metadata<'_>, fields: &Fields) -> Vec<u8> {
    let mut entry = Vec::with_capacity(512);
    put(&mut entry, "PRIORITY", priority(*metadata.level()));
    put(&mut entry, "SYSLOG_IDENTIFIER", IDENTIFIER);
    put(&mut entry, "TARGET", metadata.target());
    if let (Some(file), Some(line)) = (metadata.file(), metadata.line()) {
        put(&mut entry, "CODE_FILE", file);
        put(&mut entry, "CODE_LINE", &line.to_string());
    }
    put(&mut entry, "MESSAGE", &fields.text());
    for (name, value) in &fields.others {
        put(&mut entry, &format!("F_{}", journal_name(name)), value);
    }
    entry
}

/// The priority of syslog(3) that belongs to a level.
const fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "5",
        Level::DEBUG => "6",
        Level::TRACE => "7",
    }
}

/// A name as the journal takes it: capitals, digits, underscores.
fn journal_name(name: &str) -> String {
    let letters = name.chars().map(|letter| match letter {
        letter if letter.is_ascii_alphanumeric() => letter.to_ascii_uppercase(),
        _ => '_',
    });
    letters.collect()
}

/// A field with its length in front of the value, which may have any bytes then.
fn put(entry: &mut Vec<u8>, name: &str, value: &str) {
    let value = cut(value, VALUE_MAX_BYTES);
    entry.extend_from_slice(name.as_bytes());
    entry.push(b'\n');
    entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// The entries that the journal gets from `work`.
    fn entries(work: impl FnOnce()) -> Vec<BTreeMap<String, String>> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let journal = UnixDatagram::bind(&path).expect("binds");
        journal.set_nonblocking(true).expect("a socket");
        let layer = Journal::at(&path).expect("somebody listens");
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, work);
        let mut buffer = vec![0; 256 * 1024];
        let mut entries = Vec::new();
        while let Ok(length) = journal.recv(&mut buffer) {
            entries.push(fields(&buffer[..length]));
        }
        // The first one was to see whether somebody listens.
        entries.split_off(1)
    }

    fn fields(mut entry: &[u8]) -> BTreeMap<String, String> {
        let mut fields = BTreeMap::new();
        while let Some(end) = entry.iter().position(|byte| *byte == b'\n') {
            let name = String::from_utf8(entry[..end].to_vec()).expect("text");
            let (length, rest) = entry[end + 1..].split_first_chunk().expect("a length");
            let length = usize::try_from(u64::from_le_bytes(*length)).expect("64 bits");
            let value = String::from_utf8(rest[..length].to_vec()).expect("text");
            assert_eq!(rest[length], b'\n');
            entry = &rest[length + 1..];
            assert_eq!(fields.insert(name, value), None, "a field is there once");
        }
        fields
    }

    #[test]
    fn people_read_the_reason_and_machines_each_field() {
        let entries = entries(|| {
            let lane = tracing::info_span!("lane", lane = "alarms");
            let _entered = lane.enter();
            tracing::error!(error = %"no\nroom", count = 3, broker.name = "a b", "stopped");
        });
        let entry = &entries[0];
        assert_eq!(
            entry["MESSAGE"],
            "stopped lane=alarms error=no\nroom count=3 broker.name=a b"
        );
        assert_eq!(entry["PRIORITY"], "3");
        assert_eq!(entry["SYSLOG_IDENTIFIER"], "edgeferry");
        assert_eq!(entry["TARGET"], module_path!());
        assert!(entry["CODE_FILE"].ends_with("journal.rs"));
        for (name, value) in [
            ("F_LANE", "alarms"),
            ("F_ERROR", "no\nroom"),
            ("F_COUNT", "3"),
            ("F_BROKER_NAME", "a b"),
        ] {
            assert_eq!(entry[name], value, "{name}");
        }
    }

    #[test]
    fn levels_are_priorities() {
        let entries = entries(|| {
            tracing::error!("e");
            tracing::warn!("w");
            tracing::info!("i");
            tracing::debug!("d");
            tracing::trace!("t");
        });
        let priorities: Vec<&str> = entries.iter().map(|entry| entry["PRIORITY"].as_str()).collect();
        assert_eq!(priorities, ["3", "4", "5", "6", "7"]);
    }

    #[test]
    fn what_an_event_says_goes_over_what_its_span_says() {
        let entries = entries(|| {
            let _entered = tracing::info_span!("lane", lane = "one", more = tracing::field::Empty).entered();
            tracing::Span::current().record("more", "later");
            tracing::info!(lane = "two", "x");
        });
        assert_eq!(entries[0]["MESSAGE"], "x lane=two more=later");
    }

    #[test]
    fn a_line_without_end_is_cut_and_sent() {
        let long = "ä".repeat(VALUE_MAX_BYTES);
        let entries = entries(|| {
            tracing::info!(a = long, b = ?long, c = %long, d = long, "{long}");
        });
        let entry = &entries[0];
        for name in ["MESSAGE", "F_A", "F_B", "F_C", "F_D"] {
            let length = entry[name].len();
            assert!(
                length <= VALUE_MAX_BYTES && length > VALUE_MAX_BYTES - 4,
                "{name}: {length}"
            );
        }
        assert!(entry["F_B"].ends_with(ELLIPSIS), "it says that there was more");
    }

    #[test]
    fn where_no_journal_listens_there_is_none() {
        assert!(Journal::at(Path::new("/no/such/socket")).is_err());
    }
}
