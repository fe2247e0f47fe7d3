//! A broker for the connections beside the data, played by a test: what is asked of it comes to a [`Peer`], and it says what the
//! test tells it to.

use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc;

use super::client::{Announce, Announcement, Announcer, Event, Events, Failure, Gone};

/// Events, and connections, that nobody has taken: more than any test makes.
const AHEAD: usize = 100;

/// Makes connections, and hands their other ends to the test.
pub struct Script {
    peers: mpsc::Sender<Peer>,
    room: usize,
}

/// The broker's end of one connection.
pub struct Peer {
    /// What the broker publishes when the connection ends without a goodbye.
    pub will: Option<Announcement>,
    /// What is published; `None` is the goodbye.
    pub requests: mpsc::Receiver<Option<Announcement>>,
    events: mpsc::Sender<Result<Event, Failure>>,
    filters: Arc<OnceLock<Vec<String>>>,
}

pub struct Requests {
    requests: mpsc::Sender<Option<Announcement>>,
    filters: Arc<OnceLock<Vec<String>>>,
}

pub struct Said(mpsc::Receiver<Result<Event, Failure>>);

impl Script {
    /// The link has room for so many requests that the peer has not taken.
    pub fn new(room: usize) -> (Self, mpsc::Receiver<Peer>) {
        let (peers, connected) = mpsc::channel(AHEAD);
        (Self { peers, room }, connected)
    }
}

impl Announcer for Script {
    type Client = Requests;
    type Events = Said;

    fn announce(&self, will: Option<Announcement>) -> (Requests, Said) {
        let (events, said) = mpsc::channel(AHEAD);
        let (taken, requests) = mpsc::channel(self.room);
        let filters = Arc::default();
        let client = Requests {
            requests: taken,
            filters: Arc::clone(&filters),
        };
        let peer = Peer {
            will,
            requests,
            events,
            filters,
        };
        drop(self.peers.try_send(peer));
        (client, Said(said))
    }
}

impl Announce for Requests {
    async fn publish(&self, what: Announcement) -> Result<(), Gone> {
        self.requests.send(Some(what)).await.map_err(|_| Gone)
    }

    async fn listen(&self, filters: &[&str]) -> Result<(), Gone> {
        let filters = filters.iter().map(ToString::to_string).collect();
        self.filters
            .set(filters)
            .expect("a connection listens once at most");
        Ok(())
    }

    async fn leave(&self) -> Result<(), Gone> {
        self.requests.send(None).await.map_err(|_| Gone)
    }
}

impl Events for Said {
    async fn next(&mut self) -> Result<Event, Failure> {
        match self.0.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }
}

impl Peer {
    /// What the client hears next.
    pub async fn say(&self, event: Result<Event, Failure>) {
        self.events.send(event).await.expect("somebody listens");
    }

    /// CONNACK, to a client without a session.
    pub async fn connect(&self) {
        let session_present = false;
        self.say(Ok(Event::Connected { session_present })).await;
    }

    /// What the client wants to hear; none so far is none.
    pub fn filters(&self) -> &[String] {
        self.filters.get().map_or(&[], Vec::as_slice)
    }
}
