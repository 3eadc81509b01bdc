//! What mistakes in inputs are answered.

use super::*;

/// Mistakes in tables are all told, each with its line.
#[test]
fn a_wrong_table_is_told_by_line() {
    for (text, told) in [
        (
            "[[inputs]]\nkind = 'nats'\nurl = 'nats://a'\nsubjct = 'a'",
            "'subjct' (from stentor.toml:4) is not a setting; did you mean 'subject'?",
        ),
        (
            "[[inputs]]\nkind = 'natz'",
            "kind: 'natz' (from stentor.toml:2) is no kind of input; did you mean 'nats'?",
        ),
        (
            "\n[[inputs]]\nurl = 'nats://a'",
            "kind: '' (from stentor.toml:2) is missing; write nats, jetstream, redis, redis-stream, \
             kafka, amqp, amqp-stream, mqtt or lines",
        ),
        (
            "[[inputs]]\nkind = 'mqtt'\nurl = 'mqtt://u:pw'\nqos = 3\nsubject = ['a']",
            "subject: 'a' (from stentor.toml:5) is no key of mqtt; the keys of mqtt are name, url, \
             topic, qos, version, client-id, channel, filter, payload, key, positions, in-flight, to\n\
             topic: '' (from stentor.toml:1) is missing; write a topic filter, with `+` and `#`\n\
             url: 'mqtt://u:***' (from stentor.toml:3) is no URL of it; \
             write mqtt://127.0.0.1:1883, or mqtts:// for TLS\n\
             qos: '3' (from stentor.toml:4) is not among the choices; write 0 or 1",
        ),
        (
            "[[inputs]]\nkind = 'lines'\nfrom = ['stdin']",
            "from: '[…]' (from stentor.toml:3) is a list; write stdin, unix:/path or tcp:ADDRESS",
        ),
        (
            "[[inputs]]\nkind = 'lines'\nfrom = 'stdin'\n[[inputs]]\nkind = 'lines'\nfrom = 'stdin'",
            "from: 'stdin' (from stentor.toml:6) is read by another input; let one input read it",
        ),
        (
            "[inputs]\nkind = 'nats'",
            "inputs: '{…}' (from stentor.toml:1) is a table; write [[inputs]], with two brackets",
        ),
    ] {
        assert_eq!(file(text).unwrap_err().to_string(), told);
    }
}

/// Each kind of mistake names the word, the input and what would be right, word for word.
#[test]
fn a_wrong_text_is_told_in_full() {
    for (text, told) in WRONG {
        let shown = match text.char_indices().nth(60) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text.to_string(),
        };
        let whole = Config::with(&[("inputs", text)]).unwrap_err().to_string();
        assert_eq!(whole, format!("inputs: '{shown}' (from --inputs) {told}"));
    }
}

/// Texts, and what is wrong with each and would be right.
const WRONG: &[(&str, &str)] = &[
    (
        "url=nats://a",
        "has 'url' where the kind of the input should be; begin with nats, jetstream, redis, \
         redis-stream, kafka, amqp, amqp-stream, mqtt or lines",
    ),
    ("natz url=x", "begins with 'natz', which is no kind of input; did you mean 'nats'?"),
    ("nats url=nats://a", "lacks subject for nats; write a subject, with `*` and `>`"),
    (
        "nats url=nats://a b",
        "has 'b' for nats, which is no key of inputs; write words like subject=ticks.>, and a ; \
         before the next input",
    ),
    (
        "nats name=x subjct=b",
        "has 'subjct=…' for x, which is no key of inputs; did you mean 'subject'?",
    ),
    (
        "nats url=nats://a subject=\"b",
        "has subject=\"…, whose quotes are not closed; write a \" behind the value",
    ),
    (
        "nats url=nats://a subject=\"b\"c",
        "has subject=\"…, with something right behind its closing quotes; write a space behind the \
         quotes, and \\\" for quotes inside of them",
    ),
    (
        "nats url=nats://a subject=\"b\\c\"",
        "has subject=\"…, with a single \\ in its quotes; write \\\\ for a backslash in quotes, and \
         \\\" for quotes",
    ),
    (
        "nats url=nats://a subject=a subject=b.>.c",
        "has 'subject=b.>.c' for nats, which is no subject; write words with a . between them, * for \
         one of them, and > for all that follow, like ticks.>",
    ),
    (
        "nats url=nats://a subject=a name=a.b",
        "has 'name=a.b' for nats, which is no name; write 1 to 64 letters, digits, - and _, like ticks",
    ),
    (
        "nats name=a url=nats://a subject=a; redis name=a url=redis://a subscribe=b",
        "has 'name=a' for a, which is the name of another input; give each its own",
    ),
    (
        "nats url=nats://a subject=a channel={topic}",
        "has 'channel={topic}' for nats, which wants {topic}, and no record has it; there are \
         {subject}, {header:NAME} and {json:/POINTER}",
    ),
    (
        "nats url=nats://a subject=a channel=\"a b\"",
        "has 'channel=a b' for nats, which makes no channel's name: a channel name may have only \
         letters, digits and ._-:/, and this one has byte 0x20; write letters, digits and ._-:/ around \
         the places, like prices.{subject}",
    ),
    (
        "nats url=nats://a subject=a to={subject}",
        "has 'to={subject}' for nats, which wants {subject}, and no record has it; there are \
         {channel}, {header:NAME} and {json:/POINTER}",
    ),
    (
        "nats url=nats://a subject=a in-flight=0",
        "has 'in-flight=0' for nats, which is too little; write a whole number from 1 to 1048576",
    ),
    (
        "redis url=redis://a subscribe=a filter={header:x}=1",
        "has 'filter={header:x}=1' for redis, which wants a header, and Redis Pub/Sub has none; write \
         {json:/POINTER} for a part of the payload",
    ),
    (
        "mqtt url=mqtt://a topic=a/#/b",
        "has 'topic=a/#/b' for mqtt, which is no topic filter; write levels with a / between them, + \
         for one of them, and # for all that follow, like sensors/#",
    ),
    (
        "jetstream url=nats://a stream=S start=soon",
        "has 'start=soon' for jetstream, which is no place to begin; write history, new, all, \
         last:1000, behind:ID, time:2026-01-31T12:00:00Z or time:-1h",
    ),
    (
        "jetstream url=nats://a stream=S start=last:0",
        "has 'start=last:0' for jetstream, which asks for no record; write new, or last:1000",
    ),
    (
        "jetstream url=nats://a stream=S start=behind:1-2",
        "has 'start=behind:1-2' for jetstream, which has no id of it; write a sequence number, like \
         behind:1000",
    ),
    (
        "jetstream url=nats://a stream=S start=time:12:00",
        "has 'start=time:12:00' for jetstream, which has no moment; write time:2026-01-31T12:00:00Z, \
         or time:-1h for an hour ago",
    ),
    (
        "kafka brokers=kafka://a topic=b",
        "has 'brokers=kafka://a' for kafka, which is no list of hosts; write 127.0.0.1:9092, several \
         with , between them",
    ),
    (
        "kafka brokers=a topic=^b",
        "has 'topic=^b' for kafka, which is no topic; write 1 to 249 letters, digits and . _ -; there \
         are no wildcards, but the key repeats",
    ),
    (
        "stdin=logs to=a",
        "has 'to=a' for lines, which is for what publications are forwarded to; leave it out: there is \
         no bus behind lines",
    ),
    (
        "lines from=tcp:9000",
        "has 'from=tcp:9000' for lines, which is no address with a port; write tcp:127.0.0.1:9000",
    ),
    (
        "nats url=${NO} subject=a",
        "has 'url=${NO}' for nats, which wants the variable NO, which is not set; set NO in the \
         environment of the server",
    ),
];
