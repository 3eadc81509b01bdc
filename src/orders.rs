//! What an operator may order a running server to do, and what it answers.
//!
//! Whoever has the [`Orders`] gives one; the server's own thread carries it out and answers. A
//! bounded number may wait.
//!
//! Vocabulary: imports of ours only how answers are taken.
#![forbid(unsafe_code)]

use std::{fmt, time::Duration};

use crossbeam::queue::ArrayQueue;
use serde::Serialize;

use crate::{limits::ORDERS_WAITING_MAX, report::Reply};

/// What a server is to do.
pub enum Order {
    /// Read all settings and files again and live by them.
    Reload(Reply<Result<Reloaded, String>>),
    /// Drain and end.
    Drain {
        /// Over how long connections are closed, where it is not to be what the setting says.
        window: Option<Duration>,
        /// Takes what began, or began before.
        reply: Reply<Draining>,
    },
    /// Tell by which filter is logged.
    Filter(Reply<String>),
    /// Log from now on what this filter lets through, until the next reload.
    Log {
        /// Like `info,stentor::shard=debug`.
        filter: String,
        /// Takes the filter that held until then, or what is wrong with this one.
        reply: Reply<Result<String, String>>,
    },
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Order::Reload(_) => f.write_str("Reload"),
            Order::Drain { window, .. } => write!(f, "Drain({window:?})"),
            Order::Filter(_) => f.write_str("Filter"),
            Order::Log { filter, .. } => write!(f, "Log({filter})"),
        }
    }
}

/// What a reload came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// Settings that have changed and hold from now on.
    pub changed: Vec<Change>,
    /// Settings that were changed and hold only after a restart.
    pub needs_restart: Vec<Change>,
    /// What became of each file that is watched.
    pub files: Vec<FileReloaded>,
    /// What looks like a mistake.
    pub warnings: Vec<String>,
}

/// A setting that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Its name.
    pub name: &'static str,
    /// What it was, as an operator would write it, without secrets.
    pub from: String,
    /// What it is to be.
    pub to: String,
}

/// What became of a file that was read again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileReloaded {
    /// What it is for: the name of the setting that names it.
    pub name: &'static str,
    /// What holds now, in a few words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<String>,
    /// What is wrong with it; what held before still does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A drain that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Draining {
    /// Whether it had begun before the order came, which changed nothing then.
    pub already: bool,
    /// Over how long connections are closed, in milliseconds.
    pub window_ms: u64,
    /// Connections that are left.
    pub connections: u64,
}

/// The way to give orders to one server.
pub struct Orders {
    waiting: ArrayQueue<Order>,
    bell: Box<dyn Fn() + Send + Sync>,
}

impl Orders {
    /// Orders to a server that hears the bell.
    pub fn new(bell: impl Fn() + Send + Sync + 'static) -> Self {
        Orders { waiting: ArrayQueue::new(ORDERS_WAITING_MAX), bell: Box::new(bell) }
    }

    /// Gives an order, or gives it back if as many wait as there may.
    pub fn give(&self, order: Order) -> Result<(), Order> {
        self.waiting.push(order)?;
        (self.bell)();
        Ok(())
    }

    /// The server takes the oldest.
    pub fn take(&self) -> Option<Order> {
        self.waiting.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Orders come in their order, each with a ring; one more than may wait is given back.
    #[test]
    fn orders_wait_in_a_bounded_queue() {
        let (tell, rung) = std::sync::mpsc::channel();
        let orders = Orders::new(move || tell.send(()).unwrap());
        let order = |at: usize| Order::Log { filter: at.to_string(), reply: Box::new(|_| ()) };
        (0..ORDERS_WAITING_MAX).for_each(|at| orders.give(order(at)).unwrap());
        assert_eq!(format!("{:?}", orders.give(order(99)).unwrap_err()), "Log(99)");
        assert_eq!(rung.try_iter().count(), ORDERS_WAITING_MAX);
        for at in 0..ORDERS_WAITING_MAX {
            assert_eq!(format!("{:?}", orders.take().unwrap()), format!("Log({at})"));
        }
        assert!(orders.take().is_none());
    }
}
