//! The load tester end to end: the real program against the real server, over real sockets.
//!
//! A test starts the server it needs on addresses of its own and ends it. Runs are small, a few
//! hundred subscribers for a second or two, and what they must report is worked out beforehand.
//! Nothing here measures time: deadlines are there to fail instead of hanging.
#![forbid(unsafe_code)]

mod agents;
mod cli;
mod endings;
mod faults;
#[path = "../support/honest.rs"]
mod honest;
mod plans;
mod resume;
mod run;
#[path = "../support/stentor.rs"]
mod stentor;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod tokens;
