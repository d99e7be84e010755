//! Raft between managers: its messages, and joining and leaving. The sender must be a member (or we are new and know none),
//! and the message must be meant for us.

use std::{net::SocketAddr, sync::Arc};

use openraft::{raft::AppendEntriesRequest, storage::Snapshot};
use serde::{Serialize, de::DeserializeOwned};
use swarm_core::{
    control::{Code, ControlError},
    id::NodeId,
};
use swarm_manager_replica::timing::REACH_TIMEOUT;
use swarm_proto::{
    Wire,
    client::CaClient,
    tls,
    wire::{self, RaftMessage, raft_server},
};
use tonic::{Request, Response, Status, Streaming};

use super::{caller, malformed, refuse};
use crate::{
    daemon::{Manager, Running},
    raft::{
        snapshot::{Incoming, IncomingError},
        types::{RaftId, TypeConfig, decode, encode},
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

    /// The consensus, if the caller may speak to it about `target`.
    fn admit<T>(&self, request: &Request<T>) -> Result<Arc<Running>, Status> {
        let running = self.manager.running().map_err(refuse)?;
        let caller = caller::of_request(request)?;
        let sender = caller.node().map_err(refuse)?;
        if running.raft.admits(sender.as_str()) {
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
        running.raft.leave(&node).await.map_err(refuse)?;
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
        let answer = running.raft.append_entries(entries).await;
        reply(&answer.map_err(refuse)?)
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
