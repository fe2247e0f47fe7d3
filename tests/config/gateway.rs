//! `[gateway]`, `[status]` and `[http]`: who this gateway is, and what it says of itself.

use std::path::Path;

use edgeferry::config;

use super::{KAFKA, REST, ROUTE, accepted, refused, run};

#[test]
fn a_status_topic_must_not_come_back_as_a_message() {
    let text = |gateway: &str, broker: &str, rest: &str| {
        format!(
            "[gateway]\n{gateway}data_dir = \"/d\"\n[[mqtt]]\nurl = \"mqtt://b\"\n{broker}{KAFKA}{ROUTE}{rest}"
        )
    };
    let status = |topic: &str| format!("status_topic = {topic:?}\n");
    let loops = "is a topic that route[0] takes";
    let id = "id = \"gw-7\"\n";
    // The route is devices/{device}/telemetry.
    assert!(refused(&text(id, &status("devices/{gateway}/telemetry"), "")).contains(loops));
    assert!(refused(&text("", &status("devices/x-{gateway}/telemetry"), "")).contains(loops));
    assert!(refused(&text(id, &status("{gateway}/+/x"), "")).contains("has a wildcard"));
    accepted(&text(id, &status("devices/{gateway}/status"), ""));
    let (config, _) = accepted(&text(id, &status("edgeferry/{gateway}/status"), ""));
    assert_eq!(
        config.brokers[0].status_topic.as_deref(),
        Some("edgeferry/{gateway}/status")
    );
    // What the id becomes decides, where it is known.
    let own = "[[route]]\nfrom = \"gw-7/{device}\"\ntopic = \"t\"\n";
    assert!(refused(&text(id, &status("{gateway}/status"), own)).contains("is a topic that route[1] takes"));
    accepted(&text("id = \"gw-8\"\n", &status("{gateway}/status"), own));
    assert!(
        refused(&text("id = \"{serial}\"\n", &status("{gateway}/status"), own)).contains("route[1] takes")
    );
    let lane = "[[lane]]\nname = \"status\"\n";
    let said = refused(&text(id, &status("s"), lane));
    assert!(
        said.contains("its client id would be that of lane \"status\"; give the lane another name"),
        "{said}"
    );
    // Another table for the same broker takes it too.
    let twice = "name = \"a\"\nstatus_topic = \"s/{gateway}\"\n[[mqtt]]\nname = \"b\"\nurl = \"mqtt://b\"\nclient_id = \"b\"\n";
    let route = "[[route]]\nbroker = \"b\"\nfrom = \"s/{device}\"\ntopic = \"t\"\n";
    assert!(
        refused(&text(id, twice, route)).contains("mqtt[0].status_topic: is a topic that route[1] takes")
    );
}

#[test]
fn the_topics_of_the_state_are_nobody_elses() {
    let text = |status: &str, rest: &str| {
        format!(
            "[gateway]\nid = \"gw-7\"\ndata_dir = \"/d\"\n[[mqtt]]\nurl = \"mqtt://b\"\nstatus_topic = \"word/{{gateway}}\"\n\
             {KAFKA}{ROUTE}{rest}[status]\n{status}\n"
        )
    };
    let (config, warnings) = accepted(&text(
        "kafka_topic = \"s\"\nmqtt_topic = \"state/{gateway}\"\ninterval = \"1s\"",
        "",
    ));
    assert_eq!(warnings, "");
    assert_eq!(config.status.interval, std::time::Duration::from_secs(1));
    // The route is devices/{device}/telemetry, to telemetry.
    let templated = "[[route]]\nfrom = \"x/{device}\"\ntopic = \"of-{device}\"\n";
    let letters = "[dead_letter]\ntopic = \"letters\"\n";
    let lane = "[[lane]]\nname = \"state\"\n";
    for (status, rest, wrong) in [
        (
            "kafka_topic = \"telemetry\"",
            "",
            "status.kafka_topic: \"telemetry\" is the topic of route[0]",
        ),
        (
            "kafka_topic = \"of-x\"",
            templated,
            "status.kafka_topic: \"of-x\" may be the topic of route[1]",
        ),
        (
            "kafka_topic = \"letters\"",
            letters,
            "is the topic of the dead letters",
        ),
        ("kafka_topic = \"a b\"", "", "is no name of a Kafka topic"),
        ("kafka_topic = \"s-{gateway}\"", "", "is no name of a Kafka topic"),
        (
            "mqtt_topic = \"devices/{gateway}/telemetry\"",
            "",
            "the gateway would forward its own state",
        ),
        (
            "mqtt_topic = \"word/gw-7\"",
            "",
            "is the status_topic of broker \"default\"",
        ),
        (
            "mqtt_topic = \"a/#\"",
            "",
            "status.mqtt_topic: \"a/#\" has a wildcard",
        ),
        (
            "mqtt_topic = \"a\"",
            lane,
            "its client id would be that of lane \"state\"",
        ),
        ("kafka_topic = \"s\"\ninterval = \"999ms\"", "", "status.interval"),
    ] {
        let said = refused(&text(status, rest));
        assert!(said.contains(wrong), "{status}: {said}");
    }
    let (_, warnings) = accepted(&text("interval = \"5s\"", ""));
    assert!(
        warnings.contains("status.interval: has no effect without a topic"),
        "{warnings}"
    );
}

#[test]
fn gateway_ids_tell_gateways_apart() {
    let id = |id: &str| {
        let text = format!(
            "{}{KAFKA}{ROUTE}",
            REST.replace("[gateway]\n", &format!("[gateway]\nid = {id:?}\n"))
        );
        config::parse(Path::new("c"), &text)
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    for good in ["gw-7", "pi-{serial}", "{hostname}", "{machine_id}"] {
        assert_eq!(id(good), Ok(()));
    }
    for bad in ["raspberrypi", "localhost", ""] {
        assert!(
            id(bad).is_err_and(|problem| problem.contains("does not tell gateways apart")),
            "{bad}"
        );
    }
    assert!(id("{mac}").is_err_and(|problem| problem.contains("{mac} is not known here")));
    assert!(id("{serial").is_err_and(|problem| problem.contains("has a '{' without its '}'")));
    assert!(id("a b").is_err_and(|problem| problem.contains("not safe")));
}

#[test]
fn a_machine_without_what_the_gateway_id_is_made_of_is_a_warning_of_check() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("edgeferry.toml");
    let rest = REST.replace("[gateway]\n", "[gateway]\nid = \"pi-{serial}\"\n");
    std::fs::write(&file, format!("{rest}{KAFKA}{ROUTE}")).unwrap();
    let output = run(&["check", "--config", file.to_str().unwrap()]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let has_serial = edgeferry::identity::Machine::read().serial.is_some();
    assert_eq!(
        said.contains(":2: gateway.id: no gateway id on this machine"),
        !has_serial,
        "{said}"
    );
}

#[test]
fn http_is_on_loopback_by_default_and_elsewhere_needs_a_token() {
    let with = |http: &str| format!("{REST}{KAFKA}{ROUTE}[http]\n{http}");
    let (config, warnings) = accepted(&format!("{REST}{KAFKA}{ROUTE}"));
    assert_eq!(warnings, "");
    assert_eq!(config.http.listen.unwrap().to_string(), "127.0.0.1:8484");
    let (config, _) = accepted(&with("listen = \"off\"\n"));
    assert_eq!(config.http.listen, None);
    let (config, warnings) = accepted(&with(
        "listen = \"[::1]:80\"\ntoken_file = \"$CREDENTIALS_DIRECTORY/token\"\n",
    ));
    assert_eq!(
        (
            config.http.listen.unwrap().to_string().as_str(),
            warnings.as_str()
        ),
        ("[::1]:80", "")
    );
    for address in ["0.0.0.0:8484", "[::]:8484", "10.1.2.3:8484"] {
        let said = refused(&with(&format!("listen = \"{address}\"\n")));
        assert!(
            said.contains("http.token_file: is missing: ") && said.contains("`openssl rand -hex 32`"),
            "{said}"
        );
        let (_, warnings) = accepted(&with(&format!("listen = \"{address}\"\ntoken_file = \"/t\"\n")));
        assert!(warnings.contains("HTTP is not encrypted"), "{warnings}");
    }
    for nonsense in [
        "localhost:8484",
        "8484",
        "127.0.0.1",
        "127.0.0.1:0",
        "::1:80",
        "on",
        "",
        "http://127.0.0.1:8484",
    ] {
        let said = refused(&with(&format!("listen = \"{nonsense}\"\n")));
        assert!(
            said.contains("is not an IP address with a port; write for example \"127.0.0.1:8484\""),
            "{said}"
        );
    }
    let said = refused(&with("token = \"secret\"\n"));
    assert!(
        said.contains("secrets come from files: write token_file"),
        "{said}"
    );
    let said = refused(&with("token_file = \"token\"\n"));
    assert!(
        said.contains("holds 5 characters that are no absolute path"),
        "{said}"
    );
    let said = refused(&with("token_file = \"\"\n"));
    assert!(said.contains("http.token_file: is empty"), "{said}");
}

#[test]
fn check_says_when_the_token_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let (file, token) = (folder.path().join("config.toml"), folder.path().join("token"));
    let text = format!(
        "{REST}{KAFKA}{ROUTE}[http]\ntoken_file = \"{}\"\n",
        token.display()
    );
    std::fs::write(&file, text).unwrap();
    let said = || {
        let output = run(&["check", "--config", file.to_str().unwrap()]);
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (is_right, text) = said();
    assert!(
        !is_right && text.contains("http.token_file: ") && text.contains("No such file"),
        "{text}"
    );
    std::fs::write(&token, "too short\n").unwrap();
    let (is_right, text) = said();
    assert!(
        !is_right && text.contains("`openssl rand -hex 32` makes one"),
        "{text}"
    );
    assert!(!text.contains("too short"), "{text}");
    std::fs::write(&token, "0123456789abcdef0123\n").unwrap();
    let (is_right, text) = said();
    assert!(is_right, "{text}");
}

#[test]
fn a_file_that_is_far_too_large_is_no_configuration() {
    let folder = tempfile::tempdir().expect("temp dir");
    let path = folder.path().join("edgeferry.toml");
    std::fs::write(&path, "# not one\n".repeat(500_000)).expect("writes");
    let said = config::load(&path).expect_err("it is 5 MB").to_string();
    assert!(said.contains("4194304 bytes"), "{said}");
    assert!(config::load(Path::new("/dev/zero")).is_err(), "it ends");
}
