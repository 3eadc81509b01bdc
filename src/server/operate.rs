//! Serving: what operators order a running server to do, by signal or through the control plane, and
//! how it goes until its end.

use std::{
    sync::mpsc::RecvTimeoutError,
    time::{Duration, Instant},
};

use super::{
    News, Server, ServerError,
    settings::{control_settings, limits, rules},
    shards::since_1970,
};
use crate::{
    config::{self, Config, Difference, Loaded},
    logs::{Log, limited, tell_all_left_out, tell_left_out},
    orders::{Change, Draining, FileReloaded, Order, Reloaded},
    session::Rules,
};

/// What a server needs to follow its operators: where its settings came from, and its log.
pub struct Operator {
    /// Where to look for settings again. Flags stay as they were.
    pub sources: config::Inputs,
    /// The log, whose level can be set.
    pub log: Log,
}

/// How far the clock may be from where it was when sessions were told: below this, tokens have leeway.
const CLOCK_MS_MAX: u64 = 1000;

/// How often files are looked at and the progress of a drain is told.
const TICK: Duration = Duration::from_secs(1);

/// A drain under way.
pub(super) struct Drained {
    since: Instant,
    /// Shards that have yet to end.
    shards: usize,
}

impl Server {
    /// Serves until a drain that somebody ordered is over.
    pub(super) fn serve_until_told(mut self) -> Result<(), ServerError> {
        let mut next_tick = Instant::now() + TICK;
        loop {
            let wait = next_tick.saturating_duration_since(Instant::now());
            match self.news.recv_timeout(wait) {
                Ok(News::Stop) => drop(self.drain(None)),
                Ok(News::Reload) => self.tell_reloaded(),
                Ok(News::Order) => self.obey(),
                Ok(News::Ended(shard, outcome)) => match (outcome, &mut self.drained) {
                    (Ok(()), Some(drained)) => drained.shards -= 1,
                    (outcome, _) => {
                        let problem = outcome.err().unwrap_or_else(|| "it was not told to".into());
                        return Err(ServerError::Shard { shard, problem });
                    }
                },
                Ok(News::ControlEnded) => return Err(ServerError::Control),
                Ok(News::HandedOver(pid)) => {
                    tracing::info!(pid, "process {pid} has taken over");
                    self.drain(None);
                }
                Ok(News::JournalEnded(why)) => return Err(ServerError::JournalEnded(why)),
                Ok(News::Ready) | Err(RecvTimeoutError::Disconnected) => {}
                Err(RecvTimeoutError::Timeout) => {
                    next_tick += TICK;
                    self.tick();
                }
            }
            if self.drained.as_ref().is_some_and(|drained| drained.shards == 0) {
                let outcome = self.end();
                tell_all_left_out();
                return outcome;
            }
        }
    }

    /// Begins a drain, unless one has begun.
    fn drain(&mut self, window: Option<Duration>) -> Draining {
        let already = self.drained.is_some();
        if !already {
            window.into_iter().for_each(|window| self.shards.drain.set_window(window));
            let (window, connections) = (self.shards.drain.window(), self.connections());
            tracing::info!(
                connections,
                "told to stop: draining {connections} connections for {window:?}"
            );
            self.manager.tell_stopping(connections);
            self.begin_drain();
            let (since, shards) = (Instant::now(), usize::from(self.plan.shards));
            self.drained = Some(Drained { since, shards });
        }
        let window_ms = self.shards.drain.window().as_millis() as u64;
        Draining { already, window_ms, connections: self.connections() }
    }

    /// Connections over all shards, as they last said.
    fn connections(&self) -> u64 {
        self.shared.counters.iter().map(|counters| counters.connections.get()).sum()
    }

    fn tick(&mut self) {
        tell_left_out();
        self.follow_clock(since_1970().as_millis() as u64);
        if self.manager.watches() {
            self.tell_alive();
        }
        self.files.poll().iter().for_each(tell_file);
        if let Some(Drained { since, .. }) = self.drained {
            let (left, window) = (self.connections(), self.shards.drain.window());
            let seconds = since.elapsed().as_secs();
            self.manager.tell_stopping(left);
            tracing::info!(
                left,
                seconds,
                "draining: {left} connections left, {seconds} s of {window:?}"
            );
        }
    }

    /// Sessions count ticks, and tokens end at a time of day: where the machine's clock was set, or
    /// stood still while it slept, sessions are told anew when the ticks began.
    fn follow_clock(&self, now_ms: u64) {
        let elapsed_ms = self.shared.start.elapsed().as_millis() as u64;
        let rules = self.shared.rules.get();
        if let Some(started_ms) = other_start(rules.started_ms, now_ms, elapsed_ms) {
            self.shared.rules.replace(Rules { started_ms, ..Rules::clone(&rules) });
        }
    }

    /// Tells the service manager that we live if every shard has turned since it was told last, for
    /// which they are rung.
    fn tell_alive(&mut self) {
        let turns = self.shared.counters.iter().map(|counters| counters.turns.get());
        let turns: Vec<u64> = turns.collect();
        let is_stuck =
            |shard: &usize| self.turns.get(*shard).is_some_and(|then| turns[*shard] <= *then);
        let stuck: Vec<usize> = (0..turns.len()).filter(is_stuck).collect();
        if stuck.is_empty() {
            self.turns = turns;
            self.manager.tell_alive();
        } else {
            limited!(
                error,
                "stuck shard",
                "shards {stuck:?} do not turn; the watchdog is not told"
            );
        }
        self.shards.wake();
    }

    fn obey(&mut self) {
        let Some(order) = self.orders.take() else { return };
        match order {
            Order::Reload(reply) => {
                let outcome = self.reload();
                tell(&outcome);
                reply(outcome);
            }
            Order::Drain { window, reply } => reply(self.drain(window)),
            Order::Filter(reply) => reply(self.log_filter.clone()),
            Order::Log { filter, reply } => reply(self.set_log(filter)),
        }
    }

    fn set_log(&mut self, filter: String) -> Result<String, String> {
        let Some(operator) = &self.operator else {
            return Err("this server does not own its log".to_owned());
        };
        operator.log.set(&filter)?;
        tracing::info!("the log's filter is '{filter}' now");
        Ok(std::mem::replace(&mut self.log_filter, filter))
    }

    fn tell_reloaded(&mut self) {
        tell(&self.reload());
    }

    fn reload(&mut self) -> Result<Reloaded, String> {
        self.manager.tell_reloading();
        let outcome = self.try_reload();
        // Also where a setting was wrong: it serves on.
        self.manager.tell_ready();
        outcome
    }

    /// Reads all settings and files again and lives by them. Where a setting is wrong, nothing changes.
    fn try_reload(&mut self) -> Result<Reloaded, String> {
        if self.drained.is_some() {
            return Err("the server is draining; nothing is reloaded any more".to_owned());
        }
        let Some(operator) = &self.operator else {
            return Err("this server was not told where its settings come from".to_owned());
        };
        let loaded = Config::load(&operator.sources).map_err(|errors| errors.to_string())?;
        let Loaded { config: newer, warnings } = loaded;
        let (mixed, differences) =
            self.config.reloaded(&newer).map_err(|errors| errors.to_string())?;
        self.key_files.reload_as(&mixed).map_err(|error| error.to_string())?;
        operator.log.set(mixed.log.as_str())?;
        mixed.log.as_str().clone_into(&mut self.log_filter);
        self.config = mixed;
        self.apply();
        let files = self.files.read_all();
        let change = |it: Difference| Change { name: it.setting.name, from: it.from, to: it.to };
        let (changed, needs_restart): (Vec<_>, Vec<_>) =
            differences.into_iter().partition(|it| it.is_applied);
        let [changed, needs_restart] =
            [changed, needs_restart].map(|list| list.into_iter().map(change).collect());
        Ok(Reloaded { changed, needs_restart, files, warnings })
    }

    /// Lets every part live by the settings as they are now.
    fn apply(&self) {
        let config = &self.config;
        self.shards.drain.set_window(config.drain);
        let before = self.shared.rules.get();
        self.shared.rules.replace(rules(
            config,
            self.plan.shards,
            &before.access,
            before.started_ms,
        ));
        self.shared.limits.replace(limits(config, &self.plan));
        let control = control_settings(config, &self.subscribers, self.key_files.access());
        self.control_settings.replace(control);
        // Whoever sleeps looks at the rules when it wakes, and its deadlines may have come nearer.
        self.shards.wake();
    }
}

/// When the ticks began, by a clock that says something else than what sessions were told.
fn other_start(told_ms: u64, now_ms: u64, elapsed_ms: u64) -> Option<u64> {
    let started_ms = now_ms.saturating_sub(elapsed_ms);
    (started_ms.abs_diff(told_ms) > CLOCK_MS_MAX).then_some(started_ms)
}

fn tell(outcome: &Result<Reloaded, String>) {
    let reloaded = match outcome {
        Ok(reloaded) => reloaded,
        Err(why) => return tracing::error!("reload refused, nothing has changed: {why}"),
    };
    for warning in &reloaded.warnings {
        tracing::warn!("{warning}");
    }
    for Change { name, from, to } in &reloaded.changed {
        tracing::info!(setting = name, from, to, "reload: {name} is '{to}' now");
    }
    for Change { name, from, to } in &reloaded.needs_restart {
        tracing::warn!(setting = name, from, to, "reload: {name} needs a restart to become '{to}'");
    }
    reloaded.files.iter().for_each(tell_file);
    let (changed, kept) = (reloaded.changed.len(), reloaded.needs_restart.len());
    tracing::info!(changed, kept, "reloaded: {changed} settings changed, {kept} need a restart");
}

fn tell_file(file: &FileReloaded) {
    let name = file.name;
    match (&file.problem, &file.now) {
        (Some(problem), _) => {
            tracing::error!(
                setting = name,
                "{name}: not read again, what held still does: {problem}"
            );
        }
        (None, now) => {
            let now = now.as_deref().unwrap_or("as before");
            tracing::info!(setting = name, "{name}: read again, {now}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock that is set forth or back, or that ran on while the machine slept, is followed; one that
    /// is a little off is not, and neither is one that runs as it should.
    #[test]
    fn a_clock_that_was_set_is_followed() {
        for (now_ms, elapsed_ms, expected) in [
            (1_005_000, 5000, None),
            (1_006_000, 5000, None),
            (1_004_000, 5000, None),
            (1_006_001, 5000, Some(1_001_001)),
            (905_000, 5000, Some(900_000)),
            (0, 5000, Some(0)),
        ] {
            assert_eq!(other_start(1_000_000, now_ms, elapsed_ms), expected, "{now_ms}");
        }
    }
}
