//! A storm as a table for `docs/reliability.md`.

use std::fmt;

use super::{DEVICES, Fate, Storm};

impl fmt::Display for Storm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: &dyn fmt::Display| writeln!(f, "| {name} | {value} |");
        let (daemon, kafka) = (&self.done.daemon, &self.done.kafka);
        let mosquitto = &self.done.mosquitto;
        line("seconds", &self.forecast.time.as_secs())?;
        line("messages a second", &self.forecast.rate)?;
        line(
            "must arrive: what was acknowledged",
            &match self.forecast.mosquitto {
                Fate::Stopped => "to the devices",
                Fate::Killed => "by edgeferry",
            },
        )?;
        line("such messages", &self.verdict.expected)?;
        line(
            "daemon: SIGKILL, SIGTERM, SIGSTOP",
            &format!("{}, {}, {}", daemon.kills, daemon.stops, daemon.pauses),
        )?;
        line(
            "Mosquitto: SIGKILL, SIGTERM, SIGSTOP, way closed, way slow",
            &format!(
                "{}, {}, {}, {}, {}",
                mosquitto.kills, mosquitto.stops, mosquitto.pauses, mosquitto.closed, mosquitto.slow
            ),
        )?;
        for (name, each) in [
            ("brokers: SIGKILL", kafka.kills),
            ("brokers: SIGTERM", kafka.stops),
            ("brokers: SIGSTOP", kafka.pauses),
            ("brokers: way slow", kafka.slow),
            ("brokers: way closed", kafka.closed),
            ("brokers: answers swallowed", kafka.silent),
        ] {
            line(name, &each.map(|count| count.to_string()).join(" + "))?;
        }
        line(
            "changes of leaders seen, of partitions and of coordinators",
            &format!("{}, {}", kafka.elections, kafka.coordinators),
        )?;
        line("disk filled", &self.done.disk_fills)?;
        line("records", &self.verdict.records)?;
        line("lost", &self.verdict.lost.len())?;
        line("reordered", &self.verdict.reordered.len())?;
        line("duplicates, same id", &self.verdict.duplicates.same_id)?;
        line("resent by devices", &self.verdict.duplicates.resent)?;
        line(
            "redeliveries that MQTT leaves undecided, marked `edgeferry-dup`",
            &self.verdict.duplicates.marked,
        )?;
        line("these by minute", &format!("{:?}", self.marked_by_minute()))?;
        line("anonymous memory at most, MB", &(self.peak_anonymous / 1_000_000))
    }
}

impl Storm {
    /// Marked duplicates by the minute in which the device published them.
    fn marked_by_minute(&self) -> Vec<usize> {
        let each_minute = u64::from(self.forecast.rate) * 60 / DEVICES as u64;
        let seqs = self.verdict.marked.iter().filter_map(|name| name.split_once('#'));
        let mut minutes = Vec::new();
        for seq in seqs.filter_map(|(_, seq)| seq.parse::<u64>().ok()) {
            let minute = usize::try_from(seq / each_minute).expect("minutes");
            minutes.resize(minutes.len().max(minute + 1), 0);
            minutes[minute] += 1;
        }
        minutes
    }
}
