//! Power cuts: what a disk holds at random moments under load is enough to go on with everything that was confirmed.
//!
//! Root only: it mounts file systems, in a mount namespace of its own, so that whatever happens to the test the kernel
//! takes every mount and loop device back. `./dev powercut` takes 200 images, `cargo test` a few.

use std::process::Command;

use crate::child;
use crate::rig::{self, Summary};
use crate::support::scratch::Scratch;
use crate::support::seed::Seed;

/// Images in an ordinary run; `./dev powercut` sets the variable, and then nothing is skipped.
const IMAGES: u64 = 6;
const IMAGES_ENV: &str = "EDGEFERRY_POWERCUTS";
/// More than enough for one that misses what was not synced.
const IMAGES_WITHOUT_SYNC: u64 = 20;

#[test]
fn a_power_cut_loses_nothing_that_was_confirmed() {
    let asked = std::env::var(IMAGES_ENV).ok();
    let images = asked.as_ref().map_or(IMAGES, |text| {
        text.parse().expect("EDGEFERRY_POWERCUTS is a number")
    });
    let seed = Seed::of_this_run("a_power_cut_loses_nothing_that_was_confirmed").next();
    let Some(summary) = cut(images, seed, false, asked.is_some()) else {
        return;
    };
    eprintln!("{summary}");
    assert_eq!(summary.images, images);
    assert_eq!(summary.opened, images, "{:?}", summary.problems);
    assert!(summary.problems.is_empty(), "{:?}", summary.problems);
    assert!(summary.acked > 0, "nothing was ever confirmed");
}

/// The test above can fail: it finds that `fdatasync` is left out.
#[test]
fn a_power_cut_without_fdatasync_loses_what_was_confirmed() {
    let seed = Seed::of_this_run("a_power_cut_without_fdatasync_loses_what_was_confirmed").next();
    let forced = std::env::var_os(IMAGES_ENV).is_some();
    let Some(summary) = cut(IMAGES_WITHOUT_SYNC, seed, true, forced) else {
        return;
    };
    eprintln!("without fdatasync, until the first image that lost something:\n{summary}");
    assert!(
        summary.lost > 0,
        "{IMAGES_WITHOUT_SYNC} images, and none lost anything"
    );
}

/// Runs the rig. `None` where that is not possible, unless it must be.
fn cut(images: u64, seed: u64, without_sync: bool, forced: bool) -> Option<Summary> {
    let scratch = Scratch::new("powercut");
    let orders = rig::Orders {
        outside: scratch.path().to_owned(),
        images,
        seed,
        without_sync,
    };
    if let Err(reason) = rig::possible(scratch.path()) {
        assert!(!forced, "no power cuts here: {reason}");
        eprintln!("SKIPPED: no power cuts here: {reason}");
        return None;
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).args(rig::NAMESPACE);
    child::append_to(&mut command, &child::Orders::Cut(orders));
    let output = command.output().expect("setpriv starts");
    assert!(
        output.status.success(),
        "{}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let bytes = std::fs::read(scratch.join(rig::SUMMARY)).expect("the rig wrote it");
    Some(serde_json::from_slice(&bytes).expect("our own words"))
}
