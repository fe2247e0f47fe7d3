//! The queue's promise under crashes: nothing acknowledged is lost, no sequence is used twice, the balance holds.
//!
//! Every crash happens to a process of its own ([`child`]) that works on a store ([`load`]) and writes down outside of it
//! what it was promised. Another process opens what is left ([`drain`]); [`account`] compares the two.
//!
//! | module | what its tests show | long form |
//! | --- | --- | --- |
//! | [`points`] | SIGKILL at every named point of commit, rotation, opening, trim, setting aside | `./dev crashpoints` |
//! | [`letters`] | SIGKILL at every named point of keeping, dropping and removing dead letters | |
//! | [`powercut`] | copies of a mounted ext4 taken under load, each mounted and opened; needs root | `./dev powercut` |

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stderr,
    reason = "all of this is a test, also what stands outside of its #[test] functions: it fails by panicking, and \
              says on standard error what it does"
)]

#[path = "../support/mod.rs"]
mod support;

mod account;
mod child;
mod drain;
mod letters;
mod load;
mod message;
mod points;
mod powercut;
mod rig;
