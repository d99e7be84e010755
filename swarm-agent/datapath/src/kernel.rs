//! The store over the kernel's maps, opened from their pins. It works the same in the agent and
//! in another process that only looks.

use std::collections::BTreeMap;
use std::path::Path;

use aya::Pod;
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, PerCpuHashMap};
use swarm_common::maps::{
    Counter, DropCount, FlowKey, FlowValue, Meta, ServiceStats, ServiceStatsKey, capacity, names,
};
use swarm_common::verdict::{DropReason, Program, Verdict, counter_index};

use crate::counters::Counters;
use crate::store::{MapStore, StoreError};
use crate::tables::Table;

/// All maps of one host.
#[derive(Debug)]
pub struct KernelMaps {
    maps: BTreeMap<&'static str, Map>,
}

impl KernelMaps {
    /// Opens every map pinned in `directory`.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let open = |name: &'static str| {
            let data = MapData::from_pin(directory.join(name)).and_then(Map::from_map_data);
            data.map(|map| (name, map)).map_err(failed(name, "open"))
        };
        let maps = names::ALL.into_iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self { maps })
    }

    fn map(&self, name: &'static str) -> Result<&Map, StoreError> {
        self.maps.get(name).ok_or_else(|| missing(name))
    }

    fn map_mut(&mut self, name: &'static str) -> Result<&mut Map, StoreError> {
        self.maps.get_mut(name).ok_or_else(|| missing(name))
    }

    fn hash<K: Pod, V: Pod>(
        &self,
        name: &'static str,
    ) -> Result<HashMap<&MapData, K, V>, StoreError> {
        HashMap::try_from(self.map(name)?).map_err(failed(name, "open"))
    }

    fn hash_mut<K: Pod, V: Pod>(
        &mut self,
        name: &'static str,
    ) -> Result<HashMap<&mut MapData, K, V>, StoreError> {
        HashMap::try_from(self.map_mut(name)?).map_err(failed(name, "open"))
    }

    fn per_cpu<V: Pod>(&self, name: &'static str) -> Result<PerCpuArray<&MapData, V>, StoreError> {
        PerCpuArray::try_from(self.map(name)?).map_err(failed(name, "open"))
    }

    fn verdicts(&self) -> Result<BTreeMap<(Program, Verdict), Counter>, StoreError> {
        let map = self.per_cpu::<Counter>(names::COUNTERS)?;
        let mut verdicts = BTreeMap::new();
        for program in Program::ALL {
            for verdict in Verdict::ALL {
                let index = counter_index(*program, *verdict);
                let per_cpu = map
                    .get(&index, 0)
                    .map_err(failed(names::COUNTERS, "read"))?;
                let packets = per_cpu.iter().map(|counter| counter.packets).sum();
                let bytes = per_cpu.iter().map(|counter| counter.bytes).sum();
                if packets > 0 {
                    verdicts.insert((*program, *verdict), Counter { packets, bytes });
                }
            }
        }
        Ok(verdicts)
    }

    fn drops(&self) -> Result<BTreeMap<DropReason, u64>, StoreError> {
        let map = self.per_cpu::<DropCount>(names::DROPS)?;
        let mut drops = BTreeMap::new();
        for reason in DropReason::ALL {
            let per_cpu = map
                .get(&reason.index(), 0)
                .map_err(failed(names::DROPS, "read"))?;
            let packets: u64 = per_cpu.iter().map(|count| count.packets).sum();
            if packets > 0 {
                drops.insert(*reason, packets);
            }
        }
        Ok(drops)
    }

    fn services(&self) -> Result<BTreeMap<u32, ServiceStats>, StoreError> {
        let name = names::SERVICE_STATS;
        let map: PerCpuHashMap<_, ServiceStatsKey, ServiceStats> =
            PerCpuHashMap::try_from(self.map(name)?).map_err(failed(name, "open"))?;
        let mut services = BTreeMap::new();
        for entry in &map {
            let (key, per_cpu) = entry.map_err(failed(name, "read"))?;
            let sum = per_cpu
                .iter()
                .fold(ServiceStats::default(), |sum, one| ServiceStats {
                    packets: sum.packets + one.packets,
                    bytes: sum.bytes + one.bytes,
                    new_flows: sum.new_flows + one.new_flows,
                    no_backend: sum.no_backend + one.no_backend,
                });
            services.insert(key.service, sum);
        }
        Ok(services)
    }
}

impl MapStore for KernelMaps {
    fn entries<T: Table>(&self) -> Result<BTreeMap<T::Key, T::Value>, StoreError> {
        let map = self.hash::<T::KernelKey, T::KernelValue>(T::NAME)?;
        let decode = |(key, value)| (T::key(key), T::value(value));
        map.iter()
            .map(|entry| entry.map(decode))
            .collect::<Result<_, _>>()
            .map_err(failed(T::NAME, "read"))
    }

    fn put<T: Table>(&mut self, key: &T::Key, value: &T::Value) -> Result<(), StoreError> {
        let mut map = self.hash_mut::<T::KernelKey, T::KernelValue>(T::NAME)?;
        map.insert(T::kernel_key(key), T::kernel_value(value), 0)
            .map_err(failed(T::NAME, "write"))
    }

    fn remove<T: Table>(&mut self, key: &T::Key) -> Result<(), StoreError> {
        let mut map = self.hash_mut::<T::KernelKey, T::KernelValue>(T::NAME)?;
        absent_is_fine(map.remove(&T::kernel_key(key))).map_err(failed(T::NAME, "remove from"))
    }

    fn meta(&self) -> Result<Meta, StoreError> {
        let map: Array<_, Meta> =
            Array::try_from(self.map(names::META)?).map_err(failed(names::META, "open"))?;
        map.get(&0, 0).map_err(failed(names::META, "read"))
    }

    fn set_meta(&mut self, meta: Meta) -> Result<(), StoreError> {
        let mut map: Array<_, Meta> =
            Array::try_from(self.map_mut(names::META)?).map_err(failed(names::META, "open"))?;
        map.set(0, meta, 0).map_err(failed(names::META, "write"))
    }

    /// Bounded by twice the capacity: under churn the kernel restarts a walk whose last key was
    /// evicted, and could go on for ever.
    fn flows(&self) -> Result<Vec<(FlowKey, FlowValue)>, StoreError> {
        let map = self.hash::<FlowKey, FlowValue>(names::CONNTRACK)?;
        let bounded = map.iter().take(2 * capacity::CONNTRACK);
        bounded
            .collect::<Result<_, _>>()
            .map_err(failed(names::CONNTRACK, "read"))
    }

    fn remove_flow(&mut self, key: &FlowKey) -> Result<(), StoreError> {
        let mut map = self.hash_mut::<FlowKey, FlowValue>(names::CONNTRACK)?;
        absent_is_fine(map.remove(key)).map_err(failed(names::CONNTRACK, "remove from"))
    }

    fn counters(&self) -> Result<Counters, StoreError> {
        Ok(Counters {
            verdicts: self.verdicts()?,
            drops: self.drops()?,
            services: self.services()?,
        })
    }

    fn remove_service_stats(&mut self, service: u32) -> Result<(), StoreError> {
        let name = names::SERVICE_STATS;
        let mut map: PerCpuHashMap<_, ServiceStatsKey, ServiceStats> =
            PerCpuHashMap::try_from(self.map_mut(name)?).map_err(failed(name, "open"))?;
        absent_is_fine(map.remove(&ServiceStatsKey { service }))
            .map_err(failed(name, "remove from"))
    }
}

fn absent_is_fine(removed: Result<(), MapError>) -> Result<(), MapError> {
    match removed {
        Err(MapError::SyscallError(error))
            if error.io_error.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(())
        }
        Err(MapError::KeyNotFound) => Ok(()),
        other => other,
    }
}

fn failed(map: &'static str, action: &'static str) -> impl FnOnce(MapError) -> StoreError {
    move |source| StoreError {
        map,
        action,
        source,
    }
}

fn missing(map: &'static str) -> StoreError {
    StoreError {
        map,
        action: "find",
        source: MapError::ElementNotFound,
    }
}
