//! From a device's payload to groups of attributes, by the rules of FIWARE's IoT Agents.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use super::attribute::{Attribute, Measured, Wanted, text_of};
use super::{names, time, topic, ul};
use crate::route::format::{Unshapable, shown};
use crate::route::json::{InsideError, Json, JsonError};
use crate::route::subject::Subject;

/// The attribute that has the time of a measure.
pub const TIME: &str = "TimeInstant";

/// Measures of one message at most, all its groups together. A gateway that sends what it gathered in an hour has thousands.
pub const MEASURES_MAX: usize = 16 * 1024;

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
    /// Where they are, by their names in lower case.
    places: HashMap<String, Place>,
}

/// Where an attribute is.
#[derive(Debug)]
struct Place {
    index: usize,
    /// Its name as the device sent it.
    sent: String,
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
    let groups = match (is_json(subject, kind, single.is_some()), single) {
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

fn is_json(subject: &Subject<'_>, kind: Kind, is_single: bool) -> bool {
    match kind {
        Kind::Json => true,
        Kind::Ul => false,
        Kind::Auto => match topic::agent(&subject.arrival().topic) {
            Some(agent) => agent == topic::Agent::Json,
            None => subject.json().is_ok() || (!is_single && is_meant_as_json(subject)),
        },
    }
}

/// Whether somebody wanted to write JSON, and made a mistake: nobody begins the name of an attribute like that.
fn is_meant_as_json(subject: &Subject<'_>) -> bool {
    let payload = subject.arrival().payload.trim_ascii_start();
    matches!(payload.first(), Some(b'{' | b'['))
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
            self.time_ms = device_time(&value)?.or(self.time_ms);
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
        let attribute = Attribute::new(value, wanted)
            .map_err(|why| Unshapable(format!("the attribute {} {why}", shown(&name))))?;
        if name.eq_ignore_ascii_case(TIME) {
            return Err(collision(TIME, &name));
        }
        let sent = name.to_string();
        let name = names::of_measure(name);
        match self.places.get(&name.to_ascii_lowercase()) {
            Some(known) if known.sent != sent => return Err(collision(&known.sent, &sent)),
            Some(known) => {
                if let Some((_, value)) = self.attributes.get_mut(known.index) {
                    *value = attribute;
                }
            }
            None => {
                let index = self.attributes.len();
                self.places
                    .insert(name.to_ascii_lowercase(), Place { index, sent });
                self.attributes.push((name, attribute));
            }
        }
        Ok(())
    }
}

fn collision(one: &str, other: &str) -> Unshapable {
    let (one, other) = (shown(one), shown(other));
    Unshapable(format!(
        "{one} and {other} are one attribute for readers, which ignore case and have names of their own"
    ))
}

/// The device's own time; `null` is none. One that cannot be read is no reason to write another: nobody could see that it is not the
/// device's.
fn device_time(value: &Measured<'_>) -> Result<Option<i64>, Unshapable> {
    let said = match value {
        Measured::Json(json) if json.text() == "null" => return Ok(None),
        Measured::Json(json) => json.text(),
        Measured::Text(text) => text,
        Measured::Hex(text) => text.as_str(),
    };
    let time = text_of(value).and_then(|text| time::parse(&text));
    let why = || Unshapable(format!("{TIME} is {}: write {}", shown(said), time::RULE));
    time.map(Some).ok_or_else(why)
}

/// All groups, as long as they are not more than a message may have.
fn limited<'a>(
    groups: impl Iterator<Item = Result<Group<'a>, Unshapable>>,
) -> Result<Vec<Group<'a>>, Unshapable> {
    let mut measures = 0;
    let counted = groups.map(|group| {
        let group = group?;
        measures += group.attributes.len();
        match measures > MEASURES_MAX {
            true => Err(Unshapable(format!(
                "the payload has more than {MEASURES_MAX} measures"
            ))),
            false => Ok(group),
        }
    });
    counted.collect()
}

fn json_groups<'g, 'a: 'g>(
    subject: &Subject<'a>,
    types: &'g BTreeMap<String, Wanted>,
) -> Result<Vec<Group<'g>>, Unshapable> {
    let json = subject.json().map_err(no_json)?;
    match json.elements() {
        Ok(elements) => limited(elements.into_iter().map(|one| json_group(one, types))),
        Err(InsideError::NoContainer) => Ok(vec![json_group(json, types)?]),
        Err(error) => Err(Unshapable(format!("the payload {error}"))),
    }
}

/// The JSON agent takes what is not JSON only where the topic names the attribute.
fn no_json(error: &JsonError) -> Unshapable {
    let hint = match error {
        JsonError::Malformed(_) => {
            "; other bytes become hex only as a single measure, whose name the topic has"
        }
        JsonError::TooDeep | JsonError::TooLong(_) => "",
    };
    Unshapable(format!("{error}{hint}"))
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
    limited(groups)
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
