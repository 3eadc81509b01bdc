//! Probes: publications of the server's own that prove that every shard takes and delivers.
//!
//! Each shard that is a home has a channel that no peer can name, and each shard a witness that reads
//! them all. A probe is one publication to each home; it is through once every shard was given every
//! one, by the same queues and rounds as subscribers are.
//!
//! Promises: one probe is under way at a time, and none follows one that is not through, so a stuck
//! shard is owed one publication of each home however long it is stuck; what was found holds for a
//! second, so that asking often costs nothing.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::{Registry, Unit},
};
use tokio::{
    sync::{
        Mutex,
        oneshot::{self, error::TryRecvError},
    },
    time::{Instant, sleep},
};

use super::{
    Plane,
    publisher::{Content, Pending},
};
use crate::{
    frame::PayloadKind,
    ids::{ChannelName, ShardId},
    mesh::Answer,
    report::{Question, Seen},
};

/// How long what was found holds.
const FOUND_HOLDS: Duration = Duration::from_secs(1);

/// Time between two looks; it doubles from the first to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// What is wrong with a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) shard: usize,
    pub(super) kind: FaultKind,
    within: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// Its loop stands still.
    Still,
    /// It turns, but its witness is not live, or it did not take the publication.
    Untaken,
    /// It was not given the probe that this home has published.
    Undelivered { home: usize },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { shard, kind, within } = self;
        match kind {
            FaultKind::Still => write!(f, "shard {shard} has not turned within {within:?}"),
            FaultKind::Untaken => {
                write!(f, "shard {shard} has not taken a probe within {within:?}")
            }
            FaultKind::Undelivered { home } => write!(
                f,
                "shard {shard} has not delivered the probe of shard {home} within {within:?}"
            ),
        }
    }
}

/// Who probes.
pub(super) struct Prober {
    probe: Mutex<Probe>,
    seconds: Gauge<f64, std::sync::atomic::AtomicU64>,
    probes: Counter,
    failures: Counter,
}

impl Prober {
    pub(super) fn new(shards: usize) -> Self {
        let channels = ChannelName::probes(u16::try_from(shards).unwrap_or(u16::MAX));
        let probe = Probe {
            seen: (0..shards).map(|_| Arc::new(Seen::new(channels.len()))).collect(),
            witnesses: (0..shards).map(|_| Witness::Unasked).collect(),
            sent: channels.iter().map(|_| Sent::Not).collect(),
            channels: channels.into(),
            found: None,
        };
        Prober {
            probe: Mutex::new(probe),
            seconds: Gauge::default(),
            probes: Counter::default(),
            failures: Counter::default(),
        }
    }

    /// Has what is counted of probes scraped.
    pub(super) fn register(&self, registry: &mut Registry) {
        let help =
            "How long the last probe took to reach a witness on every shard, or was waited for.";
        registry.register_with_unit("probe", help, Unit::Seconds, self.seconds.clone());
        let help = "Probes made, by whoever asks whether the server is ready.";
        registry.register("probes", help, self.probes.clone());
        let help = "Those of them that did not reach every shard in time.";
        registry.register("probe_failures", help, self.failures.clone());
    }

    /// What is wrong with which shards. Nothing is if a probe reaches all of them before the deadline.
    pub(super) async fn faults(&self, plane: &Plane) -> Arc<[Fault]> {
        let mut probe = self.probe.lock().await;
        let found = probe.found.as_ref().filter(|(at, _)| at.elapsed() < FOUND_HOLDS);
        if let Some((_, faults)) = found {
            return Arc::clone(faults);
        }
        let began = Instant::now();
        let faults: Arc<[Fault]> = probe.run(plane, began).await.into();
        self.probes.inc();
        self.failures.inc_by(u64::from(!faults.is_empty()));
        self.seconds.set(began.elapsed().as_secs_f64());
        probe.found = Some((Instant::now(), Arc::clone(&faults)));
        faults
    }
}

/// One probe, and what the last one found.
struct Probe {
    /// By home.
    channels: Arc<[ChannelName]>,
    /// By shard.
    seen: Vec<Arc<Seen>>,
    witnesses: Vec<Witness>,
    /// By home.
    sent: Vec<Sent>,
    found: Option<(Instant, Arc<[Fault]>)>,
}

/// A shard's witnesses.
enum Witness {
    Unasked,
    Asked(oneshot::Receiver<()>),
    Live,
}

/// A home's publication.
enum Sent {
    Not,
    Asked(Pending),
    /// It has this offset.
    At(u64),
}

impl Probe {
    async fn run(&mut self, plane: &Plane, began: Instant) -> Vec<Fault> {
        let within = plane.settings().ready_deadline;
        let turns = || plane.counters.iter().map(|it| it.turns.get()).collect::<Vec<u64>>();
        let before = turns();
        if self.is_through() {
            self.sent.iter_mut().for_each(|sent| *sent = Sent::Not);
        }
        let mut pause = PAUSE.0;
        loop {
            self.watch(plane);
            if self.witnesses.iter().all(|it| matches!(it, Witness::Live)) {
                self.publish(plane);
            }
            if self.is_through() {
                return Vec::new();
            }
            if began.elapsed() >= within {
                break;
            }
            // A shard that was just about to park may not hear the bell.
            plane.ingresses.iter().for_each(|ingress| ingress.wake());
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
        let after = turns();
        let has_turned = |shard: usize| after[shard] != before[shard];
        let fault = |(shard, kind)| Fault { shard, kind, within };
        self.blame(has_turned).into_iter().map(fault).collect()
    }

    /// Asks shards for witnesses that have none.
    fn watch(&mut self, plane: &Plane) {
        for (shard, witness) in self.witnesses.iter_mut().enumerate() {
            match witness {
                Witness::Live => (),
                Witness::Unasked => {
                    let (answer, asked) = oneshot::channel();
                    let watch = Question::Watch {
                        channels: Arc::clone(&self.channels),
                        seen: Arc::clone(&self.seen[shard]),
                        reply: Box::new(move |()| {
                            // Whoever asked may have gone; then the answer is nobody's.
                            let _ = answer.send(());
                        }),
                    };
                    // Where too many questions wait it is asked at the next look.
                    if plane.questions[shard].ask(watch).is_ok() {
                        *witness = Witness::Asked(asked);
                    }
                }
                Witness::Asked(asked) => match asked.try_recv() {
                    Ok(()) => *witness = Witness::Live,
                    Err(TryRecvError::Closed) => *witness = Witness::Unasked,
                    Err(TryRecvError::Empty) => (),
                },
            }
        }
    }

    /// Publishes to each home that has not taken its publication yet, and hears which have.
    fn publish(&mut self, plane: &Plane) {
        for (home, sent) in self.sent.iter_mut().enumerate() {
            let taken = match sent {
                Sent::Asked(pending) => pending.try_recv(),
                Sent::At(_) => continue,
                Sent::Not => {
                    let payload = Bytes::from_static(b"probe");
                    let content = Content { kind: PayloadKind::Text, payload, terms: None };
                    // Where there is no place it is tried again at the next look.
                    if let Ok(pending) =
                        plane.publisher.publish(&self.channels[home], content, None)
                    {
                        plane.publisher.wake(ShardId(home as u16));
                        *sent = Sent::Asked(pending);
                    }
                    continue;
                }
            };
            match taken {
                // Offsets that no bus gives have 64 bits.
                Ok(Answer { outcome: Ok(accepted), .. }) => {
                    *sent = Sent::At(accepted.position.offset.0 as u64);
                }
                Ok(_) | Err(TryRecvError::Closed) => *sent = Sent::Not,
                Err(TryRecvError::Empty) => (),
            }
        }
    }

    /// Whether every shard was given what every home was to publish.
    fn is_through(&self) -> bool {
        let has_all = |seen: &Arc<Seen>| {
            let mut sent = self.sent.iter().enumerate();
            sent.all(|(home, sent)| matches!(sent, Sent::At(offset) if seen.last(home) >= *offset))
        };
        self.seen.iter().all(has_all)
    }

    /// Who is to blame that the probe is not through. What a shard that stands still should have sent
    /// is no other's fault.
    fn blame(&self, has_turned: impl Fn(usize) -> bool) -> Vec<(usize, FaultKind)> {
        let all_turn = (0..self.seen.len()).all(&has_turned);
        let mut faults = Vec::new();
        for shard in 0..self.seen.len() {
            let missing = self.sent.iter().enumerate().find(|(home, sent)| {
                matches!(sent, Sent::At(offset) if self.seen[shard].last(*home) < *offset)
            });
            let has_taken = !matches!(self.sent.get(shard), Some(Sent::Not | Sent::Asked(_)));
            let is_live = matches!(self.witnesses[shard], Witness::Live);
            let all_live = self.witnesses.iter().all(|it| matches!(it, Witness::Live));
            if !has_turned(shard) {
                faults.push((shard, FaultKind::Still));
            } else if let Some((home, _)) = missing {
                faults.push((shard, FaultKind::Undelivered { home }));
            } else if (!is_live && all_turn) || (all_live && !has_taken) {
                faults.push((shard, FaultKind::Untaken));
            }
        }
        faults
    }
}
