//! What is wrong with a file, collected until everything is known.

use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use crate::settings::document::Document;

/// One mistake, or one thing worth a warning, in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// Line in it, counted from 1.
    pub line: usize,
    /// Path of the setting, such as `route[1].topic`; empty when the file is no TOML there.
    pub field: String,
    /// What is wrong.
    pub wrong: String,
    /// What would be right, when more can be said than the opposite of `wrong`.
    pub right: Option<String>,
}

impl Problem {
    /// Where it is, without what stands there: `line 12: mqtt[0].keep_alive`.
    #[must_use]
    pub fn place(&self) -> String {
        match self.field.as_str() {
            "" => format!("line {}", self.line),
            field => format!("line {}: {}", self.line, field.escape_debug()),
        }
    }
}

impl Display for Problem {
    /// `config.toml:12: mqtt[0].keep_alive: "10 parsecs" is not a duration; write for example "30s"`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file.display(), self.line)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field.escape_debug())?;
        }
        f.write_str(&self.wrong)?;
        self.right.iter().try_for_each(|right| write!(f, "; {right}"))
    }
}

/// Everything found so far in one file.
#[derive(Debug)]
pub(crate) struct Problems<'d> {
    document: &'d Document,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl<'d> Problems<'d> {
    pub(super) const fn new(document: &'d Document) -> Self {
        Self {
            document,
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Reports to the settings of the table at `path`: `kafka`, `mqtt[0]`.
    pub(crate) fn section(&mut self, path: impl Into<String>) -> Section<'_, 'd> {
        Section {
            problems: self,
            path: path.into(),
        }
    }

    /// Records an error on one line; the field may be empty.
    pub(super) fn error_at(&mut self, line: usize, field: &str, wrong: String, right: Option<String>) {
        self.errors.push(self.problem(line, field, wrong, right));
    }

    /// Errors and warnings, each in the order of the file.
    pub(super) fn into_parts(mut self) -> (Vec<Problem>, Vec<Problem>) {
        self.errors.sort_by_key(|problem| problem.line);
        self.warnings.sort_by_key(|problem| problem.line);
        (self.errors, self.warnings)
    }

    fn problem(&self, line: usize, field: &str, wrong: String, right: Option<String>) -> Problem {
        Problem {
            file: self.document.file().to_owned(),
            line,
            field: field.to_owned(),
            wrong,
            right,
        }
    }

    /// Whether the setting, or a part of it, is known to be wrong already: what follows from it is noise.
    fn is_known(&self, field: &str) -> bool {
        self.errors.iter().any(|problem| {
            problem
                .field
                .strip_prefix(field)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }
}

/// Where the problems of one table's settings are reported.
#[derive(Debug)]
pub(crate) struct Section<'p, 'd> {
    problems: &'p mut Problems<'d>,
    path: String,
}

impl Section<'_, '_> {
    /// Records that `key` is wrong, and what would be right.
    pub(crate) fn error(&mut self, key: &str, wrong: impl Into<String>, right: impl Into<String>) {
        let field = self.field(key);
        if !self.problems.is_known(&field) {
            let line = self.line(&field);
            self.problems
                .error_at(line, &field, wrong.into(), Some(right.into()));
        }
    }

    /// Records that `key` is possible, but perhaps not what was meant.
    pub(crate) fn warn(&mut self, key: &str, what: impl Into<String>, instead: impl Into<String>) {
        let field = self.field(key);
        let problem = self
            .problems
            .problem(self.line(&field), &field, what.into(), Some(instead.into()));
        self.problems.warnings.push(problem);
    }

    /// Refuses the path of a file that would be another one in another folder. What is empty is for the caller to say. Where a path
    /// belongs a secret may stand, so what does not look like a path is not quoted.
    pub(crate) fn absolute(&mut self, key: &str, path: Option<&Path>) {
        let Some(path) = path else { return };
        let is_credential = path.starts_with(crate::files::CREDENTIALS);
        if path.is_absolute() || is_credential || path.as_os_str().is_empty() {
            return;
        }
        let text = path.to_string_lossy();
        let wrong = match text.split_once('/') {
            Some(("." | "..", _)) => {
                format!("{text:?} is relative: it would be another file in another folder")
            }
            Some((begin, _)) if is_shorthand(begin) => {
                format!("{text:?} would be looked for under this very name")
            }
            _ => format!(
                "holds {} characters that are no absolute path (not quoted, as they may be a secret)",
                text.chars().count()
            ),
        };
        let right = "write an absolute path; of variables only $CREDENTIALS_DIRECTORY, in front, is replaced";
        self.error(key, wrong, right);
    }

    /// The value, or an error that it is missing.
    pub(crate) fn required<T>(&mut self, key: &str, value: Option<T>, right: &str) -> Option<T> {
        if value.is_none() {
            self.error(key, "is missing", right);
        }
        value
    }

    /// The value or its default. A value out of bounds is an error; the default then stands in for it.
    pub(crate) fn within<T>(
        &mut self,
        key: &str,
        value: Option<T>,
        default: T,
        bounds: RangeInclusive<T>,
    ) -> T
    where
        T: PartialOrd + Display + Copy,
    {
        match value {
            None => default,
            Some(value) if bounds.contains(&value) => value,
            Some(value) => {
                let right = format!("write {} to {}", bounds.start(), bounds.end());
                self.error(key, format!("{value} is out of bounds"), right);
                default
            }
        }
    }

    /// The value or its default. A value below the least one is an error; the default then stands in for it.
    pub(crate) fn at_least<T>(&mut self, key: &str, value: Option<T>, default: T, least: T) -> T
    where
        T: PartialOrd + Display + Copy,
    {
        match value {
            None => default,
            Some(value) if value >= least => value,
            Some(value) => {
                self.error(
                    key,
                    format!("{value} is too little"),
                    format!("write {least} or more"),
                );
                default
            }
        }
    }

    /// What the written word means, by `built`. `planned` words are known, but this version cannot do them.
    pub(crate) fn one_of<T: Copy>(
        &mut self,
        key: &str,
        word: Option<&str>,
        built: &[(&str, T)],
        planned: &[&str],
        default: T,
    ) -> T {
        let Some(word) = word else { return default };
        if let Some((_, meaning)) = built.iter().find(|(known, _)| *known == word) {
            return *meaning;
        }
        let wrong = if planned.contains(&word) {
            "is not built yet"
        } else {
            "is not known"
        };
        let known: Vec<String> = built.iter().map(|(known, _)| format!("{known:?}")).collect();
        self.error(
            key,
            format!("{word:?} {wrong}"),
            format!("write {}", known.join(" or ")),
        );
        default
    }

    fn field(&self, key: &str) -> String {
        match (self.path.as_str(), key) {
            ("", key) => key.to_owned(),
            (path, "") => path.to_owned(),
            (path, key) => format!("{path}.{key}"),
        }
    }

    /// Line of the setting, else of its table, else of the file's begin.
    fn line(&self, field: &str) -> usize {
        let document = self.problems.document;
        document
            .line_of(field)
            .or_else(|| document.line_of(&self.path))
            .unwrap_or(1)
    }
}

/// Whether a path that begins with this was written for a shell: `~`, `~user`, `$HOME`.
fn is_shorthand(begin: &str) -> bool {
    begin.strip_prefix(['$', '~']).is_some_and(|name| {
        name.chars()
            .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    })
}
