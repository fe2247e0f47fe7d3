//! A certificate authority of the tests: certificates by the `openssl` command, made anew for each test process.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::process::program;
use crate::support::scratch::Scratch;

/// Valid for some days, from now on.
const GOOD_DAYS: &str = "2";
/// Where the servers of the tests are.
const HERE: &str = "IP:127.0.0.1,DNS:localhost";
/// Ended before it began.
const EXPIRED_DAYS: &str = "-1";

/// One authority and the files that it made.
#[derive(Debug)]
pub struct Authority {
    folder: Scratch,
}

/// A certificate and its key, PEM.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate alone.
    pub cert: PathBuf,
    /// The key alone, not encrypted.
    pub key: PathBuf,
}

impl Certificate {
    /// Both in one text, as Kafka wants it.
    pub fn both(&self) -> String {
        let read = |path| std::fs::read_to_string(path).expect("it was made");
        read(&self.key) + &read(&self.cert)
    }
}

impl Authority {
    /// A new one that nobody believes yet.
    pub fn new(name: &str) -> Self {
        let folder = Scratch::new("authority");
        let authority = Self { folder };
        let subject = format!("/CN={name}");
        authority.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
            "-days",
            GOOD_DAYS,
            "-subj",
            &subject,
        ]);
        authority
    }

    /// What others have to believe.
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// For a server on the loopback address, or for a client.
    pub fn certificate(&self, name: &str) -> Certificate {
        self.make(name, GOOD_DAYS)
    }

    /// The same, but its time is over.
    pub fn expired(&self, name: &str) -> Certificate {
        self.make(name, EXPIRED_DAYS)
    }

    /// For a server that is somewhere else.
    pub fn elsewhere(&self, name: &str) -> Certificate {
        self.make_for(name, GOOD_DAYS, "DNS:elsewhere.example")
    }

    /// The key encrypted with a password.
    pub fn encrypted_key(&self, certificate: &Certificate, password: &str) -> PathBuf {
        let out = self.folder.join("encrypted.key");
        let pass = format!("pass:{password}");
        let (from, to) = (text(&certificate.key), text(&out));
        self.openssl(&["pkcs8", "-topk8", "-in", from, "-out", to, "-passout", &pass]);
        out
    }

    /// The same, but its time begins in 2090: what a client sees whose clock stands long before.
    pub fn early(&self, name: &str) -> Certificate {
        let [key, request, cert, extension] = self.request(name, "early", HERE);
        let settings = "[ca]\ndefault_ca=it\n[it]\ndatabase=index\nnew_certs_dir=.\nrand_serial=yes\ndefault_md=sha256\npolicy=any\n\
                        [any]\ncommonName=supplied\n";
        for (file, contents) in [("ca.cnf", settings), ("index", "")] {
            std::fs::write(self.folder.join(file), contents).expect("the folder is writable");
        }
        let ca = ["-cert", "ca.pem", "-keyfile", "ca.key", "-notext"];
        let time = ["-startdate", "20900101000000Z", "-enddate", "20910101000000Z"];
        let files = ["-in", &request, "-extfile", &extension, "-out", &cert];
        let command = ["ca", "-batch", "-config", "ca.cnf"];
        self.openssl(&[&command[..], &ca, &time, &files].concat());
        Certificate {
            cert: self.folder.join(&cert),
            key: self.folder.join(&key),
        }
    }

    /// Makes a key and a request for a certificate; the names of their files, of the certificate's, and of what it extends.
    fn request(&self, name: &str, variant: &str, place: &str) -> [String; 4] {
        let files = ["key", "csr", "pem", "ext"].map(|ending| format!("{name}-{variant}.{ending}"));
        let [key, request, _, extension] = &files;
        let subject = format!("/CN={name}");
        std::fs::write(self.folder.join(extension), format!("subjectAltName={place}\n"))
            .expect("the folder is writable");
        self.openssl(&[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            key,
            "-out",
            request,
            "-subj",
            &subject,
        ]);
        files
    }

    fn make(&self, name: &str, days: &str) -> Certificate {
        self.make_for(name, days, HERE)
    }

    fn make_for(&self, name: &str, days: &str, place: &str) -> Certificate {
        let [key, request, cert, extension] = self.request(name, days, place);
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            days,
            "-extfile",
            &extension,
            "-out",
            &cert,
        ]);
        Certificate {
            cert: self.folder.join(&cert),
            key: self.folder.join(&key),
        }
    }

    fn openssl(&self, arguments: &[&str]) {
        let output = Command::new(program("openssl"))
            .args(arguments)
            .current_dir(self.folder.path())
            .output()
            .expect("openssl starts");
        assert!(
            output.status.success(),
            "openssl {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the tests' own paths are text")
}
