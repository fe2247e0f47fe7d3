//! Times of devices, and times as NGSIv2's readers want them: RFC 3339, UTC, exactly three fraction digits. The readers of
//! Kafnus take six digits for milliseconds, and none for an error.
//!
//! Of devices everything is taken that can mean one time only: RFC 3339, also with an offset as ISO 8601 shortens it, and a number of
//! seconds or milliseconds since 1970, which are told apart by their digits: 10 or 13, from 2001 on.

use std::time::UNIX_EPOCH;

/// Characters of `2016-06-13T00:35:30`.
const SECONDS_LEN: usize = 19;
/// Fraction digits that are looked at; further ones are below a nanosecond.
const FRACTION_MAX: usize = 9;

/// What a device's time may be, for complaints.
pub const RULE: &str =
    "an RFC 3339 time with an offset, or seconds (10 digits) or milliseconds (13 digits) since 1970";

/// Milliseconds since 1970 of a device's time; digits below the millisecond are cut. `None` for anything that is not [`RULE`], and
/// for a time that the wire format cannot say: before 1970 or after 9999.
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    let ms = rfc3339(text).or_else(|| since_1970(text))?;
    (0..=LATEST_MS).contains(&ms).then_some(ms)
}

fn rfc3339(text: &str) -> Option<i64> {
    let (seconds, rest) = text.split_at_checked(SECONDS_LEN)?;
    let (fraction, offset_ms) = split_offset(rest)?;
    let fraction_ms = fraction_ms(fraction)?;
    let upper = seconds.replace(['t', ' '], "T");
    let time = humantime::parse_rfc3339(&format!("{upper}Z")).ok()?;
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    let local = i64::try_from(since.as_millis()).ok()?;
    local.checked_add(fraction_ms)?.checked_sub(offset_ms)
}

/// Ten digits are seconds and thirteen milliseconds: as the other they would be a day of 1970, or the year 33658.
fn since_1970(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let fraction_ms = fraction_ms(fraction)?;
    let is_number = !whole.starts_with('0') && whole.bytes().all(|byte| byte.is_ascii_digit());
    let number: i64 = whole.parse().ok().filter(|_| is_number)?;
    match whole.len() {
        10 => Some(number * 1_000 + fraction_ms),
        13 => Some(number),
        _ => None,
    }
}

/// The end of the year 9999.
pub const LATEST_MS: i64 = 253_402_300_799_999;

/// What is before the offset, and the offset in milliseconds.
fn split_offset(rest: &str) -> Option<(&str, i64)> {
    if let Some(fraction) = rest.strip_suffix(['Z', 'z']) {
        return Some((fraction, 0));
    }
    let (fraction, offset) = rest.split_at_checked(rest.find(['+', '-'])?)?;
    let (sign, digits) = match offset.strip_prefix('+') {
        Some(digits) => (1, digits),
        None => (-1, offset.strip_prefix('-')?),
    };
    let (hours, minutes) = match digits.len() {
        // ISO 8601 also has +0200 and +02.
        2 => (digits, "00"),
        4 => digits.split_at_checked(2)?,
        _ => digits.split_once(':')?,
    };
    let (hours, minutes) = (two_digits(hours, 23)?, two_digits(minutes, 59)?);
    Some((fraction, sign * (hours * 60 + minutes) * 60_000))
}

fn two_digits(text: &str, most: i64) -> Option<i64> {
    let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| is_number)?;
    (0..=most).contains(&number).then_some(number)
}

/// `.5` is 500 milliseconds.
fn fraction_ms(text: &str) -> Option<i64> {
    if text.is_empty() {
        return Some(0);
    }
    let digits = text.strip_prefix('.')?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let kept: String = digits.chars().chain("00".chars()).take(3).collect();
    (digits.len() <= FRACTION_MAX).then(|| kept.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::rfc3339;

    fn normal(text: &str) -> Option<String> {
        parse(text).map(rfc3339)
    }

    #[test]
    fn times_come_out_in_utc_with_three_digits() {
        for (text, expected) in [
            ("2016-06-13T00:35:30Z", "2016-06-13T00:35:30.000Z"),
            ("2016-06-13T00:35:30.5Z", "2016-06-13T00:35:30.500Z"),
            ("2016-06-13T00:35:30.123456Z", "2016-06-13T00:35:30.123Z"),
            ("2016-06-13T00:35:30.999999999Z", "2016-06-13T00:35:30.999Z"),
            ("2016-06-13t00:35:30z", "2016-06-13T00:35:30.000Z"),
            ("2016-06-13T00:35:30+02:00", "2016-06-12T22:35:30.000Z"),
            ("2016-06-13T00:35:30.250-05:30", "2016-06-13T06:05:30.250Z"),
            ("2024-02-29T12:00:00Z", "2024-02-29T12:00:00.000Z"),
        ] {
            assert_eq!(normal(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_time_that_can_mean_one_thing_only_is_taken() {
        for (text, expected) in [
            ("2016-06-13T00:35:30+0200", "2016-06-12T22:35:30.000Z"),
            ("2016-06-13T00:35:30.25-0530", "2016-06-13T06:05:30.250Z"),
            ("2016-06-13T00:35:30+02", "2016-06-12T22:35:30.000Z"),
            ("2016-06-13 00:35:30Z", "2016-06-13T00:35:30.000Z"),
            ("1465778130", "2016-06-13T00:35:30.000Z"),
            ("1465778130.5", "2016-06-13T00:35:30.500Z"),
            ("1465778130123", "2016-06-13T00:35:30.123Z"),
            ("1465778130123.9", "2016-06-13T00:35:30.123Z"),
        ] {
            assert_eq!(normal(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_with_an_offset_is_none() {
        for text in [
            "",
            "yesterday",
            "2016-06-13",
            "2016-06-13T00:35:30",
            "2016-06-13T00:35Z",
            "2016-06-13T00:35:30.Z",
            "2016-06-13T00:35:30,5Z",
            "2016-06-13T00:35:30.1234567890Z",
            "2016-06-13T00:35:30+2:00",
            "2016-06-13T00:35:30+24:00",
            "2016-06-13T00:35:30+02:60",
            "2016-06-13T00:35:30+020",
            "2016-06-13T00:35:30+02:00:00",
            "2016-06-13T00:35:30+02-00",
            "2016-13-13T00:35:30Z",
            "2023-02-29T12:00:00Z",
            "2016-06-13T25:35:30Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "5",
            "146577813",
            "0465778130",
            "14657781300",
            "1465778130123456",
            "-1465778130",
            "1.465778130e9",
            "1465778130.",
            "2016-06-13T00:35:3\u{e9}Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_time_that_was_written_by_us_is_read_back(ms in 0..=LATEST_MS) {
            prop_assert_eq!(parse(&rfc3339(ms)), Some(ms));
        }

        #[test]
        fn reading_a_time_never_panics(text in "\\PC{0,40}|[0-9TZtz:.+-]{15,40}") {
            let _ms = parse(&text);
        }
    }
}
