//! A load tester for broadcast servers: millions of subscribers, honest latency, proof of arrival.
#![forbid(unsafe_code)]

pub mod agent;
pub mod bus;
pub mod cli;
pub mod decoder;
pub mod live;
pub mod meter;
pub mod options;
pub mod oracle;
pub mod order;
pub mod payload;
pub mod plan;
pub mod preflight;
pub mod profile;
pub mod program;
pub mod publisher;
pub mod record;
pub mod report;
pub mod run;
pub mod schedule;
pub mod shared;
pub mod shelf;
pub mod slo;
pub mod swarm;
pub mod tally;
pub mod tls;
pub mod units;
pub mod watch;
