//! The resolver that every task finds at 127.0.0.11.
//!
//! ```text
//! task's socket -> server (sockets bound inside the task) -> answer (pure)
//!                                   |                           |
//!                                   +-- unknown name: upstream  +-- names (per task)
//! ```
//!
//! Names of the swarm are answered here and never leave the host; everything else is passed on
//! as raw bytes, so that record types we know nothing about work.

mod answer;
mod names;
mod server;
mod upstream;

pub use answer::{Decision, Transport, decide, refuse};
pub use names::{NameTable, Names, NetworkNames, SharedNames};
pub use server::Resolver;
pub use upstream::Upstreams;

/// Where tasks find their resolver, as in Docker.
pub const RESOLVER_ADDRESS: std::net::Ipv4Addr = std::net::Ipv4Addr::new(127, 0, 0, 11);
/// Port of the resolver.
pub const RESOLVER_PORT: u16 = 53;
/// Seconds a task may cache an answer, as in Docker.
pub const TTL_SECONDS: u32 = 600;
