//! How the daemon shows itself: logs, the service manager, the state of the whole.

pub mod brief;
pub mod control;
pub mod hand;
pub mod logging;
pub mod overview;
pub mod state;
pub mod systemd;

pub use overview::{LaneOverview, Overview};
pub use state::{Look, State};
