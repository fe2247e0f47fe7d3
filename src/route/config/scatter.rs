//! Whether messages with one key may come to several partitions, where they have no order.
//!
//! The partition is made of `partition_by`, so its values must be known from the key alone. A level of the topic has no `/`, so two
//! of them with one in between are told apart; `{a}{b}` and `{a}-{b}` are not: `x-y` and `z` make the same key as `x` and `y-z`.

use super::Config;
use super::templates::expanded;
use crate::route::format::Format;
use crate::route::pattern::Pattern;
use crate::route::template::{Part, Template};
use crate::route::value::Value;
use crate::settings::Section;

/// What no level of a topic has.
const LEVEL_END: char = '/';

/// Warns when the key does not tell what `partition_by` is made of.
pub(super) fn check(route: &Config, partition_by: &Template, section: &mut Section<'_, '_>) {
    if matches!(&route.format, Format::Wasp(wasp) if wasp.searches_key()) {
        let wrong = format!(
            "the key is the nrf- id that is found in \"{}\": records of one id may go to several partitions, where they have \
             no order",
            route.key
        );
        section.warn("partition_by", wrong, "leave it out: the key decides then");
        return;
    }
    let key: Vec<&Part> = expanded(&route.key, route).collect();
    let wanted: Vec<&Part> = expanded(partition_by, route).collect();
    if key == wanted {
        return;
    }
    let told = told_apart(&key, &route.from);
    let wanted = wanted.iter().filter_map(|part| part.value());
    let Some(lost) = wanted
        .filter(|value| !told.contains(value))
        .find(|value| differs(value))
    else {
        return;
    };
    if key.iter().any(|part| part.value() == Some(lost)) {
        let wrong = format!(
            "{{{lost}}} cannot be told from the key \"{}\": two of its values may be part of one key, whose records go to \
             several partitions then, where they have no order",
            route.key
        );
        let right =
            "separate the names in the key by '/', which no level of a topic has, or leave partition_by out";
        section.warn("partition_by", wrong, right);
        return;
    }
    let wrong = format!(
        "{{{lost}}} is not in the key \"{}\": records of one key may go to several partitions, where they have no order",
        route.key
    );
    let right = "use only what the key has, or the same for all messages of a device";
    section.warn("partition_by", wrong, right);
}

/// The values that a key tells: those up to the first that may run into what follows, those behind the last such, and that one if
/// it is the only one.
fn told_apart<'t>(key: &[&'t Part], from: &Pattern) -> Vec<&'t Value> {
    let ahead = leading(key.iter().copied(), from);
    let behind = leading(key.iter().rev().copied(), from);
    let values: Vec<&Value> = key
        .iter()
        .filter_map(|part| part.value())
        .filter(|value| differs(value))
        .collect();
    let is_told = |index: usize| {
        let from_end = values.len() - 1 - index;
        let is_only_one_left = ahead + behind + 1 >= values.len();
        index < ahead || from_end < behind || is_only_one_left
    };
    let told = values.iter().enumerate().filter(|(index, _)| is_told(*index));
    told.map(|(_, value)| *value).collect()
}

/// How many values, from one end on, end where the key says it.
fn leading<'t>(parts: impl Iterator<Item = &'t Part>, from: &Pattern) -> usize {
    let mut count = 0;
    let mut open = None;
    for part in parts {
        match (part, open) {
            (Part::Literal(text), Some(value)) if text.contains(LEVEL_END) && is_level(value, from) => {
                count += 1;
                open = None;
            }
            (Part::Value(value), _) if !differs(value) => {}
            (Part::Value(_), Some(_)) => return count,
            (Part::Value(value), None) => open = Some(value),
            (Part::Literal(_), _) => {}
        }
    }
    count + usize::from(open.is_some())
}

/// Whether it is one level of the topic, or as short as one.
fn is_level(value: &Value, from: &Pattern) -> bool {
    let Some(level) = value.name().and_then(|name| from.level_of(name)) else {
        return false;
    };
    from.filter().split(LEVEL_END).nth(level) == Some("+")
}

/// Whether it differs between the messages of one gateway.
fn differs(value: &Value) -> bool {
    value.as_str() != "gateway:id"
}
