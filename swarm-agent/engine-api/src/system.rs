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
    Api,
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
        Err(_) => None,
        Ok(()) => Some(
            cluster_facts(&api)
                .await
                .map_err(|error| Refusal::from(error).to_string()),
        ),
    };
    let swarm = SwarmInfo::new(&membership, cluster);
    let containers = api.host.containers().await?;
    let images = api.host.images().await?.len();
    ok(&info::info(&facts, &swarm, &containers, images, now()))
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
