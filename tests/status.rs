//! `edgeferry status` and `edgeferry report`, as a person runs them: on a stopped store, and beside a daemon that reaches neither
//! MQTT nor Kafka.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "the helpers of a test may give up"
)]

#[path = "support/wait.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod wait;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use edgeferry::app::DataDir;
use edgeferry::faults;
use edgeferry::ops::State;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Four messages of three devices.
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/export-v1.jsonl");
/// A start takes a second; on a busy machine some more.
const PATIENCE: Duration = Duration::from_mins(1);
/// Nothing that is planted as a secret may turn up anywhere.
const SECRET: &str = "hunter2-9c1e";

/// What a command said.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A configuration and a store.
struct Gateway {
    folder: tempfile::TempDir,
}

impl Gateway {
    /// Nobody listens at the ports.
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("temp dir");
        let gateway = Self { folder };
        fs::write(gateway.path("password"), format!("{SECRET}\n")).expect("writes");
        let text = format!(
            "[gateway] # {SECRET}\nid = \"gw-status\"\ndata_dir = \"{}\"\n[[mqtt]]\nname = \"local\"\nurl = \"mqtt://127.0.0.1:1\"\n\
             username = \"user-{SECRET}\"\npassword_file = \"{}\"\n\
             [kafka]\nbootstrap_servers = [\"127.0.0.1:1\"]\n\
             [[route]]\nfrom = \"devices/{{device}}/telemetry\"\ntopic = \"t\"\n[route.add_headers]\nkey = \"{SECRET}\"\n",
            gateway.path("store").display(),
            gateway.path("password").display()
        );
        fs::write(gateway.path("edgeferry.toml"), text).expect("writes");
        gateway
    }

    /// With the messages of the golden file.
    fn filled() -> Self {
        let gateway = Self::new();
        let said = gateway.run("queue", &["import", GOLDEN]);
        assert_eq!(said.code, 0, "{said:?}");
        gateway
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, verb: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edgeferry"));
        command.arg(verb).args(arguments);
        command.arg("--config").arg(self.path("edgeferry.toml"));
        command
    }

    fn run(&self, verb: &str, arguments: &[&str]) -> Said {
        said(&mut self.command(verb, arguments))
    }

    fn status(&self) -> Said {
        self.run("status", &["--json"])
    }

    /// A daemon on it, that answers.
    fn daemon(&self) -> Daemon {
        self.daemon_with(&[])
    }

    /// One with these variables.
    fn daemon_with(&self, variables: &[(&str, String)]) -> Daemon {
        let mut command = self.command("run", &[]);
        command.envs(variables.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(self.path("log")).expect("creates"));
        let mut daemon = Daemon(command.spawn().expect("starts"));
        wait::until("the daemon answers", PATIENCE, || {
            let ended = daemon.0.try_wait().expect("is ours");
            let log = || fs::read_to_string(self.path("log")).unwrap_or_default();
            assert!(ended.is_none(), "it ended: {ended:?}\n{}", log());
            (self.status().code == 0).then_some(())
        });
        daemon
    }

    /// Names, sizes and times of all files of the store.
    fn files(&self) -> BTreeMap<PathBuf, (u64, SystemTime)> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.path("store")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("lists") {
                let path = entry.expect("item").path();
                let metadata = fs::symlink_metadata(&path).expect("is there");
                if metadata.is_dir() {
                    folders.push(path);
                } else {
                    files.insert(path, (metadata.len(), metadata.modified().expect("has one")));
                }
            }
        }
        files
    }
}

/// A process that ends with the test.
struct Daemon(Child);

impl Daemon {
    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a pid"), signal).expect("is ours");
    }

    fn kill(mut self) {
        self.0.kill().expect("is ours");
        self.0.wait().expect("ends");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.0.kill().and_then(|()| self.0.wait().map(|_| ())).is_err() {
            eprintln!("the daemon was gone");
        }
    }
}

fn said(command: &mut Command) -> Said {
    let output = command.output().expect("runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said {
        code: output.status.code().expect("it ended by itself"),
        out: text(&output.stdout),
        err: text(&output.stderr),
    }
}

#[test]
fn of_a_stopped_store_the_ledger_is_shown_and_nothing_is_touched() {
    let gateway = Gateway::filled();
    let before = gateway.files();
    let said = gateway.run("status", &[]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.out.lines().all(|line| line.chars().count() <= 80),
        "{said:?}"
    );
    let words = said.out.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "gw-status: NOT RUNNING",
        "its last sign there is of 20",
        "4 received = 0 delivered + 4 queued + 0 dead letters + 0 removed",
        "systemctl start edgeferry",
    ] {
        assert!(words.contains(part), "{part} in {said:?}");
    }
    let json = gateway.status();
    assert_eq!(json.code, 1, "{json:?}");
    let json = json.json();
    assert_eq!(json["is_running"], false);
    assert_eq!(json["lanes"][0]["name"], "default");
    assert_eq!(json["lanes"][0]["ledger"]["queued"], 4);
    assert_eq!(gateway.files(), before, "read only");
}

#[test]
fn without_a_store_or_a_configuration_that_is_said() {
    let gateway = Gateway::new();
    let said = gateway.run("status", &[]);
    assert!(
        said.code == 1 && said.err.contains("there is no store in"),
        "{said:?}"
    );
    assert!(!gateway.path("store").exists(), "nothing is made");
    fs::write(gateway.path("edgeferry.toml"), "[gateway]\n").expect("writes");
    let said = gateway.run("status", &[]);
    assert_eq!(said.code, 64, "{said:?}");
}

#[test]
fn a_store_that_another_command_has_is_not_called_stopped() {
    let gateway = Gateway::filled();
    let taken = DataDir::take(&gateway.path("store")).expect("takes");
    let said = gateway.run("status", &[]);
    let held = format!(
        "process {} has the store, and does not answer",
        std::process::id()
    );
    assert!(said.code == 1 && said.err.contains(&held), "{said:?}");
    drop(taken);
    assert!(gateway.status().json()["is_running"] == false);
}

#[test]
fn a_daemon_whose_links_are_away_is_ready_and_says_all_of_it() {
    let gateway = Gateway::filled();
    let mut daemon = gateway.daemon();
    let said = gateway.status();
    assert_eq!(said.code, 0, "{said:?}");
    let state: State = serde_json::from_str(&said.out).expect("a state");
    assert_eq!(state.gateway, "gw-status");
    assert!(state.health.is_ready, "{state:?}");
    assert!(state.unix_ms > 1_700_000_000_000 && state.disk.free_bytes.is_some_and(|free| free > 0));
    let [lane] = &state.lanes[..] else {
        panic!("{state:?}");
    };
    assert_eq!((lane.ledger.received, lane.ledger.queued), (4, 4));
    assert_eq!(lane.queue.max_bytes, 1 << 30);
    assert_eq!(lane.routes.len(), 1, "{lane:?}");
    assert_eq!(lane.routes[0].name, "devices/{device}/telemetry -> t");
    // They were stored in another boot: how long they wait is known by two clocks that were right, and said not to be otherwise.
    let is_known = state.is_clock_synchronised;
    wait::until(
        "it is known whether it is known how long they wait",
        PATIENCE,
        || {
            let lane = gateway.status().json()["lanes"][0]["queue"].take();
            match is_known {
                // The sink has a look at the disk for it, on its own thread.
                Some(true) => lane["age_s"].as_f64().is_some_and(|age| age > 1e6).then_some(()),
                _ => (lane["is_age_unknown"] == true).then_some(()),
            }
        },
    );
    let waiting = match is_known {
        Some(true) => "4 waiting, the oldest for",
        _ => "4 waiting, for how long is not known",
    };
    let said = gateway.run("status", &[]);
    let words = said.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words.contains(waiting) && words.contains("MQTT local: "),
        "{said:?}"
    );
    assert!(
        said.out.lines().all(|line| line.chars().count() <= 80),
        "{said:?}"
    );
    // As many at once as people and scripts may ask, and more.
    let asking: Vec<Child> = (0..12)
        .map(|_| {
            let mut command = gateway.command("status", &["--json"]);
            command.stdout(Stdio::piped()).spawn().expect("starts")
        })
        .collect();
    for asking in asking {
        let output = asking.wait_with_output().expect("ends");
        assert_eq!(output.status.code(), Some(0));
        serde_json::from_slice::<State>(&output.stdout).expect("whole");
    }
    assert_eq!(daemon.0.try_wait().expect("is ours"), None, "it still runs");
}

#[test]
fn watching_goes_on_until_it_is_interrupted() {
    let gateway = Gateway::filled();
    let daemon = gateway.daemon();
    let mut command = gateway.command("status", &["--watch", "1"]);
    let mut watching = Daemon(command.stdout(Stdio::piped()).spawn().expect("starts"));
    let out = watching.0.stdout.take().expect("piped");
    let heads = BufReader::new(out).lines().map_while(Result::ok);
    let mut heads = heads.filter(|line| line.starts_with("gw-status: "));
    for _ in 0..2 {
        let head = heads.next().expect("goes on");
        assert!(!head.contains('\x1b') && head.contains("edgeferry"), "{head}");
    }
    // A daemon that is gone is no reason to end.
    daemon.kill();
    let is_gone = |head: &String| head.contains("NOT RUNNING");
    assert!(heads.by_ref().take(60).any(|head| is_gone(&head)));
    watching.signal(Signal::INT);
    let ended = wait::until("it ends", PATIENCE, || watching.0.try_wait().expect("is ours"));
    assert_eq!(ended.code(), Some(1), "the last look found no daemon");
}

/// What a terminal was told beside text.
fn escapes(seen: &str) -> BTreeSet<&str> {
    let behind = seen.split('\x1b').skip(1);
    let whole = behind.map(|escape| {
        escape
            .split_inclusive(|letter: char| letter.is_ascii_alphabetic())
            .next()
    });
    whole.map(Option::unwrap_or_default).collect()
}

/// What each `stty -a` said of keys that are shown, of lines, and of Ctrl-C.
fn settings(seen: &str) -> Vec<Vec<&str>> {
    let said = seen.split("speed ").skip(1);
    let said = said.map(|said| said.split("\nover").next().unwrap_or_default());
    let is_of_interest = |word: &&str| {
        let word = word.trim_start_matches('-');
        word.starts_with("echo") || ["icanon", "isig"].contains(&word)
    };
    said.map(|said| said.split_whitespace().filter(is_of_interest).collect())
        .collect()
}

#[test]
fn watching_on_a_terminal_draws_in_its_place_and_leaves_the_terminal_as_it_was() {
    const HOME: &str = "\x1b[H";
    let gateway = Gateway::filled();
    let _daemon = gateway.daemon();
    // The shell is interrupted as well, and has to go on: it says how the terminal was left.
    let shell = format!(
        "trap : INT; stty -a; {} status --watch 1 --config {}; echo code=$?; stty -a; echo over",
        env!("CARGO_BIN_EXE_edgeferry"),
        gateway.path("edgeferry.toml").display()
    );
    let mut command = Command::new("script");
    command.args(["--quiet", "--flush", "--return", "--command", &shell]);
    command.arg(gateway.path("typescript")).env("SHELL", "/bin/sh");
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut terminal = Daemon(command.spawn().expect("script(1) is there"));
    let seen =
        || String::from_utf8_lossy(&fs::read(gateway.path("typescript")).unwrap_or_default()).into_owned();
    wait::until("it is drawn three times", PATIENCE, || {
        (seen().matches(HOME).count() >= 3).then_some(())
    });
    let mut keyboard = terminal.0.stdin.take().expect("piped");
    // Ctrl-C
    keyboard.write_all(b"\x03").expect("it reads");
    wait::until("the shell goes on", PATIENCE, || {
        seen().contains("\nover").then_some(())
    });
    drop(keyboard);
    wait::until("it ends", PATIENCE, || terminal.0.try_wait().expect("is ours"));
    let seen = seen();
    assert!(seen.contains("code=0"), "{seen:?}");
    let screens: Vec<&str> = seen.split(HOME).skip(1).collect();
    assert!(
        screens
            .iter()
            .all(|screen| screen.contains("gw-status: ") && screen.contains("\x1b[J"))
    );
    // All that is said to the terminal is where to write, and what to erase.
    let escapes = escapes(&seen);
    assert!(escapes.is_subset(&["[H", "[K", "[J"].into()), "{escapes:?}");
    let settings = settings(&seen);
    let [before, after] = &settings[..] else {
        panic!("{seen:?}");
    };
    assert_eq!(before, after);
    assert!(
        before.contains(&"echo") && before.contains(&"icanon"),
        "{before:?}"
    );
}

#[test]
fn what_a_killed_daemon_left_behind_is_not_taken_for_one() {
    let gateway = Gateway::filled();
    let daemon = gateway.daemon();
    daemon.kill();
    assert!(gateway.path("store/control.sock").exists(), "left behind");
    let said = gateway.status();
    assert!(said.code == 1 && said.json()["is_running"] == false, "{said:?}");
    // The number in the lock file is somebody else's by now.
    fs::write(gateway.path("store/lock"), format!("{}\n", std::process::id())).expect("writes");
    assert!(gateway.status().json()["is_running"] == false);
}

#[test]
fn a_daemon_that_hangs_is_said_to_hang_within_a_limit() {
    let gateway = Gateway::filled();
    let daemon = gateway.daemon();
    let pid = daemon.0.id();
    daemon.signal(Signal::STOP);
    let said = gateway.run("status", &[]);
    daemon.signal(Signal::CONT);
    let hangs = format!("the daemon (process {pid}) does not answer within 10 s");
    assert!(said.code == 1 && said.err.contains(&hangs), "{said:?}");
}

#[test]
fn another_user_is_told_who_may_ask() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can be another user");
        return;
    }
    let gateway = Gateway::filled();
    let daemon = gateway.daemon();
    let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("ours");
    open(gateway.folder.path());
    open(&gateway.path("store"));
    // Where nobody may go: the binary may lie below the home of root.
    let binary = gateway.path("edgeferry");
    fs::copy(env!("CARGO_BIN_EXE_edgeferry"), &binary).expect("copies");
    open(&binary);
    let as_nobody = || {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&binary);
        command
            .args(["status", "--config"])
            .arg(gateway.path("edgeferry.toml"));
        said(&mut command)
    };
    let refused = as_nobody();
    assert!(
        refused.code == 1 && refused.err.contains("it belongs to user 0") && refused.err.contains("sudo"),
        "{refused:?}"
    );
    drop(daemon);
    fs::set_permissions(gateway.path("store"), fs::Permissions::from_mode(0o700)).expect("ours");
    let refused = as_nobody();
    assert!(
        refused.code == 1 && refused.err.contains("it belongs to user 0"),
        "{refused:?}"
    );
}

#[test]
fn a_full_disk_where_the_answer_goes_is_said() {
    let gateway = Gateway::filled();
    let mut command = gateway.command("status", &[]);
    command.stdout(
        File::options()
            .write(true)
            .open("/dev/full")
            .expect("Linux has it"),
    );
    let status = said(&mut command);
    assert!(
        status.code == 1 && status.err.contains("cannot show the state"),
        "{status:?}"
    );
    let report = gateway.run("report", &["--output", "/dev/full/x"]);
    assert!(
        report.code == 1 && report.err.contains("cannot write"),
        "{report:?}"
    );
}

/// Fails when anything that is secret is in the report.
#[track_caller]
fn assert_clean(report: &str) {
    assert!(!report.contains("hunter2"), "{report}");
    assert!(!report.contains("payload 41"), "{report}");
    for section in [
        "## versions",
        "## machine",
        "## configuration",
        "## state",
        "## store",
    ] {
        assert!(report.contains(section), "{section} in {report}");
    }
}

#[test]
fn a_report_has_all_that_helps_and_no_secret_with_a_daemon_and_without() {
    let gateway = Gateway::filled();
    let file = gateway.path("report.txt");
    let said = gateway.run("report", &["--output", file.to_str().expect("text")]);
    assert_eq!((said.code, said.out.as_str()), (0, ""), "{said:?}");
    assert_eq!(
        fs::metadata(&file).expect("there").permissions().mode() & 0o777,
        0o600
    );
    let report = fs::read_to_string(&file).expect("reads");
    assert_clean(&report);
    for part in [
        "\"is_running\": false",
        "lanes/default/marks",
        "librdkafka       2.",
        "gateway.id = \"gw-status\"",
        "mqtt[0].password_file = ",
        "bytes free",
    ] {
        assert!(report.contains(part), "{part} in {report}");
    }
    let daemon = gateway.daemon();
    let said = gateway.run("report", &[]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_clean(&said.out);
    assert!(said.out.contains("\"is_ready\": true"), "{said:?}");
    drop(daemon);
    // With a mistake in the file a report is wanted most.
    let config = fs::read_to_string(gateway.path("edgeferry.toml")).expect("reads");
    let wrong = config.replace("[kafka]", &format!("[kafka]\npasword = \"{SECRET}\""));
    fs::write(gateway.path("edgeferry.toml"), wrong).expect("writes");
    let said = gateway.run("report", &[]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_clean(&said.out);
    assert!(
        said.out.contains("it has mistakes") && said.out.contains("kafka.pasword"),
        "{said:?}"
    );
}

/// The body of what the daemon answers on loopback.
fn get(port: u16, path: &str, accept: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let request = format!("GET {path} HTTP/1.0\r\nhost: localhost\r\naccept: {accept}\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.contains(" 200 ").then(|| body.to_owned())
}

/// A pipe that somebody has open for reading, or nothing.
fn read_by_somebody(pipe: &Path) -> Option<File> {
    // Without a reader this is refused instead of waiting for one (fifo(7)).
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).expect("a flag");
    let mut options = fs::OpenOptions::new();
    options.write(true).custom_flags(flags).open(pipe).ok()
}

#[test]
fn a_reload_whose_file_stalls_holds_up_no_stop() {
    let gateway = Gateway::new();
    let mut daemon = gateway.daemon();
    // A medium that gives nothing: the file is opened, and no byte of it comes.
    let file = gateway.path("edgeferry.toml");
    fs::remove_file(&file).expect("was there");
    let made = Command::new("mkfifo").arg(&file).status();
    assert!(made.expect("mkfifo runs").success());
    daemon.signal(Signal::HUP);
    let stalled = wait::until("the file is read", PATIENCE, || read_by_somebody(&file));
    daemon.signal(Signal::TERM);
    // Below what a service manager allows, which is 90 s.
    let ended = wait::until("it stops", PATIENCE, || daemon.0.try_wait().expect("is ours"));
    assert_eq!(ended.code(), Some(0), "in order");
    let log = fs::read_to_string(gateway.path("log")).expect("reads");
    assert!(
        log.contains("edgeferry is stopping: the reload is not done"),
        "{log}"
    );
    drop(stalled);
}

#[test]
fn a_secret_in_a_file_that_a_reload_refuses_is_in_no_answer_no_log_and_no_look() {
    const MISPLACED: &str = "correct-horse-battery";
    let gateway = Gateway::filled();
    let port = {
        let free = TcpListener::bind("127.0.0.1:0").expect("loopback");
        free.local_addr().expect("bound").port()
    };
    let path = gateway.path("edgeferry.toml");
    let config = fs::read_to_string(&path).expect("reads");
    let config = format!("{config}[http]\nlisten = \"127.0.0.1:{port}\"\n");
    fs::write(&path, &config).expect("writes");
    let daemon = gateway.daemon();
    let right = format!("password_file = \"{}\"", gateway.path("password").display());
    let wrong = config.replace(&right, &format!("password_file = \"{MISPLACED}\""));
    assert_ne!(wrong, config);
    fs::write(&path, wrong).expect("writes");
    let refused = gateway.run("reload", &[]);
    let about = format!("mqtt[0].password_file: holds {} characters", MISPLACED.len());
    assert!(
        refused.code == 64 && refused.err.contains(&about),
        "who asks is told where it is: {refused:?}"
    );
    let checked = gateway.run("check", &[]);
    assert!(
        checked.code == 64 && checked.err.contains(&about),
        "check says the same: {checked:?}"
    );
    let log = fs::read_to_string(gateway.path("log")).expect("reads");
    assert!(log.contains(&about), "{log}");
    let mut looks = vec![
        ("the answer to reload".to_owned(), refused.err),
        ("the answer to check".to_owned(), checked.err),
        ("the log".to_owned(), log),
        (
            "report, with the wrong file".to_owned(),
            gateway.run("report", &[]).out,
        ),
    ];
    fs::write(&path, config).expect("writes");
    let state = gateway.status();
    let not_applied = &state.json()["health"]["not_applied"];
    let why = not_applied["why"][0].as_str().expect("text").to_owned();
    assert!(
        why.starts_with("line ") && why.contains("mqtt[0].password_file"),
        "{state:?}"
    );
    assert!(
        state.out.contains("the configuration cannot be used"),
        "{state:?}"
    );
    looks.push(("status --json".to_owned(), state.out));
    for verb in ["status", "report"] {
        looks.push((verb.to_owned(), gateway.run(verb, &[]).out));
    }
    for (path, accept) in [
        ("/", "text/html"),
        ("/metrics", "text/plain"),
        ("/metrics", "application/openmetrics-text; version=1.0.0"),
        ("/api/status", "*/*"),
        ("/api/history", "*/*"),
    ] {
        let body = wait::until("the address answers", PATIENCE, || get(port, path, accept));
        looks.push((format!("{path} as {accept}"), body));
    }
    for (name, look) in &looks {
        assert!(!look.is_empty(), "{name}");
        for secret in [MISPLACED, SECRET] {
            assert!(!look.contains(secret), "{name}: {look}");
        }
    }
    drop(daemon);
}

#[test]
fn a_thread_that_hangs_is_named_and_keeps_no_stop_from_its_end_and_no_message_from_its_place() {
    for place in [faults::SINK_ROUND, faults::WRITER_ROUND] {
        let gateway = Gateway::filled();
        let order = gateway.path("hang");
        let mut daemon = gateway.daemon_with(&[
            (faults::HANG_FILE, order.display().to_string()),
            // More than the sink takes for a question to Kafka, which is away.
            (faults::HANG_LIMIT, "8000".to_owned()),
        ]);
        fs::write(&order, place).expect("writes");
        wait::until("the state says that it hangs", PATIENCE, || {
            let state = gateway.status().json();
            (state["lanes"][0]["stalled_s"].as_u64()? >= 8).then_some(())
        });
        daemon.signal(Signal::TERM);
        let ended = wait::until("it stops", PATIENCE, || daemon.0.try_wait().expect("is ours"));
        assert_eq!(ended.code(), Some(0), "{place}");
        let log = fs::read_to_string(gateway.path("log")).expect("reads");
        assert!(log.contains("a stage did not end in time"), "{place}: {log}");
        fs::remove_file(&order).expect("was there");
        let _again = gateway.daemon();
        let ledger = &gateway.status().json()["lanes"][0]["ledger"];
        assert_eq!(
            (&ledger["received"], &ledger["queued"]),
            (&4.into(), &4.into()),
            "{place}"
        );
    }
}

/// Exports of one device each: four messages together.
fn exports(gateway: &Gateway) -> Vec<String> {
    let devices = ["d0", "d1", "d2"].iter();
    let export = |device: &&str| {
        let file = gateway.path(&format!("export-{device}")).display().to_string();
        let said = gateway.run("queue", &["export", "--device", device, "--output", &file]);
        assert_eq!(said.code, 0, "{said:?}");
        file
    };
    devices.map(export).collect()
}

/// The number in front of some words.
fn told(said: &str, words: &str) -> Option<u64> {
    let (before, _) = said.split_once(words)?;
    before.split_whitespace().next_back()?.parse().ok()
}

/// Imports and purges, all at the same time. Gives how many messages they say that they took and removed.
fn change_at_once(gateway: &Gateway, files: &[String]) -> (u64, u64) {
    let imports = files
        .iter()
        .map(|file| gateway.command("queue", &["import", file]));
    let purge = || gateway.command("queue", &["purge", "--device", "d2", "--yes"]);
    let mut commands: Vec<Command> = imports.chain([purge(), purge()]).collect();
    let start = |command: &mut Command| {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("starts")
    };
    let running: Vec<Child> = commands.iter_mut().map(start).collect();
    let (mut taken, mut removed) = (0, 0);
    for child in running {
        let output = child.wait_with_output().expect("ends");
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        if output.status.code() == Some(0) {
            taken += told(&out, " messages taken").unwrap_or(0);
            removed += told(&out, " messages removed").unwrap_or(0);
        } else {
            let refusals = [
                "other commands are at work",
                "another queue command is at work",
                "the store is in use",
            ];
            let is_refused = refusals.iter().any(|words| err.contains(words));
            assert!(is_refused && out.is_empty(), "{:?}: {out}{err}", output.status);
        }
    }
    (taken, removed)
}

#[test]
fn commands_that_change_the_queue_at_the_same_time_leave_an_account_of_all_that_they_did() {
    let source = Gateway::filled();
    let files = exports(&source);
    let mut together = (0, 0);
    for round in 0..6 {
        let gateway = Gateway::new();
        // Behind a daemon, and on a stopped store, where the others are told that it is in use.
        let daemon = Some(gateway.daemon()).filter(|_| round % 2 == 0);
        let (taken, removed) = change_at_once(&gateway, &files);
        together = (together.0 + taken, together.1 + removed);
        let _after = daemon.is_none().then(|| gateway.daemon());
        let ledger = &gateway.status().json()["lanes"][0]["ledger"];
        let count = |number: &Value| number.as_u64().expect("a number");
        // One of them is larger than anything that Kafka takes.
        let left = count(&ledger["queued"]) + count(&ledger["dead_lettered"]);
        assert_eq!(
            (
                count(&ledger["received"]),
                count(&ledger["removed"]["purged"]),
                left
            ),
            (taken, removed, taken - removed),
            "{ledger}"
        );
        // It cannot be counted while the cursor is within what a purge rewrote.
        let is_off = ledger["unaccounted"].as_i64().is_some_and(|off| off != 0);
        assert!(!is_off, "{ledger}");
        assert_eq!(gateway.run("queue", &["verify"]).code, 0);
    }
    // In one round a purge may have kept all imports out.
    eprintln!("{} messages taken, {} removed", together.0, together.1);
    assert!(together.0 > 0, "somebody takes some");
}

/// What a process has in memory now and had at most, KiB (proc(5)).
fn memory(daemon: &Daemon) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.0.id())).expect("it runs");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.unwrap_or_else(|| panic!("{name} in {status}"))
    };
    (field("VmRSS:"), field("VmHWM:"))
}

/// What abuse may cost, KiB: 10 MB of HTTP at the very worst (ARCHITECTURE.md), eight connections to the socket with 64 KiB each, and what the
/// allocator keeps of it.
const ABUSE_KIB: u64 = 20 * 1024;

#[test]
fn abuse_of_http_and_of_the_socket_takes_no_more_memory_than_is_said() {
    const MANY: usize = 200;
    let gateway = Gateway::filled();
    let free = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = free.local_addr().expect("bound").port();
    drop(free);
    let path = gateway.path("edgeferry.toml");
    let config = fs::read_to_string(&path).expect("reads");
    fs::write(&path, format!("{config}[http]\nlisten = \"127.0.0.1:{port}\"\n")).expect("writes");
    let daemon = gateway.daemon();
    for address in ["/", "/metrics", "/api/status", "/api/history"] {
        wait::until("the address answers", PATIENCE, || get(port, address, "*/*"));
    }
    // The most: what else it still makes at its beginning is not their doing.
    let (_, before) = memory(&daemon);
    let much = vec![b'x'; 1024 * 1024];
    // Whatever the daemon does with them, they stay open to the end.
    let mut open: Vec<Box<dyn std::any::Any>> = Vec::new();
    for number in 0..MANY {
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
            stream
                .set_write_timeout(Some(Duration::from_millis(20)))
                .expect("a socket");
            let head: &[u8] = match number % 4 {
                // No end to the headers, to the address, to the body; and one that is never read.
                0 => b"GET / HTTP/1.1\r\nhost: localhost\r\nx-long: ",
                1 => b"GET /",
                2 => b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000000\r\n\r\n",
                _ => b"GET /api/history HTTP/1.1\r\nhost: localhost\r\n\r\n",
            };
            // It closes when it has had enough: that is what is wanted.
            let sent = stream.write_all(head).and_then(|()| stream.write_all(&much));
            drop(sent);
            open.push(Box::new(stream));
        }
        if let Ok(mut stream) = UnixStream::connect(gateway.path("store/control.sock")) {
            stream
                .set_write_timeout(Some(Duration::from_millis(20)))
                .expect("a socket");
            drop(stream.write_all(&much));
            open.push(Box::new(stream));
        }
    }
    assert!(open.len() > MANY, "both were reached");
    let (_, most) = memory(&daemon);
    assert!(most <= before + ABUSE_KIB, "{most} KiB at most, {before} before");
    drop(open);
    wait::until("it goes on", PATIENCE, || {
        (gateway.status().code == 0).then_some(())
    });
}
