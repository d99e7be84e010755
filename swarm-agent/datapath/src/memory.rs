//! Stores without a kernel: one that keeps everything in memory and records the order of
//! changes, and one that fails after a number of operations. For tests and simulations.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;

use aya::maps::MapError;
use swarm_common::maps::{FlowKey, FlowValue, Meta, names};
use swarm_core::datapath::DesiredMaps;

use crate::counters::Counters;
use crate::store::{MapStore, StoreError};
use crate::tables::Table;

/// One change, in the order it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Put(&'static str),
    Remove(&'static str),
}

/// Maps in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    pub maps: DesiredMaps,
    pub meta: Meta,
    pub flows: BTreeMap<FlowKey, FlowValue>,
    pub counters: Counters,
    /// Every change so far.
    pub changes: Vec<Change>,
}

/// A store whose kernel runs out of memory after some successful operations.
#[derive(Debug, Clone, Default)]
pub struct FailingStore {
    pub inner: MemoryStore,
    operations_left: Cell<usize>,
}

impl MapStore for MemoryStore {
    fn entries<T: Table>(&self) -> Result<BTreeMap<T::Key, T::Value>, StoreError> {
        Ok(T::of(&self.maps).clone())
    }

    fn put<T: Table>(&mut self, key: &T::Key, value: &T::Value) -> Result<(), StoreError> {
        self.changes.push(Change::Put(T::NAME));
        T::of_mut(&mut self.maps).insert(key.clone(), value.clone());
        Ok(())
    }

    fn remove<T: Table>(&mut self, key: &T::Key) -> Result<(), StoreError> {
        self.changes.push(Change::Remove(T::NAME));
        T::of_mut(&mut self.maps).remove(key);
        Ok(())
    }

    fn meta(&self) -> Result<Meta, StoreError> {
        Ok(self.meta)
    }

    fn set_meta(&mut self, meta: Meta) -> Result<(), StoreError> {
        self.meta = meta;
        Ok(())
    }

    fn flows(&self) -> Result<Vec<(FlowKey, FlowValue)>, StoreError> {
        Ok(self
            .flows
            .iter()
            .map(|(key, value)| (*key, *value))
            .collect())
    }

    fn remove_flow(&mut self, key: &FlowKey) -> Result<(), StoreError> {
        self.changes.push(Change::Remove(names::CONNTRACK));
        self.flows.remove(key);
        Ok(())
    }

    fn counters(&self) -> Result<Counters, StoreError> {
        Ok(self.counters.clone())
    }

    fn remove_service_stats(&mut self, service: u32) -> Result<(), StoreError> {
        self.counters.services.remove(&service);
        Ok(())
    }
}

impl FailingStore {
    /// Works for `operations` more operations.
    pub fn after(inner: MemoryStore, operations: usize) -> Self {
        Self {
            inner,
            operations_left: Cell::new(operations),
        }
    }

    fn spend(&self, map: &'static str, action: &'static str) -> Result<(), StoreError> {
        let Some(left) = self.operations_left.get().checked_sub(1) else {
            let source = MapError::IoError(io::ErrorKind::OutOfMemory.into());
            return Err(StoreError {
                map,
                action,
                source,
            });
        };
        self.operations_left.set(left);
        Ok(())
    }
}

impl MapStore for FailingStore {
    fn entries<T: Table>(&self) -> Result<BTreeMap<T::Key, T::Value>, StoreError> {
        self.spend(T::NAME, "read")?;
        self.inner.entries::<T>()
    }

    fn put<T: Table>(&mut self, key: &T::Key, value: &T::Value) -> Result<(), StoreError> {
        self.spend(T::NAME, "write")?;
        self.inner.put::<T>(key, value)
    }

    fn remove<T: Table>(&mut self, key: &T::Key) -> Result<(), StoreError> {
        self.spend(T::NAME, "remove from")?;
        self.inner.remove::<T>(key)
    }

    fn meta(&self) -> Result<Meta, StoreError> {
        self.spend(names::META, "read")?;
        self.inner.meta()
    }

    fn set_meta(&mut self, meta: Meta) -> Result<(), StoreError> {
        self.spend(names::META, "write")?;
        self.inner.set_meta(meta)
    }

    fn flows(&self) -> Result<Vec<(FlowKey, FlowValue)>, StoreError> {
        self.spend(names::CONNTRACK, "read")?;
        self.inner.flows()
    }

    fn remove_flow(&mut self, key: &FlowKey) -> Result<(), StoreError> {
        self.spend(names::CONNTRACK, "remove from")?;
        self.inner.remove_flow(key)
    }

    fn counters(&self) -> Result<Counters, StoreError> {
        self.spend(names::COUNTERS, "read")?;
        self.inner.counters()
    }

    fn remove_service_stats(&mut self, service: u32) -> Result<(), StoreError> {
        self.spend(names::SERVICE_STATS, "remove from")?;
        self.inner.remove_service_stats(service)
    }
}
