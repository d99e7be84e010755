//! The real object in the real kernel, each test on a host of its own. Needs root.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step of a test must name its line"
)]

mod host;
mod maps;
mod restart;
