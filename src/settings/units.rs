//! Sizes and durations as they are written in the file.

use std::fmt::{self, Display};
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A number of bytes: `"64 MiB"`, `"1 GB"`, or a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(pub u64);

/// A duration: `"10ms"`, `"30s"`, `"30days"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Period(pub Duration);

/// An amount of bytes for each day: `"2 GiB/day"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PerDay(pub Size);

/// What may be sent in each second: `"64 KiB/s"` or `"500 msg/s"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub enum Rate {
    /// Bytes of records, before compression.
    Bytes(u64),
    /// Records.
    Messages(u64),
}

/// Why a text is not what its setting needs. Says what would be right behind a semicolon, where the reader
/// of the file parts it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    #[error("{0:?} is not a size; write for example \"64 MiB\"")]
    Size(String),
    #[error("{0:?} is not a duration; write for example \"30s\"")]
    Duration(String),
    #[error("{0:?} is not an amount for each day; write for example \"2 GiB/day\"")]
    PerDay(String),
    #[error("{0:?} is not a rate; write for example \"64 KiB/s\" or \"500 msg/s\"")]
    Rate(String),
}

impl Size {
    pub(crate) const fn kib(count: u64) -> Self {
        Self(count * bytesize::KIB)
    }

    pub(crate) const fn mib(count: u64) -> Self {
        Self(count * bytesize::MIB)
    }
}

impl Period {
    pub(crate) const fn secs(count: u64) -> Self {
        Self(Duration::from_secs(count))
    }

    pub(crate) const fn millis(count: u64) -> Self {
        Self(Duration::from_millis(count))
    }

    /// Without the part of a second that MQTT cannot say.
    pub(crate) const fn whole_secs(self) -> Duration {
        Duration::from_secs(self.0.as_secs())
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<ByteSize>()
            .map(|size| Self(size.0))
            .map_err(|_| UnitError::Size(text.to_owned()))
    }
}

impl FromStr for PerDay {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let size = text
            .strip_suffix("/day")
            .and_then(|size| size.trim_end().parse().ok());
        size.map(Self).ok_or_else(|| UnitError::PerDay(text.to_owned()))
    }
}

impl Rate {
    /// The least one of its unit: with less, a single message could take for ever.
    pub(crate) const fn least(self) -> Self {
        match self {
            Self::Bytes(_) => Self::Bytes(bytesize::KIB),
            Self::Messages(_) => Self::Messages(1),
        }
    }

    /// How much in each second, whatever is counted.
    #[must_use]
    pub const fn per_second(self) -> u64 {
        match self {
            Self::Bytes(amount) | Self::Messages(amount) => amount,
        }
    }
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let amount = text.strip_suffix("/s")?.trim_end();
            match amount.strip_suffix("msg") {
                Some(count) => count.trim_end().parse().ok().map(Self::Messages),
                // A bare number would leave open what is counted.
                None if amount.ends_with(|end: char| end.is_ascii_digit()) => None,
                None => amount.parse().ok().map(|Size(bytes)| Self::Bytes(bytes)),
            }
        };
        parse().ok_or_else(|| UnitError::Rate(text.to_owned()))
    }
}

impl FromStr for Period {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        humantime::parse_duration(text)
            .map(Self)
            .map_err(|_| UnitError::Duration(text.to_owned()))
    }
}

impl Display for Size {
    /// In binary units, such as `1.5 MiB`; the exact number of bytes where that would round.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounded = ByteSize::b(self.0).display().iec().to_string();
        match rounded.parse::<ByteSize>() {
            Ok(ByteSize(bytes)) if bytes == self.0 => f.write_str(&rounded),
            _ => write!(f, "{} bytes", self.0),
        }
    }
}

impl Display for PerDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/day", self.0)
    }
}

impl Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{}/s", Size(*bytes)),
            Self::Messages(count) => write!(f, "{count} msg/s"),
        }
    }
}

impl Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as \"64 MiB\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Size, E> {
        Ok(Size(bytes))
    }

    fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Size, E> {
        let refuse = |_| E::invalid_value(de::Unexpected::Signed(bytes), &self);
        u64::try_from(bytes).map(Size).map_err(refuse)
    }
}

struct PeriodVisitor;

impl Visitor<'_> for PeriodVisitor {
    type Value = Period;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration with its unit, such as \"30s\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Period, E> {
        text.parse().map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

impl<'de> Deserialize<'de> for PerDay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(PeriodVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: FromStr + Display>(text: &str) -> String
    where
        T::Err: Display,
    {
        text.parse::<T>()
            .map_or_else(|error| error.to_string(), |value| value.to_string())
    }

    #[test]
    fn sizes() {
        assert_eq!(check::<Size>("64 MiB"), "64.0 MiB");
        assert_eq!(check::<Size>("64MiB"), "64.0 MiB");
        assert_eq!(check::<Size>("1 GB"), "1000000000 bytes");
        assert_eq!(check::<Size>("17"), "17 B");
        assert_eq!(
            check::<Size>("-1"),
            "\"-1\" is not a size; write for example \"64 MiB\""
        );
        assert_eq!(
            check::<Size>("much"),
            "\"much\" is not a size; write for example \"64 MiB\""
        );
    }

    #[test]
    fn amounts_for_each_day() {
        assert_eq!(check::<PerDay>("2GiB/day"), "2.0 GiB/day");
        assert_eq!(check::<PerDay>("500 MB /day"), "500000000 bytes/day");
        assert_eq!(
            check::<PerDay>("2 GiB"),
            "\"2 GiB\" is not an amount for each day; write for example \"2 GiB/day\""
        );
    }

    #[test]
    fn rates() {
        assert_eq!(check::<Rate>("64 KiB/s"), "64.0 KiB/s");
        assert_eq!(check::<Rate>("64KiB /s"), "64.0 KiB/s");
        assert_eq!(check::<Rate>("500 msg/s"), "500 msg/s");
        assert_eq!(check::<Rate>("500msg/s"), "500 msg/s");
        for bad in [
            "500",
            "500/s",
            "64 KiB",
            "-1 msg/s",
            "1.5 msg/s",
            "fast/s",
            "/s",
            "",
        ] {
            assert_eq!(
                check::<Rate>(bad),
                format!("{bad:?} is not a rate; write for example \"64 KiB/s\" or \"500 msg/s\"")
            );
        }
        assert!(Rate::Bytes(1023) < Rate::Bytes(1023).least());
        assert!(Rate::Messages(1) >= Rate::Messages(1).least());
    }

    #[test]
    fn durations() {
        assert_eq!(check::<Period>("10ms"), "10ms");
        assert_eq!(check::<Period>("30days"), "30days");
        assert_eq!(check::<Period>("0s"), "0s");
        assert_eq!(
            check::<Period>("10 parsecs"),
            "\"10 parsecs\" is not a duration; write for example \"30s\""
        );
        assert_eq!(
            check::<Period>("30"),
            "\"30\" is not a duration; write for example \"30s\""
        );
    }
}
