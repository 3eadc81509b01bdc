//! Edges that live off a bus, and what they tell of it.

use std::collections::BTreeMap;

use crate::{
    bus::Bus,
    support::{Answer, Io, Server, ask, eventually},
};

/// What the input of a bus is called in all stories.
pub const INPUT: &str = "bus";

/// Channels keep everything that a story publishes, so that nothing but a fault makes a gap.
const CHANNELS_KEEP: &str = "* history=400000 history-bytes=1GiB";

/// An input's text: reads the bus at this port, with more words behind it.
pub fn input<B: Bus>(bus: &B, port: u16, more: &str) -> String {
    format!("{} name={INPUT} {} {more}", bus.source(port), B::MAPPING)
}

/// An edge on this bus, ready.
#[track_caller]
pub fn edge_on<B: Bus>(bus: &mut B) -> Server {
    let port = bus.port();
    let edge = edge(&input(bus, port, ""), &[]);
    await_ready(&edge);
    edge
}

/// An edge with one input that serves and need not be ready, with more flags.
#[track_caller]
pub fn edge(input: &str, more: &[&str]) -> Server {
    let given = ["--input", input, "--channels", CHANNELS_KEEP];
    // Subscribers that read late or say nothing are no story of these.
    let patient = ["--ping-interval", "1h", "--stall-timeout", "1h"];
    let flags = [&given, &patient, more].concat();
    Server::start(Io::Uring, &flags)
}

/// What `/readyz` says.
#[track_caller]
pub fn readiness(edge: &Server) -> Answer {
    ask(edge.control, "GET /readyz HTTP/1.1\r\nHost: localhost\r\n")
}

/// Waits until the edge is ready: its inputs are connected and have read what was there.
#[track_caller]
pub fn await_ready(edge: &Server) {
    eventually("the edge is ready", || (readiness(edge).head.status == 200).then_some(()));
}

/// Waits until the input has come back to its bus so many times, and reads it.
#[track_caller]
pub fn await_reconnects(edge: &Server, times: u64) {
    eventually("the input comes back", || {
        let told = metrics(edge);
        let is = |name: &str, least: u64| told.get(&keyed(name, "")).is_some_and(|&it| it >= least);
        (is("stentor_input_reconnects_total", times) && is("stentor_input_connected", 1))
            .then_some(())
    });
}

/// Waits until so many records were passed over for this reason.
#[track_caller]
pub fn await_skipped(edge: &Server, reason: &str, expected: u64) {
    eventually(&format!("{expected} records are skipped: {reason}"), || {
        (skipped(edge, reason) == expected).then_some(())
    });
}

/// Records that were passed over for this reason.
#[track_caller]
pub fn skipped(edge: &Server, reason: &str) -> u64 {
    let key = keyed("stentor_input_skipped_total", &format!("reason=\"{reason}\""));
    metrics(edge).get(&key).copied().unwrap_or(0)
}

/// A number that `/metrics` tells of the input, like `stentor_input_records_total`.
#[track_caller]
pub fn told_of_input(edge: &Server, name: &str) -> u64 {
    let told = metrics(edge);
    *told.get(&keyed(name, "")).unwrap_or_else(|| panic!("no {name} in {told:#?}"))
}

/// What a metric is found by.
fn keyed(name: &str, reason: &str) -> (String, String) {
    (name.to_owned(), reason.to_owned())
}

/// What `/metrics` tells of [`INPUT`]: by name and `reason`, if it has one.
#[track_caller]
fn metrics(edge: &Server) -> BTreeMap<(String, String), u64> {
    let answer = ask(edge.control, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n");
    let text = String::from_utf8(answer.body).expect("text");
    let ours = format!("input=\"{INPUT}\"");
    let lines = text.lines().filter(|line| line.contains(&ours));
    lines
        .map(|line| {
            let (name, rest) = line.split_once('{').expect("labels");
            let (labels, value) = rest.rsplit_once("} ").expect("a value");
            let reason = labels.split(',').find(|label| label.starts_with("reason="));
            let value: f64 = value.parse().expect("a number");
            (keyed(name, reason.unwrap_or_default()), value as u64)
        })
        .collect()
}
