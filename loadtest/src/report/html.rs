//! `--html`: the report as one page that needs nothing else: no script, no font, no network.
//!
//! It says what the table says, in the same words, and shows it over time. Every text from
//! elsewhere is [`escaped`]; a server's errors may contain anything.

use std::fmt::Write;

use crate::{
    record::Record,
    units::{bytes, count, millis, number, plural, short},
};

use super::{
    Figures, Outcome, Verdict,
    plots::{self, COLUMNS_MAX, HALF, WIDE},
    series::Series,
    when::rfc3339,
    words::{self, Line, TIMES},
};

/// The report as a page.
pub fn page(record: &Record, verdict: &Verdict) -> String {
    let figures = Figures::of(record);
    let series = Series::of(record, COLUMNS_MAX);
    let name = escaped(&record.plan.name);
    let mut page = head(&name);
    page += &heading(record, &name);
    page += "<main>\n";
    page += &conclusion(record, verdict, &figures);
    page += &tiles(&figures);
    page += &plots(record, &figures, &series);
    page += &tables(record, &figures);
    page += &plan(record);
    page += "</main>\n<footer>Latencies count from when a publication was due, whenever it was \
             sent.</footer>\n</body>\n</html>\n";
    page
}

/// A text that means nothing but itself, in an element or an attribute.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(letter),
        }
    }
    safe
}

fn head(name: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{name} – load test</title>\n<link rel=\"icon\" href=\"data:,\">\n\
         <style>\n{STYLE}{}</style>\n</head>\n<body>\n",
        plots::css(),
    )
}

fn heading(record: &Record, name: &str) -> String {
    format!(
        "<header>\n<h1>{name}</h1>\n<p>{} at {}</p>\n<p>begun <time>{}</time> on {}</p>\n</header>\n",
        escaped(&record.profile),
        escaped(&words::target(record)),
        rfc3339(record.began),
        escaped(&words::machine(record)),
    )
}

fn conclusion(record: &Record, verdict: &Verdict, figures: &Figures) -> String {
    let class = if verdict.outcome == Outcome::Passed { "good" } else { "bad" };
    let mut lines = format!("<p>{}</p>\n", escaped(&words::conclusion(record, verdict)));
    for line in words::objectives(verdict) {
        lines += &format!("<p>{}</p>\n", escaped(&line));
    }
    if let Some(caution) = words::caution(figures) {
        lines += &format!("<p class=\"caution\">{}</p>\n", escaped(caution));
    }
    format!("<section class=\"card verdict {class}\" aria-label=\"Verdict\">\n{lines}</section>\n")
}

/// The figures that people look for first.
fn tiles(figures: &Figures) -> String {
    let Figures { connections, deliveries, .. } = figures;
    let none = || "–".to_owned();
    let rate = deliveries.per_second.map_or(String::new(), |rate| format!("{}/s", number(rate)));
    let latency = figures.latency_ms;
    let half = latency.map_or(String::new(), |it| format!("half within {}", millis(it.p50)));
    let spread = figures.broadcast_spread_ms.or(figures.spread_ms);
    let last = match (spread, figures.broadcast_spread_ms) {
        (Some(_), Some(_)) => "of a broadcast".into(),
        (Some(spread), None) => format!("half within {}", millis(spread.p50)),
        (None, _) => String::new(),
    };
    let server = figures.server.as_ref();
    let each = server.and_then(|server| server.cpu_us_per_delivery);
    let resident = server.and_then(|server| server.rss_bytes_per_connection);
    let all = server.map_or("server not watched".into(), |it| {
        let warm_up = words::warm_up(connections.established);
        format!("{} resident{warm_up}", bytes(it.rss_bytes as f64))
    });
    let cpu = server.map_or("server not watched".into(), |_| "of the server".into());
    let tiles = [
        (
            "Connections",
            count(connections.established),
            format!("of {}", count(connections.requested)),
        ),
        ("Deliveries", count(deliveries.received), rate),
        ("Latency, p99", latency.map_or_else(none, |it| millis(it.p99)), half),
        ("Last subscriber", spread.map_or_else(none, |it| millis(it.max)), last),
        ("CPU per delivery", each.map_or_else(none, |it| format!("{} µs", number(it))), cpu),
        ("RSS per connection", resident.map_or_else(none, bytes), all),
    ];
    let tiles = tiles.map(|(name, value, note)| {
        format!("<div class=\"card tile\"><h2>{name}</h2><b>{value}</b><p>{note}</p></div>\n")
    });
    format!("<section class=\"tiles\" aria-label=\"Figures\">\n{}</section>\n", tiles.concat())
}

fn plots(record: &Record, figures: &Figures, series: &Series) -> String {
    let mut all = String::from("<section class=\"plots\" aria-label=\"Plots\">\n");
    if let (Some(wide), Some(narrow)) =
        (plots::heat_map(series, WIDE), plots::heat_map(series, HALF))
    {
        let both = format!("<div class=\"wide\">{wide}</div><div class=\"narrow\">{narrow}</div>");
        all += &figure("full", "Delivery latency over time", &scale(series), &both);
    }
    if let Some(plot) = plots::percentiles(&record.tally.times.delivery) {
        all += &figure("", "Delivery latency by percentile", "", &plot);
    }
    all += &times(figures);
    if !series.columns.is_empty() {
        let whose = whose(record);
        all += &figure("", "Deliveries per second", "", &plots::deliveries(series));
        all += &figure("", "Connections", "", &plots::connections(series));
        all += &figure("", "Processors in use", &whose, &plots::processors(series));
        all += &figure("", "Resident memory", &whose, &plots::memory(series));
    }
    all += "</section>\n";
    if series.columns.is_empty() {
        return all;
    }
    let step = plural(series.step as u64, "second");
    let shaded = series.publishing().map_or("", |_| {
        " Shaded: publications were arriving; in the first and the last column for a part of it."
    });
    writeln!(all, "<p class=\"note\">One column is {step}.{shaded}</p>").expect("memory");
    all
}

fn figure(class: &str, title: &str, legend: &str, plot: &str) -> String {
    format!(
        "<figure class=\"card {class}\"><figcaption><h2>{title}</h2>{legend}</figcaption>\n\
         {plot}</figure>\n"
    )
}

/// What the colours of the heat map stand for.
fn scale(series: &Series) -> String {
    let Some((least, most)) = plots::legend(series) else { return String::new() };
    let swatches: String = (0..plots::LEVELS)
        .map(|level| format!("<i style=\"background: var(--heat-{level})\"></i>"))
        .collect();
    format!("<span class=\"scale\">deliveries/s: {}{swatches}{}</span>", short(least), short(most))
}

/// Whose line is which, of those that there are.
fn whose(record: &Record) -> String {
    let server = record.server.is_some().then_some("server");
    let names = server.into_iter().chain(["client"]);
    let name = |name| format!("<span><i style=\"background: var(--{name})\"></i>{name}</span>");
    names.map(name).collect()
}

fn times(figures: &Figures) -> String {
    let lines = words::times(figures);
    if lines.is_empty() {
        return String::new();
    }
    let heading = TIMES.map(|name| format!("<th scope=\"col\">{name}</th>")).concat();
    let rows = lines.iter().map(|line| {
        let columns = line.columns.each_ref().map(|time| format!("<td>{time}</td>")).concat();
        format!("<tr><th scope=\"row\">{}</th>{columns}</tr>\n", line.name)
    });
    let note = words::note_on_times(figures)
        .map_or(String::new(), |note| format!("<p class=\"note\">{note}</p>"));
    format!(
        "<div class=\"card\"><h2>How long things took</h2><div class=\"scroll\"><table>\n\
         <thead><tr><th></th>{heading}</tr></thead>\n<tbody>\n{}</tbody></table></div>{note}</div>\n",
        rows.collect::<String>(),
    )
}

fn tables(record: &Record, figures: &Figures) -> String {
    let tables = [
        ("full", "What went wrong", words::faults_in_words(record)),
        ("", "What was done", words::traffic(figures)),
        ("", "What it took", words::use_of_machines(record, figures)),
    ];
    let filled = tables.iter().filter(|(_, _, lines)| !lines.is_empty());
    let cards = filled.map(|(class, title, lines)| {
        format!(
            "<div class=\"card {class}\"><h2>{title}</h2><dl>\n{}</dl></div>\n",
            definitions(lines)
        )
    });
    format!("<section class=\"tables\">\n{}</section>\n", cards.collect::<String>())
}

fn definitions(lines: &[Line]) -> String {
    let line = |line: &Line| format!("<dt>{}</dt><dd>{}</dd>\n", line.name, escaped(&line.says));
    lines.iter().map(line).collect()
}

fn plan(record: &Record) -> String {
    let plan = serde_json::to_string_pretty(&record.plan).expect("a plan's keys are texts");
    format!(
        "<details class=\"card\"><summary>The plan</summary><pre>{}</pre></details>\n",
        escaped(&plan)
    )
}

const STYLE: &str = include_str!("page.css");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{report::sample, tally::Second};

    fn page_of(record: &Record) -> String {
        page(record, &Verdict::of(record, None, vec![]))
    }

    /// The contents of an attribute, wherever a page has it.
    fn attributes<'a>(page: &'a str, name: &str) -> Vec<&'a str> {
        let opening = format!(" {name}=\"");
        let after = page.split(&opening[..]).skip(1);
        after.map(|rest| rest.split_once('"').expect("it is closed").0).collect()
    }

    /// A page opens without a network, and runs nothing.
    #[test]
    fn a_page_needs_nothing_else() {
        for record in [sample::million(), sample::broken(), sample::silent()] {
            let page = page_of(&record);
            for word in ["http:", "https:", "src=", "url(", "@import", "<script", "<link rel=\"s"] {
                assert!(!page.contains(word), "{}: {word}", record.plan.name);
            }
            assert_eq!(attributes(&page, "href"), ["data:,"]);
        }
    }

    #[test]
    fn what_a_server_says_stays_text() {
        let page = page_of(&sample::broken());
        let error = "1 × 503 Service Unavailable: \
                     &lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;";
        assert!(page.contains(error), "{page}");
        assert!(page.contains("<h1>small &lt;i&gt;</h1>"), "{page}");
        assert_eq!(escaped("a\"b"), "a&quot;b");
    }

    /// Every element is closed in its turn, whatever the record has or has not.
    ///
    /// Method: a stack of the names between `<` and `>`, which escaped texts do not contain.
    #[test]
    fn elements_are_closed() {
        for record in [sample::million(), sample::broken(), sample::silent()] {
            let page = page_of(&record);
            let mut open: Vec<&str> = Vec::new();
            for tag in page.split('<').skip(1).map(|rest| rest.split_once('>').expect("closed").0) {
                let name = tag.split([' ', '\n']).next().expect("a name");
                let is_void = ["!doctype", "meta", "link"].contains(&name) || tag.ends_with('/');
                match name.strip_prefix('/') {
                    Some(name) => assert_eq!(open.pop(), Some(name), "{tag}"),
                    None if is_void => {}
                    None => open.push(name),
                }
            }
            assert_eq!(open, Vec::<&str>::new(), "{}", record.plan.name);
        }
    }

    /// The page says what the table says.
    #[test]
    fn a_page_has_every_line_of_the_table() {
        for record in [sample::million(), sample::broken(), sample::silent()] {
            let (page, figures) = (page_of(&record), Figures::of(&record));
            let lines = [
                words::traffic(&figures),
                words::use_of_machines(&record, &figures),
                words::faults_in_words(&record),
            ];
            for line in lines.concat() {
                let shown = format!("<dt>{}</dt><dd>{}</dd>", line.name, escaped(&line.says));
                assert!(page.contains(&shown), "{shown}");
            }
            for line in words::times(&figures) {
                let cells = line.columns.map(|time| format!("<td>{time}</td>")).concat();
                let shown = format!("<tr><th scope=\"row\">{}</th>{cells}</tr>", line.name);
                assert!(page.contains(&shown), "{shown}");
            }
        }
    }

    /// Each plot that has something to show is there, with a name for those who cannot see it.
    #[test]
    fn every_plot_has_a_name() {
        let named = |record: &Record| -> Vec<String> {
            let page = page_of(record);
            let plots = page.split("<svg ").skip(1);
            plots.map(|plot| attributes(&format!(" {plot}"), "aria-label")[0].to_owned()).collect()
        };
        let all = [
            "Delivery latency over time",
            "Delivery latency over time",
            "Delivery latency by percentile",
            "Deliveries per second over time",
            "Connections over time",
            "Processors in use over time",
            "Resident memory over time",
        ];
        assert_eq!(named(&sample::million()), all);
        assert_eq!(named(&sample::silent()), Vec::<String>::new());
    }

    /// The shortest run that there is, and one in which nothing arrived, have what they can have.
    #[test]
    fn a_page_has_the_plots_that_its_run_allows() {
        let mut record = sample::million();
        record.tally.seconds.drain(..35);
        record.tally.seconds.truncate(1);
        assert_eq!(page_of(&record).matches("<svg ").count(), 7);
        let mut record = sample::silent();
        record.tally.seconds = vec![Second::default(); 3];
        assert_eq!(page_of(&record).matches("<svg ").count(), 4);
    }

    /// No colour of a plot stays as it is in the dark.
    #[test]
    fn every_colour_of_a_plot_follows_the_page() {
        let page = page_of(&sample::million());
        for kind in ["fill", "stroke"] {
            let hexes = attributes(&page, kind);
            assert!(hexes.len() > 50, "{kind}: {hexes:?}");
            for hex in hexes.into_iter().filter(|hex| *hex != "none") {
                let rule = format!("svg [{kind}=\"{hex}\"] {{ {kind}: var(--");
                let (_, rest) = page.split_once(&rule).expect(hex);
                let name = rest.split_once(')').expect("closed").0;
                assert_eq!(page.matches(&format!("--{name}: #")).count(), 2, "{name}");
            }
        }
    }

    /// A day's page stays small enough to be sent around.
    #[test]
    fn a_long_run_makes_no_large_page() {
        let mut record = sample::million();
        let seconds = record.tally.seconds.clone();
        record.tally.seconds = seconds.into_iter().cycle().take(86_400).collect();
        let size = page_of(&record).len();
        assert!(size < 1_000_000, "{size}");
    }
}
