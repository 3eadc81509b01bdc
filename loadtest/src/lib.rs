//! A load tester for broadcast servers: millions of subscribers, honest latency, proof of arrival.
#![forbid(unsafe_code)]

pub mod decoder;
pub mod payload;
pub mod preflight;
pub mod watch;
