//! Unsubscribes what the lane no longer wants, as soon as its session can spare it.

use std::convert::Infallible;
use std::sync::Mutex;

use tokio::sync::{Notify, mpsc};

use super::{Order, lock};
use crate::source::handover::Seat;
use crate::source::leftover::Leftover;

/// Orders an UNSUBSCRIBE whenever one is due. `answered` says that the connection is there, or that an answer made room.
pub async fn run(
    leftover: &Mutex<Leftover>,
    seat: &Seat,
    answered: &Notify,
    orders: mpsc::Sender<Order>,
) -> Infallible {
    let mut changes = seat.changes();
    loop {
        let due = lock(leftover).due(|filter| seat.can_spare(filter));
        for filter in due {
            if orders.send(Order::Unsubscribe(filter)).await.is_err() {
                // The sender is gone, and the connection with it.
                std::future::pending::<()>().await;
            }
        }
        tokio::select! {
            biased; // In one order, so that a simulation goes the same way again.
            () = answered.notified() => {}
            () = changes.next() => {}
        }
    }
}
