//! The TOML text as a tree of settings with their places.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// Bytes of the text.
pub(super) type Span = Range<usize>;

/// Which setting stands where.
#[derive(Debug)]
pub(super) struct Document {
    file: PathBuf,
    /// Byte offsets at which lines 2, 3, … begin.
    line_starts: Vec<usize>,
    settings: Vec<Setting>,
}

#[derive(Debug)]
struct Setting {
    /// `route[1].topic`
    path: String,
    /// Of the key; an array's element has none and repeats its value's.
    key: Span,
    /// Of the value. A table has that of its header, not of its contents.
    value: Span,
    is_table: bool,
}

impl Document {
    pub(super) fn new(file: &Path, text: &str, tree: &DeTable<'_>) -> Self {
        let line_starts = text.match_indices('\n').map(|(at, _)| at + 1).collect();
        let mut settings = Vec::new();
        list_table(tree, "", &mut settings);
        Self {
            file: file.to_owned(),
            line_starts,
            settings,
        }
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Line of a byte of the text, counted from 1.
    pub(super) fn line_at(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset) + 1
    }

    /// Line of the setting at `path`, counted from 1.
    pub(super) fn line_of(&self, path: &str) -> Option<usize> {
        let setting = self.settings.iter().find(|setting| setting.path == path)?;
        Some(self.line_at(setting.key.start))
    }

    /// Path of the setting whose key or value is exactly at `span`. A table's header stands for the table
    /// and for the array it is in; the inner one is meant.
    pub(super) fn path_at(&self, span: &Span) -> Option<&str> {
        let is_it = |setting: &&Setting| setting.key == *span || setting.value == *span;
        self.settings
            .iter()
            .rev()
            .find(is_it)
            .map(|setting| setting.path.as_str())
    }

    /// Path of the setting, not a table, whose value encloses `span`.
    pub(super) fn value_around(&self, span: &Span) -> Option<&str> {
        let encloses = |value: &Span| value.start <= span.start && span.end <= value.end;
        let is_it = |setting: &&Setting| !setting.is_table && encloses(&setting.value);
        self.settings
            .iter()
            .rev()
            .find(is_it)
            .map(|setting| setting.path.as_str())
    }

    /// How many entries the tree had.
    pub(super) const fn len(&self) -> usize {
        self.settings.len()
    }
}

/// Takes the entry whose key or value is at `span` out of the tree; whether there was one. For an array's
/// element the whole array goes, so that the elements behind it keep their places.
pub(super) fn prune(table: &mut DeTable<'_>, span: &Span) -> bool {
    if table
        .iter_mut()
        .any(|(_, value)| prune_inside(value.get_mut(), span))
    {
        return true;
    }
    let is_it = |(key, value): &(&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)| {
        key.span() == *span || holds(value, span)
    };
    let key = table.iter().find(is_it).map(|(key, _)| key.get_ref().to_string());
    key.is_some_and(|key| table.remove(key.as_str()).is_some())
}

fn prune_inside(value: &mut DeValue<'_>, span: &Span) -> bool {
    match value {
        DeValue::Table(table) => prune(table, span),
        DeValue::Array(array) => array
            .iter_mut()
            .any(|element| prune_inside(element.get_mut(), span)),
        _ => false,
    }
}

fn holds(value: &Spanned<DeValue<'_>>, span: &Span) -> bool {
    let elements = value.get_ref().as_array();
    value.span() == *span || elements.is_some_and(|array| array.iter().any(|element| holds(element, span)))
}

fn list_table(table: &DeTable<'_>, path: &str, settings: &mut Vec<Setting>) {
    for (key, value) in table {
        let dot = if path.is_empty() { "" } else { "." };
        list_value(
            &format!("{path}{dot}{}", key.get_ref()),
            key.span(),
            value,
            settings,
        );
    }
}

fn list_value(path: &str, key: Span, value: &Spanned<DeValue<'_>>, settings: &mut Vec<Setting>) {
    let (span, value) = (value.span(), value.get_ref());
    let is_table = value.is_table()
        || value
            .as_array()
            .is_some_and(|array| array.iter().any(is_table_like));
    settings.push(Setting {
        path: path.to_owned(),
        key,
        value: span,
        is_table,
    });
    match value {
        DeValue::Table(table) => list_table(table, path, settings),
        DeValue::Array(array) => {
            for (index, element) in array.iter().enumerate() {
                list_value(&format!("{path}[{index}]"), element.span(), element, settings);
            }
        }
        _ => {}
    }
}

fn is_table_like(value: &Spanned<DeValue<'_>>) -> bool {
    value.get_ref().is_table()
}
