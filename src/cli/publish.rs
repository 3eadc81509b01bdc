//! `stentor publish`: a message, or every line of the standard input, to a channel.

use std::{
    fs::File,
    io::{self, IsTerminal, Read, Seek},
    os::fd::AsFd,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use ureq::{Body, RequestBuilder, SendBody, http::Response, typestate::WithBody};

use super::{
    api::{Api, Server, unanswered},
    endpoint::{Endpoint, channel, encoded, refusal},
    failure::{Failure, print},
};

/// The arguments.
#[derive(Args, Debug)]
pub struct Publish {
    /// Channel to publish to: letters, digits and ._-:/
    channel: String,
    /// What to publish. [default: the standard input]
    #[arg(allow_hyphen_values = true)]
    message: Option<String>,
    /// Publishes each line of the standard input, without its line end.
    #[arg(long, conflicts_with = "message")]
    lines: bool,
    /// Publishes JSON as such; what is not JSON is refused.
    #[arg(long)]
    json: bool,
    /// What the message is the value of, in a channel of latest values.
    #[arg(long, conflicts_with = "lines")]
    key: Option<String>,
    /// Publishes only if the key's last version, or the channel's without a key, is below this.
    #[arg(long, value_name = "NUMBER", conflicts_with = "lines")]
    version: Option<u64>,
    /// Publishes at most once, however often this is repeated with the same ID in five minutes.
    #[arg(long, value_name = "ID", conflicts_with = "lines")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    server: Server,
}

/// Publishes, and prints the server's answer.
pub fn run(args: &Publish) -> Result<(), Failure> {
    let channel = channel(&args.channel)?;
    let api = Api::find(&args.server)?;
    let url = api.endpoint().channel("/publish/", &channel);
    if args.lines {
        return publish_lines(api.endpoint(), request(&api, &format!("{url}?lines"), args));
    }
    let request = request(&api, &format!("{url}{}", query(args)), args);
    match &args.message {
        Some(message) => post(api.endpoint(), request, message.as_bytes()),
        None => post(api.endpoint(), request, &read_message()?),
    }
}

/// The parameters of a single publication.
fn query(args: &Publish) -> String {
    let key = args.key.as_ref().map(|key| format!("key={}", encoded(key)));
    let version = args.version.map(|version| format!("version={version}"));
    let parameters: Vec<_> = key.into_iter().chain(version).collect();
    if parameters.is_empty() { String::new() } else { format!("?{}", parameters.join("&")) }
}

/// A request with the headers that were asked for.
fn request(api: &Api, url: &str, args: &Publish) -> RequestBuilder<WithBody> {
    let mut request = api.begin_post(url);
    if args.json {
        let kind = if args.lines { "application/x-ndjson" } else { "application/json" };
        request = request.header("Content-Type", kind);
    }
    if let Some(key) = &args.idempotency_key {
        request = request.header("Idempotency-Key", key);
    }
    request
}

/// The whole standard input.
fn read_message() -> Result<Vec<u8>, Failure> {
    let mut input = io::stdin().lock();
    if input.is_terminal() {
        eprintln!("stentor: reading the message from the terminal; Ctrl-D ends it");
    }
    let mut message = Vec::new();
    match input.read_to_end(&mut message) {
        Ok(_) => Ok(message),
        Err(why) => Err(Failure::failed(format!("cannot read the standard input: {why}"))),
    }
}

/// One request however many lines there are: the server reads them as they come.
fn publish_lines(endpoint: &Endpoint, request: RequestBuilder<WithBody>) -> Result<(), Failure> {
    let mut input = Watched::new(io::stdin().lock(), bytes_to_come());
    let outcome = request.send(SendBody::from_reader(&mut input));
    input.bar.finish_and_clear();
    answer(endpoint, outcome.map_err(|why| unanswered(endpoint, &why))?)
}

fn post(
    endpoint: &Endpoint,
    request: RequestBuilder<WithBody>,
    message: &[u8],
) -> Result<(), Failure> {
    let answered = request.send(message);
    answer(endpoint, answered.map_err(|why| unanswered(endpoint, &why))?)
}

fn answer(endpoint: &Endpoint, mut answer: Response<Body>) -> Result<(), Failure> {
    let status = answer.status();
    let body = answer.body_mut().read_to_string().map_err(|why| endpoint.broken(why))?;
    if !status.is_success() {
        return Err(refusal(status, &body));
    }
    print(format!("{}\n", body.trim_end()))
}

/// What is left of the standard input, if it is a file.
fn bytes_to_come() -> Option<u64> {
    let mut file = File::from(io::stdin().as_fd().try_clone_to_owned().ok()?);
    let about = file.metadata().ok()?;
    let read = file.stream_position().unwrap_or(0);
    about.is_file().then(|| about.len().saturating_sub(read))
}

/// A reader that shows how far it is, on a terminal only.
struct Watched<R> {
    input: R,
    bar: ProgressBar,
    /// Whether the bar counts bytes; else it counts lines.
    counts_bytes: bool,
}

impl<R: Read> Watched<R> {
    fn new(input: R, bytes: Option<u64>) -> Self {
        let (bar, template) = match bytes {
            Some(bytes) => (ProgressBar::new(bytes), BAR),
            None => (ProgressBar::new_spinner(), SPINNER),
        };
        let style = ProgressStyle::with_template(template).expect("a template of ours");
        Watched { input, bar: bar.with_style(style), counts_bytes: bytes.is_some() }
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        let lines = || buffer[..read].iter().filter(|&&byte| byte == b'\n').count();
        self.bar.inc(if self.counts_bytes { read } else { lines() } as u64);
        Ok(read)
    }
}

const BAR: &str = "{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} to go";
const SPINNER: &str = "{spinner} {human_pos} publications, {per_sec}";

#[cfg(test)]
mod tests {
    use stentor::config::Config;

    use super::*;
    use crate::cli::api::DEFAULT_URL;

    /// Without a flag the client finds a server that was started without flags.
    #[test]
    fn the_default_is_the_servers_own() {
        assert_eq!(DEFAULT_URL, format!("http://{}", Config::default().control));
    }

    /// The bar counts the bytes of a file and the lines of a stream, and alters neither.
    #[test]
    fn a_watched_reader_counts() {
        for (total, expected) in [(Some(6), 6), (None, 2)] {
            let mut watched = Watched::new(&b"a\nbc\nd"[..], total);
            assert_eq!(io::read_to_string(&mut watched).unwrap(), "a\nbc\nd");
            assert_eq!(watched.bar.position(), expected);
        }
    }
}
