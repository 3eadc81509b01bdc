//! What `--help` says below the flags: examples, objectives, exit codes.

use crate::slo::MEASURES;

/// Below the flags of `run`; `is_long` for `--help`, otherwise for `-h`.
pub fn run(is_long: bool) -> String {
    match is_long {
        false => format!("{RUN_EXAMPLES}\n\n`--help` also lists objectives and exit codes."),
        true => format!("{RUN_EXAMPLES}\n\n{}\n{EXIT_CODES}", objectives()),
    }
}

fn objectives() -> String {
    let lines = MEASURES.iter().map(|row| {
        let objective = format!("{}={}", row.name, row.example);
        format!("  {objective:<24} {}\n", row.help.trim_end_matches('.'))
    });
    format!("Objectives (exactly at the limit is met):\n{}", lines.collect::<String>())
}

pub const PROGRAM: &str = "\
Examples:
  stentor-loadtest run                          1000 subscribers of a Stentor on this machine
  stentor-loadtest run --plan ticker --spawn 'stentor serve'
  stentor-loadtest run --help                   everything that a run can be told
  stentor-loadtest plans                        what is built in";

pub const PLANS: &str = "\
Examples:
  stentor-loadtest plans                        the built-in plans
  stentor-loadtest plans chat > mine.toml       a plan to start from
  stentor-loadtest run --plan mine.toml --active 500";

pub const AGENT: &str = "\
Examples, on two machines for subscribers and one that leads:
  stentor-loadtest agent --listen 0.0.0.0:7070 --key KEY
  stentor-loadtest run --agent one:7070 --agent two:7070 --agent-key KEY \\
    --target 'ws://edge.example:8080/ws/{channel}'

An agent connects to wherever its coordinator says, hence the key.";

pub const COMPARE: &str = "\
Examples:
  stentor-loadtest run --plan ticker --json one.json
  stentor-loadtest run --plan ticker --server nchan --json two.json
  stentor-loadtest compare one.json two.json
  stentor-loadtest compare before=monday.json after=friday.json";

pub const PROFILES: &str = "\
Examples:
  stentor-loadtest profiles                     the servers that are known
  stentor-loadtest profiles nchan               what Nchan's configuration must have
  stentor-loadtest run --server mine.toml       a profile of one's own";

const RUN_EXAMPLES: &str = "\
Flags beat the plan, which beats the defaults; of a flag given twice the last one counts.
The keys of a plan file are these flags.

Examples:
  stentor-loadtest run
  stentor-loadtest run --plan chat --active 500 --dry-run
  stentor-loadtest run --active 10000 --rate 10..200 --duration 60s --html report.html
  stentor-loadtest run --server nchan --transport ws=80,sse=20 --slo p99=250ms,loss=0
  stentor-loadtest run --target 'ws://edge.example:8080/ws/{channel}' \\
    --publish 'http://edge.example:8081/publish/{channel}' --spawn 'stentor serve'";

const EXIT_CODES: &str = "\
Exit codes:
  0  every objective was met, and every subscriber got exactly what it was owed
  1  an objective was missed, or something was lost, repeated, reordered or damaged
  2  it was asked for wrongly
  3  it could not be run, connected nobody, or was interrupted; what was so far is reported
  4  an objective was missed while the load tester was saturated: the server may be better";
