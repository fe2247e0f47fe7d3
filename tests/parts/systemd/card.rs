//! A card as somebody has just written the image of a system onto it, in the reader of a computer: a loop device with two partitions
//! and room behind them, which a machine sees as `/dev/sdX`.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

use crate::support::container::{self, Container};
use crate::support::process::program;
use crate::support::scratch::Scratch;

/// What `docs/storage.md` needs and a bit; hardly any of it is written.
const BYTES: u64 = 24 << 30;
/// As in the images of Raspberry Pi OS: what the firmware reads, and the root.
const TABLE: &str = "label: dos\nstart=8MiB,size=512MiB,type=c\nsize=3GiB,type=83\n";
/// As its first boot finds it. The last word makes the root grow.
const CMDLINE: &str = "console=tty1 root=PARTUUID=1-02 rootfstype=ext4 fsck.repair=yes rootwait resize";

/// See the module documentation.
#[derive(Debug)]
pub struct Card {
    device: PathBuf,
    _folder: Scratch,
}

impl Card {
    /// A card in the reader of `machine`; `None` where there are no loop devices, which is said then.
    pub fn insert(machine: &Container) -> Option<Self> {
        let folder = Scratch::new("card");
        let image = folder.join("image");
        let file = File::create(&image).expect("the folder is writable");
        file.set_len(BYTES).expect("it is sparse");
        let mut losetup = Command::new(program("losetup"));
        let device = losetup.args(["--find", "--show"]).arg(&image).output();
        let device = device.expect("losetup runs");
        if !device.status.success() {
            container::skip(&format!(
                "no loop device for the card of docs/storage.md: {device:?}"
            ));
            return None;
        }
        let card = Self {
            device: String::from_utf8_lossy(&device.stdout).trim().into(),
            _folder: folder,
        };
        card.show(machine);
        let script = format!("printf '{TABLE}' | sfdisk --quiet /dev/sdX");
        machine.run(&["sh", "-e", "-c", &script]);
        card.show(machine);
        let script = format!(
            "mkfs.ext4 -q /dev/sdX1\nmkfs.ext4 -q /dev/sdX2\nmount /dev/sdX1 /mnt\necho '{CMDLINE}' > /mnt/cmdline.txt\numount /mnt"
        );
        machine.run(&["sh", "-e", "-c", &script]);
        Some(card)
    }

    /// As when it is taken out and put in again: the machine sees the partitions that it has now.
    pub fn show(&self, machine: &Container) {
        // Fails while there is no table on it.
        drop(
            Command::new(program("partx"))
                .arg("--update")
                .arg(&self.device)
                .output(),
        );
        let name = self.device.file_name().expect("it has one").to_string_lossy();
        for entry in std::fs::read_dir("/sys/class/block").expect("there is a kernel") {
            let block = entry
                .expect("readable")
                .file_name()
                .to_string_lossy()
                .into_owned();
            let Some(part) = block.strip_prefix(&*name) else {
                continue;
            };
            if !(part.is_empty() || part.starts_with('p')) {
                continue;
            }
            let numbers = std::fs::read_to_string(format!("/sys/class/block/{block}/dev")).expect("it has");
            let (major, minor) = numbers.trim().split_once(':').expect("two numbers");
            // Under the kernel's name too: that is where labels are looked for.
            for node in [
                format!("/dev/sdX{}", part.trim_start_matches('p')),
                format!("/dev/{block}"),
            ] {
                // A partition that was taken out comes back under another number.
                let script = format!("rm -f {node}\nmknod {node} b {major} {minor}");
                machine.run(&["sh", "-e", "-c", &script]);
            }
        }
    }
}

impl Drop for Card {
    /// The device goes when nothing of it is mounted any more.
    fn drop(&mut self) {
        let mut losetup = Command::new(program("losetup"));
        drop(losetup.arg("--detach").arg(&self.device).output());
    }
}
