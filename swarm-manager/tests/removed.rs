//! A removed manager goes on speaking with the certificate it still has, to managers that hear nobody else, with the real binary.

#![expect(clippy::unwrap_used, reason = "tests and their helpers")]

mod host;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use host::{
    Host,
    fixtures::{service, three},
    until, within,
};
use swarm_core::{
    ca::RemovedNodes,
    control::{self, ControlError, Reason},
    id::NodeId,
    model::Role,
};
use swarm_proto::{
    Wire as _,
    client::{CaClient, ControlClient},
    status,
    tls::{self, Identity},
    wire::{
        self, RaftMessage,
        ca_client::CaClient as Ca,
        raft_client::RaftClient,
        raft_server::{Raft, RaftServer},
    },
};
use tonic::{Code, Request, Response, Status, Streaming};

/// What a manager does with the word of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// It looked at the message, and found that it is for another member.
    Yes,
    No,
}

/// Asks a manager whether it would give its vote, in a message for a member that it is not.
async fn speak(identity: &Arc<Identity>, to: SocketAddr) -> Heard {
    let channel = tls::any_manager(to.to_string(), identity).unwrap();
    let message = RaftMessage {
        target: 0,
        body: Vec::new(),
    };
    let mut client = RaftClient::new(channel);
    let refused = within("an answer", client.pre_vote(message))
        .await
        .unwrap_err();
    if refused.code() == Code::FailedPrecondition {
        return Heard::Yes;
    }
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    Heard::No
}

async fn removed_nodes(identity: &Arc<Identity>, at: SocketAddr) -> Result<RemovedNodes, Status> {
    let channel = tls::any_manager(at.to_string(), identity).unwrap();
    let mut client = RaftClient::new(channel);
    let asked = within("an answer", client.get_removed_nodes(wire::Empty {})).await;
    asked.map(|removed| RemovedNodes::from_wire(removed.into_inner()).unwrap())
}

/// Passes a call of another node on, which is refused.
async fn renew_for(identity: &Arc<Identity>, whom: &NodeId, at: SocketAddr) -> ControlError {
    let csr_pem = tls::new_csr().unwrap().csr_pem;
    let mut request = Request::new(wire::RenewNodeCertificateRequest { csr_pem });
    for (name, value) in [
        ("swarm-forwarded", "1"),
        ("swarm-forwarded-role", "manager"),
        ("swarm-forwarded-node", whom.as_str()),
    ] {
        request.metadata_mut().insert(name, value.parse().unwrap());
    }
    let channel = tls::any_manager(at.to_string(), identity).unwrap();
    let mut client = Ca::new(channel);
    let asked = within("an answer", client.renew_node_certificate(request)).await;
    status::from_status(&asked.unwrap_err())
}

/// Makes a node a worker, and waits until it is no member of Raft.
async fn demote(control: &ControlClient, id: &NodeId) {
    until("the node to be a worker", async || {
        let node = control.node(id.as_str()).await.unwrap();
        if node.spec.role == Role::Worker {
            return node.manager.is_none();
        }
        let mut spec = node.spec;
        spec.role = Role::Worker;
        match control.update_node(id, node.meta.version, &spec).await {
            Err(error) if error.message == "update out of sequence" => {}
            updated => drop(updated.unwrap()),
        }
        false
    })
    .await;
}

fn identity(host: &Host) -> Arc<Identity> {
    Identity::new(&host.credentials()).unwrap()
}

fn node_id(identity: &Arc<Identity>) -> NodeId {
    identity.this_node().node_id
}

/// A manager that has applied a removal refuses the node for good: while it hears nobody else for long, and after a restart, when its
/// applied state is that of its last snapshot. Whoever joins is told from the start.
#[tokio::test(flavor = "multi_thread")]
async fn a_removed_manager_is_not_heard_in_a_silence_nor_after_a_restart() {
    let [first, mut second, third] = three(70).await;
    let control = first.control();
    let (newcomer, demoted) = (
        first.join_as(&control, Role::Manager).await,
        first.join_as(&control, Role::Manager).await,
    );
    demote(&control, &node_id(&demoted)).await;
    let removed = identity(&third);
    let id = node_id(&removed);
    demote(&control, &id).await;
    third.kill().await;
    control.remove_node(id.as_str(), true).await.unwrap();
    let own = identity(&first);
    until("the follower to apply the removal", async || {
        let known = removed_nodes(&own, second.addr).await.unwrap();
        known.contains(&id) && !known.contains(&node_id(&demoted))
    })
    .await;
    let refused = removed_nodes(&removed, second.addr).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");

    // Nothing else is done for it either, and its agent knows from the reason what that means.
    let csr = tls::new_csr().unwrap();
    for host in [&first, &second] {
        let channel = tls::any_manager(host.addr.to_string(), &removed).unwrap();
        let refused = CaClient::new(channel)
            .renew(&csr.csr_pem)
            .await
            .unwrap_err();
        assert_eq!(refused.reason, Some(Reason::NotMember), "{refused}");
        let refused = renew_for(&removed, &node_id(&own), host.addr).await;
        assert_eq!(refused.code, control::Code::PermissionDenied, "{refused}");
        assert_eq!(refused.reason, None, "it is not for the one it names");
    }

    // Who asks for a number is told whom not to listen to.
    let channel = tls::any_manager(first.addr.to_string(), &newcomer).unwrap();
    let request = wire::JoinRequest {
        addr: "127.0.0.1:1".to_owned(),
        raft_id: 0,
    };
    let joined = RaftClient::new(channel).join(request).await.unwrap();
    let told = RemovedNodes::from_wire(joined.into_inner().removed.unwrap()).unwrap();
    assert!(told.contains(&id) && !told.contains(&node_id(&demoted)));

    first.kill().await;
    second.kill_and_restart().await;
    for stranger in [&newcomer, &demoted] {
        until("strangers to be heard", async || {
            speak(stranger, second.addr).await == Heard::Yes
        })
        .await;
    }
    assert_eq!(speak(&own, second.addr).await, Heard::Yes, "a member");
    assert_eq!(speak(&removed, second.addr).await, Heard::No);
}

/// A manager that says who was removed, and has all entries if it is an accomplice.
#[derive(Clone, Default)]
struct Witness {
    removed: RemovedNodes,
    accomplice: bool,
    asked: Arc<AtomicUsize>,
}

impl Witness {
    /// Who says this of a node, for ever.
    fn against(node: NodeId) -> Self {
        let later = swarm_core::time::Timestamp(u64::MAX);
        Self {
            removed: [(node, later)].into_iter().collect(),
            ..Self::default()
        }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[tonic::async_trait]
impl Raft for Witness {
    async fn join(
        &self,
        _: Request<wire::JoinRequest>,
    ) -> Result<Response<wire::JoinReply>, Status> {
        Err(Status::unavailable("not played"))
    }

    async fn leave(&self, _: Request<wire::LeaveRequest>) -> Result<Response<wire::Empty>, Status> {
        Err(Status::unavailable("not played"))
    }

    async fn get_removed_nodes(
        &self,
        _request: Request<wire::Empty>,
    ) -> Result<Response<wire::RemovedNodes>, Status> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(Response::new(self.removed.to_wire()))
    }

    async fn append_entries(
        &self,
        _request: Request<RaftMessage>,
    ) -> Result<Response<RaftMessage>, Status> {
        if !self.accomplice {
            return Err(Status::unavailable("not played"));
        }
        let success = b"\x67Success".to_vec(); // in CBOR
        Ok(Response::new(RaftMessage {
            target: 0,
            body: success,
        }))
    }

    async fn vote(&self, _request: Request<RaftMessage>) -> Result<Response<RaftMessage>, Status> {
        Err(Status::unavailable("not played"))
    }

    async fn pre_vote(
        &self,
        _request: Request<RaftMessage>,
    ) -> Result<Response<RaftMessage>, Status> {
        Err(Status::unavailable("not played"))
    }

    async fn transfer_leader(
        &self,
        _request: Request<RaftMessage>,
    ) -> Result<Response<RaftMessage>, Status> {
        Err(Status::unavailable("not played"))
    }

    async fn install_snapshot(
        &self,
        _request: Request<Streaming<wire::SnapshotChunk>>,
    ) -> Result<Response<RaftMessage>, Status> {
        Err(Status::unavailable("not played"))
    }
}

/// Answers in the place of a manager that is gone.
async fn serve(witness: Witness, identity: &Arc<Identity>, at: SocketAddr) {
    let listener = tokio::net::TcpListener::bind(at).await.unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(identity.server_config().unwrap()));
    let incoming = futures::stream::unfold((listener, acceptor), |(listener, acceptor)| async {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            if let Ok(tls) = acceptor.accept(tcp).await {
                return Some((Ok::<_, std::io::Error>(tls), (listener, acceptor)));
            }
        }
    });
    let server = tonic::transport::Server::builder().add_service(RaftServer::new(witness));
    tokio::spawn(server.serve_with_incoming(incoming));
}

/// Of three managers one was away while another one was removed. With the removed one alone it has a majority, as far as it knows; the
/// third one, which says so, is asked first: the removed one is not heard, and its vote does not count.
#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_was_away_asks_the_others_before_it_believes_one_of_them() {
    let [removed, living, away] = three(74).await;
    let away = away.killed().await;
    let (its, own) = (identity(&removed), identity(&living));
    let at = living.addr;
    living.kill().await;
    let removed = removed.killed().await;

    // Nobody says anything against it: a manager that is left of three must be heard.
    let away = away.restart().await;
    assert_eq!(speak(&its, away.addr).await, Heard::Yes);
    let away = away.killed().await;

    let witness = Witness::against(node_id(&its));
    serve(witness.clone(), &own, at).await;
    let away = away.restart().await;
    assert_eq!(speak(&its, away.addr).await, Heard::No);
    assert!(witness.asked() > 0);
    let removed = removed.restart().await;
    let refused = within("a refusal", away.control().nodes())
        .await
        .unwrap_err();
    assert!(
        refused
            .message
            .starts_with("The swarm does not have a leader."),
        "{refused}"
    );
    for manager in [&removed, &away] {
        assert!(!manager.local().status().await.unwrap().leader);
    }

    // It stays so when nobody can be asked any more: it was noted on disk. But it was only told: it tells nobody, and has no agent throw
    // away what it has. Nor does it believe what the removed one says of others.
    let (there, _) = (removed.addr, removed.kill().await);
    let liar = Witness::against(node_id(&own));
    serve(liar.clone(), &its, there).await;
    let away = away.killed().await.restart().await;
    assert_eq!(speak(&its, away.addr).await, Heard::No);
    assert_eq!(speak(&own, away.addr).await, Heard::Yes);
    assert_eq!(liar.asked(), 0);
    let told = removed_nodes(&own, away.addr).await.unwrap();
    assert!(!told.contains(&node_id(&its)), "{told:?}");
    let channel = tls::any_manager(away.addr.to_string(), &its).unwrap();
    let csr = tls::new_csr().unwrap();
    let refused = CaClient::new(channel).renew(&csr.csr_pem).await;
    assert_eq!(refused.unwrap_err().reason, Some(Reason::NoLeader));
}

/// A leader that heard no majority for long counts nobody's copies before it has asked who was removed meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_away_asks_the_others_before_it_counts_their_copies() {
    let [leader, living, removed] = three(78).await;
    let (its, own) = (identity(&removed), identity(&living));
    let (at, there) = (living.addr, removed.addr);
    living.kill().await;
    removed.kill().await;
    until("the leader to have lost its majority", async || {
        !leader.local().status().await.unwrap().leader
    })
    .await;
    let since = Instant::now();
    until("it to have been away", async || {
        since.elapsed() > swarm_manager_replica::timing::AWAY_AFTER
    })
    .await;
    let witness = Witness::against(node_id(&its));
    serve(witness.clone(), &own, at).await;
    let accomplice = Witness {
        accomplice: true,
        ..Witness::default()
    };
    serve(accomplice, &its, there).await;
    let (control, spec) = (leader.control(), service("web", 0));
    let written = Box::pin(control.create_service(&spec));
    let refused = within("a refusal", written).await;
    assert_eq!(refused.unwrap_err().reason, Some(Reason::NoLeader));
    assert!(witness.asked() > 0);
    assert!(!leader.local().status().await.unwrap().leader);
}
