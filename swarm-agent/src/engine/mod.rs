//! The Engine API of this host: joins the HTTP server with the cluster (over this host's manager) and with the host itself.

mod cluster;
mod containers;
mod host;

use std::{path::Path, sync::Arc};

use cluster::Cluster;
use host::LocalHost;
use swarm_agent_engine_api::{Api, ServeError};
use tokio_util::sync::CancellationToken;

use crate::membership::Member;

/// Serves the Engine API until `shutdown`.
pub(crate) async fn serve(
    member: Arc<Member>,
    socket: &Path,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let api = Api {
        control: Arc::new(Cluster::new(Arc::clone(&member))),
        host: Arc::new(LocalHost::new(member)),
    };
    let listener = swarm_agent_engine_api::bind(socket).await?;
    swarm_agent_engine_api::serve(listener, api, shutdown).await
}
