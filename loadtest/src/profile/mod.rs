//! How a broadcast server is spoken to: a few lines of TOML for each server.
//!
//! A [`Profile`] knows the paths and ports that a server usually has. Together with what the
//! command line says ([`Wanted`]) and what the plan needs it makes [`Endpoints`], with addresses
//! that were looked up, so that nothing about them can fail once a run has begun.

mod endpoints;
mod header;
mod secret;
#[cfg(test)]
mod tests;
mod url;

use std::path::PathBuf;

use serde::Deserialize;

use crate::{
    order::{Endpoints, Secret},
    plan::{CHANNEL, Plan},
    shelf::{Sheet, Shelf, ShelfError},
};

pub use header::Header;
pub use secret::SECRETS_BYTES_MAX;

/// How a server is spoken to, as its TOML says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Profile {
    /// Where it runs unless the command line says otherwise.
    host: Option<String>,
    /// Where it listens for subscribers.
    port: Option<u16>,
    /// Where WebSockets are opened.
    ws: Option<PathTemplate>,
    /// Where event streams are.
    sse: Option<PathTemplate>,
    /// Where is polled.
    poll: Option<PathTemplate>,
    /// Where WebSockets of the subprotocol `stentor.v1` are opened.
    v1: Option<PathTemplate>,
    /// Where publications are posted: on the subscribers' host.
    publish: Option<PathTemplate>,
    /// The port for it, if it is another one.
    publish_port: Option<u16>,
    /// The method for it.
    publish_method: Method,
    /// Headers of every subscriber's request.
    headers: Vec<Header>,
    /// Headers of every publication's request.
    publish_headers: Vec<Header>,
}

/// What the command line says of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// URLs to subscribe at, at most one for each transport.
    pub targets: Vec<String>,
    /// The URL to publish at.
    pub publish: Option<String>,
    /// Headers of every subscriber's request.
    pub headers: Vec<Header>,
    /// Headers of every publication's request.
    pub publish_headers: Vec<Header>,
    /// The file with the authorities that are trusted where TLS is spoken, instead of the machine's.
    pub authorities: Option<PathBuf>,
    /// Whether certificates are not verified.
    pub is_insecure: bool,
    /// The name that certificates must have, instead of the host's.
    pub server_name: Option<String>,
    /// The token that subscribers show.
    pub token: Option<Secret>,
    /// The file of tokens that they show by turns.
    pub token_file: Option<PathBuf>,
    /// The key that publications show.
    pub api_key: Option<Secret>,
    /// The file of it.
    pub api_key_file: Option<PathBuf>,
    /// Whether publications go through a bus: then nothing is said of how to publish.
    pub is_through_bus: bool,
}

/// Why it is not known where the server is or how it is spoken to.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// There is no such profile, or it cannot be read.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    /// An option is missing.
    #[error("{option}: {problem}; {right}")]
    Missing {
        /// The option.
        option: &'static str,
        /// What is not known without it.
        problem: String,
        /// What would be right.
        right: String,
    },
    /// An option cannot be what it is.
    #[error("{option}: '{value}' {problem}; {right}")]
    Wrong {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        problem: String,
        /// What would be right.
        right: String,
    },
}

impl Profile {
    /// What a profile's file says.
    pub fn from_sheet(sheet: &Sheet) -> Result<Profile, ProfileError> {
        Ok(sheet.read(KEYS)?)
    }

    /// Where to subscribe and publish. Looks hosts up; of several addresses an IPv4 one is taken
    /// first, for a server that listens on `localhost` often means 127.0.0.1 alone.
    pub fn endpoints(
        &self,
        name: &str,
        wanted: &Wanted,
        plan: &Plan,
    ) -> Result<Endpoints, ProfileError> {
        endpoints::find(self, name, wanted, plan)
    }
}

/// A path that begins with a slash, with `{channel}` where the channel's name goes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct PathTemplate(String);

impl TryFrom<String> for PathTemplate {
    type Error = String;

    fn try_from(text: String) -> Result<PathTemplate, String> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        match text.starts_with('/') && is_plain {
            true => Ok(PathTemplate(text)),
            false => Err(format!("'{text}' is not a path; write one like /ws/{CHANNEL}")),
        }
    }
}

/// How publications are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Method {
    #[default]
    Post,
    Put,
}

impl Method {
    fn text(self) -> &'static str {
        match self {
            Method::Post => "POST",
            Method::Put => "PUT",
        }
    }
}

/// The keys of a profile.
const KEYS: &[&str] = &[
    "host",
    "port",
    "ws",
    "sse",
    "poll",
    "v1",
    "publish",
    "publish-port",
    "publish-method",
    "headers",
    "publish-headers",
];

/// The profiles that come with the program.
pub const PROFILES: Shelf = Shelf {
    kind: "server",
    texts: &[
        ("stentor", include_str!("../../profiles/stentor.toml")),
        ("uwebsockets", include_str!("../../profiles/uwebsockets.toml")),
        ("nchan", include_str!("../../profiles/nchan.toml")),
        ("generic", include_str!("../../profiles/generic.toml")),
    ],
};
