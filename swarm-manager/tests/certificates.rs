//! Identities, with the real binary: who is refused what, rotation of the root under running sessions and through a change of
//! leader, and that secrets stay secret.

#![expect(clippy::unwrap_used, reason = "tests and their helpers")]
#![allow(dead_code, reason = "the helpers are other tests' too")]

mod agents;
mod host;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use agents::Agent;
use host::{
    Host,
    fixtures::{a_root, three},
    until, within,
};
use swarm_core::{
    control::{Code, ControlError},
    id::NodeId,
    model::{Availability, CertificateIssuer, Cluster, Role, RootCa},
};
use swarm_proto::{
    client::{CaClient, ControlClient, SigningRoot, TokenRotation},
    tls::{self, Credentials, Identity, new_csr},
    wire::{
        self,
        ca_server::{Ca, CaServer},
    },
};
use tokio::io::AsyncReadExt as _;
use tonic::{Request, Response, Status, transport::Channel};

async fn cluster(control: &ControlClient) -> Cluster {
    control.cluster().await.unwrap()
}

async fn token(control: &ControlClient, role: Role) -> String {
    let root = cluster(control).await.root_ca;
    swarm_core::ca::join_token(&root, role).unwrap().to_string()
}

/// What `swarm ca --rotate` sends.
async fn rotate(control: &ControlClient, root: Option<SigningRoot>) {
    try_rotate(control, root).await.unwrap();
}

async fn try_rotate(
    control: &ControlClient,
    root: Option<SigningRoot>,
) -> Result<(), ControlError> {
    let found = cluster(control).await;
    let mut spec = found.spec;
    spec.ca_force_rotate += u64::from(root.is_none());
    let nothing = TokenRotation::default();
    control
        .update_cluster(found.meta.version, &spec, nothing, root)
        .await
        .map(drop)
}

/// How many nodes the rotation waits for.
async fn waited_for(control: &ControlClient) -> usize {
    let rotation = cluster(control).await.root_ca.rotation;
    let rotation = rotation.expect("the rotation waits for the node that is away");
    let nodes = control.nodes().await.unwrap();
    let waited_for = nodes
        .iter()
        .filter(|node| swarm_core::ca::is_waited_for(&rotation, node));
    waited_for.count()
}

/// Every method of every service, from the files that define them.
fn methods() -> Vec<String> {
    let files = [
        include_str!("../../proto/swarm/v1/ca.proto"),
        include_str!("../../proto/swarm/v1/control.proto"),
        include_str!("../../proto/swarm/v1/dispatcher.proto"),
        include_str!("../../proto/swarm/v1/local.proto"),
        include_str!("../../proto/swarm/v1/logs.proto"),
        include_str!("../../proto/swarm/v1/raft.proto"),
    ];
    let mut found = Vec::new();
    for file in files {
        let mut service = "";
        for line in file.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["service", name, ..] => service = name,
                ["rpc", rest, ..] => {
                    let method = rest.split('(').next().unwrap();
                    found.push(format!("/swarm.v1.{service}/{method}"));
                }
                _ => {}
            }
        }
    }
    assert!(found.len() > 30, "{found:?}");
    found
}

/// The code a call with an empty message is answered with; `None` for an answer.
async fn outcome(channel: &Channel, path: &str) -> Option<tonic::Code> {
    outcome_as(channel, path, None).await
}

/// The same for a call that is said to be passed on for this manager.
async fn outcome_as(channel: &Channel, path: &str, who: Option<&NodeId>) -> Option<tonic::Code> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    let call = async {
        client.ready().await.map_err(Status::unknown_error)?;
        let codec = tonic_prost::ProstCodec::<wire::Empty, wire::Empty>::default();
        let path = path.parse().unwrap();
        let mut request = Request::new(wire::Empty {});
        if let Some(who) = who {
            for (name, value) in [
                ("swarm-forwarded", "1"),
                ("swarm-forwarded-role", "manager"),
                ("swarm-forwarded-node", who.as_str()),
            ] {
                request.metadata_mut().insert(name, value.parse().unwrap());
            }
        }
        client.unary(request, path, codec).await
    };
    within(path, call).await.err().map(|status| status.code())
}

trait UnknownError {
    fn unknown_error(error: impl std::fmt::Debug) -> Self;
}

impl UnknownError for Status {
    fn unknown_error(error: impl std::fmt::Debug) -> Self {
        Self::unknown(format!("not connected: {error:?}"))
    }
}

/// Whether a server refuses this certificate, shown by somebody who trusts the server.
async fn handshake_fails(addr: &str, shown: &Credentials, ca_pem: &str) -> bool {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
    let certs = |pem: &str| {
        let found = CertificateDer::pem_slice_iter(pem.as_bytes());
        found.collect::<Result<Vec<_>, _>>().unwrap()
    };
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(certs(ca_pem));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            certs(&shown.cert_chain_pem),
            PrivateKeyDer::from_pem_slice(shown.key_pem.as_bytes()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let talk = async {
        let tcp = tokio::net::TcpStream::connect(addr).await.unwrap();
        let name = ServerName::try_from(tls::MANAGER_NAME).unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let mut stream = connector.connect(name, tcp).await?;
        // The server's verdict comes after our side of the handshake; else it speaks first.
        stream.read_u8().await
    };
    within("a verdict", talk).await.is_err()
}

fn is_for_all(path: &str) -> bool {
    path.ends_with("/GetRootCertificate") || path.ends_with("/IssueNodeCertificate")
}

fn is_for_nodes(path: &str) -> bool {
    let own = [
        "Dispatcher/Session",
        "RenewNodeCertificate",
        "Logs/Listen",
        "Logs/Publish",
    ];
    is_for_all(path) || own.iter().any(|name| path.ends_with(name))
}

/// A worker, a stranger, a node of another cluster and a removed node call every method of a leader and of a follower.
#[tokio::test(flavor = "multi_thread")]
async fn every_method_refuses_those_it_is_not_for() {
    use tonic::Code as C;
    let first = Host::start(30).await;
    first.init().await;
    let control = first.control();
    let second = Host::start(31).await;
    second.join_managers(&control, &first).await;
    let worker_files = first.join_credentials(&control, Role::Worker).await;
    let worker = Identity::new(&worker_files).unwrap();
    let removed_worker = first.join_as(&control, Role::Worker).await;
    let removed_manager = first.join_as(&control, Role::Manager).await;
    let elsewhere = Host::start(32).await;
    elsewhere.init().await;
    for gone in [&removed_worker, &removed_manager] {
        let id = gone.this_node().node_id;
        let mut spec = control.node(id.as_str()).await.unwrap();
        if spec.spec.role == Role::Manager {
            spec.spec.role = Role::Worker;
            let version = spec.meta.version;
            control.update_node(&id, version, &spec.spec).await.unwrap();
        }
        control.remove_node(id.as_str(), true).await.unwrap();
    }
    let own_id = first.local().status().await.unwrap().node_id.unwrap();
    for host in [&first, &second] {
        let addr = host.addr.to_string();
        let nobody = tls::anonymous(addr.clone(), &worker.ca_pem()).unwrap();
        let as_node = |identity: &Arc<Identity>| tls::any_manager(addr.clone(), identity).unwrap();
        let (as_worker, as_removed, as_removed_manager) = (
            as_node(&worker),
            as_node(&removed_worker),
            as_node(&removed_manager),
        );
        let own = worker_files.clone();
        assert!(!handshake_fails(&addr, &own, &worker.ca_pem()).await);
        let foreign = elsewhere.credentials();
        assert!(
            handshake_fails(&addr, &foreign, &worker.ca_pem()).await,
            "a node of another cluster does not even get to call"
        );
        for path in methods() {
            if !is_for_all(&path) {
                let code = outcome(&nobody, &path).await;
                assert_eq!(
                    code,
                    Some(C::Unauthenticated),
                    "{path} without a certificate"
                );
            }
            if !is_for_nodes(&path) {
                let code = outcome(&as_worker, &path).await;
                assert_eq!(code, Some(C::PermissionDenied), "{path} as a worker");
            }
            if !is_for_all(&path) {
                for (who, channel) in [("worker", &as_removed), ("manager", &as_removed_manager)] {
                    let code = outcome(channel, &path).await;
                    assert_eq!(code, Some(C::PermissionDenied), "{path} as a removed {who}");
                }
                let (removed, living) = (&as_removed_manager, &own_id);
                let code = outcome_as(removed, &path, Some(living)).await;
                // A follower does not pass on what was passed on to it.
                let follower = host.addr != first.addr && code == Some(C::Unavailable);
                assert!(
                    follower || code == Some(C::PermissionDenied),
                    "{path} by a removed manager for a living one: {code:?}"
                );
            }
        }
    }
}

/// The root is replaced under running sessions, with a node that is away and a leader that dies in between.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_ends_when_every_node_has_moved_and_survives_the_leader() {
    let [first, second, third] = three(33).await;
    let control = first.control();
    let addrs = [&first, &second, &third].map(|host| host.addr.to_string());
    let mut agents = Vec::new();
    for host in [&first, &second, &third] {
        agents.push(Agent::of_manager(host, &addrs).await);
    }
    let old_worker = first.join_credentials(&control, Role::Worker).await;
    let worker = Agent::start(old_worker.clone(), None, &addrs).await;
    let away = first.join_credentials(&control, Role::Worker).await;
    let before = cluster(&control).await.root_ca;
    let old_token = token(&control, Role::Worker).await;
    rotate(&control, None).await;
    until("everybody but the one that is away has moved", async || {
        waited_for(&control).await == 1
    })
    .await;
    assert_eq!(
        cluster(&control).await.root_ca.cert_digest,
        before.cert_digest
    );
    assert_eq!(worker.sessions(), 1, "no session was dropped for it");
    assert_eq!(token(&control, Role::Worker).await, old_token);

    // Who joins meanwhile trusts the old root only, and gets a certificate of the new one.
    let joined = first.join_credentials(&control, Role::Worker).await;
    let facts = Identity::new(&joined).unwrap().facts();
    let rotation = cluster(&control).await.root_ca.rotation.unwrap();
    assert!(swarm_core::ca::is_issued_by(&facts, &rotation.issuer));
    let joined = Agent::start(joined, None, &addrs).await;

    let first = first.killed().await;
    let control = second.control();
    until("another leader goes on", async || {
        let found = control.cluster().await;
        found.is_ok_and(|cluster| cluster.root_ca.rotation.is_some())
    })
    .await;
    let away = Agent::start(away, None, &addrs).await;
    until("the rotation ends", async || {
        let found = control.cluster().await;
        found.is_ok_and(|cluster| cluster.root_ca.rotation.is_none())
    })
    .await;
    let after = cluster(&control).await.root_ca;
    assert_eq!(after.cert_pem, rotation.cert_pem);
    assert_ne!(after.cert_digest, before.cert_digest);
    assert_ne!(after.worker_secret, before.worker_secret);
    assert_ne!(after.manager_secret, before.manager_secret);
    for agent in [&worker, &away, &joined] {
        agent.trusts(&after.cert_pem).await;
    }
    for manager in &agents[1..] {
        manager.trusts(&after.cert_pem).await;
    }
    for host in [&second, &third] {
        assert_eq!(host.credentials().ca_pem, after.cert_pem);
    }

    old_ones_are_worth_nothing(&second, &before, old_worker, &old_token).await;
    second.join_as(&control, Role::Worker).await;

    // The manager that was dead meanwhile comes back: its certificate is of the new root.
    let first = first.restart().await;
    until("three managers again", async || {
        first.control().nodes().await.is_ok()
    })
    .await;
    drop((agents, first));
}

/// The certificate and the token of before a rotation are refused.
async fn old_ones_are_worth_nothing(
    second: &Host,
    before: &RootCa,
    old_worker: Credentials,
    old_token: &str,
) {
    let stale = Identity::new(&Credentials {
        ca_pem: before.cert_pem.clone(),
        ..old_worker
    });
    let channel = tls::any_manager(second.addr.to_string(), &stale.unwrap()).unwrap();
    let csr = new_csr().unwrap();
    assert!(CaClient::new(channel).renew(&csr.csr_pem).await.is_err());
    let at = second.addr.to_string();
    let refused = CaClient::join(&at, old_token, &csr, Availability::Active).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code, Code::Unauthenticated, "{refused}");
    assert!(
        refused
            .message
            .contains("remote CA does not match fingerprint")
    );
}

/// Removing the node that a rotation waits for lets it end; a root that is given is used.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_to_a_given_root_does_not_wait_for_removed_nodes() {
    let host = Host::start(36).await;
    host.init().await;
    let control = host.control();
    let addrs = [host.addr.to_string()];
    let _agent = Agent::of_manager(&host, &addrs).await;
    let away = host.join_as(&control, Role::Worker).await;
    let given = a_root(400);
    let cert_pem = given.cert_pem.clone();
    let soon = try_rotate(&control, Some(a_root(30))).await.unwrap_err();
    assert_eq!(soon.code, Code::InvalidArgument);
    assert_eq!(soon.message, "CA certificate expires too soon");
    assert_eq!(cluster(&control).await.root_ca.rotation, None);
    rotate(&control, Some(given)).await;
    until("the manager has moved", async || {
        waited_for(&control).await == 1
    })
    .await;
    let id = away.this_node().node_id;
    control.remove_node(id.as_str(), true).await.unwrap();
    until("the rotation ends", async || {
        cluster(&control).await.root_ca.rotation.is_none()
    })
    .await;
    let root = cluster(&control).await.root_ca;
    assert_eq!(
        root.cert_pem.lines().collect::<Vec<_>>(),
        cert_pem.lines().collect::<Vec<_>>()
    );
    host.join_as(&control, Role::Manager).await;
}

/// Somebody who answers in a manager's place and notes what he is told.
#[derive(Clone)]
struct Impostor {
    root: String,
    tokens: Arc<Mutex<Vec<String>>>,
    asked: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl Ca for Impostor {
    async fn get_root_certificate(
        &self,
        _request: Request<wire::Empty>,
    ) -> Result<Response<wire::RootCertificate>, Status> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(Response::new(wire::RootCertificate {
            cert_pem: self.root.clone(),
            now_ns: swarm_proto_now(),
        }))
    }

    async fn issue_node_certificate(
        &self,
        request: Request<wire::IssueNodeCertificateRequest>,
    ) -> Result<Response<wire::NodeCertificate>, Status> {
        self.tokens.lock().unwrap().push(request.into_inner().token);
        Err(Status::internal("got it"))
    }

    async fn renew_node_certificate(
        &self,
        _request: Request<wire::RenewNodeCertificateRequest>,
    ) -> Result<Response<wire::NodeCertificate>, Status> {
        Err(Status::internal("not played"))
    }
}

fn swarm_proto_now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(since.unwrap().as_nanos()).unwrap()
}

/// Whether he shows his own root or the true one, the man in the middle is refused before he hears the token.
#[tokio::test(flavor = "multi_thread")]
async fn a_man_in_the_middle_never_receives_the_token() {
    let (host, other) = (Host::start(37).await, Host::start(38).await);
    host.init().await;
    other.init().await;
    let token = token(&host.control(), Role::Manager).await;
    let true_root = cluster(&host.control()).await.root_ca.cert_pem;
    let own = Identity::new(&other.credentials()).unwrap();
    for (root, text) in [
        (own.ca_pem(), "remote CA does not match fingerprint"),
        (true_root, "certificate"),
    ] {
        let impostor = Impostor {
            root,
            tokens: Arc::default(),
            asked: Arc::default(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(own.server_config().unwrap()));
        let incoming =
            futures::stream::unfold((listener, acceptor), |(listener, acceptor)| async {
                loop {
                    let (tcp, _) = listener.accept().await.unwrap();
                    if let Ok(tls) = acceptor.accept(tcp).await {
                        return Some((Ok::<_, std::io::Error>(tls), (listener, acceptor)));
                    }
                }
            });
        let serving = tonic::transport::Server::builder()
            .add_service(CaServer::new(impostor.clone()))
            .serve_with_incoming(incoming);
        let serving = tokio::spawn(serving);
        let csr = new_csr().unwrap();
        let refused = within(
            "a refusal",
            CaClient::join(&addr, &token, &csr, Availability::Active),
        )
        .await
        .unwrap_err();
        assert!(refused.to_string().contains(text), "{refused}");
        assert_eq!(impostor.asked.load(Ordering::SeqCst), 1);
        assert_eq!(*impostor.tokens.lock().unwrap(), Vec::<String>::new());
        serving.abort();
    }
}

/// Init, join, rotated tokens, a rotated root and refusals, all at the most talkative log level: no token and no key is logged.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_keys_are_never_logged() {
    let host = Host::start_traced(39).await;
    host.init().await;
    let control = host.control();
    let addrs = [host.addr.to_string()];
    let agent = Agent::of_manager(&host, &addrs).await;
    let mut secrets = vec![host.credentials().key_pem];
    let note_tokens = async |secrets: &mut Vec<String>| {
        let root = cluster(&control).await.root_ca;
        secrets.extend([root.worker_secret, root.manager_secret]);
    };
    note_tokens(&mut secrets).await;
    let worker = host.join_credentials(&control, Role::Worker).await;
    secrets.push(worker.key_pem.clone());
    let worker = Agent::start(worker, None, &addrs).await;
    let found = cluster(&control).await;
    let both = TokenRotation {
        worker: true,
        manager: true,
        ..TokenRotation::default()
    };
    control
        .update_cluster(found.meta.version, &found.spec, both, None)
        .await
        .unwrap();
    note_tokens(&mut secrets).await;
    let stale = token(&control, Role::Worker).await;
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let given = SigningRoot {
        cert_pem: found.root_ca.cert_pem.clone(),
        key_pem: key.clone(),
    };
    let refused = control
        .update_cluster(found.meta.version, &found.spec, both, Some(given))
        .await
        .unwrap_err();
    assert!(
        refused.message.contains("certificate key mismatch"),
        "{refused}"
    );
    secrets.push(key);
    rotate(&control, None).await;
    until("the rotation ends", async || {
        cluster(&control).await.root_ca.rotation.is_none()
    })
    .await;
    note_tokens(&mut secrets).await;
    let csr = new_csr().unwrap();
    let refused = CaClient::join(&addrs[0], &stale, &csr, Availability::Active).await;
    let refused = refused.unwrap_err().to_string();
    secrets.push(host.credentials().key_pem);
    drop((agent, worker));
    let objects = format!("{:?}", cluster(&control).await);
    let log = host.stop().await;
    assert!(
        log.contains("TRACE"),
        "the log is not that of a traced manager"
    );
    for secret in &secrets {
        // Of a key one line is enough to know it by.
        let line = secret.lines().max_by_key(|line| line.len()).unwrap();
        assert!(line.len() >= 25);
        for (text, what) in [(&log, "log"), (&objects, "object"), (&refused, "refusal")] {
            assert!(!text.contains(line), "a secret is in the {what}");
        }
    }
    assert!(!log.contains("PRIVATE KEY"));
}

/// Nodes that have moved already move back when a rotation is called off, which is done by giving the present root again.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_is_called_off_leaves_nobody_on_the_new_root() {
    let host = Host::start(61).await;
    host.init().await;
    let control = host.control();
    let addrs = [host.addr.to_string()];
    let _agent = Agent::of_manager(&host, &addrs).await;
    let given = a_root(400);
    rotate(&control, Some(given.clone())).await;
    until("the given root is the cluster's", async || {
        cluster(&control).await.root_ca.rotation.is_none()
    })
    .await;
    let away = host.join_credentials(&control, Role::Worker).await;
    let worker = host.join_credentials(&control, Role::Worker).await;
    let worker = Agent::start(worker, None, &addrs).await;
    let moved = async |to: &CertificateIssuer, count: usize| {
        let nodes = control.nodes().await.unwrap();
        let described = nodes.iter().filter_map(|node| node.description.as_ref());
        described
            .filter(|found| swarm_core::ca::is_issued_by(&found.tls, to))
            .count()
            == count
    };
    rotate(&control, None).await;
    let rotation = cluster(&control).await.root_ca.rotation.unwrap();
    until("both that are there have moved", async || {
        moved(&rotation.issuer, 2).await
    })
    .await;
    rotate(&control, Some(given)).await;
    let root = cluster(&control).await.root_ca;
    assert_eq!(root.rotation, None);
    until("both have moved back", async || {
        moved(&root.issuer, 2).await
    })
    .await;
    let away = Agent::start(away, None, &addrs).await;
    until("the third is there", async || moved(&root.issuer, 3).await).await;
    for agent in [&worker, &away] {
        agent.trusts(&root.cert_pem).await;
    }
}
