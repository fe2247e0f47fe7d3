//! The programs for boards, before they are on one: what `./dev cross` built runs under QEMU between a real Mosquitto and a real
//! Kafka, with the oracle of the other tests.
//!
//! They run by `./dev package-test`, or alone by `packaging/emulation.sh`, and are ignored everywhere else: they need
//! programs that no `cargo test` builds.
//!
//! | module | what its tests show |
//! | --- | --- |
//! | [`run`] | on each processor: the happy path with all commands, SIGKILL, Kafka away, TLS on both sides, exactly-once |
//! | [`stores`] | a store that one processor wrote is read, verified, exported and delivered by each other |
//! | [`large`] | what 32 bits could limit: a queue of more than 100 MB, a file of more than 4 GiB |
//! | [`golden`] | makes the store of `tests/fixtures` that a 32-bit program wrote |
//!
//! QEMU's user mode translates instructions and passes system calls on: threads, futexes, `fdatasync`, locks and sockets are
//! those of this machine's kernel. What it cannot show is in `docs/reliability.md`.

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

mod fleet;
mod golden;
mod large;
mod machine;
mod run;
mod stores;
