//! Cluster settings and join tokens.

use super::{Code, ControlError, check_version, validate};
use crate::{
    ca::new_secret,
    id::Random,
    model::{Cluster, ClusterSpec, Role, Version},
    store::{Object, Store, Transaction},
    time::Timestamp,
};

/// Which secrets are made anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotate {
    /// The worker token.
    pub worker: bool,
    /// The manager token.
    pub manager: bool,
    /// The key that unlocks managers, if they are locked.
    pub unlock_key: bool,
}

/// `swarm update`: new settings, and new secrets if asked for.
pub fn update_cluster(
    store: &Store,
    version: Version,
    spec: ClusterSpec,
    rotate: Rotate,
    now: Timestamp,
    rng: &mut dyn Random,
) -> Result<Transaction, ControlError> {
    let cluster = current(store)?;
    check_version(version, cluster.meta)?;
    validate::cluster_spec(&spec)?;
    let mut cluster = cluster.clone();
    let autolock = spec.auto_lock_managers;
    cluster.lock = cluster.lock.updated(autolock, rotate.unlock_key, now, rng);
    cluster.spec = spec;
    Ok(write(rotated(cluster, rotate, rng), now))
}

/// `swarm join-token --rotate`: a new secret in the token of a role; the old token stops working.
pub fn rotate_token(
    store: &Store,
    role: Role,
    now: Timestamp,
    rng: &mut dyn Random,
) -> Result<Transaction, ControlError> {
    let rotate = Rotate {
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

fn rotated(mut cluster: Cluster, rotate: Rotate, rng: &mut dyn Random) -> Cluster {
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
