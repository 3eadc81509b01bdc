//! The table that a run ends with on a terminal: plain text, the verdict last.

use crate::record::Record;

use super::{
    Figures, Verdict,
    when::rfc3339,
    words::{self, Line, TIMES, TimeLine},
};

/// The report as a table.
pub fn text(record: &Record, verdict: &Verdict) -> String {
    let figures = Figures::of(record);
    let mut blocks = vec![
        heading(record),
        lines(&words::traffic(&figures)),
        times(&figures),
        lines(&words::use_of_machines(record, &figures)),
        lines(&words::faults_in_words(record)),
        words::caution(&figures).map_or(String::new(), |caution| format!("{caution}\n")),
    ];
    let mut end = words::objectives(verdict);
    end.push(words::conclusion(record, verdict));
    blocks.push(end.iter().map(|line| format!("{line}\n")).collect());
    blocks.retain(|block| !block.is_empty());
    blocks.join("\n")
}

fn heading(record: &Record) -> String {
    format!(
        "{}: {} at {}\nbegun {} on {}\n",
        record.plan.name,
        record.profile,
        words::target(record),
        rfc3339(record.began),
        words::machine(record),
    )
}

/// Names to the left, what is said of them below each other.
fn lines(lines: &[Line]) -> String {
    let line = |line: &Line| format!("{:NAME$}  {}\n", line.name, line.says);
    lines.iter().map(line).collect()
}

fn times(figures: &Figures) -> String {
    let lines = words::times(figures);
    if lines.is_empty() {
        return String::new();
    }
    let heading = row("", TIMES);
    let cells = |line: &TimeLine| row(line.name, line.columns.each_ref().map(|it| &it[..]));
    let rows: String = lines.iter().map(cells).collect();
    let note = words::note_on_times(figures).map_or(String::new(), |note| format!("{note}\n"));
    format!("{heading}{rows}{note}")
}

fn row(name: &str, columns: [&str; 5]) -> String {
    let columns: String = columns.iter().map(|column| format!("{column:>COLUMN$}")).collect();
    format!("{name:TIME_NAME$}{columns}\n")
}

/// Letters for the name of a line.
const NAME: usize = 19;

/// Letters for the name of a line of times: the longest is `broadcasts, until the last`.
const TIME_NAME: usize = 26;

/// Letters for a time, with two to keep it apart: `58.5 ms`.
const COLUMN: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{report::sample, slo::Miss};

    /// The whole table of a run without a fault, to the letter.
    #[test]
    fn a_clean_run_ends_with_its_proof() {
        let record = sample::million();
        let verdict = Verdict::of(&record, Some("p99=10s,loss=0".into()), vec![]);
        assert_eq!(text(&record, &verdict), CLEAN);
    }

    /// The whole table of a run with every fault, to the letter.
    #[test]
    fn a_broken_run_names_its_faults_and_whose_the_latencies_are() {
        let record = sample::broken();
        let miss = Miss { objective: "loss", limit: "0".into(), measured: "4".into() };
        let verdict = Verdict::of(&record, Some("loss=0".into()), vec![miss]);
        assert_eq!(text(&record, &verdict), BROKEN);
    }

    /// No figure is made up where nothing happened.
    #[test]
    fn a_silent_run_shows_no_figure_that_nobody_measured() {
        let record = sample::silent();
        let text = text(&record, &Verdict::of(&record, None, vec![]));
        for word in ["p99", "latency", "NaN", "inf", "per "] {
            assert!(!text.contains(word), "{word}: {text}");
        }
        assert!(text.ends_with("\nnothing was to be delivered, and nothing was\n"), "{text}");
    }

    const CLEAN: &str = "\
million: stentor at ws://127.0.0.1:8080/ws/{channel}
begun 2026-09-21T14:13:20Z on 2 processors (AMD EPYC), 25.2 GB of memory, Linux 6.18.5

connections          1,000,000 of 1,000,000 in 33.3 s (30,000/s)
publications         63 of 63, each sent within 3.2 ms of its due time
deliveries           9,000,000 of 9,000,000 in 72 s (125,000/s)

                                 p50       p90       p99     p99.9       max
delivery latency              117 ms    4.06 s    5.63 s    5.85 s     5.9 s
of that, reading at most       50 ms     90 ms     99 ms   99.9 ms    100 ms
until the last subscriber     209 ms                                  239 ms
broadcasts, until the last     5.8 s                                   5.9 s
connecting                    290 µs    490 µs    535 µs    539 µs    540 µs
handshake                     4.8 ms   8.41 ms   9.21 ms   9.29 ms    9.3 ms
first publication               10 s      18 s    19.8 s      20 s      20 s
First publication: from the handshake on, and so with the wait until something was due.

server CPU           27.5 s: 3.06 µs per delivery
server memory        92 MB: 73 B per connection
kernel memory        9.1 GB: 9.1 kB per connection, both ends
server load          not saturated (in 2 % of the seconds or deliveries)
client CPU           31.2 s
client memory        88 MB: 81.5 B per connection
client load          not saturated (in 4 % of the seconds or deliveries)

objectives met: p99=10s,loss=0
nothing lost: 9,000,000 of 9,000,000 deliveries
";

    const BROKEN: &str = "\
small <i>: stentor at ws://127.0.0.1:8080/ws/{channel}
begun 2026-09-21T14:13:20Z on 2 processors (AMD EPYC), 25.2 GB of memory, Linux 6.18.5

connections          97 of 100 in 0.5 s (194/s); 12 came back
publications         49 of 50, each sent within 740 µs of its due time
deliveries           4,749 of 4,753 in 10 s (475/s); 2 slow readers closed, as the plan allows
storms               1, 8 cut off; 7 came back, the last after 0.07 s (100/s)
resumed              10 times (1/s), 90 % recovered; 41 publications from the history
announced gaps       3, with 17 publications

                                 p50       p90       p99     p99.9       max
delivery latency             1.14 ms   1.34 ms   1.38 ms   1.38 ms   1.38 ms
until the last subscriber    1.14 ms                                 1.38 ms

server               was not watched
client CPU           0.812 s (the sum of coordinator and agents)
client memory        9.7 MB: 100 kB per connection, mostly warm-up (the sum of coordinator and agents)
client load          saturated in 25 % of the seconds or deliveries (the worst of coordinator and agents)
agent                10.0.0.2:7000: not saturated; its clock 1.2 ms behind, give or take 80 µs

lost                 4
corrupt              3
duplicated           2
repeated             1
in unannounced gaps  2
falsely recovered    3
falsely in gaps      1
reordered            1
closed unexpectedly  1
failed to connect    3
failed to publish    1
connecting           3 × 403 Forbidden
                     9 × connection refused
publishing           1 × 503 Service Unavailable: <script>alert('&')</script>
delivering           3 × corrupt: busy-3: checksum of 17 is wrong
                     4 × lost: busy-1: 40

The client was saturated: the latencies are an upper bound, and not the server's.

objective missed: loss was 4; at most 0 was allowed
failed: 4 lost, 3 corrupt, 2 duplicated, 1 repeated, 2 in unannounced gaps, 3 falsely recovered, 1 falsely in gaps, 1 reordered, 1 closed unexpectedly, 3 failed to connect, 1 failed to publish (4,749 of 4,753 deliveries)
";
}
