//! What texts name a bus, and what is wrong with the others.

use super::*;

/// Every key of every kind does what it says; a value with spaces stands in quotes.
#[test]
fn texts_are_understood() {
    let plain = |kind, url: &str| Bus {
        kind,
        url: url.into(),
        to: CHANNEL.into(),
        credentials: None,
        field: "payload".into(),
        exchange: String::new(),
        qos: 1,
        properties: Vec::new(),
    };
    let cases = [
        ("nats url=nats://h:1", plain(Kind::Nats, "nats://h:1")),
        (
            "jetstream url=nats://h:1 credentials='a b.creds' to=ticks.{channel}",
            Bus {
                credentials: Some("a b.creds".into()),
                to: "ticks.{channel}".into(),
                ..plain(Kind::JetStream, "nats://h:1")
            },
        ),
        ("redis url=redis://h", plain(Kind::Redis, "redis://h")),
        (
            r#"redis-stream url=redis://h field="a \"b\"" to=log"#,
            Bus {
                field: "a \"b\"".into(),
                to: "log".into(),
                ..plain(Kind::RedisStream, "redis://h")
            },
        ),
        (
            "kafka brokers=h:1,i:2 property=acks=1 property=linger.ms=5",
            Bus {
                properties: [("acks", "1"), ("linger.ms", "5")]
                    .map(|(key, value)| (key.into(), value.into()))
                    .into(),
                ..plain(Kind::Kafka, "h:1,i:2")
            },
        ),
        (
            "amqp url=amqp://h exchange=amq.topic",
            Bus { exchange: "amq.topic".into(), ..plain(Kind::Amqp, "amqp://h") },
        ),
        ("amqp-stream url=amqp://h", plain(Kind::AmqpStream, "amqp://h")),
        ("mqtt url=mqtt://h qos=0", Bus { qos: 0, ..plain(Kind::Mqtt, "mqtt://h") }),
    ];
    for (text, bus) in cases {
        assert_eq!(Bus::parse(text), Ok(bus), "{text}");
    }
}

/// What is wrong is told, and of a URL not what is secret.
#[test]
fn mistakes_are_told() {
    for (text, told) in [
        (" ", "is empty"),
        ("nats 'url=", "has a quote that is not closed"),
        ("carrier-pigeon url=x", "begins with 'carrier-pigeon', which is none of nats, jetstream,"),
        ("nats://u:secret@h:1", "begins with 'nats://h:1', which is none of nats,"),
        ("nats nats://u:secret@h:1", "has the word 'nats://h:1', which is not like key=value"),
        ("nats url=a url=b", "has url= twice"),
        ("nats url=a exchange=b", "has exchange=, and nats has url, credentials and to"),
        ("nats url=", "has url= without a value"),
        ("nats to=a", "lacks url=, as in 'nats url=nats://127.0.0.1:4222'"),
        ("kafka to=a", "lacks brokers=, as in 'kafka brokers=127.0.0.1:9092'"),
        ("amqp url=amqp://h", "lacks exchange=, as in 'amqp url="),
        ("mqtt url=a qos=2", "has qos=2, which is neither 0 nor 1"),
        ("kafka brokers=a property=acks", "has property=acks, which is not like"),
    ] {
        let why = Bus::parse(text).unwrap_err();
        assert!(why.starts_with(told), "{text}: {why}");
        assert!(!why.contains("secret"), "{why}");
    }
}

/// Where a bus is can be shown to everybody.
#[test]
fn places_have_no_secrets() {
    for (url, shown) in [
        ("nats://u:p@h:1, nats://i:2", "nats at nats://h:1,nats://i:2"),
        ("nats://t/o@k@h:1", "nats at nats://h:1"),
        ("h:1", "nats at h:1"),
    ] {
        let bus = Bus { url: url.into(), ..Bus::parse("nats url=x").unwrap() };
        assert_eq!(bus.place(), shown);
    }
}

/// A URL that its client cannot read is refused in words of ours, without its password.
#[test]
fn urls_that_cannot_be_read_are_told() {
    for text in [
        "nats url='nats://u:secret@h:port'",
        "redis url='redis://u:secret@h:port'",
        "amqp url='amqp://u:secret@h:port' exchange=e",
        "mqtt url='mqtt://u:secret@h:port'",
    ] {
        let why = Bus::parse(text).unwrap().connect().map(drop).unwrap_err();
        assert!(why.contains("://") && why.contains("url") | why.contains("URL"), "{why}");
        assert!(!why.contains("secret"), "{why}");
    }
}
