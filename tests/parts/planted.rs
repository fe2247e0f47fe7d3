//! Secrets that are planted in every place where one may be, or may be put by mistake, while everything fails and everything is
//! said: none of them comes out anywhere.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::kafka::secure::{self, Authority, Door as KafkaDoor, USER as KAFKA_USER};
use crate::support::kafka::unused_topic;
use crate::support::mosquitto::guarded::{Door, Guarded, USER};
use crate::support::scratch::Scratch;

/// First attempts of all links of a debug binary on a busy machine.
const NOTICED: Duration = Duration::from_mins(1);

/// Where secrets are, and how they could look outside.
struct Planted {
    folder: Scratch,
    needles: Vec<(String, String)>,
}

impl Planted {
    fn new() -> Self {
        Self {
            folder: Scratch::new("planted"),
            needles: Vec::new(),
        }
    }

    /// A file with a secret of one line.
    fn file(&mut self, name: &str, secret: &str) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::write(&path, format!("{secret}\n")).expect("the folder is writable");
        self.watch(name, secret);
        path
    }

    /// The same secret as it is and as programs like to write it.
    fn watch(&mut self, name: &str, secret: &str) {
        let hex: Vec<String> = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        for form in [secret.to_owned(), base64(secret.as_bytes()), hex.concat()] {
            self.needles.push((name.to_owned(), form));
        }
    }

    /// A key of somebody else's making: its lines are what nobody may see.
    fn key(&mut self, name: &str, path: &Path) {
        let pem = std::fs::read_to_string(path).expect("it was made");
        let lines = pem.lines().filter(|line| !line.starts_with('-'));
        let lines: Vec<String> = lines.map(str::to_owned).collect();
        assert!(!lines.is_empty());
        self.needles
            .extend(lines.into_iter().map(|line| (name.to_owned(), line)));
    }

    /// Looks for all of them.
    fn assert_absent(&self, outputs: &[(String, String)]) {
        assert!(self.needles.len() > 5);
        for (from, output) in outputs {
            for (name, secret) in &self.needles {
                if let Some(at) = output.find(secret.as_str()) {
                    let line = output.get(..at).and_then(|before| before.lines().last());
                    panic!("the secret of {name} is in {from}, behind: {line:?}");
                }
            }
        }
    }
}

/// RFC 4648, without its padding: what is searched for may stand in the middle of something.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let word = three
            .iter()
            .chain([0, 0].iter())
            .take(3)
            .fold(0_usize, |word, byte| word << 8 | usize::from(*byte));
        for place in 0..=three.len() {
            text.push(char::from(LETTERS[word >> (18 - 6 * place) & 63]));
        }
    }
    // The last letter depends on what follows.
    text.pop();
    text
}

fn line(key: &str, path: &Path) -> String {
    format!("{key} = \"{}\"", path.display())
}

/// What the program says to these arguments, on both ways.
fn said(arguments: &[&str]) -> (String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_edgeferry"))
        .args(arguments)
        .output()
        .expect("the binary runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        format!("edgeferry {arguments:?}"),
        text(&output.stdout) + &text(&output.stderr),
    )
}

/// Every command that shows something of a running daemon or of its file. Whoever adds one adds it here.
const COMMANDS: [&[&str]; 5] = [
    &["check"],
    &["check", "--json"],
    &["check", "--live"],
    &["queue", "ls", "--json"],
    &["dead-letter", "ls", "--json"],
];

/// Everything that the program shows. Whoever adds a way that is no command adds it here.
fn outputs(daemon: &Daemon, file: &str, commands: &[&[&str]]) -> Vec<(String, String)> {
    let mut all = vec![
        ("the log".to_owned(), daemon.log()),
        ("the status lines".to_owned(), daemon.notify().heard().join("\n")),
    ];
    for arguments in commands {
        all.push(said(&[*arguments, &["--config", file]].concat()));
    }
    for verb in ["run", "check", "try", "queue", "dead-letter"] {
        all.push(said(&[verb, "--help"]));
    }
    all
}

/// Everything on, at the lowest level, of librdkafka too.
fn loud(config: Config) -> Config {
    config.impatient().property("debug", "all")
}

fn run_and_look(config: &Config, planted: &Planted, commands: &[&[&str]], is_over: impl Fn(&str) -> bool) {
    let mut daemon = Daemon::start_with(config, &[("EDGEFERRY_LOG", "trace".to_owned())]);
    daemon
        .notify()
        .until_status("every link has failed", NOTICED, is_over);
    let file = daemon.beside("edgeferry.toml").display().to_string();
    let outputs = outputs(&daemon, &file, commands);
    daemon.terminate();
    let log = daemon.log();
    assert!(
        log.contains("TRACE") || log.contains("DEBUG"),
        "it says everything"
    );
    planted.assert_absent(&outputs);
    planted.assert_absent(&[("the log at the end".to_owned(), log)]);
}

#[test]
#[should_panic(expected = "the secret of x is in the log")]
fn a_secret_that_is_there_is_found() {
    let mut planted = Planted::new();
    for name in ["x", "y", "z"] {
        planted.watch(name, &format!("planted-{name}-secret"));
    }
    let shown = base64(b"planted-x-secret");
    planted.assert_absent(&[("the log".to_owned(), format!("DEBUG auth={shown}=="))]);
}

#[test]
fn secrets_of_links_that_fail_are_in_no_output_at_any_level() {
    let secure = secure::shared();
    let guarded = Guarded::start();
    let stranger = Authority::new("Stranger");
    let mut planted = Planted::new();
    let mqtt = planted.file("mqtt-password", "planted-mqtt-password-7f3a");
    let kafka = planted.file("kafka-password", "planted-kafka-password-9c1e");
    planted.watch("sasl", &format!("\0{KAFKA_USER}\0planted-kafka-password-9c1e"));
    let of_key = planted.file("key-password", "planted-key-password-41d8");
    let queue = planted.file(
        "queue-key",
        "5d1f0c9b7e6a48320f1e2d3c4b5a69788796a5b4c3d2e1f00112233445566778",
    );
    let (foreign, own) = (
        stranger.certificate("gw-foreign"),
        secure.authority().certificate("gw-9"),
    );
    let encrypted = secure
        .authority()
        .encrypted_key(&own, "planted-key-password-41d8");
    planted.key("mqtt key_file", &foreign.key);
    planted.key("kafka key_file", &encrypted);
    planted.key("the same, decrypted", &own.key);
    let login = format!("username = \"{USER}\"\n{}\n", line("password_file", &mqtt));
    let mutual = [
        line("ca_file", &guarded.authority().ca()),
        line("cert_file", &foreign.cert),
        line("key_file", &foreign.key),
        "client_id = \"other\"".to_owned(),
    ];
    let config = Config::new(secure)
        .bootstrap(&secure.door(KafkaDoor::Sasl))
        .broker_at("password", "5", &guarded.url(Door::Password), &login)
        .broker_at(
            "mutual",
            "3.1.1",
            &guarded.url(Door::MutualTls),
            &mutual.join("\n"),
        )
        .route("devices/{device}/telemetry", &unused_topic("planted"))
        .kafka(&line("ca_file", &secure.authority().ca()))
        .kafka(&line("cert_file", &own.cert))
        .kafka(&line("key_file", &encrypted))
        .kafka(&line("key_password_file", &of_key))
        .kafka("sasl = \"plain\"")
        .kafka(&format!("username = \"{KAFKA_USER}\""))
        .kafka(&line("password_file", &kafka))
        // Transactions make the link without a message.
        .exactly_once()
        .queue(&line("key_file", &queue));
    run_and_look(&loud(config), &planted, &COMMANDS, |status| {
        status.matches("refused").count() >= 3
    });
}

#[test]
fn a_token_and_a_scram_password_that_are_refused_are_in_no_output_at_any_level() {
    let secure = secure::shared();
    let guarded = Guarded::start();
    let mut planted = Planted::new();
    let token = secure::token(-60);
    let path = planted.file("token", &token);
    let password = planted.file("scram", "planted-scram-password-77aa");
    for sasl in [
        vec!["sasl = \"oauthbearer\"".to_owned(), line("token_file", &path)],
        vec![
            "sasl = \"scram-sha-512\"".to_owned(),
            format!("username = \"{KAFKA_USER}\""),
            line("password_file", &password),
        ],
    ] {
        let config = Config::new(secure)
            .bootstrap(&secure.door(KafkaDoor::Sasl))
            .broker("local", "5", &guarded.mosquitto)
            .route("devices/{device}/telemetry", &unused_topic("planted"))
            .kafka(&line("ca_file", &secure.authority().ca()))
            .exactly_once();
        let config = sasl.iter().fold(config, |config, line| config.kafka(line));
        // What needs the network took its time in the other test.
        run_and_look(&loud(config), &planted, &[&["check"]], |status| {
            status.contains("kafka: refused")
        });
    }
}

#[test]
fn secrets_that_were_put_where_none_belongs_are_refused_without_being_shown() {
    let mut planted = Planted::new();
    let secret = "planted-by-mistake-63e0";
    planted.watch("the configuration", secret);
    let pem = "-----BEGIN PRIVATE KEY-----";
    let absent = crate::support::mosquitto::Mosquitto::absent();
    let plain = || {
        Config::new(&crate::support::kafka::Kafka::absent()).route("devices/{device}/telemetry", "nowhere")
    };
    let usual = || plain().broker("local", "5", &absent);
    let url = format!("mqtt://user:{secret}@127.0.0.1:1");
    let cases = [
        ("url", plain().broker_at("local", "5", &url, "")),
        ("sasl.password", usual().property("sasl.password", secret)),
        ("ssl.key.password", usual().property("ssl.key.password", secret)),
        (
            "ssl.key.pem",
            usual().property("ssl.key.pem", &format!("{pem}{secret}")),
        ),
        (
            "ssl.keystore.password",
            usual().property("ssl.keystore.password", secret),
        ),
        (
            "sasl.oauthbearer.client.secret",
            usual().property("sasl.oauthbearer.client.secret", secret),
        ),
        ("password", usual().kafka(&format!("password = \"{secret}\""))),
        (
            "mqtt password",
            plain().broker_at(
                "local",
                "5",
                "mqtt://127.0.0.1:1",
                &format!("username = \"u\"\npassword = \"{secret}\""),
            ),
        ),
    ];
    for (place, config) in cases {
        let file = planted.folder.join("edgeferry.toml");
        std::fs::write(&file, config.text(&planted.folder.join("store"))).expect("the folder is writable");
        let path = file.display().to_string();
        let outputs = [
            said(&["check", "--config", &path]),
            said(&["check", "--json", "--config", &path]),
        ];
        assert!(
            outputs.iter().all(|(_, said)| !said.contains(": ok")),
            "{place}: {outputs:?}"
        );
        let needles: Vec<_> = planted.needles.iter().map(|(_, needle)| needle).collect();
        for (from, output) in &outputs {
            for needle in &needles {
                assert!(
                    !output.contains(needle.as_str()),
                    "{place} is shown by {from}: {output}"
                );
            }
        }
        let (status, log) = Daemon::refused(&config);
        assert_eq!(status.code(), Some(64), "{place}");
        assert!(
            needles.iter().all(|needle| !log.contains(needle.as_str())),
            "{place}: {log}"
        );
    }
}
