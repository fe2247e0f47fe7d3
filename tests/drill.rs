//! `edgeferry drill` as a person runs it: short ones, which fail for every promise that is broken on purpose.
#![cfg(test)]

#[path = "support/disk.rs"]
#[expect(dead_code, reason = "shared with the other tests; this one uses a part")]
mod disk;
#[path = "support/wait.rs"]
#[expect(dead_code, reason = "shared with the other tests; this one uses a part")]
mod wait;

use std::io::{BufRead, BufReader, ErrorKind};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use edgeferry::faults;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Long enough for every phase, also on a busy machine.
const SECONDS: &str = "8";
/// Whatever the drill waits for has a limit of its own, which is below this.
const LIMIT: Duration = Duration::from_mins(2);

/// A folder for scratch directories, on a real disk.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
        // Below the length at which sockets would not fit; target/tmp may be too long for them.
        let parent = if parent.as_os_str().len() > 50 {
            Path::new("/var/tmp")
        } else {
            parent
        };
        Self(tempfile::Builder::new().prefix("d").tempdir_in(parent).unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Scratch directories in it.
    fn folders(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.path()).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.is_dir()).collect()
    }

    /// A configuration in it.
    fn config(&self, rest: &str) -> PathBuf {
        let path = self.path().join("edgeferry.toml");
        let head = "[gateway]\nid = \"g\"\ndata_dir = \"/nonexistent/store\"\n[kafka]\nbootstrap_servers = [\"127.0.0.1:9\"]\n";
        std::fs::write(&path, format!("{head}{rest}")).unwrap();
        path
    }

    fn command(&self, config: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edgeferry"));
        command
            .arg("drill")
            .arg("--config")
            .arg(config)
            .arg("--scratch")
            .arg(self.path())
            .args(["--seed", "7"])
            .args(arguments)
            .env_remove(faults::OMIT)
            .env_remove("EDGEFERRY_LOG");
        command
    }

    fn run(&self, config: &Path, arguments: &[&str]) -> Output {
        self.command(config, arguments).output().unwrap()
    }
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("config/examples")
        .join(name)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A drill that must pass, and what it answered.
fn passes(config: &dyn Fn(&Place) -> PathBuf) -> Value {
    let place = Place::new();
    let output = place.run(&config(&place), &["--seconds", SECONDS, "--json"]);
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert_eq!(output.status.code(), Some(0), "{report:#}");
    assert_eq!(report["passed"], true);
    assert_eq!(
        place.folders(),
        [] as [PathBuf; 0],
        "the scratch directory is removed"
    );
    for lane in report["lanes"].as_array().unwrap() {
        adds_up(lane);
    }
    // Each part of it was seen to happen. What came to the reader while Kafka's brokers refused was there before; had they taken anything,
    // the whole outage before that would have come.
    let refused = number(&report, "acknowledged_while_refused");
    assert!(
        refused > 0 && number(&report, "stored_while_refused") < refused,
        "{report:#}"
    );
    assert!(number(&report, "repeated_after_late_answers") > 0, "{report:#}");
    assert!(number(&report, "published_on_full_disk") > 0, "{report:#}");
    report
}

fn number(row: &Value, name: &str) -> u64 {
    row[name].as_u64().unwrap_or_else(|| panic!("{name} in {row}"))
}

fn dropped(row: &Value) -> u64 {
    row["dropped"]
        .as_object()
        .unwrap()
        .values()
        .map(|count| count.as_u64().unwrap())
        .sum()
}

fn adds_up(row: &Value) {
    let places = ["delivered", "dead_lettered", "queued", "lost"].map(|name| number(row, name));
    let sum = places.iter().sum::<u64>() + dropped(row);
    assert!(number(row, "acknowledged") > 50, "{row}");
    // What the broker sent twice a limit may have dropped twice: the ledger counts both.
    let twice = if dropped(row) > 0 {
        number(row, "resends")
    } else {
        0
    };
    let acknowledged = number(row, "acknowledged");
    assert!((acknowledged..=acknowledged + twice).contains(&sum), "{row}");
    assert_eq!((number(row, "lost"), number(row, "unexplained")), (0, 0));
}

#[test]
fn the_minimal_example_passes_and_is_killed_often() {
    let report = passes(&|_| example("minimal.toml"));
    assert_eq!(
        (report["kills"].as_u64(), report["starts"].as_u64()),
        (Some(6), Some(7)),
        "{report:#}"
    );
    assert_eq!(report["scratch"], Value::Null);
    // It pushes back: with a disk that takes nothing much is not acknowledged. What was on its way to the disk before is.
    let (acknowledged, published) = (
        number(&report, "acknowledged_on_full_disk"),
        number(&report, "published_on_full_disk"),
    );
    assert!(acknowledged * 4 < published * 3, "{report:#}");
    assert!(
        report["claims"]
            .as_str()
            .unwrap()
            .contains("nothing about order and exactly-once")
    );
}

#[test]
fn two_lanes_are_judged_apart() {
    let report = passes(&|_| example("alarms.toml"));
    let lanes: Vec<&str> = report["lanes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["lane"].as_str().unwrap())
        .collect();
    assert_eq!(lanes, ["default", "alarms"]);
}

#[test]
fn two_brokers_of_two_versions_pass() {
    passes(&|_| example("two-brokers.toml"));
}

#[test]
fn wasp_with_three_brokers_passes_with_its_dead_letters() {
    let report = passes(&|_| example("wasp.toml"));
    assert!(number(&report["lanes"][0], "dead_lettered") > 0, "{report:#}");
    let notes = report["notes"].to_string();
    assert!(!notes.contains("was not tried: "), "{notes}");
}

#[test]
fn a_message_that_several_routes_take_is_there_when_all_records_are() {
    passes(&|_| example("iot-agent.toml"));
}

const ROUTE: &str =
    "[[mqtt]]\nurl = \"mqtt://127.0.0.1:9\"\n[[route]]\nfrom = \"a/{device}\"\ntopic = \"t\"\n";

#[test]
fn what_drop_oldest_drops_is_counted_exactly_in_a_sealed_store() {
    let queue =
        "[queue]\nmax_bytes = \"16 MiB\"\non_full = \"drop-oldest\"\nkey_file = \"/nonexistent/key\"\n";
    let report = passes(&|place| place.config(&format!("{ROUTE}{queue}")));
    assert!(dropped(&report["lanes"][0]) > 0, "{report:#}");
}

#[test]
fn what_drop_newest_drops_is_counted_exactly() {
    let queue = "[queue]\nmax_bytes = \"16 MiB\"\non_full = \"drop-newest\"\n";
    let report = passes(&|place| place.config(&format!("{ROUTE}{queue}")));
    assert!(dropped(&report["lanes"][0]) > 0, "{report:#}");
}

#[test]
fn what_comes_with_qos_0_is_beside_the_account() {
    let more = "[[route]]\nfrom = \"b/{device}\"\ntopic = \"t\"\nqos = 0\n";
    let report = passes(&|place| place.config(&format!("{ROUTE}{more}")));
    assert!(
        number(&report["lanes"][0], "unprotected_delivered") > 0,
        "{report:#}"
    );
}

#[test]
fn on_a_file_system_that_a_neighbour_fills_it_passes() {
    let Some(disk) = disk::Disk::mount(disk::Kind::Tmpfs, 400) else {
        return;
    };
    let place = Place::new();
    let config = place.config(&format!("{ROUTE}[queue]\nmin_free_bytes = \"1 MiB\"\n"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_edgeferry"))
        .args(["drill", "--seed", "7", "--seconds", SECONDS, "--json", "--config"])
        .arg(&config)
        .arg("--scratch")
        .arg(disk.path())
        .env_remove(faults::OMIT)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let scratch = wait::until("the daemon has a store", LIMIT, || {
        let folder = std::fs::read_dir(disk.path()).unwrap().flatten().next()?.path();
        folder.join("data/lanes").exists().then_some(folder)
    });
    disk.eat();
    wait::let_pass("no space is left", Duration::from_secs(3));
    disk.leave();
    let status = wait::until("the drill ends", LIMIT, || child.try_wait().unwrap());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        status.code(),
        Some(0),
        "{}\n{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    assert!(!scratch.exists());
}

// --- Broken on purpose --------------------------------------------------------------------------------

/// A drill of a build that breaks a promise: it must fail, say which, and leave what is needed to look into it.
fn fails(omitted: &str, promise: &str) {
    let place = Place::new();
    let output = place
        .command(&example("minimal.toml"), &["--seconds", SECONDS, "--json"])
        .env(faults::OMIT, omitted)
        .output()
        .unwrap();
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert_eq!(output.status.code(), Some(1), "{report:#}");
    assert_eq!(report["passed"], false);
    let findings = report["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["promise"] == promise);
    let found = found.unwrap_or_else(|| panic!("{promise} is not among {findings:#?}"));
    assert!(!found["ids"].as_array().unwrap().is_empty(), "{found}");
    let scratch = PathBuf::from(report["scratch"].as_str().unwrap());
    for name in ["data", "edgeferry.toml", "daemon.log"] {
        assert!(scratch.join(name).exists(), "{name}");
    }
}

#[test]
fn acknowledging_before_it_is_durable_is_found() {
    fails(faults::ACK_WAITS, "nothing-is-lost");
}

#[test]
fn advancing_the_cursor_before_the_report_is_found() {
    fails(faults::CURSOR_WAITS, "nothing-is-lost");
}

#[test]
fn dropping_without_counting_is_found() {
    fails(faults::DROP_COUNTS, "nothing-is-lost");
}

#[test]
fn using_a_sequence_again_is_found() {
    fails(faults::SEQUENCE_GOES_ON, "ids-are-unique");
}

#[test]
fn a_duplicate_under_another_id_is_found() {
    fails(faults::ID_STAYS, "duplicates-are-recognisable");
}

#[test]
fn ignoring_a_failed_flush_is_found() {
    fails(faults::FLUSH_COUNTS, "nothing-is-lost");
}

#[test]
fn every_promise_that_can_be_broken_has_a_test_here() {
    let here = include_str!("drill.rs");
    let points = include_str!("../src/faults.rs");
    for (name, _) in faults::BROKEN {
        let line = points
            .lines()
            .find(|line| line.contains(&format!("\"{name}\"")))
            .unwrap();
        let constant = line.split_whitespace().nth(2).unwrap().trim_end_matches(':');
        assert!(here.contains(&format!("fails(faults::{constant},")), "{constant}");
    }
}

#[test]
fn no_build_breaks_promises_by_default() {
    let manifest = include_str!("../Cargo.toml");
    let default = manifest
        .lines()
        .find(|line| line.starts_with("default = "))
        .unwrap();
    assert!(!default.contains("broken-promises"), "{default}");
    let others = manifest
        .lines()
        .filter(|line| line.contains("broken-promises") && !line.starts_with('#'));
    assert_eq!(
        others.collect::<Vec<_>>(),
        ["broken-promises = []"],
        "nothing else switches it on"
    );
    for script in ["cross/README.md", "dev"] {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(script)).unwrap();
        let builds = text
            .lines()
            .filter(|line| line.contains("cargo") && line.contains("broken-promises"));
        let elsewhere = builds.filter(|line| !line.contains("--target-dir") || !line.contains("/broken"));
        assert_eq!(
            elsewhere.count(),
            0,
            "{script}: what is packed lies in another folder"
        );
    }
}

// --- Nothing outside is touched -----------------------------------------------------------------------

/// Nobody connected.
fn is_untouched(listener: &TcpListener) -> bool {
    listener.set_nonblocking(true).unwrap();
    matches!(listener.accept(), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn a_configuration_that_points_at_live_ones_touches_none_of_them() {
    let place = Place::new();
    let [mqtt, kafka] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let outside = tempfile::tempdir().unwrap();
    let at = |name: &str| outside.path().join(name);
    let socket = UnixListener::bind(at("live.sock")).unwrap();
    socket.set_nonblocking(true).unwrap();
    // Whoever opens one of these to read waits for ever.
    for secret in ["mqtt-password", "kafka-password", "ca", "seal-key"] {
        rustix::fs::mkfifoat(
            rustix::fs::CWD,
            at(secret),
            rustix::fs::Mode::from_raw_mode(0o600),
        )
        .unwrap();
    }
    let file = format!(
        "[gateway]\nid = \"live\"\ndata_dir = \"{dir}/store\"\n\
         [[mqtt]]\nname = \"tcp\"\nurl = \"mqtt://127.0.0.1:{mqtt}\"\nclient_id = \"live\"\nusername = \"u\"\n\
         password_file = \"{dir}/mqtt-password\"\nstatus_topic = \"live/status\"\n\
         [[mqtt]]\nname = \"unix\"\nurl = \"unix://{dir}/live.sock\"\nversion = \"3.1.1\"\n\
         [kafka]\nbootstrap_servers = [\"127.0.0.1:{kafka}\"]\ntls = true\nca_file = \"{dir}/ca\"\nsasl = \"plain\"\n\
         username = \"u\"\npassword_file = \"{dir}/kafka-password\"\n\
         [kafka.properties]\n\"client.rack\" = \"r\"\n\
         [queue]\nkey_file = \"{dir}/seal-key\"\n\
         [[route]]\nfrom = \"a/{{device}}\"\ntopic = \"t\"\n",
        dir = outside.path().display(),
        mqtt = mqtt.local_addr().unwrap().port(),
        kafka = kafka.local_addr().unwrap().port(),
    );
    let config = at("live.toml");
    std::fs::write(&config, file).unwrap();
    let output = place.run(&config, &["--seconds", SECONDS]);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}\n{}",
        text_of(&output),
        text(&output.stderr)
    );
    assert!(is_untouched(&mqtt) && is_untouched(&kafka));
    assert!(socket.accept().is_err());
    assert!(!at("store").exists());
}

fn text_of(output: &Output) -> String {
    text(&output.stdout)
}

/// A drill that is looked at while it runs; not to outlive the test.
struct Running {
    child: Child,
    place: Place,
}

impl Running {
    /// Until the daemon has its first messages.
    fn start() -> Self {
        let place = Place::new();
        let mut child = place
            .command(&example("minimal.toml"), &["--seconds", "600"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let begun = lines
            .by_ref()
            .map(Result::unwrap)
            .find(|line| line.contains("everything works"));
        assert!(
            begun.is_some(),
            "it ended: {}",
            text(&child.wait_with_output().unwrap().stderr)
        );
        // Somebody goes on reading.
        std::thread::spawn(move || lines.count());
        Self { child, place }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Processes that it started.
    fn daemons(&self) -> Vec<u32> {
        let pid = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        children
            .split_whitespace()
            .map(|pid| pid.parse().unwrap())
            .collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn is_gone(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // A process that nobody has waited for yet is gone too.
    status.is_empty() || status.contains(") Z ")
}

#[test]
fn ctrl_c_ends_the_daemon_and_removes_the_scratch_directory() {
    let mut drill = Running::start();
    let daemons = drill.daemons();
    assert_eq!(daemons.len(), 1);
    kill_process(drill.pid(), Signal::INT).unwrap();
    let status = wait::until("the drill ends", LIMIT, || drill.child.try_wait().unwrap());
    assert_eq!(status.code(), Some(1), "it shows nothing");
    assert!(is_gone(daemons[0]));
    assert_eq!(drill.place.folders(), [] as [PathBuf; 0]);
}

#[test]
fn a_drill_that_is_killed_leaves_no_daemon_behind() {
    let mut drill = Running::start();
    let daemons = drill.daemons();
    kill_process(drill.pid(), Signal::KILL).unwrap();
    drill.child.wait().unwrap();
    wait::until("the daemon ends", LIMIT, || is_gone(daemons[0]).then_some(()));
}

#[test]
fn others_see_no_open_port_but_loopback_and_no_file() {
    let drill = Running::start();
    let folders = drill.place.folders();
    let mode = std::fs::metadata(&folders[0]).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    let mut processes = drill.daemons();
    processes.push(drill.child.id());
    let listening = listening();
    assert!(!listening.is_empty());
    for pid in processes {
        for inode in sockets(pid) {
            if let Some((_, address)) = listening.iter().find(|(known, _)| *known == inode) {
                assert_eq!(address, "0100007F", "of {pid}");
            }
        }
    }
}

/// Inodes of a process's sockets.
fn sockets(pid: u32) -> Vec<String> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = entries.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    let names = links.filter_map(|link| link.to_str().map(ToOwned::to_owned));
    names
        .filter_map(|name| Some(name.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect()
}

/// Listening TCP sockets of the machine: inode, and address in hex (proc(5)).
fn listening() -> Vec<(String, String)> {
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| std::fs::read_to_string(path).unwrap_or_default());
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    lines
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let address = fields[1].split(':').next()?;
            (fields[3] == "0A").then(|| (fields[9].to_owned(), address.to_owned()))
        })
        .collect()
}

// --- What cannot be ------------------------------------------------------------------------------------

/// Exit code, and what is said.
fn refused(config: impl Fn(&Place) -> PathBuf, arguments: &[&str]) -> (Option<i32>, String) {
    let place = Place::new();
    let output = place.run(&config(&place), arguments);
    assert_eq!(place.folders(), [] as [PathBuf; 0], "nothing is left behind");
    (output.status.code(), text(&output.stderr))
}

#[test]
fn no_configuration_and_a_wrong_one_are_refused() {
    let (code, said) = refused(|place| place.path().join("missing.toml"), &[]);
    assert_eq!(code, Some(64));
    assert!(
        said.contains("cannot read") && said.contains("missing.toml"),
        "{said}"
    );
    let (code, said) = refused(|place| place.config("[[mqtt]]\nurl = \"nonsense\"\n"), &[]);
    assert_eq!(code, Some(64));
    assert!(said.contains("mqtt[0].url") && said.contains("route"), "{said}");
}

#[test]
fn too_little_space_is_said_with_how_much_is_needed() {
    let queue = "[queue]\nmin_free_bytes = \"900000 GiB\"\n";
    let (code, said) = refused(|place| place.config(&format!("{ROUTE}{queue}")), &[]);
    assert_eq!(code, Some(74));
    assert!(said.contains("needs") && said.contains("--scratch DIR"), "{said}");
}

#[test]
fn routes_that_nothing_fits_are_said_and_a_drill_of_them_alone_is_refused() {
    // Longer than what samples are made of.
    let odd = "[[mqtt]]\nurl = \"mqtt://127.0.0.1:9\"\n[[route]]\nfrom = \"a/{device}\"\ntopic = \"t\"\n[route.match]\n\
               device = \"a{100}\"\n";
    let (code, said) = refused(|place| place.config(odd), &[]);
    assert_eq!(code, Some(64));
    assert!(
        said.contains("none of the routes can be tried") && said.contains("a/{device}"),
        "{said}"
    );
}

#[test]
fn what_libraries_say_meanwhile_does_not_hold_up_a_drill() {
    let place = Place::new();
    let output = place
        .command(&example("minimal.toml"), &["--seconds", SECONDS, "--json"])
        .env("EDGEFERRY_LOG", "warn")
        .output()
        .unwrap();
    assert!(text(&output.stderr).contains("librdkafka"), "they speak");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn a_drill_has_a_length_that_shows_something() {
    for wrong in ["0", "4", "3601", "x"] {
        let (code, said) = refused(|_| example("minimal.toml"), &["--seconds", wrong]);
        assert_eq!(code, Some(64), "{wrong}");
        assert!(said.contains("--seconds"), "{said}");
    }
}
