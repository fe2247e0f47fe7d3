//! `[[mqtt]]`: addresses, TLS, sessions, several brokers.

use edgeferry::message::Qos;

use super::{KAFKA, REST, ROUTE, accepted, check, refused};

#[test]
fn urls_are_checked() {
    let url = |url: &str| {
        let text = format!("[gateway]\ndata_dir = \"/d\"\n[[mqtt]]\nurl = {url:?}\n{KAFKA}{ROUTE}");
        refused(&text)
            .trim_end()
            .replace("config.toml:4: mqtt[0].url: ", "")
    };
    assert_eq!(
        url("mqtt://me:pw@broker"),
        "holds user information; use username and password_file"
    );
    assert_eq!(
        url("broker:1883"),
        "\"broker:1883\" has no scheme; write mqtt, mqtts, ws, wss or unix, for example \"mqtt://127.0.0.1:1883\""
    );
    assert_eq!(
        url("me:pw@broker"),
        "holds user information; use username and password_file"
    );
    for (bad, wrong) in [
        ("mqtts://b/mqtt", "has a path, which only a WebSocket has"),
        ("mqtt://b?x=1", "has a host with characters that no host name has"),
        ("ws://b/mqtt?token=1", "has a query or a fragment"),
        ("ws://b/mqtt#x", "has a query or a fragment"),
        (
            "wss://b/m q",
            "has a path with characters that have to be written as %XX",
        ),
        ("ws:///mqtt", "has no host"),
        ("mqtts://-b-", "has a host that no certificate can be for"),
        ("wss://b:65536", "has a port that is not a number from 1 to 65535"),
        ("unix://run/m.sock", "is not the absolute path of a socket"),
        ("unix:///run/", "is not the path of a socket"),
        ("unix://", "is not the absolute path of a socket"),
    ] {
        assert!(url(bad).contains(wrong), "{bad}: {}", url(bad));
    }
    let long = format!("unix:///{}", "s".repeat(107));
    assert!(url(&long).contains("is longer than the path of a socket can be, 107 bytes"));
    assert!(url("http://broker").starts_with("\"http\" is not a scheme of MQTT"));
    assert!(url("mqtt://broker:0").contains("a port that is not a number from 1 to 65535"));
    assert!(url("mqtt://").contains("has no host"));
}

#[test]
fn every_scheme_has_its_port_and_a_websocket_its_path() {
    for (url, complete) in [
        ("mqtt://b", "mqtt://b:1883"),
        ("mqtt://b/", "mqtt://b:1883"),
        ("mqtts://b", "mqtts://b:8883"),
        ("mqtts://[::1]:1", "mqtts://[::1]:1"),
        ("ws://b", "ws://b:80/mqtt"),
        ("ws://b/", "ws://b:80/"),
        ("wss://b", "wss://b:443/mqtt"),
        ("wss://b:8443/a/b%20c@d", "wss://b:8443/a/b%20c@d"),
        ("unix:///run/m@s.sock", "unix:///run/m@s.sock"),
        (
            &format!("unix:///{}", "s".repeat(106)),
            &format!("unix:///{}", "s".repeat(106)),
        ),
    ] {
        let text = format!("[gateway]\ndata_dir = \"/d\"\n[[mqtt]]\nurl = {url:?}\n{KAFKA}{ROUTE}");
        let (config, warnings) = accepted(&text);
        assert_eq!(config.brokers[0].endpoint.to_string(), complete);
        assert_eq!(warnings, "");
    }
}

#[test]
fn files_for_tls_need_tls_and_each_other() {
    let problem = |url: &str, lines: &str| {
        refused(&format!(
            "[gateway]\ndata_dir = \"/d\"\n[[mqtt]]\nurl = {url:?}\n{lines}{KAFKA}{ROUTE}"
        ))
    };
    for key in ["ca_file", "cert_file", "key_file"] {
        for url in ["mqtt://b", "ws://b", "unix:///s"] {
            let said = problem(url, &format!("{key} = \"/f\"\n"));
            assert!(
                said.contains(&format!(
                    "mqtt[0].{key}: is only of use with TLS; write url = \"mqtts://"
                )),
                "{said}"
            );
        }
    }
    let said = problem("mqtts://b", "cert_file = \"/c\"\n");
    assert!(
        said.contains("mqtt[0].key_file: is missing; cert_file needs the key"),
        "{said}"
    );
    let said = problem("mqtts://b", "key_file = \"/k\"\n");
    assert!(
        said.contains("mqtt[0].cert_file: is missing; key_file needs the certificate"),
        "{said}"
    );
    let said = problem("wss://b", "ca_file = \"\"\n");
    assert!(said.contains("mqtt[0].ca_file: is empty"), "{said}");
}

#[test]
fn a_password_in_the_clear_is_warned_about_unless_it_stays_on_this_machine() {
    let warned = |url: &str| {
        let text = format!(
            "[gateway]\ndata_dir = \"/d\"\n[[mqtt]]\nurl = {url:?}\nusername = \"me\"\npassword_file = \"/p\"\n{KAFKA}{ROUTE}"
        );
        accepted(&text).1
    };
    for url in ["mqtt://10.0.0.1", "ws://broker/mqtt", "mqtt://127.example.com"] {
        assert!(
            warned(url).contains("mqtt[0].url: the password goes over the network as it is"),
            "{url}"
        );
    }
    for url in [
        "mqtt://127.0.0.1",
        "mqtt://localhost",
        "ws://[::1]",
        "mqtts://broker",
        "wss://broker",
        "unix:///s",
    ] {
        assert_eq!(warned(url), "", "{url}");
    }
}

#[test]
fn partial_overlap_is_a_warning_on_the_old_protocol() {
    let overlap = "[[route]]\nfrom = \"+/{device}/telemetry\"\ntopic = \"b\"\n";
    let covered = "[[route]]\nfrom = \"devices/{device}/{rest...}\"\ntopic = \"b\"\n";
    let partial = "[[route]]\nfrom = \"{kind}/d1/{device}\"\ntopic = \"b\"\n";
    let warnings = |version: &str, route: &str| {
        accepted(&format!("{REST}version = {version:?}\n{KAFKA}{ROUTE}{route}")).1
    };
    assert_eq!(warnings("5", partial), "");
    assert_eq!(warnings("3.1.1", overlap), "");
    assert_eq!(warnings("3.1.1", covered), "");
    assert_eq!(
        warnings("3.1.1", partial),
        "config.toml:12: route[1].from: overlaps with route[0].from in part; an MQTT 3.1.1 broker, and any with shared_group, may send such a \
         message once for each; use version = \"5\" or one wider pattern"
    );
}

#[test]
fn qos_other_than_1_is_a_warning() {
    let (config, warnings) = accepted(&format!("{REST}{KAFKA}{ROUTE}qos = 2\n"));
    assert_eq!(config.routes[0].qos, Qos::AtLeastOnce);
    assert!(
        warnings.contains("2 is lowered to 1: a crash between PUBREC and PUBCOMP"),
        "{warnings}"
    );
    let (config, warnings) = accepted(&format!("{REST}{KAFKA}{ROUTE}qos = 0\n"));
    assert_eq!(config.routes[0].qos, Qos::AtMostOnce);
    assert!(
        warnings.contains("drops messages while edgeferry is away"),
        "{warnings}"
    );
    assert_eq!(
        check("", "", "qos = 3\n"),
        "route[0].qos: 3 is not a QoS of MQTT; write 1 (default) or 0"
    );
}

#[test]
fn several_brokers_need_names_and_clients_of_their_own() {
    let other = "[[mqtt]]\nurl = \"mqtt://other\"\n";
    let text = refused(&format!("{REST}{other}{KAFKA}{ROUTE}"));
    let right = "is missing; with several [[mqtt]] tables each needs a name of its own";
    assert_eq!(
        text,
        format!("config.toml:3: mqtt[0].name: {right}\nconfig.toml:5: mqtt[1].name: {right}\n")
    );
    let problem = check(
        "name = \"a\"\n[[mqtt]]\nname = \"a\"\nurl = \"mqtt://other\"\n",
        "",
        "",
    );
    assert!(
        problem.starts_with("mqtt[1].name: \"a\" is the name of mqtt[0] already"),
        "{problem}"
    );
    let problem = check(
        "name = \"a\"\n[[mqtt]]\nname = \"b\"\nurl = \"mqtt://localhost\"\n",
        "",
        "",
    );
    assert!(
        problem.starts_with("mqtt[1].client_id: mqtt[0] is the same client on the same broker"),
        "{problem}"
    );
    let problem = check("password_file = \"/p\"\n", "", "");
    assert!(problem.starts_with("mqtt[0].username: is missing"), "{problem}");
}

#[test]
fn a_shared_group_is_a_name_of_ones_own_and_costs_the_order() {
    let (config, said) = accepted(&format!("{REST}shared_group = \"plant\"\n{KAFKA}{ROUTE}"));
    assert_eq!(config.brokers[0].shared_group.as_deref(), Some("plant"));
    assert!(
        said.contains("mqtt[0].shared_group: a device's messages are spread"),
        "{said}"
    );
    let group = |group: &str| check(&format!("shared_group = \"{group}\"\n"), "", "");
    for taken in ["json", "ul", "JSON", "Ul"] {
        let said = group(taken);
        assert!(
            said.contains(&format!("{taken:?} is the group of the FIWARE IoT Agents")),
            "{said}"
        );
    }
    for illegal in ["", "a/b", "a+", "#"] {
        let said = group(illegal);
        assert!(
            said.contains(&format!("{illegal:?} is no name of a group; write one or more")),
            "{said}"
        );
    }
}

#[test]
fn properties_are_not_asked_of_a_broker_that_has_none() {
    let old = format!("{REST}version = \"3.1.1\"\n{KAFKA}");
    for (field, lines) in [
        (
            "when[0].value",
            "when = [{ value = \"property:site\", equals = \"a\" }]\n",
        ),
        ("key", "key = \"{property:site}\"\n"),
        ("device", "device = \"{property:serial}\"\n"),
        (
            "add_headers.x",
            "[route.add_headers]\nx = \"{mqtt:content_type}\"\n",
        ),
        (
            "cloudevents.type",
            "format = \"cloudevents\"\n[route.cloudevents]\ntype = \"{mqtt:response_topic}\"\n",
        ),
    ] {
        let said = refused(&format!("{old}{ROUTE}{lines}"));
        assert!(
            said.contains(&format!("route[0].{field}: asks for ")) && said.contains("write version = \"5\""),
            "{said}"
        );
        accepted(&format!("{REST}{KAFKA}{ROUTE}{lines}"));
        let both = "[gateway]\ndata_dir = \"/tmp/e\"\n[[mqtt]]\nname = \"new\"\nurl = \"mqtt://a\"\n[[mqtt]]\nname = \"old\"\n\
                    url = \"mqtt://b\"\nversion = \"3.1.1\"\n";
        let (_, said) = accepted(&format!("{both}{KAFKA}{ROUTE}{lines}"));
        assert!(said.contains("and so none from old"), "{said}");
        let (_, said) = accepted(&format!("{both}{KAFKA}{ROUTE}broker = \"new\"\n{lines}"));
        assert!(!said.contains("asks for"), "{said}");
    }
    let absent = "when = [{ value = \"property:test\", exists = false }]\n";
    let (_, said) = accepted(&format!("{old}{ROUTE}{absent}"));
    assert!(said.contains("asks for property:test"), "{said}");
}

#[test]
fn addresses_and_names_that_are_nearly_right_say_what_is_missing() {
    let url = |url: &str| REST.replace("mqtt://localhost", url);
    let said = refused(&format!("{}{KAFKA}{ROUTE}", url("mqtt://fe80::1")));
    assert!(said.contains("without brackets: [fe80::1]"), "{said}");
    for (other, what) in [
        ("mqtt://h:8883", "the port for TLS"),
        ("mqtts://h:1883", "the port without TLS"),
    ] {
        let (_, said) = accepted(&format!("{}{KAFKA}{ROUTE}", url(other)));
        assert!(said.contains(what), "{said}");
    }
    let said = check("", "", "key = \"{device}-{gateway}\"\n");
    assert!(
        said.ends_with("write {gateway:id} for the gateway that received it"),
        "{said}"
    );
}
