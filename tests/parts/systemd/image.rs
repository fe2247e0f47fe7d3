//! `packaging/Containerfile` without an engine: its steps in a Debian root, and its program as process 1 of a namespace of its own.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::config::Config;
use crate::support::container;
use crate::support::daemon::STOP_LIMIT;
use crate::support::devices::{Devices, Plan};
use crate::support::kafka::{self, Kafka};
use crate::support::manual::page;
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Oracle, PATIENCE};
use crate::support::ports;
use crate::support::process::{Process, program};
use crate::support::scene::{ACK_LIMIT, FILTER};
use crate::support::scratch::Scratch;
use crate::support::wait;

const LIMIT: Duration = Duration::from_mins(1);

/// What the recipe says, by its instructions; continued lines are one.
fn instructions() -> Vec<(String, String)> {
    let text = page("packaging/Containerfile").replace("\\\n", "");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let parts = lines.filter_map(|line| line.split_once(' '));
    parts
        .map(|(name, rest)| (name.to_owned(), rest.trim().to_owned()))
        .collect()
}

fn all<'a>(instructions: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    let found = instructions.iter().filter(|(known, _)| known == name);
    found.map(|(_, rest)| rest.as_str()).collect()
}

fn only<'a>(instructions: &'a [(String, String)], name: &str) -> &'a str {
    match all(instructions, name)[..] {
        [one] => one,
        ref others => panic!("{name} stands there {} times", others.len()),
    }
}

/// The words of an instruction in JSON.
fn words(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A root that was made by the recipe.
struct Image {
    root: Scratch,
    user: String,
    command: Vec<String>,
    health: Vec<String>,
}

impl Image {
    fn build(root: Scratch) -> Self {
        let recipe = instructions();
        let inside = root.join("root");
        for step in all(&recipe, "RUN") {
            // The root has the package, and a test should not need the mirrors.
            if step.starts_with("apt-get ") {
                assert!(step.contains("ca-certificates"), "{step}");
                assert!(inside.join("etc/ssl/certs/ca-certificates.crt").is_file());
                continue;
            }
            let done = Command::new(program("chroot"))
                .arg(&inside)
                .args(["sh", "-e", "-c", step])
                .output();
            let done = done.expect("chroot starts");
            assert!(
                done.status.success(),
                "{step}: {}",
                String::from_utf8_lossy(&done.stderr)
            );
        }
        assert_eq!(only(&recipe, "COPY"), "edgeferry /usr/bin/edgeferry");
        std::fs::copy(crate::support::daemon::binary(), inside.join("usr/bin/edgeferry"))
            .expect("it is ours");
        assert_eq!(only(&recipe, "STOPSIGNAL"), "SIGTERM");
        assert_eq!(only(&recipe, "VOLUME"), "/var/lib/edgeferry");
        let (_, health) = only(&recipe, "HEALTHCHECK")
            .split_once(" CMD ")
            .expect("it has a command");
        let mut command = words(only(&recipe, "ENTRYPOINT"));
        command.extend(words(only(&recipe, "CMD")));
        Self {
            root,
            user: only(&recipe, "USER").to_owned(),
            command,
            health: words(health),
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join("root").join(path.trim_start_matches('/'))
    }

    /// Process 1 of a namespace, root read-only but for the volume. It dies with the `unshare` that we hold: a change of the user
    /// clears what `--kill-child` asked the kernel for (`prctl(2)`), so it is asked again behind that.
    fn run(&self) -> Process {
        let root = self.root.join("root").display().to_string();
        let log = self.root.path().with_extension("log");
        let script = format!(
            "mount --bind {root} {root} && mount --bind {root}/var/lib/edgeferry {root}/var/lib/edgeferry \
             && mount -o remount,bind,ro {root} && mount -t proc proc {root}/proc && mount --rbind /dev {root}/dev \
             && exec chroot {root} setpriv --reuid {} --regid {} --clear-groups --no-new-privs --bounding-set=-all \
             --inh-caps=-all --pdeathsig KILL \"$@\"",
            self.id(0),
            self.id(1)
        );
        Process::spawn("the program of the image", &program("unshare"), &log, |command| {
            command.args([
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "sh",
                "-e",
                "-c",
                &script,
                "sh",
            ]);
            command.args(&self.command);
        })
    }

    /// The user's number, or the group's.
    fn id(&self, place: usize) -> &str {
        self.user.split(':').nth(place).expect("USER has both")
    }

    /// The process that is 1 in there, as we see it.
    fn leader(process: &Process) -> Option<i32> {
        let id = process.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    }

    /// The recipe's own check, in there.
    fn healthy(&self, process: &Process, port: u16) -> Option<Output> {
        let leader = Self::leader(process)?.to_string();
        let mut check = Command::new(program("nsenter"));
        check.args([
            "--target", &leader, "--mount", "--pid", "--net", "--root", "--wd", "--",
        ]);
        check.args([
            "setpriv",
            "--reuid",
            self.id(0),
            "--regid",
            self.id(1),
            "--clear-groups",
        ]);
        check.args(
            self.health
                .iter()
                .map(|word| word.replace("/8484", &format!("/{port}"))),
        );
        check.output().ok()
    }
}

#[test]
fn the_recipe_for_containers_makes_a_gateway_that_runs_as_process_1_is_healthy_and_stops_in_order() {
    let Some(root) = container::copy_of_the_system() else {
        return;
    };
    let image = Image::build(root);
    let (kafka, mosquitto) = (kafka::shared(), Mosquitto::start());
    let topic = kafka.fresh_topic("image");
    let port = ports::free();
    let config =
        Config::usual("5", &mosquitto, kafka, &topic).http(&format!("listen = \"127.0.0.1:{port}\""));
    std::fs::create_dir_all(image.path("/etc/edgeferry")).expect("it is ours");
    let text = config.text("/var/lib/edgeferry".as_ref());
    std::fs::write(image.path("/etc/edgeferry/edgeferry.toml"), &text).expect("it is ours");
    let mark = mosquitto.mark();
    let mut process = image.run();
    mosquitto.until_subscribed(FILTER, mark);
    wait::until("the recipe's check is content", LIMIT, || {
        assert!(process.ended().is_none(), "it ended");
        image.healthy(&process, port)?.status.success().then_some(())
    });
    let wrong = image.healthy(&process, ports::free()).expect("it runs");
    assert!(!wrong.status.success(), "nobody answers there");

    let devices = Devices::start(&mosquitto, &Plan::default());
    devices.until_acked(500, ACK_LIMIT);
    let leader = Image::leader(&process).and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(leader.expect("it runs"), Signal::TERM).expect("it is ours");
    let status = wait::until("it stops in order", STOP_LIMIT, || process.ended());
    assert_eq!(status.code(), Some(0), "{}", process.log());
    let owner = std::fs::metadata(image.path("/var/lib/edgeferry/lock")).expect("it has a store");
    assert_eq!(
        std::os::unix::fs::MetadataExt::uid(&owner).to_string(),
        image.id(0)
    );

    let _again = image.run();
    let sent = devices.finish(ACK_LIMIT);
    let mut oracle = Oracle::new(kafka, &topic);
    oracle.until_all_there(&sent, PATIENCE);
    oracle.verdict(&sent).assert_clean();
}

#[test]
fn a_second_container_on_the_same_volume_ends_with_74() {
    let Some(root) = container::copy_of_the_system() else {
        return;
    };
    let image = Image::build(root);
    let (kafka, mosquitto) = (Kafka::absent(), Mosquitto::start());
    std::fs::create_dir_all(image.path("/etc/edgeferry")).expect("it is ours");
    let text = Config::usual("5", &mosquitto, &kafka, "telemetry").text("/var/lib/edgeferry".as_ref());
    std::fs::write(image.path("/etc/edgeferry/edgeferry.toml"), &text).expect("it is ours");
    let mark = mosquitto.mark();
    let first = image.run();
    mosquitto.until_subscribed(FILTER, mark);
    let mut second = image.run();
    let status = wait::until("the second one gives up", LIMIT, || second.ended());
    assert_eq!(status.code(), Some(74), "{}", second.log());
    let leader = Image::leader(&first).expect("it runs");
    drop(first);
    wait::until("the first one is gone with its namespace", LIMIT, || {
        (!std::path::Path::new(&format!("/proc/{leader}")).exists()).then_some(())
    });
}
