//! Raft between managers: its messages, and joining and leaving. A message must be meant for us, and its sender must be one that
//! is listened to.

use std::{net::SocketAddr, sync::Arc};

use openraft::{
    raft::{AppendEntriesRequest, TransferLeaderRequest, VoteRequest},
    storage::Snapshot,
};
use serde::{Serialize, de::DeserializeOwned};
use swarm_core::{
    control::{Code, ControlError},
    id::NodeId,
};
use swarm_manager_replica::{
    Message,
    timing::{REACH_TIMEOUT, STALL},
};
use swarm_proto::{
    Wire,
    client::CaClient,
    tls,
    wire::{self, RaftMessage, raft_server, snapshot_chunk::Part},
};
use tonic::{Request, Response, Status, Streaming};

use super::{
    caller::{self, Caller},
    malformed, refuse,
};
use crate::{
    daemon::{Manager, Running},
    raft::{
        snapshot::{Incoming, IncomingError, vote_of},
        types::{RaftId, TypeConfig, Vote, decode, encode},
    },
};

/// The Raft service.
#[derive(Clone, Debug)]
pub(crate) struct RaftApi {
    manager: Arc<Manager>,
    /// One snapshot arrives at a time.
    installing: Arc<tokio::sync::Mutex<()>>,
}

impl RaftApi {
    pub(crate) fn new(manager: Arc<Manager>) -> Self {
        Self {
            manager,
            installing: Arc::default(),
        }
    }

    /// The consensus and who speaks to it, if anything they say may be taken.
    async fn hear(&self, caller: Caller) -> Result<(Arc<Running>, NodeId), Status> {
        let running = self.manager.running().map_err(refuse)?;
        let sender = caller.node().cloned().map_err(refuse)?;
        if running.raft.may_speak(&sender) {
            running.raft.news().catch_up().await;
        }
        if running.raft.may_speak(&sender) {
            return Ok((running, sender));
        }
        Err(refuse(not_a_member(&sender)))
    }

    /// A message and the consensus it is for, if it is taken of the caller. `what` gives the member it speaks as, and what for.
    async fn receive<Q: DeserializeOwned>(
        &self,
        request: Request<RaftMessage>,
        what: impl FnOnce(&Q) -> (RaftId, Message),
    ) -> Result<(Arc<Running>, Q), Status> {
        let (running, sender) = self.hear(caller::of_request(&request)?).await?;
        let message = request.into_inner();
        meant_for_us(&running, message.target)?;
        let body =
            decode(&message.body).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let (number, what) = what(&body);
        admit(&running, &sender, number, what)?;
        Ok((running, body))
    }
}

fn not_a_member(node: &NodeId) -> ControlError {
    ControlError::new(
        Code::PermissionDenied,
        format!("node {node} is not a member of raft"),
    )
}

fn admit(running: &Running, sender: &NodeId, number: RaftId, what: Message) -> Result<(), Status> {
    if running.raft.admits(sender, number, what) {
        return Ok(());
    }
    Err(refuse(ControlError::new(
        Code::PermissionDenied,
        format!("node {sender} is not known here as member {number} of raft"),
    )))
}

fn meant_for_us(running: &Running, target: RaftId) -> Result<(), Status> {
    let us = running.raft.this().raft_id;
    if target == us {
        return Ok(());
    }
    Err(refuse(ControlError::new(
        Code::FailedPrecondition,
        format!("the message is for raft member {target}, this is {us}"),
    )))
}

fn reply<T: Serialize>(value: &T) -> Result<Response<RaftMessage>, Status> {
    let body = encode(value).map_err(|error| Status::internal(error.to_string()))?;
    Ok(Response::new(RaftMessage { target: 0, body }))
}

fn failed(error: impl std::fmt::Display) -> Status {
    Status::unavailable(format!("raft: {error}"))
}

#[tonic::async_trait]
impl raft_server::Raft for RaftApi {
    async fn join(
        &self,
        request: Request<wire::JoinRequest>,
    ) -> Result<Response<wire::JoinReply>, Status> {
        let running = self.manager.running().map_err(refuse)?;
        let node = caller::of_request(&request)?
            .node()
            .map_err(refuse)?
            .clone();
        let request = request.into_inner();
        let addr = SocketAddr::from_wire(request.addr).map_err(malformed)?;
        // Not with this call: a change of the members that is dropped half way needs two majorities until it is finished.
        let joining = Arc::clone(&running);
        let join = async move { join(&joining, &node, addr, request.raft_id).await };
        let joined = tokio::spawn(join).await;
        let joined = joined.map_err(|error| Status::internal(error.to_string()))?;
        let raft_id = joined.map_err(refuse)?;
        Ok(Response::new(wire::JoinReply {
            raft_id,
            removed: Some(running.raft.store().removed_nodes().to_wire()),
        }))
    }

    async fn get_removed_nodes(
        &self,
        request: Request<wire::Empty>,
    ) -> Result<Response<wire::RemovedNodes>, Status> {
        let running = self.manager.running().map_err(refuse)?;
        let caller = caller::of_request(&request)?;
        let asks = caller.node().map_err(refuse)?;
        let mut members = running.raft.members().into_values();
        let is_member = members.any(|member| member.node_id == asks.as_str());
        if !is_member || running.raft.store().was_removed(asks) {
            return Err(refuse(not_a_member(asks)));
        }
        let removed = running.raft.store().removed_nodes();
        Ok(Response::new(removed.to_wire()))
    }

    async fn leave(
        &self,
        request: Request<wire::LeaveRequest>,
    ) -> Result<Response<wire::Empty>, Status> {
        let running = self.manager.running().map_err(refuse)?;
        let node = caller::of_request(&request)?
            .node()
            .map_err(refuse)?
            .clone();
        running.raft.leave(&node).await.map_err(refuse)?;
        Ok(Response::new(wire::Empty {}))
    }

    async fn append_entries(
        &self,
        request: Request<RaftMessage>,
    ) -> Result<Response<RaftMessage>, Status> {
        let what =
            |entries: &AppendEntriesRequest<TypeConfig>| (speaker(&entries.vote), Message::Entries);
        let (running, entries) = self.receive(request, what).await?;
        let answer = running.raft.append_entries(entries).await;
        reply(&answer.map_err(refuse)?)
    }

    async fn vote(&self, request: Request<RaftMessage>) -> Result<Response<RaftMessage>, Status> {
        let what = |vote: &VoteRequest<TypeConfig>| {
            let by_transfer = vote.leadership_transfer;
            (speaker(&vote.vote), Message::Vote { by_transfer })
        };
        let (running, vote) = self.receive(request, what).await?;
        reply(&running.raft.raft().vote(vote).await.map_err(failed)?)
    }

    async fn pre_vote(
        &self,
        request: Request<RaftMessage>,
    ) -> Result<Response<RaftMessage>, Status> {
        let what = |vote: &VoteRequest<TypeConfig>| (speaker(&vote.vote), Message::PreVote);
        let (running, vote) = self.receive(request, what).await?;
        reply(&running.raft.raft().pre_vote(vote).await.map_err(failed)?)
    }

    async fn transfer_leader(
        &self,
        request: Request<RaftMessage>,
    ) -> Result<Response<RaftMessage>, Status> {
        let what = |transfer: &TransferLeaderRequest<TypeConfig>| {
            (speaker(transfer.from_leader()), Message::Transfer)
        };
        let (running, transfer) = self.receive(request, what).await?;
        let handled = running.raft.raft().handle_transfer_leader(transfer);
        reply(&handled.await.map_err(failed)?)
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<wire::SnapshotChunk>>,
    ) -> Result<Response<RaftMessage>, Status> {
        let (running, sender) = self.hear(caller::of_request(&request)?).await?;
        let Ok(_only) = self.installing.try_lock() else {
            return Err(Status::resource_exhausted(
                "another snapshot is just arriving here",
            ));
        };
        let mut chunks = request.into_inner();
        let mut incoming = Incoming::new(running.raft.snapshot_dir().clone());
        let mut speaks_as = None;
        while let Some(chunk) = next_chunk(&mut chunks).await? {
            if let Some(Part::Header(header)) = &chunk.part {
                meant_for_us(&running, header.target)?;
                let vote =
                    vote_of(header).map_err(|error| Status::invalid_argument(error.to_string()))?;
                admit(&running, &sender, speaker(&vote), Message::Snapshot)?;
                speaks_as = Some(speaker(&vote));
            }
            incoming = on_disk(move || {
                incoming.accept(chunk)?;
                Ok(incoming)
            })
            .await?;
        }
        let (vote, meta, snapshot) = on_disk(move || incoming.finish()).await?;
        // It took its time; the sender may have been removed meanwhile.
        if let Some(number) = speaks_as {
            admit(&running, &sender, number, Message::Snapshot)?;
        }
        let snapshot = Snapshot { meta, snapshot };
        let installed = running.raft.install_snapshot(vote, snapshot).await;
        reply(&installed.map_err(refuse)?)
    }
}

/// The member that speaks: a leader or a candidate.
fn speaker(vote: &Vote) -> RaftId {
    vote.leader_id.node_id
}

/// The next message of a transfer, which must not stand still: another leader's waits behind it.
async fn next_chunk(
    chunks: &mut Streaming<wire::SnapshotChunk>,
) -> Result<Option<wire::SnapshotChunk>, Status> {
    let next = tokio::time::timeout(STALL, chunks.message()).await;
    next.map_err(|_elapsed| Status::deadline_exceeded("the snapshot does not go on"))?
}

/// Works on an arriving snapshot away from the runtime's threads.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, IncomingError> + Send + 'static,
) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Status::internal(error.to_string()))?
        .map_err(|error| match &error {
            IncomingError::Disk(source) => {
                tracing::error!(%source, "an arriving snapshot cannot be kept");
                Status::resource_exhausted(error.to_string())
            }
            IncomingError::Order
            | IncomingError::Size { .. }
            | IncomingError::TooLarge { .. }
            | IncomingError::Checksum => Status::invalid_argument(error.to_string()),
        })
}

/// Has a manager join under the address it wants to be reached at.
pub(crate) async fn join(
    running: &Running,
    node: &NodeId,
    addr: SocketAddr,
    raft_id: RaftId,
) -> Result<RaftId, ControlError> {
    let reachable = check_reachable(running, node, addr);
    running.raft.join(node, addr, raft_id, reachable).await
}

/// Asks the joining manager for an answer under the address it wants to be reached at, before anything depends on it.
async fn check_reachable(
    running: &Running,
    node: &NodeId,
    addr: SocketAddr,
) -> Result<(), ControlError> {
    let unreachable = |reason: String| {
        let text = format!(
            "could not connect to prospective new cluster member using its advertised address {addr}: {reason}"
        );
        ControlError::new(Code::FailedPrecondition, text)
    };
    let channel = tls::exact_node(addr.to_string(), node, &running.identity)
        .map_err(|error| unreachable(error.to_string()))?;
    let answer = CaClient::new(channel);
    match tokio::time::timeout(REACH_TIMEOUT, answer.root_certificate()).await {
        Ok(Ok(_pem)) => Ok(()),
        Ok(Err(error)) => Err(unreachable(error.message)),
        Err(_elapsed) => Err(unreachable("no answer".to_owned())),
    }
}
