//! `stentor health`: asks the control listener how it is, for supervisors that run a command.

use std::time::Duration;

use clap::Args;
use stentor::config::CONTROL_URL_VARIABLE;

use super::{
    api::{DEFAULT_URL, agent, unanswered},
    endpoint::{Endpoint, refusal},
    failure::{Failure, print},
    trust::{Authority, Trust},
};

/// The arguments.
#[derive(Args, Debug)]
pub struct Health {
    /// Asks whether it is ready for subscribers (/readyz), not only whether it lives (/healthz).
    #[arg(long)]
    ready: bool,
    /// The control listener, or unix:PATH. [default: http://127.0.0.1:8081] [env: STENTOR_CONTROL_URL]
    #[arg(long)]
    url: Option<String>,
    /// Milliseconds that the answer may take: more than the server's ready-deadline, less than the
    /// supervisor waits.
    #[arg(long, value_name = "MS", default_value_t = 2500)]
    timeout: u64,
    #[command(flatten)]
    authority: Authority,
}

/// Asks, and prints the answer; what is no 200 in time is a failure.
pub fn run(args: &Health) -> Result<(), Failure> {
    let endpoint = Endpoint::find(args.url.as_deref(), CONTROL_URL_VARIABLE, DEFAULT_URL, "http")?;
    let url = endpoint.path(if args.ready { "/readyz" } else { "/healthz" });
    let limit = Duration::from_millis(args.timeout.max(1));
    let agent = agent(&endpoint, &Trust::of(&endpoint, &args.authority)?, Some(limit));
    let mut answer = agent.get(&url).call().map_err(|why| unanswered(&endpoint, &why))?;
    let status = answer.status();
    let body = answer.body_mut().read_to_string().map_err(|why| endpoint.broken(why))?;
    if status.as_u16() != 200 {
        return Err(refusal(status, &body));
    }
    print(format!("{}\n", body.trim_end()))
}
