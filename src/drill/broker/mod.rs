//! A scripted MQTT broker on a Unix socket in the scratch directory: it keeps sessions, sends QoS 1 from a script, notes which
//! packets were acknowledged, and sends what was not again.
//!
//! Own code, because it has to know what no broker tells: when exactly an acknowledgement came, of what, and on which
//! connection. The packets are read and written by rumqttc's codec. rumqttd is not in the package.

mod session;
mod wire;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::book::Book;
use crate::source::Version;
use session::{Link, Session, Settled};
use wire::{Said, Say};

/// How often whoever writes looks whether its connection is still the one.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Bytes that are read at once.
const PIECE: usize = 16 * 1024;
/// Written at once at most, bytes: a packet may be larger.
const WRITE_PIECE: usize = 64 * 1024;
/// The daemon connects once for each lane; a connection that has ended is gone within [`LOOK_EVERY`].
const CONNECTIONS_MAX: u64 = 64;

/// One message of the script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// Its number, in its payload too.
    pub(super) number: u64,
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) user: Vec<(String, String)>,
    pub(super) content_type: Option<String>,
    pub(super) response_topic: Option<String>,
}

/// One `[[mqtt]]` table's broker. It ends with the process.
#[derive(Debug, Clone)]
pub(super) struct Broker(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    version: Version,
    /// Unacknowledged messages that an MQTT 3.1.1 client gets.
    window: usize,
    state: Mutex<State>,
    changed: Condvar,
    book: Arc<Mutex<Book>>,
}

#[derive(Debug, Default)]
struct State {
    /// By client id.
    sessions: BTreeMap<String, Session>,
    links: Link,
    /// Connections that live.
    open: u64,
}

impl Broker {
    /// Listens at `socket`. What happens is noted in `book`, where a client's id is `prefix` and the name of its lane.
    pub(super) fn start(
        socket: &Path,
        version: Version,
        window: u16,
        book: &Arc<Mutex<Book>>,
    ) -> std::io::Result<Self> {
        let listener = UnixListener::bind(socket)?;
        let shared = Arc::new(Shared {
            version,
            window: usize::from(window),
            state: Mutex::default(),
            changed: Condvar::new(),
            book: Arc::clone(book),
        });
        let accepting = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("MQTT script".to_owned())
            .spawn(move || accept(&listener, &accepting))?;
        Ok(Self(shared))
    }

    /// Publishes to whoever has subscribed.
    pub(super) fn publish(&self, message: &Arc<Message>) {
        let mut state = self.0.state();
        let mut book = self.0.book();
        for (client, session) in &mut state.sessions {
            if let (Some(qos), Some(lane)) = (session.offer(message), lane_of(client)) {
                book.offered(lane, message.number, qos);
            }
        }
        self.0.changed.notify_all();
    }

    /// Whether this lane's client is there, and has subscribed.
    pub(super) fn hears(&self, lane: &str) -> bool {
        let state = self.0.state();
        let mut sessions = state.sessions.iter();
        sessions.any(|(client, session)| {
            lane_of(client) == Some(lane) && session.is_connected() && session.is_subscribed()
        })
    }

    /// Messages that the slowest session has not acknowledged.
    pub(super) fn backlog(&self) -> usize {
        let state = self.0.state();
        state.sessions.values().map(Session::backlog).max().unwrap_or(0)
    }
}

/// What client ids of the drill's daemon begin with; the name of a lane follows.
pub(super) const CLIENT: &str = "drill";

fn lane_of(client: &str) -> Option<&str> {
    client.strip_prefix(CLIENT)?.strip_prefix('-')
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn accept(listener: &UnixListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            return;
        };
        {
            let mut state = shared.state();
            if state.open >= CONNECTIONS_MAX {
                continue;
            }
            state.open += 1;
        }
        let serving = Arc::clone(shared);
        let thread = std::thread::Builder::new().name("MQTT link".to_owned());
        let served = thread.spawn(move || {
            serve(&stream, &serving);
            serving.state().open -= 1;
        });
        if served.is_err() {
            shared.state().open -= 1;
        }
    }
}

/// One connection, from its CONNECT to its end.
fn serve(stream: &UnixStream, shared: &Arc<Shared>) {
    let mut bytes = BytesMut::new();
    let Some(Said::Connect {
        client,
        is_clean,
        window,
    }) = next(stream, shared.version, &mut bytes)
    else {
        return;
    };
    let window = window.map_or(shared.window, usize::from);
    let link = shared.take_over(&client, is_clean, window);
    let writing = stream.try_clone().and_then(|writing| {
        let (shared, client) = (Arc::clone(shared), client.clone());
        let thread = std::thread::Builder::new().name("MQTT sending".to_owned());
        thread.spawn(move || send(writing, &shared, &client, link))
    });
    while let Some(said) = next(stream, shared.version, &mut bytes) {
        if matches!(said, Said::Leaving | Said::Connect { .. }) || !shared.hear(&client, link, said) {
            break;
        }
    }
    shared.let_go(&client, link);
    // Ends whoever writes.
    drop(stream.shutdown(std::net::Shutdown::Both));
    if let Ok(writing) = writing
        && writing.join().is_err()
    {
        tracing::error!("a thread of the drill's broker panicked");
    }
}

impl Shared {
    /// A client connects; its former connection is over.
    fn take_over(&self, client: &str, is_clean: bool, window: usize) -> Link {
        let mut state = self.state();
        state.links += 1;
        let link = state.links;
        if is_clean
            && state.sessions.remove(client).is_some()
            && let Some(lane) = lane_of(client)
        {
            self.book().session_ended(lane);
        }
        let has_session = state.sessions.contains_key(client);
        let session = state.sessions.entry(client.to_owned()).or_default();
        session.connect(link, window);
        session.reply(Say::Connected { has_session });
        drop(state);
        self.changed.notify_all();
        link
    }

    fn let_go(&self, client: &str, link: Link) {
        if let Some(session) = self.state().sessions.get_mut(client) {
            session.disconnect(link);
        }
        self.changed.notify_all();
    }

    /// Does what a client says. False when its connection is not the one any more.
    fn hear(&self, client: &str, link: Link, said: Said) -> bool {
        let mut state = self.state();
        let Some(session) = state.sessions.get_mut(client) else {
            return false;
        };
        if !session.is_on(link) {
            return false;
        }
        match said {
            Said::Subscribe {
                packet,
                filters,
                identifier,
            } => session.subscribe(packet, filters, identifier),
            Said::Unsubscribe { packet, filters } => session.unsubscribe(packet, &filters),
            Said::Acknowledged { packet, is_refused } => {
                let settled = session.acknowledged(packet);
                if let Some(lane) = lane_of(client) {
                    let mut book = self.book();
                    match settled {
                        Settled::Message(number) if is_refused => book.refused(lane, number),
                        Settled::Message(number) => book.acknowledged(lane, number),
                        Settled::Strange => book.strange(lane),
                    }
                }
            }
            Said::Published { packet } if packet > 0 => session.reply(Say::Acknowledged { packet }),
            Said::Ping => session.reply(Say::Pong),
            _ => {}
        }
        drop(state);
        self.changed.notify_all();
        true
    }

    /// Waits for something to write. `None` when the connection is not the one any more.
    fn outgoing(&self, client: &str, link: Link) -> Option<BytesMut> {
        let mut state = self.state();
        loop {
            let session = state.sessions.get_mut(client)?;
            if !session.is_on(link) {
                return None;
            }
            let mut bytes = BytesMut::new();
            while bytes.len() < WRITE_PIECE
                && let Some(next) = session.next()
            {
                if let (Some(sent), Some(lane)) = (next.sent, lane_of(client)) {
                    self.book().sent(lane, sent.number, sent.qos, sent.is_again);
                }
                if let Err(error) = wire::write(self.version, &next.say, &mut bytes) {
                    tracing::warn!(%error, "the drill's broker cannot write a packet");
                    return None;
                }
            }
            if !bytes.is_empty() {
                return Some(bytes);
            }
            let waited = self.changed.wait_timeout(state, LOOK_EVERY);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn send(mut stream: UnixStream, shared: &Shared, client: &str, link: Link) {
    while let Some(bytes) = shared.outgoing(client, link) {
        if stream.write_all(&bytes).is_err() {
            return;
        }
    }
    // It may have been replaced: whoever reads must see that.
    drop(stream.shutdown(std::net::Shutdown::Both));
}

/// The next packet; `None` when the connection is over, or says what is no MQTT.
fn next(mut stream: &UnixStream, version: Version, bytes: &mut BytesMut) -> Option<Said> {
    let mut piece = [0; PIECE];
    loop {
        match wire::read(version, bytes) {
            Ok(Some(said)) => return Some(said),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "the daemon says what is no MQTT");
                return None;
            }
        }
        let count = stream.read(&mut piece).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(piece.get(..count)?);
    }
}

#[cfg(test)]
impl Message {
    pub(super) fn for_test(number: u64, topic: &str) -> Self {
        Self {
            number,
            topic: topic.to_owned(),
            payload: Bytes::from_static(b"x"),
            user: Vec::new(),
            content_type: None,
            response_topic: None,
        }
    }
}
