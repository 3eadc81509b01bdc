//! The control plane: publishing over HTTP, probes, metrics, and the dashboard.
//!
//! It runs on a thread of its own and speaks to the shards only through their [`Ingress`] and
//! their [`Counters`], and asks them by their [`Questions`]. Whatever a client of it does, no shard waits: a full queue is an answer of
//! 503, or a stream of lines that is read no further.
//!
//! Promises: every publication that was answered 200 has the position it was answered with; a
//! stream's lines are published in their order; nothing here grows without a bound (see
//! [`Settings`]); a web page of another origin can neither publish nor read.
//!
//! Left to the server: the thread, the listener, and when to drain and to stop.
#![forbid(unsafe_code)]

mod api;
mod ask;
mod body;
mod busiest;
mod channels;
mod entitle;
mod forward;
mod guard;
mod input_metrics;
mod inputs;
mod lag;
mod lines;
mod listen;
mod many;
mod metrics;
mod own_use;
mod page;
mod patient;
mod probe;
mod problem;
mod publish;
mod publisher;
mod ready;
mod reply;
mod stats;
mod terms;
#[cfg(test)]
mod tests;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    http::HeaderMap,
    middleware,
    routing::{get, post},
};
use rustls::ServerConfig;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::{
    access::Access,
    counters::Counters,
    ids::Tick,
    inputs::{Forwards, Input, InputState},
    limits::TICK_MS,
    live::Live,
    mesh::{Ingress, Questions},
    orders::Orders,
    policy::Policies,
    report::Question,
    spans::{Begun, Parent, Tally, Tracer},
    wire::route::Origins,
};
use forward::Forwarder;
use guard::By;
use publisher::Publisher;

pub use api::Limit;
pub use listen::Listener;

/// Every input with how it is.
pub type States = Arc<[(Input, Arc<InputState>)]>;

/// What an operator may set of the control plane. [`Settings::default`] states the defaults.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes in the largest payload. Default: 1 MiB.
    pub publication_max: usize,
    /// Bytes of payloads in memory, being read or awaiting their answer, over all single
    /// publications; one that would exceed it is refused with 503. Default: 64 MiB.
    pub payload_memory_max: usize,
    /// What a refused publisher is told to wait. Rounded up to seconds. Default: 5 s.
    pub retry_after: Duration,
    /// Where subscribers connect, for the page. If it is a wildcard or a loopback address, the
    /// page uses the host that it was loaded from, with this port.
    pub subscribers: SocketAddr,
    /// Whether they connect by TLS there. Default: no.
    pub subscribers_by_tls: bool,
    /// How channels live, as it is now.
    pub policies: Policies,
    /// Names, without a port, that a request's `Host` may have besides `localhost` and IP
    /// addresses.
    pub hosts: Vec<String>,
    /// What decides about keys and tokens.
    pub access: Arc<Access>,
    /// How often a second may be published with a token that says nothing of it; 0 is no limit.
    pub token_publish_rate: u32,
    /// Whether a key or a token is needed even where no key is set. Default: no.
    pub wants_keys: bool,
    /// Pages of other origins that may publish with a token.
    pub pages: Origins,
    /// Connections to the control listener. Default: 1024, each of at most 64 KiB of buffer.
    pub connections_max: usize,
    /// Streams of `?lines` at a time. Default: 64, each of at most a publication being read and a
    /// window of unanswered ones.
    pub line_streams_max: usize,
    /// Time for a request's head; also how long an idle connection is kept. Default: 30 s.
    pub head_timeout: Duration,
    /// Time between two pieces of a single publication's body. Default: 10 s.
    pub body_timeout: Duration,
    /// Time between two pieces of a stream of lines. Default: 10 min, since such a stream follows
    /// what happens elsewhere.
    pub lines_timeout: Duration,
    /// Time for a shard to answer a publication or a question, or to make room for a line. Default: 10 s.
    pub answer_timeout: Duration,
    /// Time for a bus to take a publication, or for the queue to it to make room for a line. A little
    /// above the 5 s after which the way to the bus itself says what is wrong. Default: 6 s.
    pub forward_timeout: Duration,
    /// Time for a probe to reach every shard when readiness is asked. Default: 2 s.
    pub ready_deadline: Duration,
    /// Time for shards to say how far their subscribers lag when a scrape asks; without an answer
    /// the scrape goes without. Default: 1 s.
    pub scrape_timeout: Duration,
    /// Time for requests under way to end once the plane is told to stop. Default: 2 s.
    pub stop_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            publication_max: 1024 * 1024,
            payload_memory_max: 64 * 1024 * 1024,
            retry_after: Duration::from_secs(5),
            subscribers: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
            subscribers_by_tls: false,
            policies: Policies::default(),
            hosts: Vec::new(),
            access: Arc::default(),
            token_publish_rate: 0,
            wants_keys: false,
            pages: Origins::default(),
            connections_max: 1024,
            line_streams_max: 64,
            head_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(10),
            lines_timeout: Duration::from_secs(600),
            answer_timeout: Duration::from_secs(10),
            forward_timeout: Duration::from_secs(6),
            ready_deadline: Duration::from_secs(2),
            scrape_timeout: Duration::from_secs(1),
            stop_timeout: Duration::from_secs(2),
        }
    }
}

/// The control plane of one server.
pub struct Control {
    /// What it speaks instead of plain HTTP, if it does.
    pub tls: Option<Arc<ServerConfig>>,
    /// What the operator chose, as it is now.
    pub settings: Arc<Live<Settings>>,
    /// The way into each shard, in the order of their numbers. The control plane takes all their
    /// answers: nobody else may publish through these.
    pub ingresses: Arc<[Ingress]>,
    /// Where each shard is asked, in the same order.
    pub questions: Arc<[Questions<Question>]>,
    /// How channels live, for the names of their patterns.
    pub policies: Policies,
    /// The limits that can be set, as they are now.
    pub limits: Arc<Live<Vec<Limit>>>,
    /// What each shard counts, in the same order.
    pub counters: Arc<[Counters]>,
    /// What is read from message buses.
    pub inputs: States,
    /// The number of the input to whose bus publications are taken, and the way there.
    pub forwards: Option<(usize, Forwards)>,
    /// Told (`notify_one`) by the `answered` of every ingress.
    pub answered: Arc<Notify>,
    /// What follows publications, if they are to be followed.
    pub tracer: Option<Arc<Tracer>>,
    /// Where operators' orders to the server go.
    pub orders: Arc<Orders>,
    /// Whether the server is draining: no publication is taken then, and it is not ready.
    pub draining: watch::Receiver<bool>,
    /// Whether connections are accepted, and not left to another server with the same listener.
    pub accepting: watch::Receiver<bool>,
}

impl Control {
    /// Serves until `stop` is ready, then ends what is under way within
    /// [`Settings::stop_timeout`]. Wants a tokio runtime with time and IO; one thread is enough.
    ///
    /// # Panics
    ///
    /// If there is no shard, or not one [`Counters`] and one [`Questions`] for each.
    pub async fn serve(self, listener: Listener, stop: impl Future<Output = ()>) {
        assert!(!self.ingresses.is_empty(), "a server has at least one shard");
        assert_eq!(self.ingresses.len(), self.counters.len(), "every shard counts");
        assert_eq!(self.ingresses.len(), self.questions.len(), "every shard can be asked");
        let answered = Arc::clone(&self.answered);
        let tls = self.tls.clone().map(TlsAcceptor::from);
        let accepting = self.accepting.clone();
        let by = match listener {
            Listener::Tcp(_) if tls.is_some() => By::Tls,
            Listener::Tcp(_) => By::Tcp,
            Listener::Unix(_) => By::Unix,
        };
        let plane = Arc::new(Plane::of(self, by));
        let settings = plane.settings();
        let way = listen::Way { listener, tls, accepting };
        let serving = listen::serve(way, router(&plane), &settings, stop);
        tokio::select! {
            () = serving => {}
            () = hear_answers(&answered, &plane.publisher) => {}
        }
    }
}

/// Takes the shards' answers whenever there are some. One wake-up serves all that came with it.
async fn hear_answers(answered: &Notify, publisher: &Publisher) {
    loop {
        answered.notified().await;
        publisher.tell_answers();
    }
}

/// What all endpoints share.
struct Plane {
    /// How clients come.
    by: By,
    settings: Arc<Live<Settings>>,
    publisher: Publisher,
    tracer: Option<Arc<Tracer>>,
    ingresses: Arc<[Ingress]>,
    questions: Arc<[Questions<Question>]>,
    policies: Policies,
    limits: Arc<Live<Vec<Limit>>>,
    counters: Arc<[Counters]>,
    inputs: States,
    forwarder: Forwarder,
    orders: Arc<Orders>,
    draining: watch::Receiver<bool>,
    accepting: watch::Receiver<bool>,
    /// Bytes that payloads may still take.
    payload_memory: Arc<Semaphore>,
    /// Streams of lines that may still begin.
    line_streams: Semaphore,
    /// When the plane began, and with it the server.
    started: Instant,
    prober: probe::Prober,
    metrics: metrics::Metrics,
}

impl Plane {
    fn of(control: Control, by: By) -> Self {
        let Control { settings, ingresses, questions, policies, counters, draining, .. } = control;
        let inputs = control.inputs;
        let prober = probe::Prober::new(counters.len());
        let mut metrics = metrics::Metrics::new(
            Arc::clone(&ingresses),
            Arc::clone(&counters),
            Arc::clone(&inputs),
            Arc::clone(&settings.get().access),
        );
        metrics.register(|ours| prober.register(ours));
        let spans = control.tracer.as_ref().map_or_else(Tally::default, |it| it.tally().clone());
        metrics.register(|ours| spans.register(ours));
        Plane {
            by,
            publisher: Publisher::new(Arc::clone(&ingresses), control.tracer.clone()),
            tracer: control.tracer,
            payload_memory: Arc::new(Semaphore::new(settings.get().payload_memory_max)),
            line_streams: Semaphore::new(settings.get().line_streams_max),
            started: Instant::now(),
            prober,
            metrics,
            forwarder: Forwarder::new(&inputs, control.forwards),
            inputs,
            settings,
            ingresses,
            questions,
            policies,
            limits: control.limits,
            orders: control.orders,
            counters,
            draining,
            accepting: control.accepting,
        }
    }

    /// The time, as the shards count it.
    fn tick(&self) -> Tick {
        let ticks = self.started.elapsed().as_millis() / u128::from(TICK_MS);
        Tick(u32::try_from(ticks).unwrap_or(u32::MAX))
    }

    /// What the operator chose, as it is now.
    fn settings(&self) -> Arc<Settings> {
        self.settings.get()
    }

    fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Whether a successor accepts connections now, and this server does not.
    fn has_successor(&self) -> bool {
        self.is_draining() && !*self.accepting.borrow()
    }

    /// What follows a publication that arrives now by a request with these headers, if it is to be
    /// followed.
    fn follow(&self, headers: &HeaderMap) -> Option<Box<Begun>> {
        let tracer = self.tracer.as_deref()?;
        let mut parents = headers.get_all("traceparent").iter();
        // Of several none is the one.
        let parent = parents.next().filter(|_| parents.next().is_none());
        tracer.begin(parent.and_then(|it| Parent::read(it.to_str().ok()?)))
    }

    /// Returns when the server begins to drain.
    async fn drained(&self) {
        // A server that dropped its end will never say that it drains.
        if self.draining.clone().wait_for(|draining| *draining).await.is_err() {
            std::future::pending().await
        }
    }
}

fn router(plane: &Arc<Plane>) -> Router {
    let publish = || post(publish::publish);
    Router::new()
        .route("/", get(page::show))
        .route("/healthz", get(ready::health))
        .route("/readyz", get(ready::ready))
        .route("/metrics", get(metrics::scrape))
        .route("/stats", get(stats::show))
        .route("/lag", get(lag::show))
        .route("/inputs", get(inputs::show))
        .route("/busiest", get(busiest::show))
        .route("/channels", get(channels::list))
        .route("/channels/", get(channels::show))
        .route("/channels/{*channel}", get(channels::show))
        .route("/stentor.js", get(page::client))
        // Without a name as well, so that the answer says that one is missing.
        .route("/publish", publish())
        .route("/publish/", publish())
        .route("/publish/{*channel}", publish())
        .merge(api::router())
        .fallback(reply::no_such_path)
        .method_not_allowed_fallback(reply::wrong_method)
        .layer(middleware::from_fn_with_state(Arc::clone(plane), guard::check))
        .layer(middleware::from_fn(problem::translate))
        .with_state(Arc::clone(plane))
}
