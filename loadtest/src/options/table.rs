//! One row per option, from which everything else is made: the field, the flag, the TOML key, the
//! default and the help.

use std::time::Duration;

use serde::Deserialize;

use super::values::{
    Channels, Interval, Mix, PerSecond, Prefix, PublishTo, Rate, Share, Size, Sizes, Value,
    from_toml, read,
};
use crate::{plan::Spread, slo::Slo};

/// What is known of an option before anybody has given it a value.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The TOML key, and the flag without its dashes: `active-channels`.
    pub name: &'static str,
    /// The heading that it stands under in help and reference.
    pub group: &'static str,
    /// What it is when nobody says otherwise, as a user would write it; empty for nothing.
    pub default: &'static str,
    /// What it does.
    pub help: &'static str,
}

/// Makes [`Options`], [`Settled`] and [`OPTIONS`] from rows: the help as a doc comment, what clap
/// must know besides, then `field "name": Type = default`.
macro_rules! options {
    ($($group:literal {$(
        $(#[doc = $help:literal])+
        $(#[arg($($extra:tt)+)])?
        $field:ident $name:literal: $type:ty = $default:literal;
    )+})+) => {
        /// What flags or a plan file say; none where they say nothing.
        #[derive(Clone, Debug, Default, PartialEq, clap::Args, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Options {$($(
            $(#[doc = $help])+
            #[serde(rename = $name, deserialize_with = "from_toml")]
            #[arg(
                long = $name, id = $name, help_heading = $group,
                help = with_default(concat!($($help),+), $default), long_help = None,
                value_name = <$type as Value>::NOUN, value_parser = read::<$type>,
                // A value may begin with a dash: it is refused by us, in our words.
                allow_hyphen_values = true,
            )]
            $(#[arg($($extra)+)])?
            pub $field: Option<$type>,
        )+)+}

        /// The value of every option.
        pub(super) struct Settled {$($(
            pub $field: $type,
        )+)+}

        /// Every option, in the order of the help.
        pub const OPTIONS: &[Row] = &[$($(Row {
            name: $name,
            group: $group,
            default: $default,
            help: concat!($($help),+).trim_ascii(),
        },)+)+];

        impl Options {
            /// These options, and those of `below` where these say nothing.
            pub fn or(self, below: Options) -> Options {
                Options {$($($field: self.$field.or(below.$field),)+)+}
            }

            /// These options, and the defaults where they say nothing.
            pub(super) fn settled(&self) -> Settled {
                Settled {$($(
                    $field: self.$field.clone().unwrap_or_else(|| read($default).expect(READ)),
                )+)+}
            }
        }
    };
}

options! {
    "Subscribers" {
        /// Subscribers of quiet channels, which get broadcasts only.
        idle "idle": u64 = "0";
        /// Channels that the idle share: a number, or each for one a subscriber, or 1/20 for one
        /// for every 20 subscribers.
        idle_channels "idle-channels": Channels = "1";
        /// Subscribers of busy channels, on which is published.
        active "active": u64 = "1000";
        /// Channels that the active share: a number, or each for one a subscriber, or 1/20 for one
        /// for every 20 subscribers.
        active_channels "active-channels": Channels = "1";
        /// How the active, and publications, spread over busy channels: even, or zipf, with which
        /// the n-th channel has 1/n of what the first has, or zipf:1.2 for 1/n^1.2.
        spread "spread": Spread = "even";
        /// What the names of channels begin with: NAME-busy-0, NAME-quiet-0.
        channel_prefix "channel-prefix": Prefix = "loadtest";
        /// What subscribers speak: ws (WebSocket), sse (Server-Sent Events), poll (long-polling),
        /// v1 (WebSocket with the subprotocol stentor.v1), or several by weight, like
        /// ws=80,sse=20.
        transport "transport": Mix = "ws";
        /// New connections per second.
        ramp "ramp": u64 = "10000";
    }
    "Publications" {
        /// Publications per second over all busy channels: 200, or 10..500 to rise from the one to
        /// the other, or 0 for none. Without active subscribers it is 0 unless given.
        rate "rate": Rate = "10";
        /// Publications that are due at one instant; the rate stays the same on average.
        burst "burst": u64 = "1";
        /// Bytes of a payload: 64, or 64..4096 for all sizes between.
        payload "payload": Sizes = "64";
        /// How long to publish at that rate.
        duration "duration": Duration = "10s";
        /// Then, how many publications to every channel, quiet ones too.
        broadcasts "broadcasts": u64 = "0";
        /// Time between broadcasts.
        broadcast_every "broadcast-every": Duration = "5s";
        /// How long after the last was due publications may still arrive.
        settle "settle": Duration = "10s";
        /// Connections that publish. A channel always uses the same one.
        publishers "publishers": u64 = "4";
        /// The message bus that they go through instead of HTTP, like
        /// nats url=nats://127.0.0.1:4222 to={channel}.
        publish_to "publish-to": PublishTo = "";
    }
    "Trouble" {
        /// Subscribers per second that leave and come back at once.
        churn "churn": PerSecond = "0";
        /// Share of the subscribers that a storm cuts off at one instant: 0.5 or 50%.
        storm_share "storm-share": Share = "0";
        /// Time until the first storm and between storms: 30s, or a share of the duration.
        storm_every "storm-every": Interval = "40%";
        /// Whoever comes back asks for what it has missed, and is owed all of it but for gaps that the
        /// server announces.
        #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
        resume "resume": bool = "false";
        /// Share of the active subscribers that read too slowly: 0.1 or 10%.
        slow_share "slow-share": Share = "0";
        /// Bytes per second that each of them reads: 512B, 4kB.
        slow_rate "slow-rate": Size = "1kB";
        /// Share of the active subscribers that read nothing once they are connected: 0.1 or 10%.
        stalled_share "stalled-share": Share = "0";
        /// The server may close slow readers.
        #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
        slow_may_be_closed "slow-may-be-closed": bool = "false";
    }
    "Verdict" {
        /// What must hold for the exit code to be 0, like p99=250ms,loss=0; `--help` lists the
        /// objectives.
        slo "slo": Slo = "";
    }
}

/// The help of an option, with what holds if it is left out.
fn with_default(help: &str, default: &str) -> String {
    let help = help.trim().trim_end_matches('.');
    if default.is_empty() { help.to_owned() } else { format!("{help} [default: {default}]") }
}

const READ: &str = "a test reads every default";
