//! A machine of its own with a real systemd: a small Debian that boots in a container and shares our network, so that
//! brokers of the tests are on its loopback.
//!
//! `./dev setup` makes the system once; each container is a copy of it, with the binary and the units of this source. It ends
//! with the test process, however that ends: the kernel kills our child then. systemd-nspawn that is killed leaves its system
//! running, so it runs as the first process of a namespace of its own, with which everything in it goes.

use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use super::daemon::binary;
use super::process::{Process, program};
use super::scratch::Scratch;
use super::wait;

/// Four seconds on an idle machine.
const BOOT_LIMIT: Duration = Duration::from_mins(2);
/// How systemd-nspawn with `--keep-unit` says that its system wants to be started again: for `RestartForceExitStatus=133` of
/// systemd-nspawn@.service.
const REBOOT: i32 = 133;
/// `required`: a test that would be skipped fails instead.
const REQUIRED: &str = "EDGEFERRY_SYSTEMD_TESTS";
/// Where units, users and configuration go, as a package would put them there.
const UNITS: &str = "usr/lib/systemd/system";
const USERS: &str = "usr/lib/sysusers.d/edgeferry.conf";
/// What starts Debian's Mosquitto with the system.
const MOSQUITTO_AT_BOOT: &str = "etc/systemd/system/multi-user.target.wants/mosquitto.service";
/// Names that only these machines know, and the one that every system knows.
const HOSTS: &str = "127.0.0.1 localhost broker.test\n::1 localhost\n";

/// A running system.
#[derive(Debug)]
pub struct Container {
    nspawn: Mutex<Process>,
    root: Scratch,
    furniture: Furniture,
}

/// What is in a system of edgeferry when it boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Furniture {
    /// The binary, the units and the user, as a package would put them there.
    Installed,
    /// Nothing: for those who install it themselves.
    Bare,
}

/// The one that tests share which do not disturb each other; `None` where no system can be booted, which is said then.
pub fn shared() -> Option<&'static Container> {
    static SHARED: OnceLock<Option<Container>> = OnceLock::new();
    SHARED.get_or_init(Container::boot).as_ref()
}

/// The files of the system, in the folder `root` of this one, for a test that boots nothing; `None` where tests cannot have it,
/// which is said then.
///
/// # Panics
///
/// When it should be possible and is not.
pub fn copy_of_the_system() -> Option<Scratch> {
    is_possible().then(|| {
        let scratch = Scratch::new("system");
        furnish(&scratch, Furniture::Bare);
        scratch
    })
}

/// Whether a system can be booted here; says so when it cannot.
pub fn is_possible() -> bool {
    let Err(reason) = possible() else { return true };
    skip(&format!("no real systemd here: {reason}"));
    false
}

/// Says why the present test is skipped.
///
/// # Panics
///
/// When a test that would be skipped fails instead.
pub fn skip(reason: &str) {
    let is_required = std::env::var_os(REQUIRED).is_some_and(|word| word == "required");
    assert!(!is_required, "{reason}");
    // Past the test harness, which shows only what failed tests say.
    drop(writeln!(
        std::io::stderr(),
        "SKIPPED: {}: {reason}",
        std::thread::current().name().unwrap_or("a test")
    ));
}

impl Container {
    /// A system of its own, up; `None` where none can be booted, which is said then.
    ///
    /// # Panics
    ///
    /// When it should be possible and is not.
    pub fn boot() -> Option<Self> {
        Self::boot_with(Furniture::Installed)
    }

    /// The same, but nothing of edgeferry is in it, and no service of it is in the way: Mosquitto is there, and not enabled.
    ///
    /// # Panics
    ///
    /// As [`Container::boot`].
    pub fn boot_bare() -> Option<Self> {
        Self::boot_with(Furniture::Bare)
    }

    fn boot_with(furniture: Furniture) -> Option<Self> {
        if !is_possible() {
            return None;
        }
        let began = Instant::now();
        let root = Scratch::new("machine");
        furnish(&root, furniture);
        let nspawn = Mutex::new(launch(&root, furniture));
        let container = Self {
            nspawn,
            root,
            furniture,
        };
        container.until_up();
        eprintln!("a system is up after {:?}", began.elapsed());
        Some(container)
    }

    fn until_up(&self) {
        wait::until("the system in the container is up", BOOT_LIMIT, || {
            let output = self.attempt(&["systemctl", "is-active", "multi-user.target"])?;
            output.status.success().then_some(())
        });
    }

    fn nspawn(&self) -> MutexGuard<'_, Process> {
        self.nspawn.lock().expect("nobody panics with it")
    }

    /// The system's first process, as we see it.
    pub fn leader(&self) -> Option<u32> {
        let namespace = self.nspawn().id();
        first_child(first_child(namespace)?)
    }

    /// Ends the system in order and starts it again: `systemctl reboot`.
    pub fn reboot(&self) {
        self.run(&["systemctl", "reboot"]);
        let ended = wait::until("the system ends to start again", BOOT_LIMIT, || {
            self.nspawn().ended()
        });
        assert_eq!(ended.code(), Some(REBOOT), "{ended}");
        *self.nspawn() = launch(&self.root, self.furniture);
        self.until_up();
    }

    /// Runs a program in the system as root; `None` when there is no system.
    pub fn attempt(&self, command: &[&str]) -> Option<Output> {
        inside(self.leader()?, command).output().ok()
    }

    /// The same while it is up.
    pub fn try_run(&self, command: &[&str]) -> Output {
        self.attempt(command).expect("the system is up")
    }

    /// The same; what it prints. It must end with 0.
    pub fn run(&self, command: &[&str]) -> String {
        let output = self.try_run(command);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = text(&output.stdout);
        assert!(
            output.status.success(),
            "{command:?}: {}\n{said}{}",
            output.status,
            text(&output.stderr)
        );
        said
    }

    /// A path of the system, as we see it.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join("root").join(path.trim_start_matches('/'))
    }

    /// Writes a file of the system, for root and the group `edgeferry` alone.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("the root is ours");
        std::fs::write(&path, text).expect("the root is ours");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).expect("the root is ours");
        chown(&path, Some(0), Some(self.id("group"))).expect("we are root");
    }

    /// The number of the user (`passwd`) or group (`group`) `edgeferry` in the system.
    pub fn id(&self, database: &str) -> u32 {
        let text = std::fs::read_to_string(self.path(&format!("/etc/{database}"))).expect("it is there");
        let entry = text.lines().find_map(|line| line.strip_prefix("edgeferry:"));
        let number = entry.and_then(|entry| entry.split(':').nth(1));
        number.expect("sysusers made it").parse().expect("a number")
    }
}

/// Boots what is in `scratch`.
fn launch(scratch: &Scratch, furniture: Furniture) -> Process {
    let log = scratch.path().with_extension("console");
    let name = scratch.path().file_name().expect("it has one").to_string_lossy();
    Process::spawn("systemd-nspawn", &program("unshare"), &log, |command| {
        command
            .args(["--pid", "--fork", "--kill-child", "--mount-proc", "--"])
            .arg(program("systemd-nspawn"))
            .args(["--quiet", "--register=no", "--keep-unit", "--boot"])
            // Two with one name would share a folder of systemd-nspawn.
            .arg(format!("--machine=edgeferry-{}-{name}", std::process::id()))
            .arg(format!("--directory={}", scratch.join("root").display()));
        if furniture == Furniture::Installed {
            command.arg(format!("--bind-ro={}:/usr/bin/edgeferry", binary().display()));
        }
    })
}

fn first_child(parent: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// A command in the system with this first process.
fn inside(leader: u32, command: &[&str]) -> Command {
    let mut nsenter = Command::new(program("nsenter"));
    nsenter
        .arg(format!("--target={leader}"))
        .args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--"])
        .args(command)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LANG", "C.UTF-8");
    nsenter
}

/// Copies the system and puts into it what a package would.
fn furnish(scratch: &Scratch, furniture: Furniture) {
    let root = scratch.join("root");
    say(Command::new("cp").arg("-a").arg(template()).arg(&root)).expect("the copy can be made");
    std::fs::write(root.join("etc/hosts"), HOSTS).expect("the root is ours");
    // A reboot is no new machine.
    let machine_id = format!("{:032x}\n", rand::random::<u128>());
    std::fs::write(root.join("etc/machine-id"), machine_id).expect("the root is ours");
    // The network is ours: its port would be one of this machine, and there is only one.
    drop(std::fs::remove_file(root.join(MOSQUITTO_AT_BOOT)));
    if furniture == Furniture::Bare {
        return;
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    let put = |from: &str, to: &str| {
        let to = root.join(to);
        std::fs::create_dir_all(to.parent().expect("it has one")).expect("the root is ours");
        std::fs::copy(source.join(from), to).expect("the root is ours");
    };
    put("edgeferry.service", &format!("{UNITS}/edgeferry.service"));
    put("edgeferry@.service", &format!("{UNITS}/edgeferry@.service"));
    put("edgeferry.sysusers.conf", USERS);
    let write = |path: &str, text: &str| std::fs::write(root.join(path), text).expect("the root is ours");
    write("usr/bin/edgeferry", "");
    std::fs::create_dir_all(root.join("etc/edgeferry")).expect("the root is ours");
    say(Command::new(program("chroot")).arg(&root).arg("systemd-sysusers")).expect("the user can be made");
}

/// Whether a system can be booted here.
fn possible() -> Result<(), String> {
    // Once for all tests: two at a time under one name would be in each other's way, and a probe that fails is a skip.
    static BOOTS: OnceLock<Result<(), String>> = OnceLock::new();
    if !rustix::process::geteuid().is_root() {
        return Err("only root can boot one".into());
    }
    let template = template();
    if !template.is_dir() {
        return Err(format!("{} is missing: ./dev setup makes it", template.display()));
    }
    BOOTS.get_or_init(|| probe(&template)).clone()
}

/// Runs nothing in the system, as a container.
fn probe(template: &Path) -> Result<(), String> {
    let mut probe = Command::new("systemd-nspawn");
    probe
        .arg(format!("--machine=edgeferry-probe-{}", std::process::id()))
        .args(["--quiet", "--register=no", "--keep-unit", "--read-only"])
        .arg(format!("--directory={}", template.display()))
        .args(["--pipe", "true"]);
    say(&mut probe)
}

/// Runs a command; its complaint when it fails.
fn say(command: &mut Command) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(format!("{command:?}: {}: {complaint}", output.status))
}

/// The system that `./dev setup` made.
fn template() -> PathBuf {
    // Which one is the present one stands in the script that makes it.
    const SETUP: &str = include_str!("../../scripts/setup.sh");
    let number = SETUP
        .split_once("/edgeferry/machine-")
        .and_then(|(_, behind)| behind.split('-').next());
    let named = std::env::var_os("EDGEFERRY_MACHINE_ROOT").map(PathBuf::from);
    named.unwrap_or_else(|| {
        let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let name = release
            .lines()
            .find_map(|line| line.strip_prefix("VERSION_CODENAME="));
        super::kafka::cache().join(format!(
            "machine-{}-{}",
            number.expect("setup.sh names it"),
            name.unwrap_or("unknown")
        ))
    })
}
