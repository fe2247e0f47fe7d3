//! The scripts that build for other machines: what they promise without building anything (./dev cross does that, and
//! checks each program that it made with the script that is tested here).
#![expect(clippy::expect_used, reason = "the helpers of a test may give up")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A program that asks for nothing newer than the first glibc of its machine: its start code is its own, because that of this
/// machine's C library is as new as the library.
const OLD_PROGRAM: &str = "#include <stdlib.h>\nvoid _start(void) { exit(0); }\n";

/// As [`OLD_PROGRAM`], for a symbol that came with glibc 2.34 (the versions of a call to `__libc_start_main` say so).
const NEW_PROGRAM: &str = "int main(void) { return 0; }\n";

const HARDENED: [&str; 3] = ["-fPIE", "-pie", "-Wl,-z,relro,-z,now"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect("a file of the project")
}

fn run(command: &mut Command) -> (Output, String) {
    let output = command
        .current_dir(root())
        .output()
        .expect("the program is installed");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, said)
}

/// Parts of scripts that run on the machine of a user, with any POSIX shell.
const ON_A_GATEWAY: &str = "packaging/machine";

/// What lies in a folder of the project.
fn items(folder: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let entries = fs::read_dir(folder).expect("a folder of the project");
    let paths = entries.map(|entry| entry.expect("readable").path());
    let (folders, others): (Vec<_>, Vec<_>) = paths.partition(|path| path.is_dir());
    (
        folders,
        others.into_iter().filter(|path| path.is_file()).collect(),
    )
}

/// All files below a folder.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let (folders, mut files) = items(folder);
    files.extend(folders.iter().flat_map(|folder| files_below(folder)));
    files
}

/// All files of the project that may be scripts.
fn files() -> Vec<PathBuf> {
    let (_, mut files) = items(&root());
    let folders = [
        ".ci",
        "benches",
        "cross",
        "packaging",
        "scripts",
        "systemd",
        "tests",
    ];
    files.extend(
        folders
            .iter()
            .flat_map(|folder| files_below(&root().join(folder))),
    );
    files
}

/// All scripts for bash: those by name, and those that begin with a line that says so.
fn scripts() -> Vec<PathBuf> {
    let is_script = |path: &PathBuf| {
        let text = fs::read(path).expect("readable");
        path.extension().is_some_and(|extension| extension == "sh")
            || text.starts_with(b"#!/usr/bin/env bash")
            || text.starts_with(b"#!/bin/bash")
    };
    let all = files().into_iter().filter(is_script);
    all.filter(|path| !path.starts_with(root().join(ON_A_GATEWAY)))
        .collect()
}

/// The scripts of the package, and the archive's, as they are packed: parts of one another.
fn scripts_on_a_gateway(folder: &TempDir) -> Vec<PathBuf> {
    let part = |name: &str| read(&format!("{ON_A_GATEWAY}/{name}.sh"));
    let head = format!(
        "#!/bin/sh\nset -e\nVERSION=1 ARCHITECTURE=armhf\nexport VERSION ARCHITECTURE\n{}{}",
        part("common"),
        part("armv7")
    );
    let names = ["preinst", "postinst", "prerm", "postrm", "install"];
    let parts = fs::read_dir(root().join(ON_A_GATEWAY)).expect("it is there");
    assert_eq!(parts.count(), names.len() + 2, "one is not looked at here");
    let write = |name: &str| {
        let path = folder.path().join(name);
        fs::write(&path, format!("{head}{}", part(name))).expect("there is room");
        path
    };
    names.map(write).into()
}

/// The rows of cross/targets.sh: name, triple, glibc, machine, loader, largest size.
fn targets() -> Vec<Vec<String>> {
    let (output, said) = run(Command::new("bash").args(["-c", "source cross/targets.sh && cross_targets"]));
    assert!(output.status.success(), "{said}");
    let table = String::from_utf8(output.stdout).expect("text");
    table
        .lines()
        .map(|row| row.split(' ').map(str::to_owned).collect())
        .collect()
}

/// The target of this project that is this machine; None on one that is not among them.
fn this_machine() -> Option<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Some("amd64"),
        "aarch64" => Some("aarch64"),
        _ => None,
    }
}

fn check(target: &str, file: &Path) -> (bool, String) {
    let (output, said) = run(Command::new("cross/check.sh").arg(target).arg(file));
    (output.status.success(), said)
}

/// Compiles a program for this machine.
fn compile(folder: &TempDir, source: &str, flags: &[&str]) -> PathBuf {
    let program = folder.path().join("program");
    let text = folder.path().join("program.c");
    fs::write(&text, source).expect("written");
    let (output, said) = run(Command::new("cc").arg("-o").arg(&program).arg(&text).args(flags));
    assert!(output.status.success(), "{said}");
    program
}

/// What the check says about [`OLD_PROGRAM`] linked with these flags; None on a machine that is no target.
fn verdict(flags: &[&str]) -> Option<(bool, String)> {
    let folder = TempDir::new().expect("a folder");
    let all = [&["-nostartfiles"], flags].concat();
    Some(check(this_machine()?, &compile(&folder, OLD_PROGRAM, &all)))
}

#[test]
fn every_script_parses_and_shellcheck_finds_nothing() {
    let scripts = scripts();
    let has = |name: &str| scripts.contains(&root().join(name));
    assert!(
        has("dev") && has("packaging/tests/cycle.sh") && has("packaging/parts/tree.sh"),
        "{scripts:?}"
    );
    for script in &scripts {
        let (output, said) = run(Command::new("bash").arg("-n").arg(script));
        assert!(output.status.success(), "{said}");
    }
    let (output, said) = run(Command::new("shellcheck")
        .args(["-x", "-P", "SCRIPTDIR"])
        .args(&scripts));
    let found = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{found}{said}");
}

#[test]
fn scripts_that_run_on_a_gateway_are_for_any_shell() {
    let folder = TempDir::new().expect("there is room");
    for script in &scripts_on_a_gateway(&folder) {
        let (output, said) = run(Command::new("dash").arg("-n").arg(script));
        assert!(output.status.success(), "{said}");
        let (output, said) = run(Command::new("shellcheck").args(["-s", "sh"]).arg(script));
        let found = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{found}{said}");
    }
}

/// A program that passes the check must be one that can be packed.
#[test]
fn the_check_and_the_package_allow_the_same_libraries() {
    const BOTH: &str = r#"
        set -euo pipefail
        eval "$(grep '^system_libraries=' cross/check.sh)"
        source packaging/parts/tree.sh
        trial=''
        for library in libc.so.6 libm.so.6 libdl.so.2 librt.so.1 libpthread.so.0 libresolv.so.2 ld-linux-x86-64.so.2 \
            ld-linux-armhf.so.3 libgcc_s.so.1 libutil.so.1 libstdc++.so.6 libssl.so.3 libz.so.1; do
            check=no package=no
            [[ ! $library =~ $system_libraries ]] || check=yes
            ! package_of "$library" >/dev/null || package=yes
            echo "$library $check $package"
        done"#;
    let (output, said) = run(Command::new("bash").args(["-c", BOTH]));
    assert!(output.status.success(), "{said}");
    let table = String::from_utf8(output.stdout).expect("text");
    assert_eq!(table.lines().count(), 13, "{table}");
    assert!(
        table.contains("libc.so.6 yes yes") && table.contains("libz.so.1 no no"),
        "{table}"
    );
    for line in table.lines() {
        assert!(!line.contains("yes no") && !line.contains("no yes"), "{line}");
    }
}

#[test]
fn every_target_has_the_same_baseline_and_is_explained() {
    let readme = read("cross/README.md");
    let rows = targets();
    assert!(rows.len() >= 3, "{rows:?}");
    for row in &rows {
        let [name, triple, glibc, _machine, loader, largest] = row.as_slice() else {
            panic!("{row:?}: a row has six fields");
        };
        assert!(largest.parse::<u32>().is_ok(), "{name}: {largest} bytes");
        assert_eq!(
            glibc, "2.28",
            "{name}: the baseline of docs/decisions/0029-cross-building.md"
        );
        assert!(loader.starts_with("/lib"), "{name}: {loader}");
        assert!(
            readme.contains(&format!("`{name}`")),
            "{name} is not in cross/README.md"
        );
        assert!(readme.contains(triple), "{triple} is not in cross/README.md");
    }
}

#[test]
fn an_unknown_target_is_refused_before_anything_is_fetched_or_built() {
    let (output, said) = run(Command::new("./dev").args(["cross", "aarch64", "sparc"]));
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("there is no target 'sparc'; there are: aarch64 armv7 amd64"),
        "{said}"
    );
}

#[test]
fn the_tools_are_pinned_by_version_and_by_content() {
    let pins = read("cross/requirements.txt").replace("\\\n", "");
    let lines: Vec<&str> = pins
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    assert_eq!(lines.len(), 2, "cargo-zigbuild and ziglang: {lines:?}");
    for line in lines {
        assert!(line.contains("=="), "not pinned: {line}");
        // One for each kind of machine that builds.
        assert_eq!(line.matches("--hash=sha256:").count(), 2, "{line}");
    }
    let script = read("cross/toolchain.sh");
    assert!(script.contains("--require-hashes") && script.contains("--only-binary :all:"));
    assert!(
        read("cross/build.sh").contains("cargo zigbuild --locked"),
        "the lock file decides"
    );
}

#[test]
fn an_old_and_hardened_program_passes_the_check() {
    if let Some((good, said)) = verdict(&HARDENED) {
        assert!(good, "{said}");
    }
}

#[test]
fn a_program_that_has_grown_is_refused() {
    let Some(target) = this_machine() else { return };
    let folder = TempDir::new().expect("a folder");
    let program = compile(
        &folder,
        OLD_PROGRAM,
        &[&["-nostartfiles"], &HARDENED[..]].concat(),
    );
    let file = fs::File::options().write(true).open(&program);
    // Nothing of it is on the disk.
    file.and_then(|file| file.set_len(1 << 30)).expect("it grows");
    let (good, said) = check(target, &program);
    assert!(!good, "{said}");
    assert!(said.contains("has 1073741824 bytes"), "{said}");
}

#[test]
fn a_program_that_needs_a_newer_glibc_is_refused() {
    let folder = TempDir::new().expect("a folder");
    let Some(target) = this_machine() else { return };
    let (good, said) = check(target, &compile(&folder, NEW_PROGRAM, &HARDENED));
    // What the check says follows from this machine's own glibc; one that is as old as the baseline makes old programs.
    let (ldd, _) = run(Command::new("ldd").arg("--version"));
    let version = String::from_utf8_lossy(&ldd.stdout);
    let version = version.lines().next().unwrap_or_default();
    let minor = version
        .rsplit("2.")
        .next()
        .and_then(|minor| minor.parse::<u32>().ok());
    let minor = minor.expect("the version of glibc");
    assert_eq!(good, minor < 34, "glibc 2.{minor}: {said}");
    assert!(
        good || said.contains("needs glibc 2.34, the baseline is 2.28"),
        "{said}"
    );
}

#[test]
fn the_ordinary_build_is_refused_because_it_needs_libraries_of_this_machine() {
    // Not what packages ship: OpenSSL and zlib come from this machine.
    if cfg!(feature = "static") {
        return;
    }
    let Some(target) = this_machine() else { return };
    let (good, said) = check(target, Path::new(env!("CARGO_BIN_EXE_edgeferry")));
    assert!(!good, "{said}");
    assert!(said.contains("needs libssl.so"), "{said}");
    assert!(said.contains("needs libz.so"), "{said}");
}

#[test]
fn a_program_for_another_machine_is_refused() {
    let folder = TempDir::new().expect("a folder");
    let program = compile(&folder, NEW_PROGRAM, &HARDENED);
    let (good, said) = check("armv7", &program);
    assert!(!good && said.contains("not built for ARM"), "{said}");
    assert!(
        said.contains("does not ask for the loader /lib/ld-linux-armhf.so.3"),
        "{said}"
    );
}

#[test]
fn what_makes_an_attack_easier_is_refused() {
    let cases: [(&[&str], &str); 4] = [
        (&["-no-pie", "-Wl,-z,relro,-z,now"], "not position independent"),
        (&["-fPIE", "-pie", "-Wl,-z,norelro"], "no GNU_RELRO"),
        (&["-fPIE", "-pie", "-Wl,-z,relro,-z,lazy"], "no BIND_NOW"),
        (
            &["-fPIE", "-pie", "-Wl,-z,relro,-z,now,-z,execstack"],
            "stack is executable",
        ),
    ];
    for (flags, words) in cases {
        if let Some((good, said)) = verdict(flags) {
            assert!(!good && said.contains(words), "{flags:?}: {said}");
        }
    }
}

#[test]
fn a_path_of_the_build_machine_to_look_for_libraries_is_refused() {
    if let Some((good, said)) = verdict(&["-fPIE", "-pie", "-Wl,-z,relro,-z,now", "-Wl,-rpath,/opt/lib"]) {
        assert!(
            !good && said.contains("in a folder of the machine that built it"),
            "{said}"
        );
    }
}

#[test]
fn zstd_is_built_without_the_formats_of_before_its_first_stable_one() {
    // What zstd-sys says and cannot be told not to say.
    const ASKED: &str = "-DZSTD_LEGACY_SUPPORT=1";
    let source = "#if ZSTD_LEGACY_SUPPORT\n#error old formats\n#endif\nint main(void) { return 0; }\n";
    let folder = TempDir::new().expect("a folder");
    let header = root().join("cross/include/zstd-parts.h");
    compile(
        &folder,
        source,
        &[ASKED, &format!("-include{}", header.display())],
    );
    assert!(read("cross/build.sh").contains("-include$PWD/cross/include/zstd-parts.h"));
}

#[test]
fn the_configuration_for_cross_asks_for_the_same_baseline() {
    let text = read("Cross.toml");
    let parsed: toml::Table = text.parse().expect("TOML");
    let build = parsed
        .get("build")
        .and_then(toml::Value::as_table)
        .expect("[build]");
    let keys: Vec<&str> = build.keys().map(String::as_str).collect();
    assert_eq!(keys, ["env", "pre-build", "zig"]);
    let zig = build
        .get("zig")
        .and_then(toml::Value::as_table)
        .expect("[build.zig]");
    assert_eq!(zig.get("enable").and_then(toml::Value::as_bool), Some(true));
    assert_eq!(zig.get("version").and_then(toml::Value::as_str), Some("2.28"));
    // The command in its head builds what ./dev cross builds.
    let script = read("cross/build.sh");
    assert!(script.contains("features=(--no-default-features --features static)"));
    assert!(text.contains("cross build --locked --release --no-default-features --features static"));
}
