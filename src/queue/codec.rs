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
//! Integers are big endian. A block's contents, uncompressed, are its messages in postcard's wire format. A **sparse**
//! block covers sequences whose messages were removed on purpose: in it each message comes behind its offset from the
//! first sequence (postcard u32). So blocks always follow each other without a gap, and a gap is always a loss.

use serde::{Serialize, de::DeserializeOwned};

use crate::message::{Epoch, Seq};
use crate::queue::Compression;

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
/// Largest block that is believed: the largest packet MQTT can carry (256 MiB) and its neighbours.
const BLOCK_BYTES_MAX: usize = 272 * 1024 * 1024;
const HEADER_BYTES: usize = 44;
/// Where the length of the slice stands.
const LENGTH_OFFSET: usize = 10;
const SLICE_BYTES: usize = CHUNK_BYTES - HEADER_BYTES;
const FLAG_ZSTD: u8 = 1;
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
    let length = u16::from_be_bytes(*bytes.get(LENGTH_OFFSET..)?.first_chunk()?);
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
    /// Written by another format version.
    #[error("format version {0}, this build reads version {VERSION}")]
    Version(u8),
    /// The checksum does not match.
    #[error("checksum does not match")]
    Checksum,
    /// Slices are missing or belong to different blocks.
    #[error("slices are missing or do not belong together")]
    Parts,
    /// The contents do not decode to the messages the header promises.
    #[error("contents do not decode")]
    Contents,
}

/// Packs messages into chunks.
pub struct Encoder {
    epoch: Epoch,
    zstd: Option<zstd::bulk::Compressor<'static>>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder")
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

impl Encoder {
    /// An encoder that stamps `epoch` on every block.
    ///
    /// # Errors
    /// [`EncodeError::Compress`] when zstd cannot allocate its context.
    pub fn new(epoch: Epoch, compression: Compression) -> Result<Self, EncodeError> {
        let zstd = match compression {
            Compression::Zstd => Some(zstd::bulk::Compressor::new(ZSTD_LEVEL)?),
            Compression::None => None,
        };
        Ok(Self { epoch, zstd })
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
        let mut block = OpenBlock::at(first, self.epoch);
        for message in messages {
            block.raw = postcard::to_extend(message, block.raw)?;
            block.span += 1;
            if block.raw.len() >= BLOCK_BYTES {
                let next = block.first.plus(u64::from(block.span));
                self.close(&block, &mut chunks)?;
                block = OpenBlock::at(next, self.epoch);
            }
        }
        if block.span > 0 {
            self.close(&block, &mut chunks)?;
        }
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
            open.raw = postcard::to_extend(&offset, open.raw)?;
            open.raw = postcard::to_extend(message, open.raw)?;
        }
        let mut chunks = Vec::new();
        self.close(&open, &mut chunks)?;
        Ok(chunks)
    }

    fn close(&mut self, block: &OpenBlock, chunks: &mut Vec<Chunk>) -> Result<(), EncodeError> {
        let too_large = || EncodeError::TooLarge(block.raw.len());
        let raw_length = u32::try_from(block.raw.len()).map_err(|_| too_large())?;
        let compressed = match &mut self.zstd {
            Some(zstd) => Some(zstd.compress(&block.raw)?).filter(|bytes| bytes.len() < block.raw.len()),
            None => None,
        };
        let zstd = if compressed.is_some() { FLAG_ZSTD } else { 0 };
        let sparse = if block.sparse { FLAG_SPARSE } else { 0 };
        let body = compressed.as_deref().unwrap_or(&block.raw);
        // Also a block of which nothing is left needs a chunk that says so.
        let parts = u16::try_from(body.len().div_ceil(SLICE_BYTES).max(1)).map_err(|_| too_large())?;
        let mut rest = body;
        for part in 0..parts {
            let (slice, behind) = rest.split_at_checked(SLICE_BYTES).unwrap_or((rest, &[]));
            rest = behind;
            let header = Header {
                flags: zstd | sparse,
                part,
                parts,
                length: u16::try_from(slice.len()).map_err(|_| too_large())?,
                span: block.span,
                first: block.first,
                epoch: block.epoch,
                raw_length,
                key_id: 0,
            };
            chunks.push(Chunk {
                key: ChunkKey {
                    first: block.first,
                    part,
                },
                bytes: write_chunk(&header, slice),
            });
        }
        Ok(())
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
    const fn at(first: Seq, epoch: Epoch) -> Self {
        Self {
            first,
            span: 0,
            epoch,
            sparse: false,
            raw: Vec::new(),
        }
    }
}

fn write_chunk(header: &Header, slice: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + slice.len());
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
/// The [`Damage`] found.
pub fn read_chunk(bytes: &[u8]) -> Result<(Header, &[u8]), Damage> {
    let (header, slice) = bytes.split_at_checked(HEADER_BYTES).ok_or(Damage::Short)?;
    let mut fields = Fields(header);
    if fields.take::<4>()? != MAGIC {
        return Err(Damage::Magic);
    }
    let [version] = fields.take()?;
    if version != VERSION {
        return Err(Damage::Version(version));
    }
    let [flags] = fields.take()?;
    let parsed = Header {
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
    if slice.len() != usize::from(parsed.length) || parsed.span == 0 {
        return Err(Damage::Contents);
    }
    let crc = u32::from_be_bytes(fields.take()?);
    let covered = header.get(..HEADER_BYTES - 4).ok_or(Damage::Short)?;
    if crc != checksum(covered, slice) {
        return Err(Damage::Checksum);
    }
    Ok((parsed, slice))
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
/// The first [`Damage`] found.
pub fn decode<T: DeserializeOwned>(chunks: &[impl AsRef<[u8]>]) -> Result<Block<T>, Damage> {
    let (head, _) = read_chunk(chunks.first().ok_or(Damage::Parts)?.as_ref())?;
    let body = join_slices(&head, chunks)?;
    let raw = decompress(&head, body)?;
    let messages = if head.flags & FLAG_SPARSE == 0 {
        take_dense(&head, &raw)?
    } else {
        take_sparse(&head, &raw)?
    };
    Ok(Block {
        first: head.first,
        last: head.last(),
        epoch: head.epoch,
        messages,
    })
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

fn join_slices(head: &Header, chunks: &[impl AsRef<[u8]>]) -> Result<Vec<u8>, Damage> {
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
            return Err(Damage::Parts);
        }
        body.extend_from_slice(slice);
    }
    Ok(body)
}

fn decompress(head: &Header, body: Vec<u8>) -> Result<Vec<u8>, Damage> {
    let raw_length = usize::try_from(head.raw_length).map_err(|_| Damage::Contents)?;
    if raw_length > BLOCK_BYTES_MAX {
        return Err(Damage::Contents);
    }
    let raw = if head.flags & FLAG_ZSTD == 0 {
        body
    } else {
        zstd::bulk::decompress(&body, raw_length).map_err(|_| Damage::Contents)?
    };
    if raw.len() == raw_length {
        Ok(raw)
    } else {
        Err(Damage::Contents)
    }
}

#[cfg(test)]
mod tests;
