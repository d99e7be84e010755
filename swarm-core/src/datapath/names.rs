//! What a task's resolver answers: for each of its networks the services, tasks and aliases on it.

use alloc::{collections::BTreeMap, format, string::String, vec::Vec};
use core::net::Ipv4Addr;

use crate::{
    dispatch::{Assignment, AssignmentKey, Assignments, EndpointInfo, ServiceInfo},
    id::NetworkId,
    model::{EndpointMode, Network, Task},
};

/// The names on one network of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkNames {
    /// The network's name; `name.network` resolves like `name`.
    pub network: String,
    /// Name, in lower case, to addresses.
    pub names: BTreeMap<String, Vec<Ipv4Addr>>,
    /// Address to name, for reverse queries.
    pub reverse: BTreeMap<Ipv4Addr, String>,
}

/// The names that `task` resolves, in the order they are searched: its own networks first, the ingress network last.
pub fn names(assignments: &Assignments, task: &Task) -> Vec<NetworkNames> {
    let attached = task.attachments.iter().filter_map(|attachment| {
        let key = AssignmentKey::Network(attachment.network.clone());
        match assignments.get(&key) {
            Some(Assignment::Network(network)) => Some(network),
            Some(_) | None => None,
        }
    });
    let (ingress, user): (Vec<&Network>, Vec<&Network>) =
        attached.partition(|network| network.spec.ingress);
    user.iter()
        .chain(&ingress)
        .map(|network| names_on(assignments, network))
        .collect()
}

fn names_on(assignments: &Assignments, network: &Network) -> NetworkNames {
    let mut found = NetworkNames {
        network: network.spec.annotations.name.clone(),
        ..NetworkNames::default()
    };
    let endpoints: Vec<&EndpointInfo> = assignments
        .values()
        .filter_map(|assignment| match assignment {
            Assignment::Endpoint(endpoint) if endpoint.network == network.id => Some(endpoint),
            Assignment::Endpoint(_)
            | Assignment::Task(_)
            | Assignment::Network(_)
            | Assignment::Service(_)
            | Assignment::Peer(_)
            | Assignment::IngressAddress(_) => None,
        })
        .collect();
    for assignment in assignments.values() {
        if let Assignment::Service(service) = assignment {
            service_names(service, &network.id, &endpoints, &mut found);
        }
    }
    for endpoint in &endpoints {
        for name in &endpoint.names {
            found.add(name, [endpoint.address]);
        }
        if let Some(name) = endpoint.names.first() {
            found
                .reverse
                .insert(endpoint.address, format!("{name}.{}", found.network));
        }
    }
    found
}

fn service_names(
    service: &ServiceInfo,
    network: &NetworkId,
    endpoints: &[&EndpointInfo],
    found: &mut NetworkNames,
) {
    let tasks: Vec<Ipv4Addr> = endpoints
        .iter()
        .filter(|endpoint| endpoint.service.as_ref() == Some(&service.id) && endpoint.serving)
        .map(|endpoint| endpoint.address)
        .collect();
    let vip = service
        .virtual_ips
        .iter()
        .find(|vip| vip.network == *network);
    let on_network = vip.is_some()
        || endpoints
            .iter()
            .any(|endpoint| endpoint.service.as_ref() == Some(&service.id));
    if !on_network {
        return;
    }
    let answer = match (service.mode, vip) {
        (EndpointMode::Vip, Some(vip)) => alloc::vec![vip.address],
        (EndpointMode::Vip, None) | (EndpointMode::DnsRoundRobin, _) => tasks.clone(),
    };
    let aliases = vip.map(|vip| vip.aliases.as_slice()).unwrap_or_default();
    for name in core::iter::once(&service.name).chain(aliases) {
        found.add(name, answer.iter().copied());
        found.add(&format!("tasks.{name}"), tasks.iter().copied());
    }
    if let Some(vip) = vip {
        found
            .reverse
            .insert(vip.address, format!("{}.{}", service.name, found.network));
    }
}

impl NetworkNames {
    fn add(&mut self, name: &str, addresses: impl IntoIterator<Item = Ipv4Addr>) {
        let known = self.names.entry(name.to_ascii_lowercase()).or_default();
        for address in addresses {
            if !known.contains(&address) {
                known.push(address);
            }
        }
    }
}
