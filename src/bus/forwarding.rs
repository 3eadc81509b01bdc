//! What the ways of publications to a bus have in common.

use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, time::sleep};

use super::retry::{RETRY_MAX, RETRY_MIN, Told, jittered};
use crate::{
    inputs::Forward,
    logs::limited,
    mapping::{Fields, Template},
};

/// Publications on their way to a bus that it has not taken yet.
pub(super) const IN_FLIGHT_MAX: usize = 256;
/// How long a bus may take to take one.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How long it may take to connect: publications wait meanwhile.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(4);

/// How a session ended that should have gone on.
pub(super) struct Ended {
    /// Why.
    pub(super) why: String,
    /// Whether it was connected.
    pub(super) was_connected: bool,
}

impl Ended {
    /// It could not connect.
    pub(super) fn before(why: String) -> Self {
        Ended { why, was_connected: false }
    }

    /// It was connected.
    pub(super) fn after(why: String) -> Self {
        Ended { why, was_connected: true }
    }
}

/// Runs sessions, each for one connection, until one ends well: nobody is left who could publish.
/// While there is no connection, publications are refused with the reason why. What a session took
/// and found that it is not connected any more, it puts into its second argument; the next session
/// begins with that.
pub(super) async fn keep_connected(
    mut forwards: mpsc::Receiver<Forward>,
    mut session: impl AsyncFnMut(
        &mut mpsc::Receiver<Forward>,
        &mut Option<Forward>,
    ) -> Result<(), Ended>,
) {
    let (mut held, mut wait) = (None::<Forward>, RETRY_MIN);
    let mut told = Told::default();
    loop {
        let Err(ended) = session(&mut forwards, &mut held).await else { return };
        let Ended { why, was_connected } = ended;
        if was_connected {
            wait = RETRY_MIN;
            told.forget();
        } else if let Some(forward) = held.take() {
            let _ = forward.answer.send(Err(why.clone()));
        }
        if told.is_due(&why, Instant::now()) {
            limited!(warn, "forwarding", "publications to the bus: {why}; trying again");
        }
        let pause = sleep(jittered(wait));
        wait = (wait * 2).min(RETRY_MAX);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => break,
                forward = forwards.recv() => match forward {
                    Some(forward) => drop(forward.answer.send(Err(why.clone()))),
                    None => return,
                },
            }
        }
    }
}

/// Where a publication goes on the bus.
pub(super) fn destination(template: &Template, forward: &Forward) -> Result<String, String> {
    struct Channel<'a>(&'a str);
    impl Fields for Channel<'_> {
        fn field(&self, name: &str) -> Option<Cow<'_, [u8]>> {
            (name == "channel").then_some(Cow::Borrowed(self.0.as_bytes()))
        }

        fn header(&self, _name: &str) -> Option<Cow<'_, [u8]>> {
            None
        }
    }
    let mut destination = Vec::new();
    template
        .fill(&Channel(forward.channel.as_str()), &forward.payload, &mut destination)
        .map_err(|why| format!("there is no destination for it: {why}"))?;
    String::from_utf8(destination).map_err(|_| "its destination is not UTF-8".to_owned())
}

/// What to say when the bus has not answered in time.
pub(super) fn unanswered(place: &str) -> String {
    format!("{place} did not take it within {} s; it may do so yet", ANSWER_MAX.as_secs())
}
