//! The inputs: their ingresses, states and threads.

use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
};

use tokio::{
    runtime::{Builder, Runtime},
    sync::{Notify, mpsc, watch},
};

use crate::{
    bus::{self, Feed, FeedSetup},
    config::Config,
    inputs::{Forwards, Input, InputState},
    limits::FORWARDS_MAX,
    mesh::{Ingress, Parking},
    policy::Pattern,
};

/// Every input, running or to be started.
pub(super) struct Inputs {
    ends: Vec<End>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

/// What an input's thread and the shards share.
struct End {
    input: Input,
    ingresses: Arc<[Ingress]>,
    answered: Arc<Notify>,
    state: Arc<InputState>,
}

impl Inputs {
    pub(super) fn new(config: &Config, parkings: &[Arc<Parking>]) -> Self {
        let end = |input: &Input| {
            let answered = Arc::new(Notify::new());
            let ingress = |parking: &Arc<Parking>| {
                let answered = Arc::clone(&answered);
                let tell = Arc::new(move || answered.notify_one());
                Ingress::new(input.queue as usize, Arc::clone(parking), tell)
            };
            let ingresses = parkings.iter().map(ingress).collect();
            let state = Arc::new(InputState::new());
            End { input: input.clone(), ingresses, answered, state }
        };
        let ends = config.inputs.all().iter().map(end).collect();
        Inputs { ends, stop: watch::Sender::new(false), threads: Vec::new() }
    }

    /// For each input, an ingress per shard.
    pub(super) fn ingresses(&self) -> Arc<[Arc<[Ingress]>]> {
        self.ends.iter().map(|end| Arc::clone(&end.ingresses)).collect()
    }

    /// Each input with its state.
    pub(super) fn states(&self) -> Arc<[(Input, Arc<InputState>)]> {
        self.ends.iter().map(|end| (end.input.clone(), Arc::clone(&end.state))).collect()
    }

    /// Starts a thread for each whose channels a bus numbers, or for each of the others. Of the first
    /// kind two servers may have one at the same time, and feed their channels alike.
    pub(super) fn start(&mut self, config: &Config, numbered: bool) -> io::Result<()> {
        let all = self.ends.iter().enumerate();
        for (number, end) in all.filter(|(_, end)| end.input.numbered_by_bus == numbered) {
            let input = end.input.clone();
            let feed = Feed::new(FeedSetup {
                name: input.name.clone(),
                number: number as u16,
                mapping: input.mapping.clone(),
                publication_bytes_max: config.publication_max.bytes(),
                ingresses: Arc::clone(&end.ingresses),
                answered: Arc::clone(&end.answered),
                state: Arc::clone(&end.state),
            });
            let (name, stop) = (format!("input-{}", input.name), self.stop.subscribe());
            let runtime = runtime()?;
            let read = move || {
                runtime.block_on(bus::run(input, feed, stop));
                // A task of a client that will not end must not keep the server from ending.
                runtime.shutdown_background();
            };
            self.threads.push(thread::Builder::new().name(name).spawn(read)?);
        }
        Ok(())
    }

    /// Starts the thread that takes publications to the bus of the input that the setting names, and
    /// gives that input's number and the way there.
    pub(super) fn forwards(&mut self, config: &Config) -> io::Result<Option<(usize, Forwards)>> {
        let named = |end: &End| config.publish_to.0.as_ref() == Some(&end.input.name);
        let Some(number) = self.ends.iter().position(named) else { return Ok(None) };
        let end = &self.ends[number];
        let (forwards, queue) = mpsc::channel(FORWARDS_MAX);
        let (input, runtime, mut stop) = (end.input.clone(), runtime()?, self.stop.subscribe());
        let work = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = bus::forward(input, queue) => (),
                    _ = stop.wait_for(|stop| *stop) => (),
                }
            });
            runtime.shutdown_background();
        };
        self.threads.push(thread::Builder::new().name("forwards".into()).spawn(work)?);
        Ok(Some((number, forwards)))
    }

    /// Ends reading. What was handed over is published.
    pub(super) fn stop(&mut self) {
        let _ = self.stop.send(true);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

impl Drop for Inputs {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The inputs whose channels a bus numbers, by number, and the channels that they may feed.
pub(super) fn numbered(config: &Config) -> Vec<(u16, Vec<Pattern>)> {
    let all = config.inputs.all().iter().enumerate();
    let numbered = all.filter(|(_, input)| input.numbered_by_bus);
    numbered.map(|(number, input)| (number as u16, input.feeds())).collect()
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
