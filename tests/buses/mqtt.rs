//! MQTT: mosquitto, with either version of the protocol and either quality of service.

use std::{fs, path::Path, process::Command, time::Duration};

use rumqttc::v5::{
    AsyncClient, Event, MqttOptions,
    mqttbytes::{
        QoS,
        v5::{Packet, PubAckReason},
    },
};
use tokio::{runtime::Builder, time::timeout};

use crate::{
    broker::{Broker, listens},
    bus::{Bus, Record, stories},
    edge::{await_ready, await_reconnects, await_skipped, edge, input, readiness, told_of_input},
    proxy::Proxy,
    support::{DEADLINE, Kind, Received, Subscriber, ask, eventually},
};

mod at_most_once {
    super::stories!(super::Mqtt<0, 5>, no_log);
}

mod at_least_once {
    super::stories!(super::Mqtt<1, 4>);
}

/// A broker, read with this quality of service in this version of the protocol.
struct Mqtt<const QOS: u8, const VERSION: u8> {
    broker: Broker,
}

impl<const QOS: u8, const VERSION: u8> Bus for Mqtt<QOS, VERSION> {
    const MAPPING: &str = "";

    fn start() -> Self {
        Mqtt { broker: mosquitto("allow_anonymous true") }
    }

    fn broker(&mut self) -> &mut Broker {
        &mut self.broker
    }

    fn source(&self, port: u16) -> String {
        format!("mqtt url=mqtt://127.0.0.1:{port} topic=ticks/# qos={QOS} version={VERSION}")
    }

    fn channel(number: usize) -> String {
        format!("ticks/{number}")
    }

    fn publish(&mut self, records: &[Record]) {
        publish(self.broker.port(), records, false);
    }
}

/// With a client id and QoS 1 the broker keeps what comes while the edge is cut off, and what it had
/// no acknowledgement for: both come, each once, in order.
#[test]
fn a_session_of_its_own_misses_nothing() {
    for version in [4, 5] {
        let broker = mosquitto("allow_anonymous true");
        let proxy = Proxy::to(broker.port(), Duration::ZERO);
        let url = format!("mqtt://127.0.0.1:{}", proxy.port());
        let words = format!("topic=ticks/# qos=1 version={version} client-id=edge");
        let edge = edge(&format!("mqtt name=bus url={url} {words}"), &[]);
        await_ready(&edge);
        let mut subscriber = Subscriber::join(edge.subscribers, Kind::Sse, "ticks/0");
        for round in 0..3 {
            let numbers = |from: usize| (from..from + 300).map(numbered).collect::<Vec<_>>();
            publish(broker.port(), &numbers(600 * round), false);
            proxy.cut();
            publish(broker.port(), &numbers(600 * round + 300), false);
            proxy.mend();
            await_reconnects(&edge, round as u64 + 1);
        }
        (0..1800).for_each(|number| expect_number(&mut subscriber, number));
        edge.stop();
    }
}

/// What is retained is published when the edge connects; when it connects again, only what has
/// changed.
#[test]
fn what_is_retained_is_published_once() {
    for version in [4, 5] {
        let broker = mosquitto("allow_anonymous true");
        let proxy = Proxy::to(broker.port(), Duration::ZERO);
        let retained = |topic: usize, number: usize| Record {
            channel: format!("ticks/{topic}"),
            payload: number.to_string().into_bytes(),
        };
        let first: Vec<_> = (0..10).map(|topic| retained(topic, topic)).collect();
        publish(broker.port(), &first, true);
        let url = format!("mqtt://127.0.0.1:{}", proxy.port());
        let text = format!("mqtt name=bus url={url} topic=ticks/# version={version}");
        let edge = edge(&text, &[]);
        await_ready(&edge);
        assert_eq!(told_of_input(&edge, "stentor_input_records_total"), 10);
        let mut changed = Subscriber::join(edge.subscribers, Kind::Sse, "ticks/3");
        let mut same = Subscriber::join(edge.subscribers, Kind::Sse, "ticks/4");
        proxy.cut();
        publish(broker.port(), &[retained(3, 33)], true);
        proxy.mend();
        expect_number(&mut changed, 33);
        await_skipped(&edge, "repeated", 9);
        publish(broker.port(), &[retained(4, 44)], false);
        expect_number(&mut same, 44);
        assert_eq!(told_of_input(&edge, "stentor_input_records_total"), 21);
        edge.stop();
    }
}

/// A message that no publication can hold is passed over, and the next one comes. In version 5 the
/// broker is told how much we take, and drops one that is far larger.
#[test]
fn a_large_message_ends_nothing() {
    for version in [4, 5] {
        let broker = mosquitto("allow_anonymous true");
        let url = format!("mqtt://127.0.0.1:{}", broker.port());
        let words = format!("topic=ticks/# qos=1 version={version} client-id=edge");
        let text = format!("mqtt name=bus url={url} {words}");
        let edge = edge(&text, &["--publication-max", "64KiB"]);
        await_ready(&edge);
        let mut subscriber = Subscriber::join(edge.subscribers, Kind::Sse, "ticks/0");
        let sized = |bytes: usize| Record { channel: "ticks/0".into(), payload: vec![b'x'; bytes] };
        publish(broker.port(), &[sized(500_000), sized(8_000_000), numbered(7)], false);
        expect_number(&mut subscriber, 7);
        await_skipped(&edge, "too_large", if version == 4 { 2 } else { 1 });
        assert_eq!(told_of_input(&edge, "stentor_input_reconnects_total"), 0);
        edge.stop();
    }
}

/// Topics that overlap are refused, since a broker may send a message once for each.
#[test]
fn topics_that_overlap_are_refused() {
    let broker = mosquitto("allow_anonymous true");
    let url = format!("mqtt://127.0.0.1:{}", broker.port());
    let edge = edge(&format!("mqtt name=meters url={url} topic=a/# topic=a/+"), &[]);
    eventually("the refusal is told", || {
        let text = String::from_utf8(readiness(&edge).body).expect("text");
        (text.contains("meters") && text.contains("'a/#' and 'a/+' overlap")).then_some(())
    });
    edge.stop();
}

/// Whom the broker refuses is told with the input's name, and never with the password.
#[test]
fn what_the_broker_refuses_is_told() {
    for version in [4, 5] {
        let broker = mosquitto("allow_anonymous false");
        let url = format!("mqtt://somebody:secret@127.0.0.1:{}", broker.port());
        let text = format!("mqtt name=meters url={url} topic=# version={version}");
        let edge = edge(&text, &[]);
        eventually("the refusal is told", || {
            let told = readiness(&edge);
            let text = String::from_utf8(told.body).expect("text");
            assert!(!text.contains("secret"), "{text}");
            (text.contains("meters") && text.contains("refuses the user or password")).then_some(())
        });
        edge.stop();
    }
}

/// Two edges with one client id take the session from each other, which is told.
#[test]
fn a_client_id_that_is_taken_is_told() {
    let mut bus = Mqtt::<1, 5>::start();
    let text = input(&bus, bus.broker.port(), "client-id=same");
    let edges = [(); 2].map(|()| edge(&text, &[]));
    eventually("one of them is told", || {
        let told = edges.iter().map(|edge| {
            let answer = ask(edge.control, "GET /inputs HTTP/1.1\r\nHost: localhost\r\n");
            String::from_utf8(answer.body).expect("text")
        });
        told.into_iter().any(|text| text.contains("client-id of its own")).then_some(())
    });
    edges.into_iter().for_each(|edge| edge.stop());
    bus.kill();
}

#[track_caller]
fn mosquitto(access: &'static str) -> Broker {
    let command = move |folder: &Path, port: u16| {
        let config = format!("listener {port} 127.0.0.1\n{access}\nmax_queued_messages 0\n");
        fs::write(folder.join("mosquitto.conf"), config).expect("a file of ours");
        let mut command = Command::new("mosquitto");
        command.args(["-c", "mosquitto.conf"]);
        command
    };
    Broker::start("mosquitto", command, listens)
}

/// Publishes with QoS 1; returns when the broker has acknowledged everything.
#[track_caller]
fn publish(port: u16, records: &[Record], retain: bool) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let work = async {
        let mut options = MqttOptions::new(format!("publisher-{port}"), "127.0.0.1", port);
        options.set_max_packet_size(Some(16 * 1024 * 1024));
        let (client, mut events) = AsyncClient::new(options, records.len() + 1);
        for Record { channel, payload } in records {
            let qos = QoS::AtLeastOnce;
            client.try_publish(channel, qos, retain, payload.clone()).expect("there is room");
        }
        let mut left = records.len();
        while left > 0 {
            if let Event::Incoming(Packet::PubAck(told)) = events.poll().await.expect("it lives") {
                use PubAckReason::{NoMatchingSubscribers, Success};
                assert!(matches!(told.reason, Success | NoMatchingSubscribers), "{told:?}");
                left -= 1;
            }
        }
        client.try_disconnect().expect("there is room");
        while events.poll().await.is_ok() {}
    };
    runtime.block_on(async { timeout(DEADLINE, work).await }).expect("the broker takes it all");
}

fn numbered(number: usize) -> Record {
    Record { channel: "ticks/0".to_owned(), payload: number.to_string().into_bytes() }
}

#[track_caller]
fn expect_number(subscriber: &mut Subscriber, number: usize) {
    match subscriber.next() {
        Received::Publication { payload, .. } => {
            assert_eq!(String::from_utf8(payload), Ok(number.to_string()));
        }
        other => panic!("number {number} should come and not {other:?}"),
    }
}
