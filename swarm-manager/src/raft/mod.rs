//! Consensus between managers: `swarm_manager_replica` over a sealed log on disk and gRPC. The log carries changes to objects;
//! the state machine is `swarm_core::store::Store`.
//!
//! ```text
//!   propose ─► openraft ─► log_store (redb, sealed, fsynced) ─► transport (gRPC, mutual TLS) ─► other managers
//!                 └────► StateMachine (Store in memory) ─► snapshot (sealed, on disk)
//! ```

pub(crate) mod database;
pub(crate) mod log_store;
mod log_writer;
pub(crate) mod news;
pub(crate) mod node;
mod overlay;
pub(crate) mod rebuild;
mod reseal;
pub(crate) mod seal;
pub(crate) mod snapshot;
pub(crate) mod survey;
pub(crate) mod transport;
pub(crate) mod types;

#[cfg(test)]
mod corruption_test;
#[cfg(test)]
mod crash_test;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod suite_test;
