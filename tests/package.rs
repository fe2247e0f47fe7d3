//! What can be seen of the package in a minute: made of the binary under test, installed in a clean root, removed, purged. And what a
//! release needs of its changelog. `./dev package-test` does all of it with what is shipped.
#![expect(clippy::expect_used, reason = "the helpers of a test may give up")]

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

const BINARY: &str = env!("CARGO_BIN_EXE_edgeferry");

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(source(path)).expect("it is there")
}

/// Runs a script of the project; what it says when it fails.
fn run(script: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(source(script))
        .args(arguments)
        .output()
        .expect("the script is there");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() {
        Ok(said)
    } else {
        Err(said)
    }
}

/// The clean system that `./dev setup` makes; none where nobody could install anything in it, which is said then.
fn root() -> Option<String> {
    let root = std::env::var("EDGEFERRY_MACHINE_ROOT").unwrap_or_default();
    let reason = if !rustix::process::geteuid().is_root() {
        "only root can install it in a clean root"
    } else if !Path::new(&root).is_dir() {
        "EDGEFERRY_MACHINE_ROOT names no system: ./dev test does"
    } else if std::env::consts::ARCH != "x86_64" {
        "the trial package is made on x86-64 only"
    } else {
        return Some(root);
    };
    let required = std::env::var_os("EDGEFERRY_SYSTEMD_TESTS").is_some_and(|word| word == "required");
    assert!(!required, "the package: {reason}");
    // Past the test harness, which shows only what failed tests say.
    drop(writeln!(std::io::stderr(), "SKIPPED: the package: {reason}"));
    None
}

#[test]
fn a_package_of_this_binary_is_installed_removed_and_purged_in_a_clean_root() {
    let Some(root) = root() else { return };
    let out = tempfile::tempdir().expect("there is room");
    let into = out.path().join("packages");
    let into = into.to_str().expect("it is UTF-8");
    let made = run(
        "packaging/build.sh",
        &["--trial", "+smoke", "--binary", BINARY, "--out", into, "amd64"],
    );
    assert!(made.is_ok(), "{made:?}");
    let package = format!(
        "{into}/edgeferry_{}+smoke_amd64.deb",
        env!("CARGO_PKG_VERSION").replace('-', "~")
    );
    let lived = run("packaging/tests/inside.sh", &[&root, "smoke.sh", &package]);
    assert_eq!(lived.as_deref().map(str::trim), Ok("installed, removed, purged"));
    it_asks_for_what_the_program_needs(&package);
    the_sums_are_those_of_the_files(Path::new(into));
}

/// What a clean system may lack, and the roots of the tests do not.
fn it_asks_for_what_the_program_needs(package: &str) {
    let output = Command::new("dpkg-deb")
        .args(["--field", package, "Depends"])
        .output();
    let depends = String::from_utf8(output.expect("dpkg-deb runs").stdout).expect("text");
    let depends: Vec<&str> = depends.trim().split(", ").collect();
    assert!(
        depends.contains(&"ca-certificates"),
        "TLS without ca_file: {depends:?}"
    );
    let glibc = depends
        .iter()
        .find_map(|one| one.strip_prefix("libc6 (>= ")?.strip_suffix(')'));
    let glibc = glibc.expect("a version of glibc");
    assert_eq!(glibc, newest_glibc(), "what the program was linked against");
    assert!(
        depends.iter().any(|one| one.starts_with("systemd | ")),
        "systemd-sysusers makes the user: {depends:?}"
    );
}

/// The newest version of glibc that a symbol of the program wants.
fn newest_glibc() -> String {
    let output = Command::new("readelf")
        .args(["--version-info", "--wide", BINARY])
        .output();
    let text = String::from_utf8(output.expect("readelf runs").stdout).expect("text");
    let versions = text
        .split("GLIBC_")
        .skip(1)
        .filter_map(|rest| rest.split_whitespace().next());
    let numbers = versions.filter_map(|version| {
        let numbers: Option<Vec<u32>> = version.split('.').map(|number| number.parse().ok()).collect();
        Some((numbers?, version))
    });
    let (_, newest) = numbers.max().expect("it is linked with glibc");
    newest.to_owned()
}

fn the_sums_are_those_of_the_files(folder: &Path) {
    let check = || {
        let mut command = Command::new("sha256sum");
        let output = command
            .args(["--check", "--strict", "SHA256SUMS"])
            .current_dir(folder)
            .output();
        output.expect("sha256sum runs")
    };
    let sums = std::fs::read_to_string(folder.join("SHA256SUMS")).expect("it is there");
    for entry in std::fs::read_dir(folder).expect("it is there") {
        let name = entry
            .expect("readable")
            .file_name()
            .to_string_lossy()
            .into_owned();
        assert!(
            name == "SHA256SUMS" || sums.contains(&format!("  {name}\n")),
            "{name} has no sum: {sums}"
        );
        let whole = check();
        assert!(whole.status.success(), "{whole:?}");
        if name == "SHA256SUMS" {
            continue;
        }
        let path = folder.join(&name);
        let bytes = std::fs::read(&path).expect("it is there");
        let mut damaged = bytes.clone();
        *damaged.last_mut().expect("it is not empty") ^= 1;
        std::fs::write(&path, damaged).expect("there is room");
        assert!(!check().status.success(), "{name} is damaged");
        std::fs::write(&path, bytes).expect("there is room");
    }
}

/// What `cargo tree` says of the crates that are linked into the program that ships.
fn linked_crates() -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--edges", "normal", "--prefix", "none"])
        .args(["--target", "x86_64-unknown-linux-gnu", "--format", "{p}"])
        .args(["--no-default-features", "--features", "static"])
        .current_dir(source("."))
        .output();
    let text = String::from_utf8(output.expect("cargo runs").stdout).expect("text");
    let names = text.lines().filter_map(|line| line.split(" (").next());
    names
        .filter(|name| !name.starts_with("edgeferry "))
        .map(|name| name.trim().replace(" v", "@"))
        .collect()
}

/// The list of parts that `./dev package` puts beside the package for amd64; `None` where its tool is not here, which is said then.
fn list_of_parts() -> Option<serde_json::Value> {
    const MAKE: &str = "source scripts/setup.sh; source packaging/parts/facts.sh; source packaging/parts/licences.sh; \
                        source packaging/parts/sbom.sh; PATH=${XDG_CACHE_HOME:-$HOME/.cache}/edgeferry/tools/bin:$PATH; \
                        command -v cargo-cyclonedx >/dev/null || exit 100; make_sbom amd64 \"$0\"";
    let out = tempfile::tempdir().expect("there is room");
    let made = Command::new("bash")
        .args(["-ec", MAKE])
        .arg(out.path())
        .current_dir(source("."))
        .output()
        .expect("bash runs");
    if made.status.code() == Some(100) {
        let required = std::env::var_os("EDGEFERRY_SBOM_TEST").is_some_and(|word| word == "required");
        assert!(!required, "the list of parts: cargo-cyclonedx is not here");
        drop(writeln!(
            std::io::stderr(),
            "SKIPPED: the list of parts: cargo-cyclonedx is not here: ./dev package installs it"
        ));
        return None;
    }
    assert!(made.status.success(), "{made:?}");
    let name = format!("edgeferry-{}-linux-amd64.cdx.json", env!("CARGO_PKG_VERSION"));
    let text = std::fs::read_to_string(out.path().join(name)).expect("it was made");
    Some(serde_json::from_str(&text).expect("JSON"))
}

#[test]
fn the_list_of_parts_has_every_crate_and_every_c_library_that_is_linked_in() {
    let Some(sbom) = list_of_parts() else { return };
    assert_eq!(
        (&sbom["bomFormat"], &sbom["specVersion"]),
        (&"CycloneDX".into(), &"1.5".into())
    );
    assert_eq!(sbom["metadata"]["component"]["name"], "edgeferry");
    let parts = sbom["components"].as_array().expect("it has parts");
    let with = |kind: &str| -> BTreeSet<String> {
        let purls = parts.iter().filter_map(|part| part["purl"].as_str());
        purls
            .filter_map(|purl| purl.strip_prefix(kind))
            .map(ToOwned::to_owned)
            .collect()
    };
    let (crates, linked) = (with("pkg:cargo/"), linked_crates());
    assert!(linked.len() > 100, "{linked:?}");
    let missing: Vec<&String> = linked.difference(&crates).collect();
    assert!(missing.is_empty(), "not in the list: {missing:?}");
    let lock = read("Cargo.lock");
    for part in &crates {
        let (name, version) = part.split_once('@').expect("name@version");
        assert!(
            lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"\n")),
            "{part} is no crate of Cargo.lock"
        );
    }
    let others = with("pkg:generic/");
    for library in [
        "librdkafka",
        "openssl",
        "zlib",
        "zstd",
        "lz4",
        "cJSON",
        "rust-std",
    ] {
        assert!(
            others.iter().any(|part| part.starts_with(&format!("{library}@"))),
            "{library} is not in {others:?}"
        );
    }
    // Whoever looks a fault up by what is inside finds the program by it.
    let known: BTreeSet<&str> = parts.iter().filter_map(|part| part["bom-ref"].as_str()).collect();
    for edge in sbom["dependencies"].as_array().expect("it has edges") {
        for on in edge["dependsOn"].as_array().into_iter().flatten() {
            let on = on.as_str().expect("a name");
            assert!(known.contains(on), "{on} is no part");
        }
    }
    for part in parts {
        let licences = part["licenses"]
            .as_array()
            .is_some_and(|licences| !licences.is_empty());
        assert!(licences, "{} has no licence", part["name"]);
    }
}

#[test]
fn a_debug_build_is_packed_for_tests_only() {
    // It looks at the libraries first, and those are not all linked in.
    if cfg!(feature = "static") || std::env::consts::ARCH != "x86_64" {
        return;
    }
    let out = tempfile::tempdir().expect("there is room");
    let into = out.path().join("packages");
    let into = into.to_str().expect("it is UTF-8");
    let said = run(
        "packaging/build.sh",
        &["--binary", BINARY, "--out", into, "amd64"],
    );
    let said = said.expect_err("it is no program for gateways");
    assert!(
        said.contains("which not every gateway has") && said.contains("only be packed with --trial"),
        "{said}"
    );
    assert!(!Path::new(into).exists(), "nothing is made");
}

#[test]
fn a_folder_that_has_more_in_it_than_packages_is_not_replaced() {
    let home = tempfile::tempdir().expect("there is room");
    let kept = home.path().join("letters.txt");
    std::fs::write(&kept, "mine").expect("there is room");
    let into = home.path().to_str().expect("it is UTF-8");
    let refused =
        || run("packaging/build.sh", &["--out", into, "amd64"]).expect_err("it is somebody's folder");
    let said = refused();
    assert!(said.contains("is not empty, and has no packages"), "{said}");
    std::fs::write(home.path().join("SHA256SUMS"), "").expect("there is room");
    let said = refused();
    assert!(
        said.contains("has more in it than packages") && said.contains("letters.txt"),
        "{said}"
    );
    assert_eq!(std::fs::read_to_string(&kept).expect("it is there"), "mine");
}

/// Around it there may be somebody's repository, whose time and number are not those of these sources.
#[test]
fn sources_without_git_are_packed_only_when_time_and_commit_are_said() {
    let home = tempfile::tempdir().expect("there is room");
    let archive = home.path().join("edgeferry");
    std::fs::create_dir(&archive).expect("there is room");
    let done = Command::new("sh")
        .args(["-ec", "cp -r Cargo.toml cross packaging scripts \"$0\" && cd \"$0\"/.. && git init -q . && git -c user.name=me -c user.email=me@localhost commit -q --allow-empty -m theirs"])
        .arg(&archive)
        .current_dir(source("."))
        .status();
    assert!(done.expect("a shell").success());
    let packed = |variables: &[(&str, &str)]| {
        let mut command = Command::new(archive.join("packaging/build.sh"));
        command.arg("amd64");
        for name in ["SOURCE_DATE_EPOCH", "EDGEFERRY_COMMIT", "CARGO_TARGET_DIR"] {
            command.env_remove(name);
        }
        let output = command.envs(variables.iter().copied()).output();
        let output = output.expect("the script is there");
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = packed(&[]);
    assert!(
        said.contains("set SOURCE_DATE_EPOCH to the time of the commit"),
        "{said}"
    );
    let time = ("SOURCE_DATE_EPOCH", "1790000000");
    let said = packed(&[time]);
    assert!(
        said.contains("set EDGEFERRY_COMMIT to the number of the commit"),
        "{said}"
    );
    let said = packed(&[time, ("EDGEFERRY_COMMIT", "v0.1")]);
    assert!(
        said.contains("set EDGEFERRY_COMMIT to the number of the commit"),
        "{said}"
    );
}

#[test]
fn an_engine_is_sent_what_the_recipe_for_containers_copies_and_nothing_else() {
    let recipe = read("packaging/Containerfile");
    let copied: Vec<&str> = recipe
        .lines()
        .filter_map(|line| line.strip_prefix("COPY ")?.split(' ').next())
        .collect();
    let ignored = read("packaging/Containerfile.dockerignore");
    let rules: Vec<&str> = ignored.lines().filter(|line| !line.starts_with('#')).collect();
    let (all, kept) = rules.split_first().expect("it has rules");
    assert_eq!(*all, "*");
    let kept: Vec<&str> = kept.iter().filter_map(|rule| rule.strip_prefix('!')).collect();
    assert_eq!(kept, copied);
}

#[test]
fn what_cannot_be_packed_is_refused_before_anything_is_built() {
    let said = run("packaging/build.sh", &["--binary", BINARY, "amd64", "arm64"]);
    let said = said.expect_err("one program is not for two machines");
    assert!(said.contains("--binary is the program of one ARCH"), "{said}");
    let said = run("packaging/build.sh", &["sparc"]).expect_err("there is no such package");
    assert!(
        said.contains("'sparc' is no architecture of these packages"),
        "{said}"
    );
}

#[test]
fn the_changelog_has_the_version_or_something_unreleased_on_top() {
    let changelog = read("CHANGELOG.md");
    let headings: Vec<&str> = changelog
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .collect();
    let version = env!("CARGO_PKG_VERSION");
    let top = headings.first().copied().unwrap_or_default();
    let of_version = |heading: &str| heading.split(' ').next() == Some(version);
    assert!(
        top == "Unreleased" || of_version(top),
        "on top is {top:?}: write Unreleased, or {version} and its date"
    );
    for heading in headings.iter().filter(|heading| **heading != "Unreleased") {
        let date = heading
            .split_once(" (")
            .and_then(|(_, date)| date.strip_suffix(')'));
        let is_date = |date: &str| date.len() == 10 && date.split('-').map(str::len).eq([4, 2, 2]);
        assert!(
            date.is_some_and(is_date),
            "{heading:?}: write VERSION (YYYY-MM-DD)"
        );
    }
    let (_, below) = changelog.split_once("\n## ").expect("it has a heading");
    let part = below.split("\n## ").next().unwrap_or_default();
    assert!(
        part.lines().any(|line| line.starts_with("* ")),
        "{top} says nothing"
    );
}

#[test]
fn every_exception_of_deny_has_its_reason() {
    let deny = read("deny.toml");
    let reasons = deny.matches("reason = ").count();
    let exceptions = deny.matches("{ crate = ").count() + deny.matches("{ id = ").count();
    assert_eq!(reasons, exceptions, "every exception of deny.toml has its reason");
}
