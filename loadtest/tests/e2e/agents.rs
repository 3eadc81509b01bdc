//! Runs on several machines, with the real server: agents that are threads here, on real sockets.

use std::{
    net::TcpListener,
    sync::{
        atomic::AtomicBool,
        mpsc::{self, Receiver},
    },
    thread,
    time::Duration,
};

use stentor_loadtest::{
    agent,
    decoder::Transport,
    live::Display,
    order::{Endpoints, Order, Publish, Subscribe},
    plan::{Churn, Group, Plan, Publishing, Slow, Spread},
    run::run,
};

use crate::stentor::{free_address, serve_at};

/// An agent that serves until the tests end, and what it tells.
struct Agent {
    address: String,
    tales: Receiver<String>,
}

impl Agent {
    fn start(key: Option<&str>) -> Agent {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (tell, tales) = mpsc::channel();
        let key = key.map(String::from);
        thread::spawn(move || {
            agent::serve(listener, key, &mut |tale| {
                eprintln!("{tale}");
                drop(tell.send(tale.to_owned()));
            })
        });
        Agent { address, tales }
    }

    /// Waits until it tells that.
    fn await_tale(&self, end: &str) {
        loop {
            let tale = self.tales.recv_timeout(Duration::from_secs(60));
            if tale.expect("it tells that").ends_with(end) {
                return;
            }
        }
    }
}

/// 200 subscribers over both transports, publications and broadcasts, and some that leave and come
/// back.
fn plan() -> Plan {
    let group = |connections, channels, prefix: &str| Group {
        connections,
        channels,
        prefix: prefix.into(),
        spread: Spread::Even,
    };
    Plan {
        name: "two machines".into(),
        idle: group(50, 5, "quiet"),
        active: group(150, 10, "busy"),
        transports: vec![(Transport::WebSocket, 3), (Transport::Sse, 1)],
        ramp: 500,
        publishing: Publishing {
            rate_from: 50.0,
            rate_to: 50.0,
            burst: 1,
            duration: Duration::from_secs(2),
            broadcasts: 2,
            broadcast_every: Duration::from_millis(200),
            payload_min: 54,
            payload_max: 200,
            publishers: 2,
        },
        churn: Churn { per_second: 100.0, storm_share: 0.0, storm_every: Duration::from_secs(1) },
        resume: false,
        slow: Slow { share: 0.0, stalled: 0.0, bytes_per_second: 1, may_be_closed: false },
        settle: Duration::from_secs(20),
    }
}

fn order(agents: Vec<String>, agent_key: Option<&str>) -> Order {
    let (subscribers, control) = (free_address(), free_address());
    let subscribe = |path: &str| Subscribe {
        address: subscribers,
        host: subscribers.to_string(),
        path: path.into(),
        headers: Vec::new(),
        tls: None,
        tokens: Vec::new(),
    };
    let publish = Publish {
        method: "POST".into(),
        url: format!("http://{control}/publish/{{channel}}"),
        headers: Vec::new(),
        tls: None,
        key: None,
    };
    Order {
        plan: plan(),
        endpoints: Endpoints {
            profile: "stentor".into(),
            subscribe: vec![
                (Transport::WebSocket, subscribe("/ws/{channel}")),
                (Transport::Sse, subscribe("/sse/{channel}")),
            ],
            publish: Some(publish),
        },
        bus: None,
        spawn: Some(serve_at(subscribers, control)),
        pid: None,
        threads: 1,
        agents,
        agent_key: agent_key.map(String::from),
        ignores_limits: true,
        server_log: None,
    }
}

/// Two agents share the subscribers, every one of which gets all that it is owed; then they do it
/// again for the next coordinator.
#[test]
fn two_agents_deliver_what_one_machine_would() {
    let agents = [Agent::start(Some("key")), Agent::start(Some("key"))];
    let addresses: Vec<_> = agents.iter().map(|it| it.address.clone()).collect();
    for round in 0..2 {
        let order = order(addresses.clone(), Some("key"));
        let record = run(&order, &AtomicBool::new(false), &mut Display::new(true)).expect("a run");
        let (connections, deliveries) = (&record.tally.connections, &record.tally.deliveries);
        assert!(deliveries.is_flawless(), "round {round}: {deliveries:?}");
        assert_eq!(connections.requested, 200, "{connections:?}");
        assert_eq!(connections.established, 200, "{connections:?}");
        // Each thread has its share of the rate, and only whole subscribers leave.
        assert!((100..=200).contains(&connections.reconnected), "{connections:?}");
        assert_eq!(deliveries.expected, deliveries.received, "{deliveries:?}");
        // 100 publications to 15 subscribers each, less what those missed that were away, and two
        // broadcasts to all.
        let most = 100 * 15 + 2 * 200;
        assert!((most * 3 / 4..=most).contains(&deliveries.received), "{deliveries:?}");
        assert_eq!(record.publications.published, 100 + 2 * 15);
        assert_eq!(record.tally.times.delivery.len(), deliveries.received);
        let notes = record.agents.iter().map(|note| note.address.clone());
        assert_eq!(notes.collect::<Vec<_>>(), addresses);
        for note in &record.agents {
            // Both clocks are this machine's time of day.
            assert!(note.clock_offset_micros.abs() < 1_000_000, "{note:?}");
            assert!(note.clock_error_micros < 1_000_000, "{note:?}");
        }
        agents.iter().for_each(|agent| agent.await_tale(": the run is over"));
    }
}

/// What a server loses is found by agents too, to the last one.
///
/// Method: everything is published to one channel, whatever channel it was for.
#[test]
fn agents_find_what_is_lost() {
    let agents = [Agent::start(None), Agent::start(None)];
    let mut order = order(agents.iter().map(|it| it.address.clone()).collect(), None);
    order.plan.churn.per_second = 0.0;
    order.plan.settle = Duration::from_secs(1);
    let publish = order.endpoints.publish.as_mut().expect("a publisher");
    publish.url = publish.url.replace("{channel}", "busy-0");
    let record = run(&order, &AtomicBool::new(false), &mut Display::new(true)).expect("a run");
    let deliveries = &record.tally.deliveries;
    // Of 100 publications to ten channels, and two broadcasts to those and five more.
    let (of_one, of_all) = (10 + 2, 100 + 2 * 15);
    let expected = 150 * of_one + 50 * 2;
    assert_eq!(deliveries.expected, expected, "{deliveries:?}");
    assert_eq!(deliveries.received, 15 * of_one, "{deliveries:?}");
    assert_eq!(deliveries.lost, expected - 15 * of_one, "{deliveries:?}");
    assert_eq!(deliveries.misdirected, 15 * (of_all - of_one), "{deliveries:?}");
    assert_eq!(deliveries.faults(), deliveries.lost + deliveries.misdirected, "{deliveries:?}");
}

/// Nobody is owed what the server refused, though agents had expected it.
#[test]
fn agents_learn_what_was_refused() {
    let agents = [Agent::start(None), Agent::start(None)];
    let mut order = order(agents.iter().map(|it| it.address.clone()).collect(), None);
    order.spawn.as_mut().expect("a server").push_str(" --publication-max 128");
    let record = run(&order, &AtomicBool::new(false), &mut Display::new(true)).expect("a run");
    let (publications, deliveries) = (&record.publications, &record.tally.deliveries);
    assert_eq!(publications.due, 100 + 2 * 15);
    assert!(publications.failed >= 30 && publications.published >= 30, "{publications:?}");
    assert!(deliveries.is_flawless(), "{deliveries:?}");
    assert_eq!(deliveries.expected, deliveries.received, "{deliveries:?}");
    assert!(record.measured < order.plan.settle, "nobody waits for them: {:?}", record.measured);
}

/// A run whose agent is not to be had does not begin, and says which one it is and why.
#[test]
fn an_agent_that_is_not_to_be_had_is_named() {
    let agent = Agent::start(Some("its own key"));
    let failed = |order: &Order| {
        run(order, &AtomicBool::new(false), &mut Display::new(true))
            .expect_err("no run")
            .to_string()
    };
    assert_eq!(
        failed(&order(vec![agent.address.clone()], Some("another key"))),
        format!("agent {} refuses: the coordinator's key is another than its own", agent.address)
    );
    let nobody = free_address().to_string();
    assert_eq!(
        failed(&order(vec![agent.address, nobody.clone()], Some("its own key"))),
        format!("agent {nobody} cannot be reached: Connection refused (os error 111)")
    );
}
