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
    #[command(flatten)]
    authority: Authority,
}

/// Asks, and prints the answer; what is no 200 within [`WAIT`] is a failure.
pub fn run(args: &Health) -> Result<(), Failure> {
    let endpoint = Endpoint::find(args.url.as_deref(), CONTROL_URL_VARIABLE, DEFAULT_URL, "http")?;
    let url = endpoint.path(if args.ready { "/readyz" } else { "/healthz" });
    let agent = agent(&endpoint, &Trust::of(&endpoint, &args.authority)?, Some(WAIT));
    let mut answer = agent.get(&url).call().map_err(|why| unanswered(&endpoint, &why))?;
    let status = answer.status();
    let body = answer.body_mut().read_to_string().map_err(|why| endpoint.broken(why))?;
    if status.as_u16() != 200 {
        return Err(refusal(status, &body));
    }
    print(format!("{}\n", body.trim_end()))
}

/// Above the two seconds that readiness takes unless told otherwise, and below what supervisors wait.
const WAIT: Duration = Duration::from_millis(2500);
