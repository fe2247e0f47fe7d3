//! What systemd does with the service, by its unit file and what is laid over that (systemd.unit(5)). Parsing is pure.

use std::fs;
use std::path::Path;

/// Where systemd looks, the most important first.
const FOLDERS: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// Its names: for one gateway on the machine, and for several.
const NAMES: [&str; 2] = ["edgeferry.service", "edgeferry@.service"];

/// The unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// `WatchdogSec` is set, and not 0.
    pub has_watchdog: bool,
    /// `Restart` is set, and not `no`.
    pub restarts: bool,
}

/// The unit of this machine; `None` when there is none.
pub fn of_this_machine() -> Option<Unit> {
    let folders = FOLDERS.map(Path::new);
    let mut unit = NAMES.iter().find_map(|name| read(&folders, name));
    // systemd says it to its services, whatever their file is called.
    if std::env::var_os("WATCHDOG_USEC").is_some_and(|usec| usec != "0") {
        unit = Some(Unit {
            has_watchdog: true,
            ..unit.unwrap_or(Unit {
                has_watchdog: true,
                restarts: true,
            })
        });
    }
    unit
}

fn read(folders: &[&Path], name: &str) -> Option<Unit> {
    let mut text = folders
        .iter()
        .find_map(|folder| fs::read_to_string(folder.join(name)).ok())?;
    // By the names of the files, those in /etc last: a word that comes later counts.
    for folder in folders.iter().rev() {
        let Ok(entries) = fs::read_dir(folder.join(format!("{name}.d"))) else {
            continue;
        };
        let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.sort();
        for file in files
            .iter()
            .filter(|file| file.extension().is_some_and(|ending| ending == "conf"))
        {
            text.push('\n');
            text.push_str(&fs::read_to_string(file).unwrap_or_default());
        }
    }
    Some(parse(&text))
}

fn parse(text: &str) -> Unit {
    let last = |wanted: &str| {
        let lines = text.lines().filter_map(|line| line.trim().split_once('='));
        let said = lines.filter(|(name, _)| name.trim() == wanted);
        said.map(|(_, value)| value.trim()).next_back()
    };
    Unit {
        has_watchdog: last("WatchdogSec").is_some_and(|value| !matches!(value, "" | "0" | "infinity")),
        restarts: last("Restart").is_some_and(|value| !matches!(value, "" | "no")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_unit_has_both() {
        let unit = parse(include_str!("../../../../systemd/edgeferry.service"));
        assert!(unit.has_watchdog && unit.restarts);
    }

    #[test]
    fn what_is_laid_over_it_counts() {
        let root = tempfile::tempdir().expect("temp dir");
        let (etc, lib) = (root.path().join("etc"), root.path().join("lib"));
        let over = etc.join("edgeferry.service.d");
        for folder in [&over, &lib] {
            fs::create_dir_all(folder).expect("made");
        }
        let folders = [etc.as_path(), lib.as_path()];
        assert_eq!(read(&folders, "edgeferry.service"), None);
        fs::write(
            lib.join("edgeferry.service"),
            "[Service]\nRestart=always\nWatchdogSec=60\n",
        )
        .expect("written");
        let unit = read(&folders, "edgeferry.service").expect("there");
        assert!(unit.has_watchdog && unit.restarts);
        fs::write(
            over.join("10-mine.conf"),
            "[Service]\nRestart = no\nWatchdogSec=0\n",
        )
        .expect("written");
        let unit = read(&folders, "edgeferry.service").expect("there");
        assert!(!unit.has_watchdog && !unit.restarts);
    }
}
