//! The contracts between machines: the `.proto` files in `swarm/v1` are the specification, [`convert`] turns their
//! messages into core types and back, [`client`] and [`logs`] let the other crates speak them without seeing a message,
//! and [`tls`] is who may talk to whom.
//!
//! Only the manager's API, the server side, touches [`wire`] directly. Nothing here decides anything about the cluster.
#![forbid(unsafe_code)]

pub mod client;
pub mod convert;
pub mod logs;
mod redacted;
pub mod session;
pub mod status;
pub mod tls;

/// Messages, clients and servers as generated from the `.proto` files.
#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::wildcard_enum_match_arm,
    clippy::use_self,
    clippy::or_fun_call,
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications,
    elided_lifetimes_in_paths,
    let_underscore_drop,
    reason = "generated code"
)]
pub mod wire {
    tonic::include_proto!("swarm.v1");
}

pub use convert::{ConvertError, Wire};

/// Largest message either side accepts. Lists stream and snapshots travel in chunks, so the largest is one object or one
/// Raft entry.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;
/// Piece of a snapshot on the wire.
pub const SNAPSHOT_CHUNK_BYTES: usize = 512 * 1024;
/// Assignments in one message.
pub const MAX_ASSIGNMENTS_PER_MESSAGE: usize = 256;
/// Bytes of assignments in one message.
pub const MAX_ASSIGNMENT_BYTES_PER_MESSAGE: usize = 1024 * 1024;
