//! A connection to an MQTT broker, in either version of the protocol.

use std::sync::Arc;

use bytes::Bytes;
use percent_encoding::percent_decode_str;
use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, Packet, Publish, QoS,
    SubscribeFilter, SubscribeReasonCode, TlsConfiguration, Transport, v5,
    v5::mqttbytes::{QoS as QoS5, v5 as packets5},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};

use super::{CLIENT_REQUESTS_MAX, KEEP_ALIVE, PACKET_BYTES_MAX, SESSION_SECS};
use crate::bus::Fault;

/// How to connect.
#[derive(Clone)]
pub(super) struct Options {
    pub(super) place: String,
    host: String,
    port: u16,
    login: Option<(String, String)>,
    tls: Option<Arc<ClientConfig>>,
    pub(super) version: u8,
    pub(super) client_id: String,
    /// Whether the broker is to keep the session while we are away.
    pub(super) is_kept: bool,
    /// Messages that may be on their way without an acknowledgement, either way.
    pub(super) in_flight: u16,
    /// Bytes that a packet may have, if the broker can be told so.
    pub(super) packet_bytes_max: u32,
}

/// What the connection says.
pub(super) enum Said {
    Connected,
    /// The subscription stands, or not to the topic filter of this number, for this reason.
    Subscribed(Result<(), (usize, String)>),
    /// Everything that the broker had been asked before is done.
    Reached,
    Message(Message),
    /// A message of ours is on its way, under this number.
    Sent(u16),
    /// It has arrived, or was refused.
    Arrived(u16, Result<(), String>),
    /// Nothing of interest.
    Nothing,
}

/// A message from the broker.
pub(super) struct Message {
    pub(super) topic: Bytes,
    pub(super) payload: Bytes,
    /// It was published before we subscribed, and is the topic's last.
    pub(super) is_retained: bool,
    /// The broker has sent it before, and got no acknowledgement.
    pub(super) is_again: bool,
    /// Under this number it is to be acknowledged.
    pub(super) number: Option<u16>,
    pub(super) properties: Vec<(String, String)>,
}

/// What the broker can be asked.
pub(super) enum Client {
    V4(AsyncClient),
    V5(v5::AsyncClient),
}

/// What comes from the broker, and sends what it is asked while that is waited for.
pub(super) enum Connection {
    V4(Box<EventLoop>),
    V5(Box<v5::EventLoop>),
}

impl Options {
    /// Reads `mqtt://[user:password@]host[:port]`.
    pub(super) fn new(url: &str, version: u8) -> Result<Self, String> {
        let bad = || "its url is not like mqtt://user:password@127.0.0.1:1883".to_owned();
        let (scheme, rest) = url.split_once("://").ok_or_else(bad)?;
        let (tls, port) = match scheme {
            "mqtt" => (None, 1883),
            "mqtts" => (Some(tls()?), 8883),
            _ => return Err(bad()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (login, address) = match rest.rsplit_once('@') {
            Some((login, address)) => (Some(login), address),
            None => (None, rest),
        };
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().map(|text| text.into());
        let login = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
            Some((user, password)) => {
                Some((decoded(user).map_err(|_| bad())?, decoded(password).map_err(|_| bad())?))
            }
            None => None,
        };
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| bad())?),
            _ => (address, port),
        };
        if host.is_empty() || host.contains('/') {
            return Err(bad());
        }
        Ok(Options {
            place: format!("{scheme}://{host}:{port}"),
            host: host.to_owned(),
            port,
            login,
            tls,
            version,
            client_id: String::new(),
            is_kept: false,
            in_flight: 1,
            packet_bytes_max: PACKET_BYTES_MAX,
        })
    }

    pub(super) fn open(&self) -> (Client, Connection) {
        let transport = match &self.tls {
            Some(config) => Transport::tls_with_config(TlsConfiguration::Rustls(config.clone())),
            None => Transport::tcp(),
        };
        if self.version == 4 {
            let mut options = MqttOptions::new(&self.client_id, &self.host, self.port);
            options
                .set_transport(transport)
                .set_keep_alive(KEEP_ALIVE)
                .set_clean_session(!self.is_kept)
                .set_inflight(self.in_flight)
                .set_manual_acks(true)
                // A broker cannot be told of another bound, and would send a larger one again.
                .set_max_packet_size(PACKET_BYTES_MAX as usize, PACKET_BYTES_MAX as usize);
            if let Some((user, password)) = &self.login {
                options.set_credentials(user, password);
            }
            let (client, events) = AsyncClient::new(options, CLIENT_REQUESTS_MAX);
            return (Client::V4(client), Connection::V4(Box::new(events)));
        }
        let mut options = v5::MqttOptions::new(&self.client_id, &self.host, self.port);
        options
            .set_transport(transport)
            .set_keep_alive(KEEP_ALIVE)
            .set_clean_start(!self.is_kept)
            .set_session_expiry_interval(self.is_kept.then_some(SESSION_SECS))
            .set_receive_maximum(Some(self.in_flight))
            .set_outgoing_inflight_upper_limit(self.in_flight)
            .set_max_packet_size(Some(self.packet_bytes_max))
            .set_manual_acks(true);
        if let Some((user, password)) = &self.login {
            options.set_credentials(user, password);
        }
        let (client, events) = v5::AsyncClient::new(options, CLIENT_REQUESTS_MAX);
        (Client::V5(client), Connection::V5(Box::new(events)))
    }

    /// What to make of the end of a connection.
    fn fault(&self, error: Error) -> Fault {
        let place = &self.place;
        match error {
            Error::V4(ConnectionError::ConnectionRefused(code)) => {
                self.refused(&format!("{code:?}"))
            }
            Error::V5(v5::ConnectionError::ConnectionRefused(code)) => {
                self.refused(&format!("{code:?}"))
            }
            Error::V5(v5::ConnectionError::MqttState(v5::StateError::ServerDisconnect {
                reason_code: packets5::DisconnectReasonCode::SessionTakenOver,
                ..
            })) => Fault::Refused(self.taken()),
            Error::V4(error) => Fault::Lost(format!("no connection to {place}: {error}")),
            Error::V5(error) => Fault::Lost(format!("no connection to {place}: {error}")),
        }
    }

    /// What to say when another client has our name.
    pub(super) fn taken(&self) -> String {
        format!(
            "{} has another client with the client id '{}'; give each input of each edge a client-id \
             of its own",
            self.place, self.client_id
        )
    }

    fn refused(&self, code: &str) -> Fault {
        let Options { place, version, client_id, .. } = self;
        match code {
            "BadUserNamePassword" | "NotAuthorized" | "BadAuthenticationMethod" => {
                Fault::Refused(format!("{place} refuses the user or password; see the key `url`"))
            }
            "RefusedProtocolVersion" | "UnsupportedProtocolVersion" => Fault::Refused(format!(
                "{place} does not speak version {version} of MQTT; see the key `version`, which may be 4 or 5"
            )),
            "BadClientId" | "ClientIdentifierNotValid" => Fault::Refused(format!(
                "{place} refuses the client id '{client_id}'; see the key `client-id`"
            )),
            "ServiceUnavailable"
            | "ServerUnavailable"
            | "ServerBusy"
            | "ConnectionRateExceeded" => {
                Fault::Lost(format!("{place} does not take connections now: {code}"))
            }
            _ => Fault::Refused(format!("{place} refuses the connection: {code}")),
        }
    }
}

impl Client {
    /// Asks for these topics. `Err` if one is no topic filter.
    pub(super) fn subscribe(&self, topics: &[String], qos: u8) -> Result<(), ()> {
        match self {
            Client::V4(client) => {
                let qos = if qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
                let filter = |topic: &String| SubscribeFilter::new(topic.clone(), qos);
                client.try_subscribe_many(topics.iter().map(filter)).map_err(drop)
            }
            Client::V5(client) => {
                let qos = if qos == 0 { QoS5::AtMostOnce } else { QoS5::AtLeastOnce };
                let filter = |topic: &String| packets5::Filter::new(topic.clone(), qos);
                client.try_subscribe_many(topics.iter().map(filter)).map_err(drop)
            }
        }
    }

    /// Asks for something harmless, whose answer tells that everything before it is done.
    pub(super) fn mark(&self) {
        let topic = "stentor/mark";
        let _ = match self {
            Client::V4(client) => client.try_unsubscribe(topic).map_err(drop),
            Client::V5(client) => client.try_unsubscribe(topic).map_err(drop),
        };
    }

    /// Acknowledges the message of this number. `false` if that has to wait.
    pub(super) fn acknowledge(&self, number: u16) -> bool {
        match self {
            Client::V4(client) => {
                let mut message = Publish::new("", QoS::AtLeastOnce, Vec::new());
                message.pkid = number;
                client.try_ack(&message).is_ok()
            }
            Client::V5(client) => {
                let mut message = packets5::Publish::new("", QoS5::AtLeastOnce, Bytes::new(), None);
                message.pkid = number;
                client.try_ack(&message).is_ok()
            }
        }
    }

    /// Publishes, at least once. `Err` if it is no topic.
    pub(super) fn publish(&self, topic: &str, payload: Bytes) -> Result<(), ()> {
        match self {
            Client::V4(client) => {
                client.try_publish(topic, QoS::AtLeastOnce, false, Vec::from(payload)).map_err(drop)
            }
            Client::V5(client) => {
                client.try_publish(topic, QoS5::AtLeastOnce, false, payload).map_err(drop)
            }
        }
    }
}

enum Error {
    V4(ConnectionError),
    V5(v5::ConnectionError),
}

impl Connection {
    /// What comes next. To be waited for to the end: dropped half way, it may lose what was to be
    /// sent.
    pub(super) async fn next(&mut self, options: &Options) -> Result<Said, Fault> {
        let said = match self {
            Connection::V4(events) => events.poll().await.map(said4).map_err(Error::V4),
            Connection::V5(events) => events.poll().await.map(said5).map_err(Error::V5),
        };
        said.map_err(|error| options.fault(error))
    }

    /// What had come before the connection ended.
    pub(super) fn rest(&mut self) -> Option<Said> {
        match self {
            Connection::V4(events) => events.state.events.pop_front().map(said4),
            Connection::V5(events) => events.state.events.pop_front().map(said5),
        }
    }
}

fn said4(event: Event) -> Said {
    match event {
        Event::Outgoing(rumqttc::Outgoing::Publish(number)) => Said::Sent(number),
        Event::Incoming(Packet::ConnAck(_)) => Said::Connected,
        Event::Incoming(Packet::SubAck(answer)) => {
            let refused = |code: &SubscribeReasonCode| *code == SubscribeReasonCode::Failure;
            let failed = answer.return_codes.iter().position(refused);
            Said::Subscribed(failed.map_or(Ok(()), |at| Err((at, "it is not allowed".to_owned()))))
        }
        Event::Incoming(Packet::UnsubAck(_)) => Said::Reached,
        Event::Incoming(Packet::PubAck(answer)) => Said::Arrived(answer.pkid, Ok(())),
        Event::Incoming(Packet::Publish(message)) => Said::Message(Message {
            topic: message.topic.into(),
            payload: message.payload,
            is_retained: message.retain,
            is_again: message.dup,
            number: (message.qos != QoS::AtMostOnce).then_some(message.pkid),
            properties: Vec::new(),
        }),
        _ => Said::Nothing,
    }
}

fn said5(event: v5::Event) -> Said {
    match event {
        v5::Event::Outgoing(rumqttc::Outgoing::Publish(number)) => Said::Sent(number),
        v5::Event::Incoming(packets5::Packet::ConnAck(_)) => Said::Connected,
        v5::Event::Incoming(packets5::Packet::SubAck(answer)) => {
            let refused = |code: &packets5::SubscribeReasonCode| {
                !matches!(code, packets5::SubscribeReasonCode::Success(_))
            };
            let failed = answer.return_codes.iter().position(refused);
            let why = |at: usize| (at, format!("{:?}", answer.return_codes[at]));
            Said::Subscribed(failed.map_or(Ok(()), |at| Err(why(at))))
        }
        v5::Event::Incoming(packets5::Packet::UnsubAck(_)) => Said::Reached,
        v5::Event::Incoming(packets5::Packet::PubAck(answer)) => {
            use packets5::PubAckReason::{NoMatchingSubscribers, Success};
            let is_taken = matches!(answer.reason, Success | NoMatchingSubscribers);
            let outcome = if is_taken { Ok(()) } else { Err(format!("{:?}", answer.reason)) };
            Said::Arrived(answer.pkid, outcome)
        }
        v5::Event::Incoming(packets5::Packet::Publish(message)) => Said::Message(Message {
            topic: message.topic,
            payload: message.payload,
            is_retained: message.retain,
            is_again: message.dup,
            number: (message.qos != QoS5::AtMostOnce).then_some(message.pkid),
            properties: message.properties.map_or(Vec::new(), |all| all.user_properties),
        }),
        _ => Said::Nothing,
    }
}

/// TLS that trusts whom this machine trusts.
fn tls() -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(
            "this machine trusts no certificate authority; install ca-certificates, or name \
                    a file of them in SSL_CERT_FILE"
                .to_owned(),
        );
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let versions = builder.with_safe_default_protocol_versions();
    let builder = versions.map_err(|why| format!("TLS cannot be set up: {why}"))?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
