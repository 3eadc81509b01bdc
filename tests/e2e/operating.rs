//! Operating a running server: settings that are read again, a drain that tells how it goes, a log
//! that programs can read.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    thread,
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    Folder, Io, Kind, Publisher, Received, Server, Subscriber, Wire, ask, eventually, stentor,
};

on_both_kernels!(
    reloads_disturb_nobody,
    new_settings_hold_at_once,
    keys_change_without_a_restart,
    a_wrong_file_changes_nothing,
    a_drain_tells_how_it_goes,
    ready_means_that_it_delivers,
);

/// A server with a settings file of its own.
struct Edge {
    folder: Folder,
    server: Server,
    reloads: usize,
}

impl Edge {
    fn start(io: Io, name: &str, settings: &str) -> Edge {
        let folder = Folder::new(&format!("operating-{name}-{io:?}"));
        let file = folder.path().join("stentor.toml");
        fs::write(&file, settings).unwrap();
        let server = Server::start(io, &["--config", file.to_str().unwrap()]);
        Edge { folder, server, reloads: 0 }
    }

    /// Writes other settings and has them read; waits until that is done, well or not.
    #[track_caller]
    fn reload(&mut self, settings: &str) {
        fs::write(self.folder.path().join("stentor.toml"), settings).unwrap();
        self.server.signal(Signal::HUP);
        self.reloads += 1;
        eventually("it has read its settings again", || {
            let told = self.server.stderr();
            let done = ["reloaded: ", "reload refused, "].map(|end| told.matches(end).count());
            (done.iter().sum::<usize>() == self.reloads).then_some(())
        });
    }

    #[track_caller]
    fn expect_told(&self, what: &str) {
        let told = self.server.stderr();
        assert!(told.contains(what), "not told: {what}: {told}");
    }
}

/// A server is ready once a publication of its own has reached each of its shards. Nobody can read or
/// write where that was published, and nothing counts it, not even where everything is kept.
fn ready_means_that_it_delivers(io: Io) {
    let folder = Folder::new(&format!("probes-{io:?}"));
    let flags = ["--shards", "4", "--channels", "* history=10 presence=true publish=public"];
    let flags = [&flags[..], &["--journal", folder.text(), "--channels-max", "1"]].concat();
    let server = Server::start(io, &flags);
    for _ in 0..20 {
        let ready = json!({ "ready": true, "draining": false, "shards": 4, "stuck": [] });
        assert_eq!(server.shown("/readyz"), ready);
    }
    assert!(server.metric("stentor_probes_total") >= 1.0);
    for name in ["probe_failures_total", "publications_total", "deliveries_total", "channels"] {
        assert_eq!(server.metric(&format!("stentor_{name}")), 0.0, "{name}");
    }
    for name in ["views", "encodings_total", "delivered_last_seconds_count"] {
        assert_eq!(server.metric(&format!("stentor_{name}")), 0.0, "{name}");
    }
    assert_eq!(server.shown("/v1/channels")["channels"], json!([]));
    assert_eq!(server.shown("/v1/busiest")["channels"], json!([]));
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n");
    for path in ["/sse/$probe.0", "/sse/%24probe.0"] {
        assert_eq!(ask(server.subscribers, &get(path)).head.status, 400, "{path}");
    }
    let publish = "POST /publish/$probe.0 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n";
    assert_eq!(ask(server.control, publish).head.status, 400);
    assert_eq!(ask(server.control, &get("/v1/channels/$probe.0")).head.status, 400);
    let mut reader = Subscriber::join(server.subscribers, Kind::Sse, "news");
    Publisher::of(&server).publish("news", b"kept");
    assert_eq!(reader.publication(), b"kept");
    server.stop();
    let server = Server::start(io, &flags);
    let kept = server.shown("/v1/channels");
    assert_eq!(kept["channels"].as_array().unwrap().len(), 1, "{kept}");
    server.stop();
}

/// A server that is given a collector tells it of the publication whose publisher follows it.
#[test]
fn a_collector_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let flags = ["--otlp-endpoint", &endpoint, "--otlp-header", "authorization=Bearer sesame"];
    let server = Server::start(Io::Epoll, &flags);
    let parent = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let publish = format!(
        "POST /publish/news HTTP/1.1\r\nHost: localhost\r\n{parent}\r\nContent-Length: 0\r\n"
    );
    let answer = ask(server.control, &publish);
    let published: Value = serde_json::from_slice(&answer.body).unwrap();
    let (stream, _) = listener.accept().unwrap();
    let mut told = String::new();
    let wanted = published["position"].as_str().unwrap();
    let mut lines = BufReader::new(&stream);
    while !told.ends_with("\r\n\r\n") {
        assert!(lines.read_line(&mut told).unwrap() > 0, "{told}");
    }
    assert!(told.contains("authorization: Bearer sesame\r\n"), "{told}");
    let length = told.to_lowercase();
    let length = length.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.unwrap().parse().unwrap()];
    lines.read_exact(&mut body).unwrap();
    (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let span = &body["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!(span["parentSpanId"], "00f067aa0ba902b7");
    let id = json!({ "key": "messaging.message.id", "value": { "stringValue": wanted } });
    assert!(span["attributes"].as_array().unwrap().contains(&id), "{span}");
    eventually("it is counted", || {
        (server.metric("stentor_spans_exported_total") == 1.0).then_some(())
    });
    server.stop();
}

/// While settings are read again fifty times, with other limits, time-outs and rules each time, every
/// subscriber gets every publication, in order and once, and nobody's connection ends.
fn reloads_disturb_nobody(io: Io) {
    let settings = |number: usize| {
        let (history, lag) = (10 + number % 7, 20 + number % 3);
        format!(
            "ping-interval = '{}s'\nlag-max = '{lag}MiB'\nsubscriptions-max = {}\n\
             channels = ['news history={history} history-bytes=1MiB slow=close']\n",
            30 + number % 5,
            8 + number % 4,
        )
    };
    let mut edge = Edge::start(io, "load", &settings(0));
    let subscribers: Vec<Subscriber> = (0..40)
        .map(|index| Subscriber::join(edge.server.subscribers, Kind::BOTH[index % 2], "news"))
        .collect();
    let mut publisher = Publisher::of(&edge.server);
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let press = thread::spawn(move || {
        for number in 0u32.. {
            publisher.publish("news", format!("{number:0500}").as_bytes());
            if stopped.try_recv().is_ok() {
                return number;
            }
        }
        unreachable!("it is told to stop")
    });
    (1..=50).for_each(|number| edge.reload(&settings(number)));
    stop.send(()).unwrap();
    let last = press.join().unwrap();
    for (index, mut subscriber) in subscribers.into_iter().enumerate() {
        for number in 0..=last {
            match subscriber.next() {
                Received::Publication { payload, .. } => {
                    assert_eq!(payload, format!("{number:0500}").into_bytes(), "{index}");
                }
                other => panic!("{index} missed {number}: {other:?}"),
            }
        }
    }
    eventually("each of them is in the log", || {
        (edge.server.stderr().matches("reloaded: ").count() == 50).then_some(())
    });
    edge.server.stop();
}

/// What may change holds for those who are there and for those who come; what may not is named, and
/// holds on; the rest of the same file is taken.
fn new_settings_hold_at_once(io: Io) {
    let before = "channels = ['news history=10']\nretry-after = '5s'\n";
    let mut edge = Edge::start(io, "live", before);
    let mut publisher = Publisher::of(&edge.server);
    (0..10).for_each(|number| drop(publisher.publish("news", format!("{number}").as_bytes())));
    let mut early = Wire::connect(edge.server.subscribers);
    early.send(b"GET /sse/news HTTP/1.1\r\n");
    edge.server.await_stat("/connections/total", 1);
    edge.reload(
        "channels = ['news history=3']\nbacklog = 77\npublication-max = '8'\n\
         handshake-timeout = '100ms'\n",
    );
    edge.expect_told("channels is 'news history=3");
    edge.expect_told("publication-max is '8' now");
    edge.expect_told("backlog needs a restart to become '77'");
    edge.expect_told("reloaded: 3 settings changed, 1 need a restart");
    // Who came under ten seconds of patience has a tenth of one left.
    let answer = early.answer();
    assert_eq!(answer.head.status, 408);
    assert_eq!(publisher.try_publish("news", b"123456789").head.status, 413);
    let (position, _) = publisher.publish("news", b"12345678");
    let channels = edge.server.shown("/channels/news");
    assert_eq!(channels["kept"], 3, "{channels} at {position}");
    // Without the line the default holds again, and what was refused is what it was.
    edge.reload("channels = ['news history=3']\n");
    edge.expect_told("reloaded: 2 settings changed, 0 need a restart");
    publisher.publish("news", b"123456789");
    edge.server.stop();
}

/// A key of the control listener holds from the reload that brings it, and the one before no more; its
/// text is in no log. What keys a file holds stays known with it.
fn keys_change_without_a_restart(io: Io) {
    let mut edge = Edge::start(io, "keys", "api-key = 'first-0123456789ab'\n");
    let publish = |edge: &Edge, key: &str| {
        let mut publisher = Publisher::of(&edge.server);
        let lines = format!("Authorization: Bearer {key}\r\n");
        publisher.try_publish_as("news", &lines, b"x").head.status
    };
    let statuses =
        |edge: &Edge| ["first-0123456789ab", "other-0123456789ab"].map(|key| publish(edge, key));
    assert_eq!(statuses(&edge), [200, 401]);
    edge.reload("api-key = 'other-0123456789ab'\n");
    edge.expect_told("api-key is '***' now");
    assert_eq!(statuses(&edge), [401, 200]);
    assert!(!edge.server.stderr().contains("0123456789ab"));
    edge.server.stop();
}

/// A file with one wrong value among good ones changes nothing, and the log says where it is wrong;
/// nor does a file that is gone.
fn a_wrong_file_changes_nothing(io: Io) {
    let mut edge = Edge::start(io, "wrong", "retry-after = '9s'\n");
    let file = edge.folder.path().join("stentor.toml").display().to_string();
    edge.reload("publication-max = '8'\nping-interval = '5'\n");
    edge.expect_told("reload refused, nothing has changed: ping-interval: '5'");
    edge.expect_told(&format!("{file}:2"));
    Publisher::of(&edge.server).publish("news", b"123456789");
    fs::remove_file(&file).unwrap();
    edge.server.signal(Signal::HUP);
    eventually("it is told that the file is gone", || {
        (edge.server.stderr().matches("reload refused").count() == 2).then_some(())
    });
    edge.server.stop();
}

/// A drain tells every second how many are left, and nothing is reloaded any more; once the last has
/// gone the server ends. Every line of a log in JSON is an object.
fn a_drain_tells_how_it_goes(io: Io) {
    let server = Server::launch(stentor(&["--drain", "1h", "--log-format", "json"]).env(
        "STENTOR_IO",
        match io {
            Io::Uring => "uring",
            Io::Epoll => "epoll",
        },
    ));
    let subscribers: Vec<Subscriber> = (0..7)
        .map(|index| Subscriber::join(server.subscribers, Kind::BOTH[index % 2], "news"))
        .collect();
    server.await_stat("/connections/total", 7);
    server.signal(Signal::TERM);
    let lines = || -> Vec<Value> {
        let told = server.stderr();
        let whole = told.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
    };
    let begins = eventually("it tells that it begins", || {
        lines().into_iter().find(|line| line["connections"] == 7)
    });
    assert_eq!(begins["message"], "told to stop: draining 7 connections for 3600s");
    server.signal(Signal::HUP);
    eventually("it refuses to reload", || {
        let tells = |line: &Value| line["message"].as_str().unwrap().contains("is draining");
        lines().iter().any(tells).then_some(())
    });
    // At most one in an hour and a minute goes in these few seconds by itself.
    eventually("it tells who is left", || {
        let tells =
            |line: &Value| line["left"].as_u64().is_some_and(|left| (6..=7).contains(&left));
        lines().iter().any(tells).then_some(())
    });
    drop(subscribers);
    server.expect_clean_end();
}
