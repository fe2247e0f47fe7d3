use std::collections::BTreeMap;
use std::fs;

use super::*;
use crate::message::Seq;
use crate::queue::codec::Unreadable;
use crate::queue::tests::{Lane, config, passed, positions};
use crate::queue::{Config, OpenError, QueueError, keys_for, open};

/// Bytes that are told apart: `first` and those that follow it.
pub(crate) fn counting_from<const N: usize>(first: u8) -> [u8; N] {
    let mut next = first.wrapping_sub(1);
    std::array::from_fn(|_| {
        next = next.wrapping_add(1);
        next
    })
}

impl Keys {
    /// Keys whose bytes count from these, the first one current.
    pub(crate) fn of(current: Option<u8>, old: &[u8]) -> Self {
        let key = |byte: u8| Key::new(&counting_from(byte), Path::new(""));
        Self(Arc::new(Ring {
            current: current.map(key),
            old: old.iter().map(|byte| key(*byte)).collect(),
        }))
    }

    /// All ids, the current one first.
    pub(crate) fn ids(&self) -> Vec<KeyId> {
        self.all().map(|key| key.id).collect()
    }

    /// As [`Keys::seal`] does it under a nonce that came up.
    pub(crate) fn seal_under(&self, nonce: [u8; NONCE_BYTES], header: &[u8], plain: &[u8]) -> Vec<u8> {
        let key = self.0.current.as_ref().expect("there is one");
        key.seal_with(nonce, header, plain).expect("seals")
    }
}

/// Key files by number, and configurations that name them.
struct Cabinet(tempfile::TempDir);

impl Cabinet {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temp dir");
        for number in 1..=3_u8 {
            let hex: Vec<_> = counting_from::<32>(number)
                .map(|byte| format!("{byte:02x}"))
                .into();
            fs::write(dir.path().join(number.to_string()), hex.concat()).expect("writes");
        }
        Self(dir)
    }

    fn config(&self, current: Option<u8>, old: &[u8]) -> Config {
        let file = |number: u8| self.0.path().join(number.to_string());
        Config {
            key_file: current.map(file),
            old_key_files: old.iter().map(|number| file(*number)).collect(),
            ..config()
        }
    }
}

fn id_of(number: u8) -> KeyId {
    Keys::of(Some(number), &[]).current().expect("there is one")
}

/// Every file below a folder and what it holds.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("lists") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            all.insert(path.clone(), Vec::new());
            all.extend(contents(&path));
        } else {
            let bytes = fs::read(&path).expect("reads");
            all.insert(path, bytes);
        }
    }
    all
}

/// Three messages under no key, key 1 and key 2 each, in this order; the cursor stands before them.
async fn three_by_three(folder: &Path, cabinet: &Cabinet) {
    let runs = [(None, &[][..]), (Some(1), &[]), (Some(2), &[1])];
    for (run, (current, old)) in (0..).zip(runs) {
        let lane = Lane::open_with(folder, &cabinet.config(current, old));
        for position in 3 * run + 1..=3 * run + 3 {
            lane.put(position, b"payload").await;
            lane.durable(position).await;
        }
        lane.close();
    }
}

#[tokio::test]
async fn sealing_can_be_begun_changed_and_ended_on_a_store_that_is_there() {
    let dir = tempfile::tempdir().expect("temp dir");
    let cabinet = Cabinet::new();
    three_by_three(dir.path(), &cabinet).await;
    for config in [
        cabinet.config(Some(2), &[1]),
        cabinet.config(Some(3), &[2, 1]),
        cabinet.config(None, &[1, 2, 3]),
    ] {
        let mut lane = Lane::open_with(dir.path(), &config);
        let stored = lane.drain();
        assert_eq!(positions(&stored), (1..=9).collect::<Vec<_>>());
        assert!(
            stored
                .iter()
                .all(|stored| &stored.arrival.payload[..] == b"payload")
        );
        assert_eq!(lane.recalled.len(), 9);
        lane.close();
    }
}

#[tokio::test]
async fn a_missing_key_is_named_and_nothing_is_touched() {
    let dir = tempfile::tempdir().expect("temp dir");
    let cabinet = Cabinet::new();
    three_by_three(dir.path(), &cabinet).await;
    let before = contents(dir.path());
    for (current, old, expected) in [
        (None, &[][..], &[1, 2][..]),
        (Some(3), &[], &[1, 2]),
        (Some(2), &[], &[1]),
        (Some(3), &[1], &[2]),
    ] {
        let refused = open(
            dir.path(),
            crate::message::Epoch(5),
            &cabinet.config(current, old),
        );
        let Err(OpenError::MissingKeys(error)) = refused else {
            panic!("{refused:?}");
        };
        let expected: Vec<_> = expected.iter().map(|number| id_of(*number)).collect();
        assert_eq!(error.missing, expected);
        assert!(
            expected
                .iter()
                .all(|id| error.to_string().contains(&id.to_string())),
            "{error}"
        );
        assert_eq!(contents(dir.path()), before);
    }
    let mut gone = cabinet.config(Some(2), &[1]);
    gone.key_file = Some(dir.path().join("no such file"));
    let refused = open(dir.path(), crate::message::Epoch(5), &gone);
    assert!(matches!(refused, Err(OpenError::KeyFile(_))), "{refused:?}");
    assert_eq!(contents(dir.path()), before);
}

#[tokio::test]
async fn a_missing_key_is_noticed_at_the_newest_block_when_the_notes_are_lost() {
    let dir = tempfile::tempdir().expect("temp dir");
    let cabinet = Cabinet::new();
    three_by_three(dir.path(), &cabinet).await;
    fs::write(dir.path().join("key-ids"), [0xA5; 8192]).expect("damages");
    let before = contents(dir.path());
    let refused = open(
        dir.path(),
        crate::message::Epoch(5),
        &cabinet.config(Some(3), &[1]),
    );
    let Err(OpenError::MissingKeys(error)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(error.missing, [id_of(2)]);
    assert_eq!(contents(dir.path()), before);
}

#[tokio::test]
async fn a_block_without_its_key_in_the_middle_holds_the_reader_and_is_no_loss() {
    let dir = tempfile::tempdir().expect("temp dir");
    let cabinet = Cabinet::new();
    three_by_three(dir.path(), &cabinet).await;
    fs::remove_file(dir.path().join("key-ids")).expect("removes");
    let mut lane = Lane::open_with(dir.path(), &cabinet.config(Some(2), &[]));
    let read: Vec<_> = std::iter::from_fn(|| lane.reader.read_next().ok().flatten()).collect();
    assert_eq!(positions(&read), [1, 2, 3]);
    for _ in 0..3 {
        match lane.reader.read_next() {
            Err(QueueError::Held {
                first: Seq(4),
                reason: Unreadable::NoKey(id),
            }) => assert_eq!(id, id_of(1)),
            other => panic!("{other:?}"),
        }
    }
    lane.reader.advance(Seq(3), passed(3)).expect("advances");
    let balance = lane.monitor.status().balance;
    assert_eq!((balance.queued, balance.removed.removed()), (6, 0));
    lane.close();

    let mut lane = Lane::open_with(dir.path(), &cabinet.config(Some(2), &[1]));
    assert_eq!(positions(&lane.drain()), (4..=9).collect::<Vec<_>>());
    lane.close();
}

#[tokio::test]
async fn an_old_key_is_needed_until_its_messages_are_delivered() {
    let dir = tempfile::tempdir().expect("temp dir");
    let cabinet = Cabinet::new();
    three_by_three(dir.path(), &cabinet).await;
    let mut lane = Lane::open_with(dir.path(), &cabinet.config(Some(2), &[1]));
    lane.drain();
    lane.reader.advance(Seq(5), passed(5)).expect("advances");
    lane.close();
    let without = cabinet.config(Some(2), &[]);
    assert!(open(dir.path(), crate::message::Epoch(5), &without).is_err());
    let mut lane = Lane::open_with(dir.path(), &cabinet.config(Some(2), &[1]));
    lane.reader.advance(Seq(6), passed(1)).expect("advances");
    lane.close();
    let mut lane = Lane::open_with(dir.path(), &without);
    assert_eq!(positions(&lane.drain()), [7, 8, 9]);
    lane.reader.advance(Seq(9), passed(3)).expect("advances");
    lane.close();
    // Nothing waits: also the key that was in use last may go.
    let lane = Lane::open_with(dir.path(), &cabinet.config(Some(3), &[]));
    lane.put(10, b"payload").await;
    lane.durable(10).await;
    lane.close();
    let refused = open(dir.path(), crate::message::Epoch(5), &without);
    assert!(matches!(refused, Err(OpenError::MissingKeys(_))), "{refused:?}");
}

#[tokio::test]
async fn an_old_key_that_nothing_needs_is_named() {
    let dir = tempfile::tempdir().expect("temp dir");
    let cabinet = Cabinet::new();
    three_by_three(dir.path(), &cabinet).await;
    let config = cabinet.config(Some(2), &[1, 3]);
    let unneeded = || {
        let logs = [dir.path().to_owned(), dir.path().join("no log")];
        let keys = keys_for(&logs, &config).expect("all there");
        keys.unneeded(&logs).map(Path::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(unneeded(), config.old_key_files[1..]);
    let mut lane = Lane::open_with(dir.path(), &config);
    lane.reader.advance(Seq(6), passed(6)).expect("advances");
    lane.close();
    assert_eq!(unneeded(), config.old_key_files);
}

#[test]
fn a_key_file_that_everybody_may_read_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let cabinet = Cabinet::new();
    let config = cabinet.config(Some(1), &[2]);
    for (number, mode) in [(1, 0o644), (2, 0o640)] {
        let path = cabinet.0.path().join(number.to_string());
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changes");
    }
    let keys = Keys::load(config.key_file.as_deref(), &config.old_key_files).expect("keys");
    assert_eq!(keys.exposed().collect::<Vec<_>>(), [cabinet.0.path().join("1")]);
}

#[tokio::test]
async fn nothing_that_was_put_in_is_readable_in_any_file_of_a_sealed_lane() {
    let dir = tempfile::tempdir().expect("temp dir");
    let cabinet = Cabinet::new();
    let secret = b"nobody may read this in a file";
    let readable = || {
        let files = contents(dir.path()).into_values();
        files
            .filter(|bytes| bytes.windows(secret.len()).any(|bytes| bytes == secret))
            .count()
    };
    for (position, key) in [(1, Some(1)), (2, None)] {
        let plain = Config {
            compression: crate::queue::Compression::None,
            ..cabinet.config(key, &[1])
        };
        let lane = Lane::open_with(dir.path(), &plain);
        lane.put(position, secret).await;
        lane.durable(position).await;
        lane.close();
        assert_eq!(readable() == 0, key.is_some());
    }
}
