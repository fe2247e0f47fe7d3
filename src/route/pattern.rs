//! MQTT patterns with names.
/// `devices/{device}/telemetry`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern;
