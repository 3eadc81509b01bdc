//! Where a request shows its token: in `Authorization: Bearer`, as a WebSocket subprotocol, or in the
//! query, for clients that can set no header. The first of these counts.

use std::borrow::Cow;

use super::{
    http::{HttpError, Request},
    query::Query,
};

/// What stands before a token among the subprotocols. The answer never names it.
pub const TOKEN_PROTOCOL: &str = "stentor.token.";

/// The token that a request shows, if it shows one.
pub fn token<'a>(request: &Request<'a>) -> Result<Option<Cow<'a, str>>, HttpError> {
    if let Some(header) = request.only("Authorization")?
        && let Some((scheme, token)) = header.split_once(' ')
        && scheme.eq_ignore_ascii_case("Bearer")
    {
        return Ok(Some(token.trim().into()));
    }
    if let Some(token) = request.offered("Sec-WebSocket-Protocol", TOKEN_PROTOCOL) {
        return Ok(Some(token.into()));
    }
    let query = request.target.split_once('?').map_or("", |(_, query)| query);
    Ok(Query::parse(query)?.token().map(Cow::Owned))
}

#[cfg(test)]
mod tests {
    use super::{super::http::parse, *};

    /// A token is found in each place, and in none where something else stands.
    #[test]
    fn a_token_is_found_where_it_may_stand() {
        for (target, headers, expected) in [
            ("/ws/a", "Authorization: Bearer a.b.c\r\n", Some("a.b.c")),
            ("/ws/a", "authorization: bearer  a.b.c \r\n", Some("a.b.c")),
            ("/ws/a?token=d.e.f", "Authorization: Bearer a.b.c\r\n", Some("a.b.c")),
            ("/ws/a?token=d.e.f", "Authorization: Basic dTpw\r\n", Some("d.e.f")),
            ("/ws/a?x=1&token=d%2Ee.f", "", Some("d.e.f")),
            (
                "/ws/a?token=d.e.f",
                "Sec-WebSocket-Protocol: stentor.v1, stentor.token.a.b.c\r\n",
                Some("a.b.c"),
            ),
            ("/ws/a", "Sec-WebSocket-Protocol: stentor.v1\r\n", None),
            ("/ws/a?token=", "", Some("")),
            ("/ws/a?tokens=x", "Authorization: Bearer\r\n", None),
        ] {
            let head = format!("GET {target} HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
            let request = parse(head.as_bytes(), 8192).unwrap().unwrap().0;
            assert_eq!(token(&request).unwrap().as_deref(), expected, "{target} {headers}");
        }
    }
}
