//! `--json`: all that is known of a run, for programs.
//!
//! Names and units are part of the interface: a field is never renamed, and none is left out.
//! What was not measured is null.

use std::io::{self, Write};

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::ser::Formatter;

use crate::{
    plan::Plan,
    record::{AgentNote, Record},
    slo::Miss,
    tally::{Names, heat::quantile, heat_floor},
    watch::Machine,
};

use super::{
    Figures, Outcome, Verdict,
    series::{Column, Series},
    when::rfc3339,
};

/// The report as JSON, with a line for each field and for each series.
pub fn text(record: &Record, verdict: &Verdict) -> String {
    let mut text = Vec::new();
    let mut out = serde_json::Serializer::with_formatter(&mut text, Lines::default());
    Report::of(record, verdict).serialize(&mut out).expect("memory takes all, and keys are texts");
    text.push(b'\n');
    String::from_utf8(text).expect("JSON is text")
}

#[derive(Serialize)]
struct Report<'a> {
    outcome: Outcome,
    began: String,
    target: &'a str,
    certificates_verified: Option<bool>,
    profile: &'a str,
    #[serde(flatten)]
    figures: Figures,
    slo: Slo<'a>,
    failures: Failures<'a>,
    plan: &'a Plan,
    machine: &'a Machine,
    agents: Vec<Agent<'a>>,
    seconds: Seconds,
}

#[derive(Serialize)]
struct Slo<'a> {
    objectives: Option<&'a str>,
    /// None without objectives.
    met: Option<bool>,
    failed: &'a [Miss],
}

/// What went wrong, in words, with how often it did.
#[derive(Serialize)]
struct Failures<'a> {
    connecting: Counted<'a>,
    publishing: Counted<'a>,
    delivering: Counted<'a>,
}

#[derive(Serialize)]
struct Agent<'a> {
    address: &'a str,
    clock_offset_us: i64,
    clock_error_us: u64,
    saturated: bool,
}

/// Series with one entry for each second since the run began.
#[derive(Serialize)]
struct Seconds {
    connections: Vec<u64>,
    deliveries: Vec<u64>,
    latency_p50_ms: Vec<Option<f64>>,
    latency_p99_ms: Vec<Option<f64>>,
    server_processors: Vec<Option<f64>>,
    server_rss_bytes: Vec<Option<u64>>,
    client_processors: Vec<Option<f64>>,
    client_rss_bytes: Vec<Option<u64>>,
    heat: HeatMap,
}

/// How many deliveries of each second had which latency: at least the floor of their row.
#[derive(Serialize)]
struct HeatMap {
    floor_ms: Vec<f64>,
    counts: Vec<Vec<u64>>,
}

/// Texts as keys, in their order.
struct Counted<'a>(&'a Names);

impl<'a> Report<'a> {
    fn of(record: &'a Record, verdict: &'a Verdict) -> Report<'a> {
        Report {
            outcome: verdict.outcome,
            began: rfc3339(record.began),
            target: &record.target,
            certificates_verified: record.is_verified,
            profile: &record.profile,
            figures: Figures::of(record),
            slo: Slo {
                objectives: verdict.slo.as_deref(),
                met: verdict.slo.as_ref().map(|_| verdict.misses.is_empty()),
                failed: &verdict.misses,
            },
            failures: Failures {
                connecting: Counted(&record.tally.connections.failures),
                publishing: Counted(&record.publications.failures),
                delivering: Counted(&record.tally.deliveries.examples),
            },
            plan: &record.plan,
            machine: &record.machine,
            agents: record.agents.iter().map(Agent::of).collect(),
            seconds: Seconds::of(&Series::of(record, usize::MAX)),
        }
    }
}

impl Agent<'_> {
    fn of(note: &AgentNote) -> Agent<'_> {
        Agent {
            address: &note.address,
            clock_offset_us: note.clock_offset_micros,
            clock_error_us: note.clock_error_micros,
            saturated: note.is_saturated,
        }
    }
}

impl Seconds {
    fn of(series: &Series) -> Seconds {
        let columns = &series.columns;
        let latency = |share| {
            let at = move |column: &Column| {
                quantile(&column.heat, share).map(|it| thousandths(it / 1e3))
            };
            columns.iter().map(at).collect()
        };
        Seconds {
            connections: columns.iter().map(|it| it.connections).collect(),
            deliveries: columns.iter().map(|it| it.deliveries).collect(),
            latency_p50_ms: latency(0.5),
            latency_p99_ms: latency(0.99),
            server_processors: columns
                .iter()
                .map(|it| Some(thousandths(it.server?.processors)))
                .collect(),
            server_rss_bytes: columns.iter().map(|it| Some(it.server?.resident)).collect(),
            client_processors: columns
                .iter()
                .map(|it| Some(thousandths(it.client?.processors)))
                .collect(),
            client_rss_bytes: columns.iter().map(|it| Some(it.client?.resident)).collect(),
            heat: HeatMap::of(series),
        }
    }
}

impl HeatMap {
    fn of(series: &Series) -> HeatMap {
        let rows = series.heat_rows();
        let floors = rows.clone().map(|row| thousandths(heat_floor(row) / 1e3));
        let counts = series.columns.iter().map(|column| column.heat[rows.clone()].to_vec());
        HeatMap { floor_ms: floors.collect(), counts: counts.collect() }
    }
}

impl Serialize for Counted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (text, times) in self.0.iter() {
            map.serialize_entry(text, &times)?;
        }
        map.end()
    }
}

fn thousandths(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// Lays JSON out for people who look into it: a line for each field, and arrays within theirs.
#[derive(Default)]
struct Lines {
    objects: usize,
    arrays: usize,
    /// Whether the innermost object so far has a field.
    has_field: bool,
}

impl Lines {
    fn new_line(&self, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
        write!(out, "\n{:1$}", "", 2 * self.objects)
    }
}

impl Formatter for Lines {
    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.arrays += 1;
        out.write_all(b"[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.arrays -= 1;
        out.write_all(b"]")
    }

    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.objects += 1;
        self.has_field = false;
        out.write_all(b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.objects -= 1;
        if self.has_field && self.arrays == 0 {
            self.new_line(out)?;
        }
        out.write_all(b"}")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if !first {
            out.write_all(b",")?;
        }
        if self.arrays == 0 { self.new_line(out) } else { Ok(()) }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, _out: &mut W) -> io::Result<()> {
        self.has_field = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::report::sample;

    fn report(record: &Record, slo: Option<&str>, misses: Vec<Miss>) -> Value {
        let verdict = Verdict::of(record, slo.map(str::to_owned), misses);
        serde_json::from_str(&text(record, &verdict)).expect("JSON")
    }

    /// The fields that programs rely on have their names, their units and the run's values.
    ///
    /// Method: the sample's report, parsed, beside every value written by hand. Latencies are those
    /// of a sorted list, as the upper ends of the histogram's buckets.
    #[test]
    fn a_report_has_the_promised_fields() {
        let report = report(&sample::million(), Some("p99=10s,loss=0"), vec![]);
        let promised = json!({
            "connections": {
                "requested": 1_000_000, "established": 1_000_000, "failed": 0, "reconnected": 0,
                "resumed": 0, "resumed_per_second": 0.0, "recovered_share": null,
                "ramp_seconds": 33.333, "per_second": 30_000.0
            },
            "publications": { "due": 63, "published": 63, "failed": 0, "late_ms_max": 3.2 },
            "deliveries": {
                "expected": 9_000_000, "received": 9_000_000, "lost": 0, "duplicated": 0,
                "repeated": 0, "unannounced_gap": 0, "false_recovered": 0, "false_gap": 0,
                "reordered": 0, "corrupt": 0, "misdirected": 0, "unexpected_closes": 0,
                "slow_closes": 0, "gaps": 0, "skipped": 0, "recovered": 0, "measured_seconds": 72.0, "per_second": 125_000.0
            },
            "latency_of": "server",
            "latency_ms": {
                "p50": 116.799, "p90": 4_061.183, "p99": 5_631.999, "p999": 5_853.183,
                "max": 5_902.335
            },
            "spread_ms": { "p50": 209.0, "max": 239.0 },
            "broadcast_spread_ms": { "p50": 5_800.0, "max": 5_900.0 },
            "server": {
                "cpu_seconds": 27.54, "cpu_us_per_delivery": 3.06, "rss_bytes": 92_000_000,
                "rss_bytes_per_connection": 73.0, "kernel_bytes": 9_100_000_000u64,
                "kernel_bytes_per_connection": 9_100.0, "kernel_is_both_ends": true,
                "saturated": false, "saturated_share": 0.02
            },
            "client": {
                "cpu_seconds": 31.2, "rss_bytes": 88_000_000, "rss_bytes_per_connection": 81.5,
                "saturated": false, "saturated_share": 0.04
            },
            "slo": { "objectives": "p99=10s,loss=0", "met": true, "failed": [] },
            "failures": { "connecting": {}, "publishing": {}, "delivering": {} },
            "outcome": "passed", "began": "2026-09-21T14:13:20Z", "profile": "stentor",
            "target": "ws://127.0.0.1:8080/ws/{channel}", "certificates_verified": null,
            "agents": [],
            "machine": {
                "cpus": 2, "memory_bytes": 25_200_000_000u64, "kernel": "6.18.5",
                "cpu_model": "AMD EPYC"
            }
        });
        for (field, value) in promised.as_object().expect("fields") {
            assert_eq!(&report[field], value, "{field}");
        }
        assert_eq!(report["plan"]["name"], "million");
    }

    #[test]
    fn what_was_not_measured_is_null() {
        let silent = report(&sample::silent(), None, vec![]);
        let nulls =
            ["latency_ms", "spread_ms", "broadcast_spread_ms", "first_publication_ms", "storms"];
        for field in nulls {
            assert_eq!(silent.get(field), Some(&Value::Null), "{field}");
        }
        assert_eq!(silent["slo"], json!({ "objectives": null, "met": null, "failed": [] }));
        assert_eq!(silent["deliveries"]["per_second"], Value::Null);
        assert_eq!(silent["seconds"]["heat"], json!({ "floor_ms": [], "counts": [] }));
        let unwatched = report(&sample::broken(), None, vec![]);
        assert_eq!(unwatched.get("server"), Some(&Value::Null));
        assert_eq!(unwatched["seconds"]["server_processors"], Value::from(vec![Value::Null; 12]));
    }

    /// What failed is named, with how often it did, and why it matters for the latencies.
    #[test]
    fn what_went_wrong_is_named() {
        let miss = Miss { objective: "loss", limit: "0".into(), measured: "4".into() };
        let report = report(&sample::broken(), Some("loss=0"), vec![miss]);
        assert_eq!(report["outcome"], "faulty");
        assert_eq!(report["latency_of"], "client was saturated: an upper bound");
        let failed = json!([{ "objective": "loss", "limit": "0", "measured": "4" }]);
        assert_eq!(
            report["slo"],
            json!({ "objectives": "loss=0", "met": false, "failed": failed })
        );
        assert_eq!(
            report["failures"],
            json!({
                "connecting": { "403 Forbidden": 3, "connection refused": 9 },
                "publishing": { "503 Service Unavailable: <script>alert('&')</script>": 1 },
                "delivering": { "corrupt: busy-3: checksum of 17 is wrong": 3, "lost: busy-1: 40": 4 }
            })
        );
        let agents = json!([{
            "address": "10.0.0.2:7000", "clock_offset_us": -1_200, "clock_error_us": 80,
            "saturated": false
        }]);
        assert_eq!(report["agents"], agents);
    }

    /// Series have an entry for every second, and the heat map every delivery of it.
    #[test]
    fn series_have_every_second() {
        let record = sample::million();
        let seconds = &report(&record, None, vec![])["seconds"];
        let list = |name: &str| seconds[name].as_array().expect("a list").clone();
        assert_eq!(list("connections")[..3], [json!(30_000), json!(60_000), json!(90_000)]);
        assert_eq!(list("deliveries").len(), 112);
        assert_eq!(list("client_rss_bytes")[0], json!(8_930_000));
        assert_eq!(list("latency_p50_ms")[0], Value::Null);
        let counts = seconds["heat"]["counts"].as_array().expect("seconds");
        let sums = counts.iter().map(|row| row.as_array().expect("rows").iter());
        let sums: Vec<u64> =
            sums.map(|row| row.map(|count| count.as_u64().expect("a count")).sum()).collect();
        let deliveries: Vec<u64> = record.tally.seconds.iter().map(|it| it.deliveries).collect();
        assert_eq!(sums, deliveries);
    }

    /// A person who opens the file sees a field in a line, and a list in one.
    #[test]
    fn a_field_has_its_line() {
        let mut out = Vec::new();
        let value = json!({ "a": { "b": 1, "c": [1, { "d": 2, "e": {} }], "f": {} } });
        let mut serializer = serde_json::Serializer::with_formatter(&mut out, Lines::default());
        value.serialize(&mut serializer).expect("memory");
        let text = String::from_utf8(out).expect("text");
        let lines = [
            "{",
            "  \"a\": {",
            "    \"b\": 1,",
            "    \"c\": [1,{\"d\": 2,\"e\": {}}],",
            "    \"f\": {}",
            "  }",
            "}",
        ];
        assert_eq!(text, lines.join("\n"));
    }
}
