//! Encryption at rest: blocks are sealed with XChaCha20-Poly1305 before they are cut into chunks.
//!
//! A sealed block is `nonce (24 bytes) | ciphertext | tag (16 bytes)`. What its chunks' headers say of the block as a whole
//! is authenticated with it, so a block cannot be given another place in the log. Chunk checksums are over the sealed
//! bytes: salvage needs no key.
//!
//! The nonce is random. 12 bytes, as in plain ChaCha20-Poly1305, are too few for that: a gateway that writes 100 blocks
//! a second would reach the recommended limit of 2^32 for one key within 16 months, and a counter would begin again on
//! a restored or cloned card. One nonce used twice reveals both blocks. With 24 random bytes it does not happen.
//!
//! The key id in the header only says which key to take: the first four bytes of the tag over nothing under a nonce of
//! zeros, and 1 instead of 0. In memory messages are as they are.

use std::fmt;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, Tag, XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};

mod key_file;
pub(crate) mod key_ids;

pub use key_file::KeyFileError;
pub use key_ids::MissingKeys;

const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;

/// Says which key a block is sealed with. Not a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyId(pub NonZeroU32);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// One key. Wiped from memory when dropped.
struct Key {
    id: KeyId,
    cipher: XChaCha20Poly1305,
    /// As it was named in the configuration.
    path: PathBuf,
    /// Everybody on this machine may read the file.
    exposed: bool,
}

impl Key {
    fn read(path: &Path) -> Result<Self, KeyFileError> {
        let found = key_file::read(path)?;
        let key = Self::new(&found.key, path);
        Ok(Self {
            exposed: found.exposed,
            ..key
        })
    }

    fn new(bytes: &[u8; key_file::KEY_BYTES], path: &Path) -> Self {
        let cipher = XChaCha20Poly1305::new(bytes.into());
        let id = match tag_of_nothing(&cipher) {
            Some([a, b, c, d, ..]) => NonZeroU32::new(u32::from_be_bytes([a, b, c, d])),
            None => None,
        };
        Self {
            id: KeyId(id.unwrap_or(NonZeroU32::MIN)),
            cipher,
            path: path.to_owned(),
            exposed: false,
        }
    }

    fn seal_with(&self, nonce: [u8; NONCE_BYTES], header: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
        let mut body = Vec::with_capacity(NONCE_BYTES + plain.len() + TAG_BYTES);
        body.extend_from_slice(&nonce);
        body.extend_from_slice(plain);
        let (_, sealed) = body.split_at_mut_checked(NONCE_BYTES)?;
        let tag = self
            .cipher
            .encrypt_inout_detached(&XNonce::from(nonce), header, sealed.into())
            .ok()?;
        body.extend_from_slice(&tag);
        Some(body)
    }
}

fn tag_of_nothing(cipher: &XChaCha20Poly1305) -> Option<[u8; TAG_BYTES]> {
    let nonce = XNonce::from([0; NONCE_BYTES]);
    let tag = cipher.encrypt_inout_detached(&nonce, &[], (&mut [][..]).into());
    tag.ok().map(Into::into)
}

/// The keys of a lane: one to seal with, if blocks are to be sealed, and those that older blocks need. Cheap to clone.
#[derive(Clone, Default)]
pub struct Keys(Arc<Ring>);

#[derive(Default)]
struct Ring {
    current: Option<Key>,
    old: Vec<Key>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.all().map(|key| (key.id, &key.path));
        f.debug_map().entries(files).finish()
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self
            .all()
            .map(|key| format!("{} ({})", key.id, key.path.display()));
        let files: Vec<_> = files.collect();
        match &files[..] {
            [] => f.write_str("none"),
            files => f.write_str(&files.join(", ")),
        }
    }
}

/// The keys do not open it, or it is not what was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shut {
    /// None of the keys has this id.
    NoKey(KeyId),
    /// Changed since it was sealed.
    Broken,
}

impl Keys {
    /// Reads the key files: `current` to seal with, `old` to open what was sealed before.
    ///
    /// # Errors
    /// [`KeyFileError`] of the first file that is no key.
    pub fn load(current: Option<&Path>, old: &[PathBuf]) -> Result<Self, KeyFileError> {
        Ok(Self(Arc::new(Ring {
            current: current.map(Key::read).transpose()?,
            old: old.iter().map(|path| Key::read(path)).collect::<Result<_, _>>()?,
        })))
    }

    /// Key files that everybody on this machine may read.
    pub fn exposed(&self) -> impl Iterator<Item = &Path> {
        let exposed = self.all().filter(|key| key.exposed);
        exposed.map(|key| key.path.as_path())
    }

    /// Files of old keys that nothing in these logs needs any more. The logs are left as they are.
    pub fn unneeded<'a>(&'a self, logs: &[PathBuf]) -> impl Iterator<Item = &'a Path> {
        let needed: Vec<_> = logs.iter().flat_map(|log| key_ids::noted(log)).collect();
        let unneeded = self.0.old.iter().filter(move |key| !needed.contains(&key.id));
        unneeded.map(|key| key.path.as_path())
    }

    /// The key that new blocks are sealed with. `None`: they are not sealed.
    #[must_use]
    pub fn current(&self) -> Option<KeyId> {
        self.0.current.as_ref().map(|key| key.id)
    }

    fn has(&self, id: KeyId) -> bool {
        self.all().any(|key| key.id == id)
    }

    fn all(&self) -> impl Iterator<Item = &Key> {
        self.0.current.iter().chain(&self.0.old)
    }

    /// Seals `plain` together with `header` under a new nonce. `None` only without a current key: the cipher refuses
    /// nothing below 256 GiB.
    pub(super) fn seal(&self, header: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
        self.0.current.as_ref()?.seal_with(rand::random(), header, plain)
    }

    /// Opens what was sealed by key `id` together with `header`.
    pub(super) fn open(&self, id: KeyId, header: &[u8], mut body: Vec<u8>) -> Result<Vec<u8>, Shut> {
        let mut known = self.all().filter(|key| key.id == id).peekable();
        known.peek().ok_or(Shut::NoKey(id))?;
        let (nonce, rest) = body.split_first_chunk_mut::<NONCE_BYTES>().ok_or(Shut::Broken)?;
        let (sealed, tag) = rest.split_last_chunk_mut::<TAG_BYTES>().ok_or(Shut::Broken)?;
        let (nonce, tag) = (XNonce::from(*nonce), Tag::from(*tag));
        // The tag is checked before anything is deciphered, so another key with this id may try after it.
        let opened = known.any(|key| {
            let buffer = (&mut *sealed).into();
            key.cipher
                .decrypt_inout_detached(&nonce, header, buffer, &tag)
                .is_ok()
        });
        if !opened {
            return Err(Shut::Broken);
        }
        body.truncate(body.len() - TAG_BYTES);
        body.drain(..NONCE_BYTES);
        Ok(body)
    }
}

#[cfg(test)]
pub(crate) mod tests;
