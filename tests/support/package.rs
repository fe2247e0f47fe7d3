//! The Debian package that tests install: the one that `EDGEFERRY_DEB` names (`./dev package-test` does), otherwise one made here of the
//! binary under test and the files of this source, with the same files in the same places and hardly any script.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::daemon::binary;
use super::process::program;

/// What a package may not be missing for this.
const CONTROL: &str = "\
Package: edgeferry
Version: 0.1.0
Architecture: all
Maintainer: edgeferry tests <root@localhost>
Depends: ca-certificates
Description: stand-in for the package, made by a test
";
const AFTER: &str = "\
#!/bin/sh
set -e
systemd-sysusers edgeferry.conf
chgrp edgeferry /etc/edgeferry/edgeferry.toml
[ ! -d /run/systemd/system ] || systemctl daemon-reload
";
const CONFIGURATION: &str = "/etc/edgeferry/edgeferry.toml\n";

/// Puts the package into a folder.
pub fn put_into(folder: &Path) -> PathBuf {
    if let Some(named) = std::env::var_os("EDGEFERRY_DEB").map(PathBuf::from) {
        let to = folder.join(named.file_name().expect("a package has a name"));
        std::fs::copy(&named, &to).unwrap_or_else(|error| panic!("{}: {error}", named.display()));
        return to;
    }
    make(folder)
}

fn make(folder: &Path) -> PathBuf {
    let tree = tempfile::tempdir_in(folder).expect("the folder is writable");
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let put = |from: &Path, to: &str, mode: u32| {
        let to = tree.path().join(to);
        std::fs::create_dir_all(to.parent().expect("it has one")).expect("the folder is writable");
        std::fs::copy(from, &to).expect("it is there");
        std::fs::set_permissions(&to, PermissionsExt::from_mode(mode)).expect("it is ours");
        to
    };
    let program_file = put(&binary(), "usr/bin/edgeferry", 0o755);
    run(Command::new(program("strip")).arg(program_file));
    for (from, to) in [
        (
            "systemd/edgeferry.service",
            "usr/lib/systemd/system/edgeferry.service",
        ),
        (
            "systemd/edgeferry@.service",
            "usr/lib/systemd/system/edgeferry@.service",
        ),
        (
            "systemd/edgeferry.sysusers.conf",
            "usr/lib/sysusers.d/edgeferry.conf",
        ),
        ("config/mosquitto.conf", "usr/share/edgeferry/mosquitto.conf"),
    ] {
        put(&source.join(from), to, 0o644);
    }
    put(
        &source.join("config/edgeferry.toml"),
        "etc/edgeferry/edgeferry.toml",
        0o640,
    );
    let write = |name: &str, text: &str, mode: u32| {
        let path = tree.path().join("DEBIAN").join(name);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("the folder is writable");
        std::fs::write(&path, text).expect("the folder is writable");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("it is ours");
    };
    write("control", CONTROL, 0o644);
    write("conffiles", CONFIGURATION, 0o644);
    write("postinst", AFTER, 0o755);
    std::fs::set_permissions(tree.path(), PermissionsExt::from_mode(0o755)).expect("it is ours");
    // Pages pick it by what Debian calls this machine.
    let machine = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        _ => "armhf",
    };
    let package = folder.join(format!("edgeferry_0.1.0_{machine}.deb"));
    let mut build = Command::new(program("dpkg-deb"));
    build
        .args(["--root-owner-group", "-Znone", "--build"])
        .arg(tree.path())
        .arg(&package);
    run(&mut build);
    package
}

fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
