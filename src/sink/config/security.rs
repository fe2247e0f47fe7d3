//! The keys of `[kafka]` about TLS and SASL.

use std::path::PathBuf;

/// How the link to Kafka is protected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Security {
    /// `password_file`: becomes `sasl.password`.
    pub password_file: Option<PathBuf>,
}

/// How edgeferry says who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sasl {}
