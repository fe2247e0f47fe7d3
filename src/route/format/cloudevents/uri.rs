//! URI references (RFC 3986), which `source` has to be.

use std::fmt::Write as _;
use std::net::Ipv6Addr;

/// What a path may have besides letters, digits and escapes, but for `:` and `@`.
const PLAIN: &[u8] = b"-._~!$&'()*+,;=";

/// A value as part of a reference: it stays text. Everything that could mean something is percent-encoded, but for `/`, because the
/// levels of a topic are segments of a path. Different values stay different.
pub fn value(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte == b'/' || byte.is_ascii_alphanumeric() || PLAIN.contains(&byte) {
            written.push(char::from(byte));
        } else if write!(written, "%{byte:02X}").is_err() {
            // Writing into a string does not fail.
            return String::new();
        }
    }
    written
}

/// Whether it is a URI reference: a URI, or what may stand for one relative to another.
pub fn is_reference(text: &str) -> bool {
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let first = rest.split('/').next().unwrap_or_default();
    // A colon in the first segment ends a scheme, or there may be none.
    let rest = match first.contains(':').then(|| rest.split_once(':')).flatten() {
        Some((scheme, _)) if !is_scheme(scheme) => return false,
        Some((_, behind)) => behind,
        None => rest,
    };
    let (authority, path) = match rest.strip_prefix("//") {
        Some(behind) => behind.split_at(behind.find('/').unwrap_or(behind.len())),
        None => ("", rest),
    };
    is_authority(authority)
        && is_made_of(path, b"/:@")
        && is_made_of(query, b"/:@?")
        && is_made_of(fragment, b"/:@?")
}

fn is_scheme(text: &str) -> bool {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.bytes().all(is_fine)
}

/// `user@host:port`, of which only the host has to be there; it may be empty.
fn is_authority(text: &str) -> bool {
    let (user, host) = text.split_once('@').unwrap_or(("", text));
    let (is_host, port) = match host.strip_prefix('[').map(|inner| inner.split_once(']')) {
        Some(None) => return false,
        Some(Some((address, port))) => (address.parse::<Ipv6Addr>().is_ok(), port),
        None => {
            let (host, port) = host.split_at(host.find(':').unwrap_or(host.len()));
            (is_made_of(host, b""), port)
        }
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    let is_port =
        (port.is_empty() || port.starts_with(':')) && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_made_of(user, b":") && is_host && is_port
}

/// Letters, digits, escapes, [`PLAIN`], and these.
fn is_made_of(text: &str, others: &[u8]) -> bool {
    let mut left = text.as_bytes();
    while let Some((byte, behind)) = left.split_first() {
        left = match (byte, behind) {
            (b'%', [a, b, behind @ ..]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => behind,
            (byte, _) if byte.is_ascii_alphanumeric() || PLAIN.contains(byte) || others.contains(byte) => {
                behind
            }
            _ => return false,
        };
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn references_are_told_from_what_is_none() {
        for fine in [
            "",
            "edgeferry/gw-7",
            "/a/b",
            "//host/a",
            "https://user:x@example.com:443/a;b=1?c=d/e?#f/?",
            "https://[::1]:80/",
            "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66",
            "a/b:c",
            "a%2Fb",
        ] {
            assert!(is_reference(fine), "{fine}");
        }
        for wrong in [
            "a b",
            "s\u{e9}rial",
            "100%",
            "a%2",
            "00:1A",
            "a[0]",
            "a#b#c",
            "//a@b@c",
            "https://[x]/",
            "https://[::1/",
            "https://host:x/",
            "a?[",
        ] {
            assert!(!is_reference(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_value_stays_text_whatever_it_says() {
        for (text, expected) in [
            ("gw-7", "gw-7"),
            ("00:1A", "00%3A1A"),
            ("a[0]", "a%5B0%5D"),
            ("a#b?c", "a%23b%3Fc"),
            ("a@b", "a%40b"),
            ("100%", "100%25"),
            ("a%2Fb", "a%252Fb"),
            ("plants/north", "plants/north"),
            ("h\u{e4}lle 2", "h%C3%A4lle%202"),
        ] {
            assert_eq!(value(text), expected);
        }
    }

    proptest! {
        #[test]
        fn any_value_makes_a_reference(text in "\\PC{0,40}|[:/?#@%\\[\\]a]{0,20}") {
            let written = value(&text);
            for reference in [written.clone(), format!("https://{written}"), format!("https://h/{written}?{written}#{written}")] {
                prop_assert!(is_reference(&reference), "{}", reference);
            }
        }

        #[test]
        fn different_values_stay_different(one in "[%:a2F5]{0,6}", other in "[%:a2F5]{0,6}") {
            prop_assert_eq!(value(&one) == value(&other), one == other);
        }

        #[test]
        fn looking_at_a_reference_never_panics(text in "\\PC{0,40}|[:/?#@%\\[\\]a0]{0,30}") {
            let _is = is_reference(&text);
        }
    }
}
