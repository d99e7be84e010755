//! The agent's hand on the eBPF data plane: loads and pins programs and maps, attaches them to
//! interfaces and the cgroup, and makes the maps hold what the planner in `swarm-core` wants.
//!
//! ```text
//! planner -> DesiredMaps -> reconcile -> MapStore -> kernel maps (pinned)
//!                                          ^             ^
//!                              memory, failing (tests)   programs (attached by pinned links)
//! ```
//!
//! Nothing here decides where a packet goes. Whatever is pinned outlives this process: packets
//! flow while no agent runs, and the next agent takes over without losing one.

mod bpffs;
pub mod counters;
mod datapath;
mod error;
mod flows;
pub mod kernel;
mod links;
mod loader;
pub mod memory;
pub mod probe;
pub mod reconcile;
pub mod report;
pub mod store;
mod sys;
pub mod tables;
mod text;

pub use counters::Counters;
pub use datapath::{DataPath, DataPathConfig, Observer};
pub use error::DataPathError;
pub use links::AttachMode;
pub use probe::{Probe, probe};
pub use reconcile::Reconciler;
pub use report::{ApplyReport, Difference, VerifyReport};
pub use store::{MapStore, StoreError};
pub use swarm_core::datapath::DesiredMaps;
pub use text::Tables;
