//! `GET /metrics`: the shards' counters as Prometheus reads them (OpenMetrics text).
//!
//! Nothing is counted twice: the shards' own counters are read when a scrape asks, by a
//! [`Collector`]. Figures are summed over the shards, except where a single shard tells more than
//! the sum (queues, utilisation).

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text},
    metrics::{MetricType, counter::Counter as Count, info::Info},
    registry::{Registry, Unit},
};

use super::{
    Plane, States,
    entitle::AccessCollector,
    input_metrics::InputsCollector,
    lag,
    own_use::own_use,
    stats::{connections, total},
};
use crate::{
    access::Access,
    close::CloseReason,
    counters::{Counter, Counters, SWEEP_BUCKETS_US},
    mesh::Ingress,
    shield::Excess,
};

/// Answers a scrape.
pub(super) async fn scrape(State(plane): State<Arc<Plane>>) -> Response {
    let mut body = String::with_capacity(16 * 1024);
    const MEMORY: &str = "writing to a String does not fail";
    text::encode_registry(&mut body, &plane.metrics.registry).expect(MEMORY);
    lag::scrape(&plane, &mut body).await.expect(MEMORY);
    text::encode_eof(&mut body).expect(MEMORY);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let kind = HeaderValue::from_static(kind);
    (StatusCode::OK, [(header::CONTENT_TYPE, kind)], body).into_response()
}

/// Everything that can be scraped.
pub(super) struct Metrics {
    registry: Registry,
    /// Publications that found the queue of their shard full.
    pub(super) refused: Count,
}

impl Metrics {
    pub(super) fn new(
        ingresses: Arc<[Ingress]>,
        counters: Arc<[Counters]>,
        inputs: States,
        access: Arc<Access>,
    ) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(OwnUseCollector));
        let ours = registry.sub_registry_with_prefix("stentor");
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        ours.register("build", "The release that is running", Info::new(version));
        let refused = Count::default();
        let help = "Publications over HTTP that were refused because a queue was full, their shard's or that of their bus";
        ours.register("publications_refused", help, refused.clone());
        ours.register_collector(Box::new(ShardsCollector { ingresses, counters }));
        ours.register_collector(Box::new(InputsCollector(inputs)));
        ours.register_collector(Box::new(AccessCollector(access)));
        Metrics { registry, refused }
    }

    /// Has more of ours scraped.
    pub(super) fn register(&mut self, register: impl FnOnce(&mut Registry)) {
        register(self.registry.sub_registry_with_prefix("stentor"));
    }
}

/// A number that every shard has and that is summed.
struct Summed {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    of: fn(&Counters) -> &Counter,
}

/// What only rises.
static TOTALS: LazyLock<[Summed; 17]> = LazyLock::new(|| {
    let plain = |name, help, of| Summed { name, help, unit: None, of };
    let bytes = |name, help, of| Summed { name, help, unit: Some(Unit::Bytes), of };
    [
        plain("connections_accepted", "Connections accepted.", |shard| &shard.accepted),
        plain(
            "connections_refused",
            "Connections answered 503 because the server was full or draining.",
            |shard| &shard.refused,
        ),
        plain("publications", "Publications that were given a position.", |shard| {
            &shard.publications
        }),
        bytes("publication", "Payload bytes of publications.", |shard| &shard.publication_bytes),
        plain("encodings", "Encodings made of publications, over all formats.", |shard| {
            &shard.encodings
        }),
        plain(
            "deliveries",
            "Publications handed whole to the kernel, once per subscriber.",
            |shard| &shard.deliveries,
        ),
        bytes("delivered", "Bytes of broadcasts handed to the kernel.", |shard| {
            &shard.delivered_bytes
        }),
        plain("sends", "Sends made for broadcasts.", |shard| &shard.sends),
        plain("short_sends", "Sends that the socket did not take whole.", |shard| {
            &shard.short_sends
        }),
        plain("subscriptions_resumed", "Subscriptions that asked for what they missed.", |shard| {
            &shard.resumed
        }),
        plain("subscriptions_recovered", "Those of them that were given all of it.", |shard| {
            &shard.recovered
        }),
        plain(
            "publications_skipped",
            "Publications that slow subscribers were made to skip, once per subscriber.",
            |shard| &shard.skipped,
        ),
        plain("gaps", "Notices of a gap that subscribers were given.", |shard| &shard.gaps),
        plain("tls_handshakes", "TLS handshakes that succeeded.", |shard| &shard.tls.handshakes),
        plain("tls_resumed", "Those of them that took a session up again by a ticket.", |shard| {
            &shard.tls.resumed
        }),
        plain(
            "tls_failed",
            "Connections to a TLS listener that failed before their handshake was over.",
            |shard| &shard.tls.failed,
        ),
        plain("turns", "Turns of the shards' loops.", |shard| &shard.turns),
    ]
});

/// What rises and falls.
static LEVELS: LazyLock<[Summed; 6]> = LazyLock::new(|| {
    let plain = |name, help, of| Summed { name, help, unit: None, of };
    [
        plain("subscribers_blocked", "Subscribers whose socket is full.", |shard| &shard.blocked),
        Summed {
            name: "log",
            help: "Segments kept for subscribers, once per shard and format that reads them.",
            unit: Some(Unit::Bytes),
            of: |shard| &shard.log_bytes,
        },
        Summed {
            name: "tls_kept",
            help: "Kept for TLS connections: records that came in part, ciphertext not yet taken.",
            unit: Some(Unit::Bytes),
            of: |shard| &shard.tls.kept_bytes,
        },
        plain("channels", "Channels that a shard orders the publications of.", |shard| {
            &shard.channels
        }),
        plain("shield_connections", "Connections that count for their addresses.", |shard| {
            &shard.counted
        }),
        plain("views", "Channels with a subscriber, once per shard and format.", |shard| {
            &shard.views
        }),
    ]
});

struct ShardsCollector {
    ingresses: Arc<[Ingress]>,
    counters: Arc<[Counters]>,
}

impl fmt::Debug for ShardsCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardsCollector").field("shards", &self.counters.len()).finish()
    }
}

impl Collector for ShardsCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for metric in TOTALS.iter() {
            let value = total(&self.counters, metric.of);
            let unit = metric.unit.as_ref();
            encoder
                .encode_descriptor(metric.name, metric.help, unit, MetricType::Counter)?
                .encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        for metric in LEVELS.iter() {
            let value = total(&self.counters, metric.of);
            let unit = metric.unit.as_ref();
            encoder
                .encode_descriptor(metric.name, metric.help, unit, MetricType::Gauge)?
                .encode_gauge(&value)?;
        }
        self.encode_connections(&mut encoder)?;
        self.encode_closed(&mut encoder)?;
        self.encode_excess(&mut encoder)?;
        self.encode_coalescing(&mut encoder)?;
        let sweeps = ("sweep_duration", "How long rounds over all subscribers of a channel took.");
        self.encode_durations(&mut encoder, sweeps, |it| &it.sweep_us, |it| &it.sweep_buckets)?;
        let last = ("delivered_last", "From a publication until the last subscriber was written.");
        self.encode_durations(&mut encoder, last, |it| &it.written_us, |it| &it.written_buckets)?;
        self.encode_queues(&mut encoder)?;
        self.encode_utilisation(&mut encoder)
    }
}

impl ShardsCollector {
    /// Encodes one sample per shard, labelled with its number.
    fn each_shard(
        &self,
        mut metric: MetricEncoder,
        sample: impl Fn(usize, MetricEncoder) -> fmt::Result,
    ) -> fmt::Result {
        (0..self.counters.len())
            .try_for_each(|shard| sample(shard, metric.encode_family(&[("shard", shard)])?))
    }

    fn encode_connections(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let help = "Connections by transport; json is stentor.v1 and waiting long-polls, other handshakes, idle polls and closing.";
        let mut metric = encoder.encode_descriptor("connections", help, None, MetricType::Gauge)?;
        let now = connections(&self.counters);
        for (transport, count) in [
            ("websocket", now.websocket),
            ("sse", now.sse),
            ("json", now.json),
            ("other", now.other),
        ] {
            metric.encode_family(&[("transport", transport)])?.encode_gauge(&count)?;
        }
        Ok(())
    }

    fn encode_closed(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let help = "Connections ended, by reason.";
        let mut metric =
            encoder.encode_descriptor("connections_closed", help, None, MetricType::Counter)?;
        for reason in CloseReason::ALL {
            let count = total(&self.counters, |shard| &shard.closed[reason.index()]);
            metric
                .encode_family(&[("reason", snake_case(reason.label()).as_str())])?
                .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        Ok(())
    }

    fn encode_excess(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let help = "How often there was too much of something, by the setting that is the limit.";
        let mut metric =
            encoder.encode_descriptor("shield_excess", help, None, MetricType::Counter)?;
        for excess in Excess::ALL {
            let count = total(&self.counters, |shard| &shard.excess[excess.index()]);
            metric
                .encode_family(&[("limit", excess.label())])?
                .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        Ok(())
    }

    fn encode_coalescing(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let help = "Deliveries per send since the start; above 1, bursts left as one send.";
        let sends = total(&self.counters, |shard| &shard.sends);
        let deliveries = total(&self.counters, |shard| &shard.deliveries);
        encoder
            .encode_descriptor("coalescing_ratio", help, None, MetricType::Gauge)?
            .encode_gauge(&ratio(deliveries, sends))
    }

    fn encode_durations(
        &self,
        encoder: &mut DescriptorEncoder,
        (name, help): (&str, &str),
        sum: fn(&Counters) -> &Counter,
        buckets: fn(&Counters) -> &[Counter; SWEEP_BUCKETS_US.len() + 1],
    ) -> fmt::Result {
        let bounds = SWEEP_BUCKETS_US.iter().map(|&us| us as f64 / 1e6).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds
            .enumerate()
            .map(|(n, bound)| (bound, total(&self.counters, |shard| &buckets(shard)[n])))
            .collect();
        // From the buckets, so that the last always equals the count.
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = total(&self.counters, sum) as f64 / 1e6;
        encoder
            .encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?
            .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn encode_queues(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let help = "Messages from other shards that wait.";
        let metric = encoder.encode_descriptor("inbox_depth", help, None, MetricType::Gauge)?;
        self.each_shard(metric, |n, mut metric| {
            metric.encode_gauge(&self.counters[n].inbox.get())
        })?;
        let help = "Publications from outside that wait.";
        let metric =
            encoder.encode_descriptor("publish_queue_depth", help, None, MetricType::Gauge)?;
        self.each_shard(metric, |n, mut metric| metric.encode_gauge(&self.ingresses[n].waiting()))
    }

    fn encode_utilisation(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let unit = Some(&Unit::Seconds);
        let help = "Time that a shard spent in turns, not parked; its rate is the utilisation.";
        let metric = encoder.encode_descriptor("shard_busy", help, unit, MetricType::Counter)?;
        self.each_shard(metric, |n, mut metric| {
            let seconds = self.counters[n].busy_us.get() as f64 / 1e6;
            metric.encode_counter::<NoLabelSet, _, u64>(&seconds, None)
        })
    }
}

/// The process as Prometheus names it everywhere.
#[derive(Debug)]
struct OwnUseCollector;

impl Collector for OwnUseCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let now = own_use();
        let (bytes, seconds) = (Some(&Unit::Bytes), Some(&Unit::Seconds));
        encoder
            .encode_descriptor(
                "process_resident_memory",
                "Resident memory of the process.",
                bytes,
                MetricType::Gauge,
            )?
            .encode_gauge(&now.resident_bytes)?;
        encoder
            .encode_descriptor(
                "process_cpu",
                "CPU time of the process, in user space and in the kernel.",
                seconds,
                MetricType::Counter,
            )?
            .encode_counter::<NoLabelSet, _, u64>(&now.cpu_seconds, None)
    }
}

/// 0 if nothing was counted yet.
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// `bad UTF-8` as `bad_utf8`.
fn snake_case(label: &str) -> String {
    label.to_ascii_lowercase().replace('-', "").replace(' ', "_")
}
