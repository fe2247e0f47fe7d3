//! Who the MQTT broker is, who edgeferry is, and what becomes of mistakes: each says in the link's state what is wrong, the
//! process stays, other brokers go on, and what is put right is used without a restart.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::planted::get;
use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::kafka::secure::{Authority, Certificate};
use crate::support::kafka::{Kafka, shared};
use crate::support::mosquitto::Mosquitto;
use crate::support::mosquitto::guarded::{Door, Guarded, PASSWORD, USER};
use crate::support::mqtt::Link;
use crate::support::oracle::Reader;
use crate::support::scene::FILTER;
use crate::support::scratch::Scratch;
use crate::support::{ports, wait};

/// A first attempt of each connection of a debug binary on a busy machine.
const NOTICED: Duration = Duration::from_mins(1);
/// Through the queue into Kafka.
const DELIVERED: Duration = Duration::from_mins(1);

/// Files with secrets.
struct Files(Scratch);

impl Files {
    fn new() -> Self {
        Self(Scratch::new("secrets"))
    }

    fn put(&self, name: &str, contents: &str) -> PathBuf {
        let path = self.0.join(name);
        // As a program would that keeps a secret fresh: there is never half of one.
        let unfinished = self.0.join("unfinished");
        std::fs::write(&unfinished, contents).expect("the folder is writable");
        std::fs::rename(&unfinished, &path).expect("the folder is writable");
        path
    }

    fn copy(&self, name: &str, from: &Path) -> PathBuf {
        self.put(name, &std::fs::read_to_string(from).expect("it was made"))
    }
}

fn line(key: &str, path: &Path) -> String {
    format!("{key} = \"{}\"\n", path.display())
}

fn ca(authority: &Authority) -> String {
    line("ca_file", &authority.ca())
}

fn client(certificate: &Certificate) -> String {
    line("cert_file", &certificate.cert) + &line("key_file", &certificate.key)
}

fn login(name: &str, password: &Path) -> String {
    format!("username = \"{name}\"\n{}", line("password_file", password))
}

/// Waits until the link of a broker is in a state whose reason contains `what`.
fn until_link(daemon: &Daemon, broker: &str, state: &str, what: &str) {
    daemon
        .notify()
        .until_status(&format!("{broker} is {state}: {what}"), NOTICED, |status| {
            link(status, broker).is_some_and(|link| link.starts_with(state) && link.contains(what))
        });
}

/// What a status line says of a broker.
fn link<'a>(status: &'a str, broker: &str) -> Option<&'a str> {
    let (_, behind) = status.split_once(&format!("mqtt {broker}: "))?;
    let end = behind.find("; mqtt ").or_else(|| behind.find("; kafka: "));
    behind.get(..end.unwrap_or(behind.len()))
}

/// A broker as the configuration has it, and what becomes of its link.
struct Case {
    name: &'static str,
    url: String,
    lines: String,
    state: &'static str,
    reason: &'static str,
}

/// A mistake that needs a person.
fn refused(name: &'static str, url: String, lines: &str, reason: &'static str) -> Case {
    let (lines, state) = (lines.to_owned(), "refused");
    Case {
        name,
        url,
        lines,
        state,
        reason,
    }
}

/// A mistake that looks like something that passes.
fn down(name: &'static str, url: String, lines: &str, reason: &'static str) -> Case {
    let state = "down";
    Case {
        state,
        ..refused(name, url, lines, reason)
    }
}

/// The broker does not know us.
fn wrong_logins(guarded: &Guarded, files: &Files) -> Vec<Case> {
    let url = || guarded.url(Door::Password);
    let wrong = login(USER, &files.put("wrong", "wrong horse\n"));
    vec![
        refused("password", url(), &wrong, "the password in "),
        refused("nobody", url(), "", "lets nobody in without a user name"),
    ]
}

/// The broker is not who it should be.
fn wrong_brokers(guarded: &Guarded, stranger: &Authority) -> Vec<Case> {
    let (strange, trusted) = (ca(stranger), ca(guarded.authority()));
    let url = |door| guarded.url(door);
    let unknown = "comes from no CA that is in ";
    let name = "only valid for DnsName(\"elsewhere.example\")";
    vec![
        refused("unknown-ca", url(Door::Tls), &strange, unknown),
        refused("wss-unknown-ca", url(Door::SecureWebSocket), &strange, unknown),
        refused(
            "system-ca",
            url(Door::Tls),
            "",
            "comes from no CA that this system",
        ),
        refused("name", url(Door::Misnamed), &trusted, name),
        refused(
            "late",
            url(Door::Expired),
            &trusted,
            "broker's certificate has expired",
        ),
    ]
}

/// We are not who we should be.
fn wrong_clients(guarded: &Guarded, stranger: &Authority) -> Vec<Case> {
    let authority = guarded.authority();
    let trusted = ca(authority);
    let foreign = trusted.clone() + &client(&stranger.certificate("gw-foreign"));
    let expired = trusted.clone() + &client(&authority.expired("gw-expired"));
    let (url, old) = (
        || guarded.url(Door::MutualTls),
        || guarded.url(Door::OldMutualTls),
    );
    let (wanted, not_taken) = ("wants a certificate of the client", "refuses the certificate in ");
    vec![
        refused("no-cert", url(), &trusted, wanted),
        refused("no-cert-old", old(), &trusted, wanted),
        refused("foreign", url(), &foreign, not_taken),
        refused("foreign-old", old(), &foreign, not_taken),
        refused("expired", url(), &expired, "has expired at "),
    ]
}

/// The broker is somewhere else, or something else.
fn wrong_places(guarded: &Guarded, files: &Files) -> Vec<Case> {
    let at = |scheme: &str, port: u16| format!("{scheme}://127.0.0.1:{port}");
    let (plain, tls) = (guarded.mosquitto.port(), guarded.port(Door::Tls));
    let (websocket, socket) = (guarded.port(Door::WebSocket), files.0.join("s"));
    let trusted = ca(guarded.authority());
    let websockets = "is it a port for WebSockets without TLS";
    vec![
        down(
            "tls-to-plain",
            at("mqtts", plain),
            &trusted,
            "is it a port for MQTT with TLS",
        ),
        down(
            "plain-to-tls",
            at("mqtt", tls),
            "",
            "is it a port for MQTT without TLS",
        ),
        down("ws-to-plain", at("ws", plain), "", websockets),
        refused("plain-to-ws", at("mqtt", websocket), "", "does not speak MQTT"),
        down(
            "no-socket",
            format!("unix://{}", socket.display()),
            "",
            "there is no such socket",
        ),
    ]
}

/// Every mistake at the same time.
fn mistakes(guarded: &Guarded, stranger: &Authority, files: &Files) -> Vec<Case> {
    let mut cases = wrong_logins(guarded, files);
    cases.extend(wrong_brokers(guarded, stranger));
    cases.extend(wrong_clients(guarded, stranger));
    cases.extend(wrong_places(guarded, files));
    cases
}

#[test]
fn every_mistake_is_named_in_the_state_of_its_link_and_a_good_broker_goes_on() {
    let kafka = shared();
    let guarded = Guarded::start();
    let files = Files::new();
    let topic = kafka.fresh_topic("mistakes");
    let mut config = Config::new(kafka)
        .broker("good", "5", &guarded.mosquitto)
        .route("devices/{device}/telemetry", &topic);
    let stranger = Authority::new("Stranger");
    let cases = mistakes(&guarded, &stranger, &files);
    for (number, case) in cases.iter().enumerate() {
        let lines = format!("{}client_id = \"gw-{}\"\n", case.lines, case.name);
        // Both versions see the same transports.
        let version = if number % 2 == 0 { "5" } else { "3.1.1" };
        config = config.broker_at(case.name, version, &case.url, &lines);
    }
    let mark = guarded.mosquitto.mark();
    let mut daemon = Daemon::start(&config);
    guarded.mosquitto.until_subscribed(FILTER, mark);
    for case in &cases {
        until_link(&daemon, case.name, case.state, case.reason);
    }
    let status = daemon.notify().status().expect("it said something");
    eprintln!("{}", status.replace("; mqtt ", "\n  mqtt "));
    assert_eq!(link(&status, "good"), Some("up"), "{status}");
    let mut device = Link::connect(guarded.mosquitto.port(), "device", true).expect("it runs");
    device.publish("devices/d1/telemetry", b"in spite of it all");
    let record = Reader::new(&kafka.bootstrap(), &topic)
        .next(DELIVERED)
        .expect("it came");
    assert_eq!(record.value, b"in spite of it all");
    daemon.assert_alive();
    daemon.terminate();
}

/// What `edgeferry check` says: its exit code, and all of its output.
fn check(config: &Config, arguments: &[&str]) -> (Option<i32>, String) {
    let folder = Scratch::new("check");
    let file = folder.join("edgeferry.toml");
    std::fs::write(&file, config.text(&folder.join("store"))).expect("the folder is writable");
    let output = Command::new(env!("CARGO_BIN_EXE_edgeferry"))
        .arg("check")
        .args(arguments)
        .arg("--config")
        .arg(&file)
        .output()
        .expect("the binary runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn certificates_passwords_and_rights_are_accepted() {
    let kafka = shared();
    let guarded = Guarded::start();
    let files = Files::new();
    let topic = kafka.fresh_topic("accepted");
    let password = files.put("password", &format!("{PASSWORD}\n"));
    let mutual = ca(guarded.authority()) + &client(&guarded.authority().certificate("gw-7"));
    let mut config = Config::new(kafka).route("devices/{device}/telemetry", &topic);
    for version in ["5", "3.1.1"] {
        for (name, url, lines) in [
            ("mutual", guarded.url(Door::MutualTls), mutual.clone()),
            ("old", guarded.url(Door::OldMutualTls), mutual.clone()),
            ("password", guarded.url(Door::Password), login(USER, &password)),
        ] {
            let name = format!("{name}-{version}");
            let lines = format!("{lines}client_id = \"gw-{name}\"\n");
            config = config.broker_at(&name, version, &url, &lines);
        }
    }
    let (code, said) = check(&config, &["--live"]);
    assert_eq!(said.matches("lets us in").count(), 6, "{code:?}: {said}");
    let mut daemon = Daemon::start(&config);
    for name in [
        "mutual-5",
        "old-5",
        "password-5",
        "mutual-3.1.1",
        "old-3.1.1",
        "password-3.1.1",
    ] {
        until_link(&daemon, name, "up", "");
    }
    let mut device = Link::connect(guarded.mosquitto.port(), "device", true).expect("it runs");
    device.publish("devices/d1/telemetry", b"for each of six");
    let mut reader = Reader::new(&kafka.bootstrap(), &topic);
    for _ in 0..6 {
        assert_eq!(reader.next(DELIVERED).expect("it came").value, b"for each of six");
    }
    // Whoever came with a certificate is whom it names.
    let log = guarded.mosquitto.log();
    assert!(
        log.contains("u'gw-7'") && log.contains(&format!("u'{USER}'")),
        "{log}"
    );
    daemon.terminate();
}

#[test]
fn certificates_that_end_are_said_and_a_reload_looks_again() {
    let authority = Authority::new("Own");
    let files = Files::new();
    // Those of the tests are good for two days.
    let port = ports::free();
    let soon = authority.certificate("gw");
    let late = authority.expired("gw");
    let cert = files.copy("cert.pem", &soon.cert);
    let key = files.copy("key.pem", &soon.key);
    let config = Config::new(&Kafka::absent())
        .broker_at(
            "remote",
            "5",
            "mqtts://127.0.0.1:1",
            &(line("cert_file", &cert) + &line("key_file", &key)),
        )
        .route("devices/{device}/telemetry", "nowhere")
        .kafka(&line("ca_file", &authority.ca()))
        .http(&format!("listen = \"127.0.0.1:{port}\""));
    let mut daemon = Daemon::start(&config);
    // Seconds from now.
    let end_in_metrics = || {
        let metrics = get(port, "/metrics", "")?;
        let name =
            "edgeferry_certificate_not_after_timestamp_seconds{of=\"mqtt remote\",setting=\"cert_file\"} ";
        let end: f64 = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name))?
            .parse()
            .ok()?;
        let now = wait::wall_clock().duration_since(std::time::UNIX_EPOCH).ok()?;
        Some(end - now.as_secs_f64())
    };
    let until_said = |daemon: &Daemon, words: &str, of: &str| {
        wait::until(words, NOTICED, || {
            let log = daemon.log();
            let mut lines = log.lines();
            lines
                .any(|line| line.contains(words) && line.contains(of))
                .then_some(())
        });
    };
    until_said(&daemon, "a certificate ends soon", "cert.pem");
    until_said(
        &daemon,
        "a certificate ends soon",
        "of=\"kafka\" setting=\"ca_file\"",
    );
    let left = wait::until("its end is a metric", NOTICED, end_in_metrics);
    assert!((86_400.0..=172_800.0).contains(&left), "{left} s of two days");
    files.copy("cert.pem", &late.cert);
    let id = rustix::process::Pid::from_raw(daemon.id().cast_signed()).expect("it runs");
    rustix::process::kill_process(id, rustix::process::Signal::HUP).expect("our own child");
    until_said(&daemon, "a certificate has expired", "cert.pem");
    wait::until("the metric follows", NOTICED, || {
        end_in_metrics().filter(|left| *left < 0.0)
    });
    daemon.terminate();
}

#[test]
fn a_renewed_password_and_a_renewed_certificate_are_used_at_the_next_connection() {
    let mut guarded = Guarded::start();
    let files = Files::new();
    let password = files.put("password", PASSWORD);
    let (before, after) = (
        guarded.authority().certificate("gw-before"),
        guarded.authority().certificate("gw-after"),
    );
    let cert = files.copy("cert.pem", &before.cert);
    let key = files.copy("key.pem", &before.key);
    let mutual = ca(guarded.authority()) + &line("cert_file", &cert) + &line("key_file", &key);
    let config = Config::new(&Kafka::absent())
        .broker_at(
            "password",
            "5",
            &guarded.url(Door::Password),
            &login(USER, &password),
        )
        .broker_at(
            "mutual",
            "3.1.1",
            &guarded.url(Door::MutualTls),
            &(mutual + "client_id = \"other\"\n"),
        )
        .route("devices/{device}/telemetry", "nowhere");
    let mut daemon = Daemon::start(&config);
    until_link(&daemon, "password", "up", "");
    until_link(&daemon, "mutual", "up", "");
    assert!(guarded.mosquitto.log().contains("u'gw-before'"));
    files.put("password", "left horse");
    files.copy("cert.pem", &after.cert);
    files.copy("key.pem", &after.key);
    guarded.mosquitto.stop();
    guarded.know("left horse");
    until_link(&daemon, "password", "down", "");
    let mark = guarded.mosquitto.mark();
    guarded.mosquitto.restart();
    until_link(&daemon, "password", "up", "");
    until_link(&daemon, "mutual", "up", "");
    assert!(guarded.mosquitto.connections("other-default", mark) > 0);
    let log = guarded.mosquitto.log();
    assert!(log.contains("u'gw-after'"), "{log}");
    daemon.terminate();
}

#[test]
fn a_file_that_is_missing_or_does_not_fit_holds_one_link_until_it_is_right() {
    let guarded = Guarded::start();
    let files = Files::new();
    let (one, other) = (
        guarded.authority().certificate("gw-one"),
        guarded.authority().certificate("gw-other"),
    );
    let cert = files.copy("cert.pem", &one.cert);
    let key = files.copy("key.pem", &other.key);
    let mutual = ca(guarded.authority()) + &line("cert_file", &cert) + &line("key_file", &key);
    let password = files.0.join("password");
    let config = Config::new(&Kafka::absent())
        .broker("good", "5", &guarded.mosquitto)
        .broker_at(
            "password",
            "5",
            &guarded.url(Door::Password),
            &(login(USER, &password) + "client_id = \"a\"\n"),
        )
        .broker_at(
            "mutual",
            "5",
            &guarded.url(Door::MutualTls),
            &(mutual + "client_id = \"b\"\n"),
        )
        .route("devices/{device}/telemetry", "nowhere");
    let (code, said) = check(&config, &[]);
    assert_eq!(code, Some(64), "{said}");
    for part in [
        ": mqtt[1].password_file: /",
        "password: No such file",
        ": mqtt[2].cert_file: /",
        "key.pem do not belong together",
    ] {
        assert!(said.contains(part), "{part} is missing: {said}");
    }
    let mut daemon = Daemon::start(&config);
    until_link(&daemon, "good", "up", "");
    until_link(&daemon, "password", "refused", "password: No such file");
    until_link(&daemon, "mutual", "refused", "key.pem do not belong together");
    files.put("password", PASSWORD);
    files.copy("key.pem", &one.key);
    until_link(&daemon, "password", "up", "");
    until_link(&daemon, "mutual", "up", "");
    daemon.terminate();
}

#[test]
fn check_names_what_is_wrong_with_each_file() {
    let guarded = Guarded::start();
    let files = Files::new();
    let authority = guarded.authority();
    let (good, expired, early) = (
        authority.certificate("gw"),
        authority.expired("gw"),
        authority.early("gw"),
    );
    let encrypted = authority.encrypted_key(&good, "secret");
    let (empty, text) = (files.put("empty.pem", ""), files.put("text.pem", "no PEM\n"));
    let torn = files.put("torn.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n");
    let pair = |cert: &Path, key: &Path| line("cert_file", cert) + &line("key_file", key);
    for (lines, expected) in [
        (
            line("ca_file", Path::new("/no/such.pem")),
            "/no/such.pem: No such file",
        ),
        (line("ca_file", Path::new("/etc")), "/etc is not a file"),
        (line("ca_file", &empty), "empty.pem holds no certificate"),
        (line("ca_file", &text), "text.pem holds no certificate"),
        (line("ca_file", &torn), "torn.pem is damaged or cut off"),
        (line("ca_file", &good.key), "holds no certificate"),
        (pair(&good.cert, &good.cert), "holds no private key"),
        (
            pair(&good.cert, &encrypted),
            "holds an encrypted key: `openssl pkey",
        ),
        (pair(&expired.cert, &expired.key), "has expired at "),
        (
            pair(&early.cert, &early.key),
            "is valid from 2090-01-01T00:00:00Z on: is the clock",
        ),
    ] {
        let config = Config::new(&Kafka::absent())
            .broker_at("tls", "5", &guarded.url(Door::Tls), &lines)
            .route("devices/{device}/telemetry", "nowhere");
        let (code, said) = check(&config, &[]);
        assert_eq!(code, Some(64), "{lines}{said}");
        assert!(
            said.contains("mqtt[0].") && said.contains(expected),
            "{expected}: {said}"
        );
        assert!(!said.contains(": ok"), "{said}");
    }
    let lines = ca(authority) + &pair(&good.cert, &good.key);
    let config = Config::new(&Kafka::absent())
        .broker_at("tls", "5", &guarded.url(Door::Tls), &lines)
        .route("devices/{device}/telemetry", "nowhere");
    let (code, said) = check(&config, &[]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn check_live_tells_a_refusal_from_a_broker_that_is_away_and_takes_over_no_session() {
    let guarded = Guarded::start();
    let files = Files::new();
    let (wrong, right) = (files.put("wrong", "wrong horse"), files.put("right", PASSWORD));
    let away = Mosquitto::absent();
    let base = |kafka: &Kafka| Config::new(kafka).route("devices/{device}/telemetry", "nowhere");
    let password = guarded.url(Door::Password);
    let config = base(&Kafka::absent())
        .broker_at("right", "5", &password, &login(USER, &right))
        .broker_at(
            "wrong",
            "3.1.1",
            &password,
            &(login(USER, &wrong) + "client_id = \"w\"\n"),
        )
        .broker("away", "5", &away);
    let daemon_config = base(&Kafka::absent()).broker_at("right", "5", &password, &login(USER, &right));
    let mark = guarded.mosquitto.mark();
    let mut daemon = Daemon::start(&daemon_config);
    guarded.mosquitto.until_subscribed(FILTER, mark);
    let (code, said) = check(&config, &["--live"]);
    // Kafka is not there.
    assert_eq!(code, Some(1), "{said}");
    for part in [
        "MQTT right at mqtt://127.0.0.1",
        "lets us in (tried as edgeferry-gw-test-live-check)",
        "refuses us (tried as w-live-check)",
        "error: the broker refuses user \"gateway\": the password in ",
        "cannot be reached",
        "warning: mqtt://127.0.0.1",
    ] {
        assert!(said.contains(part), "{part} is missing: {said}");
    }
    assert_eq!(
        guarded.mosquitto.connections("edgeferry-gw-test-default", mark),
        1
    );
    daemon.terminate();
}

/// Mosquitto's plugin for rights, which refuses subscriptions; rights from a file let them pass and send nothing.
fn plugin() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").expect("Linux has it").flatten();
    let mut paths = folders.map(|entry| entry.path().join("mosquitto_dynamic_security.so"));
    paths.find(|path| path.exists()).expect(
        "no /usr/lib/*/mosquitto_dynamic_security.so: install a Mosquitto that has it, as Debian's package `mosquitto` (2.0) does",
    )
}

#[test]
fn a_subscription_that_rights_refuse_is_named_and_the_others_deliver() {
    let plugin = plugin();
    let kafka = shared();
    let files = Files::new();
    let rights = files.put(
        "rights.json",
        r#"{"defaultACLAccess": {"publishClientSend": true, "publishClientReceive": true, "subscribe": false, "unsubscribe": true},
            "clients": [], "groups": [{"groupname": "all", "roles": [{"rolename": "telemetry"}], "clients": []}],
            "roles": [{"rolename": "telemetry", "acls": [
                {"acltype": "subscribePattern", "topic": "devices/+/telemetry", "priority": 0, "allow": true}]}],
            "anonymousGroup": "all"}"#,
    );
    let lines = format!(
        "plugin {}\nplugin_opt_config_file {}",
        plugin.display(),
        rights.display()
    );
    let mosquitto = Mosquitto::start_with(&lines);
    for version in ["5", "3.1.1"] {
        let topic = kafka.fresh_topic("rights");
        let config = Config::usual(version, &mosquitto, kafka, &topic).route("secret/{device}", &topic);
        let mut daemon = Daemon::start(&config);
        until_link(&daemon, "local", "refused", "secret/+");
        let mut device = Link::connect(mosquitto.port(), "device", true).expect("it runs");
        device.publish("devices/d1/telemetry", b"granted");
        let record = Reader::new(&kafka.bootstrap(), &topic)
            .next(DELIVERED)
            .expect("it came");
        assert_eq!(record.value, b"granted");
        let log = daemon.log();
        assert!(log.contains("the broker refuses the subscription"), "{log}");
        daemon.terminate();
    }
}
