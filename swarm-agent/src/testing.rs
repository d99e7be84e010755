//! What the tests of this crate share: a host without a kernel's part of it, certificates of any age, and a manager that says what
//! a test has it say.

use std::{path::Path, pin::Pin, sync::Arc, time::Duration};

use clap::Parser as _;
use futures::{Stream, StreamExt as _, stream};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, IsCa, Issuer, KeyPair, date_time_ymd,
};
use swarm_agent_executor::FakeExecutor;
use swarm_agent_net::Netlink;
use swarm_core::{
    id::NodeId,
    lock::{KeyId, NamedKey, SecretKey},
    model::Role,
};
use swarm_proto::{
    Wire as _,
    client::{ManagerState, NodeCertificate, Phase},
    tls::{CA_NAME, Credentials, Identity, MANAGER_NAME, NodeKeys, WORKER_NAME},
    wire::{
        self,
        ca_server::{Ca, CaServer},
        local_server::{Local, LocalServer},
    },
};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::watch,
    time::timeout,
};
use tonic::{Request, Response, Status, transport::Server};

use crate::{
    config::{Cli, Options},
    host_facts::HostFacts,
    node::Parts,
    node_key::NodeKey,
    state::{KnownManager, NodeState, StateDir},
};

pub(crate) const NODE: &str = "0123456789abcdefghijklmno";

/// Everything below `dir`, and more options.
pub(crate) fn options(dir: &Path, more: &[&str]) -> Options {
    let path = |part: &str| dir.join(part).display().to_string();
    let (state, run, bpf) = (path("state"), path("run"), path("bpf"));
    let words = [
        "swarm-agent",
        "--state-dir",
        &state,
        "--run-dir",
        &run,
        "--bpffs",
        &bpf,
        "--manager-user",
        "root",
        "--manager-binary",
        "/nonexistent/swarm-manager",
    ];
    Cli::parse_from(words.iter().chain(more)).options
}

pub(crate) fn parts(dir: &Path) -> Parts {
    drop(rustls::crypto::ring::default_provider().install_default());
    let options = options(dir, &[]);
    Parts {
        facts: HostFacts::read(&options).unwrap(),
        state: StateDir::open(&options.state_dir).unwrap(),
        executor: Arc::new(FakeExecutor::default()),
        netlink: Netlink::open().unwrap(),
        key: NodeKey::new(options.certificates_dir()),
        options,
    }
}

pub(crate) fn node_state() -> NodeState {
    NodeState {
        node_id: NODE.parse().unwrap(),
        listen_addr: "0.0.0.0:2377".parse().unwrap(),
        advertise_addr: "10.1.0.1:2377".parse().unwrap(),
        data_path_addr: "10.1.0.1".parse().unwrap(),
        data_path_port: 4789,
        managers: vec![KnownManager {
            node_id: NodeId::default(),
            addr: "10.1.0.1:2377".parse().unwrap(),
        }],
    }
}

/// A year that is over.
pub(crate) const PAST: i32 = 2021;
/// A year that is not.
pub(crate) const FUTURE: i32 = 2999;

/// Those of a cluster of its own, for [`NODE`], valid until the beginning of a year.
pub(crate) fn credentials(role: Role, until_year: i32) -> Credentials {
    Authority::new().credentials(role, until_year)
}

/// What the manager of a locked swarm tells.
pub(crate) fn keys() -> NodeKeys {
    let key = NamedKey {
        id: KeyId(7),
        key: SecretKey::from_slice(&[7; 32]).unwrap(),
    };
    NodeKeys {
        seal_with: Some(key.id),
        keys: vec![key],
    }
}

/// Who signs for a cluster of its own.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    ca_pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut root = CertificateParams::default();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        root.distinguished_name = DistinguishedName::new();
        root.distinguished_name.push(DnType::CommonName, CA_NAME);
        let key = KeyPair::generate().unwrap();
        let ca_pem = root.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(root, key),
            ca_pem,
        }
    }

    /// Of [`NODE`], with a new key, valid until the beginning of a year.
    pub(crate) fn credentials(&self, role: Role, until_year: i32) -> Credentials {
        let key = KeyPair::generate().unwrap();
        Credentials {
            key_pem: key.serialize_pem(),
            cert_chain_pem: self.sign(&key, role, until_year),
            ca_pem: self.ca_pem.clone(),
        }
    }

    fn sign(&self, key: &impl rcgen::PublicKeyData, role: Role, until_year: i32) -> String {
        let unit = match role {
            Role::Manager => MANAGER_NAME,
            Role::Worker => WORKER_NAME,
        };
        let mut node = CertificateParams::new([NODE.to_owned(), unit.to_owned()]).unwrap();
        node.distinguished_name = DistinguishedName::new();
        for (part, text) in [
            (DnType::OrganizationName, "0123456789abcdefghijklmnp"),
            (DnType::OrganizationalUnitName, unit),
            (DnType::CommonName, NODE),
        ] {
            node.distinguished_name.push(part, text);
        }
        node.not_before = date_time_ymd(2020, 1, 1);
        node.not_after = date_time_ymd(until_year, 1, 1);
        node.signed_by(key, &self.issuer).unwrap().pem()
    }
}

/// Another manager, of which only the renewal of manager certificates is there.
pub(crate) struct FakeCa {
    authority: Authority,
    /// How many certificates it has renewed.
    pub(crate) renewed: watch::Sender<u32>,
}

impl FakeCa {
    /// Serves until the test ends, with this certificate; gives where.
    pub(crate) async fn serve(
        authority: Authority,
        own: &Credentials,
    ) -> (Arc<Self>, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let config = Identity::new(own).unwrap().server_config().unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let incoming = stream::unfold((listener, acceptor), |(listener, acceptor)| async {
            let (tcp, _) = listener.accept().await.unwrap();
            let tls = acceptor.accept(tcp).await;
            Some((tls, (listener, acceptor)))
        });
        let ca = Arc::new(Self {
            authority,
            renewed: watch::Sender::default(),
        });
        let server = Server::builder().add_service(CaServer::from_arc(Arc::clone(&ca)));
        tokio::spawn(server.serve_with_incoming(incoming));
        (ca, addr)
    }
}

#[tonic::async_trait]
impl Ca for FakeCa {
    async fn get_root_certificate(
        &self,
        _request: Request<wire::Empty>,
    ) -> Result<Response<wire::RootCertificate>, Status> {
        unexpected()
    }

    async fn issue_node_certificate(
        &self,
        _request: Request<wire::IssueNodeCertificateRequest>,
    ) -> Result<Response<wire::NodeCertificate>, Status> {
        unexpected()
    }

    async fn renew_node_certificate(
        &self,
        request: Request<wire::RenewNodeCertificateRequest>,
    ) -> Result<Response<wire::NodeCertificate>, Status> {
        let request = request.into_inner();
        let request = CertificateSigningRequestParams::from_pem(&request.csr_pem).unwrap();
        let chain = self
            .authority
            .sign(&request.public_key, Role::Manager, FUTURE);
        self.renewed.send_modify(|count| *count += 1);
        let certificate = NodeCertificate {
            node_id: NODE.parse().unwrap(),
            role: Role::Manager,
            cert_chain_pem: chain,
            ca_pem: self.authority.ca_pem.clone(),
            data_path_port: 4789,
        };
        Ok(Response::new(certificate.to_wire()))
    }
}

/// Waits until a value is as wanted.
pub(crate) async fn until<T>(watch: &watch::Sender<T>, what: &str, wanted: impl Fn(&T) -> bool) {
    let mut seen = watch.subscribe();
    let waited = timeout(
        Duration::from_secs(20),
        seen.wait_for(|value| wanted(value)),
    )
    .await;
    assert!(matches!(waited, Ok(Ok(_))), "{what} did not come");
}

/// A manager of which only the local socket is there.
#[derive(Debug)]
pub(crate) struct FakeManager {
    /// What it says of itself.
    pub(crate) phase: watch::Sender<Phase>,
    /// What it says that the node's key is sealed with.
    pub(crate) keys: watch::Sender<NodeKeys>,
    /// How often it was told to read the certificates.
    pub(crate) reloads: watch::Sender<u32>,
    /// How many of these calls it refuses at first.
    pub(crate) refused_reloads: u32,
}

impl Default for FakeManager {
    fn default() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Running),
            keys: watch::Sender::default(),
            reloads: watch::Sender::default(),
            refused_reloads: 0,
        }
    }
}

impl FakeManager {
    /// Serves where the agent looks for its manager, until the test ends.
    pub(crate) fn serve(self, options: &Options) -> Arc<Self> {
        std::fs::create_dir_all(options.manager_run_dir()).unwrap();
        let listener = UnixListener::bind(options.manager_socket()).unwrap();
        let incoming = stream::unfold(listener, |listener| async {
            let accepted = listener.accept().await.map(|(stream, _)| stream);
            Some((accepted, listener))
        });
        let manager = Arc::new(self);
        let server = Server::builder().add_service(LocalServer::from_arc(Arc::clone(&manager)));
        tokio::spawn(server.serve_with_incoming(incoming));
        manager
    }
}

fn unexpected<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("no test asks for it"))
}

#[tonic::async_trait]
impl Local for FakeManager {
    async fn init(
        &self,
        _request: Request<wire::InitRequest>,
    ) -> Result<Response<wire::InitReply>, Status> {
        unexpected()
    }

    async fn join(
        &self,
        _request: Request<wire::JoinClusterRequest>,
    ) -> Result<Response<wire::Empty>, Status> {
        unexpected()
    }

    async fn leave(
        &self,
        _request: Request<wire::LeaveClusterRequest>,
    ) -> Result<Response<wire::Empty>, Status> {
        unexpected()
    }

    async fn unlock(
        &self,
        _request: Request<wire::UnlockRequest>,
    ) -> Result<Response<wire::Empty>, Status> {
        unexpected()
    }

    type WatchNodeKeysStream = Pin<Box<dyn Stream<Item = Result<wire::NodeKeys, Status>> + Send>>;

    async fn watch_node_keys(
        &self,
        _request: Request<wire::Empty>,
    ) -> Result<Response<Self::WatchNodeKeysStream>, Status> {
        let told = self.keys.borrow().to_wire();
        let once = stream::once(async { Ok(told) }).chain(stream::pending());
        Ok(Response::new(Box::pin(once)))
    }

    async fn node_key_sealed(
        &self,
        _request: Request<wire::NodeKeySealedRequest>,
    ) -> Result<Response<wire::Empty>, Status> {
        Ok(Response::new(wire::Empty {}))
    }

    async fn reload_certificates(
        &self,
        _request: Request<wire::Empty>,
    ) -> Result<Response<wire::Empty>, Status> {
        self.reloads.send_modify(|count| *count += 1);
        if *self.reloads.borrow() <= self.refused_reloads {
            return Err(Status::unavailable("busy"));
        }
        Ok(Response::new(wire::Empty {}))
    }

    async fn status(
        &self,
        _request: Request<wire::Empty>,
    ) -> Result<Response<wire::ManagerState>, Status> {
        let state = ManagerState {
            phase: *self.phase.borrow(),
            raft_id: 1,
            node_id: NODE.parse().ok(),
            leader: false,
            leader_addr: None,
            error: None,
        };
        Ok(Response::new(state.to_wire()))
    }
}
