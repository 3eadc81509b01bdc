//! The server's part of the WebSocket opening handshake (RFC 6455 §4.2).
//!
//! One subprotocol is spoken, [`SUBPROTOCOL`], where the client offers it, and no extension: what is
//! not named in the answer is not spoken, and clients go on without it (RFC 6455 §4.2.2, §9.1).

use std::io::Write;

use tungstenite::handshake::derive_accept_key;

use super::http::{HttpError, Request};

/// Checks that the request opens a WebSocket (RFC 6455 §4.2.1); returns the accept key for it.
///
/// Method, path, version of HTTP, Host and Origin have been checked by
/// [`route`](super::route::route).
pub fn accept_key(request: &Request<'_>) -> Result<String, HttpError> {
    if !request.has_token("Upgrade", "websocket") {
        return Err(HttpError::NotAnUpgrade);
    }
    if !request.has_token("Connection", "Upgrade") {
        return Err(HttpError::NoConnectionUpgrade);
    }
    if request.only("Sec-WebSocket-Version")? != Some("13") {
        return Err(HttpError::WebSocketVersion);
    }
    match request.only("Sec-WebSocket-Key")? {
        Some(key) if is_key(key.as_bytes()) => Ok(derive_accept_key(key.as_bytes())),
        _ => Err(HttpError::WebSocketKey),
    }
}

/// The subprotocol of commands and several channels.
pub const SUBPROTOCOL: &str = "stentor.v1";

/// Whether the client offers [`SUBPROTOCOL`].
pub fn offers_subprotocol(request: &Request<'_>) -> bool {
    request.offers("Sec-WebSocket-Protocol", SUBPROTOCOL)
}

/// Appends the answer that turns the connection into a WebSocket (RFC 6455 §4.2.2), with further
/// headers, each line ended.
pub fn write_accept(accept_key: &str, headers: &str, out: &mut Vec<u8>) {
    write!(
        out,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept_key}\r\n{headers}\r\n"
    )
    .expect("a Vec takes every write");
}

/// Whether this is the base64 form of 16 bytes. The four bits that such a form has to spare are not
/// looked at: clients that make a key of random letters leave them random too.
fn is_key(key: &[u8]) -> bool {
    let base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
    key.len() == 24 && key[..22].iter().all(base64) && key.ends_with(b"==")
}

#[cfg(test)]
mod tests {
    use super::{super::http::parse, *};

    const GOOD: &str = "GET /ws/a HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\
                        Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

    fn check(head: &str) -> Result<String, HttpError> {
        accept_key(&parse(head.as_bytes(), 8192).unwrap().unwrap().0)
    }

    /// The example of RFC 6455 §1.3, with the header forms that browsers and proxies use.
    #[test]
    fn a_proper_upgrade_gets_the_accept_key_of_the_rfc() {
        let key = Ok("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_string());
        assert_eq!(check(GOOD), key);
        assert_eq!(check(&GOOD.replace("websocket", "WebSocket")), key);
        assert_eq!(check(&GOOD.replace("keep-alive, Upgrade", "upgrade")), key);
        let lines = "keep-alive\r\nconnection:UPGRADE , x";
        assert_eq!(check(&GOOD.replace("keep-alive, Upgrade", lines)), key);
    }

    /// Each of the requirements of §4.2.1, broken alone, is answered with what would be right.
    #[test]
    fn a_broken_upgrade_is_told_what_is_wrong() {
        let broken = |from: &str, to: &str| {
            assert!(GOOD.contains(from));
            check(&GOOD.replace(from, to)).unwrap_err()
        };
        assert_eq!(broken("Upgrade: websocket", "X: y"), HttpError::NotAnUpgrade);
        assert_eq!(broken(": websocket", ": websockets, h2c"), HttpError::NotAnUpgrade);
        assert_eq!(broken("keep-alive, Upgrade", "close"), HttpError::NoConnectionUpgrade);
        assert_eq!(broken("Version: 13", "Version: 8"), HttpError::WebSocketVersion);
        assert_eq!(broken("Sec-WebSocket-Version: 13", "X: y"), HttpError::WebSocketVersion);
        assert_eq!(broken("Sec-WebSocket-Key", "X"), HttpError::WebSocketKey);
        assert_eq!(broken("dGhl", "dG==dGhl"), HttpError::WebSocketKey);
        assert_eq!(broken("dGhl", "d!hl"), HttpError::WebSocketKey);
        assert_eq!(broken("ZQ==", "ZQZQ"), HttpError::WebSocketKey);
        assert_eq!(broken("dGhl", ""), HttpError::WebSocketKey);
        let twice = "Sec-WebSocket-Key: a\r\nSec-WebSocket-Key:";
        let error = HttpError::BadHeader("Sec-WebSocket-Key");
        assert_eq!(broken("Sec-WebSocket-Key:", twice), error);
    }

    /// The answer is exactly the bytes of §4.2.2 with the headers that are given.
    #[test]
    fn the_answer_switches_protocols() {
        let mut out = Vec::new();
        write_accept("KEY=", "A: b\r\n", &mut out);
        let expected = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                        Connection: Upgrade\r\nSec-WebSocket-Accept: KEY=\r\nA: b\r\n\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    /// The subprotocol is found among others, and only as it is written: an answer must repeat what
    /// was offered, letter by letter.
    #[test]
    fn the_subprotocol_is_offered_by_its_name() {
        for (offered, expected) in [
            ("stentor.v1", true),
            ("graphql-ws, stentor.v1", true),
            ("a\r\nSec-WebSocket-Protocol: stentor.v1", true),
            ("Stentor.V1", false),
            ("stentor.v2", false),
        ] {
            let head =
                GOOD.replace("Host: h", &format!("Host: h\r\nSec-WebSocket-Protocol: {offered}"));
            let request = parse(head.as_bytes(), 8192).unwrap().unwrap().0;
            assert_eq!(offers_subprotocol(&request), expected, "{offered}");
        }
    }
}
