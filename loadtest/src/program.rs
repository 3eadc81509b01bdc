//! What the program does with what the command line asks for, and how it says how that went.

use std::{
    fs,
    io::{self, Write},
    net::TcpListener,
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

use crate::{
    agent,
    cli::{self, Agent, Outputs, Run},
    live::Display,
    record::Record,
    report::{self, Outcome, Verdict},
    run, slo,
};

/// Prints a text that was asked for. Whoever stops reading has read enough.
pub fn print(text: &str) -> ExitCode {
    let _ = writeln!(io::stdout(), "{}", text.trim_end());
    ExitCode::SUCCESS
}

/// Is an agent for coordinators until it is ended.
pub fn agent(agent: &Agent) -> ExitCode {
    let mut told = |line: &str| eprintln!("{line}");
    let served = TcpListener::bind(agent.listen)
        .map_err(|error| format!("{} cannot be listened on: {error}", agent.listen))
        .and_then(|listener| {
            agent::serve(listener, agent.key.clone(), &mut told).map_err(|error| error.to_string())
        });
    let Err(why) = served;
    eprintln!("stentor-loadtest: {why}");
    ExitCode::from(cli::NOT_RUN)
}

/// Makes a run, shows it, and says by the exit code how it went.
pub fn run(ordered: &Run) -> ExitCode {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The first lets the run end in good order; the second ends the program.
        let second = flag::register_conditional_default(signal, interrupted.clone());
        let first = flag::register(signal, interrupted.clone());
        if let Err(error) = second.and(first) {
            eprintln!("stentor-loadtest: signals cannot be caught: {error}");
        }
    }
    let mut display = Display::new(ordered.outputs.is_quiet);
    let made = run::run(&ordered.order, &interrupted, &mut display);
    display.finish();
    let record = match made {
        Ok(record) => record,
        Err(error) => {
            eprintln!("stentor-loadtest: {error}");
            return ExitCode::from(cli::NOT_RUN);
        }
    };
    let misses = slo::judge(&ordered.slo, &record);
    let objectives = (!ordered.slo.objectives().is_empty()).then(|| ordered.slo.to_string());
    let mut verdict = Verdict::of(&record, objectives, misses);
    if interrupted.load(Ordering::Relaxed) {
        verdict = verdict.interrupted();
        eprintln!("stentor-loadtest: interrupted; the report says what was so far");
    } else if record.tally.connections.established == 0 {
        eprintln!("stentor-loadtest: no subscriber could be connected; the report says why");
    }
    print(&report::table::text(&record, &verdict));
    match write_reports(&ordered.outputs, &record, &verdict) {
        Ok(()) => exit_code(&record, &verdict),
        Err(why) => {
            eprintln!("stentor-loadtest: {why}");
            ExitCode::from(cli::NOT_RUN)
        }
    }
}

fn exit_code(record: &Record, verdict: &Verdict) -> ExitCode {
    if record.tally.connections.established == 0 {
        return ExitCode::from(cli::NOT_RUN);
    }
    ExitCode::from(match verdict.outcome {
        Outcome::Passed => cli::MET,
        Outcome::Missed if record.is_client_saturated() => cli::MISSED_SATURATED,
        Outcome::Missed | Outcome::Faulty => cli::MISSED,
        Outcome::Interrupted => cli::NOT_RUN,
    })
}

fn write_reports(outputs: &Outputs, record: &Record, verdict: &Verdict) -> Result<(), String> {
    let write = |path: &Option<std::path::PathBuf>, text: &dyn Fn() -> String| match path {
        None => Ok(()),
        Some(path) => write_report(path, &text()),
    };
    write(&outputs.json, &|| report::json::text(record, verdict))?;
    write(&outputs.html, &|| report::html::page(record, verdict))?;
    write(&outputs.hgrm, &|| report::hgrm::text(&record.tally.times.delivery))
}

fn write_report(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("the report {}: {error}", path.display()))
}
