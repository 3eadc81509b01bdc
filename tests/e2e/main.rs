//! The program end to end: the real binary, real sockets, real clients.
//!
//! A test starts the server it needs on ports of its own and ends it. Nothing here measures time:
//! the deadlines in `support` are there to fail instead of hanging. What concerns the data path
//! runs on io_uring and on epoll.
#![forbid(unsafe_code)]

mod support;

/// Runs each of these functions as one test on io_uring and another on epoll.
macro_rules! on_both_kernels {
    ($($name:ident),+ $(,)?) => {
        mod uring {
            $(#[test] fn $name() { super::$name(crate::support::Io::Uring) })+
        }
        mod epoll {
            $(#[test] fn $name() { super::$name(crate::support::Io::Epoll) })+
        }
    };
}

mod activation;
mod api;
mod attack;
mod autobahn;
mod bad_input;
mod client;
mod commands;
mod dashboard;
mod delivery;
mod forbidden;
mod forwarded;
mod handover;
mod journal;
mod limits;
mod listeners;
mod many;
mod operating;
mod packaging;
mod polling;
mod proxied;
mod recovery;
mod rights;
mod several;
mod shell;
mod slow;
mod stopping;
mod stories;
mod streams;
mod terms;
mod tls;
mod token;
mod tokens;
mod unix;
