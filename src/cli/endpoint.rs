//! Where a running server is: the base URL, and a channel's place below it.

use std::{
    env,
    path::{Path, PathBuf},
};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use stentor::ids::ChannelName;

use super::{failure::Failure, trust::advice};

/// A base URL that was checked: `http://127.0.0.1:8081`, without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    base: String,
    /// The Unix socket to connect to instead of the base's host.
    socket: Option<PathBuf>,
}

impl Endpoint {
    /// The URL that the flag gives, else the variable, else the default. All must have this scheme,
    /// or the same with TLS; HTTP may also go to `unix:` and the path of a socket.
    pub fn find(
        flag: Option<&str>,
        variable: &str,
        default: &str,
        scheme: &str,
    ) -> Result<Self, Failure> {
        let from_environment = || env::var(variable).ok().map(|url| (url, variable));
        let (url, place) = flag
            .map(|url| (url.to_owned(), "--url"))
            .or_else(from_environment)
            .unwrap_or_else(|| (default.to_owned(), "default"));
        let path = url.strip_prefix("unix:").filter(|path| scheme == "http" && path.len() > 1);
        if let Some(path) = path.filter(|path| path.starts_with('/')) {
            let base = "http://localhost".to_owned();
            return Ok(Endpoint { base, socket: Some(path.into()) });
        }
        let authority = url.strip_prefix(scheme).map(|rest| rest.strip_prefix('s').unwrap_or(rest));
        let authority = authority.and_then(|rest| rest.strip_prefix("://"));
        if authority.is_none_or(|authority| authority.trim_matches('/').is_empty()) {
            let socket = if scheme == "http" { ", or unix:/run/stentor/control" } else { "" };
            return Err(Failure::usage(format!(
                "url: '{url}' (from {place}) does not begin with {scheme}:// or {scheme}s:// \
                 and a host; write a URL like {default}{socket}"
            )));
        }
        Ok(Endpoint { base: url.trim_end_matches('/').to_owned(), socket: None })
    }

    /// Whether it is spoken to by TLS.
    pub fn is_tls(&self) -> bool {
        self.base
            .split_once("://")
            .is_some_and(|(scheme, _)| scheme.ends_with('s') && scheme != "ws")
    }

    /// The Unix socket where it is, if it is at one.
    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// How it was named.
    fn name(&self) -> String {
        let path = self.socket.as_ref().map(|path| format!("unix:{}", path.display()));
        path.unwrap_or_else(|| self.base.clone())
    }

    /// The URL of a path.
    pub fn path(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The URL of a channel under a path like `/ws/`. A slash in its name is not one of the path.
    pub fn channel(&self, path: &str, channel: &ChannelName) -> String {
        format!("{}{path}{}", self.base, utf8_percent_encode(channel.as_str(), ENCODED))
    }

    /// What to say when nobody is there.
    pub fn nobody(&self) -> Failure {
        let name = self.name();
        Failure::failed(format!("nothing listens at {name}; start one with `stentor serve`"))
    }

    /// What to say when the connection failed in another way.
    pub fn broken(&self, why: impl std::fmt::Display) -> Failure {
        let why = why.to_string();
        let advice = advice(&why).filter(|_| self.is_tls());
        let advice = advice.map(|advice| format!("; {advice}")).unwrap_or_default();
        Failure::failed(format!("the connection to {} broke: {why}{advice}", self.name()))
    }
}

/// Text for a query: whatever may mean something there is not itself, and neither is what is no ASCII.
pub fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// The value of `Authorization` for the key or token that the flag gives, else the variable, if either
/// does.
pub fn authorization(
    flag: Option<&str>,
    name: &str,
    variable: &str,
) -> Result<Option<String>, Failure> {
    let from_environment = || env::var(variable).ok();
    let Some(secret) = flag.map(str::to_owned).or_else(from_environment) else { return Ok(None) };
    match !secret.is_empty() && secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(Some(format!("Bearer {secret}"))),
        false => Err(Failure::usage(format!(
            "{name}: it has bytes that no header has; write letters, digits and signs without spaces"
        ))),
    }
}

/// Checks a channel's name before anything is sent.
pub fn channel(name: &str) -> Result<ChannelName, Failure> {
    ChannelName::new(name).map_err(|why| Failure::usage(format!("channel: '{name}': {why}")))
}

/// A refusal in HTTP: its status, and the server's own words.
pub fn refusal(status: impl std::fmt::Display, body: &str) -> Failure {
    match body.trim() {
        "" => Failure::failed(format!("the server answered {status}")),
        body => Failure::failed(format!("the server answered {status}: {body}")),
    }
}

/// What means something in a path, and everything that is not ASCII.
const ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'.').remove(b'_').remove(b'-').remove(b':').remove(b'~');

#[cfg(test)]
mod tests {
    use super::*;

    fn find(url: &str) -> Result<Endpoint, Failure> {
        Endpoint::find(Some(url), "STENTOR_URL", "ws://127.0.0.1:8080", "ws")
    }

    /// A channel's slashes are encoded, its other letters are not, and the base keeps its path.
    #[test]
    fn a_channel_has_one_place() {
        let news = ChannelName::new("a/b:c.d-e_f").unwrap();
        for base in ["ws://h:1/edge", "ws://h:1/edge/"] {
            let url = find(base).unwrap().channel("/ws/", &news);
            assert_eq!(url, "ws://h:1/edge/ws/a%2Fb:c.d-e_f");
        }
    }

    /// HTTP may go to a Unix socket at an absolute path, and WebSocket may not.
    #[test]
    fn a_socket_is_for_http_alone() {
        let of = |url, scheme| Endpoint::find(Some(url), "STENTOR_URL", "default", scheme);
        let endpoint = of("unix:/run/a b", "http").unwrap();
        assert_eq!(endpoint.socket(), Some(Path::new("/run/a b")));
        assert_eq!(endpoint.path("/stats"), "http://localhost/stats");
        assert!(!endpoint.is_tls() && format!("{:?}", endpoint.nobody()).contains("unix:/run/a b"));
        for (url, scheme) in [("unix:/run/a", "ws"), ("unix:run/a", "http"), ("unix:/", "http")] {
            assert!(matches!(of(url, scheme), Err(Failure::Usage(_))), "{url} by {scheme}");
        }
    }

    /// Only URLs of the scheme with a host are taken, with TLS or without.
    #[test]
    fn other_schemes_are_refused() {
        for (url, is_tls) in [("ws://h", false), ("wss://h:1/a", true)] {
            assert_eq!(find(url).unwrap().is_tls(), is_tls, "{url}");
        }
        for url in ["wsss://h", "http://h", "h:8080", "ws://", "ws:///", ""] {
            let Err(Failure::Usage(why)) = find(url) else { panic!("{url} was taken") };
            assert!(why.contains("ws://127.0.0.1:8080") && why.contains("--url"), "{why}");
        }
    }
}
