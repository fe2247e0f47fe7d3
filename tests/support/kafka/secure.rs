//! A Kafka with locks on its doors: listeners with TLS, mutual TLS, SASL with and without TLS, and an authorizer that
//! allows nobody anything unless it is granted.
//!
//! Its plain listener is for the tests themselves: who comes through it may do everything, and so the oracle reads there.

mod authority;

use std::path::PathBuf;
use std::sync::OnceLock;

use base64ct::{Base64UrlUnpadded, Encoding};

pub use authority::{Authority, Certificate};

use super::{Brokers, Kafka, TUNING, properties, unused_topic, wire};
use crate::support::ports;
use crate::support::scratch::Scratch;
use crate::support::wait::wall_clock;

/// Whom the broker knows by password.
pub const USER: &str = "gateway";
/// With which one.
pub const PASSWORD: &str = "right horse";

/// A listener.
#[derive(Debug, Clone, Copy)]
pub enum Door {
    /// TLS; whoever comes may do everything.
    Tls,
    /// TLS, and the client needs a certificate: `CN=…` is who it is.
    MutualTls,
    /// SASL over TLS.
    Sasl,
    /// SASL in the clear.
    ClearSasl,
}

const DOORS: [Door; 4] = [Door::Tls, Door::MutualTls, Door::Sasl, Door::ClearSasl];

impl Door {
    const fn name(self) -> &'static str {
        match self {
            Self::Tls => "TLS",
            Self::MutualTls => "MUTUAL",
            Self::Sasl => "SASL",
            Self::ClearSasl => "CLEAR",
        }
    }

    const fn protocol(self) -> &'static str {
        match self {
            Self::Tls | Self::MutualTls => "SSL",
            Self::Sasl => "SASL_SSL",
            Self::ClearSasl => "SASL_PLAINTEXT",
        }
    }
}

/// What may be done to what, in the numbers of Kafka's protocol (`AclOperation`, `ResourceType`,
/// `PatternType`).
#[derive(Debug, Clone)]
pub enum Grant {
    /// WRITE on a topic.
    Write(String),
    /// READ on a topic.
    Read(String),
    /// WRITE on all transactional ids that begin so.
    Transact(String),
    /// READ on all groups that begin so.
    Group(String),
}

impl Grant {
    fn wire(&self) -> wire::Acl<'_> {
        const TOPIC: i8 = 2;
        const GROUP: i8 = 3;
        const TRANSACTIONAL_ID: i8 = 5;
        const READ: i8 = 3;
        const WRITE: i8 = 4;
        const LITERAL: i8 = 3;
        const PREFIXED: i8 = 4;
        let (resource, name, pattern, operation) = match self {
            Self::Write(topic) => (TOPIC, topic, LITERAL, WRITE),
            Self::Read(topic) => (TOPIC, topic, LITERAL, READ),
            Self::Transact(id) => (TRANSACTIONAL_ID, id, PREFIXED, WRITE),
            Self::Group(group) => (GROUP, group, PREFIXED, READ),
        };
        wire::Acl {
            resource,
            name,
            pattern,
            operation,
        }
    }
}

/// See the module documentation.
#[derive(Debug)]
pub struct Secure {
    kafka: Kafka,
    ports: [u16; 4],
    authority: Authority,
    /// Where the broker reads its own certificate.
    identity: PathBuf,
}

/// The one that tests share which do not disturb it.
pub fn shared() -> &'static Secure {
    static SHARED: OnceLock<Secure> = OnceLock::new();
    SHARED.get_or_init(|| {
        let secure = Secure::start();
        secure.know_user();
        secure
    })
}

impl Secure {
    /// One of its own, running.
    pub fn start() -> Self {
        let authority = Authority::new("Authority of the tests");
        let (port, controller) = (ports::free(), ports::free());
        let ports = [ports::free(), ports::free(), ports::free(), ports::free()];
        let mut identity = PathBuf::new();
        let mut kafka = Kafka::made_of(port, TUNING, |folder| {
            identity = folder.join("identity.pem");
            let certificate = authority.certificate("broker");
            std::fs::write(&identity, certificate.both()).expect("the folder is writable");
            let usual = properties(folder, port, controller);
            secured(&usual, port, controller, ports, &authority, folder)
        });
        kafka.restart();
        Self {
            kafka,
            ports,
            authority,
            identity,
        }
    }

    /// Makes [`USER`] known to the SCRAM mechanisms, which the other ways in do not need.
    fn know_user(&self) {
        for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
            let change = format!("--add-config={mechanism}=[password={PASSWORD}]");
            self.kafka
                .alter(&["--entity-type", "users", "--entity-name", USER], &change);
        }
    }

    /// The broker, through its plain listener.
    pub const fn kafka(&self) -> &Kafka {
        &self.kafka
    }

    /// Where a client finds a listener.
    pub fn door(&self, door: Door) -> String {
        let port = self.ports[door as usize];
        format!("127.0.0.1:{port}")
    }

    /// Who signed its certificate, and believes whom.
    pub const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Restarts it with another certificate.
    pub fn show(&mut self, certificate: &Certificate) {
        self.kafka.stop();
        std::fs::write(&self.identity, certificate.both()).expect("the folder is writable");
        self.kafka.restart();
    }

    /// A new topic that everybody may write to.
    pub fn open_topic(&self, name: &str) -> String {
        let topic = unused_topic(name);
        self.kafka.create_topic(&topic, super::PARTITIONS, &[]);
        self.grant("User:*", &Grant::Write(topic.clone()));
        topic
    }

    /// Allows somebody something.
    pub fn grant(&self, principal: &str, grant: &Grant) {
        wire::create_acl(self.kafka.port(), principal, &grant.wire()).expect("kafka grants");
    }
}

impl Brokers for Secure {
    fn bootstrap(&self) -> String {
        self.kafka.bootstrap()
    }

    fn fresh_topic(&self, name: &str) -> String {
        self.open_topic(name)
    }
}

fn secured(
    usual: &str,
    port: u16,
    controller: u16,
    ports: [u16; 4],
    authority: &Authority,
    folder: &Scratch,
) -> String {
    let all = |line: &dyn Fn(Door, u16) -> String| {
        let lines = DOORS.into_iter().zip(ports).map(|(door, port)| line(door, port));
        lines.collect::<String>()
    };
    let listeners = all(&|door, port| format!(",{}://127.0.0.1:{port}", door.name()));
    let map = all(&|door, _| format!(",{}:{}", door.name(), door.protocol()));
    let logins = [Door::Sasl, Door::ClearSasl].map(logins).concat();
    let (identity, ca) = (folder.join("identity.pem"), authority.ca());
    // The later one of two lines counts.
    format!(
        "{usual}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{listeners}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}{listeners}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT{map}
inter.broker.listener.name=PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location={}
ssl.truststore.type=PEM
ssl.truststore.location={}
listener.name.mutual.ssl.client.auth=required
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
{logins}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
",
        identity.display(),
        ca.display()
    )
}

/// Who may log in at a listener. Tokens are believed without a signature: Kafka has that for tests.
fn logins(door: Door) -> String {
    let name = format!("listener.name.{}", door.name().to_lowercase());
    let common = "org.apache.kafka.common.security";
    format!(
        "\
{name}.plain.sasl.jaas.config={common}.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";
{name}.scram-sha-256.sasl.jaas.config={common}.scram.ScramLoginModule required;
{name}.scram-sha-512.sasl.jaas.config={common}.scram.ScramLoginModule required;
{name}.oauthbearer.sasl.jaas.config={common}.oauthbearer.OAuthBearerLoginModule required;
"
    )
}

/// A token for [`USER`] without a signature that ends so many seconds from now.
pub fn token(seconds: i64) -> String {
    let now = wall_clock()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("it is later");
    let end = now.as_secs().cast_signed() + seconds;
    let begin = end.min(now.as_secs().cast_signed()) - 60;
    let claims = format!(r#"{{"sub":"{USER}","iat":{begin},"exp":{end}}}"#);
    let encode = |text: &str| Base64UrlUnpadded::encode_string(text.as_bytes());
    format!("{}.{}.", encode(r#"{"alg":"none"}"#), encode(&claims))
}
