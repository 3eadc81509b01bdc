//! Bounds between two settings: each value may be right by itself and wrong beside another.
#![forbid(unsafe_code)]

use super::{Settings, proxies::ClientHeader};

/// Two settings that cannot both be as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clash {
    /// The setting to complain about.
    pub name: &'static str,
    /// How it stands to the other.
    pub relation: &'static str,
    /// The other setting; none if the value clashes with the protocol.
    pub other: Option<&'static str>,
    /// How to end it.
    pub right: &'static str,
}

/// Every clash among these settings.
pub(super) fn clashes(settings: &Settings) -> Vec<Clash> {
    let rules = [
        (
            is_exposed(settings),
            alone(
                "control",
                "is reached from other machines, and there is no key for it",
                "set --api-key, --api-key-file, --token-key or --token-jwks, or listen on \
                 127.0.0.1; --control-open lets everybody publish",
            ),
        ),
        (
            settings.channels.policies().want_tokens() && !takes_tokens(settings),
            alone(
                "channels",
                "wants tokens, and there is no key to verify them with",
                "set --token-key or --token-jwks",
            ),
        ),
        (
            settings.message_max < settings.frame_max,
            clash("message-max", "is below", "frame-max", "raise message-max or lower frame-max"),
        ),
        (
            settings.lag_max < settings.publication_max,
            clash("lag-max", "is below", "publication-max", "let it hold one publication at least"),
        ),
        (
            settings.address_memory.bytes() > 0 && settings.address_memory < settings.message_max,
            clash("address-memory", "is below", "message-max", "let it hold one message at least"),
        ),
        (
            settings.proxy_protocol && settings.trusted.is_empty(),
            clash("proxy-protocol", "is on without", "trusted", "name the proxies' networks"),
        ),
        (
            settings.client_header != ClientHeader::None && settings.trusted.is_empty(),
            clash("client-header", "is on without", "trusted", "name the proxies' networks"),
        ),
        (
            settings.pong_timeout > settings.ping_interval,
            clash("pong-timeout", "is above", "ping-interval", "let it end before the next ping"),
        ),
        (
            settings.trace_sample > 0 && settings.otlp_endpoint.0.is_none(),
            clash("trace-sample", NO_USE, "otlp-endpoint", "name the collector"),
        ),
        (
            !settings.otlp_header.0.is_empty() && settings.otlp_endpoint.0.is_none(),
            clash("otlp-header", NO_USE, "otlp-endpoint", "name the collector"),
        ),
        (
            settings.retry_after.subsec_nanos() != 0,
            alone(
                "retry-after",
                "is not in whole seconds, as HTTP wants it",
                "write a duration like 5s or 2m",
            ),
        ),
    ];
    let rules = addresses(settings).into_iter().chain(rules);
    rules.filter(|(broken, _)| *broken).map(|(_, clash)| clash).collect()
}

fn alone(name: &'static str, relation: &'static str, right: &'static str) -> Clash {
    Clash { name, relation, other: None, right }
}

/// Where it is listened, and what that takes.
fn addresses(settings: &Settings) -> Vec<(bool, Clash)> {
    vec![
        (
            settings.listen.overlap_with(&settings.control),
            clash("control", "is the same port as", "listen", "give each listener its own port"),
        ),
        (
            settings.listen.0.is_empty() && settings.listen_tls.0.is_empty(),
            alone(
                "listen",
                "leaves subscribers nowhere to connect",
                "write addresses like 127.0.0.1:8080 or [::]:8080",
            ),
        ),
        (
            settings.listen_tls.overlap_with(&settings.control),
            clash(
                "control",
                "is the same port as",
                "listen-tls",
                "give each listener its own port",
            ),
        ),
        (
            settings.listen.0.iter().any(|&it| settings.listen_tls.overlaps(it).is_some()),
            clash("listen-tls", "has a port of", "listen", "give each listener its own port"),
        ),
        (
            settings.control_client_ca.0.is_some() && settings.control_tls_cert.0.is_empty(),
            clash(
                "control-client-ca",
                "needs",
                "control-tls-cert",
                "give a certificate, and its key as control-tls-key",
            ),
        ),
        (
            settings.control.tcp().is_none() && !settings.control_tls_cert.0.is_empty(),
            clash(
                "control-tls-cert",
                "is of no use on the Unix socket of",
                "control",
                "speak plainly there, or give an IP address with a port",
            ),
        ),
        (
            !settings.listen_tls.0.is_empty() && settings.tls_cert.0.is_empty(),
            clash("listen-tls", "needs", "tls-cert", "give a certificate, and its key as tls-key"),
        ),
        // Who gives a certificate believes that TLS is spoken.
        (
            settings.listen_tls.0.is_empty() && !settings.tls_cert.0.is_empty(),
            clash("tls-cert", NO_USE, "listen-tls", "say there where TLS is to be spoken"),
        ),
        (
            settings.tls_cert.0.is_empty() && !settings.tls_key.0.is_empty(),
            clash("tls-key", NO_USE, "tls-cert", "give the certificate that it is the key of"),
        ),
        (
            settings.control_tls_cert.0.is_empty() && !settings.control_tls_key.0.is_empty(),
            clash(
                "control-tls-key",
                NO_USE,
                "control-tls-cert",
                "give the certificate that it is the key of",
            ),
        ),
    ]
}

fn clash(
    name: &'static str,
    relation: &'static str,
    other: &'static str,
    right: &'static str,
) -> Clash {
    Clash { name, relation, other: Some(other), right }
}

/// Whether whoever reaches the machine could publish.
fn is_exposed(settings: &Settings) -> bool {
    let has_keys = settings.api_key.line().is_some() || settings.api_key_file.0.is_some();
    let is_guarded = has_keys || takes_tokens(settings) || settings.control_open;
    !settings.control.is_local() && !is_guarded
}

fn takes_tokens(settings: &Settings) -> bool {
    settings.token_key.0.is_some() || settings.token_jwks.0.is_some()
}

/// How a setting stands to another that alone gives it a meaning, and that is not there.
const NO_USE: &str = "is of no use without";
