//! A system of which nothing is known: the binary, its libraries, and the CAs where a system keeps them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::config::Config;
use crate::support::devices::{Devices, Plan};
use crate::support::kafka::Brokers;
use crate::support::kafka::secure::{self, Door};
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Oracle, PATIENCE};
use crate::support::process::{Process, program};
use crate::support::scene::{ACK_LIMIT, FILTER};
use crate::support::scratch::Scratch;
use crate::support::wait;

/// Where Debian's ca-certificates puts what all programs believe. There are no links by hash beside it, as OpenSSL itself would need
/// them.
const BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";
const LIMIT: Duration = Duration::from_mins(1);

/// The files that a program needs to run.
fn libraries(binary: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(binary).output().expect("ldd runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
    paths.map(PathBuf::from).collect()
}

/// A root with nothing in it but the binary and what it needs.
fn clean_root(binary: &Path) -> Scratch {
    let root = Scratch::new("root");
    let place = |path: &Path| {
        let target = root.path().join(path.strip_prefix("/").unwrap_or(path));
        std::fs::create_dir_all(target.parent().expect("has one")).expect("the folder is writable");
        target
    };
    for library in libraries(binary) {
        std::fs::copy(&library, place(&library)).expect("copies");
    }
    std::fs::copy(binary, place(Path::new("/edgeferry"))).expect("copies");
    for folder in ["proc", "store", "tmp", "etc/ssl/certs"] {
        std::fs::create_dir_all(root.join(folder)).expect("the folder is writable");
    }
    root
}

#[test]
fn public_authorities_are_found_where_a_system_keeps_them() {
    let secure = secure::shared();
    let mosquitto = Mosquitto::start();
    let topic = secure.fresh_topic("clean");
    let root = clean_root(Path::new(env!("CARGO_BIN_EXE_edgeferry")));
    let config = Config::usual("5", &mosquitto, secure, &topic)
        .impatient()
        .bootstrap(&secure.door(Door::Tls))
        .kafka("tls = true");
    std::fs::write(root.join("edgeferry.toml"), config.text(Path::new("/store"))).expect("writes");
    let mark = mosquitto.mark();
    let log = root.path().with_extension("log");
    let mut daemon = Process::spawn(
        "edgeferry in a clean root",
        &program("unshare"),
        &log,
        |command| {
            let root = root.path().display();
            let enter = format!(
                "mount --rbind /proc {root}/proc && exec chroot {root} /edgeferry run --config /edgeferry.toml"
            );
            command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &enter]);
        },
    );
    mosquitto.until_subscribed(FILTER, mark);
    let plan = Plan {
        messages: Some(100),
        ..Plan::default()
    };
    let sent = Devices::start(&mosquitto, &plan).finish(ACK_LIMIT);
    wait::until("nobody is believed", LIMIT, || {
        daemon.log().contains("certificate verify failed").then_some(())
    });
    // Stands for the CA that signed a public broker's certificate.
    std::fs::copy(secure.authority().ca(), root.join(BUNDLE)).expect("copies");
    daemon.signal(Signal::HUP);
    let mut oracle = Oracle::new(secure, &topic);
    oracle.until_all_there(&sent, PATIENCE);
    let status = daemon.terminate(LIMIT);
    assert_eq!(status.code(), Some(0));
    oracle.verdict(&sent).assert_clean();
}
