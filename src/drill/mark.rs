//! The mark that is in the payload of each message, so that it can be followed through every format.

use std::ops::Range;

/// Letters and digits alone: no format has to escape them.
const HEAD: &str = "edrill";
const TAIL: &str = "z";
const DIGITS: usize = 8;

/// The mark of a message.
pub(super) fn of(number: u64) -> String {
    format!("{HEAD}{number:0DIGITS$}{TAIL}")
}

/// The number in the first mark that is in `bytes`.
pub(super) fn find(bytes: &[u8]) -> Option<u64> {
    memchr::memmem::find_iter(bytes, HEAD).find_map(|begin| {
        let digits: Range<usize> = begin + HEAD.len()..begin + HEAD.len() + DIGITS;
        let behind = bytes.get(digits.end..)?;
        let digits = std::str::from_utf8(bytes.get(digits)?).ok()?;
        let is_whole =
            behind.starts_with(TAIL.as_bytes()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_whole.then(|| digits.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_wherever_it_stands() {
        assert_eq!(of(7), "edrill00000007z");
        for text in [
            of(7),
            format!("{{\"a\":\"{}\"}}", of(7)),
            format!("edrill1 {}", of(7)),
        ] {
            assert_eq!(find(text.as_bytes()), Some(7), "{text}");
        }
        for text in ["", "edrill", "edrill0000000", "edrill0000000xz", "edrill00000007"] {
            assert_eq!(find(text.as_bytes()), None, "{text}");
        }
    }
}
