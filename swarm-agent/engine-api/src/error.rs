//! Errors of handlers as responses.

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use swarm_api::{Refusal, error::ErrorResponse};
use swarm_core::control::ControlError;

use crate::{HostError, gate::NotManager, request::json_body};

/// What ends a request without success.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// The request itself.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// This node.
    #[error(transparent)]
    Host(#[from] HostError),
    /// This node is no manager.
    #[error(transparent)]
    NotManager(#[from] NotManager),
    /// Any of the above with another status, where Docker is inconsistent.
    #[error("{text}")]
    With {
        /// Status.
        status: u16,
        /// Text.
        text: String,
    },
}

impl From<ControlError> for ApiError {
    fn from(error: ControlError) -> Self {
        Self::Refused(error.into())
    }
}

impl ApiError {
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Refused(refusal) => refusal.status(),
            Self::Host(error) => error.status(),
            Self::NotManager(_) => 503,
            Self::With { status, .. } => *status,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let message = self.to_string();
        if status.is_server_error() {
            tracing::warn!(%status, %message, "request failed");
        }
        // Docker answers clients that are too old for its JSON errors in plain text.
        if matches!(self, Self::Refused(Refusal::ClientTooOld { .. })) {
            let content_type = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
            return (status, content_type, format!("{message}\n")).into_response();
        }
        json_body(status, &ErrorResponse { message })
    }
}
