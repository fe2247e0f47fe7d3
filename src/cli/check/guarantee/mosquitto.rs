//! What the configuration of a Mosquitto on this machine says of its limits (mosquitto.conf(5)). Parsing is pure.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// Where Debian has it.
const FILE: &str = "/etc/mosquitto/mosquitto.conf";
/// Bytes that are read of a file: a real one has a few hundred.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Files of an `include_dir` that are read.
const INCLUDED_MAX: usize = 64;

/// What matters here; the defaults are those of Mosquitto 2.0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mosquitto {
    /// `max_queued_messages`, for each client; 0 is no limit.
    pub max_queued_messages: u64,
    /// `persistence`
    pub persistence: bool,
    /// `autosave_interval`, when it counts seconds.
    pub autosave: Option<Duration>,
    /// `persistent_client_expiration`; `None` is never.
    pub client_expiration: Option<Duration>,
}

impl Default for Mosquitto {
    fn default() -> Self {
        Self {
            max_queued_messages: 1000,
            persistence: false,
            autosave: Some(Duration::from_mins(30)),
            client_expiration: None,
        }
    }
}

/// Reads that of this machine; `None` when there is none, or none of ours to read.
pub fn of_this_machine() -> Option<Mosquitto> {
    read(Path::new(FILE))
}

fn read(path: &Path) -> Option<Mosquitto> {
    let text = text(path)?;
    let mut all = vec![text];
    if let Some(folder) = included(all.first()?) {
        let mut files: Vec<_> = fs::read_dir(folder)
            .ok()?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|ending| ending == "conf"))
            .collect();
        files.sort();
        for file in files.iter().take(INCLUDED_MAX) {
            // What cannot be read may say anything.
            all.push(self::text(file)?);
        }
    }
    Some(parse(&all.join("\n")))
}

fn text(path: &Path) -> Option<String> {
    let bytes = crate::secret::bytes(path, FILE_BYTES_MAX).ok()?;
    String::from_utf8(bytes).ok()
}

fn included(text: &str) -> Option<&str> {
    settings(text)
        .find(|(name, _)| *name == "include_dir")
        .map(|(_, value)| value)
}

fn settings(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| {
        let (name, value) = line.split_once(char::is_whitespace)?;
        Some((name, value.trim()))
    })
}

/// The last word counts, as it does there.
fn parse(text: &str) -> Mosquitto {
    let mut known = Mosquitto::default();
    let mut counts_changes = false;
    for (name, value) in settings(text) {
        match name {
            "max_queued_messages" => known.max_queued_messages = value.parse().unwrap_or(1000),
            "persistence" => known.persistence = value == "true",
            "autosave_interval" => {
                let seconds = value.parse().ok().filter(|seconds| *seconds > 0);
                known.autosave = seconds.map(Duration::from_secs);
            }
            "autosave_on_changes" => counts_changes = value == "true",
            "persistent_client_expiration" => known.client_expiration = period(value),
            _ => {}
        }
    }
    if counts_changes {
        known.autosave = None;
    }
    known
}

/// A number and one of h, d, w, m, y.
fn period(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let number: u64 = text.trim_end_matches(unit).parse().ok()?;
    let hours = match unit {
        'h' => 1,
        'd' => 24,
        'w' => 7 * 24,
        'm' => 30 * 24,
        'y' => 365 * 24,
        _ => return None,
    };
    Some(Duration::from_secs(number.saturating_mul(hours * 3600)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_mosquittos_default() {
        assert_eq!(
            parse("# max_queued_messages 5\n\nlistener 1883\n"),
            Mosquitto::default()
        );
    }

    #[test]
    fn limits_are_read_as_mosquitto_reads_them() {
        let known = parse(
            "persistence true\nmax_queued_messages 10\n  max_queued_messages\t 0 \nautosave_interval 60\n\
             persistent_client_expiration 2d\n",
        );
        assert_eq!(
            known,
            Mosquitto {
                max_queued_messages: 0,
                persistence: true,
                autosave: Some(Duration::from_mins(1)),
                client_expiration: Some(Duration::from_hours(48)),
            }
        );
        assert_eq!(
            parse("autosave_on_changes true\nautosave_interval 100\n").autosave,
            None
        );
    }

    #[test]
    fn an_included_folder_counts_and_what_cannot_be_read_is_not_guessed() {
        let folder = tempfile::tempdir().expect("temp dir");
        let (main, more) = (folder.path().join("mosquitto.conf"), folder.path().join("conf.d"));
        fs::create_dir(&more).expect("made");
        let text = format!("persistence true\ninclude_dir {}\n", more.display());
        fs::write(&main, text).expect("written");
        fs::write(more.join("limits.conf"), "max_queued_messages 0\n").expect("written");
        fs::write(more.join("README"), "persistence false\n").expect("written");
        let known = read(&main).expect("readable");
        assert_eq!((known.persistence, known.max_queued_messages), (true, 0));
        fs::create_dir(more.join("z.conf")).expect("made");
        assert_eq!(read(&main), None);
        assert_eq!(read(&folder.path().join("nothing")), None);
    }
}
