//! Subnets for networks and addresses inside them. Subnets are cut from the cluster's pools in order; addresses are
//! given serially, and a freed one is used again only after the cursor has gone round.

use alloc::vec::Vec;
use core::net::Ipv4Addr;

use super::{AllocationError, vni};
use crate::{
    id::NetworkId,
    model::{Cluster, DEFAULT_ADDRESS_POOL, Network, NetworkAllocation, Subnet},
    store::{Draft, Store},
};

/// The network whose subnet, given or wanted, overlaps `subnet`.
pub fn clashing_network(store: &Store, subnet: Subnet) -> Option<&Network> {
    store
        .networks()
        .find(|network| subnets(network).any(|other| other.overlaps(subnet)))
}

/// Whether no further subnet can be cut from the pools.
pub fn pool_is_exhausted(store: &Store) -> bool {
    let taken: Vec<Subnet> = store.networks().flat_map(subnets).collect();
    store
        .cluster()
        .is_some_and(|cluster| free_subnet(cluster, &taken).is_none())
}

/// The subnets a network asks for and the one it has.
pub(crate) fn subnets(network: &Network) -> impl Iterator<Item = Subnet> {
    let given = network.allocation.as_ref().map(|given| given.subnet);
    let wanted = network.spec.ipam.iter().map(|wanted| wanted.subnet);
    given.into_iter().chain(wanted)
}

/// The first subnet of the pools that overlaps none of `taken`.
fn free_subnet(cluster: &Cluster, taken: &[Subnet]) -> Option<Subnet> {
    let default = [DEFAULT_ADDRESS_POOL];
    let pools = match cluster.default_address_pools.as_slice() {
        [] => &default,
        pools => pools,
    };
    pools
        .iter()
        .find_map(|pool| first_free(*pool, cluster.subnet_size, taken))
}

fn first_free(pool: Subnet, size: u8, taken: &[Subnet]) -> Option<Subnet> {
    let step = 1u32.checked_shl(u32::from(32u8.checked_sub(size)?))?;
    let mut address = u32::from(pool.address);
    loop {
        let candidate = Subnet {
            address: Ipv4Addr::from(address),
            prefix_len: size,
        };
        if !pool.contains(candidate.address) {
            return None;
        }
        let Some(other) = taken.iter().find(|other| other.overlaps(candidate)) else {
            return Some(candidate);
        };
        // Continue behind whichever is larger, so that one large subnet is passed in one step.
        let behind = u32::from(other.address).checked_add(other.last_host())?;
        let next = behind.checked_add(1)?;
        address = next
            .checked_next_multiple_of(step)?
            .max(address.checked_add(step)?);
    }
}

/// Gives a network its subnet, gateway and VNI.
pub(crate) fn allocate_network(
    draft: &mut Draft<'_>,
    id: &NetworkId,
) -> Result<(), AllocationError> {
    let missing = || AllocationError::NoNetwork {
        network: id.clone(),
    };
    let mut network = draft.network(id).cloned().ok_or_else(missing)?;
    if network.allocation.is_some() {
        return Ok(());
    }
    let subnet = choose_subnet(draft, &network)?;
    let wanted_gateway = network.spec.ipam.first().and_then(|wanted| wanted.gateway);
    network.allocation = Some(NetworkAllocation {
        vni: vni::take(draft)?,
        subnet,
        gateway: wanted_gateway.unwrap_or_else(|| subnet.host(1)),
        next_host: 2,
    });
    draft.put_network(network);
    Ok(())
}

fn choose_subnet(draft: &Draft<'_>, network: &Network) -> Result<Subnet, AllocationError> {
    let others = draft.networks().filter(|other| other.id != network.id);
    if let Some(wanted) = network.spec.ipam.first() {
        let allocated = |other: &&Network| {
            let given = other.allocation.as_ref();
            given.is_some_and(|given| given.subnet.overlaps(wanted.subnet))
        };
        return match others.into_iter().find(allocated) {
            None => Ok(wanted.subnet),
            Some(other) => Err(AllocationError::SubnetTaken {
                subnet: wanted.subnet,
                other: other.id.clone(),
            }),
        };
    }
    let taken: Vec<Subnet> = others.flat_map(subnets).collect();
    draft
        .cluster()
        .and_then(|cluster| free_subnet(cluster, &taken))
        .ok_or(AllocationError::NoSubnet)
}

/// Takes the next free address of a network and moves the network's cursor behind it.
pub(super) fn take_address(
    draft: &mut Draft<'_>,
    id: &NetworkId,
) -> Result<(Ipv4Addr, u8), AllocationError> {
    let mut network = draft
        .network(id)
        .cloned()
        .ok_or_else(|| AllocationError::NoNetwork {
            network: id.clone(),
        })?;
    let Some(allocation) = &mut network.allocation else {
        return Err(AllocationError::NetworkPending {
            network: id.clone(),
        });
    };
    let subnet = allocation.subnet;
    // Host parts 1 ..= last-1: neither the network's own address nor broadcast.
    let span = subnet.last_host().saturating_sub(1);
    let start = allocation.next_host.clamp(1, span.max(1)) - 1;
    let mut hosts = (0..span).map(|step| 1 + (start + step) % span);
    let free = |host: &u32| {
        let address = subnet.host(*host);
        address != allocation.gateway && !draft.address_taken(id, address)
    };
    let exhausted = || AllocationError::NoAddress {
        network: id.clone(),
        subnet,
    };
    let host = hosts.find(free).ok_or_else(exhausted)?;
    allocation.next_host = if host == span { 1 } else { host + 1 };
    draft.put_network(network);
    Ok((subnet.host(host), subnet.prefix_len))
}
