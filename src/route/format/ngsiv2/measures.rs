//! From a device's payload to groups of attributes, by the rules of FIWARE's IoT Agents.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::attribute::{Attribute, Measured, Wanted};
use super::{names, time, topic, ul};
use crate::route::format::{Unshapable, shown};
use crate::route::json::{InsideError, Json};
use crate::route::subject::Subject;

/// The attribute that has the time of a measure.
pub const TIME: &str = "TimeInstant";

/// How payloads are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `"json"`
    Json,
    /// `"ul"`
    Ul,
    /// `"auto"`: by the topic's prefix, else by what the payload is.
    Auto,
}

/// What was measured at one time.
#[derive(Debug, Default)]
pub struct Group<'a> {
    /// The device's own time, milliseconds since 1970.
    pub time_ms: Option<i64>,
    /// Names and values, in order; each name once, whatever its case.
    pub attributes: Vec<(Cow<'a, str>, Attribute<'a>)>,
}

/// The groups of a payload, at least one, each with at least one attribute. `single` is the name of the one attribute whose value
/// the whole payload is.
pub fn read<'g, 'a: 'g>(
    subject: &Subject<'a>,
    kind: Kind,
    single: Option<String>,
    types: &'g BTreeMap<String, Wanted>,
) -> Result<Vec<Group<'g>>, Unshapable> {
    if subject.arrival().payload.is_empty() {
        return Err(Unshapable("the payload is empty".to_owned()));
    }
    let groups = match (is_json(subject, kind), single) {
        (true, None) => json_groups(subject, types)?,
        (false, None) => ul_groups(subject, types)?,
        (true, Some(name)) => vec![Group::of(name, json_value(subject), types)?],
        (false, Some(name)) => vec![Group::of(name, Measured::Text(text(subject)?), types)?],
    };
    match groups.iter().any(|group| group.attributes.is_empty()) || groups.is_empty() {
        true => Err(Unshapable("there is nothing measured in it".to_owned())),
        false => Ok(groups),
    }
}

/// Gives every group a time of its own: readers keep one row of an entity and a millisecond. Groups without a time of the device are
/// one millisecond apart, the last of them at the arrival; of equal times the later group is moved on.
pub fn spread(groups: &[Group<'_>], arrival_ms: i64) -> Vec<i64> {
    let mut taken = BTreeSet::new();
    let behind = (0..groups.len()).rev();
    let times = groups.iter().zip(behind).map(|(group, behind)| {
        let back = i64::try_from(behind).unwrap_or(0);
        let arrival = arrival_ms.saturating_sub(back).clamp(0, time::LATEST_MS);
        let mut ms = group.time_ms.unwrap_or(arrival);
        while !taken.insert(ms) {
            ms = ms.saturating_add(1);
        }
        ms
    });
    times.collect()
}

fn is_json(subject: &Subject<'_>, kind: Kind) -> bool {
    match kind {
        Kind::Json => true,
        Kind::Ul => false,
        Kind::Auto => match topic::agent(&subject.arrival().topic) {
            Some(agent) => agent == topic::Agent::Json,
            None => subject.json().is_ok(),
        },
    }
}

impl<'a> Group<'a> {
    fn of(
        name: String,
        value: Measured<'a>,
        types: &'a BTreeMap<String, Wanted>,
    ) -> Result<Self, Unshapable> {
        let mut group = Self::default();
        group.add(Cow::Owned(name), value, types)?;
        Ok(group)
    }

    /// Adds what was measured. Of a name that is there already the later value counts.
    fn add(
        &mut self,
        name: Cow<'a, str>,
        value: Measured<'a>,
        types: &'a BTreeMap<String, Wanted>,
    ) -> Result<(), Unshapable> {
        if name == TIME {
            self.time_ms = device_time(&value).or(self.time_ms);
            return Ok(());
        }
        if !names::is_field(&name) {
            let rule = names::FIELD_RULE;
            return Err(Unshapable(format!(
                "{} is no name of an attribute: {rule}",
                shown(&name)
            )));
        }
        let wanted = types.get(&*name);
        // The names of the entity itself; the agents rename such measures in the same way.
        let name = match &*name {
            "id" => Cow::Borrowed("measure_id"),
            "type" => Cow::Borrowed("measure_type"),
            _ => name,
        };
        let attribute = Attribute::new(value, wanted)
            .map_err(|why| Unshapable(format!("the attribute {} {why}", shown(&name))))?;
        let known = self.attributes.iter_mut();
        let same = |(known, _): &&mut (Cow<'_, str>, _)| known.eq_ignore_ascii_case(&name);
        match known.into_iter().find(same) {
            Some((known, value)) if *known == name => *value = attribute,
            Some((known, _)) => return Err(collision(known, &name)),
            None if name.eq_ignore_ascii_case(TIME) => return Err(collision(TIME, &name)),
            None => self.attributes.push((name, attribute)),
        }
        Ok(())
    }
}

fn collision(one: &str, other: &str) -> Unshapable {
    let (one, other) = (shown(one), shown(other));
    Unshapable(format!(
        "{one} and {other} are one attribute for readers, which ignore case"
    ))
}

/// A time that cannot be read is as good as none: the measure is worth more than its time.
fn device_time(value: &Measured<'_>) -> Option<i64> {
    match value {
        Measured::Json(json) => time::parse(json.text().strip_prefix('"')?.strip_suffix('"')?),
        Measured::Text(text) => time::parse(text),
        Measured::Hex(_) => None,
    }
}

fn json_groups<'g, 'a: 'g>(
    subject: &Subject<'a>,
    types: &'g BTreeMap<String, Wanted>,
) -> Result<Vec<Group<'g>>, Unshapable> {
    let json = subject.json().map_err(|error| Unshapable(error.to_string()))?;
    match json.elements() {
        Ok(elements) => elements.into_iter().map(|one| json_group(one, types)).collect(),
        Err(InsideError::NoContainer) => Ok(vec![json_group(json, types)?]),
        Err(error) => Err(Unshapable(format!("the payload {error}"))),
    }
}

fn json_group<'a>(object: Json<'a>, types: &'a BTreeMap<String, Wanted>) -> Result<Group<'a>, Unshapable> {
    let members = object.members().map_err(|error| match error {
        InsideError::NoContainer => {
            Unshapable("measures are a JSON object, or an array of objects".to_owned())
        }
        error => Unshapable(format!("the payload {error}")),
    })?;
    let mut group = Group::default();
    for (name, value) in members {
        group.add(name, Measured::Json(value), types)?;
    }
    Ok(group)
}

fn ul_groups<'g, 'a: 'g>(
    subject: &Subject<'a>,
    types: &'g BTreeMap<String, Wanted>,
) -> Result<Vec<Group<'g>>, Unshapable> {
    let groups = ul::parse(text(subject)?);
    let groups = groups.map_err(|error| Unshapable(format!("the payload is no Ultralight: it {error}")))?;
    let groups = groups.into_iter().map(|read| {
        let mut group = Group::default();
        for (name, value) in read.measures {
            group.add(Cow::Borrowed(name), Measured::Text(value), types)?;
        }
        group.time_ms = read.time_ms.or(group.time_ms);
        Ok(group)
    });
    groups.collect()
}

/// The value of a single measure. What is not JSON becomes hex, as it does in the JSON agent.
fn json_value<'a>(subject: &Subject<'a>) -> Measured<'a> {
    match subject.json() {
        Ok(json) => Measured::Json(json),
        Err(_) => Measured::Hex(hex(&subject.arrival().payload)),
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    let digit = |number: u8| DIGITS.get(usize::from(number)).copied().unwrap_or('0');
    let pairs = bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]);
    pairs.collect()
}

fn text<'a>(subject: &Subject<'a>) -> Result<&'a str, Unshapable> {
    let payload = &subject.arrival().payload;
    std::str::from_utf8(payload).map_err(|_| Unshapable("the payload is no UTF-8 text".to_owned()))
}
