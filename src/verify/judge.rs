//! Records in, findings out.
//!
//! Bounds, each with what happens beyond it: [`BLOCKS_MAX`] of memory for sequences (then it ends with [`TooMuch`]), [`STREAMS_MAX`] logs
//! and [`KEYS_MAX`] keys (what is beyond is counted as not looked at), `recent::RECENT_MAX` records to compare repetitions with.

use std::collections::{BTreeMap, HashMap};

use xxhash_rust::xxh3::Xxh3;

use super::explain::{Absence, LaneAccount};
use super::identify::{Lane, Name};
use super::recent::Recent;
use super::report::{
    Duplicate, Finding, Known, LaneReport, MISPLACED_MAX, Misplaced, Report, Settings, StoreAccount,
    TopicReport, VERSION, Verdict,
};
use super::seen::{BLOCK_BYTES, Seen, absent, present};
use super::window::{Begin, Window};
use crate::message::{Epoch, Seq};
use crate::ranges::Ranges;

/// Blocks for scattered sequences: 64 MiB, enough for 500 million messages where each second one is there.
const BLOCKS_MAX: usize = 64 * 1024 * 1024 / BLOCK_BYTES;
/// Logs that are told apart: epochs and lanes of 2,000 gateways, four each.
const STREAMS_MAX: usize = 8_000;
/// Keys whose last sequence is remembered, for each topic: some 30 bytes each.
const KEYS_MAX: usize = 1_000_000;
/// Sequences that share a time, to find out which may lie before the beginning of a partition.
const TIMED: u64 = 4096;
/// Characters of a key that are shown.
const KEY_SHOWN: usize = 100;

/// The sequences are too many and too scattered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "so many scattered messages do not fit into {} MiB; look at a part of them with --since and --until", BLOCKS_MAX * BLOCK_BYTES / 1024 / 1024
)]
pub struct TooMuch;

/// What a topic is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Records of messages.
    Records,
    /// Dead letters.
    Letters,
}

/// A topic that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Routes that may send to it.
    pub senders: usize,
    /// See [`TopicReport`].
    pub is_compacted: Option<bool>,
    /// Where each of its partitions begins.
    pub begins: Vec<Begin>,
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting<'a> {
    /// Number of its [`Topic`].
    pub topic: usize,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Its time.
    pub time_ms: Option<i64>,
    /// Its key.
    pub key: &'a [u8],
    /// What it says that it carries.
    pub name: Option<Name>,
    /// Its gateway, where it says so.
    pub gateway: Option<&'a str>,
    /// Hash of key and value.
    pub fingerprint: u64,
}

/// One log of one gateway.
#[derive(Debug)]
struct Stream {
    epoch: Epoch,
    lane: Lane,
    gateway: Option<String>,
    records: u64,
    /// By topic.
    seen: BTreeMap<usize, Seen>,
    letters: Seen,
    /// First and last sequence whose record is in the window.
    window: Option<(Seq, Seq)>,
    /// The earliest time of each [`TIMED`] sequences.
    times: BTreeMap<u64, i64>,
    /// The first sequence of each partition.
    floors: HashMap<(usize, i32), Seq>,
    duplicates: Duplicate,
    misplaced: u64,
    misplaced_examples: Vec<Misplaced>,
}

/// See the module documentation.
#[derive(Debug)]
pub struct Judge {
    window: Window,
    topics: Vec<Topic>,
    /// Names of lanes that a mark may stand for.
    lanes: Vec<String>,
    records: Vec<u64>,
    /// Time of the first record of each partition.
    first_times: HashMap<(usize, i32), i64>,
    streams: Vec<Stream>,
    index: HashMap<(Epoch, Lane), usize>,
    /// Last sequence of each key in its place, by hash.
    keys: HashMap<u64, Seq>,
    recent: Recent,
    blocks: usize,
    unnamed: u64,
    beyond: u64,
    unordered: u64,
}

impl Judge {
    /// For `topics`; `lanes` are those that WASP's ids may mean.
    #[must_use]
    pub fn new(window: Window, topics: Vec<Topic>, lanes: Vec<String>) -> Self {
        Self {
            window,
            records: vec![0; topics.len()],
            topics,
            lanes,
            first_times: HashMap::new(),
            streams: Vec::new(),
            index: HashMap::new(),
            keys: HashMap::new(),
            recent: Recent::default(),
            blocks: 0,
            unnamed: 0,
            beyond: 0,
            unordered: 0,
        }
    }

    /// Takes the next record; those of a partition in their order.
    ///
    /// # Errors
    /// [`TooMuch`]
    pub fn take(&mut self, record: &Sighting<'_>) -> Result<(), TooMuch> {
        let Some(topic) = self.topics.get(record.topic) else {
            return Ok(());
        };
        if let Some(count) = self.records.get_mut(record.topic) {
            *count += 1;
        }
        let (role, senders) = (topic.role, topic.senders);
        let is_late = usize::try_from(record.partition)
            .ok()
            .and_then(|partition| topic.begins.get(partition))
            .is_some_and(|begin| begin.is_late);
        let place = (record.topic, record.partition);
        if let Some(time) = record.time_ms {
            self.first_times.entry(place).or_insert(time);
        }
        let Some(name) = &record.name else {
            self.unnamed += 1;
            return Ok(());
        };
        let Some(number) = self.stream(name, record.gateway) else {
            self.beyond += 1;
            return Ok(());
        };
        let Some(stream) = self.streams.get_mut(number) else {
            return Ok(());
        };
        stream.records += 1;
        let set = match role {
            Role::Records => stream.seen.entry(record.topic).or_default(),
            Role::Letters => &mut stream.letters,
        };
        let inserted = set.insert(name.seq);
        self.blocks = self.blocks.saturating_add_signed(inserted.blocks);
        if self.blocks > BLOCKS_MAX {
            return Err(TooMuch);
        }
        if role == Role::Letters {
            return Ok(());
        }
        stream.note_time(name.seq, record.time_ms, &self.window);
        let floor = *stream.floors.entry(place).or_insert(name.seq);
        let key = (record.topic, number, name.seq);
        if !inserted.is_new {
            stream
                .duplicates
                .count(self.recent.of(key), record.fingerprint, senders);
            return Ok(());
        }
        self.recent.note(key, record.fingerprint);
        // What was read before the beginning is not known, so this may be a repetition.
        if !(is_late && name.seq < floor) {
            self.look_at_order(number, name.seq, record);
        }
        Ok(())
    }

    /// The log that a record belongs to; `None` when there are too many.
    fn stream(&mut self, name: &Name, gateway: Option<&str>) -> Option<usize> {
        let lane = match &name.lane {
            Lane::Marked(mark) => {
                let known = self
                    .lanes
                    .iter()
                    .find(|lane| Lane::Named((*lane).clone()).mark() == *mark);
                known.map_or_else(|| name.lane.clone(), |lane| Lane::Named(lane.clone()))
            }
            Lane::Named(_) => name.lane.clone(),
        };
        let key = (name.epoch, lane);
        let number = match self.index.get(&key) {
            Some(number) => *number,
            None if self.streams.len() >= STREAMS_MAX => return None,
            None => {
                self.streams.push(Stream::new(key.0, key.1.clone()));
                self.index.insert(key, self.streams.len() - 1);
                self.streams.len() - 1
            }
        };
        if let (Some(stream), Some(gateway)) = (self.streams.get_mut(number), gateway)
            && stream.gateway.is_none()
        {
            stream.gateway = Some(gateway.to_owned());
        }
        Some(number)
    }

    fn look_at_order(&mut self, number: usize, seq: Seq, record: &Sighting<'_>) {
        let mut hash = Xxh3::new();
        for part in [record.topic as u64, number as u64] {
            hash.update(&part.to_le_bytes());
        }
        hash.update(&record.partition.to_le_bytes());
        hash.update(record.key);
        let hash = hash.digest();
        match self.keys.get(&hash).copied() {
            Some(last) if last < seq => {
                self.keys.insert(hash, seq);
            }
            Some(behind) => {
                let topic = self.topics.get(record.topic).map(|topic| topic.name.clone());
                if let Some(stream) = self.streams.get_mut(number) {
                    stream.misplace(topic.unwrap_or_default(), record, seq, behind);
                }
            }
            None if self.keys.len() >= KEYS_MAX => self.unordered += 1,
            None => {
                self.keys.insert(hash, seq);
            }
        }
    }

    /// What it comes to. With the account of a store its lanes alone are judged; without, each log that was seen.
    #[must_use]
    pub fn finish(mut self, account: Option<&StoreAccount>, settings: Settings) -> Report {
        let lanes = match account {
            Some(account) => self.judge_store(account, settings),
            None => self.judge_all(settings),
        };
        let judged: u64 = match account {
            Some(account) => self
                .streams
                .iter()
                .filter(|stream| stream.is_of(account))
                .map(|stream| stream.records)
                .sum(),
            None => self.streams.iter().map(|stream| stream.records).sum(),
        };
        let named: u64 = self.streams.iter().map(|stream| stream.records).sum();
        let topics = self.topic_reports();
        let is_uncertain = self.beyond > 0
            || self.unordered > 0
            || lanes.iter().any(|lane| {
                lane.unknown > 0 || (!self.is_whole() && lane.known.iter().any(|known| !known.is_by_sequence))
            });
        let verdict = match lanes.iter().any(|lane| !lane.findings.is_empty()) {
            true => Verdict::Wrong,
            false if is_uncertain => Verdict::Uncertain,
            false => Verdict::Well,
        };
        Report {
            version: VERSION,
            verdict,
            gateway: account.map(|account| account.gateway.clone()),
            records: self.records.iter().sum(),
            topics,
            unnamed: self.unnamed,
            others: named - judged,
            beyond: self.beyond,
            unordered: self.unordered,
            lanes,
            notes: Vec::new(),
        }
    }

    fn topic_reports(&self) -> Vec<TopicReport> {
        let topics = self.topics.iter().zip(&self.records);
        topics
            .map(|(topic, records)| TopicReport {
                name: topic.name.clone(),
                partitions: topic.begins.len(),
                records: *records,
                trimmed: topic.begins.iter().filter(|begin| begin.is_trimmed).count(),
                is_compacted: topic.is_compacted,
            })
            .collect()
    }

    /// Whether all that was ever sent is there to be read.
    fn is_whole(&self) -> bool {
        self.window.is_everything()
            && self.topics.iter().all(|topic| {
                topic.is_compacted != Some(true) && !topic.begins.iter().any(|begin| begin.is_trimmed)
            })
    }

    fn judge_store(&mut self, account: &StoreAccount, settings: Settings) -> Vec<LaneReport> {
        let Some(epoch) = account.epoch else {
            return Vec::new();
        };
        let gone: u64 = account.lanes.iter().map(|lane| lane.letters_gone).sum();
        let by_hand = gone.saturating_add(account.imported);
        let mut left = by_hand;
        let mut reports = Vec::new();
        for lane in account
            .lanes
            .iter()
            .filter(|lane| self.window.names(epoch, &lane.lane))
        {
            let key = (epoch, Lane::Named(lane.lane.clone()));
            let number = self.index.get(&key).copied();
            let nothing = Stream::new(key.0, key.1);
            let stream = number
                .and_then(|number| self.streams.get(number))
                .unwrap_or(&nothing);
            let mut report = self.judge_lane(stream, Some(lane));
            report.gateway = Some(account.gateway.clone());
            let taken = report.missing.min(left);
            left -= taken;
            report.missing -= taken;
            report.explain("by_hand", taken);
            let is_put_back = stream.misplaced <= by_hand;
            report.find(Finding::Missing, report.missing > 0);
            report.find(Finding::OutOfOrder, !is_put_back);
            report.find(
                Finding::Duplicated,
                settings.is_exactly_once && stream.duplicates.repeated() > 0,
            );
            reports.push(report);
        }
        reports
    }

    fn judge_all(&mut self, settings: Settings) -> Vec<LaneReport> {
        let mut reports = Vec::new();
        for stream in &self.streams {
            if stream.seen.is_empty() || !self.window.names(stream.epoch, &stream.lane.to_string()) {
                continue;
            }
            let mut report = self.judge_lane(stream, None);
            report.find(Finding::Gap, report.missing > 0);
            report.find(Finding::OutOfOrder, stream.misplaced > 0);
            report.find(
                Finding::Duplicated,
                settings.is_exactly_once && stream.duplicates.repeated() > 0,
            );
            reports.push(report);
        }
        reports.sort_by(|a, b| (&a.gateway, &a.epoch, &a.lane).cmp(&(&b.gateway, &b.epoch, &b.lane)));
        reports
    }

    fn judge_lane(&self, stream: &Stream, account: Option<&LaneAccount>) -> LaneReport {
        let mut report = LaneReport {
            gateway: stream.gateway.clone(),
            epoch: stream.epoch.to_string(),
            lane: stream.lane.to_string(),
            queued: account.map_or(0, |account| account.queued),
            duplicates: stream.duplicates,
            misplaced: stream.misplaced,
            misplaced_examples: stream.misplaced_examples.clone(),
            ..LaneReport::default()
        };
        let Some((first, last)) = self.judged(stream, account) else {
            return report;
        };
        let mut forwarded = Ranges::default();
        present(&[&stream.letters], |first, last| {
            forwarded.insert_all(first, last);
        });
        let former = account.and_then(|_| self.former(stream));
        let unknown_through = self.unknown_through(stream).max(former);
        let mut absence = Absence::new(unknown_through, account, forwarded);
        let sets: Vec<&Seen> = stream.seen.values().collect();
        let mut gone = 0;
        absent(&sets, first, last, |begin, end| {
            gone += end.0 - begin.0 + 1;
            absence.add(begin, end);
        });
        let counted = absence.left.min(absence.counted());
        report.first = Some(first);
        report.last = Some(last);
        report.present = (last.0 - first.0 + 1).saturating_sub(gone);
        report.known = absence.known();
        report.unknown = absence.unknown;
        report.missing = absence.left - counted;
        report.stretches = absence.stretches;
        report.stretches_left_out = absence.stretches_left_out;
        report.explain("not_delivered", counted);
        report
    }

    /// First and last sequence that should be there.
    fn judged(&self, stream: &Stream, account: Option<&LaneAccount>) -> Option<(Seq, Seq)> {
        let sets: Vec<&Seen> = stream.seen.values().collect();
        let bounds = sets.iter().filter_map(|set| set.bounds());
        let seen = bounds.reduce(|(a, b), (c, d)| (a.min(c), b.max(d)));
        let cursor = account.map(|account| account.cursor);
        let (first, last) = if self.window.is_of_time() {
            let (first, last) = stream.window?;
            match cursor {
                Some(cursor) if self.window.until_ms.is_none() => (first, cursor),
                Some(cursor) => (first, last.min(cursor)),
                None => (first, last),
            }
        } else {
            match cursor {
                Some(cursor) => (Seq(1), cursor),
                // What was before the first one may be in another topic, or never have been for these.
                None => seen?,
            }
        };
        let first = self
            .window
            .from
            .as_ref()
            .map_or(first, |from| from.seq.max(Seq(1)));
        let last = self
            .window
            .through
            .as_ref()
            .map_or(last, |through| through.seq.min(last));
        (first <= last).then_some((first, last))
    }

    /// Where the same lane of the same gateway ended in an earlier epoch: a store on other hardware goes on behind that.
    fn former(&self, stream: &Stream) -> Option<Seq> {
        let gateway = stream.gateway.as_ref()?;
        let bounds = |stream: &Stream| {
            let bounds = stream.seen.values().filter_map(Seen::bounds);
            bounds.reduce(|(a, b), (c, d)| (a.min(c), b.max(d)))
        };
        let (first, _) = bounds(stream)?;
        let is_former = |other: &&Stream| {
            other.epoch != stream.epoch
                && other.lane == stream.lane
                && other.gateway.as_ref() == Some(gateway)
        };
        let ends = self.streams.iter().filter(is_former).filter_map(bounds);
        ends.map(|(_, last)| last).filter(|last| *last < first).max()
    }

    /// Up to where messages may lie in what is gone from Kafka. `None`: nowhere.
    fn unknown_through(&self, stream: &Stream) -> Option<Seq> {
        let mut through = None;
        for (number, topic) in self.topics.iter().enumerate() {
            if topic.role == Role::Letters {
                continue;
            }
            if topic.is_compacted == Some(true) {
                return Some(Seq(u64::MAX));
            }
            let partitions = (0_i32..).zip(&topic.begins);
            for (partition, _) in partitions.filter(|(_, begin)| begin.is_trimmed) {
                let place = (number, partition);
                let first_there = stream.floors.get(&place).map(|floor| floor.previous());
                let by_time = self.first_times.get(&place).map(|time| stream.last_before(*time));
                let here = match (first_there, by_time) {
                    (Some(a), Some(b)) => a.min(b),
                    (Some(one), None) | (None, Some(one)) => one,
                    (None, None) => Seq(u64::MAX),
                };
                through = through.max(Some(here));
            }
        }
        through.filter(|through| *through > Seq::ZERO)
    }
}

impl Stream {
    fn new(epoch: Epoch, lane: Lane) -> Self {
        Self {
            epoch,
            lane,
            gateway: None,
            records: 0,
            seen: BTreeMap::new(),
            letters: Seen::default(),
            window: None,
            times: BTreeMap::new(),
            floors: HashMap::new(),
            duplicates: Duplicate::default(),
            misplaced: 0,
            misplaced_examples: Vec::new(),
        }
    }

    fn is_of(&self, account: &StoreAccount) -> bool {
        account.epoch == Some(self.epoch)
            && account
                .lanes
                .iter()
                .any(|lane| Lane::Named(lane.lane.clone()) == self.lane)
    }

    fn note_time(&mut self, seq: Seq, time_ms: Option<i64>, window: &Window) {
        if window.holds(time_ms) {
            self.window = Some(
                self.window
                    .map_or((seq, seq), |(first, last)| (first.min(seq), last.max(seq))),
            );
        }
        if let Some(time) = time_ms {
            let earliest = self.times.entry(seq.0 / TIMED).or_insert(time);
            *earliest = (*earliest).min(time);
        }
    }

    /// The last sequence that may have a record of this time or before.
    fn last_before(&self, time_ms: i64) -> Seq {
        let before = self
            .times
            .iter()
            .rev()
            .find(|(_, earliest)| **earliest <= time_ms);
        before.map_or(Seq::ZERO, |(number, _)| Seq(number * TIMED + (TIMED - 1)))
    }

    fn misplace(&mut self, topic: String, record: &Sighting<'_>, seq: Seq, behind: Seq) {
        self.misplaced += 1;
        if self.misplaced_examples.len() < MISPLACED_MAX {
            let key = String::from_utf8_lossy(record.key);
            self.misplaced_examples.push(Misplaced {
                topic,
                partition: record.partition,
                offset: record.offset,
                key: key.chars().take(KEY_SHOWN).collect(),
                seq,
                behind,
            });
        }
    }
}

impl Duplicate {
    fn count(&mut self, first: Option<u64>, fingerprint: u64, senders: usize) {
        let count = match first {
            _ if senders > 1 => &mut self.several_routes,
            None => &mut self.uncompared,
            Some(first) if first == fingerprint => &mut self.same,
            Some(_) => &mut self.altered,
        };
        *count += 1;
    }
}

impl LaneReport {
    fn explain(&mut self, why: &str, count: u64) {
        if count > 0 {
            self.known.push(Known {
                why: why.to_owned(),
                count,
                is_by_sequence: false,
            });
        }
    }

    fn find(&mut self, finding: Finding, is_there: bool) {
        if is_there {
            self.findings.push(finding);
        }
    }
}

#[cfg(test)]
mod tests;
