//! How this manager becomes a member of a cluster and stops being one: init, join, leave. Each either succeeds or leaves
//! nothing behind.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use swarm_core::{
    ca::RemovedNodes,
    control::{self, Code, ControlError, NewNode},
    id::NodeId,
    model::{Cluster, Role},
    store::{Change, Object, Transaction},
};
use swarm_manager_replica::{new_raft_id, timing::CATCH_UP_TIMEOUT};
use swarm_proto::{
    Wire as _,
    client::{InitRequest, Initialized},
    status,
    tls::{self, Credentials, Identity, KEY_FILE, NodeKeys},
    wire::{self, raft_client::RaftClient},
};
use tonic::transport::Channel;

use crate::{
    api::{ca::issue, raft::join as join_as_member},
    ca::new_root,
    clock::{SystemRandom, now},
    daemon::{Manager, Running, listen},
    lock,
    raft::{
        database::{StateDb, ThisMember, key},
        node::{Leadership, RaftNode},
        types::{Member, RaftId},
    },
};

/// How long a new cluster may take to elect its only member.
const FIRST_ELECTION: Duration = Duration::from_secs(10);
/// Pause between attempts to tell the others a new address.
const ANNOUNCE_PAUSE: Duration = Duration::from_secs(1);
/// How long another manager may take to answer.
const REMOTE_TIMEOUT: Duration = Duration::from_secs(25);
/// Times a join is asked for whose outcome is not known.
const JOIN_ATTEMPTS: u32 = 4;

impl Manager {
    /// Makes a new cluster with this manager as its only member.
    pub(crate) async fn init(
        self: &Arc<Self>,
        request: InitRequest,
    ) -> Result<Initialized, ControlError> {
        let _alone = self.changing.lock().await;
        if request.force_new_cluster && self.is_member() {
            return self.force_new_cluster(&request).await;
        }
        self.check_idle()?;
        let made = self.make_cluster(request).await;
        if made.is_err() {
            self.halt(true).await;
        }
        made
    }

    async fn make_cluster(
        self: &Arc<Self>,
        request: InitRequest,
    ) -> Result<Initialized, ControlError> {
        let listener = listen(request.listen_addr).await?;
        let node = NodeId::random(&mut SystemRandom);
        let raft_id = new_raft_id(&mut SystemRandom);
        let first = first_transaction(&request, &node, raft_id)?;
        let cluster = cluster_of(&first)?;
        let certificate = issue(cluster, &request.csr_pem, node.clone(), Role::Manager)?;
        let credentials = Credentials {
            key_pem: self.node_key()?,
            cert_chain_pem: certificate.cert_chain_pem.clone(),
            ca_pem: certificate.ca_pem.clone(),
        };
        let identity = self.identity(&credentials).map_err(refused)?;
        let this = ThisMember {
            raft_id,
            member: Member {
                node_id: node.to_string(),
                addr: request.advertise_addr.to_string(),
            },
            listen_addr: request.listen_addr,
        };
        let raft = self
            .start_raft(this, &identity, &RemovedNodes::default())
            .await?;
        if let Err(error) = begin(&raft, first).await {
            raft.stop().await;
            return Err(error);
        }
        let running = self.serve(raft, identity, listener).map_err(refused)?;
        lock::followed(self, &running).await;
        tracing::info!(%node, addr = %request.advertise_addr, "new cluster");
        Ok(Initialized {
            node_id: node,
            cert_chain_pem: certificate.cert_chain_pem,
            ca_pem: certificate.ca_pem,
        })
    }

    /// Joins the managers of a cluster.
    pub(crate) async fn join(
        self: &Arc<Self>,
        remote_addrs: &[String],
        listen_addr: SocketAddr,
        advertise_addr: SocketAddr,
    ) -> Result<(), ControlError> {
        let _alone = self.changing.lock().await;
        self.check_idle()?;
        let joined = self
            .join_members(remote_addrs, listen_addr, advertise_addr)
            .await;
        if let Err(error) = &joined {
            self.halt(true).await;
            self.take_back(remote_addrs, error).await;
        }
        joined
    }

    /// After a refusal the node goes out of the list of nodes again. Not if another attempt may succeed.
    async fn take_back(&self, remote_addrs: &[String], refusal: &ControlError) {
        if is_unknown(refusal) {
            return;
        }
        let credentials = self.credentials(&NodeKeys::default());
        let Ok(identity) = credentials.and_then(|found| self.identity(&found)) else {
            return;
        };
        for addr in remote_addrs {
            let Ok(channel) = tls::any_manager(addr.clone(), &identity) else {
                continue;
            };
            let mut remote = RaftClient::new(channel);
            let left = within(remote.leave(wire::LeaveRequest { force: false })).await;
            match left {
                Ok(_empty) => return,
                Err(error) => tracing::debug!(%addr, %error, "the join was not taken back"),
            }
        }
    }

    async fn join_members(
        self: &Arc<Self>,
        remote_addrs: &[String],
        listen_addr: SocketAddr,
        advertise_addr: SocketAddr,
    ) -> Result<(), ControlError> {
        let listener = listen(listen_addr).await?;
        let credentials = self.credentials(&NodeKeys::default()).map_err(refused)?;
        let identity = self.identity(&credentials).map_err(refused)?;
        let (mut remote, number) = ask_for_number(remote_addrs, &identity, advertise_addr).await?;
        let Number { raft_id, removed } = number;
        let this = ThisMember {
            raft_id,
            member: Member {
                node_id: identity.this_node().node_id.to_string(),
                addr: advertise_addr.to_string(),
            },
            listen_addr,
        };
        let raft = self.start_raft(this, &identity, &removed).await?;
        let running = self.serve(raft, identity, listener).map_err(refused)?;
        join_as(&mut remote, advertise_addr, raft_id).await?;
        // Before it knows the others, a restart elsewhere could tell nobody; before it has the settings, it would not lock its disk.
        if !running.raft.await_membership(CATCH_UP_TIMEOUT).await {
            tracing::warn!("the swarm's log has not arrived yet");
        }
        lock::followed(self, &running).await;
        tracing::info!(raft_id, "joined the managers of the swarm");
        Ok(())
    }

    /// Leaves the managers and forgets the state.
    pub(crate) async fn leave(&self, force: bool) -> Result<(), ControlError> {
        let _alone = self.changing.lock().await;
        if self.is_locked() && force {
            self.halt(true).await;
            return Ok(());
        }
        let running = self.running()?;
        let alone = running.raft.voters().len() <= 1;
        if alone && !force {
            return Err(ControlError::new(
                Code::FailedPrecondition,
                "the last manager cannot leave: its cluster ends with it",
            ));
        }
        if !alone {
            let left = self.leave_members().await;
            match left {
                Err(error) if force => {
                    tracing::warn!(%error, "leaving without the others' consent");
                }
                other => other?,
            }
        }
        self.halt(true).await;
        Ok(())
    }

    /// Has the leader take us out; if that is us, another manager must lead first.
    async fn leave_members(&self) -> Result<(), ControlError> {
        let running = self.running()?;
        if matches!(running.raft.leadership(), Leadership::Here { .. })
            && running.raft.hand_over().await.is_none()
        {
            return Err(ControlError::new(
                Code::Unavailable,
                "no other manager can take over the leadership",
            ));
        }
        let Leadership::Elsewhere(leader) = running.raft.await_leader(FIRST_ELECTION).await else {
            return Err(ControlError::no_leader());
        };
        let channel = tls::any_manager(leader.addr, &running.identity)
            .map_err(|error| ControlError::new(Code::Unavailable, error.to_string()))?;
        let mut remote = RaftClient::new(channel);
        within(remote.leave(wire::LeaveRequest { force: false })).await?;
        Ok(())
    }

    /// Tells the others where this manager is now, until they have written it down.
    pub(crate) async fn announce_address(running: Arc<Running>) {
        let this = running.raft.this().clone();
        loop {
            if running.raft.voters().get(&this.raft_id) == Some(&this.member) {
                return;
            }
            match announce(&running, &this).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(addr = %this.member.addr, %error, "the others do not know our address yet");
                }
            }
            tokio::time::sleep(ANNOUNCE_PAUSE).await;
        }
    }

    fn check_idle(&self) -> Result<(), ControlError> {
        if self.is_member() {
            return Err(ControlError::new(
                Code::FailedPrecondition,
                "This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm and join another one.",
            ));
        }
        Ok(())
    }

    fn node_key(&self) -> Result<String, ControlError> {
        let path = self.settings.certificates.join(KEY_FILE);
        std::fs::read_to_string(&path).map_err(|error| {
            ControlError::new(
                Code::FailedPrecondition,
                format!("{}: {error}", path.display()),
            )
        })
    }

    async fn start_raft(
        &self,
        this: ThisMember,
        identity: &Arc<Identity>,
        removed: &RemovedNodes,
    ) -> Result<RaftNode, ControlError> {
        let dir = &self.settings.state_dir;
        StateDb::remove(dir).map_err(refused)?; // what an init or join that never counted left
        let db = StateDb::open(dir).map_err(refused)?;
        // Before it is anybody: it must not listen to these at any moment.
        db.note_removed(|| removed.clone()).map_err(refused)?;
        db.put_meta(key::MEMBER, &this).map_err(refused)?;
        RaftNode::start(&db, this, Arc::clone(identity))
            .await
            .map_err(refused)
    }
}

/// One attempt: the leader first, then whoever may know it.
async fn announce(running: &Running, this: &ThisMember) -> Result<(), ControlError> {
    let addr: SocketAddr =
        this.member.addr.parse().map_err(|_| {
            ControlError::new(Code::InvalidArgument, "our own address is malformed")
        })?;
    let leader = match running.raft.leadership() {
        Leadership::Here { .. } => {
            let node = running.node_id();
            return join_as_member(running, &node, addr, this.raft_id)
                .await
                .map(drop);
        }
        Leadership::Elsewhere(member) => Some(member),
        Leadership::Nobody => None,
    };
    let others = running.raft.voters().into_values();
    let others = others.filter(|member| member.node_id != this.member.node_id);
    let mut failure = ControlError::no_leader();
    for member in leader.into_iter().chain(others) {
        let channel = tls::any_manager(member.addr, &running.identity)
            .map_err(|error| ControlError::new(Code::Unavailable, error.to_string()))?;
        match call_join(&mut RaftClient::new(channel), addr, this.raft_id).await {
            Ok(_number) => return Ok(()),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Writes a new cluster's first objects once its only member leads.
async fn begin(raft: &RaftNode, first: Transaction) -> Result<(), ControlError> {
    raft.initialize().await?;
    if raft.await_leader(FIRST_ELECTION).await == Leadership::Nobody {
        return Err(ControlError::new(
            Code::DeadlineExceeded,
            "the new cluster did not elect its only member in time",
        ));
    }
    raft.propose(first).await?;
    Ok(())
}

/// The first objects of a cluster, with a new certificate authority.
fn first_transaction(
    request: &InitRequest,
    node: &NodeId,
    raft_id: RaftId,
) -> Result<Transaction, ControlError> {
    let root = new_root().map_err(refused)?;
    let bootstrap = control::InitRequest {
        spec: request.spec.clone(),
        default_address_pools: request.default_address_pools.clone(),
        subnet_size: request.subnet_size,
        data_path_port: request.data_path_port,
        root_cert_digest: tls::digest_hex(&root.cert_pem),
        root_issuer: tls::root_issuer(&root.cert_pem).map_err(refused)?,
        root_cert_pem: root.cert_pem,
        root_key_pem: root.key_pem,
        node: NewNode {
            id: node.clone(),
            role: Role::Manager,
            availability: request.availability,
            addr: Some(request.advertise_addr.ip()),
            manager: Some((raft_id, request.advertise_addr)),
        },
    };
    control::bootstrap(bootstrap, now(), &mut SystemRandom)
}

fn cluster_of(first: &Transaction) -> Result<&Cluster, ControlError> {
    let clusters = first.changes.iter().filter_map(|change| match change {
        Change::Put {
            object: Object::Cluster(cluster),
            ..
        } => Some(cluster),
        Change::Put { .. } | Change::Remove { .. } => None,
    });
    clusters
        .into_iter()
        .next()
        .ok_or_else(|| ControlError::new(Code::Unknown, "the first transaction makes no cluster"))
}

/// What a manager that joins is given.
struct Number {
    raft_id: RaftId,
    /// Whom it must not listen to.
    removed: RemovedNodes,
}

/// Asks the managers in turn until one gives us a number.
async fn ask_for_number(
    remote_addrs: &[String],
    identity: &Arc<Identity>,
    advertise_addr: SocketAddr,
) -> Result<(RaftClient<Channel>, Number), ControlError> {
    let mut failure = ControlError::new(Code::InvalidArgument, "no remote address was given");
    for addr in remote_addrs {
        let channel = tls::any_manager(addr.clone(), identity)
            .map_err(|error| ControlError::new(Code::Unavailable, error.to_string()))?;
        let mut remote = RaftClient::new(channel);
        match call_join(&mut remote, advertise_addr, 0).await {
            Ok(number) => return Ok((remote, number)),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Becomes a voter under a number. An answer that is lost is asked for again under the same number: this manager may be a
/// voter by then, and a voter that forgets everything takes the majority with it.
async fn join_as(
    remote: &mut RaftClient<Channel>,
    advertise_addr: SocketAddr,
    raft_id: RaftId,
) -> Result<(), ControlError> {
    let mut attempt = 1;
    loop {
        match call_join(remote, advertise_addr, raft_id).await {
            Ok(_number) => return Ok(()),
            Err(error) if is_unknown(&error) && attempt < JOIN_ATTEMPTS => {
                tracing::warn!(%error, attempt, "it is not known whether this manager joined, asking again");
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether a call may have taken effect all the same.
fn is_unknown(error: &ControlError) -> bool {
    matches!(error.code, Code::Unavailable | Code::DeadlineExceeded)
}

async fn call_join(
    remote: &mut RaftClient<Channel>,
    advertise_addr: SocketAddr,
    raft_id: RaftId,
) -> Result<Number, ControlError> {
    let request = wire::JoinRequest {
        addr: advertise_addr.to_string(),
        raft_id,
    };
    let reply = within(remote.join(request)).await?;
    let removed = RemovedNodes::from_wire(reply.removed.unwrap_or_default());
    Ok(Number {
        raft_id: reply.raft_id,
        removed: removed.map_err(refused)?,
    })
}

async fn within<T>(
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, ControlError> {
    match tokio::time::timeout(REMOTE_TIMEOUT, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(refusal)) => Err(status::from_status(&refusal)),
        Err(_elapsed) => Err(ControlError::new(
            Code::DeadlineExceeded,
            "the other managers did not answer in time",
        )),
    }
}

/// A failure of this host, for the agent.
fn refused(error: impl std::error::Error) -> ControlError {
    ControlError::new(Code::FailedPrecondition, error.to_string())
}
