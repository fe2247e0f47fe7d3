use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::message::{Origin, Properties};
use crate::ops::hand::format::{Ending, FORMAT, Header, HeaderLane, Line, Lines, Reader, Record};

const GOLDEN: &str = include_str!("../../../../tests/golden/export-v1.jsonl");

fn origin(seq: u64) -> Origin {
    Origin {
        gateway: "gw-7".to_owned(),
        epoch: Epoch(0x0123_4567_89ab_cdef),
        lane: "default".to_owned(),
        seq: Seq(seq),
    }
}

/// One message of every kind.
fn kinds() -> Vec<Arrival> {
    let plain = Arrival {
        origin: Some(Box::new(origin(41))),
        ..arrival(41)
    };
    let mut binary = Arrival {
        payload: Bytes::from_static(b"\0\xff\n\"text\""),
        origin: Some(Box::new(origin(42))),
        ..arrival(42)
    };
    binary.delivery.dup = true;
    binary.delivery.retained = true;
    binary.delivery.qos = 0;
    binary.stamp.synchronised = false;
    binary.stamp.unix_ms = 1_763_640_000_123;
    binary.stamp.boot = u64::MAX;
    let properties = Properties {
        payload_format: Some(1),
        expiry_s: Some(60),
        content_type: Some("text/plain".to_owned()),
        response_topic: Some("answers".to_owned()),
        correlation_data: Some(Bytes::from_static(&[0, 255])),
        user: vec![("a".to_owned(), "b\"\u{1F980}\n".to_owned())],
        subscription_ids: vec![1, 268_435_455],
    };
    let rich = Arrival {
        properties: Some(Box::new(properties)),
        payload: Bytes::from_static("größer\r\n".as_bytes()),
        oversize: Some(70_000_000),
        origin: Some(Box::new(origin(43))),
        ..arrival(43)
    };
    let empty = Arrival {
        payload: Bytes::new(),
        origin: Some(Box::new(origin(u64::MAX))),
        ..arrival(44)
    };
    vec![plain, binary, rich, empty]
}

fn file_of(arrivals: &[Arrival]) -> String {
    let mut lines = Lines::default();
    let header = Header {
        format: FORMAT.to_owned(),
        version: 1,
        gateway: "gw-7".to_owned(),
        epoch: "0123456789abcdef".to_owned(),
        exported_at: "2026-05-01T12:00:00.000Z".to_owned(),
        still_queued: true,
        lanes: vec![HeaderLane {
            lane: "default".to_owned(),
            cursor: Seq(40),
            last: Seq(44),
        }],
    };
    let mut text = format!("{}\n", lines.header(&header).expect("writes"));
    for arrival in arrivals {
        let origin = arrival.origin.as_deref().expect("has one");
        let record = Record::new(origin, arrival);
        writeln!(text, "{}", lines.record(&record).expect("writes")).expect("text can grow");
    }
    writeln!(text, "{}", lines.end().expect("writes")).expect("text can grow");
    text
}

/// What the file says, and how it ends.
fn read(file: &[u8]) -> Option<(Vec<Arrival>, u64, Ending)> {
    let mut reader = Reader::open(file).ok()?;
    let (mut arrivals, mut bad) = (Vec::new(), 0);
    while let Some(line) = reader.next_line().expect("memory can be read") {
        match line {
            Line::Message(arrival) => arrivals.push(*arrival),
            Line::Bad(_) => bad += 1,
        }
    }
    Some((arrivals, bad, reader.ending().expect("it ended").clone()))
}

/// A message as an import makes it: how it was delivered stays behind.
fn carried(mut arrival: Arrival) -> Arrival {
    arrival.delivery = Delivery {
        session: SessionTag(0),
        position: 0,
        packet_id: 0,
        fingerprint: 0,
        ..arrival.delivery
    };
    arrival
}

#[test]
fn the_format_stays() {
    assert_eq!(file_of(&kinds()), GOLDEN);
}

#[test]
fn what_was_written_is_read_back() {
    let (arrivals, bad, ending) = read(GOLDEN.as_bytes()).expect("an export");
    let expected: Vec<Arrival> = kinds().into_iter().map(carried).collect();
    assert_eq!(arrivals, expected);
    assert_eq!((bad, ending), (0, Ending::Whole));
}

#[test]
fn a_torn_file_gives_what_is_whole_and_says_that_it_is_torn() {
    let whole = read(GOLDEN.as_bytes()).expect("an export").0;
    let header = GOLDEN.find('\n').expect("has lines");
    for cut in header..GOLDEN.len() - 1 {
        let (arrivals, bad, ending) = read(&GOLDEN.as_bytes()[..cut]).expect("has its first line");
        let feeds = GOLDEN.as_bytes()[header..cut]
            .iter()
            .filter(|byte| **byte == b'\n');
        let lines = feeds.count().saturating_sub(1);
        assert!(arrivals.len() >= lines.min(whole.len()), "cut at {cut}");
        assert_eq!(arrivals, whole[..arrivals.len()], "cut at {cut}");
        assert_eq!(bad, 0, "cut at {cut}");
        // Without the line feed at its very end the last line still says all.
        assert_eq!(ending == Ending::Whole, cut == GOLDEN.len() - 1, "cut at {cut}");
    }
}

#[test]
fn no_changed_byte_goes_unnoticed() {
    for at in 0..GOLDEN.len() {
        let mut bytes = GOLDEN.as_bytes().to_vec();
        bytes[at] ^= 1;
        if let Some((_, bad, ending)) = read(&bytes) {
            assert!(bad > 0 || ending != Ending::Whole, "byte {at}");
        }
    }
}

#[test]
fn other_files_and_versions_are_refused() {
    for text in ["", "{}", "hello\n", "{\"format\":\"other\",\"version\":1}\n"] {
        assert!(matches!(Reader::open(text.as_bytes()), Err(FormatError::Foreign)));
    }
    let later = GOLDEN.replacen("\"version\":1", "\"version\":2", 1);
    assert!(matches!(
        Reader::open(later.as_bytes()),
        Err(FormatError::Version(2))
    ));
}

proptest! {
    #[test]
    fn any_payload_and_topic_survive(payload in proptest::collection::vec(any::<u8>(), 0..200), topic in ".*") {
        let arrival = Arrival {
            payload: Bytes::from(payload),
            topic,
            origin: Some(Box::new(origin(1))),
            ..arrival(1)
        };
        let file = file_of(std::slice::from_ref(&arrival));
        let (arrivals, _, ending) = read(file.as_bytes()).expect("an export");
        prop_assert_eq!(arrivals, vec![carried(arrival)]);
        prop_assert_eq!(ending, Ending::Whole);
    }

    /// Anywhere, also in the first line.
    #[test]
    fn an_export_with_any_part_changed_never_panics(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), 0_usize..40, "[-0-9a-f\"{}\\[\\],:.eE\n]{0,20}"), 1..4),
    ) {
        let mut text: Vec<char> = GOLDEN.chars().collect();
        for (at, len, instead) in changes {
            let at = at.index(text.len());
            let end = text.len().min(at + len);
            text.splice(at..end, instead.chars());
        }
        let text: String = text.into_iter().collect();
        read(text.as_bytes());
    }

    #[test]
    fn what_is_read_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut file = GOLDEN.lines().next().expect("has lines").as_bytes().to_vec();
        file.push(b'\n');
        file.extend(bytes);
        read(&file);
    }
}

#[test]
fn an_export_has_what_is_queued_in_order() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut gateway = Gateway::open(dir.path(), "gw", 5).with(1..=2000);
    gateway.deliver(3);
    let (arrivals, bad, ending) = read(gateway.export(Filter::default()).as_bytes()).expect("an export");
    let seqs: Vec<u64> = arrivals
        .iter()
        .map(|arrival| arrival.origin.as_ref().expect("has one").seq.0)
        .collect();
    assert_eq!(seqs, (4..=2000).collect::<Vec<_>>());
    assert_eq!((bad, ending), (0, Ending::Whole));
    assert_eq!(lane_state(&gateway).queued, 1997, "an export takes nothing away");
    gateway.close();
}
