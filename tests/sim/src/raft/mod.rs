//! Consensus as the managers run it: openraft on the deterministic runtime. Log and state machine are written after the
//! manager's, whose files, threads and directories a simulated disk cannot hold.

pub(crate) mod database;
pub(crate) mod log_store;
pub(crate) mod observed;
pub(crate) mod snapshot;
pub(crate) mod state_machine;
pub(crate) mod transport;
pub(crate) mod types;
