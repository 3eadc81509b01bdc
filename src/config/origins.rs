//! Which web pages may subscribe: the `Origin` header against a list (RFC 6454).
//!
//! Browsers let any page open a WebSocket to any server, cookies included, and say only in
//! `Origin` whose page it is. Clients that are no browsers send no `Origin`, and could send any,
//! so the list keeps out foreign pages, not people.
#![forbid(unsafe_code)]

use super::{table::Shape, values::Value};

/// The pages that may subscribe, by origin.
#[derive(Clone, Debug, Default, PartialEq, PartialOrd)]
pub struct Origins(Vec<AllowedOrigin>);

/// One entry of [`Origins`].
#[derive(Clone, Debug, PartialEq, PartialOrd)]
enum AllowedOrigin {
    /// `*`: every page.
    Any,
    /// `null` (a file, a sandboxed frame), or `scheme://host[:port]` in lower case.
    Exactly(String),
}

impl Origins {
    /// Whether a request with this `Origin` header, to this `Host`, may subscribe.
    ///
    /// Without a header it may: that is no browser. Without a list, pages of the same host name
    /// may, whatever their port.
    pub fn admit(&self, origin: Option<&[u8]>, host: Option<&[u8]>) -> bool {
        let Some(origin) = origin else {
            return true;
        };
        if self.0.is_empty() {
            return host.is_some_and(|host| is_same_host(origin, host));
        }
        self.0.iter().any(|allowed| match allowed {
            AllowedOrigin::Any => true,
            AllowedOrigin::Exactly(allowed) => allowed.as_bytes().eq_ignore_ascii_case(origin),
        })
    }
}

impl Value for Origins {
    const NOUN: &'static str = "ORIGIN";
    const KIND: &'static str = "origins";
    const LIKE: &'static str = "like https://example.com, or null, or *";
    const SHAPE: Shape = Shape::List;

    fn parse(text: &str) -> Result<Self, String> {
        let entries = text.split(',').map(str::trim).filter(|_| !text.trim().is_empty());
        entries.map(AllowedOrigin::parse).collect::<Result<_, _>>().map(Origins)
    }

    fn text(&self) -> String {
        let entries: Vec<&str> = self.0.iter().map(AllowedOrigin::as_str).collect();
        entries.join(",")
    }
}

impl AllowedOrigin {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "*" => Ok(AllowedOrigin::Any),
            "null" => Ok(AllowedOrigin::Exactly(text.to_owned())),
            _ if is_exact(text) => Ok(AllowedOrigin::Exactly(text.to_ascii_lowercase())),
            _ => Err(format!("has '{text}', which is not an origin")),
        }
    }

    fn as_str(&self) -> &str {
        match self {
            AllowedOrigin::Any => "*",
            AllowedOrigin::Exactly(origin) => origin,
        }
    }
}

/// Whether the text is a scheme, a host and perhaps a port, and nothing else: an entry with a
/// path, an end slash or a wildcard would never match what a browser sends.
fn is_exact(text: &str) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else {
        return false;
    };
    let is_scheme_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let is_host_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    let (host, port) = split_port(authority.as_bytes());
    !scheme.is_empty()
        && scheme.bytes().all(is_scheme_byte)
        && !host.is_empty()
        && host.iter().copied().all(is_host_byte)
        && port.is_none_or(|port| std::str::from_utf8(port).is_ok_and(is_port))
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// Whether an origin and a `Host` header name the same host, whatever their ports.
fn is_same_host(origin: &[u8], host: &[u8]) -> bool {
    let Some(scheme_end) = origin.windows(3).position(|part| part == b"://") else {
        return false;
    };
    let (page, _) = split_port(&origin[scheme_end + 3..]);
    let (server, _) = split_port(host);
    !page.is_empty() && page.eq_ignore_ascii_case(server)
}

/// Splits `host:port`; the colons inside the brackets of an IPv6 address are not that one.
fn split_port(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    let bracket = authority.iter().rposition(|&byte| byte == b']').unwrap_or(0);
    match authority[bracket..].iter().position(|&byte| byte == b':') {
        Some(colon) => (&authority[..bracket + colon], Some(&authority[bracket + colon + 1..])),
        None => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(list: &str, origin: &str) -> bool {
        let list = Origins::parse(list).expect(list);
        list.admit(Some(origin.as_bytes()), Some(b"edge.example:8080"))
    }

    /// A page is admitted if and only if the list says so, whatever the case of its letters.
    #[test]
    fn a_list_admits_what_it_names() {
        let list = "https://a.example, HTTP://B.example:81";
        for (list, origin, admitted) in [
            (list, "https://a.example", true),
            (list, "https://A.EXAMPLE", true),
            (list, "http://b.example:81", true),
            (list, "http://b.example", false),
            (list, "http://a.example", false),
            (list, "https://a.example.evil", false),
            (list, "null", false),
            ("null", "null", true),
            ("*", "https://anything", true),
            ("*", "null", true),
        ] {
            assert_eq!(admits(list, origin), admitted, "{origin} with the list {list}");
        }
    }

    /// With no list a page of the same host name is admitted, and nobody else's.
    #[test]
    fn without_a_list_the_host_decides() {
        for (origin, host, admitted) in [
            ("https://edge.example", "edge.example:8080", true),
            ("http://edge.example:3000", "EDGE.example", true),
            ("http://[::1]:3000", "[::1]:8080", true),
            ("http://[::2]:3000", "[::1]:8080", false),
            ("https://edge.example.evil", "edge.example", false),
            ("https://evil", "edge.example", false),
            ("null", "null", false),
            ("https://", "", false),
        ] {
            let admit = Origins::default().admit(Some(origin.as_bytes()), Some(host.as_bytes()));
            assert_eq!(admit, admitted, "{origin} to {host}");
        }
        assert!(!Origins::default().admit(Some(b"https://a"), None));
        assert!(Origins::default().admit(None, None), "a client that is no browser");
    }

    /// Whatever could never match what a browser sends is refused where it is written.
    #[test]
    fn an_entry_that_could_not_match_is_refused() {
        for entry in [
            "https://a/",
            "https://a/x",
            "a.example",
            "https://*.a",
            "https://",
            "://a",
            "https://a:",
            "https://a:x",
            "https://a:70000",
            "https://u@a",
            "",
        ] {
            let list = format!("https://fine.example,{entry}");
            let expected = Err(format!("has '{entry}', which is not an origin"));
            assert_eq!(Origins::parse(&list), expected);
        }
        assert_eq!(Origins::parse(""), Ok(Origins::default()));
        assert_eq!(Origins::parse("*, null").unwrap().text(), "*,null");
    }
}
