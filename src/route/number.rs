//! Decimal numbers of any size and precision, to be compared: `1.0` is `1`, and 2⁶⁴+1 is not 2⁶⁴.

use std::cmp::Ordering;

/// A decimal number as JSON writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Number {
    is_negative: bool,
    /// The value is 0.`digits` times ten to the power of this.
    exponent: i64,
    /// Without zeros at either end; empty for zero.
    digits: String,
}

/// Exponents beyond are taken for this one: no number that means anything has a trillion digits.
const EXPONENT_MAX: i64 = 1 << 40;

impl std::fmt::Display for Number {
    /// As JSON may write it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.is_negative { "-" } else { "" };
        match self.digits.as_str() {
            "" => f.write_str("0"),
            digits => write!(f, "{sign}0.{digits}e{}", self.exponent),
        }
    }
}

impl Number {
    /// Reads a number as JSON writes it. `None` for anything else, also for `007`, `+1`, `.5` and `NaN`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (is_negative, unsigned) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, power) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, power)) => (mantissa, parse_power(power)?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (mantissa, ""),
        };
        let is_plain = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        let has_zeros_before = whole.len() > 1 && whole.starts_with('0');
        if whole.is_empty() || has_zeros_before || !is_plain(whole) || !is_plain(fraction) {
            return None;
        }
        Some(Self::normal(is_negative, whole, fraction, power))
    }

    fn normal(is_negative: bool, whole: &str, fraction: &str, power: i64) -> Self {
        let all = format!("{whole}{fraction}");
        let without_zeros_before = all.trim_start_matches('0');
        let zeros_before = all.len() - without_zeros_before.len();
        let digits = without_zeros_before.trim_end_matches('0').to_owned();
        if digits.is_empty() {
            return Self {
                is_negative: false,
                exponent: 0,
                digits,
            };
        }
        let length = |count: usize| i64::try_from(count).unwrap_or(EXPONENT_MAX);
        let exponent = power + length(whole.len()) - length(zeros_before);
        Self {
            is_negative,
            exponent: exponent.clamp(-EXPONENT_MAX, EXPONENT_MAX),
            digits,
        }
    }

    fn sign(&self) -> i8 {
        match (self.digits.is_empty(), self.is_negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }

    /// Without the sign.
    fn size(&self) -> (i64, &str) {
        (self.exponent, &self.digits)
    }
}

fn parse_power(text: &str) -> Option<i64> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let power = digits.parse().unwrap_or(EXPONENT_MAX).min(EXPONENT_MAX);
    Some(if is_negative { -power } else { power })
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_size = || match self.sign() {
            // Digits compare as text: what is missing at the end is smaller than any digit but zero, which none ends with.
            1 => self.size().cmp(&other.size()),
            _ => other.size().cmp(&self.size()),
        };
        self.sign().cmp(&other.sign()).then_with(by_size)
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> Number {
        Number::parse(text).expect("a number")
    }

    #[test]
    fn one_number_has_many_spellings() {
        for same in [
            &["0", "-0", "0.0", "0e5", "-0.00e-7"][..],
            &["1", "1.0", "10e-1", "0.1E1", "1e0", "1E+0"],
            &["-120", "-1.2e2", "-0.0120e4"],
            &["1e400", "10E399"],
        ] {
            for text in same {
                assert_eq!(number(text), number(same[0]), "{text}");
            }
        }
    }

    #[test]
    fn numbers_that_differ_in_the_last_digit_differ() {
        let ascending = [
            "-1e400",
            "-18446744073709551617",
            "-18446744073709551616",
            "-1.01",
            "-1",
            "-1e-9999999999999999999999",
            "0",
            "1e-400",
            "0.09",
            "0.1",
            "0.11",
            "9007199254740992",
            "9007199254740993",
            "18446744073709551616",
            "18446744073709551617",
            "1e400",
            "1e99999999999999999999999",
        ];
        for pair in ascending.windows(2) {
            assert!(number(pair[0]) < number(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn what_json_does_not_take_for_a_number_is_none() {
        for text in [
            "", "-", "+1", "007", "00", ".5", "5.", "1e", "1e+", "0x10", "NaN", "inf", " 1", "1 ", "1_0",
            "1e1.0", "--1", "١",
        ] {
            assert_eq!(Number::parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn parsing_numbers_never_panics(any in any::<String>(), near in "-?[0-9]{0,3}(\\.[0-9]{0,3})?([eE][+-]?[0-9]{0,22})?") {
            for text in [any, near] {
                let is_json = serde_json::from_str::<&serde_json::value::RawValue>(&text)
                    .is_ok_and(|raw| raw.get() == text && text.starts_with(|c: char| c == '-' || c.is_ascii_digit()));
                prop_assert_eq!(Number::parse(&text).is_some(), is_json, "{:?}", text);
            }
        }

        #[test]
        fn order_is_that_of_small_numbers(a in -2000_i64..2000, b in -2000_i64..2000, zeros in 0_usize..3) {
            let text = |value: i64| format!("{}.{:02}{}", value / 100, (value % 100).abs(), "0".repeat(zeros));
            // The sign of -0.5 is lost in that.
            prop_assume!((a >= 0 || a <= -100) && (b >= 0 || b <= -100));
            prop_assert_eq!(number(&text(a)).cmp(&number(&text(b))), a.cmp(&b));
        }
    }
}
