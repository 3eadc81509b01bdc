use proptest::prelude::*;

use super::*;

fn binary(version: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&SIGNATURE[..], &[version, family], &length, body].concat()
}

fn source(text: &str) -> Option<SocketAddr> {
    Some(text.parse().unwrap())
}

/// Headers as the specification writes them, and whom they speak for.
fn headers() -> Vec<(Vec<u8>, Option<SocketAddr>)> {
    let four = [&[192, 0, 2, 1, 10, 0, 0, 1][..], &[0x30, 0x39, 1, 0xbb]].concat();
    let mut six = [[0u8; 16]; 2].concat();
    (six[0], six[1], six[15]) = (0x20, 0x01, 7);
    six.extend([0xff, 0xff, 1, 0xbb]);
    let with_tlv = [&four[..], &[4, 0, 3, 1, 2, 3]].concat();
    vec![
        (b"PROXY TCP4 192.0.2.1 10.0.0.1 12345 443\r\n".to_vec(), source("192.0.2.1:12345")),
        (b"PROXY TCP6 2001::7 ::1 65535 443\r\n".to_vec(), source("[2001::7]:65535")),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (b"PROXY UNKNOWN what ever 1 2\r\n".to_vec(), None),
        (binary(0x21, 0x11, &four), source("192.0.2.1:12345")),
        (binary(0x21, 0x21, &six), source("[2001::7]:65535")),
        (binary(0x21, 0x11, &with_tlv), source("192.0.2.1:12345")),
        (binary(0x20, 0x11, &four), None),
        (binary(0x20, 0, &[]), None),
        (binary(0x21, 0, &[]), None),
        (binary(0x21, 0x31, &[0; 216]), None),
    ]
}

/// Every header is taken whole and no byte behind it, wherever it is cut.
#[test]
fn headers_end_where_they_end() {
    for (header, source) in headers() {
        let followed = [&header[..], b"GET / HTTP/1.1\r\n\r\n"].concat();
        assert_eq!(parse(&followed), Ok(Some((source, header.len()))), "{header:?}");
        for end in 0..header.len() {
            assert_eq!(parse(&header[..end]), Ok(None), "{end} of {header:?}");
        }
    }
}

/// What is not a header is refused, with the kind of what is wrong.
#[test]
fn what_is_no_header_is_refused() {
    let line = |text: &str| parse(format!("{text}\r\n").as_bytes());
    for text in [
        "PROXY ",
        "PROXY TCP4",
        "PROXY TCP5 192.0.2.1 10.0.0.1 1 2",
        "PROXY TCP4 2001::7 ::1 1 2",
        "PROXY TCP6 192.0.2.1 10.0.0.1 1 2",
        "PROXY TCP4 192.0.2.1 10.0.0.1 1",
        "PROXY TCP4 192.0.2.1 10.0.0.1 1 2 3",
        "PROXY TCP4 192.0.2.1 10.0.0.1 65536 2",
        "PROXY TCP4 192.0.2.1 10.0.0.1 +1 2",
        "PROXY TCP4  192.0.2.1 10.0.0.1 1 2",
    ] {
        assert_eq!(line(text), Err(ProxyError::Line), "{text}");
    }
    assert_eq!(parse(&[b"PROXY TCP4 ".to_vec(), vec![b'1'; 96]].concat()), Err(ProxyError::Line));
    assert_eq!(parse(b"GET / HTTP/1.1\r\n"), Err(ProxyError::Missing));
    assert_eq!(parse(b"\r\n\r\n\0\r\nQUIX"), Err(ProxyError::Missing));
    assert_eq!(parse(&[0x16, 3, 1]), Err(ProxyError::Missing));
    for version in [0x11, 0x22, 0x31, 0] {
        assert_eq!(parse(&binary(version, 0x11, &[0; 12])), Err(ProxyError::Version));
    }
    assert_eq!(parse(&binary(0x21, 0x11, &[0; 9])), Err(ProxyError::Addresses));
    assert_eq!(parse(&binary(0x21, 0x21, &[0; 33])), Err(ProxyError::Addresses));
    let longest = PREFACE_BYTES_MAX - 16;
    assert!(parse(&binary(0x21, 0x11, &vec![0; longest])).is_ok());
    assert_eq!(parse(&binary(0x21, 0x11, &vec![0; longest + 1])), Err(ProxyError::TooLong));
}

proptest! {
    /// No bytes panic, and an answer does not change when more bytes come.
    #[test]
    fn an_answer_stays(
        head in prop::sample::select(headers()),
        cut in any::<prop::sample::Index>(),
        noise in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let bytes = [&head.0[..cut.index(head.0.len() + 1)], &noise].concat();
        let whole = parse(&bytes);
        for end in 0..bytes.len() {
            let early = parse(&bytes[..end]);
            prop_assert!(early == Ok(None) || early == whole, "{end}: {early:?} {whole:?}");
        }
    }
}
