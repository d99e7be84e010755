//! Turning what users call things into identifiers, with Docker's refusals.

use std::collections::BTreeMap;

use swarm_api::{
    Refusal,
    network::LocalNetwork,
    service_spec::{ResolvedNetworks, ServiceSpec},
};
use swarm_core::{
    control::Code,
    id::NetworkId,
    model::{Network, Node},
};

use crate::{Api, error::ApiError, gate};

/// Refuses on nodes that cannot answer for the cluster.
pub(crate) async fn manager(api: &Api) -> Result<(), ApiError> {
    Ok(gate::check_manager(&api.host.membership().await)?)
}

/// The node that a path names; `self` is this one.
pub(crate) async fn node(api: &Api, reference: &str) -> Result<Node, ApiError> {
    if reference == "self" {
        let membership = api.host.membership().await;
        return Ok(api.control.node(membership.node_id.as_str()).await?);
    }
    Ok(api.control.node(reference).await?)
}

/// All networks by identifier, for printing tasks.
pub(crate) async fn networks_by_id(api: &Api) -> Result<BTreeMap<NetworkId, Network>, ApiError> {
    let networks = api.control.networks().await?;
    let entry = |network: Network| (network.id.clone(), network);
    Ok(networks.into_iter().map(entry).collect())
}

/// The networks a specification names. One that exists on this node only is refused as such.
pub(crate) async fn service_networks(
    api: &Api,
    spec: &ServiceSpec,
) -> Result<ResolvedNetworks, ApiError> {
    let mut resolved = ResolvedNetworks::new();
    for target in spec.network_targets() {
        match api.control.network(target).await {
            Ok(network) => {
                resolved.insert(target.to_owned(), network.id);
            }
            Err(error) if error.code == Code::NotFound => {
                let local = api.host.local_networks().await?;
                return Err(match find_local(&local, target) {
                    Ok(network) => Refusal::NodeLocalNetwork {
                        name: network.name.clone(),
                    },
                    Err(_) => Refusal::from(error),
                }
                .into());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(resolved)
}

/// The node-local network of that identifier, name, or identifier prefix.
pub(crate) fn find_local<'a>(
    networks: &'a [LocalNetwork],
    reference: &str,
) -> Result<&'a LocalNetwork, Refusal> {
    let exact = networks
        .iter()
        .find(|network| network.id == reference || network.name == reference);
    if let Some(network) = exact {
        return Ok(network);
    }
    let matches: Vec<_> = networks
        .iter()
        .filter(|network| !reference.is_empty() && network.id.starts_with(reference))
        .collect();
    match matches.as_slice() {
        [network] => Ok(network),
        [] => Err(Refusal::NoSuchNetwork {
            reference: reference.to_owned(),
        }),
        several => Err(Refusal::AmbiguousNetwork {
            reference: reference.to_owned(),
            matches: several.len(),
        }),
    }
}
