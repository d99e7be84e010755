//! Every decision of the orchestrator, without I/O.
//!
//! ```text
//!   events (commands of users, reports of agents, time)  ─►  swarm-core  ─►  changes (Raft), assignments, map contents
//! ```
//!
//! A decision is a function of (state, event, now) that returns changes or commands; the shells in `swarm-manager` and
//! `swarm-agent` carry them out and report outcomes as new events. The crate is `no_std`: there is no clock, socket,
//! thread or randomly seeded map inside, and the compiler proves it.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod allocator;
pub mod ca;
pub mod compaction;
pub mod constraint;
pub mod control;
pub mod datapath;
pub mod dispatch;
pub mod id;
pub mod leader;
pub mod lock;
pub mod model;
pub mod orchestrator;
pub mod scheduler;
pub mod store;
#[cfg(test)]
mod testing;
pub mod time;
pub mod worker;
