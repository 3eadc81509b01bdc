//! Publishing by HTTP, open loop: each publication when it is due, or as soon after as the
//! connection is free; its latency counts from when it was due.
//!
//! A channel's publications all go over one connection, each after the answer to the one before,
//! since order is promised to no one else. What the server refuses keeps its sequence number for
//! the next; what it does not answer may have been taken, and the oracle is told so.

use std::{
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use ureq::{Agent, http::Request};

use crate::{
    order::{CHANNEL, Publish},
    payload::{self, Header},
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
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .max_idle_connections_per_host(1)
            .build();
        let mine = shared.plan.channels().div_ceil(shared.plan.publishing.publishers);
        Publisher {
            shared,
            publish,
            agent: config.into(),
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
        for number in 0..schedule.publications() {
            let due = began + schedule.due(number);
            for channel in self.shared.targets(number) {
                if !self.is_mine(channel) {
                    continue;
                }
                if !self.wait_until(due) {
                    return self.done;
                }
                self.publish(number, channel, due);
            }
        }
        self.done
    }

    fn is_mine(&self, channel: u32) -> bool {
        channel % self.shared.plan.publishing.publishers == self.index
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

    fn publish(&mut self, number: u32, channel: u32, due: Duration) {
        let Shared { run, plan, schedule, ledger, .. } = self.shared;
        let next = &mut self.next[(channel / plan.publishing.publishers) as usize];
        let sequence = *next;
        let header = Header { run: *run, channel, sequence, number, due };
        payload::encode(&header, schedule.payload_bytes(number), &mut self.payload);
        let url = self.publish.url.replace(CHANNEL, &plan.channel_name(channel));
        let mut request = Request::builder().method(&self.publish.method[..]).uri(url);
        for (name, value) in &self.publish.headers {
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
                let _ = answer.body_mut().read_to_vec();
                if answer.status().is_success() {
                    done.published += 1;
                    self.shared.published.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                *next -= 1;
                ledger.take_back(channel, sequence);
                format!("refused: HTTP {}", answer.status())
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

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often a waiting publisher looks whether the run ends.
const NAP: Duration = Duration::from_millis(200);
