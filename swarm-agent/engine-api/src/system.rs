//! `/_ping`, `/version`, `/info`, `/events`.

use axum::{
    extract::State,
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use swarm_api::{
    Refusal,
    info::{self, ClusterFacts, Membership, SwarmInfo},
    swarm::ClusterInfo,
};
use swarm_core::control::ControlError;

use crate::{
    Api, HostError,
    error::ApiError,
    gate,
    request::{Answer, now, ok},
};

/// Headers of a ping beside those of every answer.
fn ping_headers(membership: &Membership) -> [(HeaderName, &'static str); 4] {
    [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache, no-store, must-revalidate"),
        (header::PRAGMA, "no-cache"),
        (HeaderName::from_static("swarm"), membership.header()),
    ]
}

pub(crate) async fn ping(State(api): State<Api>) -> Response {
    (ping_headers(&api.host.membership().await), "OK").into_response()
}

pub(crate) async fn ping_head(State(api): State<Api>) -> Response {
    let no_length = [(header::CONTENT_LENGTH, "0")];
    let headers = ping_headers(&api.host.membership().await);
    (StatusCode::OK, headers, no_length).into_response()
}

pub(crate) async fn version(State(api): State<Api>) -> Answer {
    ok(&info::version(&api.host.facts().await))
}

pub(crate) async fn info(State(api): State<Api>) -> Answer {
    let facts = api.host.facts().await;
    let membership = api.host.membership().await;
    let cluster = match gate::check_manager(&membership) {
        // Docker says here why a manager is none for now.
        Err(refusal @ gate::NotManager::Locked) => Some(Err(refusal.to_string())),
        Err(_) => None,
        Ok(()) => Some(
            cluster_facts(&api)
                .await
                .map_err(|error| Refusal::from(error).to_string()),
        ),
    };
    let swarm = SwarmInfo::new(&membership, cluster);
    // Clients ask for this before they list nodes or join, so a container engine that is down must not stop it.
    let mut warnings = info::warnings(&swarm);
    let mut warn = |what: &str, error: HostError| {
        warnings.push(format!("WARNING: {what} cannot be counted: {error}"));
    };
    let containers = api.host.containers().await.unwrap_or_else(|error| {
        warn("containers", error);
        Vec::new()
    });
    let images = api.host.images().await.unwrap_or_else(|error| {
        warn("images", error);
        Vec::new()
    });
    let counts = info::Counts::new(&containers, &images);
    ok(&info::info(&facts, &swarm, counts, &warnings, now()))
}

async fn cluster_facts(api: &Api) -> Result<ClusterFacts, ControlError> {
    let view = api.control.cluster().await?;
    let nodes = api.control.nodes().await?;
    Ok(ClusterFacts {
        cluster: ClusterInfo::from_core(&view),
        nodes: nodes.len(),
        managers: nodes.iter().filter(|node| node.manager.is_some()).count(),
    })
}

/// Refused rather than silent: a stream that never tells anything would look like a quiet cluster.
pub(crate) async fn events() -> ApiError {
    ApiError::Refused(Refusal::unsupported("the event stream"))
}
