//! Damaged generations: what is read of them, what is kept, and what a medium that hangs can hold up.

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::super::names::{DAMAGED, KEPT};
use super::*;

/// Room for all generations that are made here, and for damaged ones.
const ROOMY: u64 = 8 * 1024 * 1024;

/// Nothing in it can be read, and everything that opens it as a file or a folder finds something.
fn destroy(generation: &Path) {
    fs::remove_file(generation.join("db")).expect("removes");
    fs::create_dir(generation.join("db")).expect("creates");
}

/// Whoever opens it waits for ever.
fn hang(generation: &Path) {
    let db = generation.join("db");
    fs::remove_file(&db).expect("removes");
    mknodat(CWD, &db, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("makes a pipe");
}

/// Lets those go who wait.
fn release(generation: &Path) {
    drop(
        fs::OpenOptions::new()
            .write(true)
            .open(generation.join("db"))
            .expect("opens"),
    );
}

fn hasty(folder: &Path) -> Generations {
    let patience = Patience {
        start: Duration::from_millis(200),
        read: Duration::from_millis(1),
        salvage: Duration::from_millis(1500),
    };
    let opened = Generations::open_with(folder, SMALL, Waker::new(|| {}), patience);
    opened.expect("opens").store
}

/// Suspects until the store gives up.
fn give_up(store: &Generations, seq: u64) {
    let deadline = Instant::now() + DEADLINE;
    while store.suspect(Seq(seq)).expect("answers") {
        assert!(Instant::now() < deadline);
        patiently(|| store.read(Seq(seq)));
    }
}

fn with(folder: &Path, part: &str) -> Vec<String> {
    let mut names = folders(folder);
    names.retain(|name| name.contains(part));
    names
}

#[test]
fn a_block_that_sled_would_overwrite_at_open_costs_nothing_behind_it() {
    let dir = tempfile::tempdir().expect("temp dir");
    fill(&open(dir.path(), LARGE).store, 1..40);
    let db = path_of(dir.path(), 1).join("db");
    let mut bytes = fs::read(&db).expect("reads");
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0);
    fs::write(&db, bytes).expect("writes");
    for _ in 0..2 {
        let opened = open(dir.path(), LARGE);
        assert_eq!(opened.extent.last, Some(Seq(39)));
        // A block that is in the log twice is not even missing.
        let missing = 39 - read_all(&opened.store).len();
        assert!(missing <= 2, "{missing} are missing");
    }
}

/// Why sled is never let near a file that it did not make in this process.
#[test]
fn an_open_by_sled_would_cost_all_messages_behind_a_bad_block() {
    let dir = tempfile::tempdir().expect("temp dir");
    fill(&open(dir.path(), LARGE).store, 1..200);
    let generation = path_of(dir.path(), 1);
    let db = generation.join("db");
    let sound = fs::read(&db).expect("reads");
    let mut most = 0;
    for part in 1..8 {
        let mut bytes = sound.clone();
        let begin = bytes.len() * part / 8 / 4096 * 4096;
        bytes[begin..begin + 4096].fill(0);
        fs::write(&db, bytes).expect("writes");
        let found = read_all(&open(dir.path(), LARGE).store).len();
        assert!(found >= 197, "{found}");
        // It opens with part of the messages, or refuses, or panics.
        let sled = std::panic::catch_unwind(|| sled::Config::new().path(&generation).open());
        drop(sled);
        let left = read_all(&open(dir.path(), LARGE).store).len();
        most = most.max(found - left);
    }
    assert!(most > 20, "{most} messages gone by an open at most");
}

#[test]
fn what_is_missing_sets_a_generation_aside_once_and_the_rest_of_it_is_read() {
    let dir = tempfile::tempdir().expect("temp dir");
    let firsts = several(dir.path());
    let (lost, behind) = (firsts[1], firsts[2]);
    destroy(&path_of(dir.path(), lost));
    let mut expected = ones(1..lost);
    expected.extend(ones(behind..61));
    for start in 0..2 {
        let store = open(dir.path(), SMALL).store;
        assert_eq!(read_all(&store), expected);
        give_up(&store, lost);
        assert_eq!(with(dir.path(), DAMAGED).len(), 1, "start {start}");
        assert_eq!(read_all(&store), expected);
        assert_eq!(super::firsts(&store), firsts);
    }
    // Delivered, it is kept for people, and not read any more.
    let store = open(dir.path(), ROOMY).store;
    store.trim(Seq(60)).expect("trims");
    assert_eq!(
        (with(dir.path(), DAMAGED).len(), with(dir.path(), KEPT).len()),
        (0, 1)
    );
    drop(store);
    let oldest = open(dir.path(), ROOMY).extent.oldest;
    assert!(oldest.is_some_and(|oldest| oldest.0 >= behind), "{oldest:?}");
}

#[test]
fn a_destroyed_end_says_that_more_may_have_been_used() {
    let dir = tempfile::tempdir().expect("temp dir");
    let firsts = several(dir.path());
    let newest = firsts[firsts.len() - 1];
    let db = path_of(dir.path(), newest).join("db");
    let length = usize::try_from(fs::metadata(&db).expect("there").len()).expect("small");
    fs::write(&db, vec![0xA5; length]).expect("writes");
    let opened = open(dir.path(), SMALL);
    assert_eq!(opened.extent.last, Some(Seq(newest - 1)));
    assert_eq!(opened.extent.newest, Some(Seq(newest)));
    assert!(opened.extent.hollow);
    fill(&opened.store, 1000..1002);
    let mut all = ones(1..newest);
    all.extend(ones(1000..1002));
    assert_eq!(read_all(&opened.store), all);
}

#[test]
fn files_of_sled_that_hold_no_messages_are_not_needed() {
    let dir = tempfile::tempdir().expect("temp dir");
    fill(&open(dir.path(), LARGE).store, 1..4);
    let generation = path_of(dir.path(), 1);
    fs::remove_file(generation.join("conf")).expect("removes");
    fs::remove_dir_all(generation.join("blobs")).expect("removes");
    fs::write(generation.join("snap.0000000000001000.generating"), b"half").expect("writes");
    fs::write(generation.join("snap.0000000000001000"), b"torn").expect("writes");
    assert_eq!(read_all(&open(dir.path(), LARGE).store), ones(1..4));
}

#[test]
fn void_messages_do_not_come_back_when_the_generation_behind_them_is_destroyed() {
    let dir = tempfile::tempdir().expect("temp dir");
    let store = open(dir.path(), LARGE).store;
    fill(&store, 1..4);
    break_sync(&store);
    store.append(&block(4, 2)).expect_err("not durable");
    store.append(&block(4, 3)).expect("appends elsewhere");
    drop(store);
    destroy(&path_of(dir.path(), 4));
    let opened = open(dir.path(), LARGE);
    assert_eq!(opened.extent.last, Some(Seq(3)));
    assert_eq!(read_all(&opened.store), ones(1..4));
    fill(&opened.store, 1000..1001);
    assert_eq!(read_all(&opened.store), [(1, 1), (2, 1), (3, 1), (1000, 1)]);
}

#[test]
fn what_stands_in_the_way_of_names_does_not_stop_the_start() {
    let dir = tempfile::tempdir().expect("temp dir");
    let firsts = several(dir.path());
    let first = path_of(dir.path(), firsts[0]);
    fs::remove_dir_all(&first).expect("removes");
    fs::write(&first, b"a file").expect("writes");
    fs::write(dir.path().join("g-00000000000000000007.trash"), b"a file").expect("writes");
    fs::create_dir(dir.path().join("g-not-a-number")).expect("creates");
    fs::create_dir(dir.path().join("lost+found")).expect("creates");
    let store = open(dir.path(), SMALL).store;
    assert_eq!(read_all(&store), ones(firsts[1]..61));
    assert!(with(dir.path(), TRASH).is_empty());
    give_up(&store, 1);
    store.trim(Seq(60)).expect("trims");
    fill(&store, 61..63);

    let file = dir.path().join("lane");
    fs::write(&file, b"a file").expect("writes");
    let store = open(&file, SMALL).store;
    fill(&store, 1..3);
    assert_eq!(read_all(&store), ones(1..3));
}

#[test]
fn kept_generations_go_when_the_budget_needs_their_room() {
    let dir = tempfile::tempdir().expect("temp dir");
    let firsts = several(dir.path());
    let store = open(dir.path(), ROOMY).store;
    for first in &firsts[..firsts.len() - 1] {
        store
            .row()
            .entry(Seq(*first))
            .expect("there")
            .set_aside()
            .expect("renames");
    }
    store.trim(Seq(60)).expect("trims");
    let kept = with(dir.path(), KEPT).len() as u64;
    let bytes = store.kept_bytes.load(Ordering::Relaxed);
    assert!(
        kept >= 1 && bytes > 0 && bytes <= ROOMY / KEPT_PART,
        "{kept} of {bytes} bytes"
    );
    drop(store);
    let store = open(dir.path(), SMALL).store;
    assert!(with(dir.path(), KEPT).is_empty());
    assert_eq!(store.kept_bytes.load(Ordering::Relaxed), 0);
}

#[test]
fn a_medium_that_hangs_holds_nothing_up_for_ever() {
    let dir = tempfile::tempdir().expect("temp dir");
    let firsts = several(dir.path());
    let (hung, newest) = (firsts[1], firsts[firsts.len() - 1]);
    hang(&path_of(dir.path(), hung));
    hang(&path_of(dir.path(), newest));
    let store = hasty(dir.path());
    // The start did not wait, and what comes is stored at once.
    assert_eq!(firsts, super::firsts(&store));
    fill(&store, 1000..1002);
    assert_eq!(store.read(Seq(hung)).expect("answers"), Found::Salvaging);
    let mut expected = ones(1..hung);
    expected.extend(ones(firsts[2]..newest));
    expected.extend(ones(1000..1002));
    assert_eq!(read_all(&store), expected);
    give_up(&store, hung);
    give_up(&store, newest);
    for name in with(dir.path(), DAMAGED) {
        release(&dir.path().join(name));
    }
}

#[test]
fn a_start_that_cannot_see_the_end_says_so() {
    let dir = tempfile::tempdir().expect("temp dir");
    let firsts = several(dir.path());
    let newest = path_of(dir.path(), firsts[firsts.len() - 1]);
    hang(&newest);
    let patience = Patience {
        start: Duration::from_millis(50),
        ..Patience::default()
    };
    let opened = Generations::open_with(dir.path(), SMALL, Waker::new(|| {}), patience);
    assert!(opened.expect("opens").extent.unsure);
    release(&newest);
}

#[test]
fn the_waker_is_called_when_a_look_ends() {
    let dir = tempfile::tempdir().expect("temp dir");
    let firsts = several(dir.path());
    let hung = path_of(dir.path(), firsts[1]);
    hang(&hung);
    let signal = Arc::new(crate::signal::Signal::default());
    let woken = Arc::clone(&signal);
    let patience = Patience {
        read: Duration::from_millis(1),
        ..Patience::default()
    };
    let waker = Waker::new(move || woken.raise());
    let store = Generations::open_with(dir.path(), SMALL, waker, patience)
        .expect("opens")
        .store;
    assert_eq!(store.read(Seq(firsts[1])).expect("answers"), Found::Salvaging);
    signal.wait(Duration::ZERO);
    let waiting = Instant::now();
    release(&hung);
    signal.wait(DEADLINE);
    assert!(waiting.elapsed() < DEADLINE);
}

#[test]
fn when_too_many_reads_hang_the_next_one_is_refused_and_nothing_is_given_up() {
    let dir = tempfile::tempdir().expect("temp dir");
    let firsts = several(dir.path());
    assert!(firsts.len() > 5, "{firsts:?}");
    for first in &firsts[..5] {
        hang(&path_of(dir.path(), *first));
    }
    let store = hasty(dir.path());
    for first in &firsts[..4] {
        assert_eq!(store.read(Seq(*first)).expect("answers"), Found::Salvaging);
    }
    let error = store.read(Seq(firsts[4])).expect_err("refused");
    assert!(matches!(error, StoreError::Salvaging), "{error}");
    assert!(!error.is_damage(), "{error}");
    for first in &firsts[..4] {
        release(&path_of(dir.path(), *first));
    }
}

#[test]
fn a_look_ahead_finds_what_is_missing_before_anybody_reads_it() {
    let dir = tempfile::tempdir().expect("temp dir");
    let firsts = several(dir.path());
    let store = open(dir.path(), SMALL).store;
    destroy(&path_of(dir.path(), firsts[1]));
    let mut gaps = Vec::new();
    let deadline = Instant::now() + DEADLINE;
    while gaps.is_empty() {
        assert!(Instant::now() < deadline);
        store.scrub.lock().expect("sound").hurry();
        gaps = store.scrub();
        std::thread::park_timeout(Duration::from_millis(2));
    }
    let gap = Gap {
        first: Seq(firsts[1]),
        last: Seq(firsts[2] - 1),
    };
    assert_eq!(gaps, [gap]);
    // It changes nothing.
    assert!(with(dir.path(), DAMAGED).is_empty());
}
