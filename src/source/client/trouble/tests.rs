use std::path::Path;
use std::sync::Arc;

use rustls::OtherError;
use rustls::pki_types::{ServerName, UnixTime};
use tokio_tungstenite::tungstenite::error::SubProtocolError;

use super::*;

fn config(url: &str, lines: &str) -> Config {
    let text = format!(
        "[gateway]\nid = \"gw\"\ndata_dir = \"/d\"\n[[mqtt]]\nurl = \"{url}\"\n{lines}\n[kafka]\n\
         bootstrap_servers = [\"k:9092\"]\n[[route]]\nfrom = \"d/{{device}}\"\ntopic = \"t\"\n"
    );
    let (mut config, _) = crate::config::parse(Path::new("test.toml"), &text).expect("valid");
    config.brokers.remove(0)
}

fn trouble(url: &str, lines: &str) -> Trouble {
    Trouble::new(config(url, lines))
}

/// Before CONNACK.
pub fn connecting() -> Trouble {
    trouble("mqtt://broker", "")
}

/// After CONNACK.
pub fn connected() -> Trouble {
    let mut trouble = connecting();
    trouble.connected();
    trouble
}

const MUTUAL: &str = "ca_file = \"/ca\"\ncert_file = \"/cert\"\nkey_file = \"/key\"";

fn refused(failure: Failure) -> String {
    match failure {
        Failure::Refused(text) => text,
        other => panic!("it needs a person, and is not {other:?}"),
    }
}

fn passing(failure: Failure) -> String {
    match failure {
        Failure::Unreachable(text) => text,
        other => panic!("it may pass by itself, and is not {other:?}"),
    }
}

fn tls(url: &str, lines: &str, error: rustls::Error) -> Failure {
    // As it comes: inside an I/O error.
    trouble(url, lines).io(&io::Error::new(io::ErrorKind::InvalidData, error))
}

#[test]
fn a_close_is_a_close_only_after_the_connection_was_there() {
    let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
    assert_eq!(connected().io(&reset()), Failure::Closed);
    for (url, hint) in [
        ("mqtt://b", "without TLS?"),
        ("mqtts://b", "with TLS, and"),
        ("ws://b", "for WebSockets without TLS?"),
        ("wss://b", "for WebSockets with TLS?"),
        ("unix:///s", "does a broker listen there?"),
    ] {
        assert!(passing(trouble(url, "").io(&reset())).contains(hint), "{url}");
    }
}

#[test]
fn a_certificate_of_the_broker_that_is_not_believed_says_why() {
    let bad = |bad| tls("mqtts://broker", MUTUAL, rustls::Error::InvalidCertificate(bad));
    assert!(refused(bad(Bad::UnknownIssuer)).ends_with("comes from no CA that is in /ca"));
    let system = tls(
        "mqtts://b",
        "",
        rustls::Error::InvalidCertificate(Bad::UnknownIssuer),
    );
    assert!(refused(system).contains("this system believes: write ca_file"));
    let name = Bad::NotValidForNameContext {
        expected: ServerName::try_from("broker").expect("a name"),
        presented: vec!["other".to_owned()],
    };
    assert!(refused(bad(name)).contains("mqtts://broker:8883: certificate not valid for name \"broker\""));
    let (time, not_after) = (UnixTime::now(), UnixTime::now());
    assert!(refused(bad(Bad::ExpiredContext { time, not_after })).contains("has expired"));
    let early = Bad::NotValidYetContext {
        time,
        not_before: not_after,
    };
    assert!(
        passing(bad(early)).contains("by the clock of this machine"),
        "a clock is set some time"
    );
    let other = Bad::Other(OtherError(Arc::new(io::Error::other("v1"))));
    assert!(refused(bad(other)).contains("cannot be believed"));
}

#[test]
fn alerts_of_the_broker_say_whose_certificate_is_meant() {
    let alert = |lines, alert| tls("mqtts://b", lines, rustls::Error::AlertReceived(alert));
    for wanted in [Alert::CertificateRequired, Alert::HandshakeFailure] {
        assert!(refused(alert("", wanted)).contains("wants a certificate of the client"));
    }
    for refusal in [Alert::UnknownCA, Alert::CertificateExpired, Alert::BadCertificate] {
        assert!(refused(alert(MUTUAL, refusal)).contains("refuses the certificate in /cert"));
    }
    assert!(refused(alert("", Alert::ProtocolVersion)).contains("ProtocolVersion"));
    assert!(passing(alert("", Alert::InternalError)).contains("InternalError"));
}

#[test]
fn what_does_not_speak_what_the_url_says_needs_a_person() {
    let garbage = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
    assert!(refused(tls("mqtts://b", "", garbage)).contains("does not speak TLS"));
    let answer = |code: u16| {
        let response = tungstenite::http::Response::builder().status(code).body(None);
        tungstenite::Error::Http(Box::new(response.expect("a response")))
    };
    let trouble = trouble("ws://b/x", "");
    assert!(refused(trouble.websocket(&answer(404))).contains("ws://b:80/x answers 404"));
    assert!(passing(trouble.websocket(&answer(503))).contains("answers 503"));
    let none = ProtocolError::SecWebSocketSubProtocolError(SubProtocolError::NoSubProtocol);
    assert!(refused(trouble.websocket(&tungstenite::Error::Protocol(none))).contains("not for MQTT"));
    let junk = tungstenite::Error::Protocol(ProtocolError::JunkAfterRequest);
    assert!(refused(trouble.websocket(&junk)).contains("does not speak WebSocket"));
    let cut = tungstenite::Error::Protocol(ProtocolError::HandshakeIncomplete);
    assert!(passing(trouble.websocket(&cut)).contains("closed the connection before it answered"));
}

#[test]
fn the_end_of_a_websocket_is_told_by_what_broke_it() {
    let mut trouble = trouble("ws://b", "");
    trouble.connected();
    assert_eq!(trouble.closed(), Failure::Closed);
    let broken = Broken::default();
    trouble.listen(Arc::clone(&broken));
    assert_eq!(trouble.closed(), Failure::Closed, "nothing broke it");
    let within_a_packet = io::Error::other("bytes remaining on stream");
    assert_eq!(trouble.io(&within_a_packet), Failure::Closed);
    let too_long = |size| {
        let max_size = 10;
        tungstenite::Error::Capacity(CapacityError::MessageTooLong { size, max_size })
    };
    broken.set(too_long(20)).expect("the first");
    assert_eq!(
        trouble.closed(),
        Failure::TooLarge { size: 20 },
        "it is let in next time"
    );
    assert!(
        matches!(
            trouble.websocket(&too_long(FRAME_LIMIT + 1)),
            Failure::Protocol(_)
        ),
        "no limit helps where no packet can be"
    );
    let reset = Broken::default();
    reset
        .set(tungstenite::Error::Io(io::ErrorKind::ConnectionReset.into()))
        .expect("the first");
    trouble.listen(reset);
    assert_eq!(trouble.io(&io::ErrorKind::BrokenPipe.into()), Failure::Closed);
}

#[test]
fn a_socket_that_is_not_there_may_come_and_one_that_is_closed_to_us_needs_a_person() {
    let socket = trouble("unix:///run/m.sock", "");
    let error = |kind| socket.io(&io::Error::from(kind));
    assert!(passing(error(io::ErrorKind::NotFound)).contains("is the broker running"));
    assert!(refused(error(io::ErrorKind::PermissionDenied)).contains("the right to write to the socket"));
    assert!(passing(error(io::ErrorKind::ConnectionRefused)).starts_with("unix:///run/m.sock: "));
}

#[test]
fn a_login_that_fails_names_the_user_and_the_file_and_never_the_password() {
    let login = |url, lines| refused(trouble(url, lines).login());
    let both = "username = \"me\"\npassword_file = \"/pw\"";
    assert!(
        login("mqtt://b", both).starts_with("the broker refuses user \"me\": the password in /pw is wrong")
    );
    assert!(login("mqtt://b", "username = \"me\"").contains("write password_file"));
    assert!(login("mqtt://b", "").contains("lets nobody in without a user name"));
    assert!(login("mqtts://b", MUTUAL).contains("knows the certificate"));
}
