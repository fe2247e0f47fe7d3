//! `edgeferry check` and its exit codes: what it looks at beside the file.

use std::path::Path;
use std::process::Command;

use super::{KAFKA, REST, ROUTE, accepted, check, refused, run, shipped};

#[test]
fn check_says_ok_or_lists_the_problems() {
    let good = shipped("examples/minimal.toml");
    let good = good.to_str().unwrap();
    let output = run(&["check", "--config", good]);
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with(&format!("{good}: ok\n")), "{said}");
    assert!(output.stderr.is_empty());

    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.toml");
    std::fs::write(
        &bad,
        format!("{REST}keep_alive = \"1s\"\nport = 1\n{KAFKA}{ROUTE}"),
    )
    .unwrap();
    let output = run(&["check", "--config", bad.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(64));
    assert!(output.stdout.is_empty());
    let problems = String::from_utf8(output.stderr).unwrap();
    assert_eq!(problems.lines().count(), 2, "{problems}");
    assert!(
        problems.starts_with(&format!("{}:5: mqtt[0].keep_alive: ", bad.display())),
        "{problems}"
    );
}

#[test]
fn usage_errors_end_with_64_and_help_with_0() {
    for (arguments, code) in [
        (&["--version"][..], 0),
        (&["--help"], 0),
        (&["check", "--help"], 0),
        (&[], 64),
        (&["fly"], 64),
        (&["check", "--config"], 64),
        (&["check", "--config", "/nowhere/edgeferry.toml"], 64),
        (&["run", "--config", "/nowhere/edgeferry.toml"], 64),
    ] {
        assert_eq!(run(arguments).status.code(), Some(code), "{arguments:?}");
    }
}

/// What `check` says of a file with these lines for its Kafka and its queue, and its exit code.
fn check_here(kafka: &str, queue: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("edgeferry.toml");
    std::fs::write(&file, format!("{REST}[queue]\n{queue}{KAFKA}{kafka}{ROUTE}")).unwrap();
    let output = run(&["check", "--config", file.to_str().unwrap()]);
    let said = String::from_utf8(output.stderr).unwrap();
    (
        output.status.code(),
        said.replace(file.to_str().unwrap(), "edgeferry.toml"),
    )
}

#[test]
fn files_of_the_queue_and_of_kafka_are_looked_at_by_check() {
    let (code, said) = check_here("", "key_file = \"/no/such/key\"\n");
    assert_eq!(code, Some(64), "{said}");
    assert!(
        said.contains("edgeferry.toml:6: queue.key_file: key file /no/such/key: "),
        "{said}"
    );
    let (code, said) = check_here("ca_file = \"/no/such/ca.pem\"\n", "");
    assert_eq!(code, Some(64), "{said}");
    assert!(
        said.contains("edgeferry.toml:8: kafka.ca_file: /no/such/ca.pem: "),
        "{said}"
    );
    let sasl = "tls = true\nsasl = \"plain\"\nusername = \"u\"\npassword_file = \"/no/such/password\"\n";
    let (code, said) = check_here(sasl, "");
    assert_eq!(code, Some(64), "{said}");
    assert!(
        said.contains("edgeferry.toml:11: kafka.password_file: /no/such/password: "),
        "{said}"
    );
}

#[test]
fn a_package_asks_for_the_file_alone_and_not_for_those_that_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("edgeferry.toml");
    let ask = |kafka: &str, queue: &str| {
        std::fs::write(&file, format!("{REST}[queue]\n{queue}{KAFKA}{kafka}{ROUTE}")).unwrap();
        let output = run(&["check", "--file-only", "--config", file.to_str().unwrap()]);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = ask("ca_file = \"/no/such/ca.pem\"\n", "key_file = \"/no/such/key\"\n");
    assert_eq!((code, said.as_str()), (Some(0), ""));
    let (code, said) = ask("", "key_fil = \"/no/such/key\"\n");
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains(":6: queue.key_fil: "), "{said}");
    let both = run(&["check", "--file-only", "--live"]);
    assert_eq!(both.status.code(), Some(64), "{both:?}");
}

#[test]
fn credentials_of_a_service_are_a_warning_where_there_are_none() {
    let credential = "\"$CREDENTIALS_DIRECTORY/it\"\n";
    let (code, said) = check_here(
        &format!("ca_file = {credential}"),
        &format!("key_file = {credential}"),
    );
    assert_eq!(code, Some(0), "{said}");
    for field in ["kafka.ca_file", "queue.key_file"] {
        assert!(
            said.contains(&format!("{field}: ")) && said.contains("is not set"),
            "{said}"
        );
    }
}

#[test]
fn a_certificate_and_the_key_of_another_one_are_found_by_check() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let cert = folder.path().join(format!("{name}.pem"));
        let key = folder.path().join(format!("{name}.key"));
        let made = Command::new("openssl")
            .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes".split(' '))
            .args("-subj /CN=gw-7 -days 9 -keyout".split(' '))
            .arg(&key)
            .arg("-out")
            .arg(&cert)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        (cert, key)
    };
    let ((cert, key), (_, other)) = (make("one"), make("other"));
    let lines = |key: &Path| format!("cert_file = {cert:?}\nkey_file = {key:?}\n");
    let (code, said) = check_here(&lines(&other), "");
    assert_eq!(code, Some(64), "{said}");
    assert!(
        said.contains("kafka.cert_file: ") && said.contains("do not belong together"),
        "{said}"
    );
    let (code, said) = check_here(&lines(&key), "");
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_file_that_depends_on_the_folder_is_refused_and_only_credentials_are_replaced() {
    let said = check("username = \"u\"\npassword_file = \"secret\"\n", "", "");
    assert!(
        said.starts_with("mqtt[0].password_file: holds 6 characters that are no absolute path (not quoted")
            && said.contains("write an absolute path"),
        "{said}"
    );
    let said = check("username = \"u\"\npassword_file = \"./secret\"\n", "", "");
    assert!(
        said.starts_with("mqtt[0].password_file: \"./secret\" is relative"),
        "{said}"
    );
    let said = check("", "ca_file = \"$HOME/ca.pem\"\n", "");
    assert!(
        said.starts_with("kafka.ca_file: \"$HOME/ca.pem\" would be looked for")
            && said.contains("only $CREDENTIALS_DIRECTORY"),
        "{said}"
    );
    accepted(&format!(
        "{REST}username = \"u\"\npassword_file = \"$CREDENTIALS_DIRECTORY/p\"\n{KAFKA}{ROUTE}"
    ));
}

#[test]
fn a_secret_where_the_path_of_a_file_belongs_is_quoted_in_no_form() {
    const SECRET: &str = "7396104825";
    let forms = [
        format!("\"{SECRET}\""),
        format!("\"p/{SECRET}==\""),
        format!("\"${SECRET}\""),
        format!("'{SECRET}'"),
        format!("[\"{SECRET}\"]"),
        format!("[{SECRET}]"),
        format!("{{ a = \"{SECRET}\" }}"),
        SECRET.to_owned(),
        format!("h{SECRET}"),
        format!("\"{SECRET}"),
        format!("\"{SECRET}\\q\""),
        format!("{SECRET}.5"),
    ];
    let lane = "[[lane]]\nname = \"b\"\n";
    let mqtt = ["password_file", "ca_file", "cert_file", "key_file"].map(|key| ("mqtt[0]", key));
    let kafka = [
        "ca_file",
        "cert_file",
        "key_file",
        "key_password_file",
        "password_file",
        "token_file",
    ];
    let rest = [
        ("http", "token_file"),
        ("queue", "key_file"),
        ("queue", "old_key_files"),
        ("lane[0]", "key_file"),
        ("lane[0]", "old_key_files"),
    ];
    let all = mqtt
        .into_iter()
        .chain(kafka.map(|key| ("kafka", key)))
        .chain(rest);
    for (table, key) in all {
        for form in &forms {
            let setting = format!("{key} = {form}\n");
            let said = match table {
                "mqtt[0]" => refused(&format!("{REST}username = \"u\"\n{setting}{KAFKA}{ROUTE}")),
                "kafka" => refused(&format!("{REST}{KAFKA}{setting}{ROUTE}")),
                "lane[0]" => refused(&format!("{REST}{KAFKA}{ROUTE}{lane}{setting}")),
                table => refused(&format!("{REST}{KAFKA}{ROUTE}[{table}]\n{setting}")),
            };
            assert!(!said.contains(SECRET), "{table} {setting}: {said}");
            assert!(said.contains(key), "{table} {setting}: {said}");
        }
    }
}

#[test]
fn a_client_certificate_of_version_1_is_told_to_be_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (key, request, cert) = (path("key"), path("csr"), path("cert"));
    let openssl = |line: &[&str]| {
        let made = Command::new("openssl").args(line).output().unwrap();
        assert!(made.status.success(), "{made:?}");
    };
    openssl(&[
        "req",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=gw-7",
        "-keyout",
        &key,
        "-out",
        &request,
    ]);
    openssl(&[
        "x509", "-req", "-in", &request, "-signkey", &key, "-days", "9", "-out", &cert,
    ]);
    let shown = Command::new("openssl")
        .args(["x509", "-in", &cert, "-noout", "-text"])
        .output()
        .unwrap();
    // From 3.4 on openssl makes version 3 by itself, and nobody meets this.
    let is_old = String::from_utf8(shown.stdout).unwrap().contains("Version: 1 ");
    let file = folder.path().join("edgeferry.toml");
    let rest = REST.replace("mqtt://localhost", "mqtts://localhost");
    let files = format!("cert_file = {cert:?}\nkey_file = {key:?}\nca_file = {cert:?}\n");
    std::fs::write(&file, format!("{rest}{files}{KAFKA}{ROUTE}")).unwrap();
    let output = run(&["check", "--config", file.to_str().unwrap()]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        said.contains("X.509 version 1: make one of version 3"),
        is_old,
        "{said}"
    );
}
