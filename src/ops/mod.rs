//! How the daemon shows itself: logs, the service manager, the state of the whole.

pub mod brief;
pub mod certificates;
pub mod control;
pub mod events;
pub mod hand;
pub mod history;
pub mod http;
mod journal;
pub mod logging;
pub mod state;
pub mod systemd;

pub use state::{Look, State};
