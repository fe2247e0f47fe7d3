//! Lanes that are no more.
//!
//! An emptied lane's folder moves to `retired`, and everything that was delivered goes. Its marks and its ledger stay: a
//! lane of the same name goes on behind the sequences that were used, so that no message id is given twice, and its
//! account goes on. So does what was set aside as damaged.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::{fs, io::Result};

use crate::app::{DataDir, routing};
use crate::files::sync_folder_of;
use crate::queue::seal::key_ids;

/// Puts an emptied lane's folder away. Nothing may use it any more.
///
/// # Errors
/// Whatever the file system says; at the next start the lane is found and emptied again.
pub fn retire(data_dir: &DataDir, lane: &str) -> Result<()> {
    let (folder, kept) = (data_dir.lane(lane), data_dir.retired(lane));
    if kept.exists() {
        return Err(io::Error::new(
            ErrorKind::AlreadyExists,
            kept.display().to_string(),
        ));
    }
    move_to(&folder, &kept)?;
    slim(&kept)
}

/// Takes the folder of a lane back if it was put away.
///
/// # Errors
/// Whatever the file system says; without it the lane would use sequences twice.
pub fn revive(data_dir: &DataDir, lane: &str) -> Result<()> {
    let (folder, kept) = (data_dir.lane(lane), data_dir.retired(lane));
    if folder.exists() || !kept.exists() {
        return Ok(());
    }
    move_to(&kept, &folder)
}

fn move_to(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
        sync_folder_of(parent)?;
    }
    fs::rename(from, to)?;
    sync_folder_of(to)?;
    sync_folder_of(from)
}

/// Deletes what was delivered, the note of the keys it needed, and the sessions that have ended. What a crash leaves of it is taken along when the lane
/// comes back.
fn slim(kept: &Path) -> Result<()> {
    for entry in fs::read_dir(kept)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let is_aside = name.contains(".damaged") || name.contains(".kept");
        let is_delivered = name.starts_with("g-") && !is_aside;
        let is_over = ["session-", "filters-", routing::FILE, key_ids::FILE]
            .iter()
            .any(|begin| name.starts_with(begin));
        if is_delivered {
            fs::remove_dir_all(&path)?;
        } else if is_over {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Epoch;
    use crate::queue;
    use crate::queue::Passed;

    /// Stores a message in the lane, and takes it out. Gives its sequence.
    async fn pass_one(data_dir: &DataDir) -> u64 {
        let lane = queue::open(&data_dir.lane("alarms"), Epoch(1), &queue::Config::default()).expect("opens");
        let (writer, mut reader, intake) = (lane.writer, lane.reader, lane.door.intake());
        drop(lane.door);
        let writer = std::thread::spawn(move || writer.run());
        let arrival = crate::message::Arrival::trial(1, "a/b", "x");
        let room = intake.reserve(arrival.cost()).await.expect("room");
        intake.offer(arrival, room, true).expect("taken");
        drop(intake);
        writer.join().expect("ends");
        let stored = reader.read_next().expect("reads").expect("is there");
        let passed = Passed {
            delivered: 1,
            ..Passed::default()
        };
        reader.advance(stored.seq, passed).expect("advances");
        reader.sync().expect("syncs");
        let balance = lane.monitor.status().balance;
        assert_eq!(balance.queued, 0, "{balance:?}");
        assert_eq!(balance.received, balance.delivered, "{balance:?}");
        stored.seq.0
    }

    #[tokio::test]
    async fn a_lane_that_comes_back_goes_on_behind_the_sequences_it_used() {
        let dir = tempfile::tempdir().expect("temp dir");
        let data_dir = DataDir::take(dir.path()).expect("takes");
        let first = pass_one(&data_dir).await;
        fs::create_dir(data_dir.lane("alarms").join("g-1.damaged-x")).expect("makes");
        fs::write(data_dir.session("alarms", "b"), b"").expect("writes");
        retire(&data_dir, "alarms").expect("retires");
        assert!(!data_dir.lane("alarms").exists());
        let mut names: Vec<String> = fs::read_dir(data_dir.retired("alarms"))
            .expect("reads")
            .map(|entry| entry.expect("reads").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert_eq!(names, ["g-1.damaged-x", "ledger", "marks"]);
        revive(&data_dir, "alarms").expect("revives");
        assert!(pass_one(&data_dir).await > first);
        assert!(!data_dir.retired("alarms").exists());
    }
}
