//! Inputs: what each way of writing them means, and what each mistake is answered.

use super::*;
use crate::inputs::{Input, Source as Reads, StartAt};

fn flag(text: &str) -> Result<Config, ConfigErrors> {
    Config::with(&[("inputs", text)])
}

fn one(text: &str) -> Input {
    let config = flag(text).unwrap_or_else(|told| panic!("{told}"));
    let [input] = config.inputs.all() else { panic!("one input: {text}") };
    input.clone()
}

/// Keys that stand in no text of their own mean what the table of keys says.
#[test]
fn what_is_not_said_has_its_default() {
    let input = one("nats url=nats://a subject=b");
    assert_eq!((&*input.name, input.queue, input.numbered_by_bus), ("nats", 4096, false));
    assert_eq!(input.mapping.channel.as_str(), "{subject}");
    assert_eq!(input.destination.as_str(), "{channel}");
    let Reads::JetStream(it) = one("jetstream url=nats://a stream=b").source else { panic!() };
    assert_eq!((it.start, it.durable, it.nats.subjects), (StartAt::New, None, vec![]));
}
