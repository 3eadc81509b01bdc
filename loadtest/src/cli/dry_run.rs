//! What a run would do, in a few lines.

use std::{fmt::Write, time::Duration};

use super::Run;
use crate::{
    options::{Value, spelled},
    plan::{Group, Layout, Plan, Publishing, Spread},
    units::{count, percent, plural, size_text, time_text},
};

/// Describes the run: whom it connects, what it publishes, and what must arrive.
pub fn text(run: &Run) -> String {
    let (order, plan) = (&run.order, &run.order.plan);
    let mut lines = vec![("plan", plan.name.clone())];
    lines.push(("active", group(&plan.active)));
    lines.push(("idle", group(&plan.idle)));
    lines.push(("ramp", format!("{} connections per second", count(plan.ramp.into()))));
    let all: u32 = plan.transports.iter().map(|(_, weight)| weight).sum();
    for (transport, subscribe) in &order.endpoints.subscribe {
        let weight = plan.transports.iter().find(|(it, _)| it == transport).map_or(0, |it| it.1);
        let share = f64::from(weight) / f64::from(all);
        let (host, path) = (&subscribe.host, &subscribe.path);
        let by = if subscribe.tls.is_some() { " by TLS" } else { "" };
        lines.push((
            "subscribe",
            format!("{} {} at {host}{path}{by}", percent(share), spelled(*transport)),
        ));
    }
    if let Some(publish) = &order.endpoints.publish {
        let over = plan.publishing.publishers;
        let plural = plural(over.into(), "connection");
        lines.push(("publish", format!("{} {} over {plural}", publish.method, publish.url)));
    }
    if let Some(bus) = &order.bus {
        let plural = plural(plan.publishing.publishers.into(), "connection");
        lines.push(("publish", format!("{}, to {}, over {plural}", bus.place(), bus.to)));
    }
    lines.extend(publications(plan));
    lines.extend(trouble(plan));
    lines.push(("deliveries", deliveries(plan)));
    lines.push(("takes", format!("about {}", time_text(length(plan)))));
    if !run.slo.is_empty() {
        lines.push(("objectives", run.slo.to_string()));
    }
    lines.iter().fold(String::new(), |mut text, (name, line)| {
        writeln!(text, "{name:<14}{line}").expect("a text takes every line");
        text
    })
}

fn group(group: &Group) -> String {
    if group.connections == 0 {
        return "nobody".to_owned();
    }
    let subscribers = plural(group.connections.into(), "subscriber");
    let spread = match group.spread {
        Spread::Zipf(_) if group.channels > 1 => format!(" ({})", group.spread.text()),
        _ => String::new(),
    };
    format!("{subscribers} of {}{spread}", plural(group.channels.into(), "channel"))
}

fn publications(plan: &Plan) -> Vec<(&'static str, String)> {
    let Publishing { rate_from, rate_to, payload_min, payload_max, .. } = plan.publishing;
    let publishing = &plan.publishing;
    let mut lines = Vec::new();
    if publishing.at_rate() > 0 {
        let rate = if rate_from == rate_to {
            format!("{rate_from} per second")
        } else {
            format!("{rate_from} to {rate_to} per second")
        };
        let bytes = match payload_min == payload_max {
            true => size_text(payload_min.into()),
            false => {
                format!("{} to {}", size_text(payload_min.into()), size_text(payload_max.into()))
            }
        };
        let (all, time) = (count(publishing.at_rate()), time_text(publishing.duration));
        lines.push(("publications", format!("{all}: {rate} for {time}, {bytes} each")));
    }
    if publishing.broadcasts > 0 {
        let (all, every) = (publishing.broadcasts, time_text(publishing.broadcast_every));
        let channels = plural(plan.channels().into(), "channel");
        lines.push(("broadcasts", format!("{all}, {every} apart, each to {channels}")));
    }
    lines
}

fn trouble(plan: &Plan) -> Vec<(&'static str, String)> {
    let (churn, slow) = (&plan.churn, &plan.slow);
    let mut lines = Vec::new();
    if churn.per_second > 0.0 {
        lines.push(("churn", format!("{} per second leave and come back", churn.per_second)));
    }
    if churn.storm_share > 0.0 {
        let (share, every) = (percent(churn.storm_share), time_text(churn.storm_every));
        lines.push(("storms", format!("{share} are cut off every {every}")));
    }
    if slow.share > 0.0 {
        let (share, rate) = (percent(slow.share), size_text(slow.bytes_per_second.into()));
        lines.push(("slow", format!("{share} of the active read {rate} per second")));
    }
    if slow.stalled > 0.0 {
        lines.push(("stalled", format!("{} of the active read nothing", percent(slow.stalled))));
    }
    if plan.resume {
        lines.push(("resume", "whoever comes back asks for what it has missed".to_owned()));
    }
    lines
}

/// How many deliveries there must be if nobody is ever away.
///
/// Every publication goes to the subscribers of its channel, so for a very long run the first
/// million publications stand for all.
fn deliveries(plan: &Plan) -> String {
    let layout = Layout::new(plan);
    let mut subscribers = vec![0u64; plan.channels() as usize];
    for subscriber in 0..plan.connections() {
        subscribers[layout.role(subscriber).channel as usize] += 1;
    }
    let all = plan.publishing.at_rate();
    let walked = all.min(PUBLICATIONS_WALKED);
    let targets = (0..walked).filter_map(|publication| layout.target(publication as u32));
    let sum: u64 = targets.map(|channel| subscribers[channel as usize]).sum();
    let regular = u128::from(sum) * u128::from(all) / u128::from(walked.max(1));
    let broadcasts = u64::from(plan.publishing.broadcasts) * u64::from(plan.connections());
    let about = if walked < all { "about " } else { "" };
    format!("{about}{}", count(u64::try_from(regular).unwrap_or(u64::MAX) + broadcasts))
}

/// From the first connection until nothing can arrive any more.
fn length(plan: &Plan) -> Duration {
    let ramp = plan.connections().div_ceil(plan.ramp);
    let broadcasting = plan.publishing.broadcast_every * plan.publishing.broadcasts;
    Duration::from_secs(ramp.into()) + plan.publishing.duration + broadcasting + plan.settle
}

/// Publications that are dealt out one by one; it takes a fraction of a second.
const PUBLICATIONS_WALKED: u64 = 1_000_000;
