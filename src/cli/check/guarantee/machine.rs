//! Below edgeferry: the disk, whoever starts it again, certificates, the clock.

use super::place::{FileSystem, Place};
use super::{Facts, Finding, Kind, Standing};
use crate::config::Config;
use crate::ops::certificates::{self, Stage};

pub fn findings(config: &Config, facts: &Facts) -> Vec<Finding> {
    let mut all = Vec::new();
    if let Some(place) = &facts.place {
        all.extend(file_system(config, place));
        all.extend(card(config, place));
    }
    all.extend(service(facts));
    all.extend(certificate_ends(facts));
    all.extend(clock(facts));
    all
}

fn file_system(config: &Config, place: &Place) -> Vec<Finding> {
    let dir = config.gateway.data_dir.display();
    let right = "put data_dir on a disk of this machine, with ext4 or another file system with a journal";
    let finding = |why: String| Finding::new(Kind::Lose, Standing::Open, "gateway.data_dir", why, right);
    let name = &place.kind_name;
    let mut all = Vec::new();
    all.extend(match place.kind {
        FileSystem::Memory => Some(finding(format!(
            "{dir} is in memory ({name}): a restart of the machine loses everything that waits"
        ))),
        FileSystem::Overlay => Some(finding(format!(
            "{dir} is on an overlay ({name}): what waits is gone when the container is made anew, or the read-only system starts \
             again"
        ))),
        FileSystem::Network => Some(finding(format!(
            "{dir} is on a network file system ({name}): its locks and syncs keep less than the promises need, and it is away when \
             the network is"
        ))),
        FileSystem::NoJournal => Some(finding(format!(
            "{dir} is on {name}, which has no journal: a power cut may damage it as a whole"
        ))),
        FileSystem::Disk => None,
    });
    if let Some(option) = &place.lying_option {
        all.push(Finding::new(
            Kind::Lose,
            Standing::Open,
            "the mount options of data_dir (/etc/fstab)",
            format!("{dir} is mounted with {option}: a power cut may lose what was synced"),
            format!("mount it without {option}"),
        ));
    }
    all
}

fn card(config: &Config, place: &Place) -> Option<Finding> {
    let is_bounded = config.lanes.iter().all(|lane| lane.queue.flash_budget.is_some());
    (place.is_card && !is_bounded).then(|| {
        Finding::new(
            Kind::Lose,
            Standing::Open,
            "queue.flash_budget",
            format!(
                "{} is on an SD card or eMMC ({}), and nothing bounds what is written to it: one that is worn out loses what waits",
                config.gateway.data_dir.display(),
                place.source
            ),
            "write for example flash_budget = \"5 GiB/day\", by what the maker promises for the card",
        )
    })
}

fn service(facts: &Facts) -> Vec<Finding> {
    let Some(unit) = &facts.unit else {
        return vec![Finding::new(
            Kind::Delay,
            Standing::Unseen,
            "the unit file",
            "no unit edgeferry.service is here: whether something starts edgeferry again when it dies, or hangs, cannot be seen",
            "use systemd/edgeferry.service, which has WatchdogSec and Restart",
        )];
    };
    let mut all = Vec::new();
    if !unit.has_watchdog {
        all.push(Finding::new(
            Kind::Delay,
            Standing::Open,
            "WatchdogSec (unit file)",
            "no watchdog: a pipeline that hangs waits for a person",
            "write WatchdogSec=60 in [Service]",
        ));
    }
    if !unit.restarts {
        all.push(Finding::new(
            Kind::Delay,
            Standing::Open,
            "Restart (unit file)",
            "nothing starts edgeferry again when it dies",
            "write Restart=always in [Service]",
        ));
    }
    all
}

fn certificate_ends(facts: &Facts) -> Vec<Finding> {
    let mut all = Vec::new();
    for certificate in &facts.certificates {
        let (of, file) = (&certificate.of, &certificate.file);
        let end = certificate.not_after_unix_ms;
        let why = match end.and_then(|end| Some((end, certificates::stage(end, facts.unix_ms)?))) {
            Some((end, Stage::Over(_))) => {
                format!("{file} ({of}) has ended at {}", crate::message::rfc3339(end))
            }
            Some((end, _)) => format!("{file} ({of}) ends at {}", crate::message::rfc3339(end)),
            None => continue,
        };
        all.push(Finding::new(
            Kind::Delay,
            Standing::Open,
            certificate.setting.clone(),
            format!("{why}: without another one the link is refused, and everything waits"),
            "renew it; a link that is made anew uses it without a restart (for Kafka: systemctl reload edgeferry)",
        ));
    }
    all
}

fn clock(facts: &Facts) -> Option<Finding> {
    (facts.is_clock_synchronised == Some(false)).then(|| {
        Finding::new(
            Kind::Delay,
            Standing::Unseen,
            "the clock of this machine",
            "systemd-timesyncd has not synchronised the clock in this boot: times of records may be wrong, and Kafka may refuse them \
             at first",
            "let a time service run; with another one than systemd-timesyncd nothing is to be done",
        )
    })
}
