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

use std::path::PathBuf;
use std::time::Duration;

use crate::support::container::Container;
use crate::support::wait;

/// The kernel takes some milliseconds for all processes of a small system.
const LIMIT: Duration = Duration::from_mins(1);

/// systemd-nspawn that is killed leaves its system running: 24 of them once took all inotify instances of a machine.
#[test]
fn a_system_that_tests_booted_is_gone_with_the_process_that_held_it() {
    let Some(machine) = Container::boot_bare() else {
        return;
    };
    let leader = machine.leader().expect("the system is up");
    let first_process = PathBuf::from(format!("/proc/{leader}"));
    assert!(first_process.exists());
    drop(machine);
    wait::until("the system is gone", LIMIT, || {
        (!first_process.exists()).then_some(())
    });
}
