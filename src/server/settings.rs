//! What the parts are told of the operator's settings.

use std::{net::SocketAddr, sync::Arc};

use super::Plan;
use crate::{
    access::Access,
    config::{self, Config},
    control,
    session::Rules,
    shield::{Limits, Networks},
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
        allowed_origins: config.allow_origin.clone(),
        retry_after: config.retry_after,
        policies: config.channels.policies().clone(),
        subscriptions_max: config.subscriptions_max,
        poll_timeout_max: config.poll_timeout_max,
        publication_max: config.publication_max.bytes(),
        channels_max: (config.channels_max as usize).div_ceil(usize::from(shards)),
        lag_bytes_max: config.lag_max.bytes(),
        shield: shield(config),
        access: Arc::clone(access),
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

/// What the control plane lives by.
pub fn control_settings(
    config: &Config,
    subscribers: SocketAddr,
    access: &Arc<Access>,
) -> control::Settings {
    let defaults = control::Settings::default();
    let publication_max = config.publication_max.bytes();
    control::Settings {
        publication_max,
        payload_memory_max: defaults.payload_memory_max.max(4 * publication_max),
        retry_after: config.retry_after,
        subscribers,
        hosts: config.control_host.0.clone(),
        access: Arc::clone(access),
        wants_keys: !config.control.ip().is_loopback() && !config.control_open,
        pages: config.allow_origin.clone(),
        ..defaults
    }
}

/// The limits as operators are told of them: of connections, what was decided at the start.
pub fn limits(config: &Config, plan: &Plan) -> Vec<control::Limit> {
    let limit = |limit: config::Limit| {
        let (name, help) = (limit.setting.name, limit.setting.help);
        let max = match name {
            "max-connections" => Some(u64::from(plan.connections_max)),
            _ => limit.max,
        };
        control::Limit { name, value: limit.value, max, help }
    };
    config.limits().map(limit).collect()
}
