//! Bytes on disk: messages are packed into blocks, blocks are cut into chunks. Pure.
//!
//! A **block** holds consecutive messages, encoded one behind the other and compressed together. A **chunk**
//! is a slice of a block that is small enough for sled (see [`CHUNK_BYTES`]); each chunk says which slice of
//! which block it is, so that blocks can be put together again even from raw bytes found on a damaged disk.
//!
//! ```text
//! offset  bytes  chunk
//!      0      4  magic "EFQ1"
//!      4      1  format version, 2
//!      5      1  flags; bit 0: compressed with zstd, bit 1: sealed, bit 2: sparse
//!      6      2  part: number of this slice, from 0
//!      8      2  parts: number of slices of the block
//!     10      2  length of the slice: bytes found on a damaged disk must say where they end
//!     12      4  span: sequences the block covers
//!     16      8  first: the first of them
//!     24      8  epoch
//!     32      4  raw length of the block before compression
//!     36      4  key id; 0 when the block is not sealed
//!     40      4  CRC32 of bytes 0..40 and of the slice
//!     44         the slice
//! ```
//!
//! Every later version keeps magic, version, length and checksum where they are, so that this one can tell a whole chunk of
//! a later version from a damaged one.
//!
//! Integers are big endian. A block's contents, uncompressed, are its messages in postcard's wire format. A **sparse**
//! block covers sequences whose messages were removed on purpose: in it each message comes behind its offset from the
//! first sequence (postcard u32). So blocks always follow each other without a gap, and a gap is always a loss.

use std::num::NonZeroU32;

use serde::{Serialize, de::DeserializeOwned};
use zstd::zstd_safe;

use crate::message::{Epoch, Seq};
use crate::queue::Compression;
use crate::queue::seal::{KeyId, Keys, Shut};

/// First bytes of every chunk.
pub const MAGIC: [u8; 4] = *b"EFQ1";
/// Version this build writes.
pub const VERSION: u8 = 2;
/// Largest value given to sled: a leaf holds up to 17 values, and a leaf over 128 KiB becomes a blob that
/// sled never syncs (measured: after a power cut the store no longer opens).
pub const CHUNK_BYTES: usize = 6 * 1024;
/// A block is closed when its messages reach this size: large enough to compress well, small enough to be
/// decoded without being felt in memory. A single larger message makes a block of its own.
const BLOCK_BYTES: usize = 64 * 1024;
/// Messages in a block at most: each one takes a byte or more, and the one that fills the block is its last.
pub const BLOCK_MESSAGES_MAX: u64 = BLOCK_BYTES as u64;
/// What is kept of a buffer from block to block. glibc joins all that is free whenever 64 KiB or more are freed, and takes it apart again
/// for what comes next: a tenth of the CPU of the thread that reads (measured).
const BUFFER_BYTES: usize = 2 * BLOCK_BYTES;
/// Largest block that is believed: the largest packet MQTT can carry (256 MiB) and its neighbours.
const BLOCK_BYTES_MAX: usize = 272 * 1024 * 1024;
const HEADER_BYTES: usize = 44;
/// Where the header says how long the slice is.
const LENGTH_AT: usize = 10;
const SLICE_BYTES: usize = CHUNK_BYTES - HEADER_BYTES;
const FLAG_ZSTD: u8 = 1;
const FLAG_SEALED: u8 = 2;
const FLAG_SPARSE: u8 = 4;
/// zstd's fastest regular level.
const ZSTD_LEVEL: i32 = 1;

/// Place of a chunk in the store: blocks in sequence order, the slices of a block in theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChunkKey {
    /// First sequence of the block.
    pub first: Seq,
    /// Number of the slice.
    pub part: u16,
}

/// One key and value for the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Where it stands.
    pub key: ChunkKey,
    /// At most [`CHUNK_BYTES`].
    pub bytes: Vec<u8>,
}

/// What a chunk says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    flags: u8,
    /// Number of this slice.
    pub part: u16,
    /// Slices of the block.
    pub parts: u16,
    /// Bytes of this slice.
    length: u16,
    /// Sequences the block covers, at least one.
    pub span: u32,
    /// The first of them.
    pub first: Seq,
    epoch: Epoch,
    raw_length: u32,
    key_id: u32,
}

impl Header {
    /// The last sequence the block covers.
    #[must_use]
    pub fn last(&self) -> Seq {
        self.first.plus(u64::from(self.span)).previous()
    }

    /// The key that the block is sealed with. `None`: it is not sealed.
    #[must_use]
    pub fn sealed_by(&self) -> Option<KeyId> {
        let sealed = self.flags & FLAG_SEALED != 0;
        NonZeroU32::new(self.key_id).filter(|_| sealed).map(KeyId)
    }

    /// What is sealed together with a block: the header but for its checksum, with nothing in it that tells one slice
    /// from another.
    fn sealed_with(&self) -> Vec<u8> {
        let whole = Self {
            part: 0,
            parts: 0,
            length: 0,
            ..*self
        };
        write_header(&whole)
    }

    /// What all chunks of a block have in common.
    #[must_use]
    pub fn of_block(&self) -> Self {
        Self {
            part: 0,
            length: 0,
            ..*self
        }
    }
}

/// How long the chunk that begins here says it is, header and all. `None` when that cannot be read.
#[must_use]
pub fn chunk_length(bytes: &[u8]) -> Option<usize> {
    let length = u16::from_be_bytes(*bytes.get(LENGTH_AT..)?.first_chunk()?);
    Some(HEADER_BYTES + usize::from(length))
}

/// A decoded block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block<T> {
    /// The first sequence it covers.
    pub first: Seq,
    /// The last sequence it covers.
    pub last: Seq,
    /// Epoch of all its messages.
    pub epoch: Epoch,
    /// The messages in ascending order; every sequence of the range but in a sparse block.
    pub messages: Vec<(Seq, T)>,
}

/// Why messages cannot be encoded.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The serializer refused a message.
    #[error("cannot encode a message: {0}")]
    Message(#[from] postcard::Error),
    /// zstd failed.
    #[error("cannot compress: {0}")]
    Compress(#[from] std::io::Error),
    /// The block does not fit into the format's fields.
    #[error("a block of {0} bytes is too large for the format")]
    TooLarge(usize),
    /// A message lies outside the sequences its block covers.
    #[error("a message lies outside the sequences that its block covers")]
    Span,
}

/// What is wrong with bytes that should be a chunk or a block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Shorter than a header.
    #[error("shorter than a header")]
    Short,
    /// Does not begin with the magic.
    #[error("not a chunk")]
    Magic,
    /// The checksum does not match.
    #[error("checksum does not match")]
    Checksum,
    /// Slices are missing or belong to different blocks.
    #[error("slices are missing or do not belong together")]
    Parts,
    /// The contents do not decode to the messages the header promises.
    #[error("contents do not decode")]
    Contents,
    /// Somebody changed a sealed block and made its checksums right again.
    #[error("not what was sealed")]
    Seal,
}

/// Why a chunk or a block cannot be read. Only [`Unreadable::Damaged`] says that anything is lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is not what was written.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// It is whole and sealed with a key that is not there.
    #[error("sealed with key {0}, which is neither queue.key_file nor among queue.old_key_files")]
    NoKey(KeyId),
    /// It is whole and of another format version.
    #[error("format version {0}, this edgeferry reads version {VERSION}")]
    Version(u8),
}

/// Packs messages into chunks.
pub struct Encoder {
    epoch: Epoch,
    keys: Keys,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    /// Empty between calls.
    raw: Vec<u8>,
    compressed: Vec<u8>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder")
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

impl Encoder {
    /// An encoder that stamps `epoch` on every block and seals it if `keys` has a current key.
    ///
    /// # Errors
    /// [`EncodeError::Compress`] when zstd cannot allocate its context.
    pub fn new(epoch: Epoch, compression: Compression, keys: &Keys) -> Result<Self, EncodeError> {
        let zstd = match compression {
            Compression::Zstd => Some(zstd::bulk::Compressor::new(ZSTD_LEVEL)?),
            Compression::None => None,
        };
        Ok(Self {
            epoch,
            keys: keys.clone(),
            zstd,
            raw: Vec::new(),
            compressed: Vec::new(),
        })
    }

    /// Nothing comes for a while: gives its buffers back.
    pub fn rest(&mut self) {
        (self.raw, self.compressed) = (Vec::new(), Vec::new());
    }

    /// Packs consecutive messages, the first of which is `first`, into as few chunks as possible.
    ///
    /// # Errors
    /// [`EncodeError`]; nothing is kept of the call.
    pub fn encode<'a, T: Serialize + 'a>(
        &mut self,
        first: Seq,
        messages: impl IntoIterator<Item = &'a T>,
    ) -> Result<Vec<Chunk>, EncodeError> {
        let mut chunks = Vec::new();
        let mut block = OpenBlock::at(first, self.epoch, std::mem::take(&mut self.raw));
        for message in messages {
            postcard::to_io(message, &mut block.raw)?;
            block.span += 1;
            if block.raw.len() >= BLOCK_BYTES {
                let next = block.first.plus(u64::from(block.span));
                self.close(&block, &mut chunks)?;
                block = OpenBlock::at(next, self.epoch, emptied(block.raw));
            }
        }
        if block.span > 0 {
            self.close(&block, &mut chunks)?;
        }
        self.raw = emptied(block.raw);
        Ok(chunks)
    }

    /// Packs what is left of a block after messages were removed from it on purpose. It covers the same sequences
    /// and keeps its epoch.
    ///
    /// # Errors
    /// [`EncodeError`]; nothing is kept of the call.
    pub fn encode_sparse<T: Serialize>(&mut self, block: &Block<T>) -> Result<Vec<Chunk>, EncodeError> {
        let mut open = OpenBlock {
            first: block.first,
            span: u32::try_from(block.last.0.saturating_sub(block.first.0).saturating_add(1))
                .map_err(|_| EncodeError::Span)?,
            epoch: block.epoch,
            sparse: true,
            raw: Vec::new(),
        };
        for (seq, message) in &block.messages {
            let offset = seq
                .0
                .checked_sub(block.first.0)
                .and_then(|offset| u32::try_from(offset).ok());
            let offset = offset
                .filter(|offset| *offset < open.span)
                .ok_or(EncodeError::Span)?;
            postcard::to_io(&offset, &mut open.raw)?;
            postcard::to_io(message, &mut open.raw)?;
        }
        let mut chunks = Vec::new();
        self.close(&open, &mut chunks)?;
        Ok(chunks)
    }

    fn close(&mut self, block: &OpenBlock, chunks: &mut Vec<Chunk>) -> Result<(), EncodeError> {
        let too_large = || EncodeError::TooLarge(block.raw.len());
        let raw_length = u32::try_from(block.raw.len()).map_err(|_| too_large())?;
        let compressed = self.compress(&block.raw)?;
        // Not where that does not make it smaller.
        let packed = compressed
            .as_deref()
            .filter(|bytes| bytes.len() < block.raw.len());
        let zstd = if packed.is_some() { FLAG_ZSTD } else { 0 };
        let sparse = if block.sparse { FLAG_SPARSE } else { 0 };
        let mut head = Header {
            flags: zstd | sparse,
            part: 0,
            parts: 0,
            length: 0,
            span: block.span,
            first: block.first,
            epoch: block.epoch,
            raw_length,
            key_id: 0,
        };
        let plain = packed.unwrap_or(&block.raw);
        let sealed = self.seal(&mut head, plain)?;
        let body = sealed.as_deref().unwrap_or(plain);
        // Also a block of which nothing is left needs a chunk that says so.
        head.parts = u16::try_from(body.len().div_ceil(SLICE_BYTES).max(1)).map_err(|_| too_large())?;
        let mut rest = body;
        for part in 0..head.parts {
            let (slice, behind) = rest.split_at_checked(SLICE_BYTES).unwrap_or((rest, &[]));
            rest = behind;
            let length = u16::try_from(slice.len()).map_err(|_| too_large())?;
            let header = Header { part, length, ..head };
            chunks.push(Chunk {
                key: ChunkKey {
                    first: block.first,
                    part,
                },
                bytes: write_chunk(&header, slice),
            });
        }
        self.compressed = compressed.map(emptied).unwrap_or_default();
        Ok(())
    }

    /// `None` where nothing is compressed.
    fn compress(&mut self, raw: &[u8]) -> Result<Option<Vec<u8>>, EncodeError> {
        let Some(zstd) = &mut self.zstd else {
            return Ok(None);
        };
        let mut compressed = std::mem::take(&mut self.compressed);
        compressed.reserve(zstd_safe::compress_bound(raw.len()));
        zstd.compress_to_buffer(raw, &mut compressed)?;
        Ok(Some(compressed))
    }

    /// Seals the body of a block if there is a key to do it with; `head` then says so.
    fn seal(&self, head: &mut Header, plain: &[u8]) -> Result<Option<Vec<u8>>, EncodeError> {
        let Some(KeyId(id)) = self.keys.current() else {
            return Ok(None);
        };
        head.flags |= FLAG_SEALED;
        head.key_id = id.get();
        let sealed = self.keys.seal(&head.sealed_with(), plain);
        sealed.map(Some).ok_or(EncodeError::TooLarge(plain.len()))
    }
}

struct OpenBlock {
    first: Seq,
    span: u32,
    epoch: Epoch,
    sparse: bool,
    raw: Vec<u8>,
}

impl OpenBlock {
    /// With a buffer to fill.
    const fn at(first: Seq, epoch: Epoch, raw: Vec<u8>) -> Self {
        Self {
            first,
            span: 0,
            epoch,
            sparse: false,
            raw,
        }
    }
}

/// For the next block. After a large message it is as small as before.
fn emptied(mut buffer: Vec<u8>) -> Vec<u8> {
    buffer.clear();
    buffer.shrink_to(BUFFER_BYTES);
    buffer
}

/// The header but for its checksum, with room for the rest of the chunk.
fn write_header(header: &Header) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + usize::from(header.length));
    bytes.extend_from_slice(&MAGIC);
    bytes.push(VERSION);
    bytes.push(header.flags);
    bytes.extend_from_slice(&header.part.to_be_bytes());
    bytes.extend_from_slice(&header.parts.to_be_bytes());
    bytes.extend_from_slice(&header.length.to_be_bytes());
    bytes.extend_from_slice(&header.span.to_be_bytes());
    bytes.extend_from_slice(&header.first.0.to_be_bytes());
    bytes.extend_from_slice(&header.epoch.0.to_be_bytes());
    bytes.extend_from_slice(&header.raw_length.to_be_bytes());
    bytes.extend_from_slice(&header.key_id.to_be_bytes());
    bytes
}

fn write_chunk(header: &Header, slice: &[u8]) -> Vec<u8> {
    let mut bytes = write_header(header);
    let crc = checksum(&bytes, slice);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes.extend_from_slice(slice);
    bytes
}

fn checksum(header: &[u8], slice: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(slice);
    hasher.finalize()
}

/// Checks one chunk and takes it apart.
///
/// # Errors
/// [`Unreadable::Damaged`], or [`Unreadable::Version`] when it is whole.
pub fn read_chunk(bytes: &[u8]) -> Result<(Header, &[u8]), Unreadable> {
    let (version, header, slice) = take_apart(bytes)?;
    if version != VERSION {
        return Err(Unreadable::Version(version));
    }
    if !is_sound(&header, slice) {
        return Err(Damage::Contents.into());
    }
    Ok((header, slice))
}

/// What a whole chunk says about itself, whatever its version: later ones keep the header, so that raw bytes can be
/// searched for them too. `None` when it is damaged.
#[must_use]
pub fn header_of(bytes: &[u8]) -> Option<Header> {
    let (_, header, slice) = take_apart(bytes).ok()?;
    is_sound(&header, slice).then_some(header)
}

fn is_sound(header: &Header, slice: &[u8]) -> bool {
    slice.len() == usize::from(header.length) && header.span > 0
}

/// Version, header and slice of a chunk whose checksum holds.
fn take_apart(bytes: &[u8]) -> Result<(u8, Header, &[u8]), Damage> {
    let (header, slice) = bytes.split_at_checked(HEADER_BYTES).ok_or(Damage::Short)?;
    let (covered, crc) = header.split_last_chunk::<4>().ok_or(Damage::Short)?;
    if !covered.starts_with(&MAGIC) {
        return Err(Damage::Magic);
    }
    if u32::from_be_bytes(*crc) != checksum(covered, slice) {
        return Err(Damage::Checksum);
    }
    let (version, header) = parse_header(covered)?;
    Ok((version, header, slice))
}

/// The chunk that bytes begin with, whatever comes behind it: for bytes found on a disk.
///
/// # Errors
/// As [`read_chunk`].
pub fn read_first_chunk(bytes: &[u8]) -> Result<(Header, &[u8]), Unreadable> {
    let length = bytes.get(LENGTH_AT..).and_then(<[u8]>::first_chunk);
    let length = u16::from_be_bytes(*length.ok_or(Damage::Short)?);
    let end = HEADER_BYTES + usize::from(length);
    read_chunk(bytes.get(..end).ok_or(Damage::Short)?)
}

fn parse_header(bytes: &[u8]) -> Result<(u8, Header), Damage> {
    let mut fields = Fields(bytes);
    let [_, _, _, _, version] = fields.take()?;
    let [flags] = fields.take()?;
    let header = Header {
        flags,
        part: u16::from_be_bytes(fields.take()?),
        parts: u16::from_be_bytes(fields.take()?),
        length: u16::from_be_bytes(fields.take()?),
        span: u32::from_be_bytes(fields.take()?),
        first: Seq(u64::from_be_bytes(fields.take()?)),
        epoch: Epoch(u64::from_be_bytes(fields.take()?)),
        raw_length: u32::from_be_bytes(fields.take()?),
        key_id: u32::from_be_bytes(fields.take()?),
    };
    Ok((version, header))
}

/// Reads fields of fixed width, front to back.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(Damage::Short)?;
        self.0 = rest;
        Ok(*field)
    }
}

/// Puts the chunks of one block, in order, together again. Slices behind the last one the block has (left
/// over from a group that was never finished) are passed over.
///
/// # Errors
/// The first reason found; only [`Unreadable::Damaged`] means that the messages are lost.
pub fn decode<T: DeserializeOwned>(chunks: &[impl AsRef<[u8]>], keys: &Keys) -> Result<Block<T>, Unreadable> {
    Decoder::default().decode(chunks, keys)
}

/// [`decode`] for whoever reads many blocks: keeps its buffers from block to block.
#[derive(Default)]
pub struct Decoder {
    zstd: Option<zstd::bulk::Decompressor<'static>>,
    /// Empty between calls.
    raw: Vec<u8>,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}

impl Decoder {
    /// See [`decode`].
    ///
    /// # Errors
    /// As there.
    pub fn decode<T: DeserializeOwned>(
        &mut self,
        chunks: &[impl AsRef<[u8]>],
        keys: &Keys,
    ) -> Result<Block<T>, Unreadable> {
        let (head, _) = read_chunk(chunks.first().ok_or(Damage::Parts)?.as_ref())?;
        let body = join_slices(&head, chunks)?;
        let body = unseal(&head, body, keys)?;
        let raw = self.decompress(&head, body)?;
        let messages = if head.flags & FLAG_SPARSE == 0 {
            take_dense(&head, &raw)?
        } else {
            take_sparse(&head, &raw)?
        };
        if head.flags & FLAG_ZSTD != 0 {
            self.raw = emptied(raw);
        }
        Ok(Block {
            first: head.first,
            last: head.last(),
            epoch: head.epoch,
            messages,
        })
    }

    fn decompress(&mut self, head: &Header, body: Vec<u8>) -> Result<Vec<u8>, Damage> {
        let raw_length = usize::try_from(head.raw_length).map_err(|_| Damage::Contents)?;
        if raw_length > BLOCK_BYTES_MAX {
            return Err(Damage::Contents);
        }
        let raw = if head.flags & FLAG_ZSTD == 0 {
            body
        } else {
            self.unpack(&body, raw_length).map_err(|_| Damage::Contents)?
        };
        if raw.len() == raw_length {
            Ok(raw)
        } else {
            Err(Damage::Contents)
        }
    }

    fn unpack(&mut self, body: &[u8], raw_length: usize) -> std::io::Result<Vec<u8>> {
        let mut zstd = match self.zstd.take() {
            Some(zstd) => zstd,
            None => zstd::bulk::Decompressor::new()?,
        };
        let mut raw = std::mem::take(&mut self.raw);
        raw.reserve_exact(raw_length);
        let unpacked = zstd.decompress_to_buffer(body, &mut raw);
        self.zstd = Some(zstd);
        unpacked.map(|_| raw)
    }
}

fn take_dense<T: DeserializeOwned>(head: &Header, mut rest: &[u8]) -> Result<Vec<(Seq, T)>, Damage> {
    let mut messages = Vec::new();
    for offset in 0..head.span {
        let (message, behind) = postcard::take_from_bytes(rest).map_err(|_| Damage::Contents)?;
        messages.push((head.first.plus(u64::from(offset)), message));
        rest = behind;
    }
    if rest.is_empty() {
        Ok(messages)
    } else {
        Err(Damage::Contents)
    }
}

fn take_sparse<T: DeserializeOwned>(head: &Header, mut rest: &[u8]) -> Result<Vec<(Seq, T)>, Damage> {
    let mut messages = Vec::new();
    let mut least = 0_u32;
    while !rest.is_empty() {
        let (offset, behind): (u32, _) = postcard::take_from_bytes(rest).map_err(|_| Damage::Contents)?;
        let (message, behind) = postcard::take_from_bytes(behind).map_err(|_| Damage::Contents)?;
        if offset < least || offset >= head.span {
            return Err(Damage::Contents);
        }
        least = offset.saturating_add(1);
        messages.push((head.first.plus(u64::from(offset)), message));
        rest = behind;
    }
    Ok(messages)
}

fn join_slices(head: &Header, chunks: &[impl AsRef<[u8]>]) -> Result<Vec<u8>, Unreadable> {
    let slices = chunks.get(..usize::from(head.parts)).ok_or(Damage::Parts)?;
    let mut body = Vec::new();
    for (part, chunk) in (0_u16..).zip(slices) {
        let (header, slice) = read_chunk(chunk.as_ref())?;
        if header
            != (Header {
                part,
                length: header.length,
                ..*head
            })
        {
            return Err(Damage::Parts.into());
        }
        body.extend_from_slice(slice);
    }
    Ok(body)
}

fn unseal(head: &Header, body: Vec<u8>, keys: &Keys) -> Result<Vec<u8>, Unreadable> {
    if head.flags & FLAG_SEALED == 0 {
        return Ok(body);
    }
    let id = head.sealed_by().ok_or(Damage::Contents)?;
    keys.open(id, &head.sealed_with(), body)
        .map_err(|shut| match shut {
            Shut::NoKey(id) => Unreadable::NoKey(id),
            Shut::Broken => Damage::Seal.into(),
        })
}

#[cfg(any(test, fuzzing))]
pub mod fuzz;
#[cfg(test)]
mod tests;
