//! `GET /v1/addresses`: how many connections come from where.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use axum::{
    extract::{Request, State},
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tokio::time::Instant;

use super::query::Query;
use crate::{
    control::{
        Plane,
        ask::ask,
        reply::{Refusal, reply_json},
    },
    ids::{ShardId, Slot},
    limits::COUNTED_ADDRESSES_MAX,
    report::{Question, Wanted},
};

#[derive(Serialize)]
struct Shown {
    /// Those with most connections first.
    addresses: Vec<Count>,
    /// Connections that were looked at.
    counted: u64,
    /// Whether these were all.
    complete: bool,
}

#[derive(Serialize)]
struct Count {
    /// An IPv4 address, or the network of 64 bits that an IPv6 address is of.
    address: String,
    connections: u64,
}

/// Counts by address, as far as that goes in a bounded time and room.
pub(super) async fn show(State(plane): State<Arc<Plane>>, request: Request) -> Response {
    try_show(&plane, request.uri()).await.unwrap_or_else(IntoResponse::into_response)
}

async fn try_show(plane: &Plane, uri: &Uri) -> Result<Response, Refusal> {
    let right = format!("a whole number from 1 to {LIMIT_MAX}");
    let limit = Query::of(uri, &["limit"])?.read("limit", &right, |text| {
        let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|limit| is_digits && (1..=LIMIT_MAX).contains(limit))
    })?;
    let until = Instant::now() + plane.settings().answer_timeout / 2;
    let mut counts: HashMap<IpAddr, u64> = HashMap::new();
    let (mut counted, mut complete) = (0, true);
    for shard in (0..plane.questions.len() as u16).map(ShardId) {
        let mut at = Some(Slot(0));
        while let Some(from) = at {
            if Instant::now() >= until {
                complete = false;
                break;
            }
            let (wanted, limit) = (Wanted::default(), usize::MAX);
            let question = |reply| Question::Connections { wanted, from, limit, reply };
            let report = ask(plane, shard, question).await?;
            at = report.next;
            for address in report.connections.into_iter().filter_map(|it| it.address) {
                let network = network(address.ip());
                // One more than there is room for is left out, and the answer says so.
                if counts.len() == COUNTED_ADDRESSES_MAX && !counts.contains_key(&network) {
                    complete = false;
                    continue;
                }
                *counts.entry(network).or_default() += 1;
                counted += 1;
            }
        }
    }
    let mut all: Vec<(IpAddr, u64)> = counts.into_iter().collect();
    all.sort_unstable_by_key(|&(address, connections)| (std::cmp::Reverse(connections), address));
    all.truncate(limit.unwrap_or(LIMIT_UNLESS_TOLD));
    let count = |(address, connections): (IpAddr, u64)| {
        let suffix = if address.is_ipv6() { "/64" } else { "" };
        Count { address: format!("{address}{suffix}"), connections }
    };
    let addresses = all.into_iter().map(count).collect();
    Ok(reply_json(StatusCode::OK, &Shown { addresses, counted, complete }))
}

/// What counts as one address: whoever has one of IPv6 has all of its last 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

const LIMIT_UNLESS_TOLD: usize = 10;
const LIMIT_MAX: usize = 1000;
