//! `/nodes`.

use axum::{
    extract::{Path, Request, State},
    http::StatusCode,
};
use swarm_api::{
    filters::{self, Filters},
    json,
    logs::flag,
    node::{Node, NodeSpec},
};

use crate::{
    Api,
    references::{manager, node},
    request::{Answer, Query, done, json_request, object_version, ok},
};

pub(crate) async fn list(State(api): State<Api>, query: Query) -> Answer {
    let text = query.get("filters").map(String::as_str);
    let filters = Filters::parse(text, filters::NODES)?;
    manager(&api).await?;
    let mut listed = Vec::new();
    for node in api.control.nodes().await? {
        if filters::node(&filters, &node) {
            listed.push(Node::from_core(&node));
        }
    }
    ok(&listed)
}

pub(crate) async fn inspect(State(api): State<Api>, Path(id): Path<String>) -> Answer {
    manager(&api).await?;
    ok(&Node::from_core(&node(&api, &id).await?))
}

pub(crate) async fn update(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Query,
    request: Request,
) -> Answer {
    let (_, body) = json_request(request).await?;
    let spec: NodeSpec = json::parse(&body)?;
    let version = object_version(&query, "node")?;
    manager(&api).await?;
    let spec = spec.into_core()?;
    let node = node(&api, &id).await?;
    api.control.update_node(&node.id, version, spec).await?;
    done(StatusCode::OK)
}

pub(crate) async fn remove(State(api): State<Api>, Path(id): Path<String>, query: Query) -> Answer {
    manager(&api).await?;
    let node = node(&api, &id).await?;
    api.control
        .remove_node(&node.id, flag(&query, "force"))
        .await?;
    done(StatusCode::OK)
}
