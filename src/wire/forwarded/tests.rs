use proptest::prelude::*;

use super::{super::http::parse, *};

/// What is said in these lines, where 10.0.0.0/8 and 2001:db8:1::/48 are proxies' own.
fn said(header: Header, lines: &[&str]) -> Result<Client, NotForwarded> {
    let lines: String = lines.iter().map(|it| format!("{}: {it}\r\n", header.name())).collect();
    let head = format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
    let request = parse(head.as_bytes(), 1 << 16).unwrap().unwrap().0;
    client(&request, header, |ip| match ip.to_canonical() {
        IpAddr::V4(ip) => ip.octets()[0] == 10,
        IpAddr::V6(ip) => ip.segments()[..3] == [0x2001, 0xdb8, 1],
    })
}

fn at(text: &str) -> Client {
    let ip = || text.parse().map(|ip| SocketAddr::new(ip, 0));
    Client::Address(text.parse().or_else(|_| ip()).unwrap())
}

/// The last address that is no proxy's counts, over all lines, whatever stands in front of it.
#[test]
fn the_last_stranger_is_the_client() {
    for (lines, expected) in [
        (&["192.0.2.1"][..], at("192.0.2.1")),
        (&["192.0.2.1:4711"], at("192.0.2.1:4711")),
        (&["2001:db8::1"], at("2001:db8::1")),
        (&["[2001:db8::1]"], at("2001:db8::1")),
        (&["[2001:db8::1]:80"], at("[2001:db8::1]:80")),
        (&["203.0.113.9, 192.0.2.1"], at("192.0.2.1")),
        (&["nonsense, 192.0.2.1 , 10.0.0.1"], at("192.0.2.1")),
        (&["203.0.113.9", "192.0.2.1,10.0.0.1,,2001:db8:1::1"], at("192.0.2.1")),
        (&["192.0.2.1", "10.0.0.1"], at("192.0.2.1")),
        (&["192.0.2.1, unknown, 10.0.0.1"], Client::Unnamed),
        (&["192.0.2.1, _hidden:_port"], Client::Unnamed),
        // Who is trusted and in front of all others is a client of theirs.
        (&["10.0.0.7, 10.0.0.1"], at("10.0.0.7")),
        (&[], Client::Itself),
        (&["", " , "], Client::Itself),
    ] {
        assert_eq!(said(Header::XForwardedFor, lines), Ok(expected), "{lines:?}");
    }
}

/// `for` counts, in any case, quoted or not, among other pairs.
#[test]
fn forwarded_is_read_as_the_rfc_says() {
    for (lines, expected) in [
        (&["for=192.0.2.43"][..], at("192.0.2.43")),
        (&["For=\"[2001:db8:cafe::17]:4711\""], at("[2001:db8:cafe::17]:4711")),
        (&["for=192.0.2.60;proto=http;by=203.0.113.43"], at("192.0.2.60")),
        (&["by=203.0.113.43 ; FOR=\"192.0.2.60:80\";host=\"a, for=1.1.1.1\""], at("192.0.2.60:80")),
        (&["for=192.0.2.43, for=198.51.100.17"], at("198.51.100.17")),
        (&["for=192.0.2.43", "for=10.0.0.1,,for=\"[2001:db8:1::2]\";"], at("192.0.2.43")),
        (&["for=192.0.2.43;x=\"a\\\"b\\\\\", for=10.1.1.1"], at("192.0.2.43")),
        (&["for=192.0.2.1, for=unknown"], Client::Unnamed),
        (&["for=192.0.2.1, for=_SEVKISEK"], Client::Unnamed),
        (&["for=192.0.2.1, for=\"_gazonk:80\", for=10.0.0.1"], Client::Unnamed),
        (&["for=192.0.2.1, proto=https"], Client::Unnamed),
        (&[";"], Client::Itself),
    ] {
        assert_eq!(said(Header::Forwarded, lines), Ok(expected), "{lines:?}");
    }
}

/// What a proxy cannot have meant is refused, and so is what a client put there to swallow what the
/// proxy appends.
#[test]
fn what_is_malformed_is_refused() {
    for last in ["nonsense", "1.2.3", "1.2.3.4:x", "1.2.3.4:+1", "[1.2.3.4]", "[::1", "::1]:1", "_"]
    {
        let refused = said(Header::XForwardedFor, &[&format!("192.0.2.1, {last}")]);
        let text =
            "the X-Forwarded-For header of a trusted proxy has an entry that is not an address";
        assert_eq!(refused.unwrap_err().to_string(), text, "{last}");
    }
    for line in [
        "for=\"192.0.2.1",
        "for=\"x, for=192.0.2.1;proto=\"http\"",
        "for=\"\\, for=192.0.2.1",
        "for=192.0.2.1;for=192.0.2.2",
        "for",
        "=192.0.2.1",
        "for =192.0.2.1",
        "for=\"192.0.2.1\"x",
        "for=192.0.2.1 for=192.0.2.2",
    ] {
        let refused = said(Header::Forwarded, &[line]).unwrap_err().to_string();
        assert!(refused.contains("RFC 7239"), "{line}: {refused}");
    }
    for line in ["for=", "for=\"\"", "for=localhost", "for=\"1.2.3.4\\\"\""] {
        let refused = said(Header::Forwarded, &[line]).unwrap_err().to_string();
        assert!(refused.ends_with("not an address"), "{line}: {refused}");
    }
}

/// As many proxies may stand behind each other as may; one more is refused.
#[test]
fn the_chain_has_an_end() {
    let chain = |proxies| format!("192.0.2.1{}", ",10.0.0.1".repeat(proxies));
    let at_most = said(Header::XForwardedFor, &[&chain(PROXIES_MAX - 1)]);
    assert_eq!(at_most, Ok(at("192.0.2.1")));
    assert!(said(Header::XForwardedFor, &[&chain(PROXIES_MAX)]).is_err());
}

proptest! {
    /// Whatever a client sends, what a proxy appends to it decides, or the request is refused.
    ///
    /// Method: any text that a header may have, in one line with the proxy's entry or in front of it.
    #[test]
    fn a_client_cannot_speak_for_the_proxy(
        forged in "[ -~]{0,40}",
        is_one_line in any::<bool>(),
        is_rich in any::<bool>(),
    ) {
        for (header, rich) in [(Header::XForwardedFor, ""), (Header::Forwarded, ";host=\"h\"")] {
            let begin = if header == Header::Forwarded { "for=" } else { "" };
            let own = format!("{begin}192.0.2.1{}", if is_rich { rich } else { "" });
            let told = match is_one_line {
                true => said(header, &[&format!("{forged}, {own}")]),
                false => said(header, &[&forged, &own]),
            };
            prop_assert!(told.is_err() || told == Ok(at("192.0.2.1")), "{:?}", told);
        }
    }
}
