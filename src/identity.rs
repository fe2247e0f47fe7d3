//! Who this gateway is: its id, the epoch of its store, and the board it runs on.
//!
//! Cards are imaged and cloned. The store remembers the hardware it was made on; on other hardware it takes a
//! new epoch and says so, so that two boards never stamp the same message id. The gateway id is kept too: a
//! different one on an existing store is refused, because consumers would see another gateway.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::files::replace;
use crate::message::Epoch;

const FILE: &str = "identity.json";
/// Names that every freshly imaged board has.
const REFUSED: [&str; 3] = ["raspberrypi", "localhost", ""];
const MACHINE_ID: &str = "/etc/machine-id";
/// Where boards with a device tree, and PCs, keep their serial number. Unreadable ones are passed over.
const SERIALS: [&str; 2] = [
    "/sys/firmware/devicetree/base/serial-number",
    "/sys/class/dmi/id/product_uuid",
];

/// What the running gateway is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Gateway id, complete.
    pub gateway: String,
    /// Epoch for messages stored from now on.
    pub epoch: Epoch,
}

/// Why the gateway cannot be named. The first two are the configuration's fault, the last the storage's.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The id that came out is one that many gateways share.
    #[error(
        "gateway.id is {0:?}: many boards are called that; give a name of its own, or use {{machine_id}} or {{serial}}"
    )]
    Common(String),
    /// A name in the id has no value on this machine.
    #[error("gateway.id uses {{{name}}}, but this machine has none ({looked_at})")]
    Missing {
        /// The name in braces.
        name: &'static str,
        /// Where it was looked for.
        looked_at: String,
    },
    /// The store belongs to another id.
    #[error(
        "the store in {path} belongs to gateway {kept:?}, the configuration says {configured:?}: set gateway.id back, or use a new data_dir"
    )]
    Changed {
        /// The store's folder.
        path: PathBuf,
        /// The id in the store.
        kept: String,
        /// The id in the configuration.
        configured: String,
    },
    /// The identity cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// What is known about the machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Machine {
    /// Host name.
    pub hostname: String,
    /// `/etc/machine-id`.
    pub machine_id: Option<String>,
    /// The board's serial number.
    pub serial: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    gateway: String,
    epoch: String,
    /// Hash of machine id and serial number: enough to notice another board, nothing to read from it.
    hardware: String,
}

impl Machine {
    /// Reads what this machine says of itself.
    #[must_use]
    pub fn read() -> Self {
        let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self {
            hostname,
            machine_id: read_line(MACHINE_ID),
            serial: SERIALS.into_iter().find_map(read_line),
        }
    }

    /// The gateway id that `template` makes here; without one `{hostname}-` and six hex digits of a hash of the
    /// machine id.
    ///
    /// # Errors
    /// [`IdentityError::Common`] and [`IdentityError::Missing`].
    pub fn gateway_id(&self, template: Option<&str>) -> Result<String, IdentityError> {
        let Some(template) = template else {
            let machine_id = Self::value("machine_id", self.machine_id.as_ref(), MACHINE_ID)?;
            let digits = xxh3_64(machine_id.as_bytes()) & 0x00ff_ffff;
            return Ok(format!("{}-{digits:06x}", self.hostname));
        };
        let mut id = template.replace("{hostname}", &self.hostname);
        if id.contains("{machine_id}") {
            id = id.replace(
                "{machine_id}",
                Self::value("machine_id", self.machine_id.as_ref(), MACHINE_ID)?,
            );
        }
        if id.contains("{serial}") {
            let looked_at = SERIALS.join(", ");
            id = id.replace(
                "{serial}",
                Self::value("serial", self.serial.as_ref(), &looked_at)?,
            );
        }
        if REFUSED.contains(&id.as_str()) {
            Err(IdentityError::Common(id))
        } else {
            Ok(id)
        }
    }

    fn value<'a>(
        name: &'static str,
        value: Option<&'a String>,
        looked_at: &str,
    ) -> Result<&'a str, IdentityError> {
        let missing = || IdentityError::Missing {
            name,
            looked_at: looked_at.to_owned(),
        };
        value.map(String::as_str).ok_or_else(missing)
    }

    fn hardware(&self) -> String {
        let parts = [self.machine_id.as_deref(), self.serial.as_deref()].map(Option::unwrap_or_default);
        format!("{:016x}", xxh3_64(parts.join("\0").as_bytes()))
    }
}

fn read_line(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim_matches(['\0', '\n', ' ']);
    (!text.is_empty()).then(|| text.to_owned())
}

/// The identity of the store in `data_dir`, made on first use. `has_log` says whether a log is there: without one its
/// sequences begin anew, and so must the epoch, or a message id would be given twice.
///
/// # Errors
/// [`IdentityError::Changed`] and [`IdentityError::Io`].
pub fn open(
    data_dir: &Path,
    gateway: String,
    machine: &Machine,
    has_log: bool,
) -> Result<Identity, IdentityError> {
    let path = data_dir.join(FILE);
    let hardware = machine.hardware();
    let epoch = match read(&path)? {
        None => write(&path, &gateway, &hardware)?,
        Some((kept, _)) if kept.gateway != gateway => {
            let path = data_dir.to_owned();
            return Err(IdentityError::Changed {
                path,
                kept: kept.gateway,
                configured: gateway,
            });
        }
        Some((kept, epoch)) if kept.hardware != hardware => {
            let renewed = write(&path, &gateway, &hardware)?;
            tracing::warn!(old = %epoch, new = %renewed, "this store was made on other hardware (a cloned or moved card): new messages get a new epoch");
            renewed
        }
        Some((_, old)) if !has_log => {
            let renewed = write(&path, &gateway, &hardware)?;
            tracing::warn!(%old, new = %renewed, "the store has lost its log: new messages get a new epoch");
            renewed
        }
        Some((_, epoch)) => epoch,
    };
    Ok(Identity { gateway, epoch })
}

/// The identity that a store has, whatever machine looks at it; `None` when there is none that can be understood.
///
/// # Errors
/// [`IdentityError::Io`]
pub fn kept(data_dir: &Path) -> Result<Option<Identity>, IdentityError> {
    let found = read(&data_dir.join(FILE))?;
    Ok(found.map(|(kept, epoch)| Identity {
        gateway: kept.gateway,
        epoch,
    }))
}

/// `None` when there is none, or it cannot be understood: then a new epoch is the safe answer.
fn read(path: &Path) -> Result<Option<(Kept, Epoch)>, IdentityError> {
    let text = match fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(IdentityError::Io {
                path: path.to_owned(),
                source,
            });
        }
    };
    let parsed = serde_json::from_str::<Kept>(&text).ok();
    let parsed = parsed.and_then(|kept| {
        let epoch = u64::from_str_radix(&kept.epoch, 16).ok()?;
        Some((kept, Epoch(epoch)))
    });
    if parsed.is_none() {
        tracing::error!(path = %path.display(), "the store's identity is damaged: new messages get a new epoch");
    }
    Ok(parsed)
}

/// Writes a new epoch, whole or not at all.
fn write(path: &Path, gateway: &str, hardware: &str) -> Result<Epoch, IdentityError> {
    let epoch = Epoch(rand::random());
    let kept = Kept {
        gateway: gateway.to_owned(),
        epoch: epoch.to_string(),
        hardware: hardware.to_owned(),
    };
    let fail = |source| IdentityError::Io {
        path: path.to_owned(),
        source,
    };
    let text = serde_json::to_string_pretty(&kept).map_err(|error| fail(error.into()))?;
    replace(path, text.as_bytes()).map_err(fail)?;
    Ok(epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(serial: &str) -> Machine {
        let machine_id = Some("0123456789abcdef".to_owned());
        Machine {
            hostname: "raspberrypi".to_owned(),
            machine_id,
            serial: Some(serial.to_owned()),
        }
    }

    #[test]
    fn one_template_names_a_fleet() {
        let pi = board("10000000abcdef");
        assert_eq!(
            pi.gateway_id(Some("pi-{serial}")).expect("named"),
            "pi-10000000abcdef"
        );
        assert_eq!(pi.gateway_id(Some("gw-7")).expect("named"), "gw-7");
        let default = pi.gateway_id(None).expect("named");
        assert!(
            default.starts_with("raspberrypi-") && default.len() == "raspberrypi-".len() + 6,
            "{default}"
        );
        assert!(matches!(
            pi.gateway_id(Some("{hostname}")),
            Err(IdentityError::Common(_))
        ));
        let bare = Machine { serial: None, ..pi };
        assert!(matches!(
            bare.gateway_id(Some("{serial}")),
            Err(IdentityError::Missing { .. })
        ));
    }

    #[test]
    fn the_epoch_is_kept_and_a_cloned_card_gets_a_new_one() {
        let dir = tempfile::tempdir().expect("temp dir");
        let first = open(dir.path(), "gw".to_owned(), &board("a"), true).expect("opens");
        assert_eq!(
            open(dir.path(), "gw".to_owned(), &board("a"), true).expect("opens"),
            first
        );
        let cloned = open(dir.path(), "gw".to_owned(), &board("b"), true).expect("opens");
        assert_ne!(cloned.epoch, first.epoch);
    }

    #[test]
    fn a_store_without_its_log_gets_a_new_epoch_because_its_sequences_begin_anew() {
        let dir = tempfile::tempdir().expect("temp dir");
        let first = open(dir.path(), "gw".to_owned(), &board("a"), false).expect("opens");
        let kept = open(dir.path(), "gw".to_owned(), &board("a"), true).expect("opens");
        assert_eq!(kept.epoch, first.epoch);
        let lost = open(dir.path(), "gw".to_owned(), &board("a"), false).expect("opens");
        assert_ne!(lost.epoch, first.epoch);
    }

    #[test]
    fn another_gateway_id_on_a_store_is_refused() {
        let dir = tempfile::tempdir().expect("temp dir");
        open(dir.path(), "gw".to_owned(), &board("a"), true).expect("opens");
        let changed = open(dir.path(), "other".to_owned(), &board("a"), true);
        assert!(matches!(changed, Err(IdentityError::Changed { kept, .. }) if kept == "gw"));
    }

    #[test]
    fn a_damaged_identity_never_blocks_the_start() {
        let dir = tempfile::tempdir().expect("temp dir");
        let first = open(dir.path(), "gw".to_owned(), &board("a"), true).expect("opens");
        for damage in [&b"\0\0\0\0"[..], b"", b"\xff\xfe"] {
            fs::write(dir.path().join(FILE), damage).expect("writes");
            let again = open(dir.path(), "gw".to_owned(), &board("a"), true).expect("opens");
            assert_ne!(again.epoch, first.epoch);
        }
    }
}
