//! Bytes of a broker, on their way from the link to our own messages.

use bytes::BytesMut;

use super::shorten::Shortener;
use super::{v4, v5};

/// What comes of a connection: the first byte says which version it speaks, and how much of it comes at a time.
pub fn packets(bytes: &[u8]) {
    let Some((first, packets)) = bytes.split_first() else {
        return;
    };
    let is_v5 = first & 1 == 1;
    let (mut shortener, mut cuts) = Shortener::new(is_v5);
    let mut passed = Vec::new();
    for piece in packets.chunks(usize::from(first >> 1) + 1) {
        shortener.pass(piece, &mut passed);
    }
    let mut passed = BytesMut::from(&*passed);
    if is_v5 {
        v5::fuzz(&mut passed, &mut cuts);
    } else {
        v4::fuzz(&mut passed, &mut cuts);
    }
}
