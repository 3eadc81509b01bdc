//! What command lines make of themselves, and what each mistake is answered.

use std::{net::SocketAddr, path::PathBuf, thread};

use super::*;
use crate::{decoder::Transport, order::Order, plan::Plan, slo::MEASURES};

fn words(words: &[&str]) -> Result<Command, Stop> {
    parse(["stentor-loadtest"].iter().chain(words).map(OsString::from))
}

fn run(flags: &[&str]) -> Run {
    match words(&[&["run"], flags].concat()) {
        Ok(Command::Run(run)) => *run,
        other => panic!("{flags:?}: {other:?}"),
    }
}

fn printed(line: &[&str]) -> String {
    match words(line) {
        Ok(Command::Print(text)) => text,
        other => panic!("{line:?}: {other:?}"),
    }
}

fn told(line: &[&str]) -> String {
    match words(line) {
        Err(Stop::Wrong(why)) => why,
        Err(Stop::Words(error)) => error.to_string(),
        Ok(done) => panic!("{line:?}: {done:?}"),
    }
}

/// The command line that was promised holds, word for word.
#[test]
fn a_million_subscribers_can_be_ordered() {
    let run = run(&[
        "--target",
        "ws://127.0.0.1:8080/ws/{channel}",
        "--publish",
        "http://127.0.0.1:8081/publish/{channel}",
        "--idle",
        "900000",
        "--active",
        "100000",
        "--rate",
        "1",
        "--payload",
        "64",
        "--ramp",
        "30000",
        "--duration",
        "60s",
        "--spawn",
        "target/release/stentor serve --max-connections 1050000",
        "--json",
        "out.json",
        "--html",
        "out.html",
    ]);
    let Order { plan, endpoints, spawn, pid, threads, agents, .. } = run.order;
    assert_eq!((plan.idle.connections, plan.active.connections), (900_000, 100_000));
    assert_eq!((plan.ramp, plan.publishing.at_rate(), plan.channels()), (30_000, 60, 2));
    let [(Transport::WebSocket, subscribe)] = &endpoints.subscribe[..] else { panic!() };
    assert_eq!(subscribe.address, SocketAddr::from(([127, 0, 0, 1], 8080)));
    assert_eq!(subscribe.path, "/ws/{channel}");
    assert_eq!(endpoints.publish.unwrap().url, "http://127.0.0.1:8081/publish/{channel}");
    assert_eq!(spawn.unwrap(), "target/release/stentor serve --max-connections 1050000");
    assert_eq!((pid, agents), (None, Vec::new()));
    let processors = thread::available_parallelism().unwrap().get();
    assert_eq!(threads as usize, processors);
    let file = |name: &str| Some(PathBuf::from(name));
    let outputs = Outputs { json: file("out.json"), html: file("out.html"), ..Outputs::default() };
    assert_eq!(run.outputs, outputs);
}

/// Every flag of `run` that is no plan's arrives where it belongs.
#[test]
fn every_flag_arrives() {
    let run = run(&[
        "--pid=7",
        "--threads=3",
        "--agent=10.0.0.7:7070",
        "--agent=b:1",
        "--ignore-limits",
        "--quiet",
        "--hgrm=a.hgrm",
        "--slo=loss=0",
        "--header=A: 1",
        "--publish-header=B: 2",
        "--server=nchan",
    ]);
    let order = run.order;
    assert_eq!((order.pid, order.threads, order.ignores_limits), (Some(7), 3, true));
    assert_eq!(order.agents, ["10.0.0.7:7070", "b:1"]);
    assert_eq!(order.endpoints.profile, "nchan");
    let pair = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    assert_eq!(order.endpoints.subscribe[0].1.headers, pair("A", "1"));
    assert_eq!(order.endpoints.publish.unwrap().headers, pair("B", "2"));
    assert_eq!(run.slo.to_string(), "loss=0");
    let hgrm = Some(PathBuf::from("a.hgrm"));
    assert_eq!(run.outputs, Outputs { hgrm, is_quiet: true, ..Outputs::default() });
}

/// Every built-in plan can be run small by flags alone, and keeps its name.
#[test]
fn every_built_in_plan_can_be_run_small() {
    for (name, _) in PLANS.texts {
        let plan: Plan =
            run(&["--plan", name, "--idle=0", "--active=300", "--duration=2s"]).order.plan;
        assert_eq!((&plan.name[..], plan.connections()), (*name, 300));
        assert_eq!(plan.publishing.duration.as_secs(), 2);
    }
}

/// Lists have a line for each, and what is printed of one is its TOML.
#[test]
fn plans_and_profiles_are_printed() {
    for (word, shelf) in [("plans", PLANS), ("profiles", PROFILES)] {
        let list = printed(&[word]);
        assert_eq!(list.lines().count(), shelf.texts.len());
        for (line, (name, text)) in list.lines().zip(shelf.texts) {
            let (first, about) = line.split_once(' ').unwrap();
            assert_eq!(first, *name);
            assert_eq!(format!("# {}", about.trim()), text.lines().next().unwrap());
            assert!(line.chars().count() <= 100, "{line}");
            assert_eq!(printed(&[word, name]), *text);
        }
    }
}

/// A dry run says whom it would connect, what it would publish, and what must arrive.
///
/// By Zipf's law two channels have two thirds and one third: 7 and 3 of the 10 subscribers, 28 and
/// 12 of the 40 publications, and so 7 × 28 + 3 × 12 = 232 deliveries.
#[test]
fn a_dry_run_says_what_would_be_done() {
    assert_eq!(printed(&["run", "--dry-run", "--plan", "million", "--slo", "loss=0"]), MILLION);
    let flags = ["--active=10", "--active-channels=2", "--rate=3..1", "--payload=64..1024"];
    let trouble = ["--churn=0.5", "--storm-share=50%", "--slow-share=0.1", "--settle=0s"];
    let mix = ["--transport=ws=3,sse=1", "--publishers=1", "--spread=zipf", "--duration=20s"];
    assert_eq!(printed(&[&["run", "--dry-run"], &flags[..], &trouble, &mix].concat()), TROUBLE);
}

const MILLION: &str = "\
plan          million
active        100,000 subscribers of 1 channel
idle          900,000 subscribers of 1 channel
ramp          30,000 connections per second
subscribe     100 % ws at 127.0.0.1:8080/ws/{channel}
publish       POST http://127.0.0.1:8081/publish/{channel} over 4 connections
publications  60: 1 per second for 1m, 64B each
broadcasts    3, 15s apart, each to 2 channels
deliveries    9,000,000
takes         about 169s
objectives    loss=0
";

const TROUBLE: &str = "\
plan          custom
active        10 subscribers of 2 channels (zipf:1)
idle          nobody
ramp          10,000 connections per second
subscribe     75 % ws at 127.0.0.1:8080/ws/{channel}
subscribe     25 % sse at 127.0.0.1:8080/sse/{channel}
publish       POST http://127.0.0.1:8081/publish/{channel} over 1 connection
publications  40: 3 to 1 per second for 20s, 64B to 1KiB each
churn         0.5 per second leave and come back
storms        50 % are cut off every 8s
slow          10 % of the active read 1kB per second
deliveries    232
takes         about 21s
";

/// Clap's own check of names, conflicts and defaults; and everything that can be typed has a help.
#[test]
fn everything_that_can_be_typed_has_a_help() {
    let mut command = command();
    command.build();
    command.clone().debug_assert();
    for word in command.get_subcommands() {
        assert!(word.get_about().is_some(), "{}", word.get_name());
        for argument in word.get_arguments() {
            assert!(argument.get_help().is_some(), "{} {}", word.get_name(), argument.get_id());
        }
    }
    let help = told(&["run", "--help"]);
    for row in MEASURES {
        assert!(help.contains(&format!("\n  {}={}", row.name, row.example)), "{}", row.name);
    }
    for code in [MET, MISSED, ASKED_WRONGLY, NOT_RUN, MISSED_SATURATED] {
        assert!(help.contains(&format!("\n  {code}  ")), "{code}");
    }
}

/// Each mistake is answered with what was given and what would be right.
#[test]
fn a_wrong_command_line_is_told_in_full() {
    for (flags, why) in WRONG {
        let told = told(&[&["run"], *flags].concat());
        let told = told.split_once("\n\nFor more").map_or(&told[..], |(told, _)| told);
        assert_eq!(told.trim_start_matches("error: "), *why);
    }
}

/// Flags of `run`, and what is said of them.
const WRONG: &[(&[&str], &str)] = &[
    (
        &["--duration", "5"],
        "invalid value '5' for '--duration <TIME>': has no unit; write a time like 60s, 500ms or \
         2m",
    ),
    (
        &["--payload", "1"],
        "payload: '1B' is too little: 54 bytes of each payload prove that it arrived, and 1 MiB \
         is the most that is read; write 54B to 1MiB",
    ),
    (
        &["--header", "A"],
        "invalid value 'A' for '--header <NAME: VALUE>': has no colon; write 'Name: value'",
    ),
    (
        &["--agent", "10.0.0.7"],
        "invalid value '10.0.0.7' for '--agent <HOST:PORT>': is not a host with a port; write it \
         like 10.0.0.7:7070",
    ),
    (
        &["--spawn", " "],
        "invalid value ' ' for '--spawn <COMMAND>': is empty; write the command that starts the \
         server",
    ),
    (
        &["--publish-to", "nats"],
        "invalid value 'nats' for '--publish-to <BUS>': lacks url=, as in 'nats \
         url=nats://127.0.0.1:4222'; write a bus like 'nats url=nats://127.0.0.1:4222 to={channel}'",
    ),
    (
        &["--publish-to", "nats url=nats://h:1 to=all", "--active-channels", "2"],
        "publish-to: 'all' is the same for all of the plan's 2 channels; write {channel} in to, \
         where a channel's name goes",
    ),
    (
        &["--publish-to", "nats url=nats://h:1", "--publish", "http://127.0.0.1:1/"],
        "publish: 'http://127.0.0.1:1/' is for HTTP, and publish-to has publications go through a \
         bus; leave out --publish or --publish-to",
    ),
    (&["--threads", "0"], "invalid value '0' for '--threads <NUMBER>': 0 is not in 1..=1024"),
    (
        &["--plan", "tikcer"],
        "plan: 'tikcer' is neither built in nor a file; did you mean 'ticker'?",
    ),
    (
        &["--server", "apache"],
        "server: 'apache' is neither built in nor a file; write one of stentor, uwebsockets, \
         nchan, generic",
    ),
    (
        &["--json", "/no/such/place/out.json"],
        "json: '/no/such/place/out.json' cannot be written: there is no directory /no/such/place; \
         make it first",
    ),
    (&["--html", "/"], "html: '/' is a directory; write a file's name"),
    (
        &["--target", "http://127.0.0.1"],
        "target: 'http://127.0.0.1' is for sse, which no subscriber speaks; add --transport sse, \
         or a mix like --transport ws=80,sse=20",
    ),
];

/// Of a flag that is given twice the last one counts, so that scripts can have flags of their own;
/// one that may be repeated is not lost.
#[test]
fn the_last_of_two_flags_counts() {
    let run = run(&["--idle", "1", "--slo", "loss=0", "--idle", "2", "--slo", "p99=1s"]);
    assert_eq!(run.order.plan.idle.connections, 2);
    assert_eq!(run.slo.to_string(), "p99=1s");
    let mix =
        ["--target", "ws://127.0.0.1:1/{channel}", "--target", "http://127.0.0.1:1/{channel}"];
    let both = [&["run", "--dry-run", "--transport", "ws=1,sse=1"], &mix[..]].concat();
    assert_eq!(printed(&both).matches("127.0.0.1:1/{channel}").count(), 2, "{}", printed(&both));
}
