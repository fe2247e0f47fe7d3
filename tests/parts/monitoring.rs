//! The alert rules and the dashboard against what `/metrics` prints, and both against a real Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use edgeferry::ops::State;
use edgeferry::ops::http::exposition::Form;
use edgeferry::ops::http::metrics::{self, Baseline};
use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{self, Expr, LabelModifier};
use promql_parser::util::{ExprVisitor, walk_expr};
use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::gateway;
use crate::support::kafka::{Kafka, shared};
use crate::support::mosquitto::Mosquitto;
use crate::support::mqtt::Link;
use crate::support::oracle::Reader;
use crate::support::process::{Process, program};
use crate::support::scene::FILTER;
use crate::support::scratch::Scratch;
use crate::support::{ports, wait};

/// Far more than a scrape each second needs.
const LIMIT: Duration = Duration::from_mins(2);

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("monitoring")
        .join(name)
}

/// What is printed: metric, label, values. Of a gateway that has everything.
type Printed = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

fn printed() -> Printed {
    let text = metrics::text(&gateway::away(), Form::Text, &Baseline::default());
    let mut printed = Printed::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        // A line of samples is a selector of PromQL with a value behind it.
        let (selector, _) = line.rsplit_once(' ').expect("a value");
        let Ok(Expr::VectorSelector(sample)) = parser::parse(selector) else {
            panic!("not a sample: {line}");
        };
        let labels = printed.entry(sample.name.expect("a name")).or_default();
        for Matcher { name, value, .. } in sample.matchers.matchers {
            labels.entry(name).or_default().insert(value);
        }
    }
    printed
}

/// Prometheus gives these to every sample.
const GIVEN: [&str; 2] = ["job", "instance"];

/// Collects what an expression uses that is not printed.
struct Checker<'a> {
    printed: &'a Printed,
    /// Labels of everything that is selected in it.
    labels: BTreeSet<String>,
    used: BTreeSet<String>,
    grouped: Vec<String>,
    wrong: Vec<String>,
}

impl ExprVisitor for Checker<'_> {
    type Error = ();

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, ()> {
        match expr {
            Expr::VectorSelector(selector) => self.selector(selector),
            Expr::MatrixSelector(matrix) => self.selector(&matrix.vs),
            Expr::Aggregate(aggregate) => self.group(aggregate.modifier.as_ref()),
            Expr::Binary(binary) => self.group(
                binary
                    .modifier
                    .as_ref()
                    .and_then(|modifier| modifier.matching.as_ref()),
            ),
            _ => {}
        }
        Ok(true)
    }
}

impl Checker<'_> {
    fn selector(&mut self, selector: &parser::VectorSelector) {
        let name = selector.name.as_deref().expect("metrics have names here");
        let matchers = &selector.matchers.matchers;
        assert!(
            selector.matchers.or_matchers.is_empty(),
            "no one-of-several here: {selector:?}"
        );
        self.used.insert(name.to_owned());
        self.labels.extend(GIVEN.map(str::to_owned));
        // Made by Prometheus itself.
        if name == "up" {
            return;
        }
        let Some(labels) = self.printed.get(name) else {
            return self.wrong.push(format!("no metric {name}"));
        };
        self.labels.extend(labels.keys().cloned());
        for Matcher {
            name: label,
            op,
            value,
        } in matchers
        {
            if GIVEN.contains(&label.as_str()) {
                continue;
            }
            let Some(values) = labels.get(label) else {
                self.wrong.push(format!("{name} has no label {label}"));
                continue;
            };
            // Each alternative has to match something, or it was misspelled. Variables of the dashboard are anything.
            let wanted: Vec<&str> = match op {
                _ if value.starts_with('$') => continue,
                MatchOp::Equal | MatchOp::NotEqual => vec![value],
                MatchOp::Re(_) | MatchOp::NotRe(_) => value.split('|').collect(),
            };
            let missing = wanted.iter().filter(|wanted| !values.contains(**wanted));
            self.wrong
                .extend(missing.map(|value| format!("{name} has no {label}={value:?}: {values:?}")));
        }
    }

    fn group(&mut self, modifier: Option<&LabelModifier>) {
        let labels = modifier
            .iter()
            .flat_map(|modifier| modifier.labels().labels.iter());
        self.grouped.extend(labels.cloned());
    }
}

/// Checks an expression; gives the labels that its results may have, and the metrics that it uses.
fn check(what: &str, expression: &str, printed: &Printed) -> (BTreeSet<String>, BTreeSet<String>) {
    let parsed = parser::parse(expression).unwrap_or_else(|error| panic!("{what}: {error}: {expression}"));
    let mut checker = Checker {
        printed,
        labels: BTreeSet::new(),
        used: BTreeSet::new(),
        grouped: Vec::new(),
        wrong: Vec::new(),
    };
    walk_expr(&mut checker, &parsed).expect("it never fails");
    for label in &checker.grouped {
        assert!(
            checker.labels.contains(label),
            "{what}: nothing has the label {label}: {expression}"
        );
    }
    assert_eq!(checker.wrong, Vec::<String>::new(), "{what}: {expression}");
    assert!(!checker.used.is_empty(), "{what}: {expression}");
    (checker.labels, checker.used)
}

/// The names behind `before` in a text: `$labels.` of an alert, `{{` of a legend.
fn names_behind<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
    let rest = text.split(before).skip(1);
    let names = rest.map(|rest| {
        rest.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'))
            .next()
    });
    names.flatten().collect()
}

fn rules() -> Vec<Yaml> {
    let text = fs::read_to_string(file("alerts.yml")).expect("it is there");
    let documents = YamlLoader::load_from_str(&text).expect("it is YAML");
    let groups = documents[0]["groups"].as_vec().expect("groups");
    groups
        .iter()
        .flat_map(|group| group["rules"].as_vec().expect("rules").clone())
        .collect()
}

#[test]
fn every_metric_and_label_of_the_alert_rules_is_printed() {
    let (printed, rules) = (printed(), rules());
    let mut names = BTreeSet::new();
    for rule in &rules {
        let name = rule["alert"].as_str().expect("a name");
        assert!(names.insert(name) && name.starts_with("Edgeferry"), "{name}");
        let (labels, _) = check(name, rule["expr"].as_str().expect("an expression"), &printed);
        let severity = rule["labels"]["severity"].as_str().expect("a severity");
        assert!(["critical", "warning", "info"].contains(&severity), "{name}");
        for field in ["summary", "description"] {
            let text = rule["annotations"][field].as_str().expect("a text");
            for label in names_behind(text, "$labels.") {
                assert!(labels.contains(label), "{name}: {field} has no {label}");
            }
        }
    }
    // What the operator of many gateways must hear of.
    for topic in [
        "Absent",
        "Restarts",
        "NotReady",
        "KafkaRefused",
        "BrokerRefused",
        "BacklogOld",
        "DoesNotShrink",
        "QueueFull",
        "CannotStore",
        "DiskLow",
        "MessagesLost",
        "DeadLetters",
        "NotForwarded",
        "DroppedByBroker",
        "CertificateEnds",
    ] {
        assert!(names.iter().any(|name| name.contains(topic)), "{topic}");
    }
}

#[test]
fn every_alert_is_in_the_document() {
    let document = fs::read_to_string(file("../docs/monitoring.md")).expect("it is there");
    let listed: BTreeSet<&str> = names_behind(&document, "| `Edgeferry").into_iter().collect();
    let rules = rules();
    let there: BTreeSet<&str> = rules
        .iter()
        .filter_map(|rule| rule["alert"].as_str()?.strip_prefix("Edgeferry"))
        .collect();
    assert_eq!(listed, there);
}

#[test]
fn every_metric_and_label_of_the_dashboard_is_printed() {
    let printed = printed();
    let text = fs::read_to_string(file("grafana-dashboard.json")).expect("it is there");
    let dashboard: Value = serde_json::from_str(&text).expect("it is JSON");
    let mut used = BTreeSet::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().expect("a title");
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        assert!(!targets.is_empty() || panel["type"] == "row", "{title}");
        for target in targets {
            // Grafana puts a duration there.
            let expression = target["expr"]
                .as_str()
                .expect("an expression")
                .replace("$__rate_interval", "1m");
            let (labels, metrics) = check(title, &expression, &printed);
            used.extend(metrics);
            for label in names_behind(target["legendFormat"].as_str().expect("a legend"), "{{") {
                assert!(labels.contains(label), "{title}: the legend has no {label}");
            }
        }
    }
    assert!(used.len() >= 20, "{used:?}");
    for variable in dashboard["templating"]["list"].as_array().expect("variables") {
        let Some(query) = variable["definition"].as_str() else {
            continue;
        };
        let inside = query
            .strip_prefix("label_values(")
            .and_then(|query| query.strip_suffix(')'));
        let (selector, label) = inside
            .and_then(|inside| inside.rsplit_once(", "))
            .expect("label_values(selector, label)");
        let (labels, _) = check(query, selector, &printed);
        assert!(labels.contains(label), "{query}");
    }
}

/// The body of an answer of a server on loopback.
fn get(port: u16, path: &str, headers: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(LIMIT)).ok()?;
    stream
        .write_all(format!("GET {path} HTTP/1.0\r\nhost: localhost\r\n{headers}\r\n").as_bytes())
        .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.contains(" 200 ").then(|| body.to_owned())
}

fn promtool(arguments: &[&str], input: &str) -> (bool, String) {
    let mut child = Command::new(program("promtool"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(input.as_bytes())
        .expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[test]
fn promtool_finds_nothing_wrong_with_the_rules_and_the_metrics() {
    let alerts = file("alerts.yml");
    let (is_right, said) = promtool(&["check", "rules", alerts.to_str().expect("text")], "");
    assert!(is_right, "{said}");
    for state in [gateway::calm(), gateway::away(), gateway::hostile()] {
        let text = metrics::text(&state, Form::Text, &Baseline::default());
        let (is_right, said) = promtool(&["check", "metrics"], &text);
        assert!(is_right && said.is_empty(), "{said}\n{text}");
    }
}

#[test]
fn alerts_fire_when_they_should_and_only_then() {
    let tests = file("alerts-test.yml");
    let (is_right, said) = promtool(&["test", "rules", tests.to_str().expect("text")], "");
    assert!(is_right && said.contains("SUCCESS"), "{said}");
}

/// Alerts that a test of the file expects to fire at some time.
fn expected(tests: &Yaml) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for test in tests["tests"].as_vec().expect("tests") {
        for check in test["promql_expr_test"].as_vec().into_iter().flatten() {
            for sample in check["exp_samples"].as_vec().into_iter().flatten() {
                let labels = sample["labels"].as_str().expect("labels");
                names.extend(labels.split('"').nth(1).map(str::to_owned));
            }
        }
        for check in test["alert_rule_test"].as_vec().into_iter().flatten() {
            if check["exp_alerts"]
                .as_vec()
                .is_some_and(|alerts| !alerts.is_empty())
            {
                names.insert(check["alertname"].as_str().expect("a name").to_owned());
            }
        }
    }
    names
}

#[test]
fn each_alert_is_seen_to_fire() {
    let text = fs::read_to_string(file("alerts-test.yml")).expect("it is there");
    let tests = YamlLoader::load_from_str(&text).expect("it is YAML");
    let rules = rules();
    let there: BTreeSet<String> = rules
        .iter()
        .filter_map(|rule| Some(rule["alert"].as_str()?.to_owned()))
        .collect();
    assert_eq!(expected(&tests[0]), there);
}

/// Three hours of what a state prints, as Prometheus would have it.
fn scraped(state: &State) -> String {
    let text = metrics::text(state, Form::Text, &Baseline::default());
    let mut series =
        String::from("      - series: up{job=\"edgeferry\", instance=\"g\"}\n        values: 1x180\n");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (selector, value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = selector.split_once('{').unwrap_or((selector, "}"));
        let labels = labels.trim_end_matches('}');
        let gap = if labels.is_empty() { "" } else { ", " };
        let values = match name {
            // Time goes on, and so do messages.
            "edgeferry_clock_seconds" => "0+60x180".to_owned(),
            "edgeferry_uptime_seconds"
            | "edgeferry_messages_received_total"
            | "edgeferry_messages_delivered_total"
            | "edgeferry_broker_messages_received_total"
            | "edgeferry_broker_messages_stored_total" => format!("{value}+60x180"),
            _ => format!("{value}x180"),
        };
        let selector = format!("{name}{{{labels}{gap}job=\"edgeferry\", instance=\"g\"}}");
        writeln!(
            series,
            "      - series: '{selector}'\n        values: {}",
            values.replace("+Inf", "1000000000")
        )
        .expect("a text");
    }
    series
}

/// What is pending or fires after three hours of this.
fn alerts_of(state: &State) -> Vec<String> {
    let folder = Scratch::new("quiet");
    let test = format!(
        "rule_files: [\"{}\"]\nevaluation_interval: 1m\ntests:\n  - interval: 1m\n    input_series:\n{}    promql_expr_test:\n      \
         - expr: count by (alertname) (ALERTS)\n        eval_time: 3h\n        exp_samples: []\n",
        file("alerts.yml").display(),
        scraped(state)
    );
    fs::write(folder.join("test.yml"), test).expect("the folder is writable");
    let path = folder.join("test.yml");
    let (is_quiet, said) = promtool(&["test", "rules", path.to_str().expect("text")], "");
    let names = names_behind(&said, "alertname=\"");
    assert_eq!(is_quiet, names.is_empty() && said.contains("SUCCESS"), "{said}");
    names.into_iter().map(str::to_owned).collect()
}

#[test]
fn a_gateway_with_nothing_the_matter_is_quiet_over_all_that_it_prints() {
    assert_eq!(alerts_of(&gateway::calm()), [""; 0]);
    // Some messages are always on their way, and of an old damage everybody has heard.
    let mut busy = gateway::calm();
    busy.lanes[0].flow.drained_in_s = None;
    busy.lanes[0].queue.bytes = busy.lanes[0].queue.max_bytes / 10 * 9;
    busy.lanes[0].ledger.removed.insert("damaged".into(), 5);
    busy.lanes[0].letters.lost = 2;
    busy.is_clock_synchronised = None;
    assert_eq!(alerts_of(&gateway::judged(busy)), [""; 0]);
    // It is seen when there is something.
    let away = alerts_of(&gateway::away());
    assert!(away.iter().any(|name| name == "EdgeferryBacklogOld"), "{away:?}");
}

/// The first block of a language in the document.
fn block<'a>(document: &'a str, language: &str) -> &'a str {
    let behind = document.split(&format!("```{language}\n")).nth(1);
    behind
        .and_then(|behind| behind.split("```").next())
        .expect("there is one")
}

#[test]
fn what_the_document_says_to_write_is_right() {
    let document = fs::read_to_string(file("../docs/monitoring.md")).expect("it is there");
    let rest = "[gateway]\ndata_dir = \"/d\"\n[[mqtt]]\nurl = \"mqtt://localhost\"\n[[route]]\nfrom = \"a/{device}\"\ntopic = \"t\"\n\
                [kafka]\nbootstrap_servers = [\"localhost:9092\"]\n";
    let text = format!("{rest}{}", block(&document, "toml"));
    // Also with what stands behind the comment sign.
    for text in [text.clone(), text.replace("# token_file", "token_file")] {
        let (_, warnings) = edgeferry::config::parse(Path::new("monitoring.md"), &text).expect("it loads");
        assert_eq!(warnings, []);
    }
    let folder = Scratch::new("promtool");
    let file = folder.join("prometheus.yml");
    fs::write(&file, block(&document, "yaml")).expect("the folder is writable");
    let file = file.to_str().expect("text");
    let (is_right, said) = promtool(&["check", "config", "--syntax-only", file], "");
    assert!(is_right, "{said}");
}

#[test]
fn a_real_prometheus_scrapes_the_daemon_and_all_rules_are_well() {
    let mosquitto = Mosquitto::start();
    let (port, own) = (ports::free(), ports::free());
    let config = Config::usual("5", &mosquitto, &Kafka::absent(), "nowhere")
        .http(&format!("listen = \"127.0.0.1:{port}\""));
    let mut daemon = Daemon::start(&config);
    let folder = Scratch::new("prometheus");
    let settings = format!(
        "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\nrule_files: [\"{}\"]\nscrape_configs:\n  - job_name: edgeferry\n    \
         static_configs:\n      - targets: [\"127.0.0.1:{port}\"]\n",
        file("alerts.yml").display()
    );
    fs::write(folder.join("prometheus.yml"), settings).expect("the folder is writable");
    let _prometheus = Process::spawn(
        "prometheus",
        &program("prometheus"),
        &folder.join("log"),
        |command| {
            command
                .arg(format!(
                    "--config.file={}",
                    folder.join("prometheus.yml").display()
                ))
                .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
                .arg(format!("--web.listen-address=127.0.0.1:{own}"));
        },
    );
    let ask = |path: &str| -> Option<Value> {
        let answer: Value = serde_json::from_str(&get(own, path, "")?).ok()?;
        (answer["status"] == "success").then(|| answer["data"].clone())
    };
    let value = |metric: &str| {
        ask(&format!("/api/v1/query?query={metric}"))?["result"][0]["value"][1]
            .as_str()
            .map(str::to_owned)
    };
    wait::until("it is scraped and ready", LIMIT, || {
        (value("edgeferry_ready")? == "1").then_some(())
    });
    assert_eq!(value("up").as_deref(), Some("1"));
    // The type came along: it was OpenMetrics, by the words of Prometheus.
    let kinds = ask("/api/v1/metadata?metric=edgeferry_messages_received_total").expect("it answers");
    let open = ask("/api/v1/metadata?metric=edgeferry_messages_received").expect("it answers");
    let kind = |data: &Value| data.to_string().contains("counter");
    assert!(kind(&kinds) || kind(&open), "{kinds} {open}");
    wait::until("all rules were evaluated, and none has failed", LIMIT, || {
        let data = ask("/api/v1/rules")?;
        let rules = data["groups"][0]["rules"].as_array()?.clone();
        let bad: Vec<&Value> = rules.iter().filter(|rule| rule["health"] == "err").collect();
        assert!(bad.is_empty(), "{bad:?}");
        (rules.len() >= 20 && rules.iter().all(|rule| rule["health"] == "ok")).then_some(())
    });
    daemon.terminate();
    wait::until("somebody will be told that it is gone", LIMIT, || {
        let alerts = ask("/api/v1/alerts")?;
        alerts.to_string().contains("EdgeferryAbsent").then_some(())
    });
}

#[test]
fn neither_slow_nor_many_requests_keep_messages_waiting() {
    let (mosquitto, kafka) = (Mosquitto::start(), shared());
    let (port, topic) = (ports::free(), kafka.fresh_topic("flood"));
    let config =
        Config::usual("5", &mosquitto, kafka, &topic).http(&format!("listen = \"127.0.0.1:{port}\""));
    let mark = mosquitto.mark();
    let mut daemon = Daemon::start(&config);
    mosquitto.until_subscribed(FILTER, mark);
    wait::until("it answers", LIMIT, || get(port, "/health/live", ""));
    let mut device = Link::connect(mosquitto.port(), "device", true).expect("it runs");
    let mut reader = Reader::new(&kafka.bootstrap(), &topic);
    let mut carry = |first: u8| {
        let began = Instant::now();
        for number in first..first + 50 {
            device.publish("devices/d1/telemetry", &[number]);
        }
        let came: Vec<Option<Vec<u8>>> = (0..50)
            .map(|_| reader.next(LIMIT).map(|record| record.value))
            .collect();
        let sent: Vec<Option<Vec<u8>>> = (first..first + 50).map(|number| Some(vec![number])).collect();
        (came == sent, began.elapsed())
    };
    let (is_well, quiet) = carry(0);
    assert!(is_well);
    let idle: Vec<TcpStream> = (0..100)
        .filter_map(|_| TcpStream::connect(("127.0.0.1", port)).ok())
        .collect();
    for mut stream in &idle {
        // Some of them are closed already.
        drop(stream.write_all(b"GET /api/status HTTP/1.1\r\nhost: loc"));
    }
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for path in ["/metrics", "/api/status", "/api/history", "/nothing"] {
            let is_over = &is_over;
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    get(port, path, "");
                }
            });
        }
        let (is_well, flooded) = carry(100);
        is_over.store(true, Ordering::Relaxed);
        assert!(is_well);
        // The threads of the test itself take the processor, too.
        let most = 10 * quiet + Duration::from_secs(10);
        assert!(flooded <= most, "{flooded:?}, without anybody asking {quiet:?}");
        eprintln!("50 messages: {quiet:?} without, {flooded:?} with the flood");
    });
    // Those who are slow have lost their places.
    wait::until("it answers again", LIMIT, || get(port, "/health/live", ""));
    eprintln!(
        "with {} connections at once: {}",
        idle.len(),
        daemon.assert_small()
    );
    daemon.terminate();
}

#[test]
fn what_the_daemon_prints_are_the_metrics_of_the_document() {
    let mosquitto = Mosquitto::start();
    let port = ports::free();
    let config = Config::usual("5", &mosquitto, &Kafka::absent(), "nowhere")
        .http(&format!("listen = \"127.0.0.1:{port}\""));
    let mut daemon = Daemon::start(&config);
    let text = wait::until("it answers", LIMIT, || get(port, "/metrics", ""));
    let (is_right, said) = promtool(&["check", "metrics"], &text);
    assert!(is_right && said.is_empty(), "{said}");
    let document = fs::read_to_string(file("../docs/monitoring.md")).expect("it is there");
    let documented: BTreeSet<&str> = names_behind(&document, "| `edgeferry_").into_iter().collect();
    let heads = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE edgeferry_"));
    let there: BTreeSet<&str> = heads.filter_map(|head| head.split(' ').next()).collect();
    let foreign: Vec<_> = there.difference(&documented).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    assert!(there.len() > 30, "{there:?}");
    let open = get(port, "/metrics", "accept: application/openmetrics-text\r\n").expect("it answers");
    assert!(open.ends_with("# EOF\n"));
    daemon.terminate();
}
