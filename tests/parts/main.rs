//! Index
mod instrument;
#[path = "../support/mod.rs"]
mod support;
