//! Cluster settings and join tokens.

use super::{Code, ControlError, check_version, validate};
use crate::{
    ca::new_secret,
    id::Random,
    model::{Cluster, ClusterSpec, Role, RootRotation, Version},
    store::{Object, Store, Transaction},
    time::Timestamp,
};

/// Which secrets are made anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenRotation {
    /// The worker token.
    pub worker: bool,
    /// The manager token.
    pub manager: bool,
    /// The key that unlocks managers, if they are locked.
    pub unlock_key: bool,
}

/// What happens to the root certificate with an update; decided with [`crate::ca::root_wish`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RootChange {
    /// Nothing.
    #[default]
    Keep,
    /// A rotation to this root begins; one that is under way is replaced.
    Rotate(RootRotation),
    /// A rotation that is under way is called off: the present root signs again.
    CallOff,
}

/// What `swarm update` and `swarm ca --rotate` ask for.
#[derive(Clone, Debug)]
pub struct ClusterUpdate {
    /// The version the caller has seen.
    pub version: Version,
    /// All settings.
    pub spec: ClusterSpec,
    /// New secrets.
    pub rotate: TokenRotation,
    /// A new root.
    pub root: RootChange,
}

/// `swarm update`: new settings, and new token secrets or a new root if asked for.
pub fn update_cluster(
    store: &Store,
    update: ClusterUpdate,
    now: Timestamp,
    rng: &mut dyn Random,
) -> Result<Transaction, ControlError> {
    let cluster = current(store)?;
    check_version(update.version, cluster.meta)?;
    validate::cluster_spec(&update.spec)?;
    let mut cluster = cluster.clone();
    let autolock = update.spec.auto_lock_managers;
    if cluster.spec.node_cert_expiry != update.spec.node_cert_expiry {
        let before = cluster.spec.node_cert_expiry;
        cluster.removed.lifetime_changes(before, now);
    }
    cluster.lock = (cluster.lock).updated(autolock, update.rotate.unlock_key, now, rng);
    cluster.spec = update.spec;
    match update.root {
        RootChange::Keep => {}
        RootChange::Rotate(rotation) => cluster.root_ca.rotation = Some(rotation),
        RootChange::CallOff => cluster.root_ca.rotation = None,
    }
    Ok(write(rotated(cluster, update.rotate, rng), now))
}

/// `swarm join-token --rotate`: a new secret in the token of a role; the old token stops working.
pub fn rotate_token(
    store: &Store,
    role: Role,
    now: Timestamp,
    rng: &mut dyn Random,
) -> Result<Transaction, ControlError> {
    let rotate = TokenRotation {
        worker: role == Role::Worker,
        manager: role == Role::Manager,
        unlock_key: false,
    };
    Ok(write(rotated(current(store)?.clone(), rotate, rng), now))
}

fn current(store: &Store) -> Result<&Cluster, ControlError> {
    store
        .cluster()
        .ok_or_else(|| ControlError::new(Code::NotFound, "cluster not found"))
}

fn rotated(mut cluster: Cluster, rotate: TokenRotation, rng: &mut dyn Random) -> Cluster {
    if rotate.worker {
        cluster.root_ca.worker_secret = new_secret(rng);
    }
    if rotate.manager {
        cluster.root_ca.manager_secret = new_secret(rng);
    }
    cluster
}

fn write(cluster: Cluster, now: Timestamp) -> Transaction {
    let version = cluster.meta.version;
    Transaction::new(now).put(Object::Cluster(cluster), version)
}
