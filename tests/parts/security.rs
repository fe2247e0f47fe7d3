//! TLS, SASL and rights: what is wrong holds everything and says so, what is put right goes on without a restart, and
//! nothing is lost.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::config::{Config, GATEWAY};
use crate::support::daemon::Daemon;
use crate::support::devices::{Devices, Plan};
use crate::support::kafka::secure::{self, Authority, Door, Grant, PASSWORD, Secure, USER};
use crate::support::kafka::{Brokers, PARTITIONS, unused_topic};
use crate::support::mosquitto::Mosquitto;
use crate::support::oracle::{Oracle, Reader};
use crate::support::scene::{ACK_LIMIT, FILTER, Scene};
use crate::support::scratch::Scratch;
use crate::support::wait;

/// A refusal is noticed within the client's own pauses.
const NOTICED: Duration = Duration::from_secs(40);
/// After a SIGHUP nothing has to be waited for; what else a busy machine takes.
const AT_ONCE: Duration = Duration::from_secs(15);
/// What is tried again by itself is tried every 30 s.
const BY_ITSELF: Duration = Duration::from_mins(1);

/// How long a reader looks for what must not be there.
const GLANCE: Duration = Duration::from_secs(1);

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
}

fn line(key: &str, path: &Path) -> String {
    format!("{key} = \"{}\"", path.display())
}

/// A way in, with the authority that the broker belongs to.
fn through(config: Config, secure: &Secure, door: Door) -> Config {
    let config = config.bootstrap(&secure.door(door));
    match door {
        Door::ClearSasl => config,
        _ => config.kafka(&line("ca_file", &secure.authority().ca())),
    }
    .impatient()
}

fn with_password(config: Config, mechanism: &str, file: &Path) -> Config {
    config
        .kafka(&format!("sasl = \"{mechanism}\""))
        .kafka(&format!("username = \"{USER}\""))
        .kafka(&line("password_file", file))
}

/// 200 messages that take a moment.
fn load() -> Plan {
    Plan {
        messages: Some(200),
        ..Plan::default()
    }
}

fn hangup(daemon: &Daemon) {
    let id = Pid::from_raw(daemon.id().cast_signed()).expect("a process has an id");
    kill_process(id, Signal::HUP).expect("our own child can be signalled");
}

fn until_state(daemon: &Daemon, state: &str) {
    daemon
        .notify()
        .until_status(&format!("the link is {state}"), NOTICED, |status| {
            status.contains(&format!("kafka: {state} ("))
        });
}

/// Starts with a mistake, sees it held, lets `repair` put it right, sees everything come within `limit`, and judges.
fn held_then_right(
    secure: &Secure,
    change: impl FnOnce(Config) -> Config,
    limit: Duration,
    repair: impl FnOnce(&Daemon),
) -> String {
    let mut scene = Scene::start("5", secure, Mosquitto::start(), change);
    let devices = scene.devices(&load());
    devices.until_acked(100, ACK_LIMIT);
    until_state(&scene.daemon, "refused");
    scene.daemon.assert_alive();
    let sent = devices.finish(ACK_LIMIT);
    repair(&scene.daemon);
    let begin = Instant::now();
    Oracle::new(secure, &scene.topic).until_all_there(&sent, limit);
    assert!(begin.elapsed() < limit, "it took {:?}", begin.elapsed());
    let log = scene.daemon.log();
    scene.judge(secure, &sent).assert_clean();
    log
}

/// A configuration that is right from the start.
fn delivers(secure: &Secure, change: impl FnOnce(Config) -> Config) {
    let scene = Scene::start("5", secure, Mosquitto::start(), change);
    let devices = scene.devices(&load());
    scene.conclude(secure, devices).assert_clean_without_duplicates();
}

#[test]
fn tls_with_an_authority_of_ones_own() {
    let secure = secure::shared();
    delivers(secure, |config| through(config, secure, Door::Tls));
}

#[test]
fn a_wrong_authority_holds_and_the_right_one_goes_on_after_a_reload() {
    let secure = secure::shared();
    let files = Files::new();
    let stranger = Authority::new("Stranger");
    let read = |path| std::fs::read_to_string(path).expect("it was made");
    let ca = files.put("ca.pem", &read(stranger.ca()));
    let log = held_then_right(
        secure,
        |config| {
            let config = config.bootstrap(&secure.door(Door::Tls));
            config.impatient().kafka(&line("ca_file", &ca))
        },
        AT_ONCE,
        |daemon| {
            files.put("ca.pem", &read(secure.authority().ca()));
            hangup(daemon);
        },
    );
    assert!(log.contains("certificate verify failed"), "{log}");
}

#[test]
fn mutual_tls_with_an_encrypted_key() {
    let secure = secure::shared();
    let files = Files::new();
    let certificate = secure.authority().certificate("gw-7");
    let key = secure.authority().encrypted_key(&certificate, "key password");
    let password = files.put("key-password", "key password\n");
    delivers(secure, |config| {
        through(config, secure, Door::MutualTls)
            .kafka(&line("cert_file", &certificate.cert))
            .kafka(&line("key_file", &key))
            .kafka(&line("key_password_file", &password))
    });
}

#[test]
fn a_client_certificate_that_has_expired_holds_and_a_good_one_goes_on() {
    let secure = secure::shared();
    let files = Files::new();
    let read = |path: &Path| std::fs::read_to_string(path).expect("it was made");
    let (expired, good) = (
        secure.authority().expired("gw-8"),
        secure.authority().certificate("gw-8"),
    );
    let cert = files.put("cert.pem", &read(&expired.cert));
    let key = files.put("key.pem", &read(&expired.key));
    let mut scene = Scene::start("5", secure, Mosquitto::start(), |config| {
        through(config, secure, Door::MutualTls)
            .kafka(&line("cert_file", &cert))
            .kafka(&line("key_file", &key))
    });
    let devices = scene.devices(&load());
    // The broker says so after the handshake, and then the client takes it for a lost connection; the log has the alert.
    until_state(&scene.daemon, "down");
    assert!(
        scene.daemon.log().contains("alert certificate"),
        "{}",
        scene.daemon.log()
    );
    files.put("cert.pem", &read(&good.cert));
    files.put("key.pem", &read(&good.key));
    let sent = devices.finish(ACK_LIMIT);
    hangup(&scene.daemon);
    let begin = Instant::now();
    Oracle::new(secure, &scene.topic).until_all_there(&sent, AT_ONCE);
    assert!(begin.elapsed() < AT_ONCE, "it took {:?}", begin.elapsed());
    scene.judge(secure, &sent).assert_clean();
}

#[test]
fn every_mechanism_logs_in_with_and_without_tls() {
    let secure = secure::shared();
    let files = Files::new();
    let password = files.put("password", &format!("{PASSWORD}\n"));
    for (mechanism, door) in [
        ("plain", Door::Sasl),
        ("plain", Door::ClearSasl),
        ("scram-sha-256", Door::Sasl),
        ("scram-sha-512", Door::ClearSasl),
    ] {
        delivers(secure, |config| {
            with_password(through(config, secure, door), mechanism, &password)
        });
    }
    let token = files.put("token", &secure::token(3600));
    for door in [Door::Sasl, Door::ClearSasl] {
        delivers(secure, |config| {
            through(config, secure, door)
                .kafka("sasl = \"oauthbearer\"")
                .kafka(&line("token_file", &token))
        });
    }
}

#[test]
fn the_way_by_properties_still_works() {
    let secure = secure::shared();
    let files = Files::new();
    let password = files.put("password", PASSWORD);
    let ca = secure.authority().ca();
    delivers(secure, |config| {
        config
            .bootstrap(&secure.door(Door::Sasl))
            .kafka(&line("password_file", &password))
            .property("security.protocol", "sasl_ssl")
            .property("sasl.mechanism", "SCRAM-SHA-512")
            .property("sasl.username", USER)
            .property("ssl.ca.location", &ca.display().to_string())
    });
}

#[test]
fn a_wrong_password_holds_and_goes_on_within_seconds_of_a_reload() {
    let secure = secure::shared();
    for mechanism in ["plain", "scram-sha-512"] {
        let files = Files::new();
        let password = files.put("password", "wrong horse\n");
        held_then_right(
            secure,
            |config| with_password(through(config, secure, Door::Sasl), mechanism, &password),
            AT_ONCE,
            |daemon| {
                files.put("password", PASSWORD);
                hangup(daemon);
            },
        );
    }
}

#[test]
fn a_missing_password_file_holds_and_is_read_when_it_is_there() {
    let secure = secure::shared();
    let files = Files::new();
    let password = files.0.join("password");
    let log = held_then_right(
        secure,
        |config| with_password(through(config, secure, Door::Sasl), "scram-sha-256", &password),
        BY_ITSELF,
        |_| {
            files.put("password", PASSWORD);
        },
    );
    assert!(log.contains("password: No such file"), "{log}");
}

#[test]
fn a_link_that_is_well_is_not_disturbed_by_a_reload() {
    let secure = secure::shared();
    let files = Files::new();
    let password = files.put("password", PASSWORD);
    let scene = Scene::start("5", secure, Mosquitto::start(), |config| {
        with_password(through(config, secure, Door::Sasl), "scram-sha-256", &password)
    });
    let devices = scene.devices(&Plan::default());
    devices.until_acked(300, ACK_LIMIT);
    for round in 1..=3 {
        hangup(&scene.daemon);
        let ready = 1 + round;
        wait::until("the reload is done", AT_ONCE, || {
            (scene.daemon.notify().count("READY=1") >= ready).then_some(())
        });
        devices.until_acked(200, ACK_LIMIT);
    }
    assert!(scene.daemon.notify().count("RELOADING=1") >= 3);
    let log = scene.daemon.log();
    assert!(!log.contains("connecting to Kafka with the secrets"), "{log}");
    scene.conclude(secure, devices).assert_clean_without_duplicates();
}

#[test]
fn a_token_that_is_unreadable_or_has_expired_holds_and_a_fresh_one_goes_on_by_itself() {
    let secure = secure::shared();
    let with_token = |config, path: &Path| {
        through(config, secure, Door::Sasl)
            .kafka("sasl = \"oauthbearer\"")
            .kafka(&line("token_file", path))
    };
    let files = Files::new();
    let token = files.put("token", &secure::token(-60));
    let log = held_then_right(
        secure,
        |config| with_token(config, &token),
        BY_ITSELF,
        |_| {
            files.put("token", &secure::token(3600));
        },
    );
    assert!(log.contains("unexpired token"), "{log}");

    let token = files.0.join("later");
    let log = held_then_right(
        secure,
        |config| with_token(config, &token),
        AT_ONCE,
        |daemon| {
            files.put("later", &secure::token(3600));
            hangup(daemon);
        },
    );
    assert!(log.contains("later: No such file"), "{log}");
}

#[test]
fn a_broker_whose_certificate_has_expired_holds_and_a_good_one_goes_on() {
    let mut secure = Secure::start();
    let expired = secure.authority().expired("broker");
    secure.show(&expired);
    let scene = Scene::start("5", &secure, Mosquitto::start(), |config| {
        through(config, &secure, Door::Tls)
    });
    let devices = scene.devices(&load());
    until_state(&scene.daemon, "refused");
    let log = scene.daemon.log();
    assert!(log.contains("certificate verify failed"), "{log}");
    let good = secure.authority().certificate("broker");
    secure.show(&good);
    scene.conclude(&secure, devices).assert_clean();
}

/// The least rights for each mode: with one less it holds and says so in the state; when it
/// is granted it goes on.
fn needs_exactly(name: &str, rights: &[(Grant, &str)], topic: &str, change: impl Fn(Config) -> Config) {
    let secure = secure::shared();
    let certificate = secure.authority().certificate(name);
    let mosquitto = Mosquitto::start();
    let config = Config::usual("5", &mosquitto, secure, topic)
        .bootstrap(&secure.door(Door::MutualTls))
        .impatient()
        .kafka(&line("ca_file", &secure.authority().ca()))
        .kafka(&line("cert_file", &certificate.cert))
        .kafka(&line("key_file", &certificate.key));
    let mark = mosquitto.mark();
    let mut daemon = Daemon::start(&change(config));
    mosquitto.until_subscribed(FILTER, mark);
    let devices = Devices::start(&mosquitto, &load());
    devices.until_acked(100, ACK_LIMIT);
    for (right, missed) in rights {
        daemon
            .notify()
            .until_status(&format!("{right:?} is missed"), BY_ITSELF, |status| {
                status.starts_with("NOT READY") && status.contains(missed)
            });
        let mut reader = Reader::new(&secure.bootstrap(), topic);
        assert!(
            reader.next(GLANCE).is_none(),
            "before {right:?} nothing comes to stay"
        );
        secure.grant(&format!("User:CN={name}"), right);
    }
    let sent = devices.finish(ACK_LIMIT);
    let mut oracle = Oracle::new(secure, topic);
    oracle.until_all_there(&sent, BY_ITSELF);
    daemon.terminate();
    oracle.verdict(&sent).assert_clean();
}

fn closed_topic(name: &str) -> String {
    let topic = unused_topic(name);
    secure::shared().kafka().create_topic(&topic, PARTITIONS, &[]);
    topic
}

#[test]
fn at_least_once_needs_to_write_to_the_topic_and_nothing_else() {
    let topic = closed_topic("rights");
    let rights = [(Grant::Write(topic.clone()), "TopicAuthorizationFailed")];
    needs_exactly("least", &rights, &topic, |config| config);
}

#[test]
fn exactly_once_needs_its_transactional_id_its_group_and_the_cursors_topic_besides() {
    let topic = closed_topic("rights-once");
    // Both names begin so, with the store's epoch behind it: rights are given by prefix.
    let prefix = format!("edgeferry.{GATEWAY}.");
    let rights = [
        (
            Grant::Transact(prefix.clone()),
            "TransactionalIdAuthorizationFailed",
        ),
        (Grant::Group(prefix), "GroupAuthorizationFailed"),
        (
            Grant::Write(topic.clone()),
            "transaction (take over): TopicAuthorizationFailed",
        ),
        // The cursor can be asked for, but not committed.
        (
            Grant::Read(topic.clone()),
            "transaction (commit): TopicAuthorizationFailed",
        ),
    ];
    needs_exactly("once", &rights, &topic, Config::exactly_once);
}
