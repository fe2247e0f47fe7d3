//! Administrative requests that the client library does not offer, written byte by byte after Kafka's protocol
//! definitions (`AlterPartitionReassignmentsRequest.json`, `ElectLeadersRequest.json`,
//! `CreateAclsRequest.json`).

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long Kafka may take for an answer; it forwards the request to its controller.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
const ANSWER_LIMIT_MS: i32 = 10_000;
/// Answers about one topic are far smaller.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

const ALTER_PARTITION_REASSIGNMENTS: i16 = 45;
const ELECT_LEADERS: i16 = 43;
const CREATE_ACLS: i16 = 30;
const ALLOW: i8 = 3;
/// The first replica of a partition becomes its leader.
const PREFERRED: i8 = 0;
/// No tagged fields.
const NO_TAGS: u8 = 0;

/// Gives every partition its replicas in another order (or other replicas): `replicas[partition]`.
///
/// # Errors
/// The connection's, or Kafka's code for the request as a whole.
pub fn reassign(port: u16, topic: &str, replicas: &[Vec<i32>]) -> io::Result<()> {
    let mut body = Vec::new();
    body.push(NO_TAGS);
    body.extend(ANSWER_LIMIT_MS.to_be_bytes());
    compact_len(&mut body, 1);
    compact_len(&mut body, topic.len());
    body.extend(topic.as_bytes());
    compact_len(&mut body, replicas.len());
    for (partition, replicas) in (0i32..).zip(replicas) {
        body.extend(partition.to_be_bytes());
        compact_len(&mut body, replicas.len());
        body.extend(replicas.iter().flat_map(|id| id.to_be_bytes()));
        body.push(NO_TAGS);
    }
    // Of the topic, and of the request.
    body.extend([NO_TAGS, NO_TAGS]);
    let answer = ask(port, ALTER_PARTITION_REASSIGNMENTS, 0, &body)?;
    // Correlation id, tags, and how long we were throttled.
    outcome(&answer, 4 + 1 + 4)
}

/// One operation on one kind of resource, by the numbers of the protocol.
#[derive(Debug)]
pub struct Acl<'a> {
    /// `ResourceType`
    pub resource: i8,
    /// Its name.
    pub name: &'a str,
    /// `PatternType`: how the name is meant.
    pub pattern: i8,
    /// `AclOperation`
    pub operation: i8,
}

/// Allows it a principal, from any host.
///
/// # Errors
/// The connection's, or Kafka's code for the entry.
pub fn create_acl(port: u16, principal: &str, acl: &Acl<'_>) -> io::Result<()> {
    let mut body = 1i32.to_be_bytes().to_vec();
    body.extend(acl.resource.to_be_bytes());
    text(&mut body, acl.name);
    body.extend(acl.pattern.to_be_bytes());
    text(&mut body, principal);
    text(&mut body, "*");
    body.extend(acl.operation.to_be_bytes());
    body.extend(ALLOW.to_be_bytes());
    let answer = ask(port, CREATE_ACLS, 1, &body)?;
    // Correlation id, how long we were throttled, and how many entries follow.
    outcome(&answer, 4 + 4 + 4)
}

/// Makes the first replica of each of a topic's partitions its leader.
///
/// # Errors
/// The connection's, or Kafka's code for the request as a whole.
pub fn elect_preferred(port: u16, topic: &str, partitions: i32) -> io::Result<()> {
    let mut body = PREFERRED.to_be_bytes().to_vec();
    body.extend(1i32.to_be_bytes());
    text(&mut body, topic);
    body.extend(partitions.to_be_bytes());
    body.extend((0..partitions).flat_map(i32::to_be_bytes));
    body.extend(ANSWER_LIMIT_MS.to_be_bytes());
    let answer = ask(port, ELECT_LEADERS, 1, &body)?;
    // Correlation id, and how long we were throttled.
    outcome(&answer, 4 + 4)
}

fn ask(port: u16, key: i16, version: i16, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut request = Vec::new();
    request.extend(key.to_be_bytes());
    request.extend(version.to_be_bytes());
    // The correlation id: there is one request on this connection.
    request.extend(1i32.to_be_bytes());
    text(&mut request, "tests");
    request.extend(body);

    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    let len = u32::try_from(request.len()).expect("a small request");
    stream.write_all(&len.to_be_bytes())?;
    stream.write_all(&request)?;
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    let len = usize::try_from(u32::from_be_bytes(len)).expect("64 bits");
    assert!(len < MAX_ANSWER_BYTES, "{len} bytes are no answer to this");
    let mut answer = vec![0; len];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// The error code of an answer, at byte `at`.
fn outcome(answer: &[u8], at: usize) -> io::Result<()> {
    let code = answer
        .get(at..at + 2)
        .ok_or(io::ErrorKind::UnexpectedEof)?
        .try_into();
    match i16::from_be_bytes(code.expect("two bytes")) {
        0 => Ok(()),
        code => Err(io::Error::other(format!("Kafka's error {code}"))),
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend(i16::try_from(text.len()).expect("a short name").to_be_bytes());
    out.extend(text.as_bytes());
}

/// A length in a flexible message: one more, as a varint of one byte.
fn compact_len(out: &mut Vec<u8>, len: usize) {
    let len = u8::try_from(len + 1).ok().filter(|len| *len < 0x80);
    out.push(len.expect("short lists and names"));
}
