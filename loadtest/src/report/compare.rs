//! Reports of several runs side by side, as a Markdown table: which server, and how it fared.

use serde_json::Value;

use super::words;
use crate::units;

/// A run's report, and what its column is called.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// The report, as `run --json` has written it.
    pub report: Value,
}

/// Reads a report; what is wrong with it otherwise. Its column is called by the server's profile.
pub fn column(text: &str) -> Result<Column, String> {
    let report: Value = serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
    let profile = report.pointer("/profile").and_then(Value::as_str);
    let is_report = report.pointer("/deliveries/expected").is_some();
    match profile.filter(|_| is_report) {
        Some(profile) => Ok(Column { name: profile.to_owned(), report }),
        None => Err("no report of stentor-loadtest: write one with `run --json FILE`".to_owned()),
    }
}

/// The table: a row for each figure that any of the runs has, and that is not 0 in all of them.
pub fn table(columns: &[Column]) -> String {
    let names = columns.iter().map(|column| column.name.clone()).collect();
    let mut rows: Vec<Vec<String>> = vec![[vec![String::new()], names].concat()];
    for (name, of) in ROWS {
        let cells: Vec<_> = columns.iter().map(|column| of(&column.report)).collect();
        let is_silent = |cell: &Option<String>| cell.as_deref().is_none_or(|it| it == "0");
        if !cells.iter().all(is_silent) {
            let cells = cells.into_iter().map(|cell| cell.unwrap_or_else(|| "–".to_owned()));
            rows.push([name.to_string()].into_iter().chain(cells).collect());
        }
    }
    let widths: Vec<usize> = (0..=columns.len())
        .map(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0))
        .collect();
    let rule = widths.iter().map(|width| "-".repeat(*width)).collect();
    rows.insert(1, rule);
    rows.iter().map(|row| line(row, &widths)).collect()
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let cells = cells.iter().zip(widths).map(|(cell, &width)| format!(" {cell:<width$} |"));
    format!("|{}\n", cells.collect::<String>())
}

/// A figure's name, and how it is found in a report.
type Row = (&'static str, fn(&Value) -> Option<String>);

const ROWS: &[Row] = &[
    ("connections", |it| of(it, "/connections/established", "/connections/requested")),
    ("connections per second", |it| number(it, "/connections/per_second", units::number)),
    ("publications", |it| of(it, "/publications/published", "/publications/due")),
    ("deliveries", |it| of(it, "/deliveries/received", "/deliveries/expected")),
    ("lost", |it| fault(it, "lost")),
    ("duplicated", |it| fault(it, "duplicated")),
    ("repeated", |it| fault(it, "repeated")),
    ("in unannounced gaps", |it| fault(it, "unannounced_gap")),
    ("falsely recovered", |it| fault(it, "false_recovered")),
    ("falsely in gaps", |it| fault(it, "false_gap")),
    ("reordered", |it| fault(it, "reordered")),
    ("corrupt", |it| fault(it, "corrupt")),
    ("unexpected closes", |it| fault(it, "unexpected_closes")),
    ("latency p50", |it| number(it, "/latency_ms/p50", units::millis)),
    ("latency p99", |it| number(it, "/latency_ms/p99", units::millis)),
    ("latency p99.9", |it| number(it, "/latency_ms/p999", units::millis)),
    ("latency max", |it| number(it, "/latency_ms/max", units::millis)),
    ("last subscriber, p50", |it| number(it, "/spread_ms/p50", units::millis)),
    ("last subscriber, max", |it| number(it, "/spread_ms/max", units::millis)),
    ("away, p99", |it| number(it, "/resume_ms/p99", units::millis)),
    ("storm, until all were back", |it| number(it, "/storms/back_seconds", units::seconds)),
    ("server CPU per delivery", |it| {
        number(it, "/server/cpu_us_per_delivery", |micros| format!("{} µs", units::number(micros)))
    }),
    ("server memory", |it| number(it, "/server/rss_bytes", units::bytes)),
    ("server memory per connection", |it| {
        let each = number(it, "/server/rss_bytes_per_connection", units::bytes)?;
        Some(each + words::warm_up(it.pointer("/connections/established")?.as_u64()?))
    }),
    ("server saturated", |it| yes_or_no(it, "/server/saturated")),
    ("client saturated", |it| yes_or_no(it, "/client/saturated")),
];

fn number(report: &Value, at: &str, write: fn(f64) -> String) -> Option<String> {
    report.pointer(at)?.as_f64().map(write)
}

fn of(report: &Value, at: &str, whole: &str) -> Option<String> {
    let count = |at: &str| report.pointer(at)?.as_u64().map(units::count);
    Some(format!("{} of {}", count(at)?, count(whole)?))
}

fn fault(report: &Value, kind: &str) -> Option<String> {
    report.pointer("/deliveries")?.get(kind)?.as_u64().map(units::count)
}

fn yes_or_no(report: &Value, at: &str) -> Option<String> {
    Some(if report.pointer(at)?.as_bool()? { "yes" } else { "no" }.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Verdict, json, sample};

    fn report(record: &crate::record::Record) -> String {
        json::text(record, &Verdict::of(record, None, Vec::new()))
    }

    /// Every report is a column, every figure that one of them has is a row, and faults only where
    /// there were some.
    #[test]
    fn reports_stand_side_by_side() {
        let mut columns = [sample::million(), sample::broken()]
            .map(|record| column(&report(&record)).expect("it is a report"));
        columns[1].name = "another".to_owned();
        let table = table(&columns);
        let rows: Vec<&str> = table.lines().collect();
        let cells = |name: &str| {
            let row = rows.iter().find(|row| row.starts_with(&format!("| {name} ")));
            let row = row.unwrap_or_else(|| panic!("no {name}:\n{table}"));
            row.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            rows[0].split('|').map(str::trim).collect::<Vec<_>>(),
            ["", "", "stentor", "another", ""]
        );
        assert!(rows[1].chars().all(|letter| "|- ".contains(letter)), "{table}");
        assert_eq!(cells("connections")[2..4], ["1,000,000 of 1,000,000", "97 of 100"]);
        assert_eq!(cells("lost")[2], "0", "where another has lost something");
        let widths: Vec<usize> = rows.iter().map(|row| row.chars().count()).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{table}");
        let clean = compare_one(&sample::million());
        assert!(!clean.contains("| lost"), "{clean}");
    }

    fn compare_one(record: &crate::record::Record) -> String {
        table(&[column(&report(record)).expect("it is a report")])
    }

    /// What is no report is told apart, and what to do about it.
    #[test]
    fn other_files_are_refused() {
        assert!(column("").expect_err("empty").starts_with("no JSON: "));
        let other = column(r#"{"profile": "stentor"}"#).expect_err("no report");
        assert_eq!(other, "no report of stentor-loadtest: write one with `run --json FILE`");
    }
}
