//! The units of `systemd/` on a real systemd: a small Debian in a container (`tests/support/container.rs`) with the files of this
//! source where a package would put them. Mosquitto and Kafka are outside, on the loopback that both share.
//!
//! Tests share one system, each with an instance unit of its own; who disturbs others has a system of its own. Where no
//! system can be booted (no root, no nspawn) they say so and do nothing; with `EDGEFERRY_SYSTEMD_TESTS=required` they fail then.

mod card;
mod endings;
mod files;
mod image;
mod instances;
mod package;
mod pages;
mod readme;
mod reloads;
mod sandbox;
mod secrets;
mod stops;
mod unit;
mod walk;
