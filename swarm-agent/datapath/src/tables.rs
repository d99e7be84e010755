//! The maps the agent writes, as types: name, key, value, and the way between the planner's
//! form and the kernel's bytes. They differ in one place only: a Maglev table is a list for the
//! planner and a fixed array for the kernel.

use std::collections::BTreeMap;
use std::fmt::Debug;

use aya::Pod;
use swarm_common::maps::{
    BackendKey, BackendValue, EndpointKey, EndpointValue, InterfaceKey, InterfaceValue,
    LocalAddressKey, LocalAddressValue, MAGLEV_SIZE, MaglevKey, MaglevTable, PeerKey, PeerValue,
    PublishedKey, PublishedValue, ServiceKey, ServiceValue, SourceKey, SourceValue, names,
};
use swarm_core::datapath::DesiredMaps;

/// One map written by the agent.
pub trait Table {
    /// Name of the map and of its pin.
    const NAME: &'static str;
    /// Key in the planner's form.
    type Key: Ord + Clone + Debug;
    /// Value in the planner's form.
    type Value: PartialEq + Clone + Debug;
    /// Key as the kernel stores it.
    type KernelKey: Pod;
    /// Value as the kernel stores it.
    type KernelValue: Pod;

    /// This map in a plan.
    fn of(maps: &DesiredMaps) -> &BTreeMap<Self::Key, Self::Value>;
    /// This map in a plan, for filling it.
    fn of_mut(maps: &mut DesiredMaps) -> &mut BTreeMap<Self::Key, Self::Value>;
    fn kernel_key(key: &Self::Key) -> Self::KernelKey;
    fn kernel_value(value: &Self::Value) -> Self::KernelValue;
    fn key(kernel: Self::KernelKey) -> Self::Key;
    fn value(kernel: Self::KernelValue) -> Self::Value;
}

macro_rules! plain_tables {
    ($($(#[$meta:meta])* $table:ident: $field:ident = $name:ident, $key:ty => $value:ty;)*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy)]
        pub struct $table;

        impl Table for $table {
            const NAME: &'static str = names::$name;
            type Key = $key;
            type Value = $value;
            type KernelKey = $key;
            type KernelValue = $value;

            fn of(maps: &DesiredMaps) -> &BTreeMap<$key, $value> {
                &maps.$field
            }
            fn of_mut(maps: &mut DesiredMaps) -> &mut BTreeMap<$key, $value> {
                &mut maps.$field
            }
            fn kernel_key(key: &$key) -> $key {
                *key
            }
            fn kernel_value(value: &$value) -> $value {
                *value
            }
            fn key(kernel: $key) -> $key {
                kernel
            }
            fn value(kernel: $value) -> $value {
                kernel
            }
        }
    )*};
}

plain_tables! {
    /// Where every overlay address lives.
    Endpoints: endpoints = ENDPOINTS, EndpointKey => EndpointValue;
    /// Identity of the host side of each veth.
    Interfaces: interfaces = INTERFACES, InterfaceKey => InterfaceValue;
    /// Further addresses a veth may send from.
    Sources: sources = SOURCES, SourceKey => SourceValue;
    /// Virtual addresses.
    Services: services = SERVICES, ServiceKey => ServiceValue;
    /// What the numbers in a Maglev table mean.
    Backends: backends = BACKENDS, BackendKey => BackendValue;
    /// Published ports.
    Published: published = PUBLISHED, PublishedKey => PublishedValue;
    /// Nodes whose VXLAN is accepted.
    Peers: peers = PEERS, PeerKey => PeerValue;
    /// This node's own addresses.
    LocalAddresses: local_addresses = LOCAL_ADDRESSES, LocalAddressKey => LocalAddressValue;
}

/// Which backend each slot of a service's hash table names.
#[derive(Debug, Clone, Copy)]
pub struct Maglev;

impl Table for Maglev {
    const NAME: &'static str = names::MAGLEV;
    type Key = u32;
    type Value = Vec<u32>;
    type KernelKey = MaglevKey;
    type KernelValue = MaglevTable;

    fn of(maps: &DesiredMaps) -> &BTreeMap<u32, Vec<u32>> {
        &maps.maglev
    }
    fn of_mut(maps: &mut DesiredMaps) -> &mut BTreeMap<u32, Vec<u32>> {
        &mut maps.maglev
    }
    fn kernel_key(key: &u32) -> MaglevKey {
        MaglevKey { service: *key }
    }
    /// A service without backends has an empty list: no slot names a backend.
    fn kernel_value(value: &Vec<u32>) -> MaglevTable {
        let mut table = MaglevTable {
            backends: [0; MAGLEV_SIZE],
        };
        for (slot, backend) in table.backends.iter_mut().zip(value) {
            *slot = *backend;
        }
        table
    }
    fn key(kernel: MaglevKey) -> u32 {
        kernel.service
    }
    fn value(kernel: MaglevTable) -> Vec<u32> {
        if kernel.backends.iter().all(|backend| *backend == 0) {
            Vec::new()
        } else {
            kernel.backends.to_vec()
        }
    }
}

/// Something to do for every table, in the order in which the kernel may see changes: what is
/// referred to comes before what refers to it.
pub(crate) trait ForEachTable {
    type Error;

    fn visit<T: Table>(&mut self) -> Result<(), Self::Error>;

    /// From the referred-to to the referring: the order for additions.
    fn referred_first(&mut self) -> Result<(), Self::Error> {
        self.visit::<Peers>()?;
        self.visit::<Interfaces>()?;
        self.visit::<Sources>()?;
        self.visit::<Endpoints>()?;
        self.visit::<Backends>()?;
        self.visit::<Maglev>()?;
        self.visit::<Services>()?;
        self.visit::<Published>()?;
        self.visit::<LocalAddresses>()
    }

    /// The other way round: the order for removals.
    fn referring_first(&mut self) -> Result<(), Self::Error> {
        self.visit::<LocalAddresses>()?;
        self.visit::<Published>()?;
        self.visit::<Services>()?;
        self.visit::<Maglev>()?;
        self.visit::<Backends>()?;
        self.visit::<Endpoints>()?;
        self.visit::<Sources>()?;
        self.visit::<Interfaces>()?;
        self.visit::<Peers>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maglev_tables_survive_the_kernels_form() {
        for table in [
            Vec::new(),
            (1..=1021).collect::<Vec<u32>>(),
            vec![7; MAGLEV_SIZE],
        ] {
            assert_eq!(Maglev::value(Maglev::kernel_value(&table)), table);
        }
    }

    #[test]
    fn additions_and_removals_visit_the_same_tables_in_opposite_order() {
        struct Names(Vec<&'static str>);
        impl ForEachTable for Names {
            type Error = ();
            fn visit<T: Table>(&mut self) -> Result<(), ()> {
                self.0.push(T::NAME);
                Ok(())
            }
        }
        let mut additions = Names(Vec::new());
        additions.referred_first().unwrap();
        let mut removals = Names(Vec::new());
        removals.referring_first().unwrap();
        removals.0.reverse();
        assert_eq!(additions.0, removals.0);
        assert_eq!(additions.0.len(), 9);
    }
}
