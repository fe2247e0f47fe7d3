//! What the store stands on: the file system of `data_dir`, by `/proc/self/mountinfo` (proc_pid_mountinfo(5)). Pure.

use std::path::Path;

/// Kinds of file systems, as far as they differ in what a power cut leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// Lost with the power.
    Memory,
    /// Lost with the container, or at the next start.
    Overlay,
    /// On another machine.
    Network,
    /// A disk, and a file system that a power cut may damage.
    NoJournal,
    /// As it should be.
    Disk,
}

/// Where `data_dir` is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What kind it is.
    pub kind: FileSystem,
    /// Its name, `ext4`.
    pub kind_name: String,
    /// What is mounted, `/dev/mmcblk0p2`.
    pub source: String,
    /// A mount option with which a sync is not one.
    pub lying_option: Option<String>,
    /// An SD card or eMMC.
    pub is_card: bool,
}

/// Options with which a file system no longer tells the disk to write what it caches (ext4(5), xfs).
const LYING: [&str; 3] = ["nobarrier", "barrier=0", "norecovery"];

/// The mount that `path` is on: the one with the longest mount point above it, the last of those that hide each other.
///
/// `path` must be absolute and without links; it need not be there.
pub fn place(mountinfo: &str, path: &Path) -> Option<Place> {
    let mounts = mountinfo.lines().filter_map(Mount::parse);
    let above = mounts.filter(|mount| path.starts_with(&mount.point));
    let mount = above.max_by_key(|mount| Path::new(&mount.point).components().count())?;
    let options = mount.options.split(',').chain(mount.own_options.split(','));
    let lying = options
        .map(str::to_owned)
        .find(|option| LYING.contains(&option.as_str()));
    Some(Place {
        kind: kind(&mount.kind),
        lying_option: lying,
        is_card: mount.source.starts_with("/dev/mmcblk"),
        kind_name: mount.kind,
        source: mount.source,
    })
}

struct Mount {
    point: String,
    options: String,
    kind: String,
    source: String,
    own_options: String,
}

impl Mount {
    /// `36 35 98:0 /root /mnt rw,noatime master:1 - ext4 /dev/sda1 rw,errors=continue`
    fn parse(line: &str) -> Option<Self> {
        let (before, behind) = line.split_once(" - ")?;
        let mut before = before.split(' ');
        let (point, options) = (before.nth(4)?, before.next()?);
        let mut behind = behind.split(' ');
        Some(Self {
            point: unescaped(point),
            options: options.to_owned(),
            kind: behind.next()?.to_owned(),
            source: unescaped(behind.next()?),
            own_options: behind.next().unwrap_or_default().to_owned(),
        })
    }
}

/// Spaces and the like are written in octal.
fn unescaped(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (code, letter)| text.replace(code, letter))
}

fn kind(name: &str) -> FileSystem {
    match name {
        "tmpfs" | "ramfs" | "devtmpfs" => FileSystem::Memory,
        "overlay" | "overlayfs" | "aufs" | "unionfs" | "squashfs" => FileSystem::Overlay,
        "nfs" | "nfs4" | "cifs" | "smb3" | "smbfs" | "9p" | "ceph" | "glusterfs" | "fuse.sshfs" | "afs" => {
            FileSystem::Network
        }
        "vfat" | "msdos" | "exfat" | "ext2" => FileSystem::NoJournal,
        _ => FileSystem::Disk,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 179:2 / / rw,noatime shared:1 - ext4 /dev/mmcblk0p2 rw
23 22 0:21 / /run rw,nosuid shared:2 - tmpfs tmpfs rw,size=50000k
24 22 0:30 / /mnt/with\\040space rw - nfs4 server:/export rw
25 22 0:31 / /var/lib/edgeferry rw - ext4 /dev/sda1 rw,barrier=0
26 22 0:32 / /work rw - overlay overlay rw,lowerdir=/l
27 22 0:33 / /boot rw - vfat /dev/mmcblk0p1 rw
28 22 0:34 / /over rw - ext4 /dev/sda2 rw
29 28 0:35 / /over rw - tmpfs tmpfs rw
";

    fn at(path: &str) -> Place {
        place(MOUNTS, Path::new(path)).expect("everything is below /")
    }

    #[test]
    fn the_nearest_mount_counts_and_of_two_on_one_point_the_last() {
        assert_eq!(at("/srv/data").source, "/dev/mmcblk0p2");
        assert!(at("/srv/data").is_card);
        assert_eq!(at("/run/edgeferry").kind, FileSystem::Memory);
        assert_eq!(at("/running").kind, FileSystem::Disk, "a name that begins alike");
        assert_eq!(at("/mnt/with space/x").kind, FileSystem::Network);
        assert_eq!(at("/work/x").kind, FileSystem::Overlay);
        assert_eq!(at("/boot").kind, FileSystem::NoJournal);
        assert_eq!(at("/over/x").kind, FileSystem::Memory);
    }

    #[test]
    fn a_mount_without_barriers_is_seen() {
        let place = at("/var/lib/edgeferry/lanes");
        assert_eq!(place.lying_option.as_deref(), Some("barrier=0"));
        assert_eq!(at("/srv").lying_option, None);
    }

    #[test]
    fn what_is_no_mountinfo_says_nothing() {
        assert_eq!(place("nonsense\n\n1 2 3 - \n", Path::new("/x")), None);
    }
}
