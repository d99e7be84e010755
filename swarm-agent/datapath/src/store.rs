//! The maps as a trait, so that reconciling is the same code over the kernel, over memory (tests
//! and simulations) and over a store that fails.

use std::collections::BTreeMap;

use aya::maps::MapError;
use swarm_common::maps::{FlowKey, FlowValue, Meta};

use crate::counters::Counters;
use crate::tables::Table;

/// A map could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{action} map {map}: {source}")]
pub struct StoreError {
    pub map: &'static str,
    pub action: &'static str,
    pub source: MapError,
}

/// Everything the agent does to map contents.
pub trait MapStore {
    /// All entries of a table.
    fn entries<T: Table>(&self) -> Result<BTreeMap<T::Key, T::Value>, StoreError>;

    /// Writes one entry, new or not.
    fn put<T: Table>(&mut self, key: &T::Key, value: &T::Value) -> Result<(), StoreError>;

    /// Removes one entry; a missing one is fine.
    fn remove<T: Table>(&mut self, key: &T::Key) -> Result<(), StoreError>;

    fn meta(&self) -> Result<Meta, StoreError>;

    fn set_meta(&mut self, meta: Meta) -> Result<(), StoreError>;

    /// All flows the programs know now. Flows come and go meanwhile; one may be missed.
    fn flows(&self) -> Result<Vec<(FlowKey, FlowValue)>, StoreError>;

    /// Removes one flow; a missing one is fine.
    fn remove_flow(&mut self, key: &FlowKey) -> Result<(), StoreError>;

    /// What the programs have counted, summed over the CPUs.
    fn counters(&self) -> Result<Counters, StoreError>;

    /// Removes what was counted for a service; a missing one is fine.
    fn remove_service_stats(&mut self, service: u32) -> Result<(), StoreError>;
}
