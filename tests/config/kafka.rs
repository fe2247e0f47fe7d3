//! `[kafka]`: servers, properties, security, topics, presets.

use edgeferry::sink::{Partitioner, Preset, Sasl, Tls};

use super::{KAFKA, REST, ROUTE, accepted, check, refused};

#[test]
fn what_is_set_about_topics_is_checked() {
    let problem = check("", "unknown_topic_after = \"0s\"\n", "");
    assert!(
        problem.contains("kafka.unknown_topic_after") && problem.contains("1s"),
        "{problem}"
    );
    let problem = check("", "on_partition_change = \"wait\"\n", "");
    assert!(
        problem.contains("on_partition_change") && problem.contains("\"drain\""),
        "{problem}"
    );
}

#[test]
fn properties_that_break_a_promise_are_refused_under_every_name() {
    let names = [
        "acks",
        "request.required.acks",
        "enable.idempotence",
        "enable.gapless.guarantee",
        "max.in.flight",
        "max.in.flight.requests.per.connection",
        "message.timeout.ms",
        "delivery.timeout.ms",
        "retries",
        "message.send.max.retries",
        "transactional.id",
        "transaction.timeout.ms",
        "partitioner",
        "partitioner_cb",
        "queuing.strategy",
        "msg_order_cmp",
        "allow.auto.create.topics",
        "bootstrap.servers",
        "metadata.broker.list",
        "queue.buffering.max.messages",
        "queue.buffering.max.kbytes",
        "compression.codec",
        "compression.type",
        "delivery.report.only.error",
        "test.mock.num.brokers",
        "plugin.library.paths",
        "enable.ssl.certificate.verification",
        "ssl.engine.location",
        "ssl.providers",
        "interceptors",
        "dr_cb",
        "dr_msg_cb",
        "default_topic_conf",
        "sasl.password",
        "ssl.key.password",
        "ssl.key.pem",
        "ssl.keystore.password",
        "sasl.oauthbearer.config",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.client.credentials.client.secret",
        "sasl.oauthbearer.assertion.private.key.passphrase",
        "sasl.oauthbearer.assertion.private.key.pem",
    ];
    for name in names {
        for written in [name.to_owned(), format!("{name:?}")] {
            let problem = check("", &format!("[kafka.properties]\n{written} = \"1\"\n"), "");
            assert!(
                problem.starts_with(&format!("kafka.properties.{name}: ")),
                "{problem}"
            );
            assert!(!problem.contains("librdkafka says"), "{problem}");
        }
    }
}

#[test]
fn librdkafka_has_a_say_in_the_other_properties() {
    let problem = check("", "[kafka.properties]\nsocket.timeout.ms = \"soon\"\n", "");
    assert!(
        problem.starts_with("kafka.properties.socket.timeout.ms: librdkafka says: "),
        "{problem}"
    );
    let problem = check(
        "",
        "[kafka.properties]\nsocket.timeout.ms = \"60000\\u0000\"\n",
        "",
    );
    assert!(
        problem.starts_with("kafka.properties.socket.timeout.ms: contains the character U+0000"),
        "{problem}"
    );
    let properties = "[kafka.properties]\nlinger.ms = 20\n\"socket.keepalive.enable\" = true\n";
    let (config, _) = accepted(&format!("{REST}{KAFKA}{properties}{ROUTE}"));
    let properties: Vec<_> = config.kafka.properties.iter().collect();
    assert_eq!(
        format!("{properties:?}"),
        r#"[("linger.ms", "20"), ("socket.keepalive.enable", "true")]"#
    );
}

#[test]
fn a_number_that_librdkafka_alone_would_understand_is_refused() {
    for (name, value) in [
        ("message.max.bytes", "0x200000"),
        ("batch.size", "010000"),
        ("linger.ms", " 20"),
        ("queue.buffering.max.ms", "1e2"),
    ] {
        assert_eq!(
            check("", &format!("[kafka.properties]\n{name} = \"{value}\"\n"), ""),
            format!("kafka.properties.{name}: {value:?} is no plain number; write it in digits: 20")
        );
    }
    accepted(&format!(
        "{REST}{KAFKA}[kafka.properties]\nlinger.ms = 0.5\nbatch.size = 4096\n{ROUTE}"
    ));
}

#[test]
fn exactly_once_needs_a_place_for_the_cursor_of_each_lane() {
    assert_eq!(
        check("", "delivery = \"exactly-once\"\ncursor_topic = \"a b\"\n", ""),
        "kafka.cursor_topic: \"a b\" is no topic name; Kafka allows 1 to 249 letters, digits, '.', '_' and '-', but not \".\" or \"..\""
    );
    let alarms = "[[lane]]\nname = \"alarms\"\n[[route]]\nfrom = \"a/{device}\"\ntopic = \"{device}\"\nlane = \"alarms\"\n";
    assert_eq!(
        check("", "delivery = \"exactly-once\"\n", alarms),
        "kafka.cursor_topic: is missing: lane \"alarms\" has no route with a fixed topic to keep its cursor on; write the \
         name of a topic that is always there, for example cursor_topic = \"edgeferry-cursors\""
    );
}

#[test]
fn limits_and_presets_of_the_link() {
    let (config, _) = accepted(&format!("{REST}{KAFKA}{ROUTE}"));
    assert_eq!(
        (config.kafka.preset, config.kafka.max_rate),
        (Preset::Balanced, None)
    );
    assert_eq!((config.lanes[0].weight, config.lanes[0].max_rate), (1, None));
    let lines = "preset = \"throughput\"\nmax_rate = \"64 KiB/s\"\n";
    let (config, _) = accepted(&format!("{REST}{KAFKA}{lines}{ROUTE}"));
    assert_eq!(config.kafka.max_rate.unwrap().to_string(), "64.0 KiB/s");
    assert_eq!(config.kafka.compression, "zstd");
    let (config, _) = accepted(&format!("{REST}{KAFKA}{lines}compression = \"lz4\"\n{ROUTE}"));
    assert_eq!(config.kafka.compression, "lz4");
    for (line, problem) in [
        (
            "max_rate = \"1023 B/s\"",
            "kafka.max_rate: 1023 B/s is too little; write 1.0 KiB/s or more",
        ),
        (
            "max_rate = \"64 KiB\"",
            "kafka.max_rate: \"64 KiB\" is not a rate; write for example \"64 KiB/s\" or \"500 msg/s\"",
        ),
        (
            "preset = \"fast\"",
            "kafka.preset: \"fast\" is not known; write \"latency\" or \"throughput\"",
        ),
    ] {
        assert_eq!(check("", &format!("{line}\n"), ""), problem);
    }
}

#[test]
fn tls_is_implied_and_complete() {
    let tls = |lines: &str| {
        accepted(&format!("{REST}{KAFKA}{lines}{ROUTE}"))
            .0
            .kafka
            .security
            .tls
    };
    assert_eq!(tls(""), None);
    assert_eq!(tls("tls = false\n"), None);
    assert_eq!(tls("tls = true\n"), Some(Tls::default()));
    assert_eq!(tls("ca_file = \"/ca\"\n").unwrap().ca_file, Some("/ca".into()));
    let mutual = "cert_file = \"/c\"\nkey_file = \"/k\"\nkey_password_file = \"/p\"\n";
    assert!(tls(mutual).unwrap().client.is_some());
    for (lines, problem) in [
        (
            "tls = false\nca_file = \"/ca\"",
            "kafka.tls: is false, but ca_file is only of use with TLS; write tls = true, or leave ca_file out",
        ),
        (
            "cert_file = \"/c\"",
            "kafka.key_file: is missing; cert_file needs the key that belongs to it",
        ),
        (
            "key_file = \"/k\"",
            "kafka.cert_file: is missing; key_file needs the certificate that belongs to it",
        ),
        (
            "key_password_file = \"/p\"",
            "kafka.key_password_file: has no key that it could open; write cert_file and key_file, or leave it out",
        ),
    ] {
        assert_eq!(check("", &format!("{lines}\n"), ""), problem);
    }
}

#[test]
fn sasl_is_complete() {
    let password = "username = \"me\"\npassword_file = \"/p\"\n";
    for (word, name) in [
        ("plain", "PLAIN"),
        ("scram-sha-256", "SCRAM-SHA-256"),
        ("scram-sha-512", "SCRAM-SHA-512"),
    ] {
        let (config, warnings) = accepted(&format!(
            "{REST}{KAFKA}tls = true\nsasl = {word:?}\n{password}{ROUTE}"
        ));
        assert_eq!(config.kafka.security.sasl.unwrap().mechanism().name(), name);
        assert_eq!(warnings, "");
    }
    let token = "tls = true\nsasl = \"oauthbearer\"\ntoken_file = \"/t\"\n";
    let (config, _) = accepted(&format!("{REST}{KAFKA}{token}{ROUTE}"));
    let token_file = "/t".into();
    assert_eq!(config.kafka.security.sasl, Some(Sasl::Token { token_file }));
    for (lines, problem) in [
        (
            "sasl = \"plain\"\nusername = \"me\"",
            "kafka.password_file: is missing; sasl with a password needs username and password_file",
        ),
        (
            "sasl = \"scram-sha-256\"\npassword_file = \"/p\"",
            "kafka.username: is missing; sasl with a password needs username and password_file",
        ),
        (
            "sasl = \"scram-sha-256\"\nusername = \"\"\npassword_file = \"/p\"",
            "kafka.username: is empty; sasl with a password needs username and password_file",
        ),
        (
            "sasl = \"scram-sha-512\"\nusername = \"me\"\npassword_file = \"/p\"\ntoken_file = \"/t\"",
            "kafka.token_file: does not go with a password; leave it out, or write sasl = \"oauthbearer\"",
        ),
        (
            "sasl = \"oauthbearer\"",
            "kafka.token_file: is missing; sasl = \"oauthbearer\" needs a file with a token that somebody keeps fresh",
        ),
        (
            "sasl = \"oauthbearer\"\ntoken_file = \"/t\"\nusername = \"me\"",
            "kafka.username: does not go with sasl = \"oauthbearer\"; leave it out, the token says who edgeferry is",
        ),
        (
            "sasl = \"gssapi\"",
            "kafka.sasl: \"gssapi\" is not known; write \"plain\" or \"scram-sha-256\" or \"scram-sha-512\" or \"oauthbearer\"",
        ),
        (
            "password_file = \"/p\"",
            "kafka.sasl: is missing; password_file needs it: write \"plain\" or \"scram-sha-256\" or \"scram-sha-512\" or \"oauthbearer\"",
        ),
        (
            "token_file = \"/t\"",
            "kafka.sasl: is missing; token_file needs it: write \"plain\" or \"scram-sha-256\" or \"scram-sha-512\" or \"oauthbearer\"",
        ),
    ] {
        assert_eq!(check("", &format!("{lines}\n"), ""), problem);
    }
}

#[test]
fn what_goes_over_the_network_as_it_is_is_a_warning() {
    let plain = "sasl = \"plain\"\nusername = \"me\"\npassword_file = \"/p\"\n";
    let (_, warnings) = accepted(&format!("{REST}{KAFKA}{plain}{ROUTE}"));
    assert_eq!(
        warnings,
        "config.toml:7: kafka.sasl: the password goes over the network as it is, anybody in between can read it; \
         write tls = true, where the broker offers it"
    );
    let token = "sasl = \"oauthbearer\"\ntoken_file = \"/t\"\n";
    assert!(
        accepted(&format!("{REST}{KAFKA}{token}{ROUTE}"))
            .1
            .contains("the token goes over")
    );
    let scram = plain.replace("plain", "scram-sha-512");
    assert_eq!(accepted(&format!("{REST}{KAFKA}{scram}{ROUTE}")).1, "");
}

#[test]
fn a_property_that_says_what_a_key_says_is_refused() {
    let sasl = "sasl = \"scram-sha-256\"\nusername = \"me\"\npassword_file = \"/p\"\n";
    let mutual = "cert_file = \"/c\"\nkey_file = \"/k\"\n";
    for (lines, name, value, key) in [
        (
            "tls = true\n",
            "security.protocol",
            "ssl",
            "kafka.tls and kafka.sasl",
        ),
        (sasl, "security.protocol", "sasl_ssl", "kafka.tls and kafka.sasl"),
        (sasl, "sasl.mechanism", "PLAIN", "kafka.sasl"),
        ("tls = true\n", "sasl.mechanisms", "PLAIN", "kafka.sasl"),
        (sasl, "sasl.username", "you", "kafka.username"),
        (
            "ca_file = \"/ca\"\n",
            "ssl.ca.location",
            "/other",
            "kafka.ca_file",
        ),
        (mutual, "ssl.certificate.location", "/other", "kafka.cert_file"),
        (mutual, "ssl.key.location", "/other", "kafka.key_file"),
    ] {
        let property = format!("{lines}[kafka.properties]\n{name} = {value:?}\n");
        assert_eq!(
            check("", &property, ""),
            format!("kafka.properties.{name}: says what {key} says; use {key} alone")
        );
    }
    // The way by properties alone.
    let properties = "password_file = \"/p\"\n[kafka.properties]\nsecurity.protocol = \"sasl_ssl\"\n\
                      sasl.mechanism = \"SCRAM-SHA-512\"\nsasl.username = \"me\"\nssl.ca.location = \"/ca\"\n";
    let (config, warnings) = accepted(&format!("{REST}{KAFKA}{properties}{ROUTE}"));
    assert_eq!(config.kafka.security.password_file, Some("/p".into()));
    assert_eq!(warnings, "");
}

#[test]
fn tokens_are_not_fetched_and_the_problem_says_what_to_do_instead() {
    for line in [
        "sasl.oauthbearer.method = \"oidc\"",
        "sasl.oauthbearer.method = \"OIDC\"",
        "sasl.oauthbearer.token.endpoint.url = \"https://login.example.com/token\"",
        "sasl.oauthbearer.client.id = \"me\"",
        "sasl.oauthbearer.scope = \"kafka\"",
    ] {
        let problem = check("", &format!("[kafka.properties]\n{line}\n"), "");
        assert!(
            problem.ends_with(
                ": is not built in: fetching tokens would need libcurl; write sasl = \"oauthbearer\" and token_file, \
                 and let a timer or another program keep a fresh token in that file"
            ),
            "{problem}"
        );
    }
}

#[test]
fn the_hash_of_a_key_is_murmur2_or_crc32() {
    let with = |line: &str| {
        accepted(&format!("{REST}{KAFKA}{line}{ROUTE}"))
            .0
            .kafka
            .partitioner
    };
    assert_eq!(with(""), Partitioner::Murmur2);
    assert_eq!(with("partitioner = \"crc32\"\n"), Partitioner::Crc32);
    assert_eq!(
        check("", "partitioner = \"random\"\n", ""),
        "kafka.partitioner: \"random\" is not known; write \"murmur2\" or \"crc32\""
    );
    let property = check("", "[kafka.properties]\npartitioner = \"consistent\"\n", "");
    assert!(
        property.ends_with(
            "use kafka.partitioner: \"murmur2\" (default) is Java's, \"crc32\" is librdkafka's own"
        ),
        "{property}"
    );
}

#[test]
fn servers_of_kafka_in_the_style_of_others_say_how_it_is_here() {
    let with = |servers: &str| {
        let said = refused(&format!(
            "{REST}[kafka]\nbootstrap_servers = [{servers:?}]\n{ROUTE}"
        ));
        assert_eq!(said.lines().count(), 1, "{said}");
        said
    };
    assert!(with("a:9092,b:9092").contains("is several: write each between quotes of its own"));
    assert!(with("SSL://a:9093").contains("has a scheme: leave it out"));
}
