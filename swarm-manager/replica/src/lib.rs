//! What every manager does with Raft, wherever it runs: applies entries to the store, leads, writes, joins and leaves. The
//! manager runs it over a sealed disk and gRPC, `tests/sim` over simulated disks, networks and time: both are this code.
//!
//! ```text
//!   calls ─► write ─► node ─► openraft ─► log ─► LogDisk
//!              ▲       ▲         └─► state_machine ─► Snapshots
//!            drive ────┘ the leader's loop; decides with swarm_core::leader
//! ```
//!
//! Time, sleeps and randomness come from the [`Platform`]. Where several branches are awaited, their order is fixed
//! (`biased`), because a simulated run must repeat itself.
#![forbid(unsafe_code)]

mod admit;
pub mod compaction;
pub mod content;
pub mod drive;
mod join;
mod log;
mod members;
mod node;
mod platform;
mod refusal;
mod state_machine;
mod store;
pub mod timing;
pub mod types;
mod write;

pub use admit::Message;
pub use join::new_raft_id;
pub use log::{LogDisk, LogEnds, LogStore};
pub use node::{Leadership, RaftNode, config};
pub use platform::{Platform, Raft, SnapshotOf};
pub use state_machine::{Builder, Snapshots, StateMachine};
pub use store::SharedStore;
pub use write::{Written, write};
