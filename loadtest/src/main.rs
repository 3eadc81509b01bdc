//! The `stentor-loadtest` program.
#![forbid(unsafe_code)]
use std::time::Duration;
use stentor_loadtest::{decoder::Transport, live::Display, order::*, plan::*, run};
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
fn main() {
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let arg = |name: &str, or: f64| {
        let a: Vec<String> = std::env::args().collect();
        a.iter().position(|x| x == name).map_or(or, |i| a[i + 1].parse().unwrap())
    };
    let group = |connections, prefix: &str| Group {
        connections,
        channels: 1,
        prefix: prefix.into(),
        spread: Spread::Even,
    };
    let plan = Plan {
        name: "x".into(),
        idle: group(arg("--idle", 0.0) as u32, "quiet"),
        active: group(arg("--active", 1000.0) as u32, "busy"),
        transports: vec![(Transport::WebSocket, 1)],
        ramp: arg("--ramp", 30000.0) as u32,
        publishing: Publishing {
            rate_from: arg("--rate", 10.0),
            rate_to: arg("--rate", 10.0),
            burst: 1,
            duration: Duration::from_secs_f64(arg("--duration", 5.0)),
            broadcasts: arg("--broadcasts", 1.0) as u32,
            broadcast_every: Duration::from_secs_f64(arg("--every", 10.0)),
            payload_min: 64,
            payload_max: 64,
            publishers: 4,
        },
        churn: Churn {
            per_second: arg("--churn", 0.0),
            storm_share: arg("--storm", 0.0),
            storm_every: Duration::from_secs(2),
        },
        slow: Slow { share: arg("--slow", 0.0), bytes_per_second: 100, may_be_closed: true },
        settle: Duration::from_secs(20),
    };
    let n = (plan.connections() as f64 * 1.05) as u32 + 100;
    let order = Order {
        plan,
        endpoints: Endpoints {
            profile: "stentor".into(),
            subscribe: vec![(
                Transport::WebSocket,
                Subscribe {
                    address: "127.0.0.1:8080".parse().unwrap(),
                    host: "127.0.0.1:8080".into(),
                    path: "/ws/{channel}".into(),
                    headers: vec![],
                },
            )],
            publish: Some(Publish {
                method: "POST".into(),
                url: "http://127.0.0.1:8081/publish/{channel}".into(),
                headers: vec![],
            }),
        },
        spawn: Some(format!("target/release/stentor serve --max-connections {n}")),
        pid: None,
        threads: arg("--threads", 2.0) as u32,
        agents: vec![],
        agent_key: None,
        ignores_limits: false,
        server_log: Some("/tmp/server.log".into()),
    };
    let mut display = Display::new(false);
    match run::run(&order, &mut display) {
        Err(e) => eprintln!("{e}"),
        Ok(mut r) => {
            let t = &r.tally;
            println!(
                "ramp {:?} {:?}\n{:?}\n{:?}",
                r.ramp, t.connections, t.deliveries, r.publications
            );
            for h in [&t.times.connect, &t.times.handshake, &t.times.first, &t.times.delivery] {
                println!(
                    "{} p50 {} p99 {} p999 {} max {}",
                    h.len(),
                    h.value_at_quantile(0.5),
                    h.value_at_quantile(0.99),
                    h.value_at_quantile(0.999),
                    h.max()
                );
            }
            println!("{:?}", &t.spreads[r.first_broadcast as usize..]);
            if let Some(s) = &mut r.server {
                s.seconds.clear();
            }
            r.client.seconds.clear();
            println!("{:?}\n{:?}", r.server, r.client);
        }
    }
}
