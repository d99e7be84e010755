//! The files of the node's identity. On a manager of a locked swarm the private key in them is sealed, and only the unlocked
//! manager tells with what; this follows what it tells.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::StreamExt as _;
use swarm_core::{control::ControlError, model::Role};
use swarm_proto::{
    client::LocalClient,
    tls::{Credentials, CredentialsError, Identity, NodeKeys, TlsError, reseal_key},
};
use tokio::{sync::watch, time::sleep};
use tracing::{debug, error, info, warn};

/// Pause before the manager is asked again after it went away.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);
/// Pause before the file is written again after that failed.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// Why the node has no identity.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    /// The files cannot be read, or the private key is sealed.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// One of them is not there.
    #[error("no certificate in {0}; leave the swarm with --force and join again")]
    Missing(String),
    /// They do not fit each other.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl IdentityError {
    /// Whether the private key waits for the swarm to be unlocked.
    pub(crate) fn is_locked(&self) -> bool {
        matches!(self, Self::Credentials(error) if error.is_locked())
    }
}

/// The files.
#[derive(Debug)]
pub(crate) struct NodeKey {
    dir: PathBuf,
    /// What the private key may be sealed with. Held while the files are written, so that no two writers disagree.
    keys: Mutex<NodeKeys>,
    /// Counts what the manager told.
    told: watch::Sender<u64>,
}

impl NodeKey {
    pub(crate) fn new(dir: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            dir,
            keys: Mutex::default(),
            told: watch::Sender::default(),
        })
    }

    fn keys(&self) -> MutexGuard<'_, NodeKeys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node's identity, and its trusted root as PEM.
    pub(crate) fn identity(&self) -> Result<(Arc<Identity>, String), IdentityError> {
        let credentials = self.credentials()?;
        Ok((Identity::new(&credentials)?, credentials.ca_pem))
    }

    /// The files as they are.
    pub(crate) fn credentials(&self) -> Result<Credentials, IdentityError> {
        let missing = || IdentityError::Missing(self.dir.display().to_string());
        Credentials::load_with(&self.dir, &self.keys())?.ok_or_else(missing)
    }

    /// The node's identity, as soon as the manager told what opens it.
    pub(crate) async fn unlocked(&self) -> Result<(Arc<Identity>, String), IdentityError> {
        let mut told = self.told.subscribe();
        loop {
            told.mark_unchanged();
            match self.identity() {
                Err(error) if error.is_locked() => {
                    info!("the node's private key is sealed, waiting for the swarm to be unlocked");
                }
                identity => return identity,
            }
            if told.changed().await.is_err() {
                return self.identity(); // never: we hold the sender
            }
        }
    }

    /// Writes the files for a node of this role: a worker's private key is not sealed.
    pub(crate) fn save(
        &self,
        credentials: &Credentials,
        role: Role,
    ) -> Result<(), CredentialsError> {
        let mut keys = self.keys();
        if role == Role::Worker {
            *keys = NodeKeys::default();
        }
        credentials.save_with(&self.dir, &keys)
    }

    /// The node left the swarm.
    pub(crate) fn forget(&self) {
        *self.keys() = NodeKeys::default();
    }

    /// Seals the private key as this host's manager says, for as long as this runs.
    pub(crate) async fn follow(self: Arc<Self>, manager: LocalClient) {
        loop {
            if let Err(error) = self.listen(&manager).await {
                debug!(%error, "the manager tells no keys");
            }
            sleep(RECONNECT_PAUSE).await;
        }
    }

    async fn listen(&self, manager: &LocalClient) -> Result<(), ControlError> {
        let mut all = manager.watch_node_keys().await?;
        while let Some(told) = all.next().await {
            let told = told?;
            let seal_with = told.seal_with;
            match self.adopt(told) {
                Ok(()) => manager.node_key_sealed(seal_with).await?,
                Err(error) => {
                    error!(%error, "the node's private key is not sealed as it should be");
                    sleep(RETRY_PAUSE).await;
                    break; // the manager tells it again
                }
            }
        }
        Ok(())
    }

    fn adopt(&self, told: NodeKeys) -> Result<(), CredentialsError> {
        let mut keys = self.keys();
        *keys = told;
        let sealed = reseal_key(&self.dir, &keys);
        drop(keys);
        self.told
            .send_modify(|count| *count = count.wrapping_add(1));
        if !sealed? {
            warn!(dir = %self.dir.display(), "there is no private key to seal");
        }
        Ok(())
    }
}
