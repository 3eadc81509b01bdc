//! What is shown while a run goes on (placeholder).
#![allow(missing_docs)]
use crate::record::UseSecond;
use std::time::Duration;
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Starting,
    Ramp,
    Publishing,
    Broadcasts,
    Settling,
    Done,
}
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub phase: Phase,
    pub elapsed: Duration,
    pub phase_share: f64,
    pub connections: u64,
    pub requested: u64,
    pub failed: u64,
    pub publications: u64,
    pub deliveries: u64,
    pub deliveries_per_second: f64,
    pub p50_micros: Option<f64>,
    pub p99_micros: Option<f64>,
    pub faults: u64,
    pub server: Option<UseSecond>,
    pub client: UseSecond,
}
pub struct Display;
impl Display {
    pub fn new(_quiet: bool) -> Display {
        Display
    }
    pub fn show(&mut self, snapshot: &Snapshot) {
        if (snapshot.elapsed.as_millis() / 100) % 20 == 0 {
            eprintln!("{snapshot:?}");
        }
    }
    pub fn say(&mut self, line: &str) {
        eprintln!("{line}");
    }
    pub fn finish(&mut self) {}
}
