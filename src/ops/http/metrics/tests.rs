//! The table, the text and the document say the same.

use super::*;
use crate::ops::state::sample;

/// The rows of the table of metrics in the document: name, type, labels, meaning.
fn documented() -> Vec<[String; 4]> {
    let document = include_str!("../../../../docs/monitoring.md");
    let rows = document.lines().filter(|line| line.starts_with("| `edgeferry_"));
    rows.map(|row| {
        let cells: Vec<String> = row
            .trim_matches('|')
            .split(" | ")
            .map(|cell| cell.trim().replace('`', ""))
            .collect();
        cells.try_into().expect("four cells")
    })
    .collect()
}

#[test]
fn the_document_lists_every_metric_as_it_is_and_no_other() {
    let table: Vec<[String; 4]> = TABLE
        .iter()
        .map(|metric| {
            [
                metric.name.to_owned(),
                metric.kind.name().to_owned(),
                metric.labels.join(", "),
                metric.help.to_owned(),
            ]
        })
        .collect();
    let rows = table.iter().map(|row| {
        let [name, kind, labels, help] = row;
        let labels = labels.split(", ").filter(|label| !label.is_empty());
        let labels = labels
            .map(|label| format!("`{label}`"))
            .collect::<Vec<_>>()
            .join(", ");
        format!("| `{name}` | {kind} | {labels} | {help} |\n")
    });
    let rows: String = rows.collect();
    assert_eq!(documented(), table, "the table should be:\n{rows}");
}

#[test]
fn names_follow_the_conventions_of_prometheus() {
    for metric in TABLE {
        let name = metric.name;
        assert!(name.starts_with("edgeferry_"), "{name}");
        let is_plain = |letter: char| letter.is_ascii_lowercase() || letter == '_';
        assert!(name.chars().all(is_plain) && !name.contains("__"), "{name}");
        assert_eq!(name.ends_with("_total"), metric.kind == Type::Counter, "{name}");
        for unit in [
            "_ms",
            "_milliseconds",
            "_kib",
            "_mb",
            "_percent",
            "_minutes",
            "_gauge",
            "_counter",
        ] {
            assert!(!name.ends_with(unit), "{name}");
        }
        assert!(
            metric.labels.iter().all(|label| label.chars().all(is_plain)),
            "{name}"
        );
        assert!(metric.help.ends_with('.') && !metric.help.contains('|'), "{name}");
        assert_eq!(
            TABLE.iter().filter(|other| other.name == name).count(),
            1,
            "{name}"
        );
    }
}

#[test]
fn every_metric_is_printed_with_all_its_labels() {
    let text = text(&sample::state(), Form::Text, &Baseline::default());
    for metric in TABLE {
        assert!(
            text.contains(&format!("# TYPE {} {}\n", metric.name, metric.kind.name())),
            "{}",
            metric.name
        );
        let line = text.lines().find(|line| {
            let behind = line.strip_prefix(metric.name);
            behind.is_some_and(|behind| behind.starts_with(['{', ' ']))
        });
        let line = line.unwrap_or_else(|| panic!("no sample of {}", metric.name));
        for label in metric.labels {
            assert!(line.contains(&format!("{label}=\"")), "{line}");
        }
        assert_eq!(line.matches("=\"").count(), metric.labels.len(), "{line}");
    }
}

#[test]
fn values_are_those_of_the_state() {
    let text = text(&sample::state(), Form::Text, &Baseline::default());
    for line in [
        r#"edgeferry_build_info{version="0.1.0",gateway="gw-7 \"north\\<b>\"",epoch="00000000000000a1",delivery="at-least-once"} 1"#,
        r#"edgeferry_ledger_messages{lane="alarms",account="received"} 1037"#,
        r#"edgeferry_ledger_messages{lane="alarms",account="removed"} 15"#,
        r#"edgeferry_ledger_removed_messages{lane="default",reason="expired"} 15"#,
        r#"edgeferry_messages_received_total{lane="default"} 1020"#,
        r#"edgeferry_kafka_link_state{lane="alarms",state="refused"} 1"#,
        r#"edgeferry_kafka_link_state{lane="alarms",state="up"} 0"#,
        r#"edgeferry_queue_oldest_age_seconds{lane="alarms"} 60"#,
        r#"edgeferry_queue_drain_seconds{lane="default"} 0"#,
        r#"edgeferry_queue_drain_seconds{lane="alarms"} +Inf"#,
        r#"edgeferry_advice{level="error"} 1"#,
        r#"edgeferry_certificate_not_after_timestamp_seconds{of="kafka",setting="ca_file"} 1795864000"#,
        "edgeferry_disk_write_amplification_ratio 2.6",
        "edgeferry_ready 0",
    ] {
        assert!(text.lines().any(|printed| printed == line), "{line}\n{text}");
    }
}

#[test]
fn each_account_is_printed_as_it_is_and_none_is_made_up_from_the_others() {
    let mut state = sample::state();
    state.lanes.truncate(1);
    // Numbers that do not add up.
    let ledger = &mut state.lanes[0].ledger;
    (
        ledger.received,
        ledger.delivered,
        ledger.queued,
        ledger.dead_lettered,
    ) = (1_000, 20, 3, 400);
    ledger.removed = BTreeMap::from([("expired".to_owned(), 1), ("damaged".to_owned(), 5)]);
    let text = text(&state, Form::Text, &Baseline::default());
    for (account, count) in [
        ("received", 1_000),
        ("delivered", 20),
        ("queued", 3),
        ("dead_lettered", 400),
        ("removed", 6),
    ] {
        let line = format!("edgeferry_ledger_messages{{lane=\"default\",account=\"{account}\"}} {count}\n");
        assert!(text.contains(&line), "{line}{text}");
    }
}

#[test]
fn an_age_that_is_not_known_is_not_printed_as_0() {
    let mut state = sample::state();
    state.lanes[1].queue.age_s = None;
    state.lanes[1].queue.is_age_unknown = true;
    let text = text(&state, Form::Text, &Baseline::default());
    assert!(
        text.contains("edgeferry_queue_oldest_age_seconds{lane=\"default\"} 0\n"),
        "{text}"
    );
    assert!(
        !text.contains("edgeferry_queue_oldest_age_seconds{lane=\"alarms\"}"),
        "{text}"
    );
}

#[test]
fn what_a_broker_dropped_is_counted_once_however_many_lanes_it_has() {
    let mut state = sample::state();
    let dropped = |state: &State| {
        let text = text(state, Form::Text, &Baseline::default());
        let lines = text
            .lines()
            .filter(|line| line.starts_with("edgeferry_broker_dropped"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    // The second lane has heard of it a moment earlier.
    state.lanes[0].brokers[0].dropped_by_broker = Some(4);
    state.lanes[1].brokers[0].dropped_by_broker = Some(6);
    assert_eq!(
        dropped(&state),
        ["edgeferry_broker_dropped_messages_total{broker=\"local\"} 6"]
    );
    state.lanes[1].brokers[0].dropped_by_broker = None;
    assert_eq!(
        dropped(&state),
        ["edgeferry_broker_dropped_messages_total{broker=\"local\"} 4"]
    );
    state.lanes[0].brokers[0].dropped_by_broker = None;
    assert_eq!(dropped(&state), [""; 0]);
}

#[test]
fn a_counter_that_was_corrected_downwards_never_falls() {
    let (mut baseline, mut state) = (Baseline::default(), sample::state());
    let mut after = |delivered: u64| {
        state.lanes[0].ledger.delivered = delivered;
        baseline.see(&state);
        let text = text(&state, Form::Text, &baseline);
        let printed = text
            .lines()
            .find_map(|line| line.strip_prefix("edgeferry_messages_delivered_total{lane=\"default\"} "));
        printed.unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(
        [5_000, 9_000, 8_990, 8_995, 100, 107].map(&mut after),
        [0, 4_000, 4_000, 4_005, 4_005, 4_012]
    );
}

#[test]
fn counters_begin_at_0_and_count_what_was_added() {
    let mut baseline = Baseline::default();
    let mut state = sample::state();
    for lane in &mut state.lanes {
        lane.brokers[0].dropped_by_broker = None;
    }
    baseline.see(&state);
    let counters = |state: &State, baseline: &Baseline| {
        let text = text(state, Form::Text, baseline);
        let counters = text
            .lines()
            .filter(|line| !line.starts_with('#') && line.contains("_total"));
        counters.map(str::to_owned).collect::<Vec<_>>()
    };
    let first = counters(&state, &baseline);
    assert!(
        first.len() > 20 && first.iter().all(|line| line.ends_with(" 0")),
        "{first:?}"
    );
    state.lanes[0].ledger.delivered += 7;
    // Heard of only now: what was before is nobody's.
    state.lanes[0].brokers[0].dropped_by_broker = Some(900);
    baseline.see(&state);
    let dropped = "edgeferry_broker_dropped_messages_total{broker=\"local\"}";
    let second = counters(&state, &baseline);
    assert!(
        second.contains(&"edgeferry_messages_delivered_total{lane=\"default\"} 7".to_owned()),
        "{second:?}"
    );
    assert!(second.contains(&format!("{dropped} 0")), "{second:?}");
    state.lanes[0].brokers[0].dropped_by_broker = Some(905);
    baseline.see(&state);
    assert!(counters(&state, &baseline).contains(&format!("{dropped} 5")));
}

#[test]
fn what_is_gone_is_forgotten() {
    let mut baseline = Baseline::default();
    baseline.see(&sample::state());
    let before = baseline.0.len();
    let mut state = sample::state();
    state.lanes.truncate(1);
    baseline.see(&state);
    assert!(baseline.0.len() < before);
}
