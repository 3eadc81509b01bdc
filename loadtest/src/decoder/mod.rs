//! A subscriber's bytes, read.
