//! What the parts around a bridge can do without it: the limits that no bridge passes. Each in a process of its own, and in the same
//! run as the bridges.

pub mod append;
pub mod counters;
pub mod producer;
pub mod subscriber;
