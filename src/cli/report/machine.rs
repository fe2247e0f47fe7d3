//! What runs here, and on what.

use std::fs;
use std::path::Path;

use crate::cli::text::put;
use crate::cli::version::Facts;

/// A file of `/proc` or `/etc` is some kilobytes; no more of it is read.
const LINE_BYTES_MAX: usize = 300;

/// Versions of what is in the program and below it.
pub fn versions() -> String {
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let system = value(&system, "PRETTY_NAME=")
        .unwrap_or("not known")
        .trim_matches('"')
        .to_owned();
    let kernel = rustix::system::uname();
    format!(
        "{}system {system}\nkernel {} {} {}\n",
        Facts::gather().text(),
        kernel.sysname().to_string_lossy(),
        kernel.release().to_string_lossy(),
        kernel.version().to_string_lossy(),
    )
}

/// The board and what it has.
pub fn machine() -> String {
    let mut out = String::new();
    let mut line = |name: &str, text: Option<&str>| {
        put(
            &mut out,
            format_args!("{name} {}\n", text.map_or("not known", |text| cut(text.trim()))),
        );
    };
    let read = |path: &str| fs::read_to_string(path).ok();
    // The device tree ends its texts with a zero; PCs have no device tree.
    let model = read("/proc/device-tree/model").map(|text| text.trim_end_matches('\0').to_owned());
    line(
        "board",
        model
            .or_else(|| read("/sys/class/dmi/id/product_name"))
            .as_deref(),
    );
    let cpus = std::thread::available_parallelism()
        .ok()
        .map(|count| count.to_string());
    line("processors", cpus.as_deref());
    let memory = read("/proc/meminfo").unwrap_or_default();
    for name in ["MemTotal:", "MemAvailable:", "SwapTotal:"] {
        line(name, value(&memory, name));
    }
    line("load", read("/proc/loadavg").as_deref());
    line("seconds since boot", read("/proc/uptime").as_deref());
    let is_synchronised = Path::new("/run/systemd/timesync/synchronized").exists();
    line(
        "clock synchronised by systemd-timesyncd",
        Some(if is_synchronised {
            "yes"
        } else {
            "not that it said so"
        }),
    );
    out
}

/// What the kernel says of the mount that `folder` is on.
pub fn mount(folder: &Path) -> String {
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let point = |line: &str| line.split(' ').nth(1).map(|point| point.replace("\\040", " "));
    let here = mounts
        .lines()
        .filter(|line| point(line).is_some_and(|point| folder.starts_with(point)))
        // Of two mounts in one place the later one is seen.
        .max_by_key(|line| point(line).map_or(0, |point| point.len()));
    let mut out = format!("{}\n", here.map_or("not known", cut));
    match rustix::fs::statvfs(&folder) {
        Ok(space) => put(
            &mut out,
            format_args!(
                "{} of {} bytes free, {} of {} inodes\n",
                space.f_bavail.saturating_mul(space.f_frsize),
                space.f_blocks.saturating_mul(space.f_frsize),
                space.f_favail,
                space.f_files
            ),
        ),
        Err(error) => put(&mut out, format_args!("its space is not known: {error}\n")),
    }
    out
}

/// What stands behind `name` in the line that begins so.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name))
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(LINE_BYTES_MAX))
        .unwrap_or(text)
}
