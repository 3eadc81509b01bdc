//! Bounds between two settings: each value may be right by itself and wrong beside another.
#![forbid(unsafe_code)]

use super::Settings;

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
            settings.listen.overlaps(settings.control).is_some(),
            clash("control", "is the same port as", "listen", "give each listener its own port"),
        ),
        (
            settings.listen.0.is_empty() && settings.listen_tls.0.is_empty(),
            Clash {
                name: "listen",
                relation: "leaves subscribers nowhere to connect",
                other: None,
                right: "write addresses like 127.0.0.1:8080 or [::]:8080",
            },
        ),
        (
            settings.listen_tls.overlaps(settings.control).is_some(),
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
            !settings.listen_tls.0.is_empty() && settings.tls_cert.0.is_empty(),
            clash("listen-tls", "needs", "tls-cert", "give a certificate, and its key as tls-key"),
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
            settings.pong_timeout > settings.ping_interval,
            clash("pong-timeout", "is above", "ping-interval", "let it end before the next ping"),
        ),
        (
            settings.retry_after.subsec_nanos() != 0,
            Clash {
                name: "retry-after",
                relation: "is not in whole seconds, as HTTP wants it",
                other: None,
                right: "write a duration like 5s or 2m",
            },
        ),
    ];
    rules.into_iter().filter(|(broken, _)| *broken).map(|(_, clash)| clash).collect()
}

fn clash(
    name: &'static str,
    relation: &'static str,
    other: &'static str,
    right: &'static str,
) -> Clash {
    Clash { name, relation, other: Some(other), right }
}
