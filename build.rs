//! Notes for `edgeferry --version --verbose` what only the build knows. Nothing of it depends on when or where is built: two
//! builds of the same sources on the same machine are the same program.

#![expect(
    clippy::print_stdout,
    reason = "this is how a build script talks to cargo (doc.rust-lang.org/cargo/reference/build-scripts.html)"
)]

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Libraries whose versions a person who helps wants to know, and which cannot be asked for them when they run.
const LIBRARIES: [&str; 5] = ["rumqttc", "rustls", "ring", "rdkafka", "sled"];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=Cargo.lock");
    println!("cargo:rerun-if-env-changed=EDGEFERRY_COMMIT");
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    note("COMMIT", &commit(is_release).unwrap_or_default());
    note("TARGET", &env::var("TARGET").unwrap_or_default());
    note("RUSTC", &rustc().unwrap_or_default());
    let lock = fs::read_to_string("Cargo.lock").unwrap_or_default();
    for library in LIBRARIES {
        note(
            &library.to_uppercase(),
            locked(&lock, library).unwrap_or_default(),
        );
    }
}

/// For `env!` in the sources; empty when it is not known.
fn note(name: &str, value: &str) {
    println!("cargo:rustc-env=EDGEFERRY_BUILD_{name}={}", value.trim());
}

/// `EDGEFERRY_COMMIT` if whoever builds says it, else what git says. Only of optimised builds: in others every commit would compile
/// everything anew.
fn commit(is_release: bool) -> Option<String> {
    if let Ok(said) = env::var("EDGEFERRY_COMMIT") {
        return Some(said);
    }
    if !is_release {
        return None;
    }
    // In an unpacked archive git would find the repository around it, if there is one.
    let top = git(&["rev-parse", "--show-toplevel"])?;
    let own = env::var("CARGO_MANIFEST_DIR").ok()?;
    if fs::canonicalize(top.trim()).ok()? != fs::canonicalize(own).ok()? {
        return None;
    }
    // With these the script runs again when something else is checked out, committed or edited.
    for name in ["HEAD", "index", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", name])?;
        if Path::new(path.trim()).exists() {
            println!("cargo:rerun-if-changed={}", path.trim());
        }
    }
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-changed=Cargo.toml");
    git(&["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"])
}

fn git(arguments: &[&str]) -> Option<String> {
    said(Command::new("git").args(arguments))
}

fn rustc() -> Option<String> {
    said(Command::new(env::var_os("RUSTC")?).arg("--version"))
}

/// What it prints when it ends well.
fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8(output.stdout).ok())
        .flatten()
}

/// The version that Cargo.lock has of a library: the line behind its name.
fn locked<'a>(lock: &'a str, library: &str) -> Option<&'a str> {
    let (_, behind) = lock.split_once(&format!("\nname = \"{library}\"\n"))?;
    let line = behind.lines().next()?;
    line.strip_prefix("version = \"")?.strip_suffix('"')
}
