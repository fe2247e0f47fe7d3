//! The parts that tests and benchmarks run for real, and the oracle that judges what came out.
//!
//! From the outside in: [`scene`] puts a usual set-up together, [`mosquitto`], [`kafka`], [`cluster`] and
//! [`daemon`] are processes, [`proxy`] stands on the way between them, [`devices`] publish and remember what
//! they published, [`oracle`] reads Kafka with a client of its own and compares. [`browser`] is a Chromium, [`gateway`] what it may be shown. Below them: [`process`],
//! [`scratch`], [`ports`] and [`wait`].
//!
//! Nothing here sleeps to let something happen: [`wait::until`] polls with a deadline and says what it
//! waited for. [`wait::let_pass`] is for scenarios that are about time itself.
#![allow(
    dead_code,
    reason = "shared by the tests and the benchmark; each of them uses a part"
)]

pub mod again;
pub mod arrival;
pub mod browser;
pub mod cluster;
pub mod config;
pub mod container;
pub mod daemon;
pub mod devices;
pub mod disk;
pub mod engine;
pub mod example;
pub mod gateway;
pub mod group;
pub mod kafka;
pub mod manual;
pub mod mosquitto;
pub mod mqtt;
pub mod mqtt5;
pub mod notify;
pub mod oracle;
pub mod package;
pub mod payload;
pub mod plots;
pub mod ports;
pub mod proc_stats;
pub mod process;
pub mod program;
pub mod proxy;
pub mod scene;
pub mod scratch;
pub mod seed;
pub mod slow_link;
pub mod takeover;
pub mod telemetry;
pub mod threads;
pub mod trend;
pub mod wait;
