//! Options into a plan: defaults where nobody said anything, every bound, what must fit together.

use std::time::Duration;

use super::{
    PlanError,
    bounds::{self, Range},
    table::{Options, Settled},
    values::{Channels, Interval, PerSecond, PublishTo, Rate, Share, Size, Value},
};
use crate::{
    bus::Bus,
    plan::{CHANNEL, Churn, Group, Plan, Publishing, Slow, Spread},
    units::count,
};

/// The plan that these options describe.
pub fn plan(options: &Options, name: &str) -> Result<Plan, PlanError> {
    let mut given = options.settled();
    if given.active == 0 && options.rate.is_none() {
        given.rate = Rate { from: 0.0, to: 0.0 };
    }
    let plan = Plan {
        name: name.to_owned(),
        idle: idle(&given)?,
        active: active(&given)?,
        ramp: number("ramp", given.ramp, bounds::RAMP)?,
        publishing: publishing(&given)?,
        churn: churn(&given)?,
        resume: given.resume,
        slow: slow(&given)?,
        settle: bounds::PAUSE.check("settle", given.settle)?,
        transports: given.transport.0,
    };
    somebody_subscribes(&plan)?;
    publications_have_a_channel(&plan)?;
    publications_can_be_numbered(&plan)?;
    a_day_is_enough(&plan)?;
    resuming_is_possible(&plan)?;
    Ok(plan)
}

fn idle(given: &Settled) -> Result<Group, PlanError> {
    let connections = number("idle", given.idle, bounds::CONNECTIONS)?;
    let channels = channels("idle", "idle-channels", given.idle_channels, given.idle)?;
    let prefix = format!("{}-quiet", given.channel_prefix.text());
    Ok(Group { connections, channels, prefix, spread: Spread::Even })
}

fn active(given: &Settled) -> Result<Group, PlanError> {
    let connections = number("active", given.active, bounds::CONNECTIONS)?;
    let channels = channels("active", "active-channels", given.active_channels, given.active)?;
    let prefix = format!("{}-busy", given.channel_prefix.text());
    if let Spread::Zipf(exponent) = given.spread {
        bounds::ZIPF.check("spread", exponent)?;
    }
    Ok(Group { connections, channels, prefix, spread: given.spread })
}

/// The channels of a group, each of which has a subscriber unless the group has none.
fn channels(
    group: &'static str,
    option: &'static str,
    channels: Channels,
    connections: u64,
) -> Result<u32, PlanError> {
    match channels {
        Channels::OneFor(many) => {
            bounds::CHANNELS.check(option, many)?;
            Ok(connections.div_ceil(many).max(1) as u32)
        }
        Channels::Number(channels) => {
            let channels = number(option, channels, bounds::CHANNELS)?;
            if connections > 0 && u64::from(channels) > connections {
                return Err(PlanError::Outside {
                    option,
                    value: channels.to_string(),
                    problem: format!("is more than the {connections} subscribers of {group}"),
                    right: format!(
                        "write 1 to {connections}, or each, or 1/20 for one channel for every 20"
                    ),
                });
            }
            Ok(channels)
        }
    }
}

fn publishing(given: &Settled) -> Result<Publishing, PlanError> {
    let rate = given.rate;
    bounds::RATE.check("rate", rate.from)?;
    bounds::RATE.check("rate", rate.to)?;
    let payload = given.payload;
    bounds::PAYLOAD.check("payload", Size(payload.min))?;
    bounds::PAYLOAD.check("payload", Size(payload.max))?;
    if payload.min > payload.max {
        return Err(PlanError::Outside {
            option: "payload",
            value: payload.text(),
            problem: "begins above its end".to_owned(),
            right: "write the smaller number first".to_owned(),
        });
    }
    Ok(Publishing {
        rate_from: rate.from,
        rate_to: rate.to,
        burst: number("burst", given.burst, bounds::BURST)?,
        duration: bounds::DURATION.check("duration", given.duration)?,
        broadcasts: number("broadcasts", given.broadcasts, bounds::BROADCASTS)?,
        broadcast_every: bounds::PAUSE.check("broadcast-every", given.broadcast_every)?,
        payload_min: payload.min as u32,
        payload_max: payload.max as u32,
        publishers: number("publishers", given.publishers, bounds::PUBLISHERS)?,
    })
}

/// The bus, if something is published: the channel must be told by what comes out of it.
pub fn bus(given: PublishTo, plan: &Plan) -> Result<Option<Bus>, PlanError> {
    let Some(bus) = given.0.filter(|_| plan.publishes()) else { return Ok(None) };
    if plan.channels() > 1 && !bus.names_the_channel() {
        return Err(PlanError::Outside {
            option: "publish-to",
            value: bus.to,
            problem: format!("is the same for all of the plan's {} channels", plan.channels()),
            right: format!("write {CHANNEL} in to, where a channel's name goes"),
        });
    }
    Ok(Some(bus))
}

fn churn(given: &Settled) -> Result<Churn, PlanError> {
    let PerSecond(per_second) = given.churn;
    let Share(storm_share) = given.storm_share;
    let storm_every = match given.storm_every {
        Interval::Time(time) => time,
        Interval::Share(share) => {
            given.duration.mul_f64(bounds::SHARE.check("storm-every", share)?)
        }
    };
    let storm_every = bounds::STORM_EVERY.check("storm-every", storm_every)?;
    if storm_share > 0.0 && storm_every >= given.duration {
        return Err(PlanError::Outside {
            option: "storm-every",
            value: storm_every.text(),
            problem: format!(
                "does not end within the duration of {}: no storm would come",
                given.duration.text()
            ),
            right: "write a shorter time, or a share of the duration like 40%".to_owned(),
        });
    }
    Ok(Churn {
        per_second: bounds::CHURN.check("churn", per_second)?,
        storm_share: bounds::SHARE.check("storm-share", storm_share)?,
        storm_every,
    })
}

fn slow(given: &Settled) -> Result<Slow, PlanError> {
    Ok(Slow {
        share: bounds::SHARE.check("slow-share", given.slow_share.0)?,
        stalled: bounds::SHARE.check("stalled-share", given.stalled_share.0)?,
        bytes_per_second: bounds::SLOW_RATE.check("slow-rate", given.slow_rate)?.0 as u32,
        may_be_closed: given.slow_may_be_closed,
    })
}

/// A number that fits 32 bits because its range does.
fn number(option: &'static str, value: u64, range: Range<u64>) -> Result<u32, PlanError> {
    range.check(option, value).map(|value| u32::try_from(value).expect("the range fits"))
}

fn somebody_subscribes(plan: &Plan) -> Result<(), PlanError> {
    let all = u64::from(plan.idle.connections) + u64::from(plan.active.connections);
    if all == 0 {
        return Err(PlanError::Outside {
            option: "active",
            value: "0".to_owned(),
            problem: "leaves nobody to subscribe, for idle is 0, too".to_owned(),
            right: "give either of them subscribers".to_owned(),
        });
    }
    let together =
        Range { why: "idle and active together are more than a run holds", ..bounds::CONNECTIONS };
    together.check("active", all).map(|_| ())
}

fn publications_have_a_channel(plan: &Plan) -> Result<(), PlanError> {
    let Publishing { rate_from: from, rate_to: to, .. } = plan.publishing;
    if plan.active.connections > 0 || from + to == 0.0 {
        return Ok(());
    }
    Err(PlanError::Outside {
        option: "rate",
        value: Rate { from, to }.text(),
        problem: "needs a busy channel, and there is none because active is 0".to_owned(),
        right: "write --rate 0, or give active subscribers".to_owned(),
    })
}

fn publications_can_be_numbered(plan: &Plan) -> Result<(), PlanError> {
    let publishing = &plan.publishing;
    let all = publishing.at_rate() + u64::from(publishing.broadcasts);
    if all <= bounds::PUBLICATIONS_MAX {
        return Ok(());
    }
    Err(PlanError::Outside {
        option: "rate",
        value: Rate { from: publishing.rate_from, to: publishing.rate_to }.text(),
        problem: format!(
            "makes {} publications in {}; a run can number {}",
            count(all),
            publishing.duration.text(),
            count(bounds::PUBLICATIONS_MAX)
        ),
        right: "lower the rate or the duration".to_owned(),
    })
}

/// Who resumes says from which position on, and plain WebSocket tells nobody any.
fn resuming_is_possible(plan: &Plan) -> Result<(), PlanError> {
    if !plan.resume || plan.transports.iter().all(|(transport, _)| transport.has_positions()) {
        return Ok(());
    }
    Err(PlanError::Outside {
        option: "resume",
        value: "true".to_owned(),
        problem: "needs positions, and ws (plain WebSocket) tells subscribers none".to_owned(),
        right: "write a transport of sse, poll and v1 alone, or --resume=false".to_owned(),
    })
}

/// Ramp and broadcasts keep to a day, as the duration does by its own range.
fn a_day_is_enough(plan: &Plan) -> Result<(), PlanError> {
    let ramp = Duration::from_secs(u64::from(plan.connections().div_ceil(plan.ramp)));
    if ramp > bounds::DAY {
        return Err(PlanError::Outside {
            option: "ramp",
            value: plan.ramp.to_string(),
            problem: format!(
                "takes longer than a day for {} subscribers",
                count(plan.connections().into())
            ),
            right: "write more connections per second".to_owned(),
        });
    }
    let Publishing { broadcasts, broadcast_every, .. } = plan.publishing;
    let broadcasting = broadcast_every.saturating_mul(broadcasts);
    if broadcasting > bounds::DAY {
        return Err(PlanError::Outside {
            option: "broadcasts",
            value: broadcasts.to_string(),
            problem: format!("take {} altogether, which is more than a day", broadcasting.text()),
            right: "write fewer, or a shorter broadcast-every".to_owned(),
        });
    }
    Ok(())
}
