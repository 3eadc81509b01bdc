//! `stentor top`: what a running server does, as it does it.
//!
//! Samples are taken from the API, and rates are by the server's own clock. A server that does not
//! answer stays on the screen as it was, with a word on what is wrong, and is asked again.

mod screen;
mod terminal;

use std::time::{Duration, Instant};

use clap::{Args, Command};
use serde_json::Value;

use super::{
    api::{Api, Server},
    failure::{Failure, print},
};
use screen::{Line, Sort, View, draw};
use terminal::Terminal;

/// The arguments.
#[derive(Args, Debug)]
pub struct Top {
    /// Prints one view and ends, for scripts; it takes one interval, since rates need two looks.
    #[arg(long)]
    once: bool,
    /// Seconds between two looks.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
    interval: f64,
    /// What channels and shards are in the order of, the most first.
    #[arg(long, value_enum, default_value_t = Sort::Deliveries)]
    sort: Sort,
    #[command(flatten)]
    server: Server,
}

/// The command, as it is typed.
pub fn command() -> Command {
    Top::augment_args(Command::new("top"))
        .about("Shows live what a running server does: shards, busiest channels, inputs")
        .after_help(EXAMPLES)
}

/// What the server told at one moment.
struct Sample {
    stats: Value,
    shards: Value,
    busiest: Value,
    inputs: Value,
}

impl Sample {
    fn take(api: &Api) -> Result<Sample, Failure> {
        Ok(Sample {
            stats: api.get("/v1/stats")?,
            shards: api.get("/v1/shards")?,
            busiest: api.get("/v1/busiest?limit=1000")?,
            inputs: api.get("/v1/inputs")?,
        })
    }
}

/// Shows the server until `q` is typed, or once.
pub fn run(args: &Top) -> Result<(), Failure> {
    let api = Api::find(&args.server)?;
    let interval = Duration::from_secs_f64(args.interval);
    if !args.once {
        return watch(&api, interval, args.sort);
    }
    let before = Sample::take(&api)?;
    std::thread::sleep(interval);
    let now = Sample::take(&api)?;
    let (columns, _) = terminal::size().unwrap_or((80, 24));
    let view = View { sort: args.sort, columns, rows: usize::MAX, problem: None };
    let lines = draw(Some(&before), &now, &view);
    print(lines.iter().map(|Line { text, .. }| format!("{text}\n")).collect::<String>())
}

fn watch(api: &Api, interval: Duration, mut sort: Sort) -> Result<(), Failure> {
    let mut now = Sample::take(api)?;
    let mut before = None;
    let mut problem = None;
    let mut terminal = Terminal::enter()?;
    let mut next = Instant::now() + interval;
    loop {
        let (columns, rows) = terminal::size().unwrap_or((80, 24));
        let view = View { sort, columns, rows, problem: problem.as_deref() };
        terminal.show(&draw(before.as_ref(), &now, &view))?;
        // In between the terminal may have another size, which nothing else tells.
        let wait = next.saturating_duration_since(Instant::now()).min(LOOK_AT_SIZE);
        match terminal.key(wait)? {
            Some(b'q' | 3 | 4) => return Ok(()),
            Some(key) => sort = Sort::by_key(key).unwrap_or(sort),
            None if Instant::now() >= next => {
                next = Instant::now() + interval;
                match Sample::take(api) {
                    Ok(sample) => {
                        before = Some(std::mem::replace(&mut now, sample));
                        problem = None;
                    }
                    Err(Failure::Failed(why) | Failure::Usage(why)) => problem = Some(why),
                    Err(other) => return Err(other),
                }
            }
            None => {}
        }
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds.ok_or_else(|| "write seconds from 0.1 to 3600, like 1 or 0.5".to_owned())
}

const LOOK_AT_SIZE: Duration = Duration::from_millis(250);

const EXAMPLES: &str = "\
Keys: q quits; d, p, s and n sort by deliveries, publications, subscribers and name.

Examples:
  stentor top
  stentor top --url http://edge.internal:8081 --interval 5
  stentor top --once | head -4";
