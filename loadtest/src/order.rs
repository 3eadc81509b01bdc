//! What the command line asks for, checked: a plan, where the server is, and who watches it.

use std::{borrow::Cow, fmt, net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    bus::Bus,
    decoder::Transport,
    plan::Plan,
    tls::{Tls, Trust},
};

/// A run that can begin.
#[derive(Clone, Debug)]
pub struct Order {
    /// What to do.
    pub plan: Plan,
    /// Where the server is and how it is spoken to.
    pub endpoints: Endpoints,
    /// The bus that publications go through, instead of what `endpoints` says.
    pub bus: Option<Bus>,
    /// The command that starts the server, if it is ours to start.
    pub spawn: Option<String>,
    /// The server's process, if it runs here already.
    pub pid: Option<u32>,
    /// Threads that drive subscribers: at least one.
    pub threads: u32,
    /// Addresses of agents that share the subscribers; this process then has none itself.
    pub agents: Vec<String>,
    /// The key that the agents ask for, if they do.
    pub agent_key: Option<String>,
    /// Whether limits that a run will hit stop it before it begins.
    pub ignores_limits: bool,
    /// Where the server's output goes, beside the last lines that errors quote.
    pub server_log: Option<PathBuf>,
}

/// Where the server is and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The profile's name.
    pub profile: String,
    /// Where and how to subscribe by each transport that the plan uses.
    pub subscribe: Vec<(Transport, Subscribe)>,
    /// How to publish by HTTP; none if the plan publishes nothing, or through a bus.
    pub publish: Option<Publish>,
}

/// How to subscribe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribe {
    /// Where to connect.
    pub address: SocketAddr,
    /// What the `Host` header says.
    pub host: String,
    /// The path, with `{channel}` where the channel's name goes.
    pub path: String,
    /// Headers beside those that the transport needs.
    pub headers: Vec<(String, String)>,
    /// How TLS is spoken there, if it is.
    pub tls: Option<Tls>,
    /// Tokens, which subscribers show by turns; none if nobody shows one.
    pub tokens: Vec<Secret>,
}

impl Endpoints {
    /// Whether certificates are verified, where TLS is spoken.
    pub fn is_verified(&self) -> Option<bool> {
        let subscribing = self.subscribe.iter().filter_map(|(_, it)| it.tls.as_ref());
        let publishing = self.publish.iter().filter_map(|it| it.tls.as_ref().map(|(tls, _)| tls));
        subscribing.chain(publishing).map(|tls| tls.trust != Trust::Anybody).min()
    }
}

impl Subscribe {
    /// The headers of this subscriber's requests.
    pub fn headers_of(&self, subscriber: u32) -> Cow<'_, [(String, String)]> {
        if self.tokens.is_empty() {
            return Cow::Borrowed(&self.headers);
        }
        let token = &self.tokens[subscriber as usize % self.tokens.len()];
        Cow::Owned([&self.headers[..], &[token.header()]].concat())
    }
}

/// How to publish by HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// `POST` or `PUT`.
    pub method: String,
    /// The URL, with `{channel}` where the channel's name goes. By TLS its host is the name that the
    /// certificate must have.
    pub url: String,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// How TLS is spoken there, and where that is, if it is.
    pub tls: Option<(Tls, SocketAddr)>,
    /// The key that publications show, if they do.
    pub key: Option<Secret>,
}

/// What shows who somebody is. No report and no error has it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(pub String);

impl Secret {
    /// The header that shows it.
    pub fn header(&self) -> (String, String) {
        (AUTHORIZATION.to_owned(), format!("Bearer {}", self.0))
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Secret {
        Secret(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The header in which tokens and keys are shown.
pub const AUTHORIZATION: &str = "Authorization";
