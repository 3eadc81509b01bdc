//! The dashboard in Chromium: its numbers are those that were published, and its console works.

use std::{env, fs, process::Command};

use serde_json::{Value, json};

use crate::support::{Folder, Io, Kind, Publisher, Server, Subscriber, browser, eventually, run};

fn visit(script: &str, server: &Server) -> Command {
    let mut command = browser(script);
    command.arg(format!("http://localhost:{}/", server.control.port()));
    command
}

/// Where a person wants to see it: a folder for pictures.
fn pictures() -> Option<String> {
    env::var("STENTOR_TEST_PICTURES").ok()
}

fn shown(command: &mut Command) -> Value {
    serde_json::from_str(&run(command)).expect("JSON")
}

/// A visitor subscribes over each transport, publishes, and sees the publication as text, the answer
/// and the counts; what was missed meanwhile comes on resuming, or where there are no positions as the
/// newest that is kept, and what cannot come any more is told as a gap.
#[test]
fn the_console_shows_what_is_published() {
    let server = Server::start(Io::Uring, &["--channels", "* history=10"]);
    let seen = ["ws", "sse", "v1"]
        .map(|by| [format!("<b>over</b> {by}\nsecond line & more"), format!("missed over {by}")]);
    let gap = "What was published behind 1-1 up to …-0 is missing.";
    let told = shown(visit("live_page.mjs", &server).args(pictures()));
    assert_eq!(told, json!({ "seen": seen.concat(), "gap": gap }));
    server.stop();
}

/// The numbers of the dashboard are those of the server: who is connected, what was published and
/// delivered, which channel is busiest, who is slowest and by how much; and it bears answers of any
/// size, with any text, late and not at all (in the script).
#[test]
fn the_dashboard_shows_what_happens() {
    let flags = ["--shards", "2", "--lag-max", "64MiB", "--stall-timeout", "1h"];
    let server = Server::start(Io::Uring, &flags);
    let mut readers: Vec<Subscriber> =
        (0..3).map(|_| Subscriber::join(server.subscribers, Kind::WebSocket, "room.a")).collect();
    let _stopped = Subscriber::join(server.subscribers, Kind::Sse, "flood");
    let mut publisher = Publisher::of(&server);
    for n in 0..7 {
        publisher.publish("room.a", format!("{n}").as_bytes());
        readers.iter_mut().for_each(|reader| _ = reader.publication());
    }
    const FLOOD: u64 = 200;
    (0..FLOOD).for_each(|_| _ = publisher.publish("flood", &[b'x'; 60_000]));
    let mut before = Value::Null;
    let slowest = eventually("what the reader that stopped has not got stands still", || {
        let now = server.shown("/lag")["slowest"][0].clone();
        let behind = now["publications"].as_u64()?;
        let is_all = server.stat("/deliveries") == 3 * 7 + FLOOD - behind;
        let is_still = std::mem::replace(&mut before, now.clone())["publications"] == behind;
        (is_all && is_still && server.stat("/blocked") == 1).then_some(now)
    });
    let behind = slowest["publications"].as_u64().expect("a number");
    let delivered = 3 * 7 + FLOOD - behind;
    let told = shown(visit("dashboard.mjs", &server).args(pictures()));
    assert_eq!(
        told["tiles"],
        json!({
            "connections": ["4", "3 WS, 1 SSE"],
            "publications": [format!("{} in all", 7 + FLOOD)],
            "deliveries": [format!("{delivered} in all")],
            "blocked": ["1"],
        })
    );
    assert_eq!(told["pill"], "Serving");
    let busiest = told["busiest"].as_array().expect("rows");
    let ranked: Vec<[&Value; 2]> = busiest.iter().map(|row| [&row[0], &row[3]]).collect();
    assert_eq!(json!(ranked), json!([["flood", "1"], ["room.a", "3"]]));
    let address = slowest["address"].as_str().expect("an address");
    assert_eq!(told["slowest"][0][0], format!("flood\n{address}, sse"));
    assert_eq!(told["slowest"][0][1], behind.to_string());
    assert_eq!(told["slowest"].as_array().map(Vec::len), Some(1));
    server.stop();
}

/// A server that wants keys shows its page to everybody and its numbers to who has a key; the page sends
/// it, and tokens for channels that want one, over each transport.
#[test]
fn the_dashboard_takes_keys_and_tokens() {
    let folder = Folder::new("dashboard-keys");
    let [keys, secret] = ["keys", "secret"].map(|name| format!("{}/{name}", folder.text()));
    let [reader, editor] = ["a key that reads", "a key that does both"];
    let lines = format!("board:read:{reader}\ndesk:read,publish:{editor}\n");
    fs::write(&keys, lines).expect("a file");
    let signs = "a secret of more than thirty-two bytes";
    fs::write(&secret, signs).expect("a file");
    let flags = ["--api-key-file", &keys, "--token-key", &secret];
    let channels = ["--channels", "news subscribe=token history=5"];
    let server = Server::start(Io::Uring, &[&flags[..], &channels].concat());
    let told = shown(visit("keyed.mjs", &server).args([signs, reader, editor]));
    let published = json!(["Hello, everybody"]);
    assert_eq!(told, json!([0, published, 0, published, 0, published]));
    server.stop();
}
