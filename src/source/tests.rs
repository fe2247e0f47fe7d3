//! The source against a scripted broker: events in, actions out, on paused time.

mod acknowledging;
mod connecting;
mod leaving;
mod moving;
mod passing_over;
mod pushing_back;
mod repeating;
pub mod script;
