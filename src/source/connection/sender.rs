//! Acknowledges, in order of arrival, what is durable.
//!
//! SUBSCRIBE and UNSUBSCRIBE packets go through the same FIFO. The first ones are ahead of everything; one that repeats a
//! refused filter waits until the messages before it are durable, which is milliseconds, or does not matter
//! while the queue is stuck.

use std::sync::Mutex;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{Order, lock};
use crate::slots::SlotError;
use crate::source::client::{Client, Gone};
use crate::source::inbound::{Durable, Owed};
use crate::source::session::SessionFile;

/// Most acknowledgements per write of the session file. What is written there but not sent is in doubt if the
/// connection ends now; so not many more than the client takes at once.
const GROUP: usize = super::super::client::REQUESTS;

pub struct Sender<'a, C> {
    client: &'a C,
    orders: mpsc::Receiver<Order>,
    /// Taken from `orders`, but not its turn yet.
    held: Option<Order>,
    durable: Durable,
    session: &'a Mutex<SessionFile>,
    leave: CancellationToken,
}

impl<'a, C: Client> Sender<'a, C> {
    pub fn new(
        client: &'a C,
        orders: mpsc::Receiver<Order>,
        durable: Durable,
        session: &'a Mutex<SessionFile>,
        leave: CancellationToken,
    ) -> Self {
        Self {
            client,
            orders,
            held: None,
            durable,
            session,
            leave,
        }
    }

    /// Ends only when the session file cannot be written. When the client is gone this waits for the reader
    /// to find out why.
    pub async fn run(mut self) -> SlotError {
        loop {
            let sent = match self.next().await {
                Some(Order::Subscribe(filters)) => self.client.subscribe(&filters).await,
                Some(Order::Unsubscribe(filter)) => self.client.unsubscribe(&filter).await,
                Some(Order::Acknowledge(owed)) => match self.acknowledge(owed).await {
                    Ok(sent) => sent,
                    Err(error) => return error,
                },
                None => {
                    // The reader sees it leave; if the client is gone it sees that.
                    if self.client.disconnect().await == Err(Gone) {
                        debug!("the connection ended before the goodbye could be sent");
                    }
                    Err(Gone)
                }
            };
            if sent == Err(Gone) {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The next order; `None` when we leave and nothing is owed any more.
    async fn next(&mut self) -> Option<Order> {
        if let Some(order) = self.held.take() {
            return Some(order);
        }
        tokio::select! {
            biased; // What is owed goes out before the goodbye.
            order = self.orders.recv() => order,
            () = self.leave.cancelled() => None,
        }
    }

    async fn acknowledge(&mut self, first: Owed) -> Result<Result<(), Gone>, SlotError> {
        self.durable.reached(first.after).await;
        let group = self.group(first);
        let highest = group
            .iter()
            .map(|owed| owed.position)
            .max()
            .unwrap_or(first.position);
        lock(self.session).hand_over(highest)?;
        for owed in group {
            if let Err(gone) = self.client.acknowledge(owed.what).await {
                return Ok(Err(gone));
            }
        }
        Ok(Ok(()))
    }

    /// `first` and what follows it and is durable already.
    fn group(&mut self, first: Owed) -> Vec<Owed> {
        let (mut group, durable) = (vec![first], self.durable.now());
        while group.len() < GROUP && self.held.is_none() {
            match self.orders.try_recv() {
                Ok(Order::Acknowledge(owed)) if owed.after <= durable => group.push(owed),
                Ok(order) => self.held = Some(order),
                Err(_) => break,
            }
        }
        group
    }
}
