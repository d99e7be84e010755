//! Raft messages to other managers over gRPC. Each connection accepts exactly the node it is meant for; an unreachable peer is
//! reported as such, so that openraft backs off.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    time::{Duration, Instant},
};

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
use swarm_manager_replica::{
    SharedStore,
    timing::{APPEND_TIMEOUT, STALL},
};
use swarm_proto::{
    MAX_MESSAGE_BYTES, tls,
    wire::{self, RaftMessage, raft_client::RaftClient},
};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, transport::Channel};

use super::{
    news::News,
    snapshot::{SnapshotData, header, pieces},
    types::{LogId, Member, RaftId, TypeConfig, Vote, decode, encode},
};

/// Chunks of a snapshot that wait for the connection.
const CHUNKS_IN_FLIGHT: usize = 4;
/// Bytes of entries in one message. More travel in the next one, so that a follower that is far behind gets no message that
/// is too large for it.
const MAX_APPEND_BYTES: usize = 4 * 1024 * 1024;
/// Time without a single answer after which a connection is made anew: what waits in a connection over a cut line comes through
/// only when the kernel tries again, seconds after the line is back.
const SILENCE: Duration = Duration::from_millis(500);
/// How long the receiver may take to read and install a whole snapshot. A receiver that is gone is noticed by the connection.
const INSTALL_TIMEOUT: Duration = Duration::from_mins(10);

/// Connections to other managers, kept from one use to the next: an election must not wait for handshakes.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    identity: Arc<tls::Identity>,
    peers: Arc<Mutex<BTreeMap<RaftId, Arc<Peer>>>>,
    store: SharedStore,
    /// Not before the consensus runs that it is part of.
    news: Arc<OnceLock<Weak<News>>>,
}

impl Transport {
    pub(crate) fn new(identity: Arc<tls::Identity>, store: SharedStore) -> Self {
        Self {
            identity,
            peers: Arc::default(),
            store,
            news: Arc::default(),
        }
    }

    /// From now on the others are asked who was removed before they are asked for votes.
    pub(super) fn ask_for_news(&self, news: &Arc<News>) {
        self.news.get_or_init(|| Arc::downgrade(news));
    }
}

impl RaftNetworkFactory<TypeConfig> for Transport {
    type Network = Connection;

    async fn new_client(&mut self, target: RaftId, node: &Member) -> Connection {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let known = peers.get(&target).filter(|peer| peer.member == *node);
        let peer = known.cloned().unwrap_or_else(|| {
            let way = || Way::new(node.clone(), Arc::clone(&self.identity));
            let peer = Arc::new(Peer {
                member: node.clone(),
                short: way(),
                long: way(),
            });
            peers.insert(target, Arc::clone(&peer));
            peer
        });
        Connection {
            target,
            peer,
            all: self.clone(),
        }
    }
}

/// Another manager.
#[derive(Debug)]
struct Peer {
    member: Member,
    /// For heartbeats, votes and the hand-over, which must not queue behind the others.
    short: Way,
    /// For entries and snapshots.
    long: Way,
}

/// A connection that is made anew when it has been silent for too long.
#[derive(Debug)]
struct Way {
    member: Member,
    identity: Arc<tls::Identity>,
    state: Mutex<WayState>,
}

#[derive(Debug)]
struct WayState {
    /// The text says why there cannot be one.
    client: Result<RaftClient<Channel>, String>,
    /// When the oldest call since the last answer began.
    waiting_since: Option<Instant>,
}

impl Way {
    fn new(member: Member, identity: Arc<tls::Identity>) -> Self {
        let state = WayState {
            client: connect(&member, &identity).map_err(|error| error.to_string()),
            waiting_since: None,
        };
        Self {
            member,
            identity,
            state: Mutex::new(state),
        }
    }

    /// The client for one more call.
    fn client(&self) -> io::Result<RaftClient<Channel>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if state
            .waiting_since
            .is_some_and(|since| now - since > SILENCE)
        {
            state.client = connect(&self.member, &self.identity).map_err(|error| error.to_string());
            state.waiting_since = None;
        }
        state.waiting_since.get_or_insert(now);
        let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidInput, reason);
        state.client.clone().map_err(invalid)
    }

    /// An answer came, whatever it says.
    fn answered(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting_since = None;
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

/// The way to one other manager, as openraft uses it.
#[derive(Debug)]
pub(crate) struct Connection {
    target: RaftId,
    peer: Arc<Peer>,
    all: Transport,
}

impl Connection {
    /// Refuses to speak to a node that was removed: what it answers must not count, and the membership here may be older than that.
    fn check_wanted(&self) -> io::Result<()> {
        let node = self.peer.member.node_id.parse::<NodeId>();
        if node.is_ok_and(|node| self.all.store.was_removed(&node)) {
            let text = format!("node {} was removed", self.peer.member.node_id);
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        Ok(())
    }

    /// Before a vote is asked for, and before any answer counts: a removed manager's must not. A leader that was frozen or cut off for long
    /// may have missed a removal too.
    async fn catch_up(&self) {
        if let Some(news) = self.all.news.get().and_then(Weak::upgrade) {
            news.catch_up().await;
        }
    }

    /// One request and its reply within `limit`.
    async fn call<Q, A, F>(
        &self,
        way: &Way,
        request: &Q,
        limit: Duration,
        send: impl FnOnce(RaftClient<Channel>, Request<RaftMessage>) -> F,
    ) -> Result<A, RPCError<TypeConfig>>
    where
        Q: Serialize,
        A: DeserializeOwned,
        F: Future<Output = Result<Response<RaftMessage>, Status>>,
    {
        let exchange = async {
            self.check_wanted()?;
            let message = RaftMessage {
                target: self.target,
                body: encode(request)?,
            };
            let reply = send(way.client()?, Request::new(message)).await;
            way.answered();
            let reply = reply.map_err(io::Error::other)?;
            self.catch_up().await;
            self.check_wanted()?; // it may have become known while we waited
            decode::<A>(&reply.into_inner().body)
        };
        match tokio::time::timeout(limit, exchange).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => Err(unreachable(&error)),
            Err(elapsed) => Err(unreachable(&elapsed.into())),
        }
    }
}

/// Leaves entries out until the rest fits into a message; gives the last entry that is left if some were left out.
fn shorten(rpc: &mut AppendEntriesRequest<TypeConfig>) -> io::Result<Option<LogId>> {
    let mut bytes = 0;
    for (position, entry) in rpc.entries.iter().enumerate() {
        if rpc.entries.len() > 1 {
            bytes += encode(entry)?.len();
        }
        if bytes > MAX_APPEND_BYTES && position > 0 {
            rpc.entries.truncate(position);
            return Ok(rpc.entries.last().map(|entry| entry.log_id));
        }
    }
    Ok(None)
}

fn unreachable(error: &io::Error) -> RPCError<TypeConfig> {
    RPCError::Unreachable(Unreachable::new(&AnyError::error(error.to_string())))
}

impl RaftNetworkV2<TypeConfig> for Connection {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        mut rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let last = shorten(&mut rpc).map_err(|error| unreachable(&error))?;
        let (way, limit) = if rpc.entries.is_empty() {
            (&self.peer.short, option.hard_ttl())
        } else {
            (&self.peer.long, option.hard_ttl().max(APPEND_TIMEOUT))
        };
        let answer = self
            .call(way, &rpc, limit, |mut client, message| async move {
                client.append_entries(message).await
            })
            .await?;
        Ok(match (answer, last) {
            (AppendEntriesResponse::Success, Some(last)) => {
                AppendEntriesResponse::PartialSuccess(Some(last))
            }
            (answer, _) => answer,
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.catch_up().await;
        let (way, limit) = (&self.peer.short, option.hard_ttl());
        self.call(way, &rpc, limit, |mut client, message| async move {
            client.vote(message).await
        })
        .await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.catch_up().await;
        let (way, limit) = (&self.peer.short, option.hard_ttl());
        self.call(way, &rpc, limit, |mut client, message| async move {
            client.pre_vote(message).await
        })
        .await
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let (way, limit) = (&self.peer.short, option.hard_ttl());
        self.call(way, &req, limit, |mut client, message| async move {
            client.transfer_leader(message).await
        })
        .await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<TypeConfig, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption, // its limit is for small messages
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let send = async {
            self.check_wanted()?;
            let mut client = self.peer.long.client()?;
            let (chunks, moved) = stream_snapshot(self.target, &vote, &snapshot)?;
            let reply = moving(moved, client.install_snapshot(chunks)).await?;
            self.peer.long.answered();
            self.catch_up().await;
            self.check_wanted()?;
            decode::<SnapshotResponse<TypeConfig>>(&reply.into_inner().body)
        };
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = send => sent.map_err(|error| {
                tracing::warn!(target = self.target, %error, "snapshot not transferred, starting again");
                unreachable(&error).into()
            }),
        }
    }
}

/// A snapshot as messages, read from disk as the connection takes them; and a count of them that grows as they are taken.
fn stream_snapshot(
    target: RaftId,
    vote: &Vote,
    snapshot: &SnapshotOf<TypeConfig, SnapshotData>,
) -> io::Result<(ReceiverStream<wire::SnapshotChunk>, watch::Receiver<u64>)> {
    let first = header(target, vote, &snapshot.meta, &snapshot.snapshot)?;
    let pieces = pieces(&snapshot.snapshot);
    let (sender, receiver) = mpsc::channel(CHUNKS_IN_FLIGHT);
    let (count, moved) = watch::channel(0);
    tokio::task::spawn_blocking(move || {
        for piece in std::iter::once(Ok(first)).chain(pieces) {
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => {
                    // the receiver notices that the checksum is missing
                    tracing::error!(%error, "snapshot cannot be read");
                    return;
                }
            };
            if sender.blocking_send(piece).is_err() {
                return; // the receiver has its answer, or the transfer was cancelled
            }
            count.send_modify(|count| *count += 1);
        }
    });
    Ok((ReceiverStream::new(receiver), moved))
}

/// Awaits the answer to a transfer as long as chunks are taken; then as long as installing may take.
async fn moving<T>(
    mut moved: watch::Receiver<u64>,
    reply: impl Future<Output = Result<T, Status>>,
) -> io::Result<T> {
    let stalled = async {
        loop {
            match tokio::time::timeout(STALL, moved.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_all_sent)) => {
                    tokio::time::sleep(INSTALL_TIMEOUT).await;
                    return "the other manager did not install the snapshot in time";
                }
                Err(_elapsed) => return "the other manager takes no more of the snapshot",
            }
        }
    };
    tokio::select! {
        reply = reply => reply.map_err(io::Error::other),
        why = stalled => Err(io::Error::new(io::ErrorKind::TimedOut, why)),
    }
}
