//! JSON telemetry as sensors send it: compression decides how much is written, so what is measured with has to be like
//! what is real.
//!
//! A message is a reading of one device: its name, the time in milliseconds, a number, six values and a state, as compact
//! JSON of about 200 bytes. The values walk from reading to reading in small steps, like temperatures do, and are written
//! with the digits that a sensor gives. Nothing is padding. The same seed makes the same messages.

use super::seed::Seed;

/// Devices that report in turn.
pub const DEVICES: usize = 100;
/// 2026-01-01, milliseconds.
const BEGIN_MS: u64 = 1_767_225_600_000;

/// A fleet of devices.
#[derive(Debug)]
pub struct Telemetry {
    seed: Seed,
    devices: Vec<Device>,
    sent: u64,
    /// Microseconds between two messages of the fleet.
    pace_us: u64,
}

#[derive(Debug)]
struct Device {
    name: String,
    seq: u64,
    /// Hundredths of a degree, tenths of a percent, hundredths of a hectopascal, micrometres per second,
    /// millivolts, and decibels below a milliwatt.
    values: [i64; 6],
}

/// Largest step of each value, in its unit.
const STEPS: [u64; 6] = [8, 4, 3, 60, 2, 3];

impl Telemetry {
    /// A fleet that sends `rate` messages each second.
    pub fn new(seed: u64, rate: u32) -> Self {
        let mut seed = Seed::new(seed);
        let devices = (0..DEVICES)
            .map(|number| Device::new(number, &mut seed))
            .collect();
        Self {
            seed,
            devices,
            sent: 0,
            pace_us: 1_000_000 / u64::from(rate),
        }
    }

    /// The next message: the device's name and its payload.
    pub fn next(&mut self) -> (&str, String) {
        let index = usize::try_from(self.sent % DEVICES as u64).expect("there are few devices");
        // Devices do not report on the dot.
        let at = BEGIN_MS + self.sent * self.pace_us / 1000 + self.seed.between(0, 20);
        self.sent += 1;
        let device = self.devices.get_mut(index).expect("the index is one of theirs");
        let payload = device.reading(at, &mut self.seed);
        (&device.name, payload)
    }
}

impl Device {
    fn new(number: usize, seed: &mut Seed) -> Self {
        let between =
            |low: u64, high: u64, seed: &mut Seed| i64::try_from(seed.between(low, high)).expect("small");
        Self {
            name: format!("pump-{:04}", 1000 + 7 * number),
            seq: seed.between(10_000, 90_000),
            values: [
                between(1_500, 6_500, seed),
                between(300, 700, seed),
                between(98_000, 103_000, seed),
                between(1_000, 9_000, seed),
                between(3_100, 3_400, seed),
                between(60, 95, seed),
            ],
        }
    }

    fn reading(&mut self, at: u64, seed: &mut Seed) -> String {
        for (value, step) in self.values.iter_mut().zip(STEPS) {
            let change = i64::try_from(seed.between(0, 2 * step + 1)).expect("small") - step.cast_signed();
            *value = (*value + change).abs();
        }
        self.seq += 1;
        let [temperature, humidity, pressure, vibration, supply, signal] = self.values;
        let state = if seed.between(0, 50) == 0 {
            "degraded"
        } else {
            "running"
        };
        format!(
            "{{\"device\":\"{}\",\"ts\":{at},\"seq\":{},\"temperature\":{}.{:02},\"humidity\":{}.{},\
             \"pressure\":{}.{:02},\"vibration_mm_s\":{}.{:03},\"supply_v\":{}.{:03},\"rssi_dbm\":-{signal},\
             \"firmware\":\"2.4.1\",\"state\":\"{state}\"}}",
            self.name,
            self.seq,
            temperature / 100,
            temperature % 100,
            humidity / 10,
            humidity % 10,
            pressure / 100,
            pressure % 100,
            vibration / 1000,
            vibration % 1000,
            supply / 1000,
            supply % 1000,
        )
    }
}
