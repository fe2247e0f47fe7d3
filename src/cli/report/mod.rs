//! `edgeferry report`: one file for whoever helps. What it must never hold is decided in `redact`.
//!
//! It is made of what can be read: a daemon that does not answer, a configuration with mistakes and a store without a daemon each
//! leave their words in its place, because that is when a report is wanted.

mod machine;
mod redact;
mod store;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;

use super::ConfigFile;
use super::status::ask::{self, Found};
use super::status::say;
use crate::cli::text::put;
use crate::clock;
use crate::exit::Exit;
use crate::files;
use crate::message::rfc3339;
use redact::Redacted;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: ConfigFile,
    /// File to write, whole or not at all, readable by you alone; standard output without it
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Does what the command line says.
pub(super) fn run(arguments: &Arguments) -> Exit {
    crate::ops::logging::init_quiet();
    let text = text(&arguments.file.config);
    let written = match &arguments.output {
        Some(path) => write(path, &text).map_err(|error| format!("cannot write {}: {error}", path.display())),
        None => io::stdout()
            .lock()
            .write_all(text.as_bytes())
            .map_err(|error| format!("cannot write the report: {error}")),
    };
    match written {
        Ok(()) => Exit::Stopped,
        Err(why) => {
            say(&why);
            Exit::Failure
        }
    }
}

/// Beside its place first: what is there is whole.
fn write(path: &Path, text: &str) -> io::Result<()> {
    write_by(path, &files::unfinished(path), text)
}

fn write_by(path: &Path, unfinished: &Path, text: &str) -> io::Result<()> {
    let mut file = files::create_private(unfinished)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(unfinished, path));
    if written.is_err() {
        // On a full disk the half is in the way.
        drop(std::fs::remove_file(unfinished));
    }
    written
}

/// The whole report.
fn text(config: &Path) -> String {
    let redacted = redact::read(config);
    let mut out = String::new();
    let now = rfc3339(clock::unix_ms());
    section(
        &mut out,
        "edgeferry report",
        &format!(
            "taken at {now}\nPasswords, tokens, keys, user names and payloads are not in it. Names of devices and topics are, and \
             what a dead letter's reason quotes. Look through it before you send it.\n"
        ),
    );
    section(&mut out, "versions", &machine::versions());
    section(&mut out, "machine", &machine::machine());
    section(&mut out, "configuration", &redacted.text);
    section(&mut out, "state", &state(&redacted));
    if let Some(folder) = &redacted.data_dir {
        section(&mut out, "store", &store::files(folder));
        section(&mut out, "mount of the store", &machine::mount(folder));
    }
    // Whatever wrote them: nothing that a file of secrets holds leaves the machine.
    redacted.scrub(out)
}

fn section(out: &mut String, title: &str, text: &str) {
    put(out, format_args!("## {title}\n\n{}\n\n", text.trim_end()));
}

/// What the daemon says, or the store.
fn state(redacted: &Redacted) -> String {
    let Some(folder) = &redacted.data_dir else {
        return "not asked: the configuration does not say where the store is".to_owned();
    };
    let said = match ask::ask(folder) {
        Ok(Found::Running(state)) => serde_json::to_string_pretty(&state),
        Ok(Found::Stopped(store)) => serde_json::to_string_pretty(&store),
        Err(error) => return error.to_string(),
    };
    said.unwrap_or_else(|error| format!("cannot be said: {error}"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_file_or_a_link_that_somebody_put_there_is_not_written_to() {
        let dir = tempfile::tempdir().expect("temp dir");
        let at = |name: &str| dir.path().join(name);
        fs::write(at("victim"), "precious").expect("writes");
        symlink(at("victim"), at("link.part")).expect("links");
        fs::write(at("foreign.part"), "theirs").expect("writes");
        symlink(at("nothing"), at("dangling.part")).expect("links");
        for name in ["link.part", "foreign.part", "dangling.part"] {
            let error = write_by(&at("report.txt"), &at(name), "report").expect_err("refused");
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{name}");
            assert!(fs::symlink_metadata(at(name)).is_ok(), "{name} stays");
        }
        assert_eq!(fs::read_to_string(at("victim")).expect("reads"), "precious");
        assert_eq!(fs::read_to_string(at("foreign.part")).expect("reads"), "theirs");
        assert!(!at("nothing").exists() && !at("report.txt").exists());
    }

    #[test]
    fn a_link_at_the_place_of_the_report_is_replaced_and_not_followed() {
        let dir = tempfile::tempdir().expect("temp dir");
        let at = |name: &str| dir.path().join(name);
        fs::write(at("victim"), "precious").expect("writes");
        fs::set_permissions(at("victim"), fs::Permissions::from_mode(0o666)).expect("ours");
        symlink(at("victim"), at("report.txt")).expect("links");
        symlink(at("victim"), at("report.txt.part")).expect("links");
        write(&at("report.txt"), "report").expect("writes");
        assert_eq!(fs::read_to_string(at("victim")).expect("reads"), "precious");
        let metadata = fs::symlink_metadata(at("report.txt")).expect("there");
        assert!(metadata.is_file());
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        assert_eq!(
            fs::read_dir(dir.path()).expect("lists").count(),
            3,
            "nothing is left behind"
        );
    }
}
