//! A load tester for broadcast servers: millions of subscribers, honest latency, proof of arrival.
#![forbid(unsafe_code)]

pub mod decoder;
pub mod live;
pub mod order;
pub mod payload;
pub mod plan;
pub mod record;
pub mod report;
pub mod tally;
pub mod watch;
