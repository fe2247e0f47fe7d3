//! Secrets and certificates: small files that are named in the configuration and read when they are needed.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::files::{self, NoCredentials};

/// No password and no token is longer; a wrong path must not fill the memory.
pub const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Reading it might wait for ever.
    #[error("{0} is not a file")]
    NoFile(PathBuf),
    /// There is nothing in it.
    #[error("{0} is empty")]
    Empty(PathBuf),
    /// It holds something else than a secret.
    #[error("{0} holds something else than one line of text, 64 KiB at most")]
    NoText(PathBuf),
    /// It is far too large for what it should hold.
    #[error("{path} is over {limit} bytes, which is more than it can need")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What is read of such a file at most, bytes.
        limit: u64,
    },
    /// The path is relative to the credentials of a service.
    #[error(transparent)]
    NoCredentials(#[from] NoCredentials),
}

/// One line of text; its end is not part of it.
///
/// # Errors
/// [`SecretError`]
pub fn line(path: &Path) -> Result<String, SecretError> {
    let no_text = || SecretError::NoText(path.to_owned());
    let bytes = bytes(path, SECRET_BYTES_MAX).map_err(|error| match error {
        SecretError::TooLarge { .. } => no_text(),
        error => error,
    })?;
    let text = String::from_utf8(bytes).map_err(|_| no_text())?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(SecretError::Empty(path.to_owned())),
        line if line.contains(['\0', '\n']) => Err(no_text()),
        line => Ok(line.to_owned()),
    }
}

/// All of a file of `limit` bytes at most.
///
/// # Errors
/// [`SecretError`]
pub fn bytes(path: &Path, limit: u64) -> Result<Vec<u8>, SecretError> {
    let path = files::in_credentials(path)?;
    let unreadable = |source| SecretError::Unreadable {
        path: path.clone(),
        source,
    };
    // Opening a pipe would wait for its writer.
    if !fs::metadata(&path).map_err(unreadable)?.is_file() {
        return Err(SecretError::NoFile(path));
    }
    let file = File::open(&path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > limit {
        return Err(SecretError::TooLarge { path, limit });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(contents: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("temp file");
        fs::write(file.path(), contents).expect("writes");
        file
    }

    #[test]
    fn a_secret_is_one_line() {
        let secret = |contents: &[u8]| line(file(contents).path()).map_err(|error| error.to_string());
        assert_eq!(secret(b" pass word\r\n").as_deref(), Ok(" pass word"));
        for (contents, what) in [
            (&b""[..], "is empty"),
            (b"\n", "is empty"),
            (b"a\nb", "one line of text"),
            (b"a\0b", "one line of text"),
            (b"\xff", "one line of text"),
            (&vec![b'a'; 65 * 1024], "one line of text"),
        ] {
            assert!(
                secret(contents).is_err_and(|error| error.contains(what)),
                "{what}"
            );
        }
        assert!(
            line(Path::new("/no/such/file"))
                .is_err_and(|error| error.to_string().starts_with("/no/such/file: "))
        );
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).expect("a pipe");
        for path in [folder.path(), &pipe] {
            assert!(matches!(line(path), Err(SecretError::NoFile(_))), "{path:?}");
        }
    }

    #[test]
    fn a_file_may_be_as_large_as_its_limit() {
        let file = file(&[b'a'; 100]);
        assert_eq!(bytes(file.path(), 100).map(|bytes| bytes.len()).ok(), Some(100));
        assert!(matches!(
            bytes(file.path(), 99),
            Err(SecretError::TooLarge { limit: 99, .. })
        ));
    }
}
