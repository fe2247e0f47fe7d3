//! The gateway's end of a connection to a broker: what `rumqttc` is in the product.

use edgeferry::source::Subscription;
use edgeferry::source::played::{Acknowledgement, Client, Connector, Event, Events, Failure, Gone, REQUESTS};
use tokio::sync::mpsc;

use crate::broker::Up;
use crate::world::with;

/// Makes connections to the broker of this number.
pub struct Dial(pub usize);

/// Like the real one: a bounded channel that only the event loop empties.
pub struct Asks(mpsc::Sender<Request>);

#[derive(Debug)]
enum Request {
    Acknowledge(u16),
    Subscribe(Vec<String>),
    Unsubscribe,
    Disconnect,
}

/// The receiving side.
pub struct Hears {
    connection: usize,
    /// What to say first.
    connect: Option<Up>,
    requests: mpsc::Receiver<Request>,
    events: mpsc::Receiver<Result<Event, Failure>>,
    packet_id: u16,
}

impl Dial {
    fn open(&self, is_clean: bool) -> (Asks, Hears) {
        let (ask, requests) = mpsc::channel(REQUESTS);
        let (connection, events) = with(|world| world.open_connection(self.0));
        let hears = Hears {
            connection,
            connect: Some(Up::Connect { is_clean }),
            requests,
            events,
            packet_id: 0,
        };
        (Asks(ask), hears)
    }
}

impl Connector for Dial {
    type Client = Asks;
    type Events = Hears;

    fn connect(&self, _packet_limit: u32) -> (Asks, Hears) {
        self.open(false)
    }

    fn connect_clean(&self) -> (Asks, Hears) {
        self.open(true)
    }
}

impl Asks {
    async fn ask(&self, request: Request) -> Result<(), Gone> {
        self.0.send(request).await.map_err(|_| Gone)
    }
}

impl Client for Asks {
    async fn acknowledge(&self, what: Acknowledgement) -> Result<(), Gone> {
        self.ask(Request::Acknowledge(what.packet_id)).await
    }

    async fn subscribe(&self, filters: &[Subscription]) -> Result<(), Gone> {
        let filters = filters.iter().map(|wanted| wanted.filter.clone()).collect();
        self.ask(Request::Subscribe(filters)).await
    }

    async fn unsubscribe(&self, _filter: &str) -> Result<(), Gone> {
        self.ask(Request::Unsubscribe).await
    }

    async fn disconnect(&self) -> Result<(), Gone> {
        self.ask(Request::Disconnect).await
    }
}

impl Events for Hears {
    async fn next(&mut self) -> Result<Event, Failure> {
        if let Some(connect) = self.connect.take() {
            tell(self.connection, connect);
        }
        // Which of the two comes first is chance, as with the real one.
        let asks_first = with(|world| world.dice.chance(500));
        let (requests, events) = (&mut self.requests, &mut self.events);
        let (request, event) = if asks_first {
            tokio::select! {
                biased;
                Some(request) = requests.recv() => (Some(request), None),
                event = events.recv() => (None, event),
            }
        } else {
            tokio::select! {
                biased;
                event = events.recv() => (None, event),
                Some(request) = requests.recv() => (Some(request), None),
            }
        };
        match (request, event) {
            (Some(request), _) => Ok(self.send(request)),
            (None, Some(event)) => event,
            (None, None) => std::future::pending().await,
        }
    }
}

impl Hears {
    fn send(&mut self, request: Request) -> Event {
        let connection = self.connection;
        let (what, event) = match request {
            Request::Acknowledge(id) => {
                with(|world| world.acknowledges(connection, id));
                (Up::Puback(id), Event::AcknowledgementSent)
            }
            Request::Subscribe(filters) => {
                self.packet_id += 1;
                (
                    Up::Subscribe(self.packet_id, filters),
                    Event::SubscribeSent(self.packet_id),
                )
            }
            Request::Unsubscribe => {
                self.packet_id += 1;
                (
                    Up::Unsubscribe(self.packet_id),
                    Event::UnsubscribeSent(self.packet_id),
                )
            }
            Request::Disconnect => (Up::Disconnect, Event::DisconnectSent),
        };
        tell(connection, what);
        event
    }
}

/// Says something to the broker, and wakes whoever waits for what comes next.
fn tell(connection: usize, what: Up) {
    with(|world| {
        world.say_up(connection, what);
        world.news.notify_one();
    });
}

impl Drop for Hears {
    fn drop(&mut self) {
        with(|world| world.client_left(self.connection));
    }
}
