use super::*;
use crate::decoder::{
    Stream, Transport,
    tests::{CHUNKED, Heard, established, publication, read},
};

/// The data of the events in a body that ends with the connection.
fn data_of(body: impl AsRef<[u8]>) -> Vec<Vec<u8>> {
    let (heard, fault) = read(&mut established(Transport::Sse), [body.as_ref()]);
    assert_eq!(fault, None);
    let data = heard.into_iter().filter_map(|heard| match heard {
        Heard::Publication(data) | Heard::Numbered(data, _) => Some(data),
        Heard::Position(_) => None,
        other => panic!("{other:?}"),
    });
    data.collect()
}

/// What a stream says of a chunked body.
fn read_chunked(body: &[u8]) -> (Vec<Heard>, Option<Fault>) {
    let mut stream = Stream::new(Transport::Sse);
    read(&mut stream, [CHUNKED]);
    read(&mut stream, [body])
}

/// The examples of the HTML standard, §9.2.6, tell what it says of them.
#[test]
fn the_examples_of_the_standard_hold() {
    assert_eq!(data_of("data: YHOO\ndata: +2\ndata: 10\n\n"), [b"YHOO\n+2\n10"]);
    let four_blocks = ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\n\
                       data:  third event\n";
    assert_eq!(data_of(four_blocks), [&b"first event"[..], b"second event"]);
    assert_eq!(data_of(format!("{four_blocks}\n"))[2], b" third event");
    assert_eq!(data_of("data\n\ndata\ndata\n\ndata:"), [&b""[..], b"\n"]);
    assert_eq!(data_of("data:test\n\ndata: test\n\n"), [b"test", b"test"]);
}

/// Comments, other fields and events without data tell nothing.
#[test]
fn only_data_is_told() {
    let none: [&[u8]; 0] = [];
    for body in [":\n\n", "id: 1\nevent: x\nretry: 5\n\n", "datum: x\n\n", "data2: x\n\n", "\n\n\n"]
    {
        assert_eq!(data_of(body), none, "{body:?}");
    }
    assert_eq!(data_of("event: x\ndata: a\n: comment\nid: 9\ndata: b\nretry: 5\n\n"), [b"a\nb"]);
}

/// CR, LF and CR LF each end one line, in any mixture.
#[test]
fn line_ends_are_alike() {
    assert_eq!(
        data_of("data: a\r\ndata: b\r\r\ndata: c\n\ndata: d\r\n\r\n"),
        [&b"a\nb"[..], b"c", b"d"]
    );
    assert_eq!(data_of("data: a\r\rdata: b\n\r"), [b"a", b"b"]);
    assert_eq!(data_of("data: a\r\n"), Vec::<Vec<u8>>::new(), "CR LF is one line end");
}

/// A byte order mark is skipped at the start of the stream, and only there.
#[test]
fn a_byte_order_mark_is_skipped_once() {
    assert_eq!(data_of("\u{feff}data: a\n\n\u{feff}data: b\n\ndata: c\n\n"), [b"a", b"c"]);
    assert_eq!(data_of("\u{feff}\ndata: a\n\n"), [b"a"]);
    assert_eq!(data_of("\u{feff}\u{feff}data: a\n\ndata: b\n\n"), [b"b"]);
}

/// An event may span chunks and a chunk may hold events; extensions, trailers, leading zeros and
/// digits of either case are taken, and the last chunk ends the stream. A half event is dropped.
#[test]
fn chunks_are_taken_apart() {
    let body = b"3\r\ndat\r\n00017;a=b\r\na: x\n\ndata: 0123456789\n\r\nA \r\n\ndata: y\n\n\r\n\
                 6\r\ndata:z\r\n0;end\r\nA: b\r\nC:\r\n\r\n";
    let expected = vec![
        publication("x"),
        publication("0123456789"),
        publication("y"),
        Heard::Closed(None, String::new()),
    ];
    assert_eq!(read_chunked(body), (expected, None));
    assert_eq!(read_chunked(b"b\r\ndata: \xff...\n\r\n").1, None);
    assert_eq!(read_chunked(b"0B\r\ndata: abc\n\n\r\n"), (vec![publication("abc")], None));
}

/// What is half read when the last chunk comes is dropped, and takes no memory.
#[test]
fn the_last_chunk_drops_half_an_event() {
    let mut stream = Stream::new(Transport::Sse);
    read(&mut stream, [CHUNKED, b"9\r\ndata: a\nd\r\n"]);
    assert!(!stream.owns_nothing());
    read(&mut stream, [&b"0\r\n\r\n"[..]]);
    assert!(stream.owns_nothing());
}

/// Whatever breaks the chunked coding is a fault.
#[test]
fn every_violation_is_named() {
    let cases: &[(&[u8], Fault)] = &[
        (b"x\r\n", Fault::ChunkSize),
        (b"\r\n", Fault::ChunkSize),
        (b"-1\r\n", Fault::ChunkSize),
        (b"1x\r\n", Fault::ChunkSize),
        (b"1\n", Fault::ChunkSize),
        (b"1;a\n", Fault::ChunkEnd),
        (b"1\rx", Fault::ChunkEnd),
        (b"1\r\n:x", Fault::ChunkEnd),
        (b"1\r\n:\rx", Fault::ChunkEnd),
        (b"100000000\r\n", Fault::ChunkTooLarge),
        (b"0\r\n\n", Fault::ChunkEnd),
        (b"0\r\nA: b\n", Fault::ChunkEnd),
        (b"0\r\nA: b\rx", Fault::ChunkEnd),
        (b"0\r\n\rx", Fault::ChunkEnd),
    ];
    for (body, fault) in cases {
        assert_eq!(read_chunked(body), (vec![], Some(fault.clone())), "{body:?}");
    }
    let (heard, fault) = read_chunked(b"0\r\n\r\n0");
    assert_eq!(heard, [Heard::Closed(None, String::new())]);
    assert_eq!(fault, Some(Fault::AfterEnd));
    assert_eq!(read_chunked(b"ffffffff\r\n"), (vec![], None), "the largest chunk");
}

/// The data of an event may be as long as the bound, on one line or several, and not one byte
/// longer; nor may a line that is not data.
#[test]
fn the_longest_event_is_taken_and_no_longer_one() {
    let longest = vec![b'x'; MESSAGE_BYTES_MAX];
    let (first, second) = longest.split_at(MESSAGE_BYTES_MAX / 2);
    let on_one_line = [BYTE_ORDER_MARK, b"data: ", &longest, b"\n\n"].concat();
    let on_two_lines = [b"data: ", first, b"\ndata: ", &second[1..], b"\n\n"].concat();
    for body in [&on_one_line, &on_two_lines] {
        for piece_len in [100_000, body.len()] {
            let mut stream = established(Transport::Sse);
            let (heard, fault) = read(&mut stream, body.chunks(piece_len));
            assert_eq!(fault, None);
            let [Heard::Publication(data)] = &heard[..] else { panic!("not one event") };
            assert_eq!(data.len(), MESSAGE_BYTES_MAX);
            assert!(stream.owns_nothing());
        }
    }

    let data_too_long = [b"data:x", &longest[..], b"\n\n"].concat();
    let lines_too_long = [b"data: ", first, b"\ndata: ", second, b"\n\n"].concat();
    let comment_too_long = [b":123456789", &longest[..]].concat();
    for body in [data_too_long, lines_too_long, comment_too_long] {
        for piece_len in [100_000, body.len()] {
            let read = read(&mut established(Transport::Sse), body.chunks(piece_len));
            assert_eq!(read, (vec![], Some(Fault::MessageTooLarge)));
        }
    }
}

/// A line of exactly the bound is taken, whatever is on it.
#[test]
fn the_longest_line_is_taken() {
    let body = [b":", &vec![b'x'; LINE_BYTES_MAX - 1][..], b"\ndata: a\n\n"].concat();
    assert_eq!(data_of(body), [b"a"]);
}
