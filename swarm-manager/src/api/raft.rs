//! Raft between managers: its messages, and joining and leaving. The sender must be a member (or we are new and know none),
//! and the message must be meant for us.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use openraft::{
    async_runtime::watch::WatchReceiver as _,
    raft::{AppendEntriesRequest, AppendEntriesResponse},
    storage::Snapshot,
};
use serde::{Serialize, de::DeserializeOwned};
use swarm_core::{
    control::{self, Code, ControlError},
    id::{NodeId, Random as _},
    model::{ManagerStatus, Reachability, Role},
};
use swarm_proto::{
    Wire,
    client::CaClient,
    tls,
    wire::{self, RaftMessage, raft_server},
};
use tonic::{Request, Response, Status, Streaming};

use super::{caller, malformed, refuse};
use crate::{
    clock::{SystemRandom, now},
    daemon::{Manager, Running},
    drive::remove_member,
    raft::{
        snapshot::{Incoming, IncomingError},
        types::{Member, RaftId, TypeConfig, decode, encode},
    },
};

/// How long a joining manager may take to answer under its advertised address.
const REACH_TIMEOUT: Duration = Duration::from_secs(5);

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

    /// The consensus, if the caller may speak to it about `target`.
    fn admit<T>(&self, request: &Request<T>) -> Result<Arc<Running>, Status> {
        let running = self.manager.running().map_err(refuse)?;
        let caller = caller::of_request(request)?;
        let sender = caller.node().map_err(refuse)?;
        let metrics = running
            .raft
            .raft()
            .server_metrics()
            .borrow_watched()
            .clone();
        let membership = metrics.membership_config.membership().clone();
        let us = running.raft.this().raft_id;
        // Numbers are never used again, so memberships without ours are from before we joined: while the log arrives,
        // they say nothing about who leads now.
        let is_joining = membership.nodes().all(|(id, _)| *id != us);
        let mut nodes = membership.nodes();
        if is_joining || nodes.any(|(_, member)| member.node_id == sender.as_str()) {
            return Ok(running);
        }
        Err(refuse(ControlError::new(
            Code::PermissionDenied,
            format!("node {sender} is not a member of raft"),
        )))
    }
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

fn open<T: DeserializeOwned>(message: &RaftMessage) -> Result<T, Status> {
    decode(&message.body).map_err(|error| Status::invalid_argument(error.to_string()))
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
        let raft_id = join(&running, &node, addr, request.raft_id)
            .await
            .map_err(refuse)?;
        Ok(Response::new(wire::JoinReply { raft_id }))
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
        leave(&running, &node).await.map_err(refuse)?;
        Ok(Response::new(wire::Empty {}))
    }

    async fn append_entries(
        &self,
        request: Request<RaftMessage>,
    ) -> Result<Response<RaftMessage>, Status> {
        let running = self.admit(&request)?;
        let message = request.into_inner();
        meant_for_us(&running, message.target)?;
        let entries: AppendEntriesRequest<TypeConfig> = open(&message)?;
        let leader = entries.vote.leader_id.node_id;
        let raft = running.raft.raft();
        let answer = raft.append_entries(entries).await.map_err(failed)?;
        match answer {
            AppendEntriesResponse::HigherVote(_) => {}
            AppendEntriesResponse::Success
            | AppendEntriesResponse::PartialSuccess(_)
            | AppendEntriesResponse::Conflict => running.raft.note_leader(leader),
        }
        reply(&answer)
    }

    async fn vote(&self, request: Request<RaftMessage>) -> Result<Response<RaftMessage>, Status> {
        let running = self.admit(&request)?;
        let message = request.into_inner();
        meant_for_us(&running, message.target)?;
        let raft = running.raft.raft();
        reply(&raft.vote(open(&message)?).await.map_err(failed)?)
    }

    async fn pre_vote(
        &self,
        request: Request<RaftMessage>,
    ) -> Result<Response<RaftMessage>, Status> {
        let running = self.admit(&request)?;
        let message = request.into_inner();
        meant_for_us(&running, message.target)?;
        let raft = running.raft.raft();
        reply(&raft.pre_vote(open(&message)?).await.map_err(failed)?)
    }

    async fn transfer_leader(
        &self,
        request: Request<RaftMessage>,
    ) -> Result<Response<RaftMessage>, Status> {
        let running = self.admit(&request)?;
        let message = request.into_inner();
        meant_for_us(&running, message.target)?;
        let raft = running.raft.raft();
        let handled = raft.handle_transfer_leader(open(&message)?);
        reply(&handled.await.map_err(failed)?)
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<wire::SnapshotChunk>>,
    ) -> Result<Response<RaftMessage>, Status> {
        let running = self.admit(&request)?;
        let Ok(_only) = self.installing.try_lock() else {
            return Err(Status::resource_exhausted(
                "another snapshot is just arriving here",
            ));
        };
        let mut chunks = request.into_inner();
        let mut incoming = Incoming::new(running.raft.snapshot_dir().clone());
        while let Some(chunk) = chunks.message().await? {
            incoming = on_disk(move || {
                incoming.accept(chunk)?;
                Ok(incoming)
            })
            .await?;
            if let Some(target) = incoming.target() {
                meant_for_us(&running, target)?;
            }
        }
        let (vote, meta, snapshot) = on_disk(move || incoming.finish()).await?;
        let raft = running.raft.raft();
        let installed = raft.install_full_snapshot(vote, Snapshot { meta, snapshot });
        reply(&installed.await.map_err(failed)?)
    }
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

/// Gives a manager a number (`raft_id` 0), or makes it a voter under the number it has and says so in its node object. May be
/// repeated; a member that repeats it with another address has moved.
pub(crate) async fn join(
    running: &Running,
    node: &NodeId,
    addr: SocketAddr,
    raft_id: RaftId,
) -> Result<RaftId, ControlError> {
    running.raft.linearize().await?;
    check_wanted(running, node)?;
    if raft_id == 0 {
        return Ok(new_raft_id());
    }
    let _alone = running.members.lock().await;
    let member = Member {
        node_id: node.to_string(),
        addr: addr.to_string(),
    };
    admit_member(running, node, raft_id, &member).await?;
    let status = ManagerStatus {
        raft_id,
        addr,
        leader: false,
        reachability: Reachability::Reachable,
    };
    let transaction =
        control::set_manager(&running.raft.store().read(), node, Some(status), now())?;
    running.raft.propose(transaction).await?;
    tracing::info!(%node, raft_id, %addr, "manager joined");
    Ok(raft_id)
}

fn check_wanted(running: &Running, node: &NodeId) -> Result<(), ControlError> {
    let store = running.raft.store().read();
    let known = store.node(node);
    if known.is_none_or(|node| node.spec.role != Role::Manager) {
        return Err(ControlError::new(
            Code::PermissionDenied,
            format!("node {node} is not to be a manager"),
        ));
    }
    Ok(())
}

/// Makes a manager a voter, or writes down where it is now.
async fn admit_member(
    running: &Running,
    node: &NodeId,
    raft_id: RaftId,
    member: &Member,
) -> Result<(), ControlError> {
    let voters = running.raft.voters();
    match voters.get(&raft_id) {
        Some(known) if known == member => return Ok(()),
        Some(known) if known.node_id == member.node_id => {
            tracing::info!(%node, from = %known.addr, to = %member.addr, "manager has moved");
            if raft_id == running.raft.this().raft_id {
                return running.raft.set_address(raft_id, member.clone()).await;
            }
            // openraft keeps talking to a member where it began to, so it is made a new one; its log stays.
            running.raft.remove_voter(raft_id).await?;
        }
        Some(_) | None => {}
    }
    let other = voters
        .iter()
        .find(|(id, known)| **id != raft_id && known.node_id == member.node_id);
    if let Some((other, known)) = other {
        // The node lost its state and comes back under a new number: the old member will never answer again.
        tracing::warn!(%node, raft_id = other, addr = %known.addr, "old member is replaced");
        running.raft.remove_voter(*other).await?;
    }
    if let Err(refusal) = check_reachable(running, node, &member.addr).await {
        forget_newcomer(running, node).await;
        return Err(refusal);
    }
    running.raft.add_voter(raft_id, member.clone()).await
}

/// Asks the joining manager for an answer under the address it wants to be reached at, before anything depends on it.
async fn check_reachable(running: &Running, node: &NodeId, addr: &str) -> Result<(), ControlError> {
    let unreachable = |reason: String| {
        let text = format!(
            "could not connect to prospective new cluster member using its advertised address {addr}: {reason}"
        );
        ControlError::new(Code::FailedPrecondition, text)
    };
    let channel = tls::exact_node(addr, node, &running.identity)
        .map_err(|error| unreachable(error.to_string()))?;
    let answer = CaClient::new(channel);
    match tokio::time::timeout(REACH_TIMEOUT, answer.root_certificate()).await {
        Ok(Ok(_pem)) => Ok(()),
        Ok(Err(error)) => Err(unreachable(error.message)),
        Err(_elapsed) => Err(unreachable("no answer".to_owned())),
    }
}

/// A node that could not become what it joined for is not left behind in the list of nodes.
async fn forget_newcomer(running: &Running, node: &NodeId) {
    let decided = control::forget_newcomer(&running.raft.store().read(), node, now());
    let forgotten = match decided {
        Ok(transaction) => running.raft.propose(transaction).await,
        Err(refusal) => Err(refusal),
    };
    if let Err(error) = forgotten {
        tracing::warn!(%node, %error, "a node that did not join stays in the list");
    }
}

/// A number that no member had: 48 random bits.
pub(crate) fn new_raft_id() -> RaftId {
    SystemRandom.below(1 << 48) + 1
}

/// Ends the membership of a manager that leaves by itself.
pub(crate) async fn leave(running: &Running, node: &NodeId) -> Result<(), ControlError> {
    running.raft.linearize().await?;
    let _alone = running.members.lock().await;
    let voters = running.raft.voters();
    let own = voters
        .iter()
        .find(|(_, member)| member.node_id == node.as_str());
    let Some((raft_id, _)) = own else {
        forget_newcomer(running, node).await;
        return Ok(());
    };
    if voters.len() == 1 {
        return Err(ControlError::new(
            Code::FailedPrecondition,
            "the last manager cannot leave: its cluster ends with it",
        ));
    }
    remove_member(&running.raft, node, *raft_id).await
}
