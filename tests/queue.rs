//! `edgeferry queue` on a stopped store, as a person runs it.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "the helpers of a test may give up"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Four messages of three devices; one of them has no route here (see [`Gateway::new`]).
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/export-v1.jsonl");

/// What a command said.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

/// A configuration, and a store that nobody runs on.
struct Gateway {
    folder: tempfile::TempDir,
}

impl Gateway {
    fn new(id: &str) -> Self {
        let folder = tempfile::tempdir().expect("temp dir");
        let store = folder.path().join("store");
        let text = format!(
            "[gateway]\nid = \"{id}\"\ndata_dir = \"{}\"\n[[mqtt]]\nurl = \"mqtt://127.0.0.1\"\n\
             [kafka]\nbootstrap_servers = [\"127.0.0.1:9092\"]\n\
             [[route]]\nfrom = \"devices/{{device}}/telemetry\"\ntopic = \"t\"\n",
            store.display()
        );
        fs::write(folder.path().join("edgeferry.toml"), text).expect("writes");
        Self { folder }
    }

    /// With the messages of the golden file.
    fn filled(id: &str) -> Self {
        let gateway = Self::new(id);
        let said = gateway.queue(&["import", GOLDEN]);
        assert_eq!(said.code, 0, "{said:?}");
        assert_eq!(said.out, "4 messages taken, 0 were here already\n");
        gateway
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn queue(&self, arguments: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edgeferry"));
        command.arg("queue").args(arguments);
        command.arg("--config").arg(self.path("edgeferry.toml"));
        let output = command.output().expect("runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said {
            code: output.status.code().expect("it ended by itself"),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// The lane's numbers.
    fn lane(&self) -> serde_json::Value {
        let said = self.queue(&["ls", "--json"]);
        assert_eq!(said.code, 0, "{said:?}");
        let answer: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
        answer["lane"].clone()
    }
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).expect("reads")
}

/// The lines of the messages in a file.
fn messages(file: &str) -> Vec<&str> {
    let count = file.lines().count();
    file.lines().skip(1).take(count - 2).collect()
}

#[test]
fn a_store_is_listed_shown_and_verified() {
    let gateway = Gateway::filled("gw-b");
    let said = gateway.queue(&["ls"]);
    assert!(
        said.out
            .contains("received 4 = delivered 0 + dead letters 0 + removed 0 + queued 4"),
        "{said:?}"
    );
    let said = gateway.queue(&["peek", "--device", "d0"]);
    assert_eq!(said.out.lines().count(), 1, "{said:?}");
    assert!(
        said.out.contains("0123456789abcdef-default-42") && said.out.contains("from gw-7"),
        "{said:?}"
    );
    let said = gateway.queue(&["peek", "--topic", "devices/#", "--until", "1971-01-01T00:00:00Z"]);
    assert_eq!(said.out.lines().count(), 3, "{said:?}");
    let said = gateway.queue(&["verify"]);
    assert!(
        said.code == 0
            && said
                .out
                .contains("4 of them queued; the ledger agrees; no damage"),
        "{said:?}"
    );
}

#[test]
fn an_export_goes_from_store_to_store_without_a_change() {
    let (first, second) = (Gateway::filled("gw-b"), Gateway::new("gw-c"));
    let (one, other) = (first.path("one.jsonl"), second.path("other.jsonl"));
    let said = first.queue(&["export", "--output", one.to_str().expect("text")]);
    assert_eq!((said.code, said.out.as_str()), (0, ""), "{said:?}");
    assert_eq!(messages(&text(&one)), messages(&text(Path::new(GOLDEN))));
    let said = second.queue(&["import", one.to_str().expect("text")]);
    assert!(
        said.code == 0 && said.err.contains("gw-b had these messages in its queue"),
        "{said:?}"
    );
    let said = second.queue(&["import", one.to_str().expect("text")]);
    assert_eq!(said.out, "0 messages taken, 4 were here already\n");
    let said = second.queue(&["export"]);
    fs::write(&other, &said.out).expect("writes");
    assert_eq!(messages(&text(&other)), messages(&text(&one)));
}

/// What everybody else may do with each, in octal.
fn modes(path: &Path) -> Vec<(PathBuf, u32)> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = fs::symlink_metadata(path).expect("it is there");
    let mut found = vec![(path.to_owned(), metadata.permissions().mode() & 0o077)];
    if metadata.is_dir() {
        for entry in fs::read_dir(path).expect("reads") {
            found.extend(modes(&entry.expect("reads").path()));
        }
    }
    found
}

#[test]
fn what_is_made_is_for_its_user_alone() {
    let gateway = Gateway::filled("gw-b");
    let export = gateway.path("one.jsonl");
    // Somebody waits for the export with a link of his own, under the name that was once used for its first part.
    let trap = gateway.path("trap");
    std::os::unix::fs::symlink(&trap, gateway.path("one.jsonl.part")).expect("a link");
    let said = gateway.queue(&["export", "--output", export.to_str().expect("text")]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(!trap.exists(), "the link was followed");
    let open: Vec<_> = [modes(&gateway.path("store")), modes(&export)]
        .concat()
        .into_iter()
        .filter(|(_, mode)| *mode != 0)
        .collect();
    assert!(open.is_empty(), "others may: {open:?}");
}

#[test]
fn a_torn_file_is_taken_up_to_the_tear_and_a_changed_one_is_not_taken() {
    let gateway = Gateway::new("gw-b");
    let golden = text(Path::new(GOLDEN));
    let torn = gateway.path("torn.jsonl");
    fs::write(&torn, &golden.as_bytes()[..golden.len() - 60]).expect("writes");
    let said = gateway.queue(&["import", torn.to_str().expect("text")]);
    assert!(
        said.code == 74 && said.err.contains("ends in the middle"),
        "{said:?}"
    );
    assert_eq!(gateway.lane()["queued"], 3);

    let changed = gateway.path("changed.jsonl");
    fs::write(&changed, golden.replace("payload 41", "payload 14")).expect("writes");
    let other = Gateway::new("gw-c");
    let said = other.queue(&["import", changed.to_str().expect("text")]);
    assert!(
        said.code == 74 && said.err.contains("nothing was taken"),
        "{said:?}"
    );
    assert!(!other.path("store").exists(), "not even a store is made");
    let said = other.queue(&["import", "--damaged", changed.to_str().expect("text")]);
    assert!(
        said.code == 74 && said.out.starts_with("4 messages taken"),
        "{said:?}"
    );
}

#[test]
fn a_purge_needs_a_filter_and_yes_and_is_counted() {
    let gateway = Gateway::filled("gw-b");
    let said = gateway.queue(&["purge", "--yes"]);
    assert!(said.code == 64 && said.err.contains("--all"), "{said:?}");
    let said = gateway.queue(&["purge", "--device", "d2"]);
    assert!(
        said.code == 0 && said.out.contains("2 messages would be removed") && said.out.contains("--yes"),
        "{said:?}"
    );
    assert_eq!(gateway.lane()["queued"], 4);
    let said = gateway.queue(&["purge", "--device", "d2", "--yes"]);
    assert!(
        said.code == 0 && said.out.contains("2 messages removed"),
        "{said:?}"
    );
    let lane = gateway.lane();
    assert_eq!(
        (&lane["queued"], &lane["removed"]["purged"], &lane["received"]),
        (&2.into(), &2.into(), &4.into())
    );
    let said = gateway.queue(&["import", GOLDEN]);
    assert_eq!(said.out, "2 messages taken, 2 were here already\n");
    assert_eq!(gateway.queue(&["verify"]).code, 0);
}

#[test]
fn verify_finds_damage_and_its_exit_code_says_so() {
    let gateway = Gateway::filled("gw-b");
    assert_eq!(gateway.queue(&["verify"]).code, 0);
    let lane = gateway.path("store").join("lanes").join("default");
    for entry in fs::read_dir(&lane).expect("reads") {
        let file = entry.expect("reads").path().join("db");
        let Ok(mut bytes) = fs::read(&file) else { continue };
        // Every copy of every chunk.
        while let Some(at) = bytes.windows(4).position(|four| four == b"EFQ1") {
            bytes[at] ^= 1;
        }
        fs::write(&file, bytes).expect("writes");
    }
    let said = gateway.queue(&["verify"]);
    assert!(
        said.code == 74 && said.out.contains("default: 1 to 4: "),
        "{said:?}"
    );
    assert!(said.out.contains("DAMAGED"), "{said:?}");
}

/// Copies the generations alone, as somebody does who found a card.
fn copy_generations(from: &Path, to: &Path) {
    fs::create_dir(to).expect("is made");
    for entry in fs::read_dir(from).expect("reads") {
        let entry = entry.expect("reads");
        if entry.file_type().expect("has one").is_dir() {
            let folder = to.join(entry.file_name());
            fs::create_dir(&folder).expect("is made");
            fs::copy(entry.path().join("db"), folder.join("db")).expect("copies");
        }
    }
}

#[test]
fn messages_are_salvaged_from_whatever_is_left_of_a_store() {
    let gateway = Gateway::filled("gw-b");
    let golden = text(Path::new(GOLDEN));
    let (store, file) = (gateway.path("store"), gateway.path("salvaged.jsonl"));
    let (store, file) = (store.to_str().expect("text"), file.to_str().expect("text"));
    let said = gateway.queue(&["salvage", store, "--output", file]);
    assert_eq!((said.code, said.out.as_str()), (0, ""), "{said:?}");
    assert_eq!(messages(&text(Path::new(file))), messages(&golden));

    let card = gateway.path("card");
    copy_generations(&gateway.path("store").join("lanes").join("default"), &card);
    let card = card.to_str().expect("text");
    let said = gateway.queue(&["salvage", card]);
    assert!(said.code == 64 && said.err.contains("--lane"), "{said:?}");
    let said = gateway.queue(&["salvage", card, "--lane", "default"]);
    assert!(said.code == 64 && said.err.contains("--gateway"), "{said:?}");
    let said = gateway.queue(&["salvage", card, "--lane", "default", "--gateway", "gw-b"]);
    assert_eq!(messages(&said.out), messages(&golden));
    let said = gateway.queue(&["salvage", store, "--from", "2", "--to", "3"]);
    assert_eq!(messages(&said.out), messages(&golden)[1..3]);

    let other = Gateway::new("gw-c");
    let said = other.queue(&["import", file]);
    assert!(
        said.code == 0 && said.out.starts_with("4 messages taken"),
        "{said:?}"
    );
    // One of them was over the broker's limit when it arrived, and is cut.
    assert!(
        said.err.contains("no route makes a record of 1 of them"),
        "{said:?}"
    );
}

#[test]
fn a_lane_that_no_route_uses_any_more_can_be_purged_and_takes_no_imports() {
    let gateway = Gateway::filled("gw-b");
    let config = gateway.path("edgeferry.toml");
    let moved = text(&config) + "lane = \"other\"\n[[lane]]\nname = \"other\"\n";
    fs::write(&config, moved).expect("writes");
    let said = gateway.queue(&["import", "--again", GOLDEN]);
    assert!(said.code == 64 && said.err.contains("--into"), "{said:?}");
    let said = gateway.queue(&["purge", "--lane", "default", "--from", "1", "--yes"]);
    assert!(
        said.code == 0 && said.out.contains("4 messages removed"),
        "{said:?}"
    );
    let said = gateway.queue(&["import", "--into", "other", GOLDEN]);
    assert!(
        said.code == 0 && said.out.starts_with("4 messages taken"),
        "{said:?}"
    );
}

#[test]
fn wrong_usage_says_what_would_be_right() {
    let gateway = Gateway::filled("gw-b");
    let cases: [(&[&str], &str); 8] = [
        (&["peek", "--lane", "alarms"], "there is: default"),
        (&["peek", "--since", "tomorrow"], "2h ago"),
        (&["peek", "--from", "x"], "message id"),
        (&["export", "--topic", "a/#/b"], "devices/+/telemetry"),
        (&["import", "Cargo.toml"], "first line of an export"),
        (&["import", "/"], "no file"),
        (&["dance"], "Usage"),
        (&[], "Usage"),
    ];
    for (arguments, expected) in cases {
        let said = gateway.queue(arguments);
        assert!(
            said.code == 64 && said.err.contains(expected),
            "{arguments:?}: {said:?}"
        );
    }
    let said = Gateway::new("gw-b").queue(&["ls"]);
    assert!(
        said.code == 74 && said.err.contains("there is no store in"),
        "{said:?}"
    );
}

#[test]
fn a_store_in_use_whose_owner_does_not_answer_is_named() {
    let gateway = Gateway::filled("gw-b");
    let lock = fs::File::open(gateway.path("store").join("lock")).expect("opens");
    lock.lock().expect("locks");
    let said = gateway.queue(&["ls"]);
    assert!(
        said.code == 1 && said.err.contains("in use") && said.err.contains("control.sock"),
        "{said:?}"
    );
}

#[test]
fn another_machine_can_look_but_not_write_under_another_name() {
    let gateway = Gateway::filled("gw-b");
    let config = gateway.path("edgeferry.toml");
    let renamed = text(&config).replace("gw-b", "gw-other");
    fs::write(&config, renamed).expect("writes");
    assert_eq!(gateway.lane()["queued"], 4);
    let said = gateway.queue(&["import", GOLDEN]);
    assert!(
        said.code == 64 && said.err.contains("belongs to gateway \"gw-b\""),
        "{said:?}"
    );
}
