//! A Mosquitto with more ways in: TLS, client certificates, passwords and rights, WebSockets, a Unix socket.
//!
//! Its plain listener is for the devices of the tests: who comes there needs nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Mosquitto;
use crate::support::kafka::secure::{Authority, Certificate};
use crate::support::ports;
use crate::support::process::program;

/// Whom the door [`Door::Password`] knows.
pub const USER: &str = "gateway";
/// With which password, at first.
pub const PASSWORD: &str = "right horse";
/// What Mosquitto needs to tell listeners apart.
const FIRST: &str = "per_listener_settings true\n";

/// A way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// TLS.
    Tls,
    /// TLS, and the client needs a certificate.
    MutualTls,
    /// The same, without TLS 1.3: there the handshake itself fails.
    OldMutualTls,
    /// User, password and rights: [`USER`] may read `devices/#`, whoever publishes.
    Password,
    /// A WebSocket.
    WebSocket,
    /// A WebSocket over TLS.
    SecureWebSocket,
    /// TLS with a certificate for another name.
    Misnamed,
    /// TLS with a certificate whose time is over.
    Expired,
}

const DOORS: [Door; 8] = [
    Door::Tls,
    Door::MutualTls,
    Door::OldMutualTls,
    Door::Password,
    Door::WebSocket,
    Door::SecureWebSocket,
    Door::Misnamed,
    Door::Expired,
];

/// See the module documentation.
#[derive(Debug)]
pub struct Guarded {
    /// The broker.
    pub mosquitto: Mosquitto,
    ports: [u16; 8],
    authority: Authority,
    certificate: Certificate,
    /// The path of a socket must be short, and this one is not below the tests' folder.
    sockets: tempfile::TempDir,
}

impl Guarded {
    /// A running broker with all doors.
    pub fn start() -> Self {
        let ports = DOORS.map(|_| ports::free());
        let authority = Authority::new("Broker CA");
        let certificate = authority.certificate("broker");
        let sockets = tempfile::tempdir().expect("the system has a folder for temporary files");
        let mut guarded = Self {
            mosquitto: Mosquitto::absent_behind(FIRST, ""),
            ports,
            authority,
            certificate,
            sockets,
        };
        guarded.know(PASSWORD);
        let rights = format!("user {USER}\ntopic read devices/#\n");
        std::fs::write(guarded.file("rights"), rights).expect("the folder is writable");
        guarded.open_doors();
        guarded.mosquitto.restart();
        guarded
    }

    /// Whom clients have to believe.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The port of a door.
    pub fn port(&self, door: Door) -> u16 {
        let place = DOORS.iter().position(|known| *known == door);
        self.ports[place.expect("all are known")]
    }

    /// The url of a door.
    pub fn url(&self, door: Door) -> String {
        let (scheme, path) = match door {
            Door::Tls | Door::MutualTls | Door::OldMutualTls | Door::Misnamed | Door::Expired => {
                ("mqtts", "")
            }
            Door::Password => ("mqtt", ""),
            Door::WebSocket => ("ws", "/mqtt"),
            Door::SecureWebSocket => ("wss", "/mqtt"),
        };
        format!("{scheme}://127.0.0.1:{}{path}", self.port(door))
    }

    /// The url of its Unix socket.
    pub fn socket_url(&self) -> String {
        format!("unix://{}", self.sockets.path().join("mqtt.sock").display())
    }

    /// The password of [`USER`] from the next start or reload on.
    pub fn know(&self, password: &str) {
        let file = self.file("passwords");
        let status = Command::new(program("mosquitto_passwd"))
            .args(["-b", "-c"])
            .arg(&file)
            .args([USER, password])
            .status()
            .expect("mosquitto_passwd starts");
        assert!(status.success(), "{status}");
        let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(file, owner_only).expect("our own file");
    }

    fn file(&self, name: &str) -> PathBuf {
        self.mosquitto.folder.join(name)
    }

    fn open_doors(&self) {
        let config = self.file("mosquitto.conf");
        let mut text = std::fs::read_to_string(&config).expect("it was written");
        for door in DOORS {
            text += &self.listener(door);
        }
        let socket = self.sockets.path().join("mqtt.sock");
        text += "listener 0 ";
        text += &socket.display().to_string();
        text += "\nallow_anonymous true\n";
        std::fs::write(config, text).expect("the folder is writable");
    }

    fn listener(&self, door: Door) -> String {
        let show = |path: &Path| path.display().to_string();
        let certificate = match door {
            Door::Misnamed => self.authority.elsewhere("misnamed"),
            Door::Expired => self.authority.expired("late"),
            _ => self.certificate.clone(),
        };
        let certificate = format!(
            "certfile {}\nkeyfile {}\n",
            show(&certificate.cert),
            show(&certificate.key)
        );
        let client = format!(
            "{certificate}cafile {}\nrequire_certificate true\nuse_identity_as_username true\nallow_anonymous true\n",
            show(&self.authority.ca())
        );
        let settings = match door {
            Door::Tls | Door::Misnamed | Door::Expired => format!("{certificate}allow_anonymous true\n"),
            Door::MutualTls => client,
            // Mosquitto 2.0 takes that as the only version.
            Door::OldMutualTls => format!("{client}tls_version tlsv1.2\n"),
            Door::Password => format!(
                "allow_anonymous false\npassword_file {}\nacl_file {}\n",
                show(&self.file("passwords")),
                show(&self.file("rights"))
            ),
            Door::WebSocket => "protocol websockets\nallow_anonymous true\n".to_owned(),
            Door::SecureWebSocket => format!("protocol websockets\n{certificate}allow_anonymous true\n"),
        };
        format!("listener {} 127.0.0.1\n{settings}", self.port(door))
    }
}
