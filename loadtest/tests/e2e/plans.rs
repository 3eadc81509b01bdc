//! Every built-in plan, small, against a server that does nothing wrong: the oracle stays silent.
//!
//! Method: without churn the deliveries follow from the plan (publications of a channel times its
//! subscribers), and are worked out by hand. With churn they depend on who was there when, and what
//! was expected must be what came.

use stentor_loadtest::{
    cli::{self, Command},
    plan::Layout,
    schedule::Schedule,
};

use crate::{
    run::{Told, run, side_by_side},
    stentor::Stentor,
};

/// Nobody hears of anything but the three broadcasts, and everybody hears of those.
#[test]
fn idle_subscribers_get_broadcasts() {
    let idle = ["--idle", "300", "--duration", "1s"];
    run_plan("idle", &[&idle[..], &BROADCASTS].concat(), "ws").assert_flawless(3 * 300);
}

/// Each of ten publications a second reaches everybody, by either transport.
#[test]
fn a_ticker_reaches_everybody() {
    side_by_side(["ws", "sse"], |transport| {
        let told = run_plan("ticker", &["--active", "300", "--duration", "1s"], transport);
        told.assert_flawless(10 * 300);
        assert_eq!(told.count("/publications/published"), 10);
        assert_eq!(told.count("/connections/reconnected"), 0);
    });
}

/// Rooms of different sizes get their share of the publications, and each goes to its whole room.
#[test]
fn chat_rooms_get_what_is_said_in_them() {
    let flags = ["--active", "300", "--rate", "100", "--duration", "1s", "--churn", "0"];
    run_plan("chat", &flags, "ws=50,sse=50").assert_flawless(deliveries_of("chat", &flags));
}

/// Whoever comes and goes gets what there was while it was there.
#[test]
fn subscribers_that_come_and_go_miss_nothing() {
    side_by_side([("uring", "ws"), ("epoll", "ws"), ("uring", "sse")], |(io, transport)| {
        let server = Stentor::start(&["--io", io]);
        let flags = ["--active", "300", "--churn", "100", "--duration", "1s"];
        let told = run_at(&server, "chat", &flags, transport);
        let received = told.count("/deliveries/received");
        assert!(received > 0);
        told.assert_flawless(received);
        // As many as the rate says, but for those of the last turn of each thread.
        let reconnected = told.count("/connections/reconnected");
        assert!((1..=100).contains(&reconnected), "{reconnected} came back");
    });
}

/// Every publication has its one subscriber.
#[test]
fn a_notification_reaches_its_user() {
    let flags = ["--active", "200", "--rate", "400", "--duration", "1s"];
    run_plan("notify", &flags, "ws").assert_flawless(400);
}

/// Exactly the share that a storm cuts off comes back, and those who stayed miss nothing.
#[test]
fn a_storm_brings_exactly_its_share_back() {
    side_by_side(["ws", "ws=50,sse=50"], |transport| {
        let size = ["--active", "300", "--duration", "1s", "--threads", "2"];
        let half = ["--storm-every", "50%", "--storm-share", "50%", "--resume=false"];
        let told = run_plan("storm", &[&size[..], &half].concat(), transport);
        let received = told.count("/deliveries/received");
        // Half of them are there for all 50 publications.
        assert!((150 * 50..=300 * 50).contains(&received), "{received}");
        told.assert_flawless(received);
        assert_eq!(told.count("/connections/reconnected"), 150);
    });
}

/// The slow hold nobody up: whoever is not slow gets everything, and a slow reader loses nothing
/// without a word.
#[test]
fn slow_readers_hold_nobody_up() {
    let told = run_plan("slow-readers", &["--active", "100", "--duration", "2s"], "ws");
    let received = told.count("/deliveries/received");
    assert!((90 * 50..=100 * 50).contains(&received), "{received}");
    told.assert_flawless(received);
    assert_eq!(told.count("/publications/published"), 50);
}

/// Those who have stopped reading hold nobody up, and are owed nothing.
#[test]
fn stalled_readers_hold_nobody_up() {
    side_by_side(["ws", "sse"], |transport| {
        let told = run_plan("stalled", &["--active", "100", "--duration", "2s"], transport);
        told.assert_flawless(90 * 50);
        assert_eq!(told.count("/publications/published"), 50);
    });
}

/// A slow reader is read from at its pace: what has come to it by the end is what its pace allows,
/// and not what was published.
#[test]
fn slow_readers_read_slowly() {
    let slow = ["--active", "20", "--rate", "50", "--payload", "4096", "--slow-share", "100%"];
    let pace = ["--slow-rate", "20kB", "--duration", "2s", "--settle", "1s"];
    let server = Stentor::start(&[]);
    let told = run_at(&server, "slow-readers", &[&slow[..], &pace].concat(), "ws");
    let received = told.count("/deliveries/received");
    // At 20 kB a second it takes 20 seconds to read what is published in two.
    assert!(received >= 20, "each has read one: {received}");
    assert!(received < 20 * 100, "nobody was slow: {received}");
    told.assert_flawless(received);
}

/// A tenth is active, and three broadcasts reach all, whatever they speak.
#[test]
fn a_million_in_small_gets_everything() {
    side_by_side(["ws", "ws=50,sse=50"], |transport| {
        let flags = ["--idle", "270", "--active", "30", "--ramp", "1000", "--duration", "2s"];
        let told = run_plan("million", &[&flags[..], &BROADCASTS].concat(), transport);
        told.assert_flawless(2 * 30 + 3 * 300);
        assert_eq!(told.count("/publications/published"), 2 + 2 * 3, "to two channels each");
    });
}

fn run_plan(plan: &str, flags: &[&str], transport: &str) -> Told {
    run_at(&Stentor::start(&[]), plan, flags, transport)
}

/// Runs a plan with these flags at a server.
fn run_at(server: &Stentor, plan: &str, flags: &[&str], transport: &str) -> Told {
    let host = server.subscribers;
    let publish = server.publish();
    let mut arguments = vec!["--plan", plan, "--transport", transport, "--publish", &publish];
    let (ws, sse) =
        (format!("ws://{host}/ws/{{channel}}"), format!("http://{host}/sse/{{channel}}"));
    for (name, target) in [("ws", &ws), ("sse", &sse)] {
        if transport.contains(name) {
            arguments.extend(["--target", target]);
        }
    }
    run(&[&arguments, flags].concat())
}

/// How many deliveries a plan without churn and broadcasts has, from who subscribes to what and what
/// is published where.
fn deliveries_of(plan: &str, flags: &[&str]) -> u64 {
    let words = [&["stentor-loadtest", "run", "--plan", plan], flags].concat();
    let Ok(Command::Run(run)) = cli::parse(words.into_iter().map(Into::into)) else {
        panic!("these flags make no run: {flags:?}");
    };
    let plan = run.order.plan;
    let layout = Layout::new(&plan);
    let channels = (0..plan.connections()).map(|subscriber| layout.role(subscriber).channel);
    let channels: Vec<u32> = channels.collect();
    let in_channel = |channel: u32| channels.iter().filter(|&&it| it == channel).count() as u64;
    let publications = 0..Schedule::new(&plan).publications();
    publications.filter_map(|number| layout.target(number)).map(in_channel).sum()
}

const BROADCASTS: [&str; 4] = ["--broadcasts", "3", "--broadcast-every", "200ms"];
