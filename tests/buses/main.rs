//! Edges on real buses: the real program, and real brokers.
//!
//! A test starts the broker that it needs, on a port and in a folder of its own, and ends it; only
//! RabbitMQ, which takes long to start, is shared by those that do not kill it. What holds for every
//! kind of bus is in `stories`, told once; what a kind has of its own is in the file of its name.
//! Nothing here measures time.
#![forbid(unsafe_code)]

#[allow(dead_code, unused_imports, reason = "shared with tests/e2e, which uses all of it")]
#[path = "../e2e/support/mod.rs"]
mod support;

mod broker;
mod bus;
mod edge;
mod lines;
mod proxy;
mod stories;

#[cfg(feature = "amqp")]
mod amqp;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "mqtt")]
mod mqtt;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "redis")]
mod redis;
