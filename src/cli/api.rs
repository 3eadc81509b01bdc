//! Speaks to the API of a running server: one request, its JSON, or what was wrong in its own words.

use std::{io, time::Duration};

use clap::Args;
use serde_json::Value;
use stentor::config::{API_KEY_VARIABLE, CONTROL_URL_VARIABLE};
use ureq::{Agent, Body, RequestBuilder, http::Response, typestate::WithBody};

use super::{
    endpoint::{Endpoint, authorization, refusal},
    failure::{Failure, print},
    socket::{Nowhere, ToSocket},
    trust::{Authority, Trust},
};

/// Where the control listener is unless it is told.
pub const DEFAULT_URL: &str = "http://127.0.0.1:8081";

/// What all commands that ask a running server can be told.
#[derive(Args, Clone, Debug)]
pub struct Server {
    /// The control listener, or unix:PATH. [default: http://127.0.0.1:8081] [env: STENTOR_CONTROL_URL]
    #[arg(long)]
    url: Option<String>,
    /// A key of the API, or a token, where the server wants one. [env: STENTOR_API_KEY]
    #[arg(long, value_name = "SECRET")]
    api_key: Option<String>,
    #[command(flatten)]
    authority: Authority,
}

/// How an answer is shown.
#[derive(Args, Clone, Copy, Debug)]
pub struct Shape {
    /// Prints the server's JSON, as it is done where the output is no terminal.
    #[arg(long)]
    json: bool,
    /// Prints a table where the output is no terminal, too.
    #[arg(long, conflicts_with = "json")]
    table: bool,
}

impl Shape {
    /// Prints the answer, as JSON or as what people read.
    pub fn print(
        self,
        answer: &Value,
        table: impl FnOnce(&Value) -> String,
    ) -> Result<(), Failure> {
        let is_terminal = io::IsTerminal::is_terminal(&io::stdout());
        match self.json || !(self.table || is_terminal) {
            true => print(format!("{answer}\n")),
            false => print(table(answer)),
        }
    }
}

/// A running server's control listener.
pub struct Api {
    endpoint: Endpoint,
    agent: Agent,
    /// The value of `Authorization`.
    key: Option<String>,
}

impl Api {
    /// The one that the flag names, the variable, or the default.
    pub fn find(server: &Server) -> Result<Self, Failure> {
        let url = server.url.as_deref();
        let endpoint = Endpoint::find(url, CONTROL_URL_VARIABLE, DEFAULT_URL, "http")?;
        let key = authorization(server.api_key.as_deref(), "api-key", API_KEY_VARIABLE)?;
        let trust = Trust::of(&endpoint, &server.authority)?;
        let agent = agent(&endpoint, &trust, None);
        Ok(Api { endpoint, agent, key })
    }

    /// Reads what is under a path of the API.
    pub fn get(&self, path: &str) -> Result<Value, Failure> {
        self.get_url(&self.endpoint.path(path))
    }

    /// Removes what is under a path.
    pub fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.read(self.signed(self.agent.delete(self.endpoint.path(path))).call())
    }

    /// Orders something, without a body.
    pub fn post(&self, path: &str) -> Result<Value, Failure> {
        self.read(self.signed(self.agent.post(self.endpoint.path(path))).send_empty())
    }

    /// Reads what is under a path of a server that may be gone: then nothing, and null if it gave no
    /// good answer. It is gone where nobody listens; any other failure may pass.
    pub fn get_if_there(&self, path: &str) -> Option<Value> {
        let request = self.signed(self.agent.get(self.endpoint.path(path)));
        let request = request.config().timeout_global(Some(PATIENCE)).build();
        match request.call() {
            Err(ureq::Error::Io(why)) if is_nobody(&why) => None,
            answered => Some(self.read(answered).unwrap_or_default()),
        }
    }

    /// Puts JSON in the place of what is under a path.
    pub fn put(&self, path: &str, json: &Value) -> Result<Value, Failure> {
        let request = self.signed(self.agent.put(self.endpoint.path(path)));
        self.read(request.header("Content-Type", "application/json").send(json.to_string()))
    }

    /// The endpoint, to make paths of channels.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Reads what is at a whole URL below the endpoint.
    pub fn get_url(&self, url: &str) -> Result<Value, Failure> {
        self.read(self.signed(self.agent.get(url)).call())
    }

    /// The beginning of a POST to a whole URL below the endpoint, for what is no JSON.
    pub fn begin_post(&self, url: &str) -> RequestBuilder<WithBody> {
        self.signed(self.agent.post(url))
    }

    /// The request with our key, if we have one.
    fn signed<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        match &self.key {
            Some(key) => request.header("Authorization", key),
            None => request,
        }
    }

    fn read(&self, outcome: Result<Response<Body>, ureq::Error>) -> Result<Value, Failure> {
        let mut answer = outcome.map_err(|why| unanswered(&self.endpoint, &why))?;
        let status = answer.status();
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        let body = body.map_err(|why| self.endpoint.broken(why))?;
        if !status.is_success() {
            return Err(refusal(status, &detail(&body)));
        }
        serde_json::from_str(&body).map_err(|why| {
            self.endpoint.broken(format!("the answer is not JSON ({why}); is this a Stentor?"))
        })
    }
}

/// What a problem says, or the whole text where it is none.
fn detail(body: &str) -> String {
    let problem: Option<Value> = serde_json::from_str(body).ok();
    let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str());
    detail.unwrap_or(body).to_owned()
}

/// A client that tells us of refusals, and goes to the server itself, never through a proxy. Without a
/// limit it waits for as long as the answer takes.
pub fn agent(endpoint: &Endpoint, trust: &Trust, limit: Option<Duration>) -> Agent {
    let config = Agent::config_builder().http_status_as_error(false).proxy(None).max_redirects(0);
    let config = config.tls_config(trust.for_http()).timeout_global(limit).build();
    match endpoint.socket() {
        Some(path) => Agent::with_parts(config, ToSocket(path.to_owned()), Nowhere),
        None => config.new_agent(),
    }
}

/// Whether nobody listens there: at a port, or by a socket file.
fn is_nobody(why: &io::Error) -> bool {
    [io::ErrorKind::ConnectionRefused, io::ErrorKind::NotFound].contains(&why.kind())
}

/// What to say when there was no answer.
pub fn unanswered(endpoint: &Endpoint, why: &ureq::Error) -> Failure {
    match why {
        ureq::Error::Io(io) if is_nobody(io) => endpoint.nobody(),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => Failure::usage(format!("url: {why}")),
        _ => endpoint.broken(why),
    }
}

/// How long a server that may be gone has for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of an answer that are read: a page of 1000 connections has less than one tenth.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;
