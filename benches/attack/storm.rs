//! A storm of reconnects: many are cut off at one instant and come back, others stay and read on.
//!
//! The crowd's own work is another machine's in life: here it gets the processor time that nobody else
//! wants, so that what is seen is the server's doing. It slows the storm down, too.

use std::{io, thread, time::Duration};

use super::{
    good::{self, Good, finish, loadtest_elsewhere},
    server_flags,
    support::{args, server::Server},
};

/// What it is called.
pub const NAME: &str = "storm";

/// Cuts a crowd off again and again while the good ones read, and prints what that did to them.
pub fn run(is_quick: bool) -> io::Result<()> {
    let crowd = args::value("--storm-crowd", if is_quick { 50 } else { 50_000 });
    let stay = args::value("--storm-good", if is_quick { 20 } else { 10_000 });
    let rate = args::value("--storm-rate", String::from("5"));
    let every = args::value("--storm-every", if is_quick { 2 } else { 6 });
    // Both runs of the good ones are as long as two storms with what follows each.
    let seconds = 2 * every;
    let slots = (crowd + stay) + (crowd + stay) / 10;
    let settings = ["--max-connections".to_owned(), slots.to_string()];
    let server = Server::start(&[&settings[..], &server_flags()].concat())?;
    let load: &'static [&'static str] =
        Vec::leak(vec!["--settle", "10s", "--ramp", "20000", "--rate", String::leak(rate)]);
    let good = Good { subscribers: stay, time: Duration::from_secs(seconds), load };
    let calm = crowd_of(&server, crowd, &["--duration", &format!("{}s", seconds + 3)])?;
    good::wait_for(&server, crowd)?;
    let before = good.begin(&server)?.end()?;
    finish(calm.0, calm.1)?;
    let first = Duration::from_secs(every);
    let [duration, every] = [3 * every, every].map(|it| format!("{it}s"));
    let storm = ["--duration", &duration, "--storm-share", "100%", "--storm-every", &every];
    let storm = crowd_of(&server, crowd, &storm)?;
    good::wait_for(&server, crowd)?;
    // So that the good ones are there, and just there, when the first storm breaks out.
    thread::sleep(first.saturating_sub(HEAD_START));
    let cpu = server.cpu()?;
    let during = good.begin(&server)?.end()?;
    let processors = (server.cpu()? - cpu).as_secs_f64() / seconds as f64;
    let report = finish(storm.0, storm.1)?;
    let told = |name: &str| report["storms"][name].clone();
    println!(
        "\n| storm | p99 of the {stay} who stay, before | during | ratio | cut off | came back | the \
         last after | a second | processors of the server |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n\
         | {crowd} at once, every {every} | {before} | {during} | {:.1} | {} | {} | {} s | {} | {:.2} |",
        during.p99_ms / before.p99_ms,
        told("cut"),
        told("came_back"),
        told("back_seconds"),
        told("per_second"),
        processors,
    );
    Ok(())
}

/// Those who will be cut off: on a channel of their own, where nothing is published.
fn crowd_of(
    server: &Server,
    crowd: u32,
    flags: &[&str],
) -> io::Result<(std::process::Child, std::path::PathBuf)> {
    let crowd = crowd.to_string();
    let quiet = ["--idle", &crowd, "--active", "0", "--channel-prefix", "crowd", "--settle", "0s"];
    loadtest_elsewhere(server, &[&quiet[..], flags].concat())
}

/// How long it takes the good ones to connect.
const HEAD_START: Duration = Duration::from_millis(1500);
