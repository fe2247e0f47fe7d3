//! Which files a store has; not what is in them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::cli::text::put;
use crate::message::rfc3339;

/// Lines at most: a store of 8 GiB has some 3,000 files.
const FILES_MAX: usize = 5000;
/// Folders are looked into this deep: lanes, a lane, a generation, what sled and a salvage keep there.
const DEPTH_MAX: usize = 8;

/// Size on disk, length, mode, owner, time of the last change and name of each.
pub fn files(folder: &Path) -> String {
    let mut list = List {
        out: String::new(),
        count: 0,
        blocks: 0,
    };
    list.look(folder, folder, DEPTH_MAX);
    if list.count == 0 {
        return format!("nothing that can be read in {}\n", folder.display());
    }
    if list.count > FILES_MAX {
        put(
            &mut list.out,
            format_args!("and {} more\n", list.count - FILES_MAX),
        );
    }
    put(
        &mut list.out,
        format_args!(
            "{} files, {} bytes on disk\n",
            list.count,
            list.blocks.saturating_mul(512)
        ),
    );
    format!(
        "on disk, length, mode, owner, changed, name in {}\n{}",
        folder.display(),
        list.out
    )
}

struct List {
    out: String,
    count: usize,
    blocks: u64,
}

impl List {
    fn look(&mut self, root: &Path, folder: &Path, depth: usize) {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                put(&mut self.out, format_args!("{}: {error}\n", name(root, folder)));
                return;
            }
        };
        let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        for path in paths {
            // Not of what a link leads to: that may be anything.
            let Ok(metadata) = fs::symlink_metadata(&path) else {
                continue;
            };
            match depth.checked_sub(1) {
                Some(depth) if metadata.is_dir() => self.look(root, &path, depth),
                _ => self.file(&name(root, &path), &metadata),
            }
        }
    }

    fn file(&mut self, name: &str, metadata: &fs::Metadata) {
        self.count += 1;
        self.blocks = self.blocks.saturating_add(metadata.blocks());
        if self.count > FILES_MAX {
            return;
        }
        put(
            &mut self.out,
            format_args!(
                "{:>11} {:>11} {:06o} {} {} {name}\n",
                metadata.blocks().saturating_mul(512),
                metadata.len(),
                metadata.mode(),
                metadata.uid(),
                rfc3339(metadata.mtime().saturating_mul(1000))
            ),
        );
    }
}

fn name(root: &Path, path: &Path) -> String {
    let name = path.strip_prefix(root).unwrap_or(path);
    name.display().to_string().replace(char::is_control, "?")
}
