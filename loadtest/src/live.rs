//! What is shown while a run goes on: a few lines that stay where they are on a terminal, log
//! lines elsewhere.
//!
//! It is told what there is to show, several times a second, and measures nothing itself. All
//! goes to standard error, so that standard output has the report alone. A terminal that breaks
//! away does not stop a run.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{
    record::UseSecond,
    units::{bytes, count, millis, number, percent, plural, seconds, short},
};

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The server is started, and limits are looked at.
    Starting,
    /// Subscribers connect.
    Ramp,
    /// Publications are due.
    Publishing,
    /// Broadcasts are due.
    Broadcasts,
    /// Nothing is due any more; what is under way may arrive.
    Settling,
    /// All is over.
    Done,
}

/// What there is to show at one instant.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// How far the run is.
    pub phase: Phase,
    /// How much of that phase is over, 0 to 1.
    pub phase_share: f64,
    /// Since the run began.
    pub elapsed: Duration,
    /// Subscribers that are connected.
    pub connections: u64,
    /// Subscribers that are to be.
    pub requested: u64,
    /// Those that never will be.
    pub failed: u64,
    /// Publications so far.
    pub publications: u64,
    /// What they came to, counted for each subscriber.
    pub deliveries: u64,
    /// The same in the last second.
    pub deliveries_per_second: f64,
    /// The latency that half of them stayed below so far.
    pub p50_micros: Option<f64>,
    /// The latency that 99 % of them stayed below so far.
    pub p99_micros: Option<f64>,
    /// What has gone wrong so far.
    pub faults: u64,
    /// What the server used in the last second, if it is watched.
    pub server: Option<UseSecond>,
    /// What the load tester used in the last second.
    pub client: UseSecond,
}

/// Shows a run.
pub struct Display(Form);

enum Form {
    Quiet,
    Lines(Log),
    Live(Live),
}

impl Display {
    /// A display for standard error, or none.
    pub fn new(is_quiet: bool) -> Display {
        Display(match is_quiet {
            true => Form::Quiet,
            false if io::stderr().is_terminal() => {
                Form::Live(Live::new(ProgressDrawTarget::stderr()))
            }
            false => Form::Lines(Log::default()),
        })
    }

    /// Shows how things are.
    pub fn show(&mut self, snapshot: &Snapshot) {
        match &mut self.0 {
            Form::Quiet => {}
            Form::Lines(log) => log.line(snapshot).as_deref().into_iter().for_each(print),
            Form::Live(live) => live.show(snapshot),
        }
    }

    /// Says something once, above whatever stays in its place.
    pub fn say(&self, text: &str) {
        match &self.0 {
            Form::Quiet => {}
            Form::Lines(_) => print(text),
            // A terminal that takes no more shows nothing either way.
            Form::Live(live) => live.all.println(text).unwrap_or_default(),
        }
    }

    /// Takes away what stays in its place: the report follows.
    pub fn finish(self) {
        if let Form::Live(live) = self.0 {
            live.all.clear().unwrap_or_default();
        }
    }
}

/// The lines that stay where they are.
struct Live {
    all: MultiProgress,
    phase: ProgressBar,
    connections: ProgressBar,
    traffic: ProgressBar,
    latency: ProgressBar,
    server: ProgressBar,
    client: ProgressBar,
    /// Shown from the first fault on.
    faults: Option<ProgressBar>,
}

impl Live {
    fn new(target: ProgressDrawTarget) -> Live {
        let all = MultiProgress::with_draw_target(target);
        let add = |template, name| all.add(bar(template, name));
        Live {
            phase: add(SHARE, ""),
            connections: add(SHARE, "connections"),
            traffic: add(TEXT, "traffic"),
            latency: add(TEXT, "latency"),
            server: add(TEXT, "server"),
            client: add(TEXT, "client"),
            faults: None,
            all,
        }
    }

    fn show(&mut self, snapshot: &Snapshot) {
        let Snapshot { connections, requested, faults, .. } = snapshot;
        self.phase.set_prefix(phase(snapshot.phase));
        self.phase.set_position((snapshot.phase_share.clamp(0.0, 1.0) * STEPS as f64) as u64);
        self.phase.set_message(progress(snapshot));
        let share = connections.saturating_mul(STEPS) / (*requested).max(1);
        self.connections.set_position(share.min(STEPS));
        self.connections.set_message(connected(snapshot));
        self.traffic.set_message(traffic(snapshot));
        self.latency.set_message(latency(snapshot));
        let server = snapshot.server.map_or("not watched".to_owned(), |it| used(&it));
        self.server.set_message(server);
        self.client.set_message(used(&snapshot.client));
        if *faults > 0 {
            let line = self.faults.get_or_insert_with(|| self.all.add(bar(FAULTS, "faults")));
            line.set_message(count(*faults));
        }
    }
}

/// What is told line by line: every change of phase, and how things are every few seconds.
#[derive(Default)]
struct Log {
    told: Option<(Phase, Duration)>,
}

impl Log {
    /// The line that is due, if one is.
    fn line(&mut self, snapshot: &Snapshot) -> Option<String> {
        let (phase, now) = (snapshot.phase, snapshot.elapsed);
        let is_due = match self.told {
            Some((told, at)) => told != phase || now >= at + LINE_EVERY,
            None => true,
        };
        is_due.then(|| {
            self.told = Some((phase, now));
            in_one_line(snapshot)
        })
    }
}

fn in_one_line(snapshot: &Snapshot) -> String {
    let mut line = format!(
        "[{:>4} s] {} {}: {} connected; {}; latency {}",
        snapshot.elapsed.as_secs(),
        phase(snapshot.phase),
        percent(snapshot.phase_share),
        connected(snapshot),
        traffic(snapshot),
        latency(snapshot),
    );
    if let Some(server) = &snapshot.server {
        line += &format!("; server {}", used(server));
    }
    line += &format!("; client {}", used(&snapshot.client));
    if snapshot.faults > 0 {
        line += &format!("; {}", plural(snapshot.faults, "fault"));
    }
    line
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Starting => "starting",
        Phase::Ramp => "connecting",
        Phase::Publishing => "publishing",
        Phase::Broadcasts => "broadcasting",
        Phase::Settling => "settling",
        Phase::Done => "done",
    }
}

fn progress(snapshot: &Snapshot) -> String {
    let whole = Duration::from_secs(snapshot.elapsed.as_secs());
    format!("{} after {}", percent(snapshot.phase_share), seconds(whole.as_secs_f64()))
}

fn connected(snapshot: &Snapshot) -> String {
    let failed = match snapshot.failed {
        0 => String::new(),
        failed => format!(" ({} failed)", count(failed)),
    };
    format!("{} of {}{failed}", count(snapshot.connections), count(snapshot.requested))
}

fn traffic(snapshot: &Snapshot) -> String {
    format!(
        "{} of {} ({}/s)",
        deliveries(snapshot.deliveries),
        plural(snapshot.publications, "publication"),
        short(snapshot.deliveries_per_second),
    )
}

/// It is they that are counted, and not a part of the publications.
fn deliveries(number: u64) -> String {
    format!("{} {}", count(number), if number == 1 { "delivery" } else { "deliveries" })
}

fn latency(snapshot: &Snapshot) -> String {
    match (snapshot.p50_micros, snapshot.p99_micros) {
        (Some(p50), Some(p99)) => {
            format!("p50 {}, p99 {}", millis(p50 / 1e3), millis(p99 / 1e3))
        }
        _ => "not measured yet".into(),
    }
}

fn used(used: &UseSecond) -> String {
    format!("{} processors, {}", number(used.processors), bytes(used.resident as f64))
}

fn bar(template: &str, name: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("a template of ours");
    ProgressBar::new(STEPS).with_style(style.progress_chars("━╸─")).with_prefix(name)
}

/// A closed standard error does not stop a run.
fn print(line: &str) {
    writeln!(io::stderr(), "{line}").unwrap_or_default();
}

/// Log lines in one phase are this far apart.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Steps of a bar: finer than any terminal shows.
const STEPS: u64 = 1000;

const SHARE: &str = "{prefix:12} {bar:30.cyan/dim} {wide_msg}";
const TEXT: &str = "{prefix:12} {wide_msg}";
const FAULTS: &str = "{prefix:12.red.bold} {wide_msg:.red.bold}";

#[cfg(test)]
mod tests {
    use indicatif::InMemoryTerm;

    use super::*;

    fn snapshot() -> Snapshot {
        Snapshot {
            phase: Phase::Publishing,
            phase_share: 0.5,
            elapsed: Duration::from_millis(65_900),
            connections: 750_000,
            requested: 1_000_000,
            failed: 0,
            publications: 30,
            deliveries: 3_000_000,
            deliveries_per_second: 100_200.0,
            p50_micros: Some(58_530.0),
            p99_micros: Some(145_000.0),
            faults: 0,
            server: Some(UseSecond { processors: 0.44, resident: 92_000_000 }),
            client: UseSecond { processors: 1.2, resident: 88_000_000 },
        }
    }

    fn spoiled() -> Snapshot {
        Snapshot { failed: 12, faults: 1, server: None, ..snapshot() }
    }

    fn live(columns: u16) -> (InMemoryTerm, Live) {
        let term = InMemoryTerm::new(12, columns);
        // A rate at which no draw is left out.
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(term.clone()), 255);
        (term, Live::new(target))
    }

    /// All that is known stands on the terminal, each in its line, and faults are not before
    /// there are any.
    ///
    /// Method: the screen of a terminal in memory, to the letter.
    #[test]
    fn a_terminal_shows_how_things_are() {
        let (term, mut live) = live(80);
        live.show(&snapshot());
        live.all.println("server started").expect("memory");
        assert_eq!(term.contents(), SCREEN);
        live.show(&spoiled());
        live.all.println("one was lost").expect("memory");
        assert_eq!(term.contents(), SPOILED);
        live.all.clear().expect("memory");
        assert_eq!(term.contents(), "server started\none was lost");
    }

    /// What does not fit is cut off: a line that wrapped would be drawn again and again.
    #[test]
    fn a_narrow_terminal_gets_one_line_of_each() {
        let (term, mut live) = live(60);
        live.show(&spoiled());
        live.all.println("x").expect("memory");
        assert_eq!(term.contents().lines().count(), 8, "{}", term.contents());
    }

    #[test]
    fn a_log_line_says_all() {
        assert_eq!(
            in_one_line(&snapshot()),
            "[  65 s] publishing 50 %: 750,000 of 1,000,000 connected; 3,000,000 deliveries of 30 \
             publications (100k/s); latency p50 58.5 ms, p99 145 ms; server 0.44 processors, 92 MB; \
             client 1.2 processors, 88 MB"
        );
        let early = Snapshot { p50_micros: None, publications: 1, deliveries: 1, ..spoiled() };
        assert_eq!(
            in_one_line(&early),
            "[  65 s] publishing 50 %: 750,000 of 1,000,000 (12 failed) connected; 1 delivery of 1 \
             publication (100k/s); latency not measured yet; \
             client 1.2 processors, 88 MB; 1 fault"
        );
    }

    /// A log has a line for each phase, and one every five seconds within it.
    #[test]
    fn a_log_tells_every_phase_and_every_five_seconds() {
        let mut log = Log::default();
        let told = (0..=240).filter_map(|tenth: u64| {
            let phase = if tenth < 123 { Phase::Ramp } else { Phase::Publishing };
            let elapsed = Duration::from_millis(100 * tenth);
            log.line(&Snapshot { phase, elapsed, ..snapshot() }).map(|_| tenth)
        });
        assert_eq!(told.collect::<Vec<_>>(), [0, 50, 100, 123, 173, 223]);
    }

    const SCREEN: &str = "\
server started
publishing   ━━━━━━━━━━━━━━━╸────────────── 50 % after 65 s
connections  ━━━━━━━━━━━━━━━━━━━━━━╸─────── 750,000 of 1,000,000
traffic      3,000,000 deliveries of 30 publications (100k/s)
latency      p50 58.5 ms, p99 145 ms
server       0.44 processors, 92 MB
client       1.2 processors, 88 MB";

    const SPOILED: &str = "\
server started
one was lost
publishing   ━━━━━━━━━━━━━━━╸────────────── 50 % after 65 s
connections  ━━━━━━━━━━━━━━━━━━━━━━╸─────── 750,000 of 1,000,000 (12 failed)
traffic      3,000,000 deliveries of 30 publications (100k/s)
latency      p50 58.5 ms, p99 145 ms
server       not watched
client       1.2 processors, 88 MB
faults       1";
}
