//! Publishing by HTTP, or through a bus ([`Through`]), open loop: each publication when it is due, or as soon after as the
//! connection is free; its latency counts from when it was due.
//!
//! A channel's publications all go over one connection, each after the answer to the one before,
//! since order is promised to no one else. What the server refuses keeps its sequence number for
//! the next; what it does not answer, or answers with an error of its own, may have been taken, and
//! the oracle is told so.
//!
//! Publications go to the server that was named: through no proxy, and nowhere else if it says so. A
//! server that answers too slowly does not hold up the end of a run for long: what is not sent some
//! time after the last was due has failed.

mod through;

use std::{
    net::SocketAddr,
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use serde::Deserialize;
use ureq::{
    Agent,
    config::Config,
    http::{Request, Uri},
    unversioned::{
        resolver::{ResolvedSocketAddrs, Resolver},
        transport::{DefaultConnector, NextTimeout},
    },
};

pub use through::Through;

use crate::{
    order::{Publish, Secret},
    payload::{self, Header},
    plan::CHANNEL,
    record::Publications,
    shared::{Shared, Stage},
};

/// One connection that publishes.
pub struct Publisher<'a> {
    shared: &'a Shared,
    publish: &'a Publish,
    agent: Agent,
    /// Which of the plan's publishers it is.
    index: u32,
    /// The next sequence of each of its channels.
    next: Vec<u32>,
    payload: Vec<u8>,
    done: Publications,
}

impl Publisher<'_> {
    /// The publisher of this number.
    pub fn new<'a>(shared: &'a Shared, publish: &'a Publish, index: u32) -> Publisher<'a> {
        let mine = shared.plan.channels().div_ceil(shared.plan.publishing.publishers);
        Publisher {
            shared,
            publish,
            agent: agent(publish),
            index,
            next: vec![0; mine as usize],
            payload: Vec::new(),
            done: Publications::default(),
        }
    }

    /// Publishes what the plan says, from when publishing began until the last is out or the run
    /// ends early.
    pub fn run(mut self) -> Publications {
        let schedule = &self.shared.schedule;
        let began = self.shared.stage.publishing_began();
        let latest = began + schedule.end() + self.shared.plan.settle.max(PATIENCE);
        for Due { number, channel, at } in due(self.shared, self.index) {
            if !self.wait_until(at) {
                return self.done;
            }
            match self.shared.since_epoch(Instant::now()) > latest {
                true => self.give_up(),
                false => self.publish(number, channel, at),
            }
        }
        self.done
    }

    /// Returns whether the run still goes on then.
    fn wait_until(&self, due: Duration) -> bool {
        loop {
            if self.shared.stage.now() >= Stage::Settling {
                return false;
            }
            let now = self.shared.since_epoch(Instant::now());
            match due.checked_sub(now) {
                None | Some(Duration::ZERO) => return true,
                Some(left) => thread::sleep(left.min(NAP)),
            }
        }
    }

    /// Does not send one any more.
    fn give_up(&mut self) {
        self.done.due += 1;
        self.done.failed += 1;
        self.done.failures.count(LATE, 1);
    }

    fn publish(&mut self, number: u32, channel: u32, due: Duration) {
        let Shared { run, plan, schedule, ledger, .. } = self.shared;
        let next = &mut self.next[(channel / plan.publishing.publishers) as usize];
        let sequence = *next;
        let header = Header { run: *run, channel, sequence, number, due };
        payload::encode(&header, schedule.payload_bytes(number), &mut self.payload);
        let url = self.publish.url.replace(CHANNEL, &plan.channel_name(channel));
        let mut request = Request::builder().method(&self.publish.method[..]).uri(url);
        let key = self.publish.key.as_ref().map(Secret::header);
        for (name, value) in self.publish.headers.iter().chain(&key) {
            request = request.header(name, value);
        }
        let late = self.shared.since_epoch(Instant::now()).saturating_sub(due);
        ledger.hand_over(channel, sequence);
        let answer = match request.body(&self.payload[..]) {
            Ok(request) => self.agent.run(request),
            Err(error) => Err(error.into()),
        };
        *next += 1;
        let done = &mut self.done;
        done.due += 1;
        done.late_micros_max = done.late_micros_max.max(late.as_micros() as u64);
        let failure = match answer {
            Ok(mut answer) => {
                let body = answer.body_mut().read_to_vec().unwrap_or_default();
                let status = answer.status();
                if status.is_success() {
                    if let Some(position) = position(&body).filter(|_| plan.has_gaps()) {
                        ledger.locate(channel, sequence, position);
                    }
                    done.published += 1;
                    self.shared.published.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                if status.is_server_error() {
                    // One that waits for another, say, may have given up after that took it.
                    ledger.doubt(channel, sequence);
                } else {
                    *next -= 1;
                    ledger.take_back(channel, sequence);
                }
                format!("refused: HTTP {status}")
            }
            Err(error) => {
                ledger.doubt(channel, sequence);
                format!("no answer: {error}")
            }
        };
        done.failed += 1;
        done.failures.count(failure, 1);
    }
}

/// A client for this place.
fn agent(publish: &Publish) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .max_redirects(0)
        .timeout_global(Some(PATIENCE))
        .max_idle_connections_per_host(1);
    let Some((tls, address)) = &publish.tls else { return config.build().into() };
    let tls = tls.publisher().expect("TLS that was checked when it was ordered");
    let config = config.tls_config(tls).build();
    Agent::with_parts(config, DefaultConnector::default(), Pinned(*address))
}

/// A server that was looked up, whatever its certificate calls it.
#[derive(Debug)]
struct Pinned(SocketAddr);

impl Resolver for Pinned {
    fn resolve(
        &self,
        _: &Uri,
        _: &Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        addresses.push(self.0);
        Ok(addresses)
    }
}

/// A publication of a channel.
#[derive(Clone, Copy, Debug)]
struct Due {
    number: u32,
    channel: u32,
    /// When, since the epoch.
    at: Duration,
}

/// What the publisher of this number publishes, in the order in which it is due.
fn due(shared: &Shared, publisher: u32) -> impl Iterator<Item = Due> {
    let (schedule, began) = (&shared.schedule, shared.stage.publishing_began());
    let is_mine = move |channel: &u32| channel % shared.plan.publishing.publishers == publisher;
    (0..schedule.publications()).flat_map(move |number| {
        let at = began + schedule.due(number);
        let mine = shared.targets(number).filter(is_mine);
        mine.map(move |channel| Due { number, channel, at })
    })
}

/// Where the server put a publication, if its answer says so.
fn position(answer: &[u8]) -> Option<&str> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        position: &'a str,
    }
    let Answer { position } = serde_json::from_slice(answer).ok()?;
    Some(position)
}

/// How long an answer may take, and at least how long the last may be late.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why one is not sent any more.
const LATE: &str = "not sent: the answers to those before it took too long";

/// How often a waiting publisher looks whether the run ends.
const NAP: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Read, Write},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::plan;

    /// A redirection is a refusal: whoever follows one asks another for something else, and what
    /// that one answers says nothing of the publication.
    #[test]
    fn redirections_are_not_followed() {
        let (shared, done) = publish_to("303 See Other\r\nLocation: /elsewhere");
        assert_eq!((done.due, done.published, done.failed), (10, 0, 10));
        assert_eq!(done.failures.iter().collect::<Vec<_>>(), [("refused: HTTP 303 See Other", 10)]);
        assert_eq!(shared.ledger.uncertain(), []);
    }

    /// What a server has no good answer to it may have taken all the same: nobody is owed it, and
    /// its sequence is not used again.
    #[test]
    fn errors_of_the_server_leave_doubt() {
        let (shared, done) = publish_to("504 Gateway Timeout");
        assert_eq!((done.due, done.published, done.failed), (10, 0, 10));
        assert_eq!(shared.ledger.uncertain(), (0..10).map(|it| (0, it)).collect::<Vec<_>>());
    }

    /// Long after the last was due nothing is sent, and what was not has failed.
    #[test]
    fn a_publisher_gives_up_in_the_end() {
        let server = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        server.set_nonblocking(true).expect("it can be asked");
        let long_ago = Instant::now().checked_sub(2 * PATIENCE).expect("a minute is not much");
        let (_, done) = publish_from(&server, long_ago);
        assert_eq!((done.due, done.published, done.failed), (10, 0, 10));
        assert!(server.accept().is_err(), "somebody was asked");
    }

    /// Publishes what the sample plan has to a server that answers everything so.
    fn publish_to(answer: &'static str) -> (Shared, Publications) {
        let server = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let others = server.try_clone().expect("a second handle");
        thread::spawn(move || others.incoming().flatten().for_each(|it| serve(&it, answer)));
        publish_from(&server, Instant::now())
    }

    fn publish_from(server: &TcpListener, epoch: Instant) -> (Shared, Publications) {
        let shared = Shared::new(7, epoch, plan::sample(), Vec::new(), 0);
        shared.stage.begin_publishing(Duration::ZERO);
        let address = server.local_addr().expect("it is bound");
        let url = format!("http://{address}/{CHANNEL}");
        let publish =
            Publish { method: "POST".into(), url, headers: Vec::new(), tls: None, key: None };
        let done = Publisher::new(&shared, &publish, 0).run();
        (shared, done)
    }

    /// Answers each request of a connection; one that is redirected is granted.
    fn serve(mut stream: &TcpStream, answer: &str) {
        let mut reader = BufReader::new(stream);
        loop {
            let (mut head, mut bytes) = (String::new(), 0);
            while !head.ends_with("\r\n\r\n") {
                let start = head.len();
                if reader.read_line(&mut head).unwrap_or(0) == 0 {
                    return;
                }
                let line = head[start..].to_ascii_lowercase();
                bytes = line
                    .strip_prefix("content-length: ")
                    .map_or(bytes, |it| it.trim().parse().expect("a length"));
            }
            reader.read_exact(&mut vec![0; bytes]).expect("the body");
            let answer = if head.contains("/elsewhere") { "200 OK" } else { answer };
            let _ = write!(stream, "HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
        }
    }
}
