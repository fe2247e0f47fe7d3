//! JSON telemetry as sensors send it: compression decides how much is written, so what is measured with has to be like
//! what is real.
//!
//! A message is a reading of one device: its name, a number, the time in milliseconds, six values and a state, as
//! JSON: some 190 bytes, and blanks up to the size that is asked for. The values walk from reading to reading in small steps, like temperatures do, and are written
//! with the digits that a sensor gives. All of it follows from the name and the number, so that it can be made again for comparison.

use std::iter;

pub use super::payload::USUAL_BYTES;
use super::seed::Seed;

/// Devices that report in turn.
pub const DEVICES: u64 = 100;
/// 2026-01-01, milliseconds.
const BEGIN_MS: u64 = 1_767_225_600_000;
/// Between two readings of a device, and by how much they are late at most: devices do not report on the dot.
const INTERVAL_MS: u64 = 1_000;
const LATE_MS: u64 = 20;
/// Readings between two turns of a value.
const TURN: u64 = 32;
/// Less room is not worth a list.
const SAMPLES_FROM: usize = 64;

/// One value of a reading.
struct Sensor {
    /// With the unit, as the field is called.
    name: &'static str,
    sign: &'static str,
    /// Of the last digit, like the next two: a device has its own level between these.
    least: u64,
    most: u64,
    /// How far a reading is from its way at most, twice; the way turns within eight times as much.
    step: u64,
    digits: u32,
}

const fn sensor(name: &'static str, range: (u64, u64), step: u64, digits: u32) -> Sensor {
    Sensor {
        name,
        sign: "",
        least: range.0,
        most: range.1,
        step,
        digits,
    }
}

const SENSORS: [Sensor; 6] = [
    sensor("temperature", (1_500, 6_500), 8, 2),
    sensor("humidity", (300, 700), 4, 1),
    sensor("pressure", (98_000, 103_000), 3, 2),
    sensor("vibration_mm_s", (1_000, 9_000), 60, 3),
    sensor("supply_v", (3_100, 3_400), 2, 3),
    Sensor {
        sign: "-",
        ..sensor("rssi_dbm", (60, 95), 3, 0)
    },
];

impl Sensor {
    /// Its value in reading `seq` of the device that `id` stands for: on the way from one turn to the next, and a little beside it.
    fn value(&self, id: u64, seq: u64) -> u64 {
        let (turn, behind) = (seq / TURN, seq % TURN);
        let own = mixed(id, self.least);
        let level = self.least + own % (self.most - self.least);
        let at = |turn| level + mixed(own, turn) % (8 * self.step);
        let on_the_way = (at(turn) * (TURN - behind) + at(turn + 1) * behind) / TURN;
        on_the_way + mixed(own, !seq) % (2 * self.step + 1)
    }

    fn text(&self, value: u64) -> String {
        let one = 10_u64.pow(self.digits);
        match self.digits {
            0 => format!("{}{value}", self.sign),
            digits => format!(
                "{}{}.{:0digits$}",
                self.sign,
                value / one,
                value % one,
                digits = digits as usize
            ),
        }
    }
}

fn mixed(a: u64, b: u64) -> u64 {
    Seed::new(a ^ b.wrapping_mul(0x9e37_79b9_7f4a_7c15)).next()
}

/// What `device` sends as its message `seq`, in `size` bytes: the fields that fit, more samples of the first sensor where there is room
/// for them, and blanks for the rest. A name that is too long for it makes it longer.
pub fn reading(device: &str, seq: u64, size: usize) -> Vec<u8> {
    let id = device
        .bytes()
        .fold(7, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let room = size.saturating_sub("}".len());
    let mut text = format!("{{\"device\":\"{device}\",\"seq\":{seq}");
    let mut fields = fields(id, seq)
        .map(|(name, value)| format!(",\"{name}\":{value}"))
        .peekable();
    while let Some(field) = fields.next_if(|field| text.len() + field.len() <= room) {
        text.push_str(&field);
    }
    if fields.peek().is_none() && text.len() + SAMPLES_FROM <= room {
        write_samples(&mut text, id, seq, room);
    }
    text.extend(iter::repeat_n(' ', room.saturating_sub(text.len())));
    text.push('}');
    text.into_bytes()
}

/// Names and values.
fn fields(id: u64, seq: u64) -> impl Iterator<Item = (&'static str, String)> {
    let ts = BEGIN_MS + seq * INTERVAL_MS + id % INTERVAL_MS + mixed(id, seq) % LATE_MS;
    let state = if mixed(id, seq / TURN).is_multiple_of(50) {
        "\"degraded\""
    } else {
        "\"running\""
    };
    let values = SENSORS
        .iter()
        .map(move |sensor| (sensor.name, sensor.text(sensor.value(id, seq))));
    iter::once(("ts", ts.to_string()))
        .chain(values)
        .chain([("fw", "\"2.4.1\"".into()), ("state", state.into())])
}

/// As of a sensor that reports seldom.
fn write_samples(text: &mut String, id: u64, seq: u64, room: usize) {
    let [sensor, ..] = &SENSORS;
    text.push_str(",\"samples\":[0");
    for number in 1.. {
        let sample = format!(",{}", sensor.text(sensor.value(id, seq + number)));
        if text.len() + sample.len() >= room {
            break;
        }
        text.push_str(&sample);
    }
    text.push(']');
}

/// A fleet of devices.
#[derive(Debug)]
pub struct Telemetry {
    names: Vec<String>,
    /// How many readings the devices have behind them.
    age: u64,
    sent: u64,
}

impl Telemetry {
    /// A fleet. The same seed makes the same messages.
    pub fn new(seed: u64) -> Self {
        Self {
            names: (0..DEVICES)
                .map(|number| format!("pump-{:04}", 1000 + 7 * number))
                .collect(),
            age: Seed::new(seed).between(10_000, 90_000),
            sent: 0,
        }
    }

    /// The next message: the device's name and its payload.
    pub fn next(&mut self) -> (&str, String) {
        let turn = self.sent % DEVICES;
        let name = &self.names[usize::try_from(turn).expect("there are few devices")];
        let reading = reading(name, self.age + self.sent / DEVICES, USUAL_BYTES);
        self.sent += 1;
        (name, String::from_utf8(reading).expect("JSON is text"))
    }
}
