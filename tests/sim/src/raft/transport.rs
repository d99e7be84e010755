//! Raft messages over the simulated network: late, lost, twice, out of order. As with the real transport, a message is for
//! one member only, and the receiver must admit the sender.

use std::{sync::Arc, time::Duration};

use openraft::{
    AnyError, AsyncRuntime as _, RaftNetworkFactory, RaftNetworkV2,
    alias::SnapshotOf,
    errors::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
        TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use openraft_rt_sim::SimRuntime;
use swarm_core::id::NodeId;
use swarm_manager_replica::{Message, timing::APPEND_TIMEOUT};

use super::{
    snapshot::SnapshotData,
    types::{Member, RaftId, TypeConfig, Vote},
};
use crate::{
    cluster::Cluster,
    ground::{lock, sleep, spawn, within},
    invariants::removed_are_unheard,
    manager::{Process, RaftNode},
    network::HostId,
};

/// A copy of a message arrives up to that much later, milliseconds.
const COPY_DELAY_MS: u64 = 800;
/// A snapshot takes that much longer than a message, milliseconds.
const SNAPSHOT_DELAY_MS: (u64, u64) = (5, 60);

/// Makes connections for one process.
#[derive(Clone)]
pub(crate) struct Transport {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) host: HostId,
    pub(crate) node_id: NodeId,
    /// The process dies with its disk's life.
    pub(crate) db: super::database::StateDb,
}

impl RaftNetworkFactory<TypeConfig> for Transport {
    type Network = Connection;

    async fn new_client(&mut self, target: RaftId, node: &Member) -> Connection {
        Connection {
            from: self.clone(),
            target,
            to: self.cluster.host_at(node),
        }
    }
}

/// The way to one other member.
pub(crate) struct Connection {
    from: Transport,
    target: RaftId,
    /// `None` if there is no host with the member's address.
    to: Option<HostId>,
}

fn unreachable(why: &str) -> RPCError<TypeConfig> {
    RPCError::Unreachable(Unreachable::new(&AnyError::error(why)))
}

/// The process that is to take a message, if it is the one that is meant and admits the sender, which speaks as member `number`.
pub(crate) fn receiver(
    cluster: &Cluster,
    to: HostId,
    target: RaftId,
    sender: &NodeId,
    (number, what): (RaftId, Message),
) -> Option<Arc<Process>> {
    let process = cluster.process(to)?;
    let takes = process.raft_id == target && process.raft.admits(sender, number, what);
    if takes {
        let mut history = lock(&cluster.history.inner);
        let verdict = removed_are_unheard::check(&history, target, sender, what);
        history.judge(verdict);
    }
    takes.then_some(process)
}

/// A member that speaks, and what for.
fn spoken(vote: &Vote, what: Message) -> (RaftId, Message) {
    (vote.leader_id.node_id, what)
}

impl Connection {
    /// One exchange.
    async fn call<Q, A, F>(
        &self,
        limit: Duration,
        spoken: (RaftId, Message),
        request: Q,
        handle: impl Fn(RaftNode, Q) -> F + Clone + Send + Sync + 'static,
    ) -> Result<A, RPCError<TypeConfig>>
    where
        Q: Clone + Send + Sync + 'static,
        A: Send + 'static,
        F: Future<Output = Option<A>> + Send + 'static,
    {
        if !self.from.db.is_alive() {
            return Err(unreachable("the process is dead"));
        }
        let Some(to) = self.to else {
            return Err(unreachable("there is no such host"));
        };
        let (cluster, host) = (&self.from.cluster, self.from.host);
        let exchange = async {
            let (sender, target) = (&self.from.node_id, self.target);
            if cluster.network.copies() {
                let (cluster, sender) = (Arc::clone(cluster), sender.clone());
                let (handle, request) = (handle.clone(), request.clone());
                spawn(async move {
                    sleep(cluster.ground.millis(1, COPY_DELAY_MS)).await;
                    cluster.network.datagram(host, to).await;
                    if let Some(process) = receiver(&cluster, to, target, &sender, spoken) {
                        drop(handle(process.raft.clone(), request).await);
                    }
                });
            }
            cluster.network.datagram(host, to).await;
            let process = receiver(cluster, to, target, sender, spoken)?;
            // The receiver finishes what it began, whoever still waits.
            let answer = SimRuntime::spawn(handle(process.raft.clone(), request)).await;
            cluster.network.datagram(to, host).await;
            answer.ok().flatten().filter(|_| process.is_alive())
        };
        match within(limit, exchange).await {
            Some(Some(answer)) => Ok(answer),
            Some(None) => Err(unreachable("refused")),
            None => Err(unreachable("no answer in time")),
        }
    }
}

impl RaftNetworkV2<TypeConfig> for Connection {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let limit = if rpc.entries.is_empty() {
            option.hard_ttl()
        } else {
            option.hard_ttl().max(APPEND_TIMEOUT)
        };
        self.call(
            limit,
            spoken(&rpc.vote, Message::Entries),
            rpc,
            |raft, rpc| async move { raft.append_entries(rpc).await.ok() },
        )
        .await
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let by_transfer = rpc.leadership_transfer;
        let spoken = spoken(&rpc.vote, Message::Vote { by_transfer });
        self.call(option.hard_ttl(), spoken, rpc, |raft, rpc| async move {
            raft.raft().vote(rpc).await.ok()
        })
        .await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let spoken = spoken(&rpc.vote, Message::PreVote);
        self.call(option.hard_ttl(), spoken, rpc, |raft, rpc| async move {
            raft.raft().pre_vote(rpc).await.ok()
        })
        .await
    }

    async fn transfer_leader(
        &mut self,
        rpc: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let spoken = spoken(rpc.from_leader(), Message::Transfer);
        self.call(option.hard_ttl(), spoken, rpc, |raft, rpc| async move {
            raft.raft().handle_transfer_leader(rpc).await.ok()
        })
        .await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<TypeConfig, SnapshotData>,
        _cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let cluster = &self.from.cluster;
        cluster.ground.trace(format_args!(
            "snapshot host {} to host {:?}",
            self.from.host, self.to
        ));
        sleep(
            cluster
                .ground
                .millis(SNAPSHOT_DELAY_MS.0, SNAPSHOT_DELAY_MS.1),
        )
        .await;
        let sent = self.call(
            option.hard_ttl(),
            spoken(&vote, Message::Snapshot),
            (vote, snapshot),
            |raft, rpc| async move { raft.install_snapshot(rpc.0, rpc.1).await.ok() },
        );
        sent.await.map_err(StreamingError::from)
    }
}
