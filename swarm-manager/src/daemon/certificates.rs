//! The manager's side of its node's certificate: the agent keeps the files and says when they have changed.

use std::sync::Arc;

use swarm_core::control::{Code, ControlError};
use swarm_proto::tls::{Credentials, Identity, NodeKeys};

use super::{DaemonError, Manager};

impl Manager {
    /// The certificate files.
    pub(crate) fn credentials(&self, keys: &NodeKeys) -> Result<Credentials, DaemonError> {
        let dir = &self.settings.certificates;
        Credentials::load_with(dir, keys)?
            .ok_or_else(|| DaemonError::NoCredentials { dir: dir.clone() })
    }

    /// An identity from certificate texts.
    pub(crate) fn identity(&self, credentials: &Credentials) -> Result<Arc<Identity>, DaemonError> {
        Identity::new(credentials).map_err(|source| DaemonError::Tls {
            dir: self.settings.certificates.clone(),
            source,
        })
    }

    /// Uses the certificate files as they are now. While a start is under way it waits: that may have read them before.
    pub(crate) async fn reload_certificates(&self) -> Result<(), ControlError> {
        let _alone = self.changing.lock().await;
        let refused =
            |error: DaemonError| ControlError::new(Code::FailedPrecondition, error.to_string());
        let running = self.running()?;
        let keys = running.raft.db().sealer().node_keys();
        let credentials = self.credentials(&keys).map_err(refused)?;
        running
            .identity
            .replace(&credentials)
            .map_err(|source| DaemonError::Tls {
                dir: self.settings.certificates.clone(),
                source,
            })
            .map_err(refused)?;
        tracing::info!("certificate files are in use");
        Ok(())
    }
}
