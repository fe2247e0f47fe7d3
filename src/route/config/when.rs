//! `when` and `[route.match]`

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::names::Names;
use crate::route::condition::{Condition, Scalar, Test};
use crate::route::expression::Expression;
use crate::route::number::Number;
use crate::route::value::Value;
use crate::settings::Section;

const TESTS: &str =
    "write one of equals = .., one_of = [..], exists = .., between = [.., ..] and matches = \"..\"";

/// One entry of `when` as it is written.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Raw {
    value: Option<String>,
    equals: Option<RawScalar>,
    one_of: Option<Vec<RawScalar>>,
    exists: Option<bool>,
    between: Option<Vec<RawScalar>>,
    matches: Option<String>,
    not: Option<bool>,
}

/// Text, a number, `true` or `false`.
#[derive(Debug)]
struct RawScalar(Result<Scalar, f64>);

struct ScalarVisitor;

impl Visitor<'_> for ScalarVisitor {
    type Value = RawScalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a number, true or false")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<RawScalar, E> {
        Ok(RawScalar(Ok(Scalar::Bool(value))))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<RawScalar, E> {
        let number = Number::parse(&value.to_string());
        let number = number.ok_or_else(|| E::invalid_value(de::Unexpected::Signed(value), &self))?;
        Ok(RawScalar(Ok(Scalar::Number(number))))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<RawScalar, E> {
        let number = Number::parse(&value.to_string());
        Ok(RawScalar(number.map(Scalar::Number).ok_or(value)))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<RawScalar, E> {
        Ok(RawScalar(Ok(Scalar::Text(value.to_owned()))))
    }
}

impl<'de> Deserialize<'de> for RawScalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

/// Checks the entries of `when`. `None` only together with a problem.
pub(super) fn resolve(entries: Vec<Raw>, section: &mut Section<'_, '_>) -> Option<Vec<Condition>> {
    let entries = entries.into_iter().enumerate();
    let conditions: Vec<_> = entries
        .map(|(number, raw)| resolve_one(&format!("when[{number}]"), raw, section))
        .collect();
    conditions.into_iter().collect()
}

fn resolve_one(field: &str, raw: Raw, section: &mut Section<'_, '_>) -> Option<Condition> {
    let is_inverted = raw.not.unwrap_or(false);
    let value = parse_value(field, raw.value.as_deref(), section);
    let mut tests = Vec::new();
    tests.extend(
        raw.equals
            .map(|scalar| one_of(&format!("{field}.equals"), vec![scalar], section)),
    );
    tests.extend(
        raw.one_of
            .map(|scalars| one_of(&format!("{field}.one_of"), scalars, section)),
    );
    tests.extend(raw.exists.map(|exists| Some(Test::Exists(exists))));
    tests.extend(
        raw.between
            .map(|bounds| between(&format!("{field}.between"), bounds, section)),
    );
    tests.extend(raw.matches.map(|text| {
        let expression = parse_expression(&format!("{field}.matches"), &text, section);
        expression.map(Test::Matches)
    }));
    let count = tests.len();
    if count != 1 {
        let wrong = match count {
            0 => "has no test".to_owned(),
            count => format!("has {count} tests, one of them may be forgotten by a reader"),
        };
        let right = match count {
            0 => TESTS.to_owned(),
            _ => "write an entry of its own for each: all of them must hold".to_owned(),
        };
        section.error(field, wrong, right);
        return None;
    }
    Some(Condition {
        value: value?,
        test: tests.pop()??,
        is_inverted,
    })
}

fn parse_value(field: &str, text: Option<&str>, section: &mut Section<'_, '_>) -> Option<Value> {
    let field = format!("{field}.value");
    let right = "write what is looked at, as in braces but without them, for example value = \"json:/type\"";
    let text = section.required(&field, text, right)?;
    let report = |error| section.error(&field, format!("{text:?} {error}"), right);
    Value::parse(text).map_err(report).ok()
}

fn one_of(field: &str, scalars: Vec<RawScalar>, section: &mut Section<'_, '_>) -> Option<Test> {
    if scalars.is_empty() {
        section.error(
            field,
            "is empty, no message would pass",
            "write at least one value",
        );
        return None;
    }
    let scalars: Vec<_> = scalars
        .into_iter()
        .map(|scalar| known(field, scalar, section))
        .collect();
    let scalars: Option<Vec<Scalar>> = scalars.into_iter().collect();
    scalars.map(Test::OneOf)
}

fn known(field: &str, scalar: RawScalar, section: &mut Section<'_, '_>) -> Option<Scalar> {
    let report = |number| {
        section.error(
            field,
            format!("{number} is no number that a message could have"),
            "write a decimal number",
        );
    };
    scalar.0.map_err(report).ok()
}

fn between(field: &str, bounds: Vec<RawScalar>, section: &mut Section<'_, '_>) -> Option<Test> {
    let right = "write the lowest and the highest number that pass, for example between = [-40, 85.5]";
    let numbers: Vec<Number> = bounds
        .into_iter()
        .map_while(|bound| match bound.0 {
            Ok(Scalar::Number(number)) => Some(number),
            _ => None,
        })
        .collect();
    let Ok([low, high]) = <[Number; 2]>::try_from(numbers) else {
        section.error(field, "is not two numbers", right);
        return None;
    };
    if low > high {
        section.error(field, "has its higher number first, no message would pass", right);
        return None;
    }
    Some(Test::Between(low, high))
}

/// `[route.match]`: level by name. `None` only together with a problem.
pub(super) fn resolve_match(
    table: BTreeMap<String, String>,
    section: &mut Section<'_, '_>,
) -> Option<Vec<(String, Expression)>> {
    let entries = table.into_iter();
    let expressions: Vec<_> = entries
        .map(|(name, text)| {
            let expression = parse_expression(&format!("match.{name}"), &text, section)?;
            Some((name, expression))
        })
        .collect();
    expressions.into_iter().collect()
}

fn parse_expression(field: &str, text: &str, section: &mut Section<'_, '_>) -> Option<Expression> {
    let report = |error| {
        section.error(
            field,
            format!("{text:?} {error}"),
            "write a regular expression for the whole text, for example \"[0-9a-f]{16}\"",
        );
    };
    Expression::parse(text).map_err(report).ok()
}

/// Refuses what names levels that `from` does not have.
pub(super) fn check_names(
    when: &[Condition],
    matches: &[(String, Expression)],
    names: Names<'_>,
    section: &mut Section<'_, '_>,
) {
    for (number, condition) in when.iter().enumerate() {
        // What `when` is asked before the device id is made.
        names
            .levels()
            .check_value(&format!("when[{number}].value"), &condition.value, section);
    }
    for (name, _) in matches {
        names.levels().check_name(&format!("match.{name}"), name, section);
    }
}
