//! What tests of the load tester share.

pub mod fault_proxy;
