//! `/networks`: those of the cluster first, then this node's own.

use axum::{
    extract::{Path, Request, State},
    http::StatusCode,
};
use swarm_api::{
    Refusal,
    container::Container,
    filters::{self, Filters},
    logs::flag,
    network::{self, NetworkCreate, NetworkCreated, NetworkResource},
};
use swarm_core::{control::Code, model::Network};

use crate::{
    Api, TaskScope,
    error::ApiError,
    gate::{self, NotManager},
    references::find_local,
    request::{Answer, Query, created, done, json_request, ok},
};

/// Networks of the cluster; on a worker, those that reach it.
async fn swarm_networks(api: &Api) -> Result<Vec<Network>, ApiError> {
    match gate::check_manager(&api.host.membership().await) {
        Err(refusal) => assigned(api, &refusal).await,
        Ok(()) => Ok(api.control.networks().await?),
    }
}

/// The networks that reach this worker. Not those of a manager that is not ready: a part would be taken for the whole.
async fn assigned(api: &Api, refusal: &NotManager) -> Result<Vec<Network>, ApiError> {
    match refusal {
        NotManager::Worker => Ok(api.host.assigned_networks().await?),
        NotManager::NoSwarm | NotManager::NotReady | NotManager::Locked | NotManager::Expired => {
            Ok(Vec::new())
        }
    }
}

/// A network of the cluster by identifier, name, or identifier prefix, on a node that cannot ask the cluster.
async fn find_assigned(
    api: &Api,
    refusal: &NotManager,
    reference: &str,
) -> Result<Option<Network>, ApiError> {
    let mut networks = assigned(api, refusal).await?;
    let named = |network: &Network| {
        network.id.as_str() == reference || network.spec.annotations.name == reference
    };
    let prefixed = |network: &Network| network.id.as_str().starts_with(reference);
    let position = networks
        .iter()
        .position(named)
        .or_else(|| networks.iter().position(prefixed));
    Ok(position.map(|at| networks.swap_remove(at)))
}

pub(crate) async fn list(State(api): State<Api>, query: Query) -> Answer {
    let text = query.get("filters").map(String::as_str);
    let filters = Filters::parse(text, filters::NETWORKS)?;
    let containers = api.host.containers().await?;
    let swarm = swarm_networks(&api).await?;
    let used_by_services = match filters.values("dangling") {
        Some(_) if !swarm.is_empty() => used_networks(&api).await?,
        Some(_) | None => Vec::new(),
    };
    let local = api.host.local_networks().await?;
    let entries = swarm
        .iter()
        .map(|network| NetworkResource::from_core(network, &containers))
        .chain(
            local
                .iter()
                .map(|network| NetworkResource::from_local(network, &containers)),
        );
    let mut listed = Vec::new();
    for mut entry in entries {
        let attached = entry
            .containers
            .as_ref()
            .is_some_and(|containers| !containers.is_empty());
        let in_use = attached || entry.ingress || used_by_services.contains(&entry.id);
        if filters::network(&filters, &entry, in_use) {
            // Docker lists containers only when a network is inspected.
            entry.containers = entry.containers.map(|_| std::collections::BTreeMap::new());
            if entry.scope == "swarm" {
                entry.containers = None;
            }
            listed.push(entry);
        }
    }
    ok(&listed)
}

/// Identifiers of networks that services are attached to.
async fn used_networks(api: &Api) -> Result<Vec<String>, ApiError> {
    let services = api.control.services().await?;
    let networks = services
        .iter()
        .flat_map(|service| &service.spec.task.networks)
        .map(|attachment| attachment.network.to_string());
    Ok(networks.collect())
}

pub(crate) async fn inspect(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Query,
) -> Answer {
    let scope = query.get("scope").map_or("", String::as_str);
    let verbose = flag(&query, "verbose");
    let containers = api.host.containers().await?;
    if scope != "local" {
        match gate::check_manager(&api.host.membership().await) {
            Ok(()) => match api.control.network(&id).await {
                Ok(network) => return inspect_swarm(&api, &network, &containers, verbose).await,
                Err(error) if error.code == Code::NotFound => {}
                Err(error) => return Err(error.into()),
            },
            Err(refusal) => {
                if let Some(network) = find_assigned(&api, &refusal, &id).await? {
                    return ok(&NetworkResource::from_core(&network, &containers));
                }
            }
        }
    }
    if scope == "swarm" {
        return Err(Refusal::NoSuchNetwork { reference: id }.into());
    }
    let local = api.host.local_networks().await?;
    let network = find_local(&local, &id)?;
    ok(&NetworkResource::from_local(network, &containers))
}

async fn inspect_swarm(
    api: &Api,
    network: &Network,
    containers: &[Container],
    verbose: bool,
) -> Answer {
    let mut entry = NetworkResource::from_core(network, containers);
    if verbose {
        let services = api.control.services().await?;
        let tasks = api.control.tasks(TaskScope::All).await?;
        let nodes = api.control.nodes().await?;
        entry.describe_use(&services, &tasks, &nodes);
    }
    ok(&entry)
}

pub(crate) async fn create(State(api): State<Api>, request: Request) -> Answer {
    let (_, body) = json_request(request).await?;
    let request = NetworkCreate::from_json(&body)?;
    gate::check_manager(&api.host.membership().await).map_err(refuse_creation)?;
    let name = request.name.clone();
    let taken = || Refusal::NetworkExists { name: name.clone() };
    let local = api.host.local_networks().await?;
    if local.iter().any(|network| network.name == request.name) {
        return Err(taken().into());
    }
    network::check_name(&request.name)?;
    let created_id = api.control.create_network(request.into_core()?).await;
    let id = created_id.map_err(|error| {
        match (error.code, error.reason) {
            (Code::AlreadyExists, None) => taken(),
            (_, _) => error.into(), // a second ingress network is another kind of conflict
        }
    })?;
    created(&NetworkCreated {
        id: id.to_string(),
        warning: String::new(),
    })
}

/// Here Docker's network library answers, with other codes than the rest.
fn refuse_creation(refusal: NotManager) -> ApiError {
    match refusal {
        NotManager::NoSwarm => ApiError::With {
            status: 403,
            text: refusal.to_string(),
        },
        NotManager::Worker => ApiError::With {
            status: 403,
            text: String::from(
                "Cannot create a multi-host network from a worker node. Please create the network from a manager node.",
            ),
        },
        NotManager::NotReady | NotManager::Locked | NotManager::Expired => refusal.into(),
    }
}

pub(crate) async fn remove(State(api): State<Api>, Path(id): Path<String>) -> Answer {
    match gate::check_manager(&api.host.membership().await) {
        Ok(()) => match api.control.network(&id).await {
            Ok(network) => {
                api.control.remove_network(&network.id).await?;
                return done(StatusCode::NO_CONTENT);
            }
            Err(error) if error.code == Code::NotFound => {}
            Err(error) => return Err(error.into()),
        },
        Err(refusal) if find_assigned(&api, &refusal, &id).await?.is_some() => {
            return Err(refusal.into());
        }
        Err(_) => {}
    }
    let local = api.host.local_networks().await?;
    let network = find_local(&local, &id)?;
    Err(ApiError::With {
        status: 403,
        text: format!(
            "{} is a pre-defined network and cannot be removed",
            network.name
        ),
    })
}
