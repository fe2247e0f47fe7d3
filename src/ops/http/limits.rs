//! How much somebody may ask for. Together they bound the memory: [`CONNECTIONS_MAX`] times [`BUFFER_BYTES`] for reading. What is
//! written is shared by all who asked within a second (`board`): who takes it slowly keeps an old one, so that at the very worst each
//! connection has one of its own, 32 times 150 to 300 KB with eight lanes, for [`LIFETIME`] or until others need the place.

use std::time::Duration;

/// Connections at a time. A browser opens six at most, a Prometheus one. When they are taken, a quiet one makes room (`places`).
pub const CONNECTIONS_MAX: usize = 32;
/// What is read ahead on a connection; a request line with its headers is not longer. The least that hyper takes. Browsers send
/// 1 to 2 KiB.
pub const BUFFER_BYTES: usize = 8 * 1024;
/// Headers of a request. Browsers send 15.
pub const HEADERS_MAX: usize = 64;
/// Time for a request to arrive, and for a connection to be idle: longer than the page waits between two requests, so that a
/// connection serves many.
pub const REQUEST_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection may last, also one that takes its answer slowly. A page just makes another one.
pub const LIFETIME: Duration = Duration::from_mins(1);
/// For what is under way then.
pub const GRACE: Duration = Duration::from_secs(10);
/// Connections beyond [`CONNECTIONS_MAX`] that are told so at a time; more are closed without a word.
pub const REFUSALS_MAX: usize = 32;
/// How long somebody may take to hear why a connection ends.
pub const HEAR_WITHIN: Duration = Duration::from_secs(1);
/// A wrong token is told so after this: with all connections guessing, it is 32 guesses a second.
pub const GUESS_COSTS: Duration = Duration::from_secs(1);
