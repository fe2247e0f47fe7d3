//! Lines for systemd's journal: each field for machines, and a text with all of them for people.
//!
//! Own code because of that text. `tracing-journald` sends the same fields, but its `MESSAGE` is the bare message: `journalctl -u
//! edgeferry` said "stopped" and not why, which only `-o verbose` had. Names and priorities are as there.
//!
//! Whoever speaks never waits for the journal, which writes to the medium that may be what stands still: a line that it does not
//! take at once waits for a thread, `journal`, within `BACKLOG_ENTRIES` and `BACKLOG_BYTES`. What has no room there is lost, and
//! counted: the journal gets to know how many lines it did not take. So is what the system refuses to send. Only while nobody listens
//! there nothing is counted: nobody is left to tell. Lines stay in their order.
//!
//! The protocol is one datagram for each entry (systemd's `NATIVE_JOURNAL_PROTOCOL`). An entry that does not fit into one is cut
//! instead of being passed in a file: nobody needs a line of more than some kilobytes.

use std::collections::VecDeque;
use std::fmt::{self, Debug, Write};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
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
/// Lines that wait for a journal that does not read: what a daemon in trouble says in some minutes.
const BACKLOG_ENTRIES: usize = 512;
/// The same in bytes; most lines have less than one KiB.
const BACKLOG_BYTES: usize = 512 * 1024;
/// How long the end of the process waits for the journal to take what it has not: the last lines are those that somebody looks for.
const GOODBYE: Duration = Duration::from_millis(500);
/// How long after the word of lost lines could not be sent it is tried again: the system has no memory for it, mostly.
const AGAIN: Duration = Duration::from_secs(1);
/// Which program speaks.
const IDENTIFIER: &str = "edgeferry";

/// Sends every event that it is told to the journal.
#[derive(Debug)]
pub struct Journal(Arc<Line>);

/// The way to the journal of the process, once it is open.
static OF_THE_PROCESS: OnceLock<Arc<Line>> = OnceLock::new();

/// Waits for the journal to take what was said, for a moment at most. To be called before the process ends.
pub fn finish() {
    if let Some(line) = OF_THE_PROCESS.get() {
        line.finish(GOODBYE);
    }
}

impl Journal {
    /// The journal of this machine; `None` where there is none.
    #[must_use]
    pub fn open() -> Option<Self> {
        let journal = Self::at(Path::new(SOCKET)).ok()?;
        // Of two that are opened by mistake the first is waited for.
        drop(OF_THE_PROCESS.set(Arc::clone(&journal.0)));
        Some(journal)
    }

    fn at(path: &Path) -> io::Result<Self> {
        // Whether somebody listens.
        UnixDatagram::unbound()?.send_to(&[], path)?;
        let (at_once, patient) = (UnixDatagram::unbound()?, UnixDatagram::unbound()?);
        at_once.set_nonblocking(true)?;
        let line = Arc::new(Line {
            at_once,
            patient,
            path: path.to_owned(),
            backlog: Mutex::default(),
            changed: Condvar::new(),
        });
        let carrier = Arc::clone(&line);
        std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || carrier.carry())?;
        Ok(Self(line))
    }
}

/// The way to the journal.
#[derive(Debug)]
struct Line {
    /// Never waits.
    at_once: UnixDatagram,
    /// Waits as long as it takes, on the thread alone.
    patient: UnixDatagram,
    path: PathBuf,
    backlog: Mutex<Backlog>,
    changed: Condvar,
}

/// What the journal has not taken.
#[derive(Debug, Default)]
struct Backlog {
    /// The first is under way.
    entries: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Lines that had no room, since that was said last.
    lost: u64,
}

impl Backlog {
    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.lost == 0
    }

    /// The first line is sent, or cannot be.
    fn pop(&mut self, is_lost: bool) {
        let sent = self.entries.pop_front();
        self.bytes = self.bytes.saturating_sub(sent.map_or(0, |sent| sent.len()));
        self.lost = self.lost.saturating_add(u64::from(is_lost));
    }

    fn push(&mut self, entry: Vec<u8>) {
        let bytes = self.bytes.saturating_add(entry.len());
        // Behind a loss nothing is kept before that was said: it would seem to be whole.
        if self.lost > 0 || self.entries.len() >= BACKLOG_ENTRIES || bytes > BACKLOG_BYTES {
            self.lost = self.lost.saturating_add(1);
        } else {
            self.bytes = bytes;
            self.entries.push_back(entry);
        }
    }
}

impl Line {
    fn backlog(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends it, at once or later.
    fn send(&self, entry: Vec<u8>) {
        let mut backlog = self.backlog();
        if backlog.is_empty() {
            match self.at_once.send_to(&entry, &self.path) {
                Ok(_) => return,
                Err(error) if is_nobody_there(&error) => return,
                // The thread waits for it, or counts what can never be sent.
                Err(_) => {}
            }
        }
        backlog.push(entry);
        self.changed.notify_all();
    }

    /// Sends what waits, for ever.
    fn carry(&self) {
        loop {
            let backlog = self.backlog();
            let backlog = self.changed.wait_while(backlog, |backlog| backlog.is_empty());
            let backlog = backlog.unwrap_or_else(PoisonError::into_inner);
            let (entry, lost) = match backlog.entries.front() {
                Some(entry) => (entry.clone(), None),
                None => (of_lost(backlog.lost), Some(backlog.lost)),
            };
            drop(backlog);
            let sent = self.patient.send_to(&entry, &self.path);
            let is_refused = sent.is_err_and(|error| !is_nobody_there(&error));
            let mut backlog = self.backlog();
            match lost {
                Some(_) if is_refused => {
                    drop(backlog);
                    std::thread::park_timeout(AGAIN);
                    continue;
                }
                Some(told) => backlog.lost = backlog.lost.saturating_sub(told),
                None => backlog.pop(is_refused),
            }
            self.changed.notify_all();
        }
    }

    fn finish(&self, limit: Duration) {
        let backlog = self.backlog();
        let waited = self
            .changed
            .wait_timeout_while(backlog, limit, |backlog| !backlog.is_empty());
        drop(waited);
    }
}

/// Then nobody is left to tell that a line is lost, either.
fn is_nobody_there(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}

/// Says that lines were lost. By hand: this thread may not speak to itself.
fn of_lost(count: u64) -> Vec<u8> {
    let mut entry = Vec::new();
    put(&mut entry, "PRIORITY", priority(Level::WARN));
    put(&mut entry, "SYSLOG_IDENTIFIER", IDENTIFIER);
    put(&mut entry, "TARGET", module_path!());
    put(
        &mut entry,
        "MESSAGE",
        &format!("the journal did not take lines, and they are lost lines={count}"),
    );
    put(&mut entry, "F_LINES", &count.to_string());
    entry
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

    /// The message with all fields behind it, as a terminal would have it: on one line. Topics come from outside, and what looks like a line
    /// of ours is to be one. The fields of their own have them as they came.
    fn text(&self) -> String {
        let others = self.others.iter();
        let text = others.fold(self.message.clone(), |text, (name, value)| {
            let gap = if text.is_empty() { "" } else { " " };
            format!("{text}{gap}{name}={value}")
        });
        text.replace(char::is_control, " ")
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
        self.0.send(entry(event.metadata(), &fields));
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
            "stopped lane=alarms error=no room count=3 broker.name=a b"
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
    fn a_line_that_the_system_refuses_to_send_is_counted() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let journal = UnixDatagram::bind(&path).expect("binds");
        journal
            .set_read_timeout(Some(Duration::from_mins(1)))
            .expect("a socket");
        let line = Journal::at(&path).expect("somebody listens").0;
        line.send(vec![b'x'; 4 * 1024 * 1024]);
        line.finish(Duration::from_mins(1));
        let mut buffer = vec![0; 256 * 1024];
        assert_eq!(
            journal.recv(&mut buffer).expect("in time"),
            0,
            "whether somebody listens"
        );
        let length = journal.recv(&mut buffer).expect("in time");
        assert_eq!(fields(&buffer[..length])["F_LINES"], "1");
        // Nobody is left to tell.
        drop(journal);
        line.send(b"MESSAGE=gone\n".to_vec());
        assert!(line.backlog().is_empty());
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
    fn a_journal_that_does_not_read_holds_nobody_up_and_hears_how_many_lines_it_did_not_take() {
        const LINES: u64 = 3000;
        /// Waiting for so many lines would take far more, whatever the patience for each.
        const AT_ONCE: Duration = Duration::from_secs(20);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let journal = UnixDatagram::bind(&path).expect("binds");
        let layer = Journal::at(&path).expect("somebody listens");
        let line = Arc::clone(&layer.0);
        let subscriber = tracing_subscriber::registry().with(layer);
        let began = std::time::Instant::now();
        tracing::subscriber::with_default(subscriber, || {
            for number in 0..LINES {
                tracing::info!(number, "said");
            }
        });
        assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
        assert!(line.backlog().entries.len() <= BACKLOG_ENTRIES);
        journal
            .set_read_timeout(Some(Duration::from_mins(1)))
            .expect("a socket");
        let mut buffer = vec![0; 256 * 1024];
        let (mut next, mut lost) = (0, None);
        while lost.is_none() {
            let length = journal.recv(&mut buffer).expect("in time");
            let entry = fields(&buffer[..length]);
            match (entry.get("F_NUMBER"), entry.get("F_LINES")) {
                (Some(number), _) => {
                    assert_eq!(*number, next.to_string(), "in their order");
                    next += 1;
                }
                (_, Some(lines)) => {
                    assert_eq!(entry["PRIORITY"], "4");
                    lost = lines.parse::<u64>().ok();
                }
                // To see whether somebody listens.
                _ => assert!(entry.is_empty(), "{entry:?}"),
            }
        }
        assert!(next > BACKLOG_ENTRIES as u64, "{next}");
        assert_eq!(next + lost.expect("it was said"), LINES);
        line.finish(Duration::from_mins(1));
        assert!(line.backlog().is_empty());
        // And from then on as before.
        line.send(of_lost(7));
        let length = journal.recv(&mut buffer).expect("at once");
        assert_eq!(fields(&buffer[..length])["F_LINES"], "7");
    }

    #[test]
    fn where_no_journal_listens_there_is_none() {
        assert!(Journal::at(Path::new("/no/such/socket")).is_err());
    }
}
