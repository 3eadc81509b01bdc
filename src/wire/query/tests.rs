use super::*;
use crate::ids::{Epoch, Offset};

fn at(offset: u128) -> Position {
    Position { epoch: Epoch(0x1f), offset: Offset(offset) }
}

fn start(query: &str) -> Result<Start, QueryError> {
    Query::parse(query)?.start()
}

fn channels(query: &str, header: Option<&str>) -> Result<Vec<(String, Start)>, QueryError> {
    let channels = Query::parse(query)?.channels(header)?;
    Ok(channels.into_iter().map(|(name, start)| (name.to_string(), start)).collect())
}

/// One of since and last says where to begin, decoded once; what is not known is passed over.
#[test]
fn a_query_says_where_to_begin() {
    for (query, expected) in [
        ("", Ok(Start::Live)),
        ("_=171&x=%zz&Since=1", Ok(Start::Live)),
        ("since=1f-42", Ok(Start::Since(at(42)))),
        ("s%69nce=1f%2D42&a", Ok(Start::Since(at(42)))),
        ("last=0", Ok(Start::Last(0))),
        ("last=4294967295", Ok(Start::Last(u32::MAX))),
        ("last=4294967296", Err(QueryError::Last)),
        ("last=-1", Err(QueryError::Last)),
        ("last=+1", Err(QueryError::Last)),
        ("last", Err(QueryError::Last)),
        ("since=", Err(QueryError::Position("since"))),
        ("since=42", Err(QueryError::Position("since"))),
        ("since=1f%2-42", Err(QueryError::Escape("since"))),
        ("since=%ff", Err(QueryError::Escape("since"))),
        ("since=1f-1&since=1f-2", Err(QueryError::Twice("since"))),
        ("since=1f-1&last=1", Err(QueryError::SinceAndLast)),
    ] {
        assert_eq!(start(query), expected, "{query}");
    }
}

/// A browser's last event id wins over whatever the address says; an empty one is none.
#[test]
fn the_last_event_id_wins() {
    let query = Query::parse("since=1f-1&last=3").unwrap();
    assert_eq!(query.start_or(Some("1f-7")), Ok(Start::Since(at(7))));
    assert_eq!(query.start_or(Some("")), Err(QueryError::SinceAndLast));
    assert_eq!(query.start_or(Some("x")), Err(QueryError::Position("Last-Event-ID")));
    assert_eq!(query.start_or(None), Err(QueryError::SinceAndLast));
}

/// Each channel begins where its pair says, or with the last, or live.
#[test]
fn channels_begin_each_where_it_says() {
    let pair = |name: &str, start| (name.to_string(), start);
    let live = vec![pair("a", Start::Live), pair("b/c", Start::Live)];
    assert_eq!(channels("channels=a,b/c", None), Ok(live.clone()));
    assert_eq!(channels("channels=a%2Cb%2fc", Some("")), Ok(live));
    let mixed = vec![pair("a", Start::Last(2)), pair("b", Start::Since(at(4)))];
    assert_eq!(channels("channels=a,b&since=b=1f-4&last=2", None), Ok(mixed.clone()));
    assert_eq!(channels("channels=a,b&since=a=1f-9&last=2", Some("b=1f-4")), Ok(mixed));
    assert_eq!(channels("", None), Ok(vec![]));
    for (query, error) in [
        ("channels=", QueryError::Channel(NotAChannel::Empty)),
        ("channels=a,,b", QueryError::Channel(NotAChannel::Empty)),
        ("channels=a%20", QueryError::Channel(NotAChannel::BadByte(b' '))),
        ("channels=a,b,a", QueryError::ChannelTwice),
        ("channels=a&since=1f-4", QueryError::Pairs("since")),
        ("channels=a&since=a=4", QueryError::Pairs("since")),
        ("channels=a&since=a=1f-4,", QueryError::Pairs("since")),
        ("channels=a&since=b=1f-4", QueryError::PairsChannel("since")),
        ("channels=a&since=a=1f-4,a=1f-5", QueryError::PairsChannel("since")),
    ] {
        assert_eq!(channels(query, None), Err(error), "{query}");
    }
    assert_eq!(channels("channels=a", Some("x")), Err(QueryError::Pairs("Last-Event-ID")));
}

/// As many channels as there may be are taken, and no more.
#[test]
fn channels_are_counted() {
    let named = |count| {
        let names: Vec<String> = (0..count).map(|n| format!("c{n}")).collect();
        channels(&format!("channels={}", names.join(",")), None)
    };
    assert_eq!(named(SSE_CHANNELS_MAX).unwrap().len(), SSE_CHANNELS_MAX);
    assert_eq!(named(SSE_CHANNELS_MAX + 1), Err(QueryError::TooManyChannels));
}

/// Seconds, with fractions if need be; nothing that a float might also be.
#[test]
fn a_timeout_is_seconds() {
    let timeout = |text: &str| Query::parse(&format!("timeout={text}")).unwrap().timeout();
    assert_eq!(Query::parse("").unwrap().timeout(), Ok(None));
    assert_eq!(timeout("0"), Ok(Some(Duration::ZERO)));
    assert_eq!(timeout("25"), Ok(Some(Duration::from_secs(25))));
    assert_eq!(timeout("0.5"), Ok(Some(Duration::from_millis(500))));
    assert_eq!(timeout(&"9".repeat(400)), Ok(Some(Duration::MAX)));
    for text in ["", "-1", "1s", "nan", "inf", "1e3", "1.2.3", "."] {
        assert_eq!(timeout(text), Err(QueryError::Timeout), "{text}");
    }
}

/// A tag is a position in quotes, weakened or not.
#[test]
fn a_tag_is_a_position() {
    assert_eq!(tag("\"1f-42\""), Ok(at(42)));
    assert_eq!(tag("W/\"1f-42\""), Ok(at(42)));
    for text in ["", "*", "1f-42", "\"1f-42", "\"\"", "\"1f-42\", \"1f-43\"", "\""] {
        assert_eq!(tag(text), Err(QueryError::Tag), "{text}");
    }
}
