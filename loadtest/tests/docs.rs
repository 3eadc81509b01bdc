//! The operator's page says what the program does: its tables are the program's own, its examples
//! are understood, its TOML is read.
#![forbid(unsafe_code)]

use std::{
    ffi::OsString,
    process::Command,
    time::{Duration, SystemTime},
};

use serde_json::Value;
use stentor_loadtest::{
    cli::{self, Stop},
    options::{OPTIONS, Options, PLANS},
    profile::{PROFILES, Profile},
    record::{ClientUse, Publications, Record, ServerUse},
    report::{Verdict, json},
    shelf::{Sheet, Shelf},
    slo::MEASURES,
    tally::{Spread, Tally},
    watch::Machine,
};

const PAGE: &str = include_str!("../../docs/loadtest.md");
const README: &str = include_str!("../../README.md");

/// Every option stands in a table under its group, with its default and its help.
#[test]
fn the_page_has_the_options_as_they_are() {
    let mut groups: Vec<&str> = OPTIONS.iter().map(|row| row.group).collect();
    groups.dedup();
    for group in groups {
        let options = OPTIONS.iter().filter(|row| row.group == group);
        let rows = options.map(|row| match row.default {
            "" => format!("| `{}` | | {} |", row.name, row.help),
            default => format!("| `{}` | `{default}` | {} |", row.name, row.help),
        });
        has_table(&format!("{group} | default | what it does"), rows.collect());
    }
}

#[test]
fn the_page_has_the_objectives_as_they_are() {
    let rows =
        MEASURES.iter().map(|row| format!("| `{}={}` | {} |", row.name, row.example, row.help));
    has_table("objective, for example | what it limits", rows.collect());
}

#[test]
fn the_page_has_the_plans_and_profiles_as_they_are() {
    for (title, shelf) in [("plan | what it is", PLANS), ("profile | what it expects", PROFILES)] {
        has_table(title, rows(&shelf));
    }
}

/// The exit codes are those that `--help` explains, which has them from where they are made.
#[test]
fn the_page_has_the_exit_codes_as_they_are() {
    let help = help("run");
    let (_, codes) = help.split_once("Exit codes:\n").expect("they are at the end of the help");
    let codes = codes.lines().filter_map(|line| line.trim().split_once("  "));
    let rows: Vec<String> =
        codes.map(|(code, what)| format!("| `{code}` | {} |", what.trim())).collect();
    let known = [cli::MET, cli::MISSED, cli::ASKED_WRONGLY, cli::NOT_RUN, cli::MISSED_SATURATED];
    for code in known {
        assert!(rows.iter().any(|row| row.starts_with(&format!("| `{code}` |"))), "{rows:?}");
    }
    assert_eq!(rows.len(), known.len());
    has_table("code | when", rows);
}

/// Whatever can be typed behind `run` and `agent` is on the page, and so is every command.
#[test]
fn the_page_names_every_flag() {
    for command in ["run", "agent", "compare", "plans", "profiles"] {
        assert!(PAGE.contains(&format!("stentor-loadtest {command} ")), "docs lack {command}");
    }
    let help = help("run") + &help("agent");
    let flags = help.lines().filter_map(|line| {
        let line = line.trim_start();
        line.starts_with("--").then(|| line.split([' ', '[', '=']).next().unwrap_or(line))
    });
    for flag in flags {
        let name = flag.trim_start_matches('-');
        let is_named = [format!("`{flag}"), format!("| `{name}` |")];
        assert!(is_named.iter().any(|it| PAGE.contains(it)), "docs/loadtest.md lacks {flag}");
    }
}

/// Every run that the page or the README shows is one that can begin.
///
/// Method: each is read as the shell and the command line would read it, and told with `--dry-run`.
/// Files that the page tells to write or to have are not there.
#[test]
fn the_examples_can_begin() {
    let mut examples = 0;
    for page in [PAGE, README] {
        for line in page.replace("\\\n", " ").lines() {
            let line = line.trim_start_matches("$ ");
            let Some((program, _)) = line.split_once(" run") else { continue };
            let is_ours = program.trim().ends_with("stentor-loadtest") && !line.starts_with('|');
            let is_to_be_made = ["mine.toml", "authority.pem", "--token-file"];
            if !is_ours || is_to_be_made.iter().any(|file| line.contains(file)) {
                continue;
            }
            let mut words = shell_words::split(line).expect("a shell reads it");
            words.push("--dry-run".into());
            let parsed = cli::parse(words.iter().map(OsString::from));
            assert!(matches!(parsed, Ok(cli::Command::Print(_))), "{line}: {parsed:?}");
            examples += 1;
        }
    }
    assert!(examples >= 5, "only {examples} examples");
}

/// The plan and the profile that the page shows can be read.
#[test]
fn the_tables_of_keys_can_be_read() {
    let sheet = |text: &str| Sheet { name: "page".into(), place: "page".into(), text: text.into() };
    let blocks: Vec<&str> = PAGE.split("```toml\n").skip(1).collect();
    let [plan, profile] = blocks[..] else { panic!("one plan and one profile") };
    let [plan, profile] = [plan, profile].map(|text| sheet(text.split("```").next().unwrap()));
    Options::from_sheet(&plan).unwrap().resolve("page").unwrap();
    Profile::from_sheet(&profile).unwrap();
}

/// Every field that the JSON has is explained by its name.
///
/// Method: the report of a run in which everything was measured. What describes plan and machine
/// is left out.
#[test]
fn the_page_explains_every_field() {
    let mut tally = Tally::default();
    tally.times.delivery.record(1).unwrap();
    tally.spreads = vec![Spread { received: 1, last_micros: 1 }; 2];
    let record = Record {
        plan: Options::default().resolve("page").unwrap(),
        profile: "page".into(),
        target: "page".into(),
        is_verified: Some(false),
        began: SystemTime::UNIX_EPOCH,
        machine: Machine::read().unwrap(),
        measured: Duration::from_secs(1),
        tally,
        publications: Publications::default(),
        first_broadcast: 1,
        server: Some(ServerUse::default()),
        client: ClientUse::default(),
        agents: Vec::new(),
    };
    let verdict = Verdict::of(&record, None, Vec::new());
    let report: Value = serde_json::from_str(&json::text(&record, &verdict)).unwrap();
    for name in fields(&report) {
        assert!(PAGE.contains(&format!("`{name}`")), "docs/loadtest.md lacks {name}");
    }
}

/// The names of all fields, but not below plan and machine.
fn fields(value: &Value) -> Vec<String> {
    let Value::Object(fields_here) = value else { return Vec::new() };
    let below = fields_here.iter().flat_map(|(name, value)| match name.as_str() {
        "plan" | "machine" => vec![name.clone()],
        _ => [vec![name.clone()], fields(value)].concat(),
    });
    below.collect()
}

/// `stentor-loadtest` is what the page calls it, and the program says so itself.
#[test]
fn the_program_has_its_name() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_stentor-loadtest")).arg("plans").output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim_end(), PLANS.list().trim_end());
}

/// Name and first line of each text.
fn rows(shelf: &Shelf) -> Vec<String> {
    let first = |text: &str| text.lines().next().unwrap_or("").trim_start_matches("# ").to_owned();
    shelf.texts.iter().map(|(name, text)| format!("| `{name}` | {} |", first(text))).collect()
}

fn has_table(title: &str, rows: Vec<String>) {
    let columns = title.split(" | ").map(|_| " --- |").collect::<String>();
    let table = format!("| {title} |\n|{columns}\n{}\n", rows.join("\n"));
    assert!(PAGE.contains(&table), "docs/loadtest.md must have this table:\n\n{table}");
}

/// What `--help` of a command prints.
fn help(command: &str) -> String {
    let words = ["stentor-loadtest", command, "--help"].map(OsString::from);
    match cli::parse(words) {
        Err(Stop::Words(help)) => help.to_string(),
        other => panic!("no help: {other:?}"),
    }
}
