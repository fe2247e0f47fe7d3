//! What a key file may look like.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding};
use zeroize::Zeroizing;

use crate::files::{self, NoCredentials};

/// Length of a key of XChaCha20-Poly1305.
pub(super) const KEY_BYTES: usize = 32;
/// The longest form, 64 hex digits, and a line end; one byte more shows a file that is longer.
const FILE_BYTES_MAX: u64 = 64 + 2 + 1;
const OTHERS_MAY_READ: u32 = 0o004;

/// Why a file gives no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("key file {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The path is relative to the credentials of a service, and there are none.
    #[error("key file {0}")]
    NoCredentials(#[from] NoCredentials),
    /// It holds something else.
    #[error(
        "key file {path}: {found}; it must hold 32 random bytes, or the same written as 64 hex digits or as base64 in \
         one line: openssl rand -hex 32 makes one"
    )]
    NoKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        found: &'static str,
    },
}

/// What a key file gives.
pub(super) struct KeyFile {
    pub(super) key: Zeroizing<[u8; KEY_BYTES]>,
    /// Everybody on this machine may read it.
    pub(super) exposed: bool,
}

/// Reads a key.
pub(super) fn read(path: &Path) -> Result<KeyFile, KeyFileError> {
    let path = &files::in_credentials(path)?;
    let unreadable = |source| KeyFileError::Unreadable {
        path: path.clone(),
        source,
    };
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    // Its full length from the start: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * KEY_BYTES + 3));
    file.take(FILE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    let key = parse(&bytes).map_err(|found| KeyFileError::NoKey {
        path: path.clone(),
        found,
    })?;
    let exposed = mode & OTHERS_MAY_READ != 0;
    Ok(KeyFile { key, exposed })
}

/// The key in the contents of a file, or what they are instead.
fn parse(bytes: &[u8]) -> Result<Zeroizing<[u8; KEY_BYTES]>, &'static str> {
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    if let Ok(raw) = <&[u8; KEY_BYTES]>::try_from(bytes) {
        // 32 random bytes are never all printable: this is half a key in hex, or a password.
        if raw.iter().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err("holds a text of 32 characters, which is too easy to guess");
        }
        *key = *raw;
    } else if line.len() == 2 * KEY_BYTES {
        for (byte, digits) in key.iter_mut().zip(line.chunks(2)) {
            *byte = hex_byte(digits).ok_or("holds 64 characters that are not all hex digits")?;
        }
    } else {
        let decoded = Base64::decode(line, &mut *key).map(<[u8]>::len);
        if decoded != Ok(KEY_BYTES) {
            return Err(match bytes.len() {
                0 => "is empty",
                _ => "holds something else than a key",
            });
        }
    }
    if key.iter().all(|byte| Some(byte) == key.first()) {
        return Err("holds the same byte 32 times");
    }
    Ok(key)
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let [high, low] = digits else { return None };
    let value = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(value(*high)? << 4 | value(*low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; KEY_BYTES] = *b"\x00\xff0123456789abcdefghijklmnopqr\r\n";

    #[test]
    fn a_key_is_raw_or_hex_or_base64() {
        let hex = KEY.map(|byte| format!("{byte:02x}")).concat();
        let base64 = Base64::encode_string(&KEY);
        assert_eq!(parse(&KEY).as_deref(), Ok(&KEY));
        for text in [hex.clone(), hex.to_uppercase(), base64] {
            for end in ["", "\n", "\r\n"] {
                let text = format!("{text}{end}");
                assert_eq!(parse(text.as_bytes()).as_deref(), Ok(&KEY), "{text:?}");
            }
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let hex = "0123456789abcdef".repeat(4);
        let too_long = format!("{hex}\r\n ");
        let two_lines = format!("{hex}\n\n");
        let not_hex = format!("{}g", hex.split_at(63).0);
        let short_base64 = Base64::encode_string(&KEY[..31]);
        let long_base64 = Base64::encode_string(&[&KEY[..], &[7]].concat());
        let raw_and_line_end = [&KEY[..30], b"\xfe\xfe\n"].concat();
        for text in [
            "",
            "\n",
            "correct horse battery staple 123",
            "0123456789abcdef0123456789abcdef",
            &too_long,
            &two_lines,
            &not_hex,
            &short_base64,
            &long_base64,
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(parse(&raw_and_line_end).is_err());
        assert!(parse(&[0; KEY_BYTES]).is_err());
        assert!(parse("00".repeat(32).as_bytes()).is_err());
    }

    #[test]
    fn a_file_that_is_no_key_says_what_would_be_right() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("key");
        let error = read(&path).err().expect("missing").to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
        std::fs::write(&path, "secret").expect("writes");
        let error = read(&path).err().expect("no key").to_string();
        assert!(error.contains("openssl rand -hex 32"), "{error}");
        assert!(!error.contains("secret"), "{error}");
        let error = read(Path::new("$CREDENTIALS_DIRECTORY/queue-key"))
            .err()
            .expect("not a service");
        assert!(matches!(error, KeyFileError::NoCredentials { .. }), "{error}");
    }
}
