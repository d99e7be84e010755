//! Nodes that are removed while everything else happens, and go on speaking to the managers with the certificates they still have.
//! What they say is harmless (whether a vote would be given); that it is listened to is not.

use std::{sync::Arc, time::Duration};

use swarm_core::id::NodeId;
use swarm_manager_replica::Message;

use crate::{
    cluster::Cluster,
    ground::{lock, sleep},
    raft::transport::receiver,
    requests::{Request, ask},
};

/// How long one stays a node of the cluster after the faults began, milliseconds.
const STAYS_MS: (u64, u64) = (0, 9_000);
/// Pause between two messages, milliseconds. A manager that joins listens to strangers for about as long.
const PAUSE_MS: (u64, u64) = (5, 40);

fn is_member(cluster: &Cluster, node: &NodeId) -> bool {
    let history = lock(&cluster.history.inner);
    history.store.node(node).is_some() && history.violation().is_none()
}

/// Is removed, and speaks until the faults end.
pub(crate) async fn live(cluster: Arc<Cluster>, node: NodeId) {
    sleep(cluster.ground.millis(STAYS_MS.0, STAYS_MS.1)).await;
    while is_member(&cluster, &node) {
        let remove = Request::RemoveNode { node: node.clone() };
        if ask(&cluster, 0, remove).await.is_none() {
            sleep(Duration::from_millis(500)).await;
        }
    }
    let number = cluster.ground.below(1 << 48) + 1;
    while cluster.is_chaos() {
        sleep(cluster.ground.millis(PAUSE_MS.0, PAUSE_MS.1)).await;
        let managers = cluster.managers();
        let Some(process) = cluster
            .ground
            .pick(&managers)
            .and_then(|host| cluster.process(*host))
        else {
            continue;
        };
        let (to, target) = (process.host, process.raft_id);
        for what in [Message::PreVote, Message::Entries] {
            drop(receiver(&cluster, to, target, &node, (number, what)));
        }
    }
}
