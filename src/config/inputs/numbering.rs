//! Who numbers the publications of an input: its bus, where exactly one sequence of the bus feeds each
//! channel, and else this edge.
#![forbid(unsafe_code)]

use super::{
    super::channels::Channels,
    Trouble,
    draft::{Entry, Positions},
};
use crate::{
    inputs::{LinesFrom, Source},
    policy::Pattern,
};

/// Whether anything is kept of a channel that these patterns match.
pub fn keeps_any(channels: &Channels, patterns: &[Pattern]) -> bool {
    let policies: Vec<_> = channels.policies().iter().collect();
    // The last are channels that tell the presence of others: no input feeds them.
    let kept = policies.iter().rev().skip(1).filter(|(_, _, policy)| !policy.history.is_none());
    kept.into_iter().any(|(_, kept, _)| patterns.iter().any(|pattern| overlap(kept, pattern)))
}

/// For each input whether its bus numbers its publications, and warnings where it could have.
pub fn decide(entries: &[Entry]) -> Result<(Vec<bool>, Vec<String>), Vec<Trouble>> {
    let patterns: Vec<_> = entries.iter().map(|entry| entry.input.feeds()).collect();
    let (mut decisions, mut warnings, mut troubles) = (Vec::new(), Vec::new(), Vec::new());
    for (at, entry) in entries.iter().enumerate() {
        let obstacle = by_itself(entry).or_else(|| beside(entries, &patterns, at));
        decisions.push(entry.positions != Positions::Local && obstacle.is_none());
        let Some(Obstacle { why, right }) = obstacle else { continue };
        let label = entry.label();
        match entry.positions {
            Positions::Bus => troubles.push(Trouble {
                problem: format!("has 'positions=bus' for {label}, which cannot be: {why}"),
                right,
            }),
            Positions::Auto if has_log(&entry.input.source) => warnings.push(format!(
                "input {label}: its channels are numbered by this edge and not by the bus, so \
                 clients cannot resume at another edge: {why}; {right}, or positions=local to \
                 leave it so"
            )),
            Positions::Auto | Positions::Local => (),
        }
    }
    if troubles.is_empty() { Ok((decisions, warnings)) } else { Err(troubles) }
}

/// What keeps a bus from numbering.
struct Obstacle {
    why: String,
    right: String,
}

fn obstacle(why: impl Into<String>, right: impl Into<String>) -> Option<Obstacle> {
    Some(Obstacle { why: why.into(), right: right.into() })
}

/// Whether the bus keeps records in a numbered log.
fn has_log(source: &Source) -> bool {
    match source {
        Source::JetStream(_)
        | Source::RedisStreams(_)
        | Source::Kafka(_)
        | Source::AmqpStream(_) => true,
        Source::Nats(_) | Source::RedisChannels(_) | Source::Amqp(_) | Source::Mqtt(_) => false,
        Source::Lines(_) => false,
    }
}

fn by_itself(entry: &Entry) -> Option<Obstacle> {
    let channel = &entry.input.mapping.channel;
    match &entry.input.source {
        Source::JetStream(_) | Source::AmqpStream(_) => None,
        Source::RedisStreams(it) => apart(entry, "stream", &it.streams),
        Source::Kafka(_) if !channel.has("partition") => obstacle(
            "each partition has a sequence of its own, and the template puts several into one channel",
            "write {partition} into it, like channel={topic}.{partition}",
        ),
        Source::Kafka(it) => apart(entry, "topic", &it.topics),
        Source::Lines(lines) => {
            let from = match lines.from {
                LinesFrom::Stdin => "a pipe has",
                LinesFrom::Unix(_) | LinesFrom::Tcp(_) => "a socket has",
            };
            obstacle(format!("{from} no numbers"), "leave positions out")
        }
        Source::Nats(_) | Source::RedisChannels(_) | Source::Amqp(_) | Source::Mqtt(_) => {
            let right = match entry.kind.name {
                "nats" => "leave positions out, or read a stream with jetstream",
                "redis" => "leave positions out, or read streams with redis-stream",
                "amqp" => "leave positions out, or read a stream queue with amqp-stream",
                _ => "leave positions out",
            };
            obstacle(format!("{} have no numbers", entry.kind.about), right)
        }
    }
}

/// What keeps the sequences of one input from feeding channels of their own.
fn apart(entry: &Entry, field: &'static str, values: &[String]) -> Option<Obstacle> {
    let channel = &entry.input.mapping.channel;
    let pattern = |value: &String| channel.pattern(|name| (name == field).then(|| value.clone()));
    let patterns: Vec<_> = values.iter().map(pattern).collect();
    let (one, other) = first_overlap(&patterns)?;
    let (one, other) = (&values[one], &values[other]);
    obstacle(
        format!("the {field}s '{one}' and '{other}' can both feed one channel"),
        format!("write {{{field}}} into the template, set apart from what else is in it"),
    )
}

fn first_overlap(patterns: &[Pattern]) -> Option<(usize, usize)> {
    let pairs =
        (0..patterns.len()).flat_map(|one| (one + 1..patterns.len()).map(move |it| (one, it)));
    pairs.into_iter().find(|&(one, other)| overlap(&patterns[one], &patterns[other]))
}

/// What another input has in common with this one.
fn beside(entries: &[Entry], patterns: &[Vec<Pattern>], at: usize) -> Option<Obstacle> {
    let meet = |other: &usize| {
        let pairs = patterns[at]
            .iter()
            .flat_map(|one| patterns[*other].iter().map(move |other| (one, other)));
        *other != at && pairs.into_iter().any(|(one, other)| overlap(one, other))
    };
    let shares = |other: &usize| {
        let (one, other_logs) = (logs(&entries[at]), logs(&entries[*other]));
        *other != at && one.iter().any(|log| other_logs.contains(log))
    };
    // Homes know a log by its numbering, and one that came twice would be taken for repeats.
    if let Some(other) = (0..entries.len()).find(shares) {
        return obstacle(
            format!("the input {} reads the same", entries[other].label()),
            "let one input read all of it, with a template that tells its channels apart",
        );
    }
    let other = (0..entries.len()).find(meet)?;
    obstacle(
        format!("the input {} can feed the same channels", entries[other].label()),
        "give one of the two a channel of its own, like channel=other.{…}".replace("{…}", "NAME"),
    )
}

/// The logs that an input reads, as their numbering tells them: not by their servers' addresses, of
/// which one bus may have several.
fn logs(entry: &Entry) -> Vec<(&'static str, &str)> {
    match &entry.input.source {
        Source::JetStream(it) => vec![("stream", &*it.stream)],
        Source::RedisStreams(it) => it.streams.iter().map(|key| ("key", &**key)).collect(),
        Source::Kafka(it) => it.topics.iter().map(|topic| ("topic", &**topic)).collect(),
        Source::AmqpStream(it) => vec![("queue", &*it.queue)],
        Source::Nats(_)
        | Source::RedisChannels(_)
        | Source::Amqp(_)
        | Source::Mqtt(_)
        | Source::Lines(_) => vec![],
    }
}

/// Whether some name matches both patterns.
fn overlap(one: &Pattern, other: &Pattern) -> bool {
    let (one, other) = (one.as_str().as_bytes(), other.as_str().as_bytes());
    let plain = one.iter().zip(other).take_while(|(a, b)| **a != b'*' && **b != b'*');
    let start = plain.clone().count();
    if plain.into_iter().any(|(a, b)| a != b) {
        return false;
    }
    let (one, other) = (&one[start..], &other[start..]);
    // `can[j]`: the rest of `one` from here and of `other` from `j` match some common text.
    let mut can = vec![false; other.len() + 1];
    for at in (0..=one.len()).rev() {
        let mut next = vec![false; other.len() + 1];
        for by in (0..=other.len()).rev() {
            let (a, b) = (one.get(at), other.get(by));
            next[by] = match (a, b) {
                (None, None) => true,
                (Some(b'*'), _) => can[by] || (by < other.len() && next[by + 1]),
                (_, Some(b'*')) => next[by + 1] || (at < one.len() && can[by]),
                (Some(a), Some(b)) => a == b && can[by + 1],
                _ => false,
            };
        }
        can = next;
    }
    can[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two patterns overlap where some name matches both.
    ///
    /// Method: names of up to four letters are tried out against the patterns of up to four.
    #[test]
    fn patterns_overlap_where_a_name_says_so() {
        let texts = |letters: &[&str], most: usize| {
            let mut all = vec![String::new()];
            let mut last = all.clone();
            for _ in 0..most {
                let longer = |text: &String| {
                    letters.iter().map(move |it| format!("{text}{it}")).collect::<Vec<_>>()
                };
                last = last.iter().flat_map(longer).collect();
                all.extend(last.iter().cloned());
            }
            all
        };
        let patterns: Vec<_> =
            texts(&["a", "b", "*"], 3).iter().map(|it| Pattern::new(it)).collect();
        // Two patterns of three letters that overlap do so in a name of at most six.
        let names = texts(&["a", "b"], 6);
        for one in &patterns {
            for other in &patterns {
                let both = |name: &String| one.matches(name) && other.matches(name);
                let expected = names.iter().any(both);
                assert_eq!(overlap(one, other), expected, "{one:?} and {other:?}");
            }
        }
    }
}
