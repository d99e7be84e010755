//! Networks: create and remove. A network is usable as soon as it is stored; the leader gives it a subnet and a VNI.

use alloc::{format, string::String};

use super::{Code, ControlError, Reason, validate};
use crate::{
    allocator::{clashing_network, pool_is_exhausted},
    id::{NetworkId, Random},
    model::{Annotations, INGRESS_NETWORK, Meta, Network, NetworkSpec},
    store::{Object, ObjectId, Store, Transaction, check_unused},
    time::Timestamp,
};

/// The specification of the routing mesh's network.
pub(super) fn ingress_spec() -> NetworkSpec {
    NetworkSpec {
        annotations: Annotations {
            name: String::from(INGRESS_NETWORK),
            ..Annotations::default()
        },
        driver: String::from("overlay"),
        ingress: true,
        ..NetworkSpec::default()
    }
}

/// Makes a network. Unlike SwarmKit, a subnet that overlaps another network's is refused here instead of leaving a
/// network behind that never works.
pub fn create_network(
    store: &Store,
    spec: NetworkSpec,
    now: Timestamp,
    rng: &mut dyn Random,
) -> Result<(NetworkId, Transaction), ControlError> {
    validate::network_spec(&spec)?;
    let name = &spec.annotations.name;
    if store.network_by_name(name).is_some() {
        return Err(ControlError::new(
            Code::AlreadyExists,
            format!("network with name {name} already exists"),
        ));
    }
    if let Some(present) = store.ingress_network().filter(|_| spec.ingress) {
        return Err(second_ingress(present));
    }
    check_subnets(store, &spec)?;
    let network = Network {
        id: NetworkId::random(rng),
        meta: Meta::default(),
        spec,
        allocation: None,
    };
    let id = network.id.clone();
    Ok((id, Transaction::new(now).create(Object::Network(network))))
}

/// Why there is never a second ingress network.
pub(crate) fn second_ingress(present: &Network) -> ControlError {
    let text = format!("ingress network ({}) is already present", present.id);
    ControlError::new(Code::AlreadyExists, text).because(Reason::IngressPresent)
}

fn check_subnets(store: &Store, spec: &NetworkSpec) -> Result<(), ControlError> {
    for wanted in &spec.ipam {
        if let Some(other) = clashing_network(store, wanted.subnet) {
            return Err(ControlError::new(
                Code::FailedPrecondition,
                format!(
                    "subnet {} overlaps with network {} ({})",
                    wanted.subnet, other.spec.annotations.name, other.id
                ),
            ));
        }
    }
    if spec.ipam.is_empty() && pool_is_exhausted(store) {
        return Err(ControlError::new(
            Code::FailedPrecondition,
            "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network",
        ));
    }
    Ok(())
}

/// Removes a network that no service uses. Tasks that are still stopping do not hold it.
pub fn remove_network(
    store: &Store,
    id: &NetworkId,
    now: Timestamp,
) -> Result<Transaction, ControlError> {
    let network = store
        .network(id)
        .ok_or_else(|| ControlError::new(Code::NotFound, format!("network {id} not found")))?;
    check_unused(store, network)?;
    let remove = ObjectId::Network(id.clone());
    Ok(Transaction::new(now).remove(remove, network.meta.version))
}
