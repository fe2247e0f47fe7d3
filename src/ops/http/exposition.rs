//! Samples as text, in the two forms that Prometheus reads: its own ("text format 0.0.4") and OpenMetrics 1.0.
//!
//! They differ in four places: the name of a counter's family, units, the escaping of help texts, and the end. Pure.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

/// Which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// Prometheus' own.
    Text,
    /// OpenMetrics 1.0
    OpenMetrics,
}

impl Form {
    /// For the header of that name.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// What somebody wants who sends this `Accept` header. OpenMetrics has to be named, and be wanted more than plain text.
    #[must_use]
    pub fn accepted(header: &str) -> Self {
        let (mut text, mut open) = (0.0_f32, 0.0_f32);
        for range in header.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let quality = parts
                .filter_map(|part| part.strip_prefix("q="))
                .find_map(|q| q.parse::<f32>().ok());
            // What is no number from 0 to 1 is none.
            let quality = quality.unwrap_or(1.0).clamp(0.0, 1.0);
            match kind.as_str() {
                "application/openmetrics-text" => open = open.max(quality),
                "text/plain" => text = text.max(quality),
                _ => {}
            }
        }
        if open > text {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }
}

/// What a family of samples is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Goes up and down.
    Gauge,
    /// Goes up; begins at 0 with the process. Its name ends in `_total`.
    Counter,
}

impl Type {
    /// As the formats call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
        }
    }
}

/// The value of a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// Whole, to the last digit.
    Int(u64),
    /// Anything else.
    Float(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Int(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Int(value.into())
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => value.fmt(f),
            Self::Float(value) if value.is_infinite() => {
                f.write_str(if *value > 0.0 { "+Inf" } else { "-Inf" })
            }
            Self::Float(value) => value.fmt(f),
        }
    }
}

/// The head of a family.
#[derive(Debug, Clone, Copy)]
pub struct Family<'a> {
    /// Name of the samples.
    pub name: &'a str,
    /// What it is.
    pub kind: Type,
    /// One sentence.
    pub help: &'a str,
    /// Names of the labels.
    pub labels: &'a [&'a str],
}

/// A text that grows by families.
#[derive(Debug)]
pub struct Exposition {
    form: Form,
    text: String,
}

impl Exposition {
    /// An empty one.
    #[must_use]
    pub const fn new(form: Form) -> Self {
        Self {
            form,
            text: String::new(),
        }
    }

    /// Adds a family. One without samples is left out. Of two samples with the same labels, which no reader takes, the
    /// first stays.
    pub fn add(&mut self, family: &Family<'_>, samples: &[(Vec<Cow<'_, str>>, Value)]) {
        if samples.is_empty() {
            return;
        }
        self.head(family);
        let mut seen = BTreeSet::new();
        for (values, value) in samples {
            if seen.insert(values) {
                self.sample(family, values, *value);
            }
        }
    }

    fn head(&mut self, family: &Family<'_>) {
        let base = family.name.strip_suffix("_total").unwrap_or(family.name);
        let (name, help) = match self.form {
            Form::Text => (family.name, escaped(family.help, false)),
            Form::OpenMetrics => (base, escaped(family.help, true)),
        };
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {}", family.kind.name()));
        let unit = ["bytes", "seconds", "ratio"].into_iter().find(|unit| {
            let unit_at = base.strip_suffix(unit);
            unit_at.is_some_and(|front| front.ends_with('_'))
        });
        if let (Form::OpenMetrics, Some(unit)) = (self.form, unit) {
            self.line(format_args!("# UNIT {name} {unit}"));
        }
    }

    fn sample(&mut self, family: &Family<'_>, values: &[Cow<'_, str>], value: Value) {
        let labels = family.labels.iter().zip(values);
        let labels: Vec<String> = labels
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value, true)))
            .collect();
        match labels.join(",").as_str() {
            "" => self.line(format_args!("{} {value}", family.name)),
            labels => self.line(format_args!("{}{{{labels}}} {value}", family.name)),
        }
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        // A text in memory takes everything.
        if writeln!(self.text, "{line}").is_err() {
            tracing::debug!("a line of the metrics is missing");
        }
    }

    /// The whole text.
    #[must_use]
    pub fn finish(mut self) -> String {
        if self.form == Form::OpenMetrics {
            self.line(format_args!("# EOF"));
        }
        self.text
    }
}

fn escaped(text: &str, quotes: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '"' if quotes => escaped.push_str("\\\""),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAMILY: Family<'_> = Family {
        name: "x_written_bytes_total",
        kind: Type::Counter,
        help: "A \"b\" \\ c\nd.",
        labels: &["lane", "why"],
    };

    fn text(form: Form, samples: &[(Vec<Cow<'_, str>>, Value)]) -> String {
        let mut exposition = Exposition::new(form);
        exposition.add(&FAMILY, samples);
        exposition.finish()
    }

    #[test]
    fn both_forms_to_the_byte() {
        let samples = [
            (
                vec!["a\"\\\n{}".into(), "é".into()],
                18_446_744_073_709_551_615_u64.into(),
            ),
            (vec!["b".into(), "".into()], 0.5.into()),
        ];
        let lines = "x_written_bytes_total{lane=\"a\\\"\\\\\\n{}\",why=\"é\"} 18446744073709551615\n\
                     x_written_bytes_total{lane=\"b\",why=\"\"} 0.5\n";
        assert_eq!(
            text(Form::Text, &samples),
            format!(
                "# HELP x_written_bytes_total A \"b\" \\\\ c\\nd.\n# TYPE x_written_bytes_total counter\n{lines}"
            )
        );
        assert_eq!(
            text(Form::OpenMetrics, &samples),
            format!(
                "# HELP x_written_bytes A \\\"b\\\" \\\\ c\\nd.\n# TYPE x_written_bytes counter\n# UNIT x_written_bytes bytes\n\
                 {lines}# EOF\n"
            )
        );
    }

    #[test]
    fn a_family_without_samples_is_left_out_and_no_sample_comes_twice() {
        assert_eq!(text(Form::Text, &[]), "");
        assert_eq!(text(Form::OpenMetrics, &[]), "# EOF\n");
        let same = (vec!["a".into(), "b".into()], Value::Int(1));
        let twice = [same.clone(), (same.0, Value::Int(2))];
        assert!(
            text(Form::Text, &twice).ends_with("counter\nx_written_bytes_total{lane=\"a\",why=\"b\"} 1\n")
        );
    }

    #[test]
    fn numbers_that_are_none_have_names() {
        let names = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 0.1, 1e21]
            .map(|value| Value::from(value).to_string());
        assert_eq!(names, ["+Inf", "-Inf", "NaN", "0.1", "1000000000000000000000"]);
        assert_eq!(Value::from(true).to_string(), "1");
    }

    #[test]
    fn who_wants_openmetrics_gets_it() {
        // What Prometheus 2.42 and 3.0 send, and others.
        for (header, form) in [
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Form::OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                Form::OpenMetrics,
            ),
            (
                "text/plain;version=0.0.4;q=0.5,application/openmetrics-text;q=0.4",
                Form::Text,
            ),
            ("APPLICATION/openmetrics-text", Form::OpenMetrics),
            ("application/openmetrics-text;q=0", Form::Text),
            (
                "application/openmetrics-text;q=nonsense,text/plain;q=0.9",
                Form::OpenMetrics,
            ),
            ("*/*", Form::Text),
            ("", Form::Text),
            (",;=,;;q=", Form::Text),
        ] {
            assert_eq!(Form::accepted(header), form, "{header}");
        }
    }
}
