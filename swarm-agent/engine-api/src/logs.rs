//! Log streams as response bodies.

use axum::{
    body::Body,
    http::header,
    response::{IntoResponse, Response},
};
use futures::StreamExt as _;
use swarm_api::logs::{self, LogOptions};

use crate::LogStream;

/// Lines as they come. An error after the first byte can only cut the stream, so it is also logged.
pub(crate) fn stream(lines: LogStream, options: LogOptions, terminal: bool) -> Response {
    let content_type = if terminal {
        logs::RAW
    } else {
        logs::MULTIPLEXED
    };
    let bytes = lines.map(move |line| match line {
        Ok(line) => Ok(options.encode(&line, terminal)),
        Err(error) => {
            tracing::warn!(%error, "a log stream ended early");
            Err(error)
        }
    });
    let headers = [(header::CONTENT_TYPE, content_type)];
    (headers, Body::from_stream(bytes)).into_response()
}
