//! MQTT 3.1.1. With QoS 1 the broker acknowledges each; with QoS 0 they have gone out, and nobody says
//! whether they came.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use percent_encoding::percent_decode_str;
use rumqttc::{
    AsyncClient, ClientError, ConnectReturnCode, ConnectionError, Event, EventLoop, MqttOptions,
    Outgoing as Sent, Packet, QoS, TlsConfiguration, Transport,
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio::{runtime::Runtime, time::timeout};

use super::{ANSWER_MAX, BATCH_MAX, Bus, Link, Outcome, Outgoing, late, runtime};

/// A connection.
struct Mqtt {
    runtime: Runtime,
    client: AsyncClient,
    events: EventLoop,
    qos: QoS,
    /// Why it ended while nothing was published.
    ended: Option<String>,
}

/// A broker that says nothing for twice as long is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Bytes of a packet, by the protocol.
const PACKET_BYTES_MAX: usize = 268_435_460;

pub fn connect(bus: &Bus) -> Result<Box<dyn Link>, String> {
    let (runtime, place) = (runtime()?, bus.place());
    let options = options(&bus.url)?;
    let (client, mut events) = AsyncClient::new(options, BATCH_MAX);
    let connecting = async {
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => return Ok(()),
                Ok(_) => (),
                Err(error) => return Err(error),
            }
        }
    };
    let connected = runtime.block_on(async { timeout(ANSWER_MAX, connecting).await });
    let connected = connected.map_err(|_| format!("{place} gives {}", late()))?;
    connected.map_err(|error| match error {
        ConnectionError::ConnectionRefused(
            ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
        ) => format!("{place} refuses the user or password; see url"),
        ConnectionError::ConnectionRefused(code) => format!("{place} refuses us: {code:?}"),
        error => format!("{place} is not there: {error}; start it, or see url"),
    })?;
    let qos = if bus.qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
    Ok(Box::new(Mqtt { runtime, client, events, qos, ended: None }))
}

impl Link for Mqtt {
    fn check(&mut self, to: &str) -> Result<(), String> {
        match to.contains(['+', '#']) {
            true => Err(format!("the topic '{to}' has a + or #; write one without, see to")),
            false => Ok(()),
        }
    }

    fn publish(&mut self, batch: Vec<Outgoing>) -> Result<Vec<Outcome>, String> {
        if let Some(why) = self.ended.take() {
            return Err(why);
        }
        let mut outcomes = Vec::with_capacity(batch.len());
        for Outgoing { to, payload, .. } in batch {
            outcomes.push(match self.client.try_publish(to, self.qos, false, payload) {
                Ok(()) => Ok(()),
                Err(ClientError::TryRequest(_)) => Err("refused: it is no topic".to_owned()),
                Err(error) => return Err(error.to_string()),
            });
        }
        let taken = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        let answering = answered(&mut self.events, self.qos, taken);
        let answered = self.runtime.block_on(async { timeout(ANSWER_MAX, answering).await });
        answered.unwrap_or_else(|_| Err(late())).map(|()| outcomes)
    }

    fn rest(&mut self, time: Duration) {
        let (runtime, events) = (&self.runtime, &mut self.events);
        let listening = async {
            loop {
                if let Err(error) = events.poll().await {
                    return error;
                }
            }
        };
        if self.ended.is_some() {
            std::thread::sleep(time);
        } else if let Ok(error) = runtime.block_on(async { timeout(time, listening).await }) {
            self.ended = Some(lost(&error));
        }
    }
}

/// Waits until so many that were given to the client are taken.
async fn answered(events: &mut EventLoop, qos: QoS, given: usize) -> Result<(), String> {
    let mut left = given;
    while left > 0 {
        let event = events.poll().await.map_err(|error| lost(&error))?;
        let is_taken = match qos {
            QoS::AtMostOnce => matches!(event, Event::Outgoing(Sent::Publish(_))),
            _ => matches!(event, Event::Incoming(Packet::PubAck(_))),
        };
        left -= usize::from(is_taken);
    }
    Ok(())
}

fn lost(_: &ConnectionError) -> String {
    "the connection was lost".to_owned()
}

/// Reads `mqtt://[user:password@]host[:port]`.
fn options(url: &str) -> Result<MqttOptions, String> {
    let bad = || "its url is not like mqtt://user:password@127.0.0.1:1883".to_owned();
    let (scheme, rest) = url.split_once("://").ok_or_else(bad)?;
    let (transport, port) = match scheme {
        "mqtt" => (Transport::tcp(), 1883),
        "mqtts" => (Transport::tls_with_config(TlsConfiguration::Rustls(tls()?)), 8883),
        _ => return Err(bad()),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (login, address) = match rest.rsplit_once('@') {
        Some((login, address)) => (Some(login), address),
        None => (None, rest),
    };
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| bad())?),
        _ => (address, port),
    };
    if host.is_empty() || host.contains('/') {
        return Err(bad());
    }
    // A name that no other client has; brokers must take up to 23 letters and digits.
    let name = format!("loadtest{:015x}", RandomState::new().hash_one(0u8) >> 4);
    let mut options = MqttOptions::new(name, host, port);
    options.set_transport(transport).set_keep_alive(KEEP_ALIVE).set_inflight(BATCH_MAX as u16);
    options.set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX);
    if let Some((user, password)) = login.map(|login| login.split_once(':').unwrap_or((login, "")))
    {
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        options.set_credentials(decoded(user), decoded(password));
    }
    Ok(options)
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
