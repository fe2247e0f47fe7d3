//! Real certificates are in `tests/parts/mqtt_security.rs`, which makes them with openssl.

use super::*;

fn file(contents: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("temp file");
    std::fs::write(file.path(), contents).expect("writes");
    file
}

#[test]
fn a_file_says_what_it_should_hold_and_never_what_it_holds() {
    let secret = "c2VjcmV0IQ";
    let key_of = |contents: &str| match key(file(contents).path()) {
        Ok(_) => panic!("this is no key"),
        Err(error) => error.to_string(),
    };
    for (contents, expected) in [
        (String::new(), "holds no private key"),
        (secret.to_owned(), "holds no private key"),
        (
            format!("-----BEGIN PRIVATE KEY-----\n{secret}"),
            "damaged or cut off",
        ),
        (
            format!("-----BEGIN PRIVATE KEY-----\n{secret}!\n-----END PRIVATE KEY-----\n"),
            "damaged or cut off",
        ),
        (
            format!("-----BEGIN ENCRYPTED PRIVATE KEY-----\n{secret}\n-----END ENCRYPTED PRIVATE KEY-----\n"),
            "holds an encrypted key",
        ),
        (
            format!(
                "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\n{secret}\n-----END EC PRIVATE KEY-----\n"
            ),
            "holds an encrypted key",
        ),
    ] {
        let said = key_of(&contents);
        assert!(
            said.contains(expected) && !said.contains(secret),
            "{contents}: {said}"
        );
    }
}

#[test]
fn a_certificate_that_is_none_is_refused_and_has_no_time() {
    let file = file("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let tls = Tls {
        ca_file: Some(file.path().to_owned()),
        client: None,
    };
    assert!(matches!(client_config(&tls), Err(FileError::Certificate { .. })));
    let client = ClientCertificate {
        cert_file: file.path().to_owned(),
        key_file: file.path().to_owned(),
    };
    assert_eq!(untimely(&client), None);
}

#[test]
fn a_file_without_end_is_not_read_to_its_end() {
    let file = file("");
    let sparse = std::fs::File::create(file.path()).expect("ours");
    sparse.set_len(FILE_BYTES_MAX + 1).expect("no space is taken");
    let too_large = matches!(
        chain(file.path()),
        Err(FileError::Unreadable(SecretError::TooLarge { .. }))
    );
    assert!(too_large);
}
