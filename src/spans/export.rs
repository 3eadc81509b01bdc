//! Spans on their way to a collector: batches of OTLP in JSON, over HTTP.
//!
//! A batch that is not taken within [`SPANS_TIMEOUT_MS`] is given up: trying again would only push the
//! next ones out of the queue.

use std::{
    fmt,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rustls::crypto::ring;
use serde_json::{Value, json};
use ureq::{
    Agent,
    tls::{Certificate, RootCerts, TlsConfig},
};

use super::{Span, Spans, Tally, Told};
use crate::{
    limits::{SPANS_PER_REQUEST_MAX, SPANS_TIMEOUT_MS, SPANS_WAIT_MS},
    logs::limited,
};

/// Sends spans to the collector.
pub struct Exporter {
    url: String,
    headers: Vec<(String, String)>,
    agent: Agent,
    queued: Receiver<Span>,
    tally: Tally,
    end: SyncSender<()>,
}

impl Exporter {
    pub(super) fn new(
        spans: Spans,
        queued: Receiver<Span>,
        tally: Tally,
        end: SyncSender<()>,
    ) -> Self {
        let Spans { endpoint, headers, .. } = spans;
        let config = Agent::config_builder()
            .timeout_global(Some(Duration::from_millis(SPANS_TIMEOUT_MS)))
            .max_redirects(0)
            .proxy(None);
        let config = match endpoint.starts_with("https:") {
            true => config.tls_config(machines_authorities()),
            false => config,
        };
        let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        Exporter { url, headers, agent: config.build().new_agent(), queued, tally, end }
    }

    /// Sends what comes until the tracer is gone.
    pub fn run(self) {
        while let Ok(first) = self.queued.recv() {
            let until = Instant::now() + Duration::from_millis(SPANS_WAIT_MS);
            let mut batch = vec![first];
            while batch.len() < SPANS_PER_REQUEST_MAX {
                let left = until.saturating_duration_since(Instant::now());
                match self.queued.recv_timeout(left) {
                    Ok(span) => batch.push(span),
                    Err(_) => break,
                }
            }
            self.send(&batch);
        }
        let _ = self.end.try_send(());
    }

    fn send(&self, batch: &[Span]) {
        let body = serde_json::to_vec(&request(batch)).expect("it has only text keys");
        let mut post = self.agent.post(&self.url).content_type("application/json");
        for (name, value) in &self.headers {
            post = post.header(name, value);
        }
        match post.send(&body[..]) {
            // Where a redirection leads to is not asked, and comes as an answer.
            Ok(answer) if answer.status().is_success() => {
                self.tally.exported.inc_by(batch.len() as u64);
            }
            Ok(answer) => self.fail(batch, &answer.status()),
            Err(why) => self.fail(batch, &why),
        }
    }

    fn fail(&self, batch: &[Span], why: &dyn fmt::Display) {
        self.tally.failed.inc_by(batch.len() as u64);
        let (url, spans) = (&self.url, batch.len());
        limited!(warn, "spans", "{spans} spans are lost, {url} did not take them: {why}");
    }
}

fn machines_authorities() -> TlsConfig {
    let found = rustls_native_certs::load_native_certs().certs;
    let certificates = found.iter().map(|it| Certificate::from_der(it.as_ref()).to_owned());
    let roots = RootCerts::from(certificates.collect::<Vec<_>>());
    let provider = Arc::new(ring::default_provider());
    TlsConfig::builder().root_certs(roots).unversioned_rustls_crypto_provider(provider).build()
}

/// What a collector is sent: `ExportTraceServiceRequest` as OTLP writes it in JSON.
fn request(batch: &[Span]) -> Value {
    let version = env!("CARGO_PKG_VERSION");
    let resource = [text("service.name", "stentor"), text("service.version", version)];
    let spans: Vec<Value> = batch.iter().map(span).collect();
    json!({ "resourceSpans": [{
        "resource": { "attributes": resource },
        "scopeSpans": [{ "scope": { "name": "stentor", "version": version }, "spans": spans }],
    }] })
}

/// A span that the server did for somebody.
const SERVER: u8 = 2;
/// The status of what went wrong.
const ERROR: u8 = 2;

fn span(span: &Span) -> Value {
    let Span { begun, answered, told } = span;
    let Told { channel, shard, bytes, outcome } = told;
    let mut attributes = vec![
        text("messaging.system", "stentor"),
        text("messaging.destination.name", channel.as_str()),
        number("messaging.message.body.size", *bytes as u64),
        number("stentor.shard", u64::from(shard.0)),
    ];
    let mut status = json!({});
    match outcome {
        Ok((position, readers)) => {
            attributes.push(text("messaging.message.id", &position.to_string()));
            attributes.push(text("stentor.offset", &position.offset.0.to_string()));
            attributes.push(number("stentor.readers", *readers));
        }
        Err(why) => status = json!({ "code": ERROR, "message": why }),
    }
    let mut told = json!({
        "traceId": format!("{:032x}", begun.trace),
        "spanId": format!("{:016x}", begun.span),
        "name": "publish",
        "kind": SERVER,
        "startTimeUnixNano": nanos(begun.arrived),
        "endTimeUnixNano": nanos(*answered),
        "attributes": attributes,
        "events": [{ "timeUnixNano": nanos(begun.handed_over), "name": "handed over" }],
        "status": status,
    });
    if let Some(parent) = begun.parent {
        told["parentSpanId"] = format!("{parent:016x}").into();
    }
    told
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

/// JSON has no numbers of 64 bits, so OTLP writes them as text.
fn number(key: &str, value: u64) -> Value {
    json!({ "key": key, "value": { "intValue": value.to_string() } })
}

fn nanos(time: SystemTime) -> String {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}
