//! Inputs: what each way of writing them means, and what each mistake is answered.

use super::*;
use crate::{
    inputs::{Input, LinesFrom, Source as Reads, StartAt},
    limits::{INPUT_VALUES_MAX, INPUTS_MAX, WARM_START_RECORDS},
};

fn flag(text: &str) -> Result<Config, ConfigErrors> {
    Config::with(&[("inputs", text)])
}

fn one(text: &str) -> Input {
    let config = flag(text).unwrap_or_else(|told| panic!("{told}"));
    let [input] = config.inputs.all() else { panic!("one input: {text}") };
    input.clone()
}

/// The only input, by flags of its own.
fn by_flags(words: &[(&'static str, &str)]) -> Result<Config, ConfigErrors> {
    let input = words.iter().map(|(name, value)| (*name, value.to_string())).collect();
    Config::load(&Inputs { input, ..Inputs::default() }).map(|loaded| loaded.config)
}

fn text(config: &Config) -> String {
    values::Value::text(&config.inputs)
}

/// Keys that are not given have their defaults, and those that are given mean what they say.
#[test]
fn a_key_means_what_it_says() {
    let input = one("nats url=nats://a subject=b");
    assert_eq!((&*input.name, input.queue, input.numbered_by_bus), ("nats", 4096, false));
    let texts = (input.mapping.channel.as_str(), input.destination.as_str());
    assert_eq!(texts, ("{subject}", "{channel}"));
    let Reads::JetStream(it) = one("jetstream url=nats://a stream=b").source else { panic!() };
    assert_eq!((it.start, it.durable, it.nats.subjects), (StartAt::New, None, vec![]));
    let Reads::RedisStreams(it) = one("redis-stream url=redis://a stream=b").source else {
        panic!()
    };
    assert_eq!((&*it.payload_field, &it.streams[..]), ("payload", &["b".to_owned()][..]));
    let Reads::Amqp(it) = one("amqp url=amqp://a exchange=b").source else { panic!() };
    assert_eq!(it.keys, ["#"]);
    let Reads::Mqtt(it) = one("mqtt url=mqtt://a topic=b").source else { panic!() };
    assert_eq!((it.qos, it.version, it.client_id), (0, 5, None));
    let text = "mqtt name=m-1 url=mqtts://u:p@a:1 topic=a/+ topic=b/# qos=1 version=4 client-id=c \
        channel=x.{topic} filter={json:/a}=1 filter={topic}!=2 payload=/d key={json:/k} \
        positions=local in-flight=7 to=y/{channel}";
    let input = one(text);
    let Reads::Mqtt(it) = &input.source else { panic!() };
    assert_eq!((&it.topics[..], it.qos, it.version), (&["a/+".into(), "b/#".into()][..], 1, 4));
    assert_eq!((&*it.url, it.client_id.as_deref()), ("mqtts://u:p@a:1", Some("c")));
    let mapping = &input.mapping;
    assert_eq!((mapping.filter.len(), input.queue, &*input.name), (2, 7, "m-1"));
    assert_eq!(mapping.payload.as_ref().unwrap().as_str(), "/d");
    assert_eq!(mapping.key.as_ref().unwrap().as_str(), "{json:/k}");
    assert_eq!(input.destination.as_str(), "y/{channel}");
    let kafka = "kafka brokers=a:1,b topic=c topic=d property=x=y=z start=behind:5";
    let Reads::Kafka(it) = one(kafka).source else { panic!() };
    assert_eq!(it.properties, [("x".to_owned(), "y=z".to_owned())]);
    assert_eq!((it.brokers.as_str(), it.start), ("a:1,b", StartAt::Behind("5".into())));
}

/// Flags, the variable, texts and tables in a file, and flags for one input give the same.
#[test]
fn all_ways_of_writing_mean_the_same() {
    let expected = "nats name=nats url=nats://a subject=b subject=c.> channel={subject}; \
        nats name=nats-2 url=nats://b subject=\"x;y z\" channel={subject}";
    let words = ["nats url=nats://a subject=b subject=c.>", "nats url=nats://b subject=\"x;y\""];
    let expected = expected.replace("x;y z", "x;y");
    let tables = "[[inputs]]\nkind = 'nats'\nurl = 'nats://a'\nsubject = ['b', 'c.>']\n\
        [[inputs]]\nsubject = 'x;y'\nurl = 'nats://b'\nkind = 'nats'\n";
    let repeated = words.map(|text| ("inputs", text.to_owned()));
    let flags = Inputs { flags: repeated.into(), ..Inputs::default() };
    let mixed = Inputs {
        flags: vec![("inputs", words[0].to_owned())],
        input: vec![("nats", "nats://b".into()), ("subject", "x;y".into())],
        ..Inputs::default()
    };
    for config in [
        Config::load(&flags).unwrap().config,
        Config::load(&mixed).unwrap().config,
        environment(&[("STENTOR_INPUTS", &format!(" {};{} ; ", words[0], words[1]))]).unwrap(),
        file(tables).unwrap(),
        file(&format!("inputs = ['{}', '{}']", words[0], words[1])).unwrap(),
        file(&format!("inputs = '{}; {}'", words[0], words[1])).unwrap(),
    ] {
        assert_eq!(text(&config), expected);
        let names: Vec<_> = config.inputs.all().iter().map(|input| &*input.name).collect();
        assert_eq!(names, ["nats", "nats-2"]);
    }
}

/// The short ways on the command line are the long ones.
#[test]
fn short_ways_are_the_long_ones() {
    for (short, long) in [
        ("stdin", "lines from=stdin"),
        ("stdin=logs", "lines from=stdin channel=logs"),
        ("unix:/run/a=logs name=x", "lines from=unix:/run/a channel=logs name=x"),
        ("tcp:127.0.0.1:9=logs", "lines from=tcp:127.0.0.1:9 channel=logs"),
    ] {
        assert_eq!(text(&flag(short).unwrap()), text(&flag(long).unwrap()), "{short}");
    }
    let nats = ("nats", "nats://a");
    for (words, long) in [
        (
            &[nats, ("subject", "a.>"), ("channel", "{subject}")][..],
            "nats url=nats://a subject=a.>",
        ),
        (&[("jetstream", "S"), nats], "jetstream url=nats://a stream=S"),
        (&[("redis", "redis://a"), ("subscribe", "x*")], "redis url=redis://a subscribe=x*"),
        (&[("redis", "redis://a"), ("stream", "x")], "redis-stream url=redis://a stream=x"),
        (&[("kafka", "a:1"), ("topic", "x"), ("topic", "y")], "kafka brokers=a:1 topic=x topic=y"),
        (&[("amqp", "amqp://a"), ("exchange", "x")], "amqp url=amqp://a exchange=x"),
        (&[("amqp", "amqp://a"), ("queue", "x")], "amqp-stream url=amqp://a queue=x"),
        (&[("mqtt", "mqtt://a"), ("topic", "a b")], "mqtt url=mqtt://a topic=\"a b\""),
    ] {
        assert_eq!(text(&by_flags(words).unwrap()), text(&flag(long).unwrap()), "{long}");
    }
    let told = by_flags(&[("subject", "a")]).unwrap_err().to_string();
    let expected = "subject: 'a' (from --subject) says something of an input, and there is none; \
        give the bus, too: --nats, --redis, --kafka, --amqp or --mqtt";
    assert_eq!(told, expected);
    let told = by_flags(&[nats, ("mqtt", "mqtt://u:p@a")]).unwrap_err().to_string();
    let expected = "mqtt: 'mqtt://u:***@a' (from --mqtt) is a second bus, and these flags make one \
        input; give each of several by --input";
    assert_eq!(told, expected);
}

/// The help of a flag that several kinds have tells of each, and which values are right.
#[test]
fn a_flag_tells_of_each_kind() {
    for (name, expected) in [
        (
            "topic",
            "kafka: The topics, of which all partitions are read. Value: a topic. mqtt: The topics to \
             subscribe to. Value: a topic filter, with `+` and `#`.",
        ),
        ("stream", "redis-stream: The keys of the streams. Value: a key."),
        ("payload", "The part of the payload that is sent. Value: a JSON pointer."),
        (
            "start",
            "jetstream, redis-stream, kafka, amqp-stream: Where a new edge begins in the log. With \
             history so far back that the history of the channels is filled, or, if none is kept, with \
             what comes from now on. Value: history, new, all, last:N, behind:ID, \
             time:2026-01-31T12:00:00Z or time:-1h.",
        ),
    ] {
        let flags = crate::config::input_flags();
        let told: Vec<_> = flags.iter().filter(|flag| flag.name == name).collect();
        assert_eq!(told.len(), 1, "{name}");
        assert_eq!(told[0].help, expected);
    }
}

/// Lines are JSON where a template wants what only JSON has.
#[test]
fn lines_are_json_where_they_name_their_channel() {
    for (words, expected) in [
        ("stdin", true),
        ("stdin=logs", false),
        ("stdin channel=logs.{channel}", true),
        ("stdin=logs key={key}", true),
        ("stdin=logs.{json:/host} key={json:/id}", false),
    ] {
        let Reads::Lines(lines) = one(words).source else { panic!() };
        assert_eq!((lines.from, lines.is_json), (LinesFrom::Stdin, expected), "{words}");
    }
}

/// Where to begin, in every way of saying it.
#[test]
fn a_start_is_a_place_in_the_log() {
    let start = |kind: &str, start: &str| {
        let words = match kind {
            "redis-stream" => "redis-stream url=redis://a stream=b",
            _ => "jetstream url=nats://a stream=b",
        };
        match one(&format!("{words} start={start}")).source {
            Reads::JetStream(it) => it.start,
            Reads::RedisStreams(it) => it.start,
            other => panic!("{other:?}"),
        }
    };
    for (text, expected) in [
        ("new", StartAt::New),
        ("all", StartAt::All),
        ("last:7", StartAt::Last(7)),
        ("behind:8", StartAt::Behind("8".into())),
        ("time:1970-01-01T00:00:00Z", StartAt::Time(0)),
        ("time:2024-02-29T12:34:56.789Z", StartAt::Time(1_709_210_096_789)),
        ("time:2024-03-01T01:00:00+02:00", StartAt::Time(1_709_247_600_000)),
        ("time:2000-12-31T23:59:59-01:30", StartAt::Time(978_312_599_000)),
    ] {
        assert_eq!(start("jetstream", text), expected, "{text}");
    }
    assert_eq!(start("redis-stream", "behind:1-2"), StartAt::Behind("1-2".into()));
    let StartAt::Time(ago) = start("jetstream", "time:-1000h") else { panic!() };
    let before = |moment: u64| moment - 3_600_000_000;
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
    assert!((before(now) - 600_000..=before(now)).contains(&ago), "{ago} of {now}");
}

/// An edge begins so far back that histories are filled, and only where there are some.
#[test]
fn a_warm_start_is_for_channels_that_keep_something() {
    let start = |channels: &str, words: &str| {
        let input = format!("jetstream url=nats://a stream=S subject=t.> {words}");
        let config = Config::with(&[("channels", channels), ("inputs", &input)]).unwrap();
        let Reads::JetStream(it) = &config.inputs.all()[0].source else { panic!() };
        it.start.clone()
    };
    let history = StartAt::History(WARM_START_RECORDS);
    for (channels, words, expected) in [
        ("", "", StartAt::New),
        ("* history=1", "", history.clone()),
        ("t.a history=1", "", history.clone()),
        ("u.* history=1; * slow=skip presence=true", "", StartAt::New),
        ("u.* mode=latest", "channel=u.{subject} start=history", history),
        ("* history=1", "start=new", StartAt::New),
    ] {
        assert_eq!(start(channels, words), expected, "{channels} {words}");
    }
}

/// The bus numbers the publications wherever exactly one of its sequences feeds a channel.
#[test]
fn the_bus_numbers_where_one_sequence_feeds_a_channel() {
    let kafka = "kafka brokers=a topic=b";
    let redis = "redis-stream url=redis://a stream=b";
    let jetstream = "jetstream url=nats://a stream=S subject=b.>";
    for (inputs, expected) in [
        (jetstream.to_owned(), &[true][..]),
        (format!("{jetstream} channel=all"), &[true]),
        (format!("{jetstream} positions=local"), &[false]),
        (format!("{jetstream}; nats url=nats://a subject=c.>"), &[true, false]),
        (format!("{jetstream}; nats url=nats://a subject=b.c"), &[false, false]),
        (format!("{jetstream}; {jetstream} channel=x.{{subject}}"), &[false, false]),
        (
            format!("{jetstream}; {} channel=x.{{subject}}", jetstream.replace("=S", "=T")),
            &[true, true],
        ),
        (format!("{jetstream}; stdin"), &[false, false]),
        (format!("{jetstream}; stdin=b.x.y"), &[false, false]),
        (format!("{jetstream}; stdin=bx"), &[true, false]),
        (redis.to_owned(), &[true]),
        (format!("{redis} stream=c"), &[true]),
        (format!("{redis} stream=c channel=all"), &[false]),
        (format!("{redis} stream=bc channel={{stream}}{{id}}"), &[false]),
        (kafka.to_owned(), &[false]),
        (format!("{kafka} channel={{topic}}.{{partition}}"), &[true]),
        (format!("{kafka} channel={{partition}}"), &[true]),
        (format!("{kafka} topic=c channel={{partition}}"), &[false]),
        (format!("{kafka} topic=c channel={{topic}}.{{partition}}"), &[true]),
        ("amqp-stream url=amqp://a queue=b".to_owned(), &[true]),
        ("amqp url=amqp://a exchange=b".to_owned(), &[false]),
        ("redis url=redis://a subscribe=b".to_owned(), &[false]),
        ("mqtt url=mqtt://a topic=b".to_owned(), &[false]),
    ] {
        let config = flag(&inputs).unwrap();
        let found: Vec<_> = config.inputs.all().iter().map(|input| input.numbered_by_bus).collect();
        assert_eq!(found, expected, "{inputs}");
    }
}

/// Where a bus could number and may not, the check of the configuration says why; where it was told to
/// and cannot, that is an error.
#[test]
fn positions_of_our_own_are_told() {
    let warnings = |text: &str| {
        let flags = vec![("inputs", text.to_owned())];
        Config::load(&Inputs { flags, ..Inputs::default() }).unwrap().warnings
    };
    let told = warnings("kafka name=k brokers=a topic=b");
    let expected = "input k: its channels are numbered by this edge and not by the bus, so clients \
        cannot resume at another edge: each partition has a sequence of its own, and the template puts \
        several into one channel; write {partition} into it, like channel={topic}.{partition}, or \
        positions=local to leave it so";
    assert_eq!(told, [expected]);
    let twice = "jetstream url=nats://a stream=S; stdin";
    let told = warnings(twice);
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("the input lines can feed the same channels; give one"), "{told:?}");
    for quiet in ["kafka brokers=a topic=b positions=local", "nats url=nats://a subject=a"] {
        assert!(warnings(quiet).is_empty(), "{quiet}");
    }
    let text = "redis-stream url=redis://a stream=b stream=c channel=d positions=bus";
    let told = flag(text).unwrap_err().to_string();
    let expected = "has 'positions=bus' for redis-stream, which cannot be: the streams 'b' and 'c' can \
        both feed one channel; write {stream} into the template, set apart from what else is in it";
    assert!(told.ends_with(expected), "{told}");
    let told = flag("nats url=nats://a subject=a positions=bus").unwrap_err().to_string();
    let expected = "has 'positions=bus' for nats, which cannot be: NATS subjects have no numbers; \
        leave positions out, or read a stream with jetstream";
    assert!(told.ends_with(expected), "{told}");
}

/// Secrets come from the environment and from files, and are shown nowhere.
#[test]
fn secrets_stay_secret() {
    let path = std::env::temp_dir().join(format!("stentor-secret-{}", std::process::id()));
    fs::write(&path, "hunter2\n").unwrap();
    let place = format!("${{file:{}}}", path.display());
    let load = |text: &str| {
        Config::load(&Inputs {
            flags: vec![("inputs", text.to_owned())],
            environment: owned(&[("BUS", "amqps://u:hunter2@host"), ("PASSWORD", "hunter2")]),
            ..Inputs::default()
        })
    };
    for (words, url, shown) in [
        ("amqp url=${BUS} exchange=e", "amqps://u:hunter2@host", "url=${BUS}"),
        (
            "redis url=redis://:${PASSWORD}@h subscribe=a",
            "redis://:hunter2@h",
            "url=redis://:${PASSWORD}@h",
        ),
        (
            &format!("mqtt url=mqtt://u:{place}@h topic=a"),
            "mqtt://u:hunter2@h",
            &format!("url=mqtt://u:{place}@h"),
        ),
        (
            "nats url=nats://u:hunter2@h,tls://hunter2@i subject=a",
            "nats://u:hunter2@h,tls://hunter2@i",
            "url=nats://u:***@h,tls://***@i",
        ),
        ("redis url=redis://u@h subscribe=a", "redis://u@h", "url=redis://u@h"),
    ] {
        let config = load(words).unwrap().config;
        let found = match &config.inputs.all()[0].source {
            Reads::Nats(it) => &it.url,
            Reads::RedisChannels(it) => &it.url,
            Reads::Amqp(it) => &it.url,
            Reads::Mqtt(it) => &it.url,
            other => panic!("{other:?}"),
        };
        assert_eq!(found, url);
        let told = config.to_string();
        assert!(told.contains(&format!(" {shown} ")), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
    let kafka = "kafka brokers=a topic=b property=sasl.password=${PASSWORD} property=a=b";
    let config = load(kafka).unwrap().config;
    let Reads::Kafka(it) = &config.inputs.all()[0].source else { panic!() };
    assert_eq!(it.properties[0], ("sasl.password".to_owned(), "hunter2".to_owned()));
    for wrong in [
        "amqp url=${BUS} exchange=e qos=1",
        "nats url=${PASSWORD} subject=a",
        "nats url=nats://u:hunter2 subject=a",
        "nats url=nats://u:hunter2@h subject=a b",
        "nats url=nats://u:hunter2@h subject=\"a",
        "nats url=http://u:hunter2@h subject=a",
        "kafka brokers=a topic=b property=sasl.password=hunter2 qos=1",
        "kafka brokers=kafka://u:hunter2@h topic=b",
    ] {
        let told = load(wrong).unwrap_err().to_string();
        assert!(!told.contains("hunter2"), "{told}");
    }
    fs::remove_file(path).unwrap();
}

/// `publish-to` names an input, or the kind of the only one, that can be published to.
#[test]
fn publications_go_to_an_input_that_can_take_them() {
    let inputs = "nats name=a url=nats://a subject=a; nats url=nats://a subject=b; \
        mqtt name=m url=mqtt://a topic=c; stdin=d";
    let to = |name: &str| Config::with(&[("inputs", inputs), ("publish-to", name)]);
    for (name, expected) in [("a", "a"), ("nats", "nats"), ("mqtt", "m"), ("m", "m")] {
        assert_eq!(to(name).unwrap().publish_to.0.as_deref(), Some(expected));
    }
    for (name, problem) in [
        ("x", "is no input's name; write a or nats or m"),
        ("lines", "is an input of lines, which have no bus; write a or nats or m"),
    ] {
        let told = to(name).unwrap_err().to_string();
        assert_eq!(told, format!("publish-to: '{name}' (from --publish-to) {problem}"));
    }
    let two = "mqtt name=a url=mqtt://a topic=c; mqtt name=b url=mqtt://a topic=d";
    let told = Config::with(&[("inputs", two), ("publish-to", "mqtt")]).unwrap_err().to_string();
    assert!(told.ends_with("is the kind of several inputs; write a or b"), "{told}");
    let told = Config::with(&[("publish-to", "nats")]).unwrap_err().to_string();
    assert!(told.contains("is no input's name; add an input, like --input 'nats url="), "{told}");
}

/// As many inputs, and values of a key, as allowed are taken, and one more is not.
#[test]
fn inputs_are_bounded() {
    let inputs = |count: usize| {
        (0..count).map(|n| format!("nats url=nats://a subject=a{n};")).collect::<String>()
    };
    assert_eq!(flag(&inputs(INPUTS_MAX)).unwrap().inputs.all().len(), INPUTS_MAX);
    let told = flag(&inputs(INPUTS_MAX + 1)).unwrap_err().to_string();
    let expected = "has 'kind=nats' for nats, which is one more than the 64 inputs that there may be; \
        let one input read more";
    assert!(told.ends_with(expected), "{told}");
    let subjects = |count: usize| {
        let subjects = (0..count).map(|n| format!(" subject=a{n}")).collect::<String>();
        flag(&format!("nats url=nats://a{subjects}"))
    };
    assert!(subjects(INPUT_VALUES_MAX).is_ok());
    let told = subjects(INPUT_VALUES_MAX + 1).unwrap_err().to_string();
    let expected = "has 'subject=a64' for nats, which is one more than the 64 there may be; \
        let one with wildcards stand for several";
    assert!(told.ends_with(expected), "{told}");
}
