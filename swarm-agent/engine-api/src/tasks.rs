//! `/tasks`.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::{Path, State};
use swarm_api::{
    filters::{self, Filters, TaskFilters},
    logs::LogOptions,
    task::Task,
};
use swarm_core::id::{NodeId, ServiceId};

use crate::{
    Api, LogSelector, TaskScope,
    error::ApiError,
    logs::stream,
    references::{manager, networks_by_id, node},
    request::{Answer, Query, ok},
};

pub(crate) async fn list(State(api): State<Api>, query: Query) -> Answer {
    let text = query.get("filters").map(String::as_str);
    let filters = Filters::parse(text, filters::TASKS)?;
    manager(&api).await?;
    let wanted_services = services(&api, &filters).await?;
    let wanted_nodes = nodes(&api, &filters).await?;
    let scope = scope(wanted_services.as_ref(), wanted_nodes.as_ref());
    let filters = TaskFilters::new(filters, wanted_services, wanted_nodes)?;
    let tasks = api.control.tasks(scope).await?;
    // Clients that wait for an update poll this list; it costs what the answer needs.
    let all = if filters.needs_services() {
        api.control.services().await?
    } else {
        Vec::new()
    };
    let by_id: BTreeMap<_, _> = all.iter().map(|service| (&service.id, service)).collect();
    let networks = if tasks.iter().all(|task| task.attachments.is_empty()) {
        BTreeMap::new()
    } else {
        networks_by_id(&api).await?
    };
    let listed: Vec<Task> = tasks
        .iter()
        .filter(|task| filters.matches(task, by_id.get(&task.service).copied()))
        .map(|task| Task::from_core(task, &networks))
        .collect();
    ok(&listed)
}

/// The services of the `service` filter; unknown ones are refused.
async fn services(api: &Api, filters: &Filters) -> Result<Option<BTreeSet<ServiceId>>, ApiError> {
    let Some(references) = filters.values("service") else {
        return Ok(None);
    };
    let mut found = BTreeSet::new();
    for reference in references {
        found.insert(api.control.service(reference).await?.id);
    }
    Ok(Some(found))
}

/// The nodes of the `node` filter; unknown ones are refused.
async fn nodes(api: &Api, filters: &Filters) -> Result<Option<BTreeSet<NodeId>>, ApiError> {
    let Some(references) = filters.values("node") else {
        return Ok(None);
    };
    let mut found = BTreeSet::new();
    for reference in references {
        found.insert(node(api, reference).await?.id);
    }
    Ok(Some(found))
}

/// The smallest list to fetch: clients poll one service's tasks five times a second.
fn scope(services: Option<&BTreeSet<ServiceId>>, nodes: Option<&BTreeSet<NodeId>>) -> TaskScope {
    let only = |ids: &BTreeSet<ServiceId>| (ids.len() == 1).then(|| ids.first().cloned())?;
    if let Some(service) = services.and_then(only) {
        return TaskScope::Service(service);
    }
    match nodes {
        Some(ids) if ids.len() == 1 => ids
            .first()
            .map_or(TaskScope::All, |node| TaskScope::Node(node.clone())),
        Some(_) | None => TaskScope::All,
    }
}

pub(crate) async fn inspect(State(api): State<Api>, Path(id): Path<String>) -> Answer {
    manager(&api).await?;
    let task = api.control.task(&id).await?;
    ok(&Task::from_core(&task, &networks_by_id(&api).await?))
}

pub(crate) async fn logs(State(api): State<Api>, Path(id): Path<String>, query: Query) -> Answer {
    let options = LogOptions::from_query(&query, true)?;
    manager(&api).await?;
    let task = api.control.task(&id).await?;
    let lines = api
        .control
        .logs(LogSelector::Task(task.id), options.clone())
        .await?;
    Ok(stream(lines, options, task.spec.container.tty))
}
