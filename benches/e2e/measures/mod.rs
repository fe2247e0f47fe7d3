//! What is measured, one file for each part. Bridges take turns within each: A B A B.

pub mod card;
pub mod drain;
pub mod far;
pub mod growth;
pub mod latency;
pub mod link;
pub mod load;
pub mod pull;
pub mod run;
pub mod stages;
pub mod throughput;
