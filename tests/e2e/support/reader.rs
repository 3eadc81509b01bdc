//! One channel over any transport, from where a client left off.

use std::{collections::VecDeque, net::SocketAddr};

use serde_json::{Value, json};

use super::{
    poller::Poller,
    streams::Streams,
    subscriber::{Gap, Kind, Received, Subscriber},
    talk::Talk,
};

/// How a client says where it left off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// `/ws/news?since=`.
    WebSocket,
    /// `/sse/news?since=`.
    Sse,
    /// `/sse/news` with `Last-Event-ID`.
    LastEventId,
    /// `/sse?channels=news` with `Last-Event-ID`.
    Streams,
    /// `subscribe` of `stentor.v1`.
    Commands,
    /// `/poll/news?since=`, again and again over one connection.
    Poll,
    /// `/poll/news` with `If-None-Match`.
    Tag,
}

impl Via {
    /// All of them.
    pub const ALL: [Via; 7] = [
        Via::WebSocket,
        Via::Sse,
        Via::LastEventId,
        Via::Streams,
        Via::Commands,
        Via::Poll,
        Via::Tag,
    ];
}

/// What a reader is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A publication's text, and its position where the transport tells it.
    Publication(String, Option<String>),
    /// What it does not get.
    Gap(Gap),
}

/// A client that has come back.
pub struct Reader {
    channel: String,
    by: By,
    /// Told and not yet taken.
    ready: VecDeque<Item>,
}

enum By {
    One(Subscriber),
    Streams(Streams),
    Talk(Talk),
    Poll { poller: Poller, at: String, tagged: bool },
}

impl Reader {
    /// Comes back. That everything was recovered must be said exactly where no gap is told.
    #[track_caller]
    pub fn resume(address: SocketAddr, via: Via, channel: &str, since: &str) -> Reader {
        let query = format!("{channel}?since={since}");
        let mut ready = VecDeque::new();
        let by = match via {
            Via::WebSocket => By::One(Subscriber::join(address, Kind::WebSocket, &query)),
            Via::Sse => By::One(Subscriber::join(address, Kind::Sse, &query)),
            Via::LastEventId => {
                let line = format!("Last-Event-ID: {since}\r\n");
                By::One(Subscriber::join_with(address, Kind::Sse, channel, &line))
            }
            Via::Streams => {
                let line = format!("Last-Event-ID: {channel}={since}\r\n");
                By::Streams(Streams::open(address, &format!("channels={channel}"), &line))
            }
            Via::Commands => {
                let mut talk = Talk::open(address, "");
                let told = talk.subscribe(channel, &json!({ "since": since }));
                assert_eq!(told["type"], "subscribed", "{told}");
                let gap = told.get("gap").map(Gap::of);
                assert_eq!(told["recovered"], gap.is_none(), "{told}");
                ready.extend(gap.map(Item::Gap));
                By::Talk(talk)
            }
            Via::Poll | Via::Tag => {
                let poller = Poller::connect(address);
                By::Poll { poller, at: since.to_owned(), tagged: via == Via::Tag }
            }
        };
        if let By::One(subscriber) = &by {
            let begun = &subscriber.begun;
            assert_eq!(begun.recovered, Some(begun.gap.is_none()));
            ready.extend(begun.gap.clone().map(Item::Gap));
        }
        Reader { channel: channel.to_owned(), by, ready }
    }

    /// What it is told next.
    #[track_caller]
    pub fn next(&mut self) -> Item {
        if let Some(item) = self.ready.pop_front() {
            return item;
        }
        match &mut self.by {
            By::One(subscriber) => match subscriber.next() {
                Received::Publication { payload, position } => {
                    Item::Publication(String::from_utf8(payload).expect("text"), position)
                }
                Received::Gap(gap) => Item::Gap(gap),
                end => panic!("it ended: {end:?}"),
            },
            By::Streams(streams) => {
                let event = streams.next().expect("it goes on");
                let (channel, position) = event.id.split_once('=').expect("a pair");
                assert_eq!(channel, self.channel);
                match event.kind.as_deref().and_then(|kind| kind.strip_prefix(channel)) {
                    Some(";gap") => {
                        Item::Gap(Gap::of(&serde_json::from_str(&event.data).expect("JSON")))
                    }
                    Some("") => Item::Publication(event.data, Some(position.to_owned())),
                    _ => panic!("{event:?}"),
                }
            }
            By::Talk(talk) => {
                let told = talk.hear();
                assert_eq!(told["channel"], *self.channel, "{told}");
                match told.get("type").and_then(Value::as_str) {
                    Some("gap") => Item::Gap(Gap::of(&told)),
                    None => publication(&told),
                    Some(_) => panic!("{told}"),
                }
            }
            By::Poll { poller, at, tagged } => {
                let (query, line) = match tagged {
                    true => (self.channel.clone(), format!("If-None-Match: \"{at}\"\r\n")),
                    false => (format!("{}?since={at}", self.channel), String::new()),
                };
                let told = poller.poll(&query, &line);
                self.ready.extend(told.gap.map(Item::Gap));
                self.ready.extend(told.publications.iter().map(publication));
                *at = told.position;
                self.ready.pop_front().expect("an answer brings something before its time-out")
            }
        }
    }
}

fn publication(told: &Value) -> Item {
    let text = told["data"].as_str().expect("a text").to_owned();
    Item::Publication(text, told["id"].as_str().map(str::to_owned))
}
