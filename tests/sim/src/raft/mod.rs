//! Consensus as the managers run it (`swarm_manager_replica`) on the deterministic runtime; disk and network are simulated.

pub(crate) mod database;
pub(crate) mod log_disk;
pub(crate) mod observed;
pub(crate) mod snapshot;
pub(crate) mod transport;
pub(crate) mod types;
