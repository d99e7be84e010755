//! `/images/json` and `/distribution/{name}/json`.

use axum::{
    extract::{Path, State},
    http::HeaderMap,
};
use swarm_api::{
    Refusal,
    image::{DistributionInspect, ImageSummary},
};

use crate::{
    Api,
    request::{Answer, ok, registry_auth},
};

pub(crate) async fn list(State(api): State<Api>) -> Answer {
    let images = api.host.images().await?;
    let listed: Vec<ImageSummary> = images.iter().map(ImageSummary::from_image).collect();
    ok(&listed)
}

/// Clients pin the digest of a service's image with this before they create it. Image names contain slashes.
pub(crate) async fn distribution(
    State(api): State<Api>,
    Path(rest): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let name = rest.strip_suffix("/json").ok_or(Refusal::NoRoute)?;
    let image = api
        .host
        .image_digest(name, &registry_auth(&headers))
        .await?;
    ok(&DistributionInspect::from_digest(&image))
}
