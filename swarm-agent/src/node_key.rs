//! The files of the node's identity. On a manager of a locked swarm the private key in them is sealed, and only the unlocked
//! manager tells with what; this follows what it tells.

use std::{
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::StreamExt as _;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use swarm_core::{control::ControlError, model::Role};
use swarm_proto::{
    client::LocalClient,
    tls::{
        self, Credentials, CredentialsError, Identity, NodeKeys, Peer, TlsError, reseal_key,
        was_key_exposed,
    },
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
    /// Whose certificate is there. A worker has no manager that could open a sealed key again, so one that still runs is not
    /// heeded any more. Changes only under `keys`.
    role: watch::Sender<Role>,
    /// Counts what the manager told.
    told: watch::Sender<u64>,
}

impl NodeKey {
    pub(crate) fn new(dir: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            dir,
            keys: Mutex::default(),
            role: watch::Sender::new(Role::Manager),
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

    /// Whether the private key lay in plain before it was sealed, so that it is to be replaced.
    pub(crate) fn was_exposed(&self) -> Result<bool, CredentialsError> {
        let _written = self.keys();
        was_key_exposed(&self.dir)
    }

    /// Counts what the manager told: after each, the private key may be sealed in another way.
    pub(crate) fn told(&self) -> watch::Receiver<u64> {
        self.told.subscribe()
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

    /// What the certificate says, whether or not the private key can be opened.
    pub(crate) fn peer(&self) -> Result<Peer, IdentityError> {
        Credentials::recover(&self.dir)?;
        let path = self.dir.join(tls::CERT_FILE);
        let pem = match fs::read(&path) {
            Ok(pem) => pem,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(IdentityError::Missing(self.dir.display().to_string()));
            }
            Err(source) => return Err(CredentialsError { path, source }.into()),
        };
        let leaf = CertificateDer::from_pem_slice(&pem);
        let leaf = leaf.map_err(|error| TlsError::Certificate(error.to_string()))?;
        Ok(Peer::from_der(&leaf)?)
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
        self.is_of(role);
        credentials.save_with(&self.dir, &keys)
    }

    /// The node left the swarm.
    pub(crate) fn forget(&self) {
        let mut keys = self.keys();
        *keys = NodeKeys::default();
        self.is_of(Role::Manager);
    }

    fn is_of(&self, role: Role) {
        self.role.send_if_modified(|known| {
            let changed = *known != role;
            *known = role;
            changed
        });
    }

    /// Seals the private key as this host's manager says, for as long as this runs and the node is a manager.
    pub(crate) async fn follow(self: Arc<Self>, manager: LocalClient) {
        let mut role = self.role.subscribe();
        while role.wait_for(|role| *role == Role::Manager).await.is_ok() {
            tokio::select! {
                // A manager again, perhaps: then it is to tell its keys anew.
                _ = role.changed() => {}
                ended = self.listen(&manager) => if let Err(error) = ended {
                    debug!(%error, "the manager tells no keys");
                },
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
                Ok(true) => manager.node_key_sealed(seal_with).await?,
                Ok(false) => break,
                Err(error) => {
                    error!(%error, "the node's private key is not sealed as it should be");
                    sleep(RETRY_PAUSE).await;
                    break; // the manager tells it again
                }
            }
        }
        Ok(())
    }

    /// Seals the private key as told; `false` if it is a worker's.
    fn adopt(&self, told: NodeKeys) -> Result<bool, CredentialsError> {
        let mut keys = self.keys();
        if *self.role.borrow() == Role::Worker {
            return Ok(false);
        }
        *keys = told;
        let sealed = reseal_key(&self.dir, &keys);
        drop(keys);
        self.told
            .send_modify(|count| *count = count.wrapping_add(1));
        if !sealed? {
            warn!(dir = %self.dir.display(), "there is no private key to seal");
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use swarm_core::lock::KeyId;

    use super::*;
    use crate::testing::{self, FakeManager, keys};

    fn sealed_with(key: &NodeKey) -> Option<KeyId> {
        let text = fs::read_to_string(key.dir.join(tls::KEY_FILE)).unwrap();
        NodeKeys::sealed_with(&text)
    }

    #[tokio::test]
    async fn a_demoted_nodes_key_is_not_sealed_and_a_promoted_ones_is() {
        let dir = tempfile::tempdir().unwrap();
        let options = testing::options(dir.path(), &[]);
        let manager = FakeManager::default();
        manager.keys.send_replace(keys());
        let _manager = manager.serve(&options);
        fs::create_dir_all(options.certificates_dir()).unwrap();
        let key = NodeKey::new(options.certificates_dir());
        let save = |role| {
            let credentials = testing::credentials(role, testing::FUTURE);
            key.save(&credentials, role).unwrap();
        };
        save(Role::Manager);
        tokio::spawn(Arc::clone(&key).follow(options.local_manager()));
        let told = |count| testing::until(&key.told, "the keys", move |told| *told >= count);
        told(1).await;
        assert_eq!(sealed_with(&key), keys().seal_with);
        // The manager still runs and tells its keys.
        save(Role::Worker);
        assert_eq!(sealed_with(&key), None);
        assert!(!key.adopt(keys()).unwrap());
        assert_eq!(sealed_with(&key), None);
        assert_eq!(key.peer().unwrap().role, Role::Worker);
        key.identity().unwrap();
        // The demotion is taken back.
        save(Role::Manager);
        told(2).await;
        assert_eq!(sealed_with(&key), keys().seal_with);
    }

    #[test]
    fn the_certificate_is_read_without_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let key = NodeKey::new(dir.path().to_owned());
        assert!(matches!(key.peer(), Err(IdentityError::Missing(_))));
        let credentials = testing::credentials(Role::Manager, testing::FUTURE);
        key.save(&credentials, Role::Manager).unwrap();
        assert!(key.adopt(keys()).unwrap());
        key.forget();
        assert!(key.identity().unwrap_err().is_locked());
        let peer = key.peer().unwrap();
        assert_eq!(
            (peer.role, peer.node_id.as_str()),
            (Role::Manager, testing::NODE)
        );
    }
}
