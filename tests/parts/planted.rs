//! Secrets that are planted in every place where one may be, or may be put by mistake, while everything fails and everything is
//! said: none of them comes out anywhere.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::config::Config;
use crate::support::daemon::Daemon;
use crate::support::kafka::secure::{self, Authority, Door as KafkaDoor, USER as KAFKA_USER};
use crate::support::kafka::{Kafka, shared, unused_topic};
use crate::support::mosquitto::Mosquitto;
use crate::support::mosquitto::guarded::{Door, Guarded, USER};
use crate::support::mqtt::Link;
use crate::support::oracle::Reader;
use crate::support::scratch::Scratch;
use crate::support::{ports, wait};

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

/// What a part of the program shows.
#[derive(Debug)]
struct Shown {
    from: String,
    text: String,
    /// It shows what it is there for when this is in it: an empty answer, or that of a closed door, hides every secret.
    witness: &'static str,
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

/// Name of a broker in all of these configurations: no secret, and seen wherever brokers are.
const BROKER: &str = "planted-broker";
/// A page without the state, which it asks for.
const PAGE: &str = "</html>";

/// Every command that shows something of a running daemon or of its file, and what is in its answer. Whoever adds one adds it here.
const COMMANDS: [(&[&str], &str); 11] = [
    (&["check"], ": ok"),
    (&["check", "--json"], "\"done\""),
    (&["check", "--live"], BROKER),
    (&["check", "--live", "--json"], BROKER),
    (&["queue", "ls"], "default"),
    (&["queue", "ls", "--json"], "\"lane\""),
    (&["dead-letter", "ls"], "dead letters"),
    (&["dead-letter", "ls", "--json"], "\"letters\""),
    (&["status"], BROKER),
    (&["status", "--json"], BROKER),
    (&["report"], BROKER),
];

/// Every address of HTTP, with further headers, and what is in its answer. `/metrics` has two forms.
const ADDRESSES: [(&str, &str, &str); 8] = [
    ("/", "", PAGE),
    ("/metrics", "", BROKER),
    ("/metrics", "accept: application/openmetrics-text\r\n", "# EOF"),
    ("/api/status", "", BROKER),
    ("/api/history", "", "\"series\""),
    ("/health/live", "", "live"),
    ("/health/ready", "", "summary"),
    ("/nothing", "", "/api/status"),
];

/// An answer on loopback, head and all.
pub fn get(port: u16, path: &str, headers: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(NOTICED)).ok()?;
    let request = format!("GET {path} HTTP/1.0\r\nhost: localhost\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    (!answer.is_empty()).then_some(answer)
}

/// The verbs that `edgeferry VERB… --help` lists, which is what clap has, and those below them.
fn verbs(above: &[&str]) -> Vec<Vec<String>> {
    let (_, help) = said(&[above, &["--help"]].concat());
    let Some((_, list)) = help.split_once("Commands:\n") else {
        return Vec::new();
    };
    let lines = list.lines().take_while(|line| !line.is_empty());
    // What a verb does goes on further to the right.
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| *name != "help")
        .flat_map(|name| {
            let verb = [above, &[name]].concat();
            let mut all = verbs(&verb);
            all.push(verb.into_iter().map(str::to_owned).collect());
            all
        })
        .collect()
}

/// A daemon with HTTP behind a token.
struct Plant {
    daemon: Daemon,
    port: u16,
    /// The header that opens it.
    key: String,
}

impl Plant {
    /// Everything on, at the lowest level, of librdkafka too.
    fn start(config: Config, planted: &mut Planted) -> (Self, Config) {
        let token = "planted-http-token-b52c";
        let token_file = planted.file("http-token", token);
        // As a browser sends it.
        planted.watch("http token for a browser", &format!("any:{token}"));
        let port = ports::free();
        let config = config
            .impatient()
            .property("debug", "all")
            .http(&format!("listen = \"127.0.0.1:{port}\""))
            .http(&line("token_file", &token_file));
        let plant = Self {
            daemon: Daemon::start_with(&config, &[("EDGEFERRY_LOG", "trace".to_owned())]),
            port,
            key: format!("authorization: Bearer {token}\r\n"),
        };
        (plant, config)
    }

    /// What comes by itself.
    fn lines(&self) -> [Shown; 2] {
        [
            ("the log", self.daemon.log(), "DEBUG"),
            (
                "the status lines",
                self.daemon.notify().heard().join("\n"),
                "STATUS=",
            ),
        ]
        .map(|(from, text, witness)| Shown {
            from: from.to_owned(),
            text,
            witness,
        })
    }

    /// What the commands say of it, at the same time: some of them ask brokers that do not answer.
    fn commands(&self, commands: &[(&[&str], &'static str)]) -> Vec<Shown> {
        let file = self.daemon.beside("edgeferry.toml").display().to_string();
        std::thread::scope(|scope| {
            let asked: Vec<_> = commands
                .iter()
                .map(|(arguments, witness)| {
                    let arguments = [*arguments, &["--config", &file]].concat();
                    (scope.spawn(move || said(&arguments)), *witness)
                })
                .collect();
            let answers = asked
                .into_iter()
                .map(|(answer, witness)| (answer.join().expect("it asks"), witness));
            answers
                .map(|((from, text), witness)| Shown { from, text, witness })
                .collect()
        })
    }

    /// What HTTP answers: with the token, with a wrong one, and without.
    fn http(&self) -> Vec<Shown> {
        let mut all = Vec::new();
        let mut ask = |path: &str, headers: &str, witness| {
            let text = wait::until("it answers", NOTICED, || get(self.port, path, headers));
            all.push(Shown {
                from: format!("{path} {headers:?}"),
                text,
                witness,
            });
        };
        for (path, headers, witness) in ADDRESSES {
            ask(path, &format!("{headers}{}", self.key), witness);
        }
        ask("/", "", " 401 ");
        ask(
            "/api/status",
            "authorization: Bearer wrong-but-long-enough\r\n",
            " 401 ",
        );
        all
    }
}

/// Fails unless each has its witness and none a secret.
fn judge(planted: &Planted, all: &[Shown]) {
    for shown in all {
        assert!(
            shown.text.contains(shown.witness),
            "{} does not show {:?}: {}",
            shown.from,
            shown.witness,
            shown.text.chars().take(2000).collect::<String>()
        );
    }
    let outputs: Vec<(String, String)> = all
        .iter()
        .map(|shown| (shown.from.clone(), shown.text.clone()))
        .collect();
    planted.assert_absent(&outputs);
}

/// What would be said if the name of the broker were a secret: the same search finds it in each of them.
fn assert_is_searched(all: &[Shown]) {
    let mut open = Planted::new();
    open.watch("the name of the broker", BROKER);
    open.watch("no secret", "planted-nowhere-at-all");
    let shows_it: Vec<&Shown> = all.iter().filter(|shown| shown.witness == BROKER).collect();
    assert!(shows_it.len() > 2, "{}", shows_it.len());
    for shown in shows_it {
        let output = [(shown.from.clone(), shown.text.clone())];
        let search = AssertUnwindSafe(|| open.assert_absent(&output));
        let found = catch_unwind(search).expect_err("it is in there");
        let found = found.downcast_ref::<String>().expect("words");
        assert!(
            found.starts_with("the secret of the name of the broker is in"),
            "{found}"
        );
    }
}

fn run_and_look(
    config: Config,
    planted: &mut Planted,
    commands: &[(&[&str], &'static str)],
    is_over: impl Fn(&str) -> bool,
) {
    let (mut plant, _) = Plant::start(config, planted);
    plant
        .daemon
        .notify()
        .until_status("every link has failed", NOTICED, is_over);
    let mut all = plant.commands(commands);
    all.extend(plant.http());
    plant.daemon.terminate();
    all.extend(plant.lines());
    judge(planted, &all);
    assert_is_searched(&all);
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
        .broker_at(BROKER, "5", &guarded.url(Door::Password), &login)
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
    run_and_look(config, &mut planted, &COMMANDS, |status| {
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
            .broker(BROKER, "5", &guarded.mosquitto)
            .route("devices/{device}/telemetry", &unused_topic("planted"))
            .kafka(&line("ca_file", &secure.authority().ca()))
            .exactly_once();
        let config = sasl.iter().fold(config, |config, line| config.kafka(line));
        // What needs the network took its time in the other test.
        let commands: Vec<_> = COMMANDS
            .into_iter()
            .filter(|(arguments, _)| !arguments.contains(&"--live"))
            .collect();
        run_and_look(config, &mut planted, &commands, |status| {
            status.contains("kafka: refused")
        });
    }
}

#[test]
fn no_help_shows_a_secret_of_the_environment_or_of_a_file() {
    let verbs = verbs(&[]);
    assert!(verbs.len() > 20, "{verbs:?}");
    assert!(verbs.contains(&vec!["dead-letter".to_owned(), "redrive".to_owned()]));
    let mut planted = Planted::new();
    planted.watch("the environment", "planted-in-the-environment-08ef");
    planted.watch("the working directory", "planted-in-a-file-51aa");
    let folder = Scratch::new("help");
    std::fs::write(
        folder.join("edgeferry.toml"),
        "password = \"planted-in-a-file-51aa\"",
    )
    .expect("writes");
    let outputs: Vec<(String, String)> = verbs
        .iter()
        .map(|verb| {
            let output = Command::new(env!("CARGO_BIN_EXE_edgeferry"))
                .args(verb)
                .arg("--help")
                .current_dir(folder.path())
                .env("EDGEFERRY_LOG", "planted-in-the-environment-08ef")
                .env("CREDENTIALS_DIRECTORY", "/planted-in-the-environment-08ef")
                .output()
                .expect("the binary runs");
            let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(text.contains("Usage:"), "{verb:?}: {text}");
            (format!("{verb:?} --help"), text)
        })
        .collect();
    planted.assert_absent(&outputs);
}

/// Secrets where none belongs that no output at all may quote; the setting, and a configuration around it.
fn misplaced(secret: &str, usual: &Config, without_broker: &Config) -> Vec<(&'static str, Config)> {
    let pem = "-----BEGIN PRIVATE KEY-----";
    let url = format!("mqtt://user:{secret}@127.0.0.1:1");
    let property = |name: &str, value: &str| usual.clone().property(name, value);
    vec![
        ("url", without_broker.clone().broker_at(BROKER, "5", &url, "")),
        ("sasl.password", property("sasl.password", secret)),
        ("ssl.key.password", property("ssl.key.password", secret)),
        ("ssl.key.pem", property("ssl.key.pem", &format!("{pem}{secret}"))),
        ("ssl.keystore.password", property("ssl.keystore.password", secret)),
        (
            "sasl.oauthbearer.client.secret",
            property("sasl.oauthbearer.client.secret", secret),
        ),
        (
            "password",
            usual.clone().kafka(&format!("password = \"{secret}\"")),
        ),
        (
            "mqtt password",
            without_broker.clone().broker_at(
                BROKER,
                "5",
                "mqtt://127.0.0.1:1",
                &format!("username = \"u\"\npassword = \"{secret}\""),
            ),
        ),
    ]
}

fn plain() -> Config {
    Config::new(&Kafka::absent()).route("devices/{device}/telemetry", "nowhere")
}

#[test]
fn secrets_that_were_put_where_none_belongs_are_refused_without_being_shown() {
    let mut planted = Planted::new();
    let secret = "planted-by-mistake-63e0";
    planted.watch("the configuration", secret);
    planted.watch("the same behind a user", &format!("user:{secret}"));
    let usual = plain().broker(BROKER, "5", &Mosquitto::absent());
    for (place, config) in misplaced(secret, &usual, &plain()) {
        let file = planted.folder.join("edgeferry.toml");
        std::fs::write(&file, config.text(&planted.folder.join("store"))).expect("the folder is writable");
        let path = file.display().to_string();
        let outputs = [
            said(&["check", "--config", &path]),
            said(&["check", "--json", "--config", &path]),
            said(&["report", "--config", &path]),
        ];
        assert!(
            outputs.iter().all(|(_, said)| !said.contains(": ok")),
            "{place}: {outputs:?}"
        );
        planted.assert_absent(&outputs);
        let (status, log) = Daemon::refused(&config);
        assert_eq!(status.code(), Some(64), "{place}");
        planted.assert_absent(&[(format!("the log of {place}"), log)]);
    }
}

#[test]
fn secrets_in_a_file_that_a_reload_refuses_are_in_nothing_that_leaves_the_machine() {
    let mut planted = Planted::new();
    let (secret, relative) = ("planted-by-mistake-63e0", "./planted-as-a-path-17bd");
    planted.watch("the configuration", secret);
    planted.watch("the same behind a user", &format!("user:{secret}"));
    let mosquitto = Mosquitto::start();
    let without = plain().status("interval = \"1s\"");
    let topic = "mqtt_topic = \"edgeferry/{gateway}/state\"";
    let usual = without.clone().broker(BROKER, "5", &mosquitto).status(topic);
    let (mut plant, usual) = Plant::start(usual, &mut planted);
    let mut all = Vec::new();
    let mut refuse = |plant: &Plant, planted: &Planted, place: &str, config: &Config, asks_all: bool| {
        plant.daemon.reconfigure(config);
        let (code, out, err) = plant.daemon.reload();
        assert_eq!(code, Some(64), "{place}: {out}{err}");
        // Whoever looks has to be able to read where the store is.
        plant.daemon.reconfigure(&usual);
        let state = plant.commands(&[(&["status", "--json"], "is not applied")]);
        judge(planted, &state);
        if asks_all {
            let leaving: Vec<_> = COMMANDS
                .into_iter()
                .filter(|(arguments, _)| !["check", "queue", "dead-letter"].contains(&arguments[0]))
                // Of a file with mistakes the report says lengths.
                .map(|(arguments, _)| (arguments, "is not applied"))
                .collect();
            all.extend(plant.commands(&leaving));
            all.extend(plant.http());
        }
        out + &err
    };
    // What quotes nothing at all, not even to who asked.
    let cases = misplaced(secret, &usual, &without);
    let last = cases.len() - 1;
    for (number, (place, config)) in cases.into_iter().enumerate() {
        let said = refuse(&plant, &planted, place, &config, number == last);
        planted.assert_absent(&[(format!("the answer of the reload with {place}"), said)]);
    }
    planted.assert_absent(&plant.lines().map(|shown| (shown.from, shown.text)));
    // What looks like a path is quoted to who asked and in the log, as `edgeferry check` does, and nowhere else.
    planted.watch("a path", relative);
    let config = usual.clone().kafka(&format!("password_file = \"{relative}\""));
    let said = refuse(&plant, &planted, "password_file", &config, true);
    assert!(said.contains(relative), "{said}");
    let mut watcher = Link::connect(mosquitto.port(), "watcher", true).expect("it runs");
    watcher.subscribe("edgeferry/+/state");
    let told = wait::until("the broker is told", NOTICED, || {
        let message = watcher.next_message();
        if message.pkid > 0 {
            watcher.acknowledge(&message);
        }
        let text = String::from_utf8_lossy(&message.payload).into_owned();
        text.contains("is not applied").then_some(text)
    });
    all.push(Shown {
        from: "the topic of [status]".to_owned(),
        text: told,
        witness: "is not applied",
    });
    let [_, status] = plant.lines();
    all.push(status);
    plant.daemon.terminate();
    judge(&planted, &all);
}

#[test]
fn what_is_told_to_kafka_and_to_a_broker_of_the_state_has_no_secret() {
    let kafka = shared();
    let guarded = Guarded::start();
    let mosquitto = Mosquitto::start();
    let mut planted = Planted::new();
    let password = planted.file("mqtt-password", "planted-mqtt-password-7f3a");
    let queue = planted.file(
        "queue-key",
        "5d1f0c9b7e6a48320f1e2d3c4b5a69788796a5b4c3d2e1f00112233445566778",
    );
    let told = kafka.fresh_topic_with("status", 1, &[]);
    let login = format!("username = \"{USER}\"\n{}\n", line("password_file", &password));
    let config = Config::new(kafka)
        .broker_at(BROKER, "5", &guarded.url(Door::Password), &login)
        .broker("open", "5", &mosquitto)
        .route("devices/{device}/telemetry", &unused_topic("planted"))
        .queue(&line("key_file", &queue))
        .status(&format!("kafka_topic = \"{told}\""))
        .status("mqtt_topic = \"edgeferry/{gateway}/state\"")
        .status("interval = \"1s\"");
    let mut watcher = Link::connect(mosquitto.port(), "watcher", true).expect("it runs");
    watcher.subscribe("edgeferry/+/state");
    let (mut plant, _) = Plant::start(config, &mut planted);
    let mut reader = Reader::new(&kafka.bootstrap(), &told);
    let shows = |text: &str| text.contains(BROKER) && text.contains("refused");
    let mut all = Vec::new();
    wait::until("Kafka is told that it is refused", NOTICED, || {
        let record = reader.next(Duration::from_secs(1))?;
        let text = format!("{} {record:?}", String::from_utf8_lossy(&record.value));
        all.push(("the topic in Kafka".to_owned(), text.clone()));
        shows(&text).then_some(())
    });
    wait::until("the broker is told so", NOTICED, || {
        let message = watcher.next_message();
        if message.pkid > 0 {
            watcher.acknowledge(&message);
        }
        let text = String::from_utf8_lossy(&message.payload).into_owned();
        all.push(("the topic of a broker".to_owned(), text.clone()));
        shows(&text).then_some(())
    });
    plant.daemon.terminate();
    // What is told last.
    all.extend(reader.rest(NOTICED).iter().map(|record| {
        let text = String::from_utf8_lossy(&record.value).into_owned();
        ("the topic in Kafka".to_owned(), text)
    }));
    planted.assert_absent(&all);
}
