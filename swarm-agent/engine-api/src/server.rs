//! The socket, the routes and what every response carries: version negotiation, headers, "page not found".

use std::{
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    Router, ServiceExt,
    extract::Request,
    http::{HeaderName, HeaderValue, Uri, header, uri::PathAndQuery},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use swarm_api::{
    Refusal,
    version::{self, ApiVersion},
};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;
use tower::Layer as _;

use crate::{
    ControlPlane, Host, containers, error::ApiError, images, networks, nodes, services, swarm,
    system, tasks,
};

/// What handlers work with.
#[derive(Clone)]
pub struct Api {
    /// The cluster.
    pub control: Arc<dyn ControlPlane>,
    /// This node.
    pub host: Arc<dyn Host>,
}

impl core::fmt::Debug for Api {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket cannot be made.
    #[error("cannot listen on {}: {source}", .path.display())]
    Bind {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process answers on the socket.
    #[error("another engine answers on {}", .path.display())]
    InUse {
        /// Where.
        path: PathBuf,
    },
    /// Accepting connections failed.
    #[error("serving the engine API failed: {source}")]
    Serve {
        /// Why.
        source: io::Error,
    },
}

/// Mode of the socket: its owner and group may talk to the engine, which is as good as being root.
const SOCKET_MODE: u32 = 0o660;

/// Makes the socket. One that nobody answers on any more (left by a killed agent) is replaced.
pub async fn bind(path: &Path) -> Result<UnixListener, ServeError> {
    let fail = |source| ServeError::Bind {
        path: path.to_owned(),
        source,
    };
    match tokio::net::UnixStream::connect(path).await {
        Ok(_) => {
            return Err(ServeError::InUse {
                path: path.to_owned(),
            });
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(fail)?;
        }
        // Nothing there: the usual case. Anything else shows when binding.
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(fail)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE)).map_err(fail)?;
    Ok(listener)
}

/// Serves until `shutdown`. Streams that are open then (followed logs) are cut.
pub async fn serve(
    listener: UnixListener,
    api: Api,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let router = middleware::map_request(negotiate).layer(router(api));
    tokio::select! {
        result = axum::serve(listener, ServiceExt::<Request>::into_make_service(router)) => {
            result.map_err(|source| ServeError::Serve { source })
        }
        () = shutdown.cancelled() => Ok(()),
    }
}

/// The version a client speaks, for handlers that differ by it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spoken(pub(crate) ApiVersion);

/// The client's version is one we do not speak.
#[derive(Clone, Debug)]
struct BadVersion(Refusal);

/// Takes the version off the path before the routes see it.
async fn negotiate(mut request: Request) -> Request {
    match version::split_path(request.uri().path()) {
        Err(refusal) => {
            request.extensions_mut().insert(BadVersion(refusal));
        }
        Ok((version, path)) => {
            let target = match request.uri().query() {
                None => path.to_owned(),
                Some(query) => format!("{path}?{query}"),
            };
            let mut parts = request.uri().clone().into_parts();
            // A path from a valid URI stays valid without its first segment.
            if let Ok(target) = PathAndQuery::try_from(target) {
                parts.path_and_query = Some(target);
                if let Ok(uri) = Uri::from_parts(parts) {
                    *request.uri_mut() = uri;
                }
            }
            request.extensions_mut().insert(Spoken(version));
        }
    }
    request
}

/// Answers for versions we do not speak, and the headers every answer carries.
async fn envelope(request: Request, next: Next) -> Response {
    let bad_version = request.extensions().get::<BadVersion>().cloned();
    let mut response = match bad_version {
        Some(BadVersion(refusal)) => ApiError::Refused(refusal).into_response(),
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    for (name, value) in [
        ("docker-experimental", HeaderValue::from_static("false")),
        ("ostype", HeaderValue::from_static("linux")),
    ] {
        headers.insert(HeaderName::from_static(name), value);
    }
    if let Ok(value) = HeaderValue::from_str(&version::CURRENT.to_string()) {
        headers.insert(HeaderName::from_static("api-version"), value);
    }
    let server = concat!("swarm-agent/", env!("CARGO_PKG_VERSION"), " (linux)");
    headers.insert(header::SERVER, HeaderValue::from_static(server));
    response
}

async fn page_not_found() -> ApiError {
    ApiError::Refused(Refusal::NoRoute)
}

fn router(api: Api) -> Router {
    Router::new()
        .merge(system_routes())
        .merge(swarm_routes())
        .merge(object_routes())
        .merge(container_routes())
        .fallback(page_not_found)
        .method_not_allowed_fallback(page_not_found)
        .with_state(api)
        .layer(middleware::from_fn(envelope))
}

fn system_routes() -> Router<Api> {
    Router::new()
        .route("/_ping", get(system::ping).head(system::ping_head))
        .route("/version", get(system::version))
        .route("/info", get(system::info))
        .route("/events", get(system::events))
}

fn swarm_routes() -> Router<Api> {
    Router::new()
        .route("/swarm", get(swarm::inspect))
        .route("/swarm/init", post(swarm::init))
        .route("/swarm/join", post(swarm::join))
        .route("/swarm/leave", post(swarm::leave))
        .route("/swarm/update", post(swarm::update))
        .route("/swarm/unlockkey", get(swarm::unlock_key))
        .route("/swarm/unlock", post(swarm::unlock))
}

fn object_routes() -> Router<Api> {
    Router::new()
        .route("/nodes", get(nodes::list))
        .route("/nodes/{id}", get(nodes::inspect).delete(nodes::remove))
        .route("/nodes/{id}/update", post(nodes::update))
        .route("/services", get(services::list))
        .route("/services/create", post(services::create))
        .route(
            "/services/{id}",
            get(services::inspect).delete(services::remove),
        )
        .route("/services/{id}/update", post(services::update))
        .route("/services/{id}/logs", get(services::logs))
        .route("/tasks", get(tasks::list))
        .route("/tasks/{id}", get(tasks::inspect))
        .route("/tasks/{id}/logs", get(tasks::logs))
        .route("/networks", get(networks::list))
        .route("/networks/create", post(networks::create))
        .route(
            "/networks/{id}",
            get(networks::inspect).delete(networks::remove),
        )
}

fn container_routes() -> Router<Api> {
    Router::new()
        .route("/containers/json", get(containers::list))
        .route("/containers/{id}", delete(containers::remove))
        .route("/containers/{id}/json", get(containers::inspect))
        .route("/containers/{id}/logs", get(containers::logs))
        .route("/containers/{id}/stop", post(containers::stop))
        .route("/containers/{id}/kill", post(containers::kill))
        .route("/images/json", get(images::list))
        .route("/distribution/{*rest}", get(images::distribution))
}
