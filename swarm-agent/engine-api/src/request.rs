//! Pieces every handler uses: parameters, bodies, JSON answers, identifiers in paths.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use http_body_util::BodyExt;
use serde::Serialize;
use swarm_api::Refusal;
use swarm_core::{model::Version, time::Timestamp};

use crate::error::ApiError;

/// Query parameters; the last of equal names wins.
pub(crate) type Query = axum::extract::Query<BTreeMap<String, String>>;

/// Result of a handler.
pub(crate) type Answer = Result<Response, ApiError>;

/// Largest request body: a service with many labels and mounts is far below.
const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

/// A JSON answer, with the newline Go's encoder ends it with.
pub(crate) fn json_body(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(mut bytes) => {
            bytes.push(b'\n');
            let content_type = [(header::CONTENT_TYPE, "application/json")];
            (status, content_type, bytes).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "an answer could not be encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A successful JSON answer.
#[expect(clippy::unnecessary_wraps, reason = "the last expression of handlers")]
pub(crate) fn ok(value: &impl Serialize) -> Answer {
    Ok(json_body(StatusCode::OK, value))
}

/// A successful JSON answer to a creation.
#[expect(clippy::unnecessary_wraps, reason = "the last expression of handlers")]
pub(crate) fn created(value: &impl Serialize) -> Answer {
    Ok(json_body(StatusCode::CREATED, value))
}

/// Success without a body.
#[expect(clippy::unnecessary_wraps, reason = "the last expression of handlers")]
pub(crate) fn done(status: StatusCode) -> Answer {
    Ok(status.into_response())
}

/// The whole body of a request that must be JSON.
pub(crate) async fn json_request(request: Request) -> Result<(HeaderMap, Vec<u8>), ApiError> {
    let (parts, body) = request.into_parts();
    let body = read_body(body).await?;
    let content_type = parts
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if !body.is_empty() && !essence.eq_ignore_ascii_case("application/json") {
        return Err(ApiError::Refused(Refusal::ContentType {
            found: content_type.to_owned(),
        }));
    }
    Ok((parts.headers, body))
}

async fn read_body(body: Body) -> Result<Vec<u8>, ApiError> {
    let limited = http_body_util::Limited::new(body, MAX_BODY_BYTES);
    let collected = limited.collect().await.map_err(|error| {
        ApiError::Refused(Refusal::InvalidJson {
            reason: error.to_string(),
        })
    })?;
    Ok(collected.to_bytes().to_vec())
}

/// The client's registry credentials; empty for none.
pub(crate) fn registry_auth(headers: &HeaderMap) -> String {
    headers
        .get("x-registry-auth")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned()
}

/// The `version` parameter of an update.
pub(crate) fn object_version(
    query: &BTreeMap<String, String>,
    kind: &'static str,
) -> Result<Version, Refusal> {
    let value = query.get("version").map_or("", String::as_str);
    value
        .parse()
        .map(Version)
        .map_err(|_| Refusal::ObjectVersion {
            kind,
            value: value.to_owned(),
        })
}

/// The wall clock.
pub(crate) fn now() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX))
}
