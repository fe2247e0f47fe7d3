//! Bytes of a card. Checksums are made right, so that what stands behind them is reached: whoever can write a card can make them, too.

use std::io::Write as _;
use std::os::fd::AsRawFd as _;

use rustix::fs::{MemfdFlags, memfd_create};

use super::{HEADER_BYTES, checksum, decode};
use crate::message::Arrival;
use crate::queue::dig::Dig;
use crate::queue::seal::Keys;

/// A block of chunks that were found together.
pub fn block(bytes: &[u8]) {
    let chunks: Vec<_> = Pieces(bytes).collect();
    drop(decode::<Arrival>(&chunks, &Keys::default()));
}

/// A file that somebody digs through for messages.
pub fn card(bytes: &[u8]) {
    let Ok(file) = memfd_create("card", MemfdFlags::CLOEXEC) else {
        return;
    };
    let mut file = std::fs::File::from(file);
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    if Pieces(bytes).all(|piece| file.write_all(&piece).is_ok()) {
        let mut dig = Dig::default();
        if dig.add(path.into()).is_ok() {
            dig.messages(&Keys::default()).for_each(drop);
        }
    }
}

/// Pieces with their length in front of them, two bytes, the first bit of which says whether it is a chunk with a wrong checksum.
struct Pieces<'a>(&'a [u8]);

impl Iterator for Pieces<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let (length, rest) = self.0.split_first_chunk()?;
        let length = u16::from_be_bytes(*length);
        let (piece, rest) = rest.split_at(rest.len().min(usize::from(length & 0x7fff)));
        self.0 = rest;
        let mut piece = piece.to_vec();
        if length & 0x8000 == 0 {
            make_checksum_right(&mut piece);
        }
        Some(piece)
    }
}

/// Of what is long enough to have one.
pub(super) fn make_checksum_right(chunk: &mut [u8]) {
    let Some((header, slice)) = chunk.split_at_mut_checked(HEADER_BYTES) else {
        return;
    };
    let (covered, crc) = header.split_at_mut(HEADER_BYTES - 4);
    crc.copy_from_slice(&checksum(covered, slice).to_be_bytes());
}
