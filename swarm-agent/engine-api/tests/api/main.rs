//! The whole HTTP surface over a real unix socket, and the stock client against it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "tests: a failure is a report, a story is told in one function"
)]

mod cluster;
mod docker;
mod host;
mod objects;
mod support;
