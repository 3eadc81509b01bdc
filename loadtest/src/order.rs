//! What the command line asks for, checked: a plan, where the server is, and who watches it.

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{bus::Bus, decoder::Transport, plan::Plan, tls::Tls};

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
}

/// How to publish by HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// `POST` or `PUT`.
    pub method: String,
    /// The URL, with `{channel}` where the channel's name goes.
    pub url: String,
    /// Headers.
    pub headers: Vec<(String, String)>,
}
