//! `/containers`: those of this node, which all belong to tasks.

use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use swarm_api::{
    Refusal,
    container::{self, Container},
    container_view::{self, ContainerSummary},
    filters::{self, ContainerFilters, Filters},
    logs::{LogOptions, flag},
};

use crate::{
    Api, HostError,
    error::ApiError,
    logs::stream,
    request::{Answer, Query, done, now, ok},
};

pub(crate) async fn list(State(api): State<Api>, query: Query) -> Answer {
    let text = query.get("filters").map(String::as_str);
    let filters = Filters::parse(text, filters::CONTAINERS)?;
    let limit = match query.get("limit").map_or("", String::as_str) {
        "" | "0" | "-1" => None,
        text => Some(text.parse::<usize>().map_err(|_| Refusal::Parameter {
            name: "limit",
            value: text.to_owned(),
        })?),
    };
    // A limit asks for the last containers, whatever their state.
    let all = flag(&query, "all") || limit.is_some();
    let containers = api.host.containers().await?;
    let filters = ContainerFilters::new(filters, &containers)?;
    let now = now();
    let mut listed: Vec<ContainerSummary> = containers
        .iter()
        .filter(|container| filters.matches(container, all))
        .map(|container| ContainerSummary::from_container(container, now))
        .collect();
    listed.truncate(limit.unwrap_or(usize::MAX));
    ok(&listed)
}

/// The container that a path names.
async fn find(api: &Api, reference: &str) -> Result<Container, ApiError> {
    let containers = api.host.containers().await?;
    Ok(container::find(&containers, reference)?.clone())
}

pub(crate) async fn inspect(State(api): State<Api>, Path(id): Path<String>) -> Answer {
    ok(&container_view::inspect(&find(&api, &id).await?))
}

pub(crate) async fn logs(State(api): State<Api>, Path(id): Path<String>, query: Query) -> Answer {
    let container = find(&api, &id).await?;
    let options = LogOptions::from_query(&query, false)?;
    let lines = api
        .host
        .container_logs(&container.id, options.clone())
        .await?;
    Ok(stream(lines, options, container.tty))
}

pub(crate) async fn remove(State(api): State<Api>, Path(id): Path<String>, query: Query) -> Answer {
    let container = find(&api, &id).await?;
    let removed = api
        .host
        .remove_container(&container.id, flag(&query, "force"))
        .await;
    removed.map_err(|error| {
        if matches!(error, HostError::ContainerRuns { .. }) {
            // Docker repeats what the user called it.
            HostError::ContainerRuns { name: id }
        } else {
            error
        }
    })?;
    done(StatusCode::NO_CONTENT)
}

pub(crate) async fn stop(State(api): State<Api>, Path(id): Path<String>, query: Query) -> Answer {
    let container = find(&api, &id).await?;
    if !container.is_running() {
        return done(StatusCode::NOT_MODIFIED);
    }
    let seconds = match query.get("t").map_or("", String::as_str) {
        "" => None,
        text => Some(text.parse::<u64>().map_err(|_| Refusal::Parameter {
            name: "t",
            value: text.to_owned(),
        })?),
    };
    api.host.stop_container(&container.id, seconds).await?;
    done(StatusCode::NO_CONTENT)
}

pub(crate) async fn kill(State(api): State<Api>, Path(id): Path<String>, query: Query) -> Answer {
    let container = find(&api, &id).await?;
    if !container.is_running() {
        return Err(ApiError::With {
            status: 409,
            text: format!(
                "cannot kill container: {id}: container {} is not running",
                container.id
            ),
        });
    }
    let signal = query.get("signal").map_or("", String::as_str);
    api.host.kill_container(&container.id, signal).await?;
    done(StatusCode::NO_CONTENT)
}
