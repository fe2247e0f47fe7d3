//! `edgeferry completions` and `edgeferry man`: both made of the definitions of the verbs, so that they cannot say anything else.
//!
//! They are part of the program and not of its build: a build for another processor could not run what it built.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::Command;
pub(super) use clap_complete::Shell;
use clap_mangen::Man;

use crate::exit::Exit;

/// The section of pages about programs (man(1)).
const SECTION: &str = "1";

/// Prints what `shell` needs to complete the arguments of `command`.
pub(super) fn completions(mut command: Command, shell: Shell) -> Exit {
    let name = command.get_name().to_owned();
    let mut text = Vec::new();
    // Writing to memory cannot fail; clap_complete would panic on a closed pipe.
    clap_complete::generate(shell, &mut command, name, &mut text);
    end(print(&text))
}

/// Prints the page of `command`, or writes it and those of all its verbs into `folder`.
pub(super) fn manual(command: Command, folder: Option<&Path>) -> Exit {
    let Some(folder) = folder else {
        return end(page(built(command)).and_then(|(_, text)| print(&text)));
    };
    for (name, text) in match pages(command) {
        Ok(pages) => pages,
        Err(error) => return end(Err(error)),
    } {
        let path = folder.join(name);
        if let Err(error) = fs::write(&path, text) {
            complain(&format!(
                "{}: {error}; write a folder that is there and may be written to",
                path.display()
            ));
            return Exit::Failure;
        }
    }
    Exit::Stopped
}

/// The pages of a command and of everything below it: file names and contents.
pub(super) fn pages(command: Command) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut pages = Vec::new();
    let mut waiting = vec![built(command)];
    while let Some(command) = waiting.pop() {
        let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
        waiting.extend(verbs.cloned());
        pages.push(page(command)?);
    }
    Ok(pages)
}

/// With the full names of its verbs. `help` is none that needs a page.
fn built(command: Command) -> Command {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    command
}

/// One page: its file name and its text.
fn page(command: Command) -> io::Result<(String, Vec<u8>)> {
    let version = concat!("edgeferry ", env!("CARGO_PKG_VERSION"));
    let page = Man::new(command).section(SECTION).source(version);
    let mut text = Vec::new();
    page.render(&mut text)?;
    // What stands below the options of `--help` are examples, and man-pages(7) has a name for that section.
    let text = String::from_utf8_lossy(&text).replacen(".SH EXTRA", ".SH EXAMPLES", 1);
    // Without a date the source would stand in its place: two programs of one version have the same pages.
    let text = text.replacen(" 1  \"", " 1 \"\" \"", 1);
    Ok((page.get_filename(), text.into_bytes()))
}

fn print(text: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text)?;
    out.flush()
}

/// Whoever closes the pipe has seen enough.
pub(super) fn end(printed: io::Result<()>) -> Exit {
    match printed {
        Ok(()) => Exit::Stopped,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Stopped,
        Err(error) => {
            complain(&error.to_string());
            Exit::Failure
        }
    }
}

fn complain(text: &str) {
    // Where standard error is gone too, only the exit code is left to tell.
    drop(writeln!(io::stderr(), "edgeferry: {text}"));
}
