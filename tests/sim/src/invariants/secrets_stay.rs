//! No secret outside its node: what a node is told holds neither the keys and tokens of the cluster, nor the registry
//! credentials of services that have no task there.

use std::collections::BTreeSet;

use swarm_core::{
    dispatch::{Assignment, Assignments},
    id::NodeId,
    store::Store,
};

use crate::raft::types::encode;

/// Checks what a node is told.
pub(crate) fn check(store: &Store, node: &NodeId, told: &Assignments) -> Result<(), String> {
    let items: Vec<&Assignment> = told.values().collect();
    let bytes = encode(&items).map_err(|error| format!("assignments of {node}: {error}"))?;
    let holds = |secret: &str| {
        let secret = secret.as_bytes();
        !secret.is_empty() && bytes.windows(secret.len()).any(|window| window == secret)
    };
    if let Some(cluster) = store.cluster() {
        let root = &cluster.root_ca;
        for secret in [&root.key_pem, &root.worker_secret, &root.manager_secret] {
            if holds(secret) {
                return Err(format!("node {node} is told a secret of the cluster"));
            }
        }
    }
    for item in &items {
        if let Assignment::Task(task) = item
            && task.node != *node
        {
            return Err(format!(
                "node {node} is told the whole of a task of {}",
                task.node
            ));
        }
    }
    let own: BTreeSet<&str> = store
        .tasks_of_node(node)
        .map(|task| task.spec.container.registry_auth.as_str())
        .collect();
    let all = store
        .services()
        .map(|service| service.spec.task.container.registry_auth.as_str());
    for secret in all.filter(|secret| !own.contains(secret)) {
        if holds(secret) {
            return Err(format!(
                "node {node} is told the registry credentials of a service it runs nothing of"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use swarm_core::{
        control::{self, InitRequest, NewNode},
        dispatch::assignments_for,
        model::{Availability, ClusterSpec, Role},
    };

    use super::*;
    use crate::ground::{Dice, Ground};

    #[test]
    fn a_leaked_key_is_found() {
        let ground = Ground::new(1, None, false);
        let id = NodeId::random(&mut Dice(&ground));
        let request = InitRequest {
            spec: ClusterSpec::default(),
            default_address_pools: Vec::new(),
            subnet_size: 24,
            data_path_port: 4789,
            root_cert_pem: "certificate".to_owned(),
            root_key_pem: "the private key".to_owned(),
            root_cert_digest: "ab".repeat(32),
            root_issuer: swarm_core::model::CertificateIssuer::default(),
            node: NewNode {
                id: id.clone(),
                role: Role::Manager,
                availability: Availability::Active,
                addr: None,
                manager: None,
            },
        };
        let now = swarm_core::time::Timestamp(1);
        let first = control::bootstrap(request, now, &mut Dice(&ground)).unwrap();
        let mut store = Store::new();
        store.apply(1, first).unwrap();
        let mut told = assignments_for(&store, &id);
        assert_eq!(check(&store, &id, &told), Ok(()));
        let leak = Assignment::Peer(swarm_core::dispatch::Peer {
            node: id.clone(),
            hostname: "the private key".to_owned(),
            data_path_addr: std::net::IpAddr::from([192, 0, 2, 1]),
        });
        told.insert(swarm_core::dispatch::key_of(&leak), leak);
        let found = check(&store, &id, &told);
        assert!(found.unwrap_err().contains("a secret of the cluster"));
    }
}
