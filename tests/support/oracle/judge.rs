//! Compares what is in Kafka with what the devices sent. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::murmur2::partition;
use super::reader::Record;
use super::verdict::Verdict;
use crate::support::config::GATEWAY;
use crate::support::devices::sent::Sent;
use crate::support::payload::{is_sent, origin};

/// Judges all records of one topic. `layouts` are its partition counts, one after the other.
pub(super) fn judge(records: &[Record], sent: &Sent, layouts: &[i32]) -> Verdict {
    let mut found = Verdict {
        records: records.len(),
        ..Verdict::default()
    };
    let mut groups: BTreeMap<(String, u64), Vec<&Record>> = BTreeMap::new();
    let mut in_log_order: Vec<&Record> = records.iter().collect();
    in_log_order.sort_by_key(|record| (layout(record, layouts), record.partition, record.offset));

    let mut newest: HashMap<String, u64> = HashMap::new();
    for record in &in_log_order {
        let Some((device, seq)) = origin(&record.value).filter(|origin| was_sent(sent, origin)) else {
            found.foreign.push(place(record));
            continue;
        };
        judge_contents(&mut found, record, sent, &device, seq);
        let group = groups.entry((device.clone(), seq)).or_default();
        if group.is_empty() {
            // A first occurrence: later ones of this device must not have come before it.
            match newest.get(&device) {
                Some(newest) if *newest > seq => found.reordered.push(name(&device, seq)),
                _ => drop(newest.insert(device, seq)),
            }
        }
        group.push(record);
    }
    judge_keys(&mut found, records, layouts);
    judge_ids(&mut found, &groups);
    for ((device, seq), group) in &groups {
        let times = sent.devices[device][seq].times;
        judge_duplicates(&mut found, device, *seq, group, times);
    }
    for (device, seq) in sent.acked() {
        found.expected += 1;
        if !groups.contains_key(&(device.to_owned(), seq)) {
            found.lost.push(name(device, seq));
        }
    }
    found
}

fn was_sent(sent: &Sent, (device, seq): &(String, u64)) -> bool {
    sent.devices.get(device).is_some_and(|log| log.contains_key(seq))
}

/// What can be said about a record alone.
fn judge_contents(found: &mut Verdict, record: &Record, sent: &Sent, device: &str, seq: u64) {
    if record.key.as_deref() != Some(device.as_bytes()) {
        found.wrong_key.push(name(device, seq));
    }
    if !is_sent(&record.value, device, seq) {
        found.altered.push(name(device, seq));
    }
    if let Err(problem) = check_headers(record, &sent.topic_of(device, seq)) {
        found
            .bad_headers
            .push(format!("{} ({problem})", name(device, seq)));
    }
}

fn check_headers(record: &Record, topic: &str) -> Result<(), &'static str> {
    let id = record.header("edgeferry-id").ok_or("no edgeferry-id")?;
    let mut parts = id.splitn(2, '-');
    let epoch = parts
        .next()
        .filter(|epoch| epoch.len() == 16 && epoch.bytes().all(|b| b.is_ascii_hexdigit()));
    let sequence = parts
        .next()
        .and_then(|rest| rest.rsplit_once('-'))
        .and_then(|(_, seq)| seq.parse::<u64>().ok());
    if epoch.is_none() || sequence.is_none() {
        return Err("edgeferry-id is not EPOCH-LANE-SEQUENCE");
    }
    if record.header("edgeferry-gateway") != Some(GATEWAY) {
        return Err("edgeferry-gateway");
    }
    let arrival = record.header("edgeferry-arrival").ok_or("no edgeferry-arrival")?;
    if !is_rfc3339_millis(arrival) {
        return Err("edgeferry-arrival is not RFC 3339 with milliseconds");
    }
    if record.header("mqtt-topic") != Some(topic) {
        return Err("mqtt-topic");
    }
    Ok(())
}

/// `2026-01-31T12:00:00.123Z`, or with an offset instead of the `Z`.
fn is_rfc3339_millis(text: &str) -> bool {
    let shape: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    let local = "0000-00-00T00:00:00.000";
    ["Z", "+00:00", "-00:00"]
        .iter()
        .any(|zone| shape.strip_prefix(local) == Some(zone))
}

/// The first layout that gives the record's partition; behind all of them if none does.
fn layout(record: &Record, layouts: &[i32]) -> usize {
    let key = record.key.as_deref().unwrap_or_default();
    let found = layouts
        .iter()
        .position(|count| partition(key, *count) == record.partition);
    found.unwrap_or(layouts.len())
}

fn judge_keys(found: &mut Verdict, records: &[Record], layouts: &[i32]) {
    let mut homes: BTreeMap<&[u8], BTreeSet<i32>> = BTreeMap::new();
    for record in records {
        let key = record.key.as_deref().unwrap_or_default();
        homes.entry(key).or_default().insert(record.partition);
        if layout(record, layouts) == layouts.len() {
            found.wrong_partition.push(place(record));
        }
    }
    let expected =
        |key: &[u8]| -> BTreeSet<i32> { layouts.iter().map(|count| partition(key, *count)).collect() };
    let split = homes
        .iter()
        .filter(|(key, homes)| homes.len() > expected(key).len());
    found
        .split_keys
        .extend(split.map(|(key, _)| String::from_utf8_lossy(key).into_owned()));
}

/// One id for two messages would make a consumer throw one of them away.
fn judge_ids(found: &mut Verdict, groups: &BTreeMap<(String, u64), Vec<&Record>>) {
    let mut owners: HashMap<&str, &(String, u64)> = HashMap::new();
    for (message, group) in groups {
        for record in group {
            let Some(id) = record.header("edgeferry-id") else {
                continue;
            };
            let owner = owners.entry(id).or_insert(message);
            if *owner != message {
                let (device, seq) = message;
                found
                    .bad_headers
                    .push(format!("{} (id of another message)", name(device, *seq)));
            }
        }
    }
}

/// `group` is one message in log order; the device put it on the wire `times` times.
fn judge_duplicates(found: &mut Verdict, device: &str, seq: u64, group: &[&Record], times: u32) {
    let mut ids: HashSet<&str> = HashSet::new();
    let mut resends_left = times.saturating_sub(1);
    for (index, record) in group.iter().enumerate() {
        let id = record.header("edgeferry-id").unwrap_or_default();
        let is_new_id = ids.insert(id);
        if index == 0 {
            continue;
        }
        let same_bytes = || {
            let first = group.iter().find(|one| one.header("edgeferry-id") == Some(id));
            first.is_some_and(|first| {
                (&first.key, &first.value, &first.headers) == (&record.key, &record.value, &record.headers)
            })
        };
        if !is_new_id && same_bytes() {
            found.duplicates.same_id += 1;
        } else if is_new_id && record.headers.contains_key("edgeferry-dup") {
            found.duplicates.marked += 1;
            found.marked.push(name(device, seq));
        } else if is_new_id && resends_left > 0 {
            resends_left -= 1;
            found.duplicates.resent += 1;
        } else {
            found.duplicates.unrecognisable += 1;
            found.unrecognisable.push(name(device, seq));
        }
    }
}

fn name(device: &str, seq: u64) -> String {
    format!("{device}#{seq}")
}

fn place(record: &Record) -> String {
    format!("partition {} offset {}", record.partition, record.offset)
}
