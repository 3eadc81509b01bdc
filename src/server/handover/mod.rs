//! Handing over: a server that starts takes the listening sockets of one that runs, and serves before
//! that one goes, so that whoever connects is never refused.
//!
//! Both are told of the same path. Where a server hears there already, the one that starts is its
//! successor: it is passed the very sockets, with their backlogs, starts whole on them, and says that
//! it is ready; only then the predecessor stops accepting, says so, and drains. Whatever fails before
//! leaves the predecessor as it was. At most one successor is talked to at a time, and each word has
//! a time-out.
#![forbid(unsafe_code)]

mod offer;
mod take;
#[cfg(test)]
mod tests;
mod words;

use std::{io, os::fd::OwnedFd, sync::Arc};

use tokio::sync::watch;

use super::{
    Server, ServerError, Stop,
    adopt::Adopted,
    inputs::Inputs,
    journal::Opened,
    listen::{self, ControlListener, Listeners, Listening},
};
use crate::{config::Config, shard::Drain};

use offer::Offer;
use take::Takeover;

/// What a server begins on: its listeners, and whoever accepts from them until it is ready.
pub(super) struct Ground {
    pub control: ControlListener,
    pub listening: Vec<Listening>,
    /// Whether any of them was opened by somebody who holds them after us.
    outlives_us: bool,
    takeover: Option<Takeover>,
}

impl Ground {
    /// Takes what a predecessor has, and opens the rest.
    pub fn open(
        config: &Config,
        shards: u16,
        mut adopted: Adopted,
        told_to_stop: Stop,
    ) -> Result<Ground, ServerError> {
        let outlives_us = adopted.outlive_us();
        let takeover = Takeover::begin(config, &mut adopted, told_to_stop)?;
        let (control, listening) = listen::all(config, shards, adopted)?;
        Ok(Ground { control, listening, outlives_us, takeover })
    }

    /// Whether a predecessor serves until we are ready.
    pub fn waits(&self) -> bool {
        self.takeover.as_ref().is_some_and(Takeover::waits)
    }

    /// Says whether anybody else accepts from the listeners, now or later.
    pub fn tell(&self, drain: &Drain) {
        drain.leave_backlog(self.outlives_us);
        drain.hold_accepts(self.waits());
    }

    /// Opens the journal of the settings, once a predecessor has closed it.
    pub fn open_journal(&mut self, config: &Config) -> Result<Option<Opened>, ServerError> {
        let Some(directory) = config.journal.0.as_deref() else { return Ok(None) };
        match &mut self.takeover {
            Some(takeover) => takeover.open_journal(directory).map(Some),
            None => Opened::at(directory).map(Some),
        }
    }

    /// Starts the inputs that two servers may read at the same time, unless a predecessor's publishers
    /// wait meanwhile for its journal, which is with us.
    pub fn start_inputs(&self, inputs: &mut Inputs, config: &Config) -> io::Result<()> {
        match self.takeover.as_ref().is_some_and(|takeover| takeover.has_journal) {
            true => Ok(()),
            false => inputs.start(config, true),
        }
    }

    /// What each shard listens on.
    pub fn by_shard(&self, config: &Config, shards: u16) -> Result<Vec<Listeners>, ServerError> {
        if !self.waits() {
            listen::take_up(&self.listening, config)?;
        }
        listen::by_shard(&self.listening, shards)
    }

    /// Everything that a successor may ask for, by address.
    fn offered(&self) -> io::Result<Vec<(String, Vec<OwnedFd>)>> {
        let copies = |it: &Listening| {
            it.sockets.iter().map(OwnedFd::try_clone).collect::<io::Result<Vec<_>>>()
        };
        let subscribers = self.listening.iter().map(|it| Ok((it.address.to_string(), copies(it)?)));
        let control = &self.control;
        let control = (control.place.to_string(), vec![control.socket.try_clone()?]);
        subscribers.chain([Ok(control)]).collect()
    }
}

impl Server {
    /// Has the predecessor go, if there is one, accepts in its place, and begins to hear successors.
    /// Once the predecessor has gone there is nobody else, and what fails is told and done without.
    pub(super) fn succeed(
        mut self,
        mut ground: Ground,
        control: watch::Sender<bool>,
    ) -> Result<Server, ServerError> {
        let Some(mut takeover) = ground.takeover.take() else {
            self.control_file = ground.control.file()?;
            self.inputs.start(&self.config, false)?;
            return Ok(self);
        };
        let offer = self.offer(&ground, control.clone())?;
        let succeeds = takeover.waits();
        if succeeds {
            takeover.await_inputs(&self.inputs.states())?;
            takeover.complete(|| listen::take_up(&ground.listening, &self.config))?;
            self.shared.drain.hold_accepts(false);
            self.shards.wake();
            control.send_replace(true);
        }
        self.control_file = match ground.control.file() {
            Err(error) if succeeds => {
                tracing::error!("the control socket's file will stay behind: {error}");
                None
            }
            file => file?,
        };
        for numbered in [true, false].into_iter().skip(usize::from(!takeover.has_journal)) {
            match self.inputs.start(&self.config, numbered) {
                Err(error) if succeeds => tracing::error!("cannot read the inputs: {error}"),
                started => started?,
            }
        }
        let has_died = takeover.has_died;
        let heard = takeover.into_listener().and_then(|(listener, file)| {
            offer.spawn(listener, has_died)?;
            Ok(file)
        });
        match heard {
            Err(error) if succeeds => tracing::error!("no successor can be heard: {error}"),
            heard => self.takeover_file = Some(heard?),
        }
        Ok(self)
    }

    fn offer(&self, ground: &Ground, control: watch::Sender<bool>) -> io::Result<Offer> {
        let (directory, journal) = (self.config.journal.0.clone(), self.journal.as_ref());
        Ok(Offer {
            sockets: ground.offered()?,
            journal: directory.zip(journal.and_then(|journal| journal.keeper.clone())),
            drain: Arc::clone(&self.shared.drain),
            parkings: self.shards.parkings.clone(),
            draining: self.draining.clone(),
            control,
            tell: self.tell.clone(),
        })
    }
}
