//! Which message a record carries: in the header `edgeferry-id`, in `ce_id`, or in the value of formats whose readers know no headers.

use std::borrow::Cow;

use serde::Deserialize;

use crate::message::{Epoch, MessageId, Seq};
use crate::route::format::wasp::payload_id::{self, lane_mark};
use crate::route::headers;

/// Header of a CloudEvent in binary mode.
const CE_ID: &str = "ce_id";
/// A `payloadId` beyond is somebody else's random UUID, of which 63 in 64 are: at 1,000 messages a second a gateway lives 35 years.
const SEQ_PLAUSIBLE: u64 = 1 << 40;

/// The name that a record gives its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// Epoch of the store.
    pub epoch: Epoch,
    /// The lane: its name, or, in WASP's `payloadId`, the mark of it.
    pub lane: Lane,
    /// Position in its log.
    pub seq: Seq,
}

/// A lane as far as a record tells it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// By name.
    Named(String),
    /// By [`lane_mark`].
    Marked(u16),
}

impl Lane {
    /// Its mark.
    #[must_use]
    pub fn mark(&self) -> u16 {
        match self {
            Self::Named(name) => lane_mark(name),
            Self::Marked(mark) => *mark,
        }
    }
}

impl std::fmt::Display for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::Marked(mark) => write!(f, "with the mark {mark:03x}"),
        }
    }
}

/// The members of a value that may name a message.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Members<'a> {
    #[serde(borrow, rename = "payloadId")]
    payload_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    specversion: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
}

/// Which message a record carries. `None`: it does not say, so it can only be counted.
#[must_use]
pub fn identify<'h>(headers: impl Iterator<Item = (&'h str, &'h [u8])>, value: &[u8]) -> Option<Name> {
    let mut event = None;
    for (name, text) in headers {
        match name {
            headers::ID => return parse(std::str::from_utf8(text).ok()?),
            CE_ID => event = std::str::from_utf8(text).ok().and_then(parse),
            _ => {}
        }
    }
    event.or_else(|| in_value(value))
}

fn parse(text: &str) -> Option<Name> {
    let id = MessageId::parse(text)?;
    Some(Name {
        epoch: id.epoch,
        lane: Lane::Named(id.lane.to_string()),
        seq: id.seq,
    })
}

fn in_value(value: &[u8]) -> Option<Name> {
    if value.first() != Some(&b'{') {
        return None;
    }
    let members: Members<'_> = serde_json::from_slice(value).ok()?;
    if let Some(text) = &members.payload_id {
        let said = payload_id::decode(text).filter(|said| (1..=SEQ_PLAUSIBLE).contains(&said.seq.0))?;
        return Some(Name {
            epoch: said.epoch,
            lane: Lane::Marked(said.lane),
            seq: said.seq,
        });
    }
    members.specversion.and(members.id).as_deref().and_then(parse)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    const ID: &str = "00000000000000ab-alarms-7";

    fn named() -> Name {
        Name {
            epoch: Epoch(0xab),
            lane: Lane::Named("alarms".to_owned()),
            seq: Seq(7),
        }
    }

    fn of(headers: &[(&str, &str)], value: &str) -> Option<Name> {
        let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes()));
        identify(headers, value.as_bytes())
    }

    #[test]
    fn every_format_names_its_message() {
        assert_eq!(of(&[("x", "y"), ("edgeferry-id", ID)], "payload"), Some(named()));
        assert_eq!(of(&[("ce_id", ID)], "payload"), Some(named()));
        let event = format!("{{\"specversion\":\"1.0\",\"id\":\"{ID}\",\"data\":{{\"id\":1}}}}");
        assert_eq!(of(&[], &event), Some(named()));
        let message = MessageId {
            epoch: Epoch(0xab),
            lane: Arc::from("alarms"),
            seq: Seq(7),
        };
        let wasp = payload_id::encode(&message).expect("fits");
        let said = of(&[], &format!("{{\"payloadId\":\"{wasp}\",\"ingest\":\"mqtt\"}}")).expect("ours");
        assert_eq!((said.epoch, said.seq), (Epoch(0xab), Seq(7)));
        assert_eq!(said.lane.mark(), lane_mark("alarms"));
    }

    #[test]
    fn what_names_nothing_of_ours_can_only_be_counted() {
        for value in [
            "",
            "x",
            "{",
            "[]",
            "{}",
            "{\"id\":\"00000000000000ab-alarms-7\"}",
            "{\"specversion\":\"1.0\",\"id\":\"A234-1234-1234\"}",
            "{\"payloadId\":\"574bd77c-4aba-4557-aa9e-066939f938cc\"}",
            "{\"payloadId\":7}",
        ] {
            assert_eq!(of(&[], value), None, "{value}");
        }
        // A header that is there and says something else is not made up for by the payload.
        assert_eq!(
            of(
                &[("edgeferry-id", "7")],
                &format!("{{\"specversion\":\"1.0\",\"id\":\"{ID}\"}}")
            ),
            None
        );
    }

    /// `edgeferry verify` adds sequences up.
    #[test]
    fn an_id_that_no_gateway_gives_is_none_of_ours() {
        for seq in [
            "0",
            "4611686018427387905",
            "18446744073709551615",
            "18446744073709551616",
            "+7",
            "-7",
            "",
        ] {
            let id = format!("00000000000000ab-alarms-{seq}");
            assert_eq!(of(&[("edgeferry-id", &id)], ""), None, "{id}");
        }
        let id = "00000000000000ab-alarms-4611686018427387904";
        assert!(of(&[("edgeferry-id", id)], "").is_some());
    }

    proptest! {
        #[test]
        fn what_others_wrote_under_our_names_may_be_anything_and_never_panics(name in "\\PC{0,30}", value in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _name = identify([("edgeferry-id", name.as_bytes())].into_iter(), &value);
            let _name = identify([("ce_id", name.as_bytes())].into_iter(), &value);
        }
    }
}
