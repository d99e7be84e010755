//! The first transaction of a cluster: the cluster object, the ingress network and the first node.

use alloc::{string::String, vec::Vec};

use super::{ControlError, NewNode, network::ingress_spec, node::new_node, validate};
use crate::{
    ca::{RemovedNodes, new_secret},
    id::{ClusterId, NetworkId, Random},
    lock::ManagerLock,
    model::{CertificateIssuer, Cluster, ClusterSpec, FIRST_VNI, Meta, Network, RootCa, Subnet},
    store::{Object, Transaction},
    time::Timestamp,
};

/// What `swarm init` decided before the first write.
#[derive(Clone, Debug)]
pub struct InitRequest {
    /// Cluster settings.
    pub spec: ClusterSpec,
    /// Pools of overlay subnets; empty means the default pool.
    pub default_address_pools: Vec<Subnet>,
    /// Prefix length of subnets cut from the pools.
    pub subnet_size: u8,
    /// UDP port of the data path.
    pub data_path_port: u16,
    /// Root certificate, PEM.
    pub root_cert_pem: String,
    /// Root key, PEM.
    pub root_key_pem: String,
    /// SHA-256 of the root certificate's PEM text, hex.
    pub root_cert_digest: String,
    /// What certificates of the root name as their issuer.
    pub root_issuer: CertificateIssuer,
    /// The first node, a manager.
    pub node: NewNode,
}

/// Checks the request and makes the first objects. Subnets and the rest of the allocation follow from the leader.
pub fn bootstrap(
    request: InitRequest,
    now: Timestamp,
    rng: &mut dyn Random,
) -> Result<Transaction, ControlError> {
    validate::cluster_spec(&request.spec)?;
    validate::address_pools(&request.default_address_pools, request.subnet_size)?;
    validate::data_path_port(request.data_path_port)?;
    let lock = ManagerLock::default().updated(request.spec.auto_lock_managers, false, now, rng);
    let cluster = Cluster {
        id: ClusterId::random(rng),
        meta: Meta::default(),
        spec: request.spec,
        root_ca: RootCa {
            cert_pem: request.root_cert_pem,
            key_pem: request.root_key_pem,
            cert_digest: request.root_cert_digest,
            issuer: request.root_issuer,
            worker_secret: new_secret(rng),
            manager_secret: new_secret(rng),
            rotation: None,
        },
        lock,
        removed: RemovedNodes::default(),
        default_address_pools: request.default_address_pools,
        subnet_size: request.subnet_size,
        data_path_port: request.data_path_port,
        next_vni: FIRST_VNI,
        next_dynamic_port: crate::allocator::FIRST_DYNAMIC_PORT,
    };
    let ingress = Network {
        id: NetworkId::random(rng),
        meta: Meta::default(),
        spec: ingress_spec(),
        allocation: None,
    };
    Ok(Transaction::new(now)
        .create(Object::Cluster(cluster))
        .create(Object::Network(ingress))
        .create(Object::Node(new_node(request.node))))
}
