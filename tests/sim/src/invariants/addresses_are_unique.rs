//! No address, network number, subnet or port is given twice. Found from the objects themselves, not from the indexes over
//! them, after every committed entry.

use std::collections::{BTreeMap, BTreeSet};

use swarm_core::{
    model::{Attachment, PublishMode},
    store::Store,
};

/// Checks a state.
pub(crate) fn check(store: &Store) -> Result<(), String> {
    addresses(store)?;
    networks(store)?;
    ports(store)
}

/// Everything that holds an address, with its name.
pub(crate) fn holders(store: &Store) -> impl Iterator<Item = (String, &Attachment)> {
    let tasks = store
        .tasks()
        .filter(|task| !task.status.state.is_terminal())
        .flat_map(|task| {
            let attachments = task.attachments.iter();
            attachments.map(|held| (format!("task {}", task.id), held))
        });
    let services = store.services().flat_map(|service| {
        let endpoint = service.endpoint.iter();
        let virtual_ips = endpoint.flat_map(|endpoint| &endpoint.virtual_ips);
        virtual_ips.map(|held| (format!("service {}", service.id), held))
    });
    let nodes = store.nodes().flat_map(|node| {
        let attachment = node.attachment.iter();
        attachment.map(|held| (format!("node {}", node.id), held))
    });
    tasks.chain(services).chain(nodes)
}

fn addresses(store: &Store) -> Result<(), String> {
    let mut held = BTreeMap::new();
    for network in store.networks() {
        if let Some(allocation) = &network.allocation {
            let gateway = (&network.id, allocation.gateway);
            held.insert(gateway, format!("the gateway of {}", network.id));
        }
    }
    for (holder, attachment) in holders(store) {
        let place = (&attachment.network, attachment.address);
        if let Some(other) = held.insert(place, holder.clone()) {
            return Err(format!(
                "address {} on network {} is given to {other} and to {holder}",
                attachment.address, attachment.network
            ));
        }
    }
    Ok(())
}

fn networks(store: &Store) -> Result<(), String> {
    let allocated = |network: &swarm_core::model::Network| {
        let allocation = network.allocation?;
        let first = u32::from(allocation.subnet.address);
        let last = first
            | u32::MAX
                .checked_shr(allocation.subnet.prefix_len.into())
                .unwrap_or(0);
        Some((network.id.clone(), allocation.vni, first, last))
    };
    let mut vnis = BTreeMap::new();
    let mut ranges = BTreeSet::new();
    for (id, vni, first, last) in store.networks().filter_map(allocated) {
        if let Some(other) = vnis.insert(vni, id.clone()) {
            return Err(format!("VNI {vni} is given to network {other} and to {id}"));
        }
        let before = ranges.range(..=(last, u32::MAX)).next_back();
        if before.is_some_and(|(_, end)| *end >= first) {
            return Err(format!("the subnet of network {id} overlaps another one's"));
        }
        ranges.insert((first, last));
    }
    Ok(())
}

fn ports(store: &Store) -> Result<(), String> {
    let mut held = BTreeMap::new();
    for service in store.services() {
        let ports = service.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
        for port in ports.filter(|port| port.publish_mode == PublishMode::Ingress) {
            let place = (port.protocol, port.published_port);
            match held.insert(place, &service.id) {
                Some(other) if port.published_port != 0 => {
                    return Err(format!(
                        "port {} is given to service {other} and to {}",
                        port.published_port, service.id
                    ));
                }
                Some(_) | None => {}
            }
        }
    }
    Ok(())
}
