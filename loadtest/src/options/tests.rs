//! What holds for every option and every built-in plan, and what each mistake is answered.

use std::time::Duration;

use clap::{Args, Command, FromArgMatches};

use super::*;
use crate::{
    decoder::Transport,
    plan::{Churn, Group, Publishing, Slow, Spread},
};

fn flags(flags: &[&str]) -> Result<Options, String> {
    let command = Options::augment_args(Command::new("run").no_binary_name(true));
    let matches = command.try_get_matches_from(flags).map_err(|error| error.to_string())?;
    Ok(Options::from_arg_matches(&matches).unwrap())
}

fn file(text: &str) -> Result<Options, PlanError> {
    let sheet = Sheet { name: "mine".into(), place: "mine.toml".into(), text: text.into() };
    Options::from_sheet(&sheet)
}

fn resolved(words: &[&str]) -> Result<Plan, PlanError> {
    flags(words).unwrap().resolve("custom")
}

/// The defaults, in full: 1000 subscribers of one channel, 10 publications a second.
#[test]
fn nothing_given_is_a_small_run() {
    let group = |connections, prefix: &str| Group {
        connections,
        channels: 1,
        prefix: prefix.into(),
        spread: Spread::Even,
    };
    let plan = Plan {
        name: "custom".into(),
        idle: group(0, "loadtest-quiet"),
        active: group(1_000, "loadtest-busy"),
        transports: vec![(Transport::WebSocket, 1)],
        ramp: 10_000,
        publishing: Publishing {
            rate_from: 10.0,
            rate_to: 10.0,
            burst: 1,
            duration: Duration::from_secs(10),
            broadcasts: 0,
            broadcast_every: Duration::from_secs(5),
            payload_min: 64,
            payload_max: 64,
            publishers: 4,
        },
        churn: Churn { per_second: 0.0, storm_share: 0.0, storm_every: Duration::from_secs(4) },
        resume: false,
        slow: Slow { share: 0.0, stalled: 0.0, bytes_per_second: 1_000, may_be_closed: false },
        settle: Duration::from_secs(10),
    };
    assert_eq!(resolved(&[]).unwrap(), plan);
    assert!(Options::default().objectives().is_empty());
}

/// Every default is read, has a help that says it, and is a key of plan files as well as a flag.
///
/// Method: each default is given as a key in quotes and as a flag, and must then say the same.
#[test]
fn every_option_is_flag_and_key() {
    let command = Options::augment_args(Command::new("run"));
    let args: Vec<_> = command.get_arguments().collect();
    assert_eq!(args.len(), OPTIONS.len());
    for (row, arg) in OPTIONS.iter().zip(args) {
        assert_eq!(arg.get_long(), Some(row.name));
        assert_eq!(arg.get_help_heading(), Some(row.group));
        let help = arg.get_help().unwrap().to_string();
        assert!(!row.help.contains("  "), "{}", row.help);
        let said = row.help.strip_suffix('.').unwrap();
        match row.default {
            "" => assert_eq!(help, said),
            default => assert_eq!(help, format!("{said} [default: {default}]")),
        }
        let key = file(&format!("{} = '{}'", row.name, row.default)).unwrap();
        let flag = flags(&[&format!("--{}={}", row.name, row.default)]).unwrap();
        assert_eq!(key, flag, "{}", row.name);
        assert_ne!(key, Options::default(), "{}", row.name);
    }
}

/// A flag beats the plan, and the plan beats the default, each option for itself.
#[test]
fn flags_lie_over_the_plan() {
    let plan = file("active = 20\nrate = '5..7'\nslow-may-be-closed = true").unwrap();
    let plan = flags(&["--active", "30"]).unwrap().or(plan).resolve("mine").unwrap();
    assert_eq!(plan.active.connections, 30);
    assert_eq!((plan.publishing.rate_from, plan.publishing.rate_to), (5.0, 7.0));
    assert!(plan.slow.may_be_closed);
    assert_eq!(plan.ramp, 10_000);
}

/// Every built-in plan resolves as it comes, and scaled down by flags; its first line says what
/// it is.
#[test]
fn every_built_in_plan_resolves_at_any_size() {
    for (name, text) in PLANS.texts {
        let plan = Options::from_sheet(&PLANS.find(name).unwrap()).unwrap();
        plan.resolve(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        for size in ["1", "7", "300"] {
            let small = flags(&["--idle", size, "--active", size, "--duration", "2s"]).unwrap();
            small.or(plan.clone()).resolve(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        assert!(text.starts_with("# ") && text.contains("\n# Shows "), "{name}");
        assert!(text.contains("\n# Needs "), "{name}");
    }
}

/// The plans have the sizes that they are known for.
#[test]
fn built_in_plans_have_their_sizes() {
    let sizes = PLANS.texts.iter().map(|(name, _)| {
        let plan = Options::from_sheet(&PLANS.find(name).unwrap()).unwrap().resolve(name).unwrap();
        let (idle, active) = (plan.idle.connections, plan.active.connections);
        (*name, idle, active, plan.channels(), plan.publishing.at_rate())
    });
    let sizes: Vec<_> = sizes.collect();
    let expected = [
        ("idle", 50_000, 0, 1, 0),
        ("ticker", 0, 10_000, 1, 300),
        ("chat", 0, 10_000, 500, 6_000),
        ("notify", 0, 10_000, 10_000, 60_000),
        ("storm", 0, 10_000, 10, 1_500),
        ("resume", 0, 1_000, 10, 3_000),
        ("slow-readers", 0, 2_000, 1, 1_500),
        ("stalled", 0, 2_000, 1, 750),
        ("million", 900_000, 100_000, 2, 60),
    ];
    assert_eq!(sizes, expected);
}

/// A rate that rises makes as many publications as its mean, bursts are whole, and the first
/// publication is due at once.
#[test]
fn publications_are_counted_as_they_fall_due() {
    for (rate, burst, duration, publications) in [
        ("10", "1", "10s", 100),
        ("0.1", "1", "30s", 3),
        ("10..500", "1", "10s", 2_550),
        ("0..1", "1", "1s", 1),
        ("10", "7", "10s", 105),
        ("0", "1", "1h", 0),
        ("3", "1", "500ms", 2),
    ] {
        let plan = resolved(&["--rate", rate, "--burst", burst, "--duration", duration]).unwrap();
        assert_eq!(plan.publishing.at_rate(), publications, "{rate} {burst} {duration}");
    }
}

/// Channels follow the subscribers where the plan says so.
#[test]
fn channels_follow_the_subscribers() {
    for (active, channels, resulting) in [
        ("300", "each", 300),
        ("300", "1/20", 15),
        ("301", "1/20", 16),
        ("3", "1/20", 1),
        ("300", "300", 300),
        ("0", "each", 1),
        ("0", "9", 9),
    ] {
        let plan =
            resolved(&["--idle", "1", "--active", active, "--active-channels", channels]).unwrap();
        assert_eq!(plan.active.channels, resulting, "{active} {channels}");
    }
}

/// Without busy channels nothing is published unless somebody asks for it.
#[test]
fn idle_subscribers_alone_need_no_rate() {
    let plan = resolved(&["--idle", "5", "--active", "0"]).unwrap();
    assert_eq!(plan.publishing.at_rate(), 0);
}

/// Texts that cannot be read are told the same way as flags and as keys.
#[test]
fn a_text_that_cannot_be_read_is_told_in_full() {
    for (option, text, told) in UNREADABLE {
        let key = file(&format!("# A comment.\n{option} = '{text}'")).unwrap_err().to_string();
        assert_eq!(key, format!("mine.toml:2: '{text}' {told}"));
        let flag = flags(&[&format!("--{option}={text}")]).unwrap_err();
        assert!(flag.contains(&format!("'{text}'")) && flag.contains(told), "{flag}");
    }
}

/// Values out of range, and values that do not fit together, are told with the reason.
#[test]
fn a_plan_that_cannot_be_is_told_in_full() {
    for (words, told) in IMPOSSIBLE {
        assert_eq!(resolved(words).unwrap_err().to_string(), *told);
    }
}

/// Who resumes has positions, and a transport without any is refused with what would be right.
#[test]
fn only_who_has_positions_can_resume() {
    assert!(resolved(&["--resume", "--transport", "sse=1,poll=1,v1=1"]).unwrap().resume);
    for transport in ["ws", "sse=1,ws=1"] {
        let told = resolved(&["--resume", "--transport", transport]).unwrap_err().to_string();
        assert_eq!(
            told,
            "resume: 'true' needs positions, and ws (plain WebSocket) tells subscribers none; \
             write a transport of sse, poll and v1 alone, or --resume=false"
        );
    }
}

/// What is wrong with a plan file is told with its place, and a misspelt name is recognised.
#[test]
fn a_wrong_plan_file_is_told_in_full() {
    let told = |text| file(text).unwrap_err().to_string();
    assert_eq!(
        told("idle = 1\npayloda = 64"),
        "mine.toml:2: 'payloda' is not a key; did you mean 'payload'?"
    );
    assert_eq!(
        told("rate = [1, 2]"),
        "mine.toml:1: invalid type: sequence, expected a number, true, false or a text in quotes"
    );
    let missing = |name| PLANS.find(name).unwrap_err().to_string();
    assert_eq!(
        missing("tikcer"),
        "plan: 'tikcer' is neither built in nor a file; did you mean 'ticker'?"
    );
    assert_eq!(
        missing("quux"),
        "plan: 'quux' is neither built in nor a file; \
         write one of idle, ticker, chat, notify, storm, resume, slow-readers, stalled, million"
    );
    assert_eq!(
        missing("no/such.toml"),
        "plan: cannot read no/such.toml: No such file or directory (os error 2)"
    );
}

/// Options, texts that they cannot have, and what is said of them.
const UNREADABLE: &[(&str, &str, &str)] = &[
    ("duration", "5", "has no unit; write a time like 60s, 500ms or 2m"),
    ("active", "-1", "is not a whole number; write a whole number like 1000"),
    (
        "rate",
        "1...2",
        "is not a number; write a number like 200, or 10..500 for a rate that rises, or 0 for \
         none",
    ),
    (
        "transport",
        "mqtt",
        "has 'mqtt', which is not a transport; write ws, sse, poll, v1 or a mix like ws=80,sse=20",
    ),
    ("transport", "ws=1,ws=2", "has ws twice; write ws, sse, poll, v1 or a mix like ws=80,sse=20"),
    (
        "transport",
        "ws=0",
        "leaves nothing to speak; write ws, sse, poll, v1 or a mix like ws=80,sse=20",
    ),
    (
        "transport",
        "ws=0.5",
        "has the weight '0.5', which is not a whole number; write ws, sse, poll, v1 or a mix like ws=80,sse=20",
    ),
    (
        "spread",
        "zipf:x",
        "has the exponent 'x', which is not a number; write even, zipf or zipf:1.2",
    ),
    ("spread", "flat", "is not among the choices; write even, zipf or zipf:1.2"),
    (
        "active-channels",
        "2/3",
        "does not begin with 1/; write a number, or each (a channel for each subscriber), or 1/20 \
         (one for every 20)",
    ),
    (
        "channel-prefix",
        "a/b",
        "has a letter that URLs would have to encode; write 1 to 64 letters, digits, '.', '_' or \
         '-'",
    ),
    ("storm-share", "half", "is not a number; write a share from 0 to 1 like 0.1, or 10%"),
    (
        "slow-rate",
        "4KB",
        "has the unknown unit 'KB'; write a number of bytes like 512B, 4kB or 1MiB",
    ),
    ("slow-may-be-closed", "yes", "is neither true nor false; write true or false"),
    ("slo", "p99", "has 'p99', which has no '='; write objectives like p99=250ms,loss=0"),
];

/// Flags that make no plan, and what is said of them.
const IMPOSSIBLE: &[(&[&str], &str)] = &[
    (
        &["--payload", "40"],
        "payload: '40B' is too little: 54 bytes of each payload prove that it arrived, and 1 MiB \
         is the most that is read; write 54B to 1MiB",
    ),
    (
        &["--payload", "4096..64"],
        "payload: '4KiB..64B' begins above its end; write the smaller number first",
    ),
    (
        &["--active", "9000000"],
        "active: '9000000' is too much: more do not fit into one run's tables; write 0 to 8000000",
    ),
    (
        &["--idle", "5000000", "--active", "5000000"],
        "active: '10000000' is too much: idle and active together are more than a run holds; \
         write 0 to 8000000",
    ),
    (
        &["--active", "0"],
        "active: '0' leaves nobody to subscribe, for idle is 0, too; give either of them \
         subscribers",
    ),
    (
        &["--active", "300", "--active-channels", "500"],
        "active-channels: '500' is more than the 300 subscribers of active; write 1 to 300, or \
         each, or 1/20 for one channel for every 20",
    ),
    (
        &["--idle-channels", "0"],
        "idle-channels: '0' is too little: a channel has subscribers; write 1 to 8000000",
    ),
    (
        &["--idle", "1", "--active", "0", "--rate", "5"],
        "rate: '5' needs a busy channel, and there is none because active is 0; write --rate 0, \
         or give active subscribers",
    ),
    (
        &["--rate", "100000", "--duration", "24h"],
        "rate: '100000' makes 8,640,000,000 publications in 24h; a run can number 4,294,967,295; \
         lower the rate or the duration",
    ),
    (
        &["--rate", "1..20000000"],
        "rate: '20000000' is too much: no machine publishes so much a second; write 0 to 10000000",
    ),
    (
        &["--ramp", "0"],
        "ramp: '0' is too little: a machine opens 1 to a million connections a second; write 1 to \
         1000000",
    ),
    (
        &["--active", "1000000", "--ramp", "1"],
        "ramp: '1' takes longer than a day for 1,000,000 subscribers; write more connections per \
         second",
    ),
    (
        &["--duration", "25h"],
        "duration: '25h' is too much: a run takes its measure in seconds; write 100ms to 24h",
    ),
    (
        &["--broadcasts", "1000", "--broadcast-every", "1h"],
        "broadcasts: '1000' take 1000h altogether, which is more than a day; write fewer, or a \
         shorter broadcast-every",
    ),
    (
        &["--publishers", "257"],
        "publishers: '257' is too much: one connection must publish, and each takes a thread; \
         write 1 to 256",
    ),
    (
        &["--storm-share", "150%"],
        "storm-share: '1.5' is too much: it is a share of all; write 0 to 1",
    ),
    (
        &["--storm-share", "1", "--storm-every", "30s"],
        "storm-every: '30s' does not end within the duration of 10s: no storm would come; write a \
         shorter time, or a share of the duration like 40%",
    ),
    (
        &["--storm-share", "1", "--storm-every", "100%", "--broadcasts", "9"],
        "storm-every: '10s' does not end within the duration of 10s: no storm would come; write a \
         shorter time, or a share of the duration like 40%",
    ),
    (
        &["--spread", "zipf:11"],
        "spread: '11' is too much: the shares of channels would not differ any more; write 0.01 \
         to 10",
    ),
];
