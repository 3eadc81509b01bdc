//! A load tester for broadcast servers: millions of subscribers, honest latency, proof of arrival.
#![forbid(unsafe_code)]

pub mod cli;
pub mod decoder;
pub mod options;
pub mod order;
pub mod payload;
pub mod plan;
pub mod profile;
pub mod record;
pub mod shelf;
pub mod slo;
pub mod tally;
pub mod units;
pub mod watch;
