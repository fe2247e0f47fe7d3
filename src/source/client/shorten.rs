//! What is larger than anybody wants never reaches the MQTT client, which holds a packet in memory as a whole.
//!
//! MQTT allows packets of 256 MiB (3.1.1, 2.2.3; 5, 1.5.5), and with 3.1.1 nobody can tell the broker to keep them. A gateway has less, and a
//! message that ends the process comes again behind each start. So a PUBLISH over [`TRANSPORT_LIMIT`] goes on with the beginning of its
//! payload alone, as what is over `max_packet_size` is kept anyway ([`OVERSIZE_KEPT_BYTES`]); and one whose properties are over
//! [`PROPERTIES_LIMIT`] goes on without them too: the client makes two strings of every five bytes of them. How long the payload was is told
//! beside the pipe ([`Cuts`]), by the number of the PUBLISH on its connection.
//!
//! All other packets pass byte by byte as they came.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::message::OVERSIZE_KEPT_BYTES;
use crate::source::TRANSPORT_LIMIT;

/// Properties of a message may take so many bytes: several times what content type, response topic, correlation data (64 KiB each) and
/// user properties that become headers can have together.
pub const PROPERTIES_LIMIT: usize = 512 * 1024;
/// The longest variable byte integer (MQTT 5, 1.5.5; 3.1.1, 2.2.3).
const VARIABLE_BYTES: usize = 4;
/// Packet type PUBLISH, in the upper half of the first byte (MQTT 5, 2.1.2).
const PUBLISH: u8 = 3;

/// What both sides of a connection know of payloads that were cut.
#[derive(Debug, Default)]
struct Notes(Mutex<VecDeque<Cut>>);

#[derive(Debug)]
struct Cut {
    /// Of its PUBLISH on this connection, from 1.
    number: u64,
    /// How long the payload was, bytes.
    whole: u64,
}

/// The client's side: told in order of each PUBLISH that came, it knows which payloads were cut.
#[derive(Debug, Default)]
pub struct Cuts {
    notes: Arc<Notes>,
    published: u64,
}

impl Cuts {
    /// One more PUBLISH has come; how long its payload was, bytes, if it was cut.
    pub fn published(&mut self) -> Option<u64> {
        self.published += 1;
        let mut notes = self.notes.0.lock().unwrap_or_else(PoisonError::into_inner);
        let cut = notes.pop_front_if(|cut| cut.number == self.published)?;
        Some(cut.whole)
    }
}

/// The broker's side of one connection. See the module documentation.
#[derive(Debug)]
pub struct Shortener {
    /// MQTT 5.
    has_properties: bool,
    /// PUBLISH packets that have begun.
    published: u64,
    state: State,
    notes: Arc<Notes>,
}

#[derive(Debug)]
enum State {
    /// So much of the fixed header is here.
    Header(Header),
    /// Of a large PUBLISH the part before its properties; so much of that is here.
    Head(Large),
    /// What follows of a packet.
    Body(Body),
    /// What came is not MQTT. The client gets all of it, and says so.
    Foreign,
}

/// The first byte of a packet, and its remaining length.
#[derive(Debug, Clone, Copy, Default)]
struct Header {
    bytes: [u8; 1 + VARIABLE_BYTES],
    len: usize,
}

/// A PUBLISH that may have to be cut.
#[derive(Debug)]
struct Large {
    header: Header,
    /// As its fixed header says, bytes.
    remaining: usize,
    head: Vec<u8>,
}

/// Bytes to come of a packet: so many go on, so many do not, so many go on, and the last do not.
#[derive(Debug, Clone, Copy, Default)]
struct Body([usize; 4]);

impl Shortener {
    /// For a connection that speaks MQTT 5, or 3.1.1.
    pub fn new(has_properties: bool) -> (Self, Cuts) {
        let cuts = Cuts::default();
        let shortener = Self {
            has_properties,
            published: 0,
            state: State::Header(Header::default()),
            notes: Arc::clone(&cuts.notes),
        };
        (shortener, cuts)
    }

    /// Adds to `out` what goes on of `input`, which is what came next.
    pub fn pass(&mut self, mut input: &[u8], out: &mut Vec<u8>) {
        while let Some((first, rest)) = input.split_first() {
            match std::mem::replace(&mut self.state, State::Foreign) {
                State::Header(header) => {
                    input = rest;
                    self.state = self.after_header(header.with(*first), out);
                }
                State::Head(mut large) => {
                    large.head.push(*first);
                    input = rest;
                    self.state = self.after_head(large, out);
                }
                State::Body(mut body) => {
                    input = body.pass(input, out);
                    self.state = body.or_next();
                }
                State::Foreign => {
                    out.extend_from_slice(input);
                    input = &[];
                }
            }
        }
    }

    /// One byte more of the fixed header has come.
    fn after_header(&mut self, header: Header, out: &mut Vec<u8>) -> State {
        let [first, ..] = header.bytes;
        let remaining = match variable(header.length()) {
            Variable::Whole(remaining) => remaining,
            Variable::Unfinished => return State::Header(header),
            Variable::Wrong => {
                out.extend_from_slice(header.seen());
                return State::Foreign;
            }
        };
        let is_publish = first >> 4 == PUBLISH;
        self.published += u64::from(is_publish);
        if is_publish && remaining > PROPERTIES_LIMIT {
            return State::Head(Large {
                header,
                remaining,
                head: Vec::new(),
            });
        }
        out.extend_from_slice(header.seen());
        Body::whole(remaining).or_next()
    }

    fn note(&self, whole: u64) {
        let number = self.published;
        let mut notes = self.notes.0.lock().unwrap_or_else(PoisonError::into_inner);
        notes.push_back(Cut { number, whole });
    }

    /// One byte more of the part before the properties has come.
    fn after_head(&self, large: Large, out: &mut Vec<u8>) -> State {
        let Some((before, length)) = large.head_before_properties() else {
            return State::Head(large);
        };
        // 3.1.1 has none, and nothing says so.
        let properties = match variable(length) {
            _ if !self.has_properties => 0,
            Variable::Whole(properties) => properties,
            Variable::Unfinished => return State::Head(large),
            Variable::Wrong => {
                large.go_on(out);
                return State::Foreign;
            }
        };
        let Some(payload) = large
            .remaining
            .checked_sub(large.head.len())
            .and_then(|rest| rest.checked_sub(properties))
        else {
            large.go_on(out);
            return State::Foreign;
        };
        let keeps_properties = properties <= PROPERTIES_LIMIT;
        if keeps_properties && large.remaining <= TRANSPORT_LIMIT as usize {
            large.go_on(out);
            return Body::whole(large.remaining - large.head.len()).or_next();
        }
        self.note(payload as u64);
        let kept = payload.min(OVERSIZE_KEPT_BYTES);
        let dropped = payload - kept;
        if keeps_properties {
            large.begin(large.head.len() + properties + kept, &large.head, out);
            return Body([properties + kept, dropped, 0, 0]).or_next();
        }
        let none = [before, &[0]].concat();
        large.begin(none.len() + kept, &none, out);
        Body([0, properties, kept, dropped]).or_next()
    }
}

impl Header {
    fn with(mut self, byte: u8) -> Self {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
        self
    }

    fn seen(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn length(&self) -> &[u8] {
        self.seen().get(1..).unwrap_or_default()
    }
}

impl Large {
    /// Topic and packet identifier, and what is here of the length of the properties behind them. `None` when they are not whole.
    fn head_before_properties(&self) -> Option<(&[u8], &[u8])> {
        let (topic, _) = self.head.split_first_chunk::<2>()?;
        // The packet identifier: QoS stands in bits 1 and 2 (MQTT 5, 3.3.1.2).
        let [first, ..] = self.header.bytes;
        let packet_id = if first & 0b110 == 0 { 0 } else { 2 };
        let before = 2 + usize::from(u16::from_be_bytes(*topic)) + packet_id;
        self.head.split_at_checked(before)
    }

    /// What is here of it, as it came.
    fn go_on(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.header.seen());
        out.extend_from_slice(&self.head);
    }

    /// The fixed header with another length, and another part before the properties.
    fn begin(&self, remaining: usize, head: &[u8], out: &mut Vec<u8>) {
        let [first, ..] = self.header.bytes;
        out.push(first);
        let mut left = remaining;
        loop {
            let digit = u8::try_from(left % 128).unwrap_or_default();
            left /= 128;
            out.push(if left > 0 { digit | 0x80 } else { digit });
            if left == 0 {
                break;
            }
        }
        out.extend_from_slice(head);
    }
}

impl Body {
    fn whole(bytes: usize) -> Self {
        Self([bytes, 0, 0, 0])
    }

    /// Gives what of `input` is behind the packet.
    fn pass<'a>(&mut self, mut input: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        for (index, left) in self.0.iter_mut().enumerate() {
            let (part, rest) = input.split_at(input.len().min(*left));
            if index % 2 == 0 {
                out.extend_from_slice(part);
            }
            *left -= part.len();
            input = rest;
        }
        input
    }

    /// The state in which nothing of an empty packet is waited for.
    fn or_next(self) -> State {
        match self.0 {
            [0, 0, 0, 0] => State::Header(Header::default()),
            _ => State::Body(self),
        }
    }
}

/// A variable byte integer, as far as it is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variable {
    Whole(usize),
    Unfinished,
    /// Longer than any may be.
    Wrong,
}

fn variable(bytes: &[u8]) -> Variable {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(VARIABLE_BYTES).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Variable::Whole(value);
        }
    }
    if bytes.len() < VARIABLE_BYTES {
        Variable::Unfinished
    } else {
        Variable::Wrong
    }
}

#[cfg(test)]
mod tests;
