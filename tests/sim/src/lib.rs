//! Whole clusters in one thread, on virtual time, with faults by seed: the managers' own consensus
//! (`swarm_manager_replica`), core and its worker steps, on simulated hosts, disks and networks.
//!
//! ```text
//!   clients ─► requests ─► manager (node, drive, write) ─► transport ─► other managers
//!                              │  log, state machine ─► disk (loses what was not synced)
//!   nemesis breaks all of it   └─► session ─► worker on each host
//!                       history (what really happened) ─► invariants, one per file
//! ```
//!
//! The same seed gives the same run, event by event. [`run`] is one run: set-up, faults, mending, rest.

mod clients;
mod cluster;
mod ground;
mod history;
mod invariants;
mod keeper;
mod manager;
mod nemesis;
mod network;
mod outcasts;
mod raft;
mod requests;
mod scenario;
mod session;
mod worker;

pub use ground::Sabotage;
pub use scenario::{Options, Outcome, run};
