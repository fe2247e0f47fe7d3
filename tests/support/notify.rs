//! The other end of `NOTIFY_SOCKET`: what systemd would hear from the daemon.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::wait;

/// A socket that remembers all that was said.
#[derive(Debug)]
pub struct Notify {
    folder: tempfile::TempDir,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Notify {
    /// Listens. The socket lies in the system's folder for temporary files because a socket's path must
    /// be short.
    pub fn listen() -> Self {
        let folder = tempfile::tempdir().expect("the system has a folder for temporary files");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("the folder is new");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&heard);
        // Ends with the test process; a blocked receive costs nothing.
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(len) = socket.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..len]);
                log.lock()
                    .expect("nobody panics with it")
                    .extend(text.lines().map(String::from));
            }
        });
        Self { folder, heard }
    }

    /// The value of `NOTIFY_SOCKET`.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("notify")
    }

    /// Everything said so far, line by line.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("nobody panics with it").clone()
    }

    /// How often a line that begins with `prefix` was said.
    pub fn count(&self, prefix: &str) -> usize {
        self.heard()
            .iter()
            .filter(|line| line.starts_with(prefix))
            .count()
    }

    /// The latest `STATUS=`.
    pub fn status(&self) -> Option<String> {
        self.heard()
            .iter()
            .rev()
            .find_map(|line| line.strip_prefix("STATUS=").map(String::from))
    }

    /// Waits for a `STATUS=` that fits.
    pub fn until_status(&self, what: &str, limit: Duration, fits: impl Fn(&str) -> bool) {
        wait::until(what, limit, || self.status().filter(|status| fits(status)));
    }
}
