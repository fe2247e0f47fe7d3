//! Podman with a storage of its own, below the test's folder: no image, container or volume of this machine is touched or seen.
//!
//! Debian's own image is made of the system that `./dev setup` makes for the tests of the units, under the name that recipes have it by.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::container;
use super::scratch::Scratch;

/// What `packaging/Containerfile` begins with.
const BASE: &str = "docker.io/library/debian:12-slim";
/// runc, because crun 1.8 refuses a machine that has both kinds of cgroups mounted; limits that also a container without the right to raise
/// them can set.
const CONTAINERS: &str = "[containers]\ndefault_ulimits = [\"nofile=1024:4096\", \"nproc=1024:4096\"]\n\
                          [engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n";

/// An engine with nothing in it but Debian.
#[derive(Debug)]
pub struct Engine {
    home: Scratch,
    /// Sockets lie in it, whose paths must be short.
    run: tempfile::TempDir,
}

impl Engine {
    /// `None` where no engine can run a container, which is said then.
    ///
    /// # Panics
    ///
    /// When it should be possible and is not.
    pub fn start() -> Option<Self> {
        let system = container::copy_of_the_system()?;
        let home = Scratch::new("engine");
        let run = tempfile::tempdir_in("/run").expect("root can write there");
        let path = |path: &Path| path.display().to_string();
        let storage = format!(
            "[storage]\ndriver = \"overlay\"\ngraphroot = {:?}\nrunroot = {:?}\n",
            path(&home.join("storage")),
            path(&run.path().join("storage"))
        );
        std::fs::write(home.join("storage.conf"), storage).expect("it is ours");
        let engine = format!("{CONTAINERS}tmp_dir = {:?}\n", path(&run.path().join("libpod")));
        std::fs::write(home.join("containers.conf"), engine).expect("it is ours");
        let engine = Self { home, run };
        let import = format!(
            "tar -C {} -c . | podman import - {BASE} && podman run --rm --network host {BASE} true",
            path(&system.join("root"))
        );
        let probed = engine
            .command("sh")
            .args(["-c", &import])
            .output()
            .expect("there is a shell");
        if probed.status.success() {
            return Some(engine);
        }
        let reason = String::from_utf8_lossy(&probed.stderr).trim().to_owned();
        container::skip(&format!("no container engine here: {reason}"));
        None
    }

    /// A folder for what containers are given.
    pub fn folder(&self) -> PathBuf {
        self.home.join("here")
    }

    /// A program whose `podman` is this engine.
    pub fn command(&self, program: &str) -> Command {
        let folder = self.folder();
        std::fs::create_dir_all(&folder).expect("it is ours");
        let mut command = Command::new(program);
        command
            .env("CONTAINERS_STORAGE_CONF", self.home.join("storage.conf"))
            .env("CONTAINERS_CONF", self.home.join("containers.conf"))
            .current_dir(folder);
        command
    }

    /// Asks the engine.
    pub fn attempt(&self, words: &[&str]) -> Output {
        self.command("podman")
            .args(words)
            .output()
            .expect("podman starts")
    }

    /// The same; what it prints. It must end with 0.
    pub fn run(&self, words: &[&str]) -> String {
        let output = self.attempt(words);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "podman {words:?}: {complaint}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Also unmounts what is below the folders.
        let reset = self.attempt(&["system", "reset", "--force"]);
        if !reset.status.success() {
            eprintln!(
                "{}: {}",
                self.run.path().display(),
                String::from_utf8_lossy(&reset.stderr)
            );
        }
    }
}
