//! What can be seen in the files alone.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use crate::support::container::shared;

/// What `systemd-analyze security` may say at most, of 10.
pub const EXPOSURE_MAX: f64 = 1.5;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("systemd")
}

fn unit(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).expect("it is there")
}

/// The number in "Overall exposure level for …: 1.1 OK".
pub fn exposure(said: &str) -> f64 {
    let line = said.lines().find(|line| line.contains("Overall exposure level"));
    let (_, behind) = line.and_then(|line| line.rsplit_once(": ")).expect(said);
    let number = behind.split(' ').next().expect("there is one");
    number.parse().expect("a number")
}

#[test]
fn both_units_say_the_same_but_for_names() {
    let body = |text: String| {
        let (_, body) = text.split_once("[Unit]").expect("it has one");
        body.to_owned()
    };
    let (one, several) = (body(unit("edgeferry.service")), body(unit("edgeferry@.service")));
    let expected = one
        .replace("Description=edgeferry:", "Description=edgeferry %i:")
        .replace("/etc/edgeferry/edgeferry.toml", "/etc/edgeferry/%i.toml")
        .replace("StateDirectory=edgeferry\n", "StateDirectory=edgeferry-%i\n");
    assert_ne!(one, expected, "an instance has names of its own");
    assert_eq!(several, expected);
}

#[test]
fn both_units_are_hardly_exposed() {
    for name in ["edgeferry.service", "edgeferry@.service"] {
        let mut analyze = Command::new("systemd-analyze");
        analyze
            .args(["security", "--offline=true", "--no-pager"])
            .arg(folder().join(name));
        let Ok(output) = analyze.output() else {
            eprintln!("SKIPPED: systemd-analyze is not installed");
            return;
        };
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(exposure(&said) <= EXPOSURE_MAX, "{said}");
    }
}

#[test]
fn each_setting_is_said_once() {
    // These add up, or are a list of their own.
    let repeated = ["SystemCallFilter"];
    let text = unit("edgeferry.service");
    let settings = text.lines().filter(|line| !line.starts_with('#'));
    let mut seen = BTreeSet::new();
    for (key, _) in settings.filter_map(|line| line.split_once('=')) {
        assert!(
            seen.insert(key) || repeated.contains(&key),
            "{key} is there twice"
        );
    }
    assert!(seen.len() > 40, "{seen:?}");
}

#[test]
fn systemd_finds_nothing_to_say_about_the_units() {
    let Some(machine) = shared() else { return };
    let output = machine.try_run(&[
        "systemd-analyze",
        "verify",
        "--man=no",
        "edgeferry.service",
        "edgeferry@plant.service",
    ]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}");
}
