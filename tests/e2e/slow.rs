//! Readers that stop, and wake up again: what befalls them is their channel's policy, and what they
//! do not get is told to the publication.

use std::time::Instant;

use serde_json::{Value, json};

use crate::support::{
    Gap, Io, Kind, Publisher, Received, Server, Streams, Subscriber, Talk, eventually,
};

on_both_kernels!(
    who_skips_is_told_what,
    who_is_closed_may_resume,
    who_lags_in_latest_values_gets_the_newest,
    who_lags_is_shown,
    the_last_to_be_written_is_measured,
);

const FLAGS: [&str; 6] =
    ["--lag-max", "1MiB", "--publication-max", "64KiB", "--stall-timeout", "1h"];
/// Publications of 60 kB: more than sockets and `lag-max` take together.
const FLOOD: usize = 300;

/// Over each transport, a reader that stopped gets an unbroken run of what was in its socket, the
/// notice of a gap that ends exactly before what it gets next, and then everything to the end: under
/// `skip` what is kept, under `latest` the newest. Who reads on misses nothing.
fn who_skips_is_told_what(io: Io) {
    for (policy, history) in [("skip", 0), ("skip", 5), ("latest", 0), ("latest", 5)] {
        let channels = format!("flood slow={policy} history={history}");
        let server = Server::start(io, &[&FLAGS[..], &["--channels", &channels]].concat());
        let mut stalled: Vec<Stalled> =
            Form::ALL.into_iter().map(|form| Stalled::join(&server, form)).collect();
        let mut neighbour = Subscriber::join(server.subscribers, Kind::WebSocket, "flood");
        let mut book = flood(&server, 0..FLOOD, &mut neighbour);
        // What they are sent next finds them awake.
        for reader in &mut stalled {
            reader.read_to(&book, FLOOD - 1, policy);
            assert!(reader.gaps > 0, "{:?} {policy}: this was to be more than fits", reader.form);
        }
        book.extend(flood(&server, FLOOD..FLOOD + 3, &mut neighbour));
        for reader in &mut stalled {
            let gaps = reader.gaps;
            reader.read_to(&book, FLOOD + 2, policy);
            assert_eq!(reader.gaps, gaps, "{:?} {policy}: awake it misses nothing", reader.form);
        }
        let gaps: usize = stalled.iter().map(|reader| reader.gaps).sum();
        let missed: usize = stalled.iter().map(|reader| reader.missed).sum();
        assert_eq!(server.stat("/skipped"), missed as u64, "{policy}");
        assert_eq!(server.metric("stentor_publications_skipped_total"), missed as f64, "{policy}");
        // Who has no words for a gap sees two without anything between them as one.
        assert!(server.metric("stentor_gaps_total") >= gaps as f64, "{policy}");
        server.stop();
    }
}

/// Under `close` a reader that stopped gets an unbroken run and then the end, which says where to
/// resume: at the last that it got. There it is told of the gap, and gets what is kept.
fn who_is_closed_may_resume(io: Io) {
    let channels = ["--channels", "flood slow=close history=3"];
    let server = Server::start(io, &[&FLAGS[..], &channels].concat());
    let mut stalled: Vec<Stalled> =
        Form::ALL.into_iter().map(|form| Stalled::join(&server, form)).collect();
    let mut neighbour = Subscriber::join(server.subscribers, Kind::WebSocket, "flood");
    let book = flood(&server, 0..FLOOD, &mut neighbour);
    for reader in &mut stalled {
        let form = reader.form;
        let end = loop {
            match reader.hear() {
                Heard::Publication(number) if number == reader.next => reader.next += 1,
                Heard::End(end) => break end,
                other => panic!("{form:?}: {other:?}"),
            }
        };
        let last = &book[reader.next - 1];
        match form {
            Form::Plain | Form::Commands => {
                let text = format!("too slow; resume from {last}");
                assert_eq!(end, Received::Close(1013, text), "{form:?}");
            }
            Form::Sse | Form::Streams => assert_eq!(end, Received::End, "{form:?}"),
        }
        let since = format!("flood?since={last}");
        let mut again = Subscriber::join(server.subscribers, Kind::WebSocket, &since);
        let gap = Gap { from: last.clone(), to: book[FLOOD - 4].clone() };
        assert_eq!(again.begun.gap, Some(gap), "{form:?}");
        for number in FLOOD - 3..FLOOD {
            assert!(again.publication() == large(number), "{form:?}");
        }
    }
    server.stop();
}

/// A reader of latest values that stopped is spared what was replaced meanwhile: what it gets is in
/// order, without a repeat, is far from all, and ends with the newest of every key. There is no
/// gap to tell, since it lacks no current value.
fn who_lags_in_latest_values_gets_the_newest(io: Io) {
    let channels = ["--channels", "flood mode=latest history=10"];
    let server = Server::start(io, &[&FLAGS[..], &channels].concat());
    let mut stalled: Vec<Stalled> =
        Form::ALL.into_iter().map(|form| Stalled::join(&server, form)).collect();
    let mut publisher = Publisher::of(&server);
    for number in 0..FLOOD {
        publisher.publish_as(&format!("flood?key={}", number % 7), "", &large(number));
    }
    for reader in &mut stalled {
        let (form, mut got, mut newest) = (reader.form, 0, [None; 7]);
        while newest.iter().flatten().filter(|&&number| number >= FLOOD - 7).count() < 7 {
            let Heard::Publication(number) = reader.hear() else { panic!("{form:?}") };
            assert!(number >= reader.next, "{form:?}: {number} after {}", reader.next);
            (reader.next, got) = (number + 1, got + 1);
            newest[number % 7] = Some(number);
        }
        assert_eq!(reader.next, FLOOD, "{form:?}");
        assert!(got < FLOOD * 3 / 4, "{form:?} got {got} of {FLOOD}");
    }
    publisher.publish_as("flood?key=0", "", &large(FLOOD));
    for reader in &mut stalled {
        assert_eq!(reader.hear(), Heard::Publication(FLOOD), "{:?}", reader.form);
    }
    server.stop();
}

/// `/lag` shows who lags, from where, and by how much; and nobody any more once it has read.
fn who_lags_is_shown(io: Io) {
    let server = Server::start(io, &["--stall-timeout", "1h", "--channels", "flood*"]);
    let mut stalled = Subscriber::join(server.subscribers, Kind::Sse, "flood");
    let mut neighbour = Subscriber::join(server.subscribers, Kind::WebSocket, "flood");
    flood(&server, 0..200, &mut neighbour);
    let lag = server.shown("/lag");
    let slowest = &lag["slowest"][0];
    let address = json!(stalled.wire.own_address().to_string());
    assert_eq!((&slowest["address"], &slowest["channel"]), (&address, &json!("flood")), "{lag}");
    assert_eq!(slowest["format"], "sse", "{lag}");
    let waiting = slowest["publications"].as_u64().unwrap();
    assert!((1..200).contains(&waiting), "{lag}");
    let pattern = &lag["patterns"][0];
    assert_eq!((&pattern["pattern"], &pattern["subscriptions"]), (&json!("flood*"), &json!(2)));
    assert_eq!(pattern["publications_sum"].as_u64(), Some(waiting), "{lag}");
    (0..200).for_each(|number| assert!(stalled.publication() == large(number), "{number}"));
    eventually("nobody lags", || {
        let lag = server.shown("/lag");
        (lag["patterns"][0]["publications_sum"] == 0).then_some(())
    });
    assert_eq!(server.shown("/lag")["slowest"], json!([]));
    server.stop();
}

/// Each round that carried something counts once in how long the last of its subscribers waited, and
/// none waited longer than all took together.
fn the_last_to_be_written_is_measured(io: Io) {
    let server = Server::start(io, &[]);
    let mut subscriber = Subscriber::join(server.subscribers, Kind::WebSocket, "flood");
    let began = Instant::now();
    flood(&server, 0..10, &mut subscriber);
    eventually("ten rounds have ended", || {
        (server.metric("stentor_delivered_last_seconds_count") == 10.0).then_some(())
    });
    assert_eq!(server.metric("stentor_delivered_last_seconds_bucket{le=\"+Inf\"}"), 10.0);
    let waited = server.metric("stentor_delivered_last_seconds_sum");
    assert!((0.0..=10.0 * began.elapsed().as_secs_f64()).contains(&waited), "{waited} s");
    server.stop();
}

/// How a reader reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Plain,
    Sse,
    Streams,
    Commands,
}

impl Form {
    const ALL: [Form; 4] = [Form::Plain, Form::Sse, Form::Streams, Form::Commands];
}

/// A reader of "flood" that reads when it is asked to.
struct Stalled {
    form: Form,
    by: By,
    /// The number that must come next.
    next: usize,
    gaps: usize,
    /// Publications in those gaps.
    missed: usize,
}

enum By {
    One(Subscriber),
    Streams(Streams),
    Talk(Talk),
}

#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Publication(usize),
    Gap(Gap),
    End(Received),
}

impl Stalled {
    fn join(server: &Server, form: Form) -> Stalled {
        let address = server.subscribers;
        let by = match form {
            Form::Plain => By::One(Subscriber::join(address, Kind::WebSocket, "flood")),
            Form::Sse => By::One(Subscriber::join(address, Kind::Sse, "flood")),
            Form::Streams => By::Streams(Streams::open(address, "channels=flood", "")),
            Form::Commands => {
                let mut talk = Talk::open(address, "");
                talk.subscribe("flood", &json!({}));
                By::Talk(talk)
            }
        };
        Stalled { form, by, next: 0, gaps: 0, missed: 0 }
    }

    fn hear(&mut self) -> Heard {
        match &mut self.by {
            By::One(subscriber) => match subscriber.next() {
                Received::Publication { payload, .. } => Heard::Publication(number_of(&payload)),
                Received::Gap(gap) => Heard::Gap(gap),
                end => Heard::End(end),
            },
            By::Streams(streams) => match streams.next() {
                None => Heard::End(Received::End),
                Some(event) if event.kind.as_deref() == Some("flood;gap") => {
                    let told: Value = serde_json::from_str(&event.data).expect("JSON");
                    Heard::Gap(Gap::of(&told))
                }
                Some(event) => Heard::Publication(number_of(event.data.as_bytes())),
            },
            By::Talk(talk) => match talk.next() {
                Err(end) => Heard::End(end),
                Ok(told) if told["type"] == "gap" => Heard::Gap(Gap::of(&told)),
                Ok(told) => {
                    Heard::Publication(number_of(told["data"].as_str().unwrap().as_bytes()))
                }
            },
        }
    }

    /// Reads up to the publication of this number, and holds every gap to the positions.
    #[track_caller]
    fn read_to(&mut self, book: &[String], last: usize, policy: &str) {
        let form = self.form;
        while self.next <= last {
            match self.hear() {
                Heard::Publication(number) if form == Form::Plain && number > self.next => {
                    // It has no words for a gap, so the publication itself shows it.
                    self.on_gap(number, book, policy);
                    self.next = number + 1;
                }
                Heard::Publication(number) => {
                    assert_eq!(number, self.next, "{form:?} {policy}");
                    self.next += 1;
                }
                Heard::Gap(gap) => {
                    assert_eq!(gap.from, book[self.next - 1], "{form:?} {policy}");
                    let to = book.iter().position(|position| *position == gap.to);
                    let next = 1 + to.unwrap_or_else(|| panic!("{form:?} {policy}: {gap:?}"));
                    assert!(next > self.next, "{form:?} {policy}: {gap:?}");
                    self.on_gap(next, book, policy);
                    self.next = next;
                }
                Heard::End(end) => panic!("{form:?} {policy}: {end:?} before {}", self.next),
            }
        }
    }

    fn on_gap(&mut self, next: usize, book: &[String], policy: &str) {
        self.gaps += 1;
        self.missed += next - self.next;
        if policy == "latest" {
            assert_eq!(next, book.len() - 1, "{:?}: the newest comes next", self.form);
        }
    }
}

/// Publishes these to "flood" while a neighbour reads along; their positions.
fn flood(
    server: &Server,
    numbers: std::ops::Range<usize>,
    neighbour: &mut Subscriber,
) -> Vec<String> {
    let mut publisher = Publisher::of(server);
    let publish = |number| {
        let (position, _) = publisher.publish("flood", &large(number));
        assert!(neighbour.publication() == large(number), "{number}");
        position
    };
    numbers.map(publish).collect()
}

/// A publication of 60 kB that follows from its number.
fn large(number: usize) -> Vec<u8> {
    let mut payload = format!("{number}:").into_bytes();
    payload.resize(60_000, b'a' + (number % 26) as u8);
    payload
}

/// The number of a publication, which must be whole.
#[track_caller]
fn number_of(payload: &[u8]) -> usize {
    let digits = payload.split(|&byte| byte == b':').next().expect("a number");
    let number = std::str::from_utf8(digits).expect("text").parse().expect("a number");
    assert!(payload == large(number), "publication {number} is not as it was sent");
    number
}
