//! Templates over a pattern's names.
/// `{device}`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template;
