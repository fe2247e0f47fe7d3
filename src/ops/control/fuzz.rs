//! What comes through the control socket.

use super::connection::read_request;

/// A request.
pub fn request(bytes: &[u8]) {
    drop(read_request(&mut &*bytes));
}
