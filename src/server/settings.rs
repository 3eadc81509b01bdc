//! What the parts are told of the operator's settings.

use std::{net::SocketAddr, sync::Arc};

use super::{Plan, listen::Kind};
use crate::{
    access::Access,
    config::{self, Config},
    control,
    session::Rules,
    shield::{Limits, Networks},
    wire::route::Origins,
};

/// What sessions live by. Ticks count from `started_ms`, in milliseconds since 1970.
pub fn rules(config: &Config, shards: u16, access: &Arc<Access>, started_ms: u64) -> Rules {
    Rules {
        head_max: config.head_max.bytes(),
        frame_max: config.frame_max.bytes(),
        message_max: config.message_max.bytes(),
        handshake_timeout: config.handshake_timeout,
        ping_interval: config.ping_interval,
        pong_timeout: config.pong_timeout,
        stall_timeout: config.stall_timeout,
        echo: config.echo,
        allowed_origins: origins(config),
        retry_after: config.retry_after,
        policies: config.channels.policies().clone(),
        subscriptions_max: config.subscriptions_max,
        poll_timeout_max: config.poll_timeout_max,
        publication_max: config.publication_max.bytes(),
        channels_max: (config.channels_max as usize).div_ceil(usize::from(shards)),
        lag_bytes_max: config.lag_max.bytes(),
        shield: shield(config),
        client_header: config.client_header.header(),
        access: Arc::clone(access),
        token_publish_rate: config.token_publish_rate,
        started_ms,
        ..Rules::default()
    }
}

/// How much an address, and a connection, may ask for.
fn shield(config: &Config) -> Limits {
    Limits {
        exempt: config.exempt.clone(),
        prefaced: if config.proxy_protocol { config.trusted.clone() } else { Networks::default() },
        trusted: config.trusted.clone(),
        connections: config.address_connections,
        connects: config.address_connection_rate,
        requests: config.address_request_rate,
        channels: config.address_channel_rate,
        bytes: config.address_memory.bytes(),
        accepts: config.accept_rate,
        messages: config.message_rate,
        publications: config.publish_rate,
        message_timeout: Some(config.message_timeout).filter(|timeout| !timeout.is_zero()),
    }
}

/// The pages that may connect. The host's own may by whatever name only where nothing is public.
fn origins(config: &Config) -> Origins {
    match config.channels.policies().has_public() {
        true => config.allow_origin.clone().known_as(&config.host.0),
        false => config.allow_origin.clone(),
    }
}

/// Where the dashboard subscribes: a page that came by TLS may do so by TLS alone.
fn page_listener(config: &Config, subscribers: &[(Kind, SocketAddr)]) -> (Kind, SocketAddr) {
    let is_secure = !config.control_tls_cert.0.is_empty();
    let by_tls = subscribers.iter().find(|(kind, _)| is_secure && *kind == Kind::Tls);
    *by_tls.unwrap_or(&subscribers[0])
}

/// What the control plane lives by.
pub fn control_settings(
    config: &Config,
    subscribers: &[(Kind, SocketAddr)],
    access: &Arc<Access>,
) -> control::Settings {
    let (kind, subscribers) = page_listener(config, subscribers);
    let defaults = control::Settings::default();
    let publication_max = config.publication_max.bytes();
    control::Settings {
        publication_max,
        payload_memory_max: defaults.payload_memory_max.max(4 * publication_max),
        retry_after: config.retry_after,
        subscribers,
        subscribers_by_tls: kind == Kind::Tls,
        policies: config.channels.policies().clone(),
        hosts: config.control_host.0.clone(),
        access: Arc::clone(access),
        token_publish_rate: config.token_publish_rate,
        // A file of keys that is empty, perhaps since it is just being written, opens nothing.
        wants_keys: config.api_key_file.0.is_some()
            || (!config.control.is_local() && !config.control_open),
        pages: config.allow_origin.clone(),
        ready_deadline: config.ready_deadline,
        ..defaults
    }
}

/// The limits as operators are told of them: of connections, what was decided at the start.
pub fn limits(config: &Config, plan: &Plan) -> Vec<control::Limit> {
    let limit = |limit: config::Limit| {
        let (name, help) = (limit.setting.name, limit.setting.help);
        let (value, max) = match name {
            // It may be `auto`, and then nobody would know what holds.
            "max-connections" => {
                (plan.connections_max.to_string(), Some(u64::from(plan.connections_max)))
            }
            _ => (limit.value, limit.max),
        };
        control::Limit { name, value, max, help }
    };
    config.limits().map(limit).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        config::Inputs,
        server::{KeyFiles, listen::Kind},
    };

    /// A file of keys that has become empty lets nobody in any more, on loopback, too.
    #[test]
    fn an_empty_file_of_keys_opens_nothing() {
        let path = std::env::temp_dir().join(format!("stentor-keys-{}", std::process::id()));
        fs::write(&path, "a:admin:0123456789abcdef").unwrap();
        let flags = vec![("api-key-file", path.to_string_lossy().into_owned())];
        let config = Config::load(&Inputs { flags, ..Inputs::default() }).unwrap().config;
        let files = KeyFiles::open(&config).unwrap();
        fs::write(&path, "").unwrap();
        files.reload().unwrap();
        fs::remove_file(&path).unwrap();
        assert!(!files.access().has_api_keys());
        let subscribers = [(Kind::Plain, SocketAddr::from(([127, 0, 0, 1], 8080)))];
        assert!(control_settings(&config, &subscribers, files.access()).wants_keys);
        let open = Config::load(&Inputs::default()).unwrap().config;
        assert!(!control_settings(&open, &subscribers, files.access()).wants_keys);
    }

    /// A page that came by TLS subscribes by TLS where there is a listener for that, and any other where
    /// most do.
    #[test]
    fn a_page_subscribes_where_it_may() {
        let plain = (Kind::Plain, SocketAddr::from(([127, 0, 0, 1], 8080)));
        let tls = (Kind::Tls, SocketAddr::from(([127, 0, 0, 1], 8443)));
        let config = |flags: &[(&'static str, &str)]| {
            let flags = flags.iter().map(|&(name, text)| (name, text.to_owned())).collect();
            Config::load(&Inputs { flags, ..Inputs::default() }).unwrap().config
        };
        let (open, secure) = (config(&[]), config(&[("control-tls-cert", "a.pem")]));
        assert_eq!(page_listener(&open, &[plain, tls]), plain);
        assert_eq!(page_listener(&open, &[tls]), tls);
        assert_eq!(page_listener(&secure, &[plain, tls]), tls);
        assert_eq!(page_listener(&secure, &[plain]), plain);
    }
}
