//! Numbers that no reader can hold. Kafnus makes a double of each number: `1e400` would become infinity, and then `null`.

/// Shortest number without an exponent that can be over the largest double, digits.
const LONG: usize = 309;

/// The first number in a JSON text that is over every double.
#[must_use]
pub fn overflowing(json: &str) -> Option<&str> {
    let is_part = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-');
    let mut left = json;
    loop {
        let begin = left
            .bytes()
            .position(|byte| byte == b'"' || byte == b'-' || byte.is_ascii_digit())?;
        left = left.get(begin..)?;
        if let Some(inner) = left.strip_prefix('"') {
            left = inner.get(end_of_string(inner)?..)?;
            continue;
        }
        let length = left.bytes().take_while(|byte| is_part(byte)).count();
        let (number, behind) = left.split_at_checked(length)?;
        if is_infinite(number) {
            return Some(number);
        }
        left = behind;
    }
}

fn is_infinite(number: &str) -> bool {
    let may_be = number.len() >= LONG || number.contains(['e', 'E']);
    may_be && number.parse::<f64>().is_ok_and(f64::is_infinite)
}

/// Bytes up to and with the closing quote.
fn end_of_string(inner: &str) -> Option<usize> {
    let mut is_escaped = false;
    let end = inner.bytes().position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    })?;
    Some(end + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_numbers_over_every_double_are_found() {
        let long = "9".repeat(400);
        assert_eq!(overflowing("{\"a\":1e400}"), Some("1e400"));
        assert_eq!(overflowing("[1,-1E+999]"), Some("-1E+999"));
        assert_eq!(overflowing(&format!("[{long}]")), Some(long.as_str()));
        for fine in [
            "",
            "1e308",
            "12345678901234567890",
            "1e-400",
            "\"1e400\"",
            "{\"1e400\":\"\\\\\",\"b\":\"\\\"1e400\"}",
            "true",
            "\"open 1e400",
        ] {
            assert_eq!(overflowing(fine), None, "{fine}");
        }
    }

    proptest! {
        #[test]
        fn looking_for_numbers_never_panics(text in "\\PC{0,60}|[\"\\\\0-9eE+.-]{0,40}") {
            let _number = overflowing(&text);
        }
    }
}
