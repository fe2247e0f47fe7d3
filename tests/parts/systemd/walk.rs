//! A bare system on which somebody follows pages of the documentation, with the brokers of the test where the pages have theirs.

use crate::support::container::Container;
use crate::support::manual::{self, Step};
use crate::support::package;

/// Where the package installs the configuration that the pages edit.
const CONFIG: &str = "/etc/edgeferry/edgeferry.toml";
/// Where somebody who follows a page is.
const FOLDER: &str = "/root";

/// See the module documentation.
#[derive(Debug)]
pub struct Walk {
    /// The system.
    pub machine: Container,
    /// What stands in the pages, and what it is here: addresses, and nothing else.
    here: Vec<(String, String)>,
    /// How many commands were typed.
    pub commands: usize,
    /// How many lines were edited.
    pub edited: usize,
}

impl Walk {
    /// A bare system with the package in the folder of whoever begins; `None` where none can be booted.
    pub fn begin(here: &[(&str, &str)]) -> Option<Self> {
        let walk = Self::begin_without_package(here)?;
        package::put_into(&walk.machine.path(FOLDER));
        Some(walk)
    }

    /// The same without the package.
    pub fn begin_without_package(here: &[(&str, &str)]) -> Option<Self> {
        let machine = Container::boot_bare()?;
        let here = here
            .iter()
            .map(|(page, here)| ((*page).to_owned(), (*here).to_owned()));
        Some(Self {
            machine,
            here: here.collect(),
            commands: 0,
            edited: 0,
        })
    }

    /// Does all that a page says, in its order; `before` is asked in front of each block of commands.
    pub fn follow(&mut self, page: &str, before: impl Fn(&Container, &str)) {
        for step in manual::steps(page) {
            match step {
                Step::Commands(text) => {
                    before(&self.machine, &text);
                    self.commands += manual::commands(&text).len();
                    self.type_in(&text);
                }
                Step::Edits(lines) => lines.iter().for_each(|line| self.edit(line)),
                Step::File(path, text) => self.put(&path, &text),
                Step::Elsewhere(_) => {}
            }
        }
    }

    fn type_in(&self, text: &str) {
        let text = self.translated(text);
        eprintln!("{text}");
        let script = format!("cd {FOLDER}\n{text}");
        let output = self.machine.try_run(&["sh", "-e", "-c", &script]);
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        eprintln!("{}", said(&output.stdout));
        assert!(
            output.status.success(),
            "{text}{}{}",
            said(&output.stdout),
            said(&output.stderr)
        );
    }

    fn edit(&mut self, line: &str) {
        self.edited += 1;
        let path = self.machine.path(CONFIG);
        let before = std::fs::read_to_string(&path).expect("the package brought it");
        // In place, as editors leave owner and mode alone.
        let text = manual::edited(&self.translated(&before), &self.translated(line));
        std::fs::write(&path, text).expect("we are root");
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.machine.path(path);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("we are root");
        std::fs::write(path, self.translated(text)).expect("we are root");
    }

    /// What the page says, with the addresses of here.
    fn translated(&self, text: &str) -> String {
        let replace = |text: String, (page, here): &(String, String)| text.replace(page, here);
        self.here.iter().fold(text.to_owned(), replace)
    }
}
