//! Agents and coordinators on loopback, without a server: who is welcome, what is told when one of
//! the two fails, whether clocks agree.

use std::{
    net::{TcpListener, TcpStream},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use super::{
    clock::MachineClock,
    forecast::Forecast,
    line::{LINE_BYTES_MAX, Line},
    protocol::{Finals, FromAgent, Task, ToAgent, VERSION},
    remote::Remote,
    serve, serve_by,
};
use crate::{
    decoder::Transport,
    oracle::Published,
    order::Subscribe,
    plan::{self, Plan},
    shared::{Gauges, Ledger, Shared},
};

/// An agent that serves until the tests end, and what it tells.
struct Served {
    address: String,
    tales: Receiver<String>,
}

impl Served {
    fn start(clock: MachineClock, key: Option<&str>) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (tell, tales) = mpsc::channel();
        let key = key.map(String::from);
        thread::spawn(move || {
            serve_by(clock, listener, key, &mut |tale| drop(tell.send(tale.to_owned())))
        });
        let served = Served { address, tales };
        let first = served.next_tale();
        assert!(first.starts_with("waiting for a coordinator at 127.0.0.1:"), "{first}");
        served
    }

    fn enlist(&self, key: Option<&str>) -> Result<Remote, String> {
        let remote = Remote::enlist(&self.address, key, MachineClock::start());
        remote.map_err(|fault| fault.to_string())
    }

    fn next_tale(&self) -> String {
        self.tales.recv_timeout(DEADLINE).expect("a tale")
    }
}

/// An agent that says nothing but what the test has it say.
fn fake_agent(play: impl FnOnce(Line) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a coordinator");
        play(Line::new(stream).expect("a line"));
    });
    address
}

/// Welcomes the coordinator and tells it the time as often as it asks, until it says something else.
fn be_welcoming(line: &mut Line) {
    loop {
        let heard = line.receive::<ToAgent>(Instant::now() + DEADLINE, LINE_BYTES_MAX);
        let answer = match heard.expect("no failure").expect("a message") {
            ToAgent::Hello { .. } => FromAgent::Welcome { threads: 1 },
            ToAgent::Time => FromAgent::Time { nanos: 7 },
            _ => return,
        };
        line.send(&answer).expect("sent");
    }
}

fn plan(connections: u32) -> Plan {
    let mut plan = plan::sample();
    (plan.active.connections, plan.active.channels) = (connections, 3);
    (plan.idle.connections, plan.idle.channels) = (3, 3);
    let publishing = &mut plan.publishing;
    (publishing.rate_from, publishing.rate_to, publishing.burst) = (33.3, 66.6, 2);
    (publishing.duration, publishing.publishers) = (Duration::from_secs(2), 2);
    (publishing.broadcasts, publishing.broadcast_every) = (2, Duration::from_millis(300));
    plan
}

fn task(threads: u32) -> Task {
    let subscribe = Subscribe {
        // Nobody listens there: subscribers try and fail, which is all that a run needs here.
        address: "127.0.0.1:1".parse().expect("an address"),
        host: "localhost".into(),
        path: "/{channel}".into(),
        headers: Vec::new(),
        tls: None,
        tokens: Vec::new(),
    };
    let subscribe = vec![(Transport::WebSocket, subscribe)];
    Task { run: 7, plan: plan(9), subscribe, first_share: 0, threads }
}

/// Whoever is not welcome is told exactly why.
#[test]
fn the_unwelcome_are_told_why() {
    let agent = Served::start(MachineClock::start(), Some("correct horse"));
    for (key, why) in [
        (None, "it asks for a key, and the coordinator has none"),
        (Some("correct house"), "the coordinator's key is another than its own"),
        (Some("correct horse battery"), "the coordinator's key is another than its own"),
        (Some(""), "the coordinator's key is another than its own"),
    ] {
        assert_eq!(agent.enlist(key).expect_err("no seat"), format!("refuses: {why}"));
        let tale = agent.next_tale();
        assert!(tale.ends_with(&format!(" was refused: {why}")), "{tale}");
    }
    let first = agent.enlist(Some("correct horse")).expect("the key is right");
    let coordinates = agent.next_tale();
    let peer = coordinates.strip_suffix(" coordinates").expect("whom it serves");
    let refused = agent.enlist(Some("correct horse")).expect_err("one at a time");
    assert_eq!(refused, format!("refuses: busy with {peer}"));
    drop(first);
}

/// Another version is told which of the two is whose, and what to do.
#[test]
fn another_version_is_told_so() {
    let agent = Served::start(MachineClock::start(), None);
    let stream = TcpStream::connect(&agent.address).expect("a connection");
    let mut line = Line::new(stream).expect("a line");
    let hello = format!(r#"{{"say":"hello","version":{},"more":[]}}"#, VERSION + 1);
    let hello: serde_json::Value = serde_json::from_str(&hello).expect("JSON");
    line.send(&hello).expect("sent");
    let heard = line.receive::<serde_json::Value>(Instant::now() + DEADLINE, LINE_BYTES_MAX);
    let why = format!(
        "it speaks version {VERSION} of the agents' protocol, and the coordinator version {}: run \
         the same stentor-loadtest on all machines",
        VERSION + 1
    );
    let refused = serde_json::json!({ "say": "refused", "why": why });
    assert_eq!(heard.expect("no failure"), Some(refused));
}

/// What is no coordinator does not get past the door, and is not long attended to.
#[test]
fn strangers_are_turned_away() {
    let agent = Served::start(MachineClock::start(), None);
    for stranger in ["GET / HTTP/1.1\r\n\r\n", "{\"say\":\"finish\"}\n", "[", "\n"] {
        let mut stream = TcpStream::connect(&agent.address).expect("a connection");
        std::io::Write::write_all(&mut stream, stranger.as_bytes()).expect("a write");
        stream.shutdown(std::net::Shutdown::Write).expect("an end");
        let mut line = Line::new(stream).expect("a line");
        let heard = line.receive(Instant::now() + DEADLINE, LINE_BYTES_MAX).expect("an answer");
        let Some(FromAgent::Refused { why }) = heard else { panic!("{heard:?}") };
        assert_eq!(why, "a coordinator says who it is, first of all");
    }
}

/// An agent with as many threads as no machine has, or none, is no agent.
#[test]
fn an_agent_without_sense_is_told_apart() {
    for threads in [0, (1 << 16) + 1, u32::MAX] {
        let agent = fake_agent(move |mut line| {
            let heard = line.receive::<ToAgent>(Instant::now() + DEADLINE, LINE_BYTES_MAX);
            heard.expect("no failure").expect("a message");
            line.send(&FromAgent::Welcome { threads }).expect("sent");
        });
        let refused = Remote::enlist(&agent, None, MachineClock::start());
        let fault = refused.map(drop).expect_err("it makes no sense");
        assert!(matches!(fault, super::AgentFault::Confused), "{threads}: {fault}");
    }
}

/// An agent that anybody could command does not listen, and says what to do.
#[test]
fn an_exposed_agent_asks_for_a_key() {
    let listener = TcpListener::bind("0.0.0.0:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let refused = serve(listener, None, &mut |tale| panic!("{tale}")).expect_err("no key");
    assert_eq!(
        refused.to_string(),
        format!(
            "an agent connects to wherever its coordinator says, and whoever reaches {address} could \
             be one: listen on 127.0.0.1, or ask for a key"
        )
    );
}

/// A clock that is ahead is found to be, within what is said to be the error.
#[test]
fn a_clock_that_is_ahead_is_found_out() {
    let (ours, ahead) = (MachineClock::start(), Duration::from_secs(3));
    let agent = Served::start(ours.ahead_by(ahead), None);
    let mut remote = Remote::enlist(&agent.address, None, ours).expect("it serves");
    let again = remote.compare_clocks().expect("it answers");
    for offset in [remote.offset, again] {
        let wrong_by = offset.nanos.abs_diff(ahead.as_nanos() as i64);
        assert!(wrong_by <= offset.error_nanos, "{offset:?}");
        assert!(offset.error_nanos < 1_000_000_000, "an answer within two seconds: {offset:?}");
    }
}

/// An agent whose coordinator vanishes, before or during its run, ends that run and serves the next.
#[test]
fn an_agent_outlives_its_coordinator() {
    let agent = Served::start(MachineClock::start(), None);
    for has_begun in [false, true] {
        let mut remote = agent.enlist(None).expect("it waits for the next");
        let tale = agent.next_tale();
        let peer = tale.strip_suffix(" coordinates").expect("whom it serves");
        remote.prepare(task(remote.threads)).expect("an answer");
        if has_begun {
            remote.begin(Instant::now()).expect("it begins");
            let gauges = Gauges::default();
            // A subscriber is given up after five attempts, and then the run can be seen to run.
            let deadline = Instant::now() + DEADLINE;
            while gauges.failed.load(std::sync::atomic::Ordering::Relaxed) < 12 {
                remote.look(&gauges).expect("it runs");
                assert!(Instant::now() < deadline, "{gauges:?}");
                thread::sleep(Duration::from_millis(20));
            }
        }
        drop(remote);
        let ended = format!("{peer}: the run ended early: the connection ");
        assert!(agent.next_tale().starts_with(&ended));
    }
}

/// What makes no sense is told to both, by its name.
#[test]
fn a_senseless_task_is_refused() {
    let agent = Served::start(MachineClock::start(), None);
    let break_plan = |breaking: fn(&mut Task)| {
        let mut remote = agent.enlist(None).expect("it waits for the next");
        let mut task = task(remote.threads);
        breaking(&mut task);
        let fault = remote.prepare(task).expect_err("senseless").to_string();
        remote.leave();
        fault.replace("failed: the coordinator asks for what makes no sense: ", "")
    };
    assert_eq!(break_plan(|task| task.plan.ramp = 0), "ramp");
    assert_eq!(break_plan(|task| task.first_share = 1), "shares");
    assert_eq!(break_plan(|task| task.plan.active.channels = 10), "groups");
    assert_eq!(break_plan(|task| task.plan.transports.clear()), "transports");
    assert_eq!(break_plan(|task| task.subscribe.clear()), "endpoints");
    assert_eq!(break_plan(|task| task.plan.publishing.rate_to = 1e300), "rate");
    assert_eq!(break_plan(|task| task.plan.publishing.duration = Duration::MAX), "times");
    assert_eq!(break_plan(|task| task.plan.publishing.payload_max = 1), "payload");
}

/// A coordinator learns what became of an agent: its last words, or that it is gone.
#[test]
fn an_agents_end_is_told() {
    type Play = fn(&mut Line);
    let last_words: Play =
        |line| line.send(&FromAgent::Failed { why: "no memory".into() }).expect("sent");
    let plays: [(Play, &str); 3] = [
        (last_words, "failed: no memory"),
        (|_| (), "is lost: the connection was closed"),
        (
            |line| line.send(&FromAgent::Publishing).expect("sent"),
            "answers what nobody asked for: is another program listening there?",
        ),
    ];
    for (play, told) in plays {
        let address = fake_agent(move |mut line| {
            be_welcoming(&mut line);
            play(&mut line);
            line.close();
        });
        let mut remote = Remote::enlist(&address, None, MachineClock::start()).expect("a welcome");
        let fault = remote.prepare(task(1)).expect_err("no answer");
        assert_eq!(fault.to_string(), told);
    }
}

/// An agent that does not know in time when publishing begins would judge by a wrong ledger: the
/// run ends.
#[test]
fn an_agent_that_is_told_too_late_is_named() {
    let (done, is_done) = mpsc::channel::<()>();
    let address = fake_agent(move |mut line| {
        be_welcoming(&mut line);
        let _ = is_done.recv();
    });
    let mut remote = Remote::enlist(&address, None, MachineClock::start()).expect("a welcome");
    remote.announce(Duration::from_secs(1)).expect("sent");
    let fault = remote.await_announced(Instant::now() + Duration::from_millis(20));
    let told = "did not know in time when publishing begins: the network is too slow";
    assert_eq!(fault.expect_err("no answer").to_string(), told);
    drop(done);
}

/// Agents never count less as handed over than was, and in the end exactly what was.
///
/// Method: publications are handed over some time after they were due, and every fifth is refused,
/// so that the next has its sequence. At each step the forecast is held against them.
#[test]
fn a_forecast_is_an_upper_bound_and_ends_exact() {
    let new = || Shared::new(7, Instant::now(), plan(9), Vec::new(), 1);
    let (here, there) = (new(), new());
    let slack = Duration::from_millis(100);
    let mut forecast = Forecast::default();
    for number in 0..here.schedule.publications() {
        let handed_over_at = here.schedule.due(number) + Duration::from_millis(number.into());
        for channel in here.targets(number) {
            let sequence = here.ledger.handed_over(channel);
            here.ledger.hand_over(channel, sequence);
            // The agent last looked when the publication was due: its thread had to wait.
            forecast.fill(&there, &there.ledger, here.schedule.due(number) + slack);
            let foreseen = there.ledger.handed_over(channel);
            assert!(foreseen > sequence, "{number} at {handed_over_at:?}");
            match number % 5 {
                3 => here.ledger.take_back(channel, sequence),
                4 => here.ledger.doubt(channel, sequence),
                _ => {}
            }
        }
    }
    assert!(forecast.settle(&there, &Finals::of(&here)));
    let counts = |ledger: &Ledger| (0..6).map(|it| ledger.handed_over(it)).collect::<Vec<_>>();
    assert_eq!(counts(&there.ledger), counts(&here.ledger));
    assert_ne!(counts(&here.ledger), [0; 6]);
    assert_eq!(there.ledger.uncertain(), here.ledger.uncertain());
}

/// A coordinator that speaks of channels which the plan does not have is not believed.
#[test]
fn finals_of_unknown_channels_are_refused() {
    let shared = Shared::new(7, Instant::now(), plan(9), Vec::new(), 1);
    for (channel, is_known) in [(5, true), (6, false)] {
        for finals in [
            Finals { handed_over: vec![(channel, 1)], uncertain: Vec::new() },
            Finals { handed_over: Vec::new(), uncertain: vec![(channel, 1)] },
        ] {
            assert_eq!(Forecast::default().settle(&shared, &finals), is_known, "{finals:?}");
        }
    }
}

/// No test waits longer for anything.
const DEADLINE: Duration = Duration::from_secs(60);
