//! Raft messages to other managers over gRPC. Each connection accepts exactly the node it is meant for; an unreachable peer is
//! reported as such, so that openraft backs off.

use std::{io, sync::Arc};

use openraft::{
    AnyError, RaftNetworkFactory, RaftNetworkV2,
    alias::SnapshotOf,
    errors::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
        TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use swarm_core::id::NodeId;
use swarm_proto::{
    MAX_MESSAGE_BYTES, tls,
    wire::{RaftMessage, raft_client::RaftClient},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, transport::Channel};

use super::{
    snapshot::{SnapshotData, to_chunks},
    types::{Member, RaftId, TypeConfig, Vote, decode, encode},
};

/// Chunks of a snapshot that wait for the connection.
const CHUNKS_IN_FLIGHT: usize = 4;

/// Makes connections to other managers.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    identity: Arc<tls::Identity>,
}

impl Transport {
    pub(crate) fn new(identity: Arc<tls::Identity>) -> Self {
        Self { identity }
    }
}

impl RaftNetworkFactory<TypeConfig> for Transport {
    type Network = Connection;

    async fn new_client(&mut self, target: RaftId, node: &Member) -> Connection {
        let client = connect(node, &self.identity).map_err(|error| error.to_string());
        Connection { target, client }
    }
}

fn connect(
    member: &Member,
    identity: &Arc<tls::Identity>,
) -> Result<RaftClient<Channel>, anyhow::Error> {
    let node_id: NodeId = member.node_id.parse()?;
    let channel = tls::exact_node(member.addr.clone(), &node_id, identity)?;
    Ok(RaftClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES))
}

/// The way to one other manager.
#[derive(Debug)]
pub(crate) struct Connection {
    target: RaftId,
    /// The text says why there cannot be one.
    client: Result<RaftClient<Channel>, String>,
}

impl Connection {
    fn client(&self) -> io::Result<RaftClient<Channel>> {
        self.client
            .clone()
            .map_err(|reason| io::Error::new(io::ErrorKind::InvalidInput, reason))
    }

    /// One request and its reply within the time openraft grants.
    async fn call<Q, A, F>(
        &self,
        request: &Q,
        option: &RPCOption,
        send: impl FnOnce(RaftClient<Channel>, Request<RaftMessage>) -> F,
    ) -> Result<A, RPCError<TypeConfig>>
    where
        Q: Serialize,
        A: DeserializeOwned,
        F: Future<Output = Result<Response<RaftMessage>, Status>>,
    {
        let exchange = async {
            let message = RaftMessage {
                target: self.target,
                body: encode(request)?,
            };
            let reply = send(self.client()?, Request::new(message))
                .await
                .map_err(io::Error::other)?;
            decode::<A>(&reply.into_inner().body)
        };
        match tokio::time::timeout(option.hard_ttl(), exchange).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => Err(unreachable(&error)),
            Err(elapsed) => Err(unreachable(&elapsed.into())),
        }
    }
}

fn unreachable(error: &io::Error) -> RPCError<TypeConfig> {
    RPCError::Unreachable(Unreachable::new(&AnyError::error(error.to_string())))
}

impl RaftNetworkV2<TypeConfig> for Connection {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(&rpc, &option, |mut client, message| async move {
            client.append_entries(message).await
        })
        .await
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(&rpc, &option, |mut client, message| async move {
            client.vote(message).await
        })
        .await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(&rpc, &option, |mut client, message| async move {
            client.pre_vote(message).await
        })
        .await
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(&req, &option, |mut client, message| async move {
            client.transfer_leader(message).await
        })
        .await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<TypeConfig, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let send = async {
            let chunks = to_chunks(self.target, &vote, &snapshot.meta, &snapshot.snapshot)?;
            let (sender, receiver) = mpsc::channel(CHUNKS_IN_FLIGHT);
            tokio::spawn(async move {
                for chunk in chunks {
                    if sender.send(chunk).await.is_err() {
                        return; // the receiver has its answer, or the transfer was cancelled
                    }
                }
            });
            let mut client = self.client()?;
            let reply = client
                .install_snapshot(ReceiverStream::new(receiver))
                .await
                .map_err(io::Error::other)?;
            decode::<SnapshotResponse<TypeConfig>>(&reply.into_inner().body)
        };
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = tokio::time::timeout(option.hard_ttl(), send) => match sent {
                Ok(Ok(reply)) => Ok(reply),
                Ok(Err(error)) => Err(unreachable(&error).into()),
                Err(elapsed) => Err(unreachable(&elapsed.into()).into()),
            },
        }
    }
}
