//! Several channels over one connection, each of them whole, whatever happens.

use std::{collections::HashSet, thread};

use serde_json::json;

use crate::support::{Book, Dice, Io, Press, Server, Streams, Talk};

on_both_kernels!(several_channels_are_whole_under_fire);

const CHANNELS: [&str; 4] = ["sport", "news", "a/b:c", "ticker.EURUSD"];

/// While publishers of four channels never pause, clients that read all of them over one connection
/// drop it at random and come back: of each channel nothing is skipped, nothing is repeated, and the
/// ids of event streams say where all four stand.
fn several_channels_are_whole_under_fire(io: Io) {
    let channels = "* history=1000000 history-bytes=1GiB";
    let server = Server::start(io, &["--shards", "3", "--inbox", "16", "--channels", channels]);
    let presses = CHANNELS.map(|channel| Press::run(&server, channel, text));
    let clients: Vec<_> = (0..4)
        .map(|seed| {
            let books = presses.each_ref().map(|press| press.book.clone());
            let (address, mut dice) = (server.subscribers, Dice::new(seed));
            thread::spawn(move || {
                let mut next = [1; CHANNELS.len()];
                for round in 0..100 {
                    let at = format!("seed {seed}, round {round}");
                    let count = dice.below(60);
                    match seed % 2 {
                        0 => talk(Talk::open(address, ""), &books, &mut next, count, &at),
                        _ => {
                            let line = format!("Last-Event-ID: {}\r\n", vector(&books, &next));
                            let query = format!("channels={}", CHANNELS.join(","));
                            let stream = Streams::open(address, &query, &line);
                            listen(stream, &books, &mut next, count, &at);
                        }
                    }
                }
            })
        })
        .collect();
    let outcomes: Vec<_> = clients.into_iter().map(thread::JoinHandle::join).collect();
    presses.into_iter().for_each(Press::end);
    outcomes.into_iter().for_each(|outcome| outcome.unwrap());
    assert_eq!(server.stat("/gaps"), 0);
    server.stop();
}

/// Reads so many publications of a conversation that resumes every channel.
fn talk(mut talk: Talk, books: &[Book], next: &mut [usize], count: usize, at: &str) {
    let since: Vec<String> =
        books.iter().zip(&*next).map(|(book, next)| book.position(next - 1)).collect();
    let command =
        |(channel, since)| json!({ "type": "subscribe", "channel": channel, "since": since });
    talk.say(&CHANNELS.iter().zip(&since).map(command).collect());
    let mut replies = HashSet::new();
    let mut heard = 0;
    while heard < count {
        let told = talk.hear();
        let channel = place(told["channel"].as_str().unwrap());
        if told["type"] == "subscribed" {
            let position = &since[channel];
            let expected = json!({ "type": "subscribed", "channel": CHANNELS[channel],
                "position": position, "recovered": true });
            assert_eq!(told, expected, "{at}");
            assert!(replies.insert(channel), "{at}: {told}");
            continue;
        }
        assert!(replies.contains(&channel), "{at}: {told} before the reply");
        let id = books[channel].position(next[channel]);
        let expected =
            json!({ "channel": CHANNELS[channel], "id": id, "data": text(next[channel]) });
        assert_eq!(told, expected, "{at}");
        (next[channel], heard) = (next[channel] + 1, heard + 1);
    }
}

/// Reads so many events of a stream that resumes every channel.
fn listen(mut stream: Streams, books: &[Book], next: &mut [usize], count: usize, at: &str) {
    assert_eq!(stream.first, vector(books, next), "{at}");
    for _ in 0..count {
        let event = stream.next().expect("it goes on");
        let channel = place(event.kind.as_deref().unwrap());
        assert_eq!(event.data, text(next[channel]), "{at}, {}", CHANNELS[channel]);
        next[channel] += 1;
        assert_eq!(event.id, vector(books, next), "{at}");
    }
}

/// Where all channels stand.
fn vector(books: &[Book], next: &[usize]) -> String {
    let pairs = CHANNELS.iter().zip(books.iter().zip(next));
    let pair = |(channel, (book, next)): (&&str, (&Book, &usize))| {
        format!("{channel}={}", book.position(next - 1))
    };
    pairs.map(pair).collect::<Vec<_>>().join(",")
}

fn place(channel: &str) -> usize {
    CHANNELS.iter().position(|known| *known == channel).unwrap_or_else(|| panic!("{channel}"))
}

fn text(number: usize) -> String {
    format!("publication {number}")
}
