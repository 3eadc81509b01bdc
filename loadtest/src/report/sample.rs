//! Records for tests: a million connections without a fault, a small run with every fault, and
//! one in which nothing happened.

use std::time::{Duration, SystemTime};

use crate::{
    plan::{self, Plan},
    record::{AgentNote, ClientUse, Publications, Record, ServerUse, UseSecond},
    tally::{Connections, Deliveries, Names, Second, Spread, Storm, Tally, heat_row},
    watch::Machine,
};

/// 900,000 idle and 100,000 active connections: 60 publications to the active ones, a second
/// apart, and three broadcasts. The server shares the machine.
pub fn million() -> Record {
    let mut record = empty("million");
    record.tally.connections.ramp = Duration::from_secs(1_000_000) / 30_000;
    record.measured = Duration::from_secs(72);
    record.first_broadcast = 60;
    record.publications =
        Publications { due: 63, published: 63, late_micros_max: 3_200, ..Publications::default() };
    let tally = &mut record.tally;
    tally.connections.requested = 1_000_000;
    tally.connections.established = 1_000_000;
    tally.seconds = (1..=112).map(|second| connected((30_000 * second).min(1_000_000))).collect();
    for publication in 0..60 {
        let last = 180_000 + 1_000 * publication;
        for step in 1..=100 {
            let micros = last * (10_000 + 90 * step * step) / 910_000;
            deliver(tally, 35 + publication, micros, 1_000);
        }
        tally.spreads.push(Spread { received: 100_000, last_micros: last as u32 });
    }
    for broadcast in 0..3 {
        let last = 5_700_000 + 100_000 * broadcast;
        (1..=500).for_each(|step| deliver(tally, 95 + 5 * broadcast, last * step / 500, 2_000));
        tally.spreads.push(Spread { received: 1_000_000, last_micros: last as u32 });
    }
    tally.deliveries =
        Deliveries { expected: 9_000_000, received: 9_000_000, ..tally.deliveries.clone() };
    for step in 1..=1_000 {
        tally.times.connect.record_n(40 + step / 2, 1_000).expect("in bounds");
        tally.times.handshake.record_n(300 + 9 * step, 1_000).expect("in bounds");
        tally.times.first.record_n(20_000 * step, 1_000).expect("in bounds");
        tally.times.reading.record_n(100 * step, 9_000).expect("in bounds");
    }
    record.server = Some(ServerUse {
        cpu: Duration::from_millis(27_540),
        resident: 92_000_000,
        resident_before: 19_000_000,
        kernel: 9_100_000_000,
        kernel_is_both_ends: true,
        saturated_share: 0.02,
        seconds: used(&record.tally.seconds, 19_000_000, 73, 0.7),
    });
    record.client = ClientUse {
        cpu: Duration::from_millis(31_200),
        resident: 88_000_000,
        resident_before: 6_500_000,
        saturated_share: 0.04,
        seconds: used(&record.tally.seconds, 6_500_000, 81, 0.9),
    };
    record
}

/// 100 connections against a server that does everything wrong, from a machine that is too busy.
/// Its words are what a page must escape.
pub fn broken() -> Record {
    let mut record = empty("small <i>");
    record.measured = Duration::from_secs(10);
    record.first_broadcast = 50;
    record.publications = Publications {
        due: 50,
        published: 49,
        failed: 1,
        failures: names(&[("503 Service Unavailable: <script>alert('&')</script>", 1)]),
        late_micros_max: 740,
    };
    let tally = &mut record.tally;
    tally.connections = Connections {
        requested: 100,
        established: 97,
        failed: 3,
        ramp: Duration::from_millis(500),
        reconnected: 12,
        resumed: 10,
        recovered: 9,
        storms: vec![Storm { cut: 8, came_back: 7, last_micros: 70_000 }],
        failures: names(&[("connection refused", 9), ("403 Forbidden", 3)]),
    };
    tally.seconds = vec![connected(97); 12];
    for publication in 0..49 {
        deliver(tally, 1 + publication / 5, 900 + 10 * publication, 97);
        tally.spreads.push(Spread { received: 97, last_micros: 900 + 10 * publication as u32 });
    }
    tally.deliveries = Deliveries {
        expected: 4_753,
        received: 4_749,
        lost: 4,
        duplicated: 2,
        repeated: 1,
        unannounced_gap: 2,
        false_recovered: 3,
        false_gap: 1,
        reordered: 1,
        corrupt: 3,
        misdirected: 0,
        unexpected_closes: 1,
        slow_closes: 2,
        gaps: 3,
        skipped: 17,
        recovered: 41,
        examples: names(&[
            ("corrupt: busy-3: checksum of 17 is wrong", 3),
            ("lost: busy-1: 40", 4),
        ]),
    };
    record.client = ClientUse {
        cpu: Duration::from_millis(812),
        resident: 9_700_000,
        resident_before: 0,
        saturated_share: 0.25,
        seconds: used(&record.tally.seconds, 5_000_000, 100, 0.1),
    };
    record.agents = vec![AgentNote {
        address: "10.0.0.2:7000".into(),
        clock_offset_micros: -1_200,
        clock_error_micros: 80,
        is_saturated: false,
    }];
    record
}

/// Nobody connected, and nothing was published.
pub fn silent() -> Record {
    let mut record = empty("idle");
    record.server = Some(ServerUse::default());
    record
}

fn empty(plan: &str) -> Record {
    Record {
        plan: self::plan(plan),
        profile: "stentor".into(),
        target: "ws://127.0.0.1:8080/ws/{channel}".into(),
        is_verified: None,
        began: SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000),
        machine: Machine {
            cpus: 2,
            memory_bytes: 25_200_000_000,
            kernel: "6.18.5".into(),
            cpu_model: "AMD EPYC".into(),
        },
        measured: Duration::ZERO,
        tally: Tally::default(),
        publications: Publications::default(),
        first_broadcast: 0,
        server: None,
        client: ClientUse::default(),
        agents: Vec::new(),
    }
}

fn plan(name: &str) -> Plan {
    let mut plan = plan::sample();
    plan.name = name.into();
    (plan.idle.connections, plan.active.connections) = (900_000, 100_000);
    plan.ramp = 30_000;
    let publishing = &mut plan.publishing;
    (publishing.rate_from, publishing.rate_to) = (1.0, 1.0);
    (publishing.duration, publishing.broadcasts) = (Duration::from_secs(60), 3);
    publishing.broadcast_every = Duration::from_secs(5);
    plan
}

fn connected(connections: u64) -> Second {
    Second { connections, ..Second::default() }
}

/// Records publications that were due at a second and had this latency.
fn deliver(tally: &mut Tally, due: u64, micros: u64, times: u32) {
    tally.times.delivery.record_n(micros, times.into()).expect("in bounds");
    let second = &mut tally.seconds[(due + micros / 1_000_000) as usize];
    second.deliveries += u64::from(times);
    second.heat[heat_row(micros)] += times;
}

/// Processors by how much was connected and delivered in each second, with some unrest.
fn used(seconds: &[Second], before: u64, per_connection: u64, busy: f64) -> Vec<UseSecond> {
    let mut connections = 0;
    let each = seconds.iter().enumerate().map(|(index, second)| {
        let connected = second.connections - connections;
        connections = second.connections;
        let busy = busy * (connected as f64 / 40_000.0 + second.deliveries as f64 / 260_000.0);
        UseSecond {
            processors: busy.min(1.0) + 0.01 * (index * 7 % 5) as f64,
            resident: before + per_connection * connections,
        }
    });
    each.collect()
}

fn names(texts: &[(&str, u64)]) -> Names {
    let mut names = Names::default();
    texts.iter().for_each(|(text, times)| names.count(*text, *times));
    names
}
