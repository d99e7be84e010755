//! Who else may answer, or knock: joins to addresses where no manager is, clocks that are hours apart, and a manager under
//! random bytes from peers without and with a certificate. It must go on serving.

#![expect(clippy::unwrap_used, reason = "tests and their helpers")]

mod host;

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use host::{Host, within};
use http_body_util::Full;
use swarm_core::{
    control::{Code, ControlError},
    model::{Availability, Role},
};
use swarm_proto::{
    client::{CaClient, ControlClient, NodeCertificate},
    tls::{self, Identity, new_csr},
    wire::{self, ca_server},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_stream::StreamExt as _;
use tonic::{Request, Response, Status, body::Body};
use tower::ServiceExt as _;

/// Up to `most` random bytes.
fn some_bytes(rng: &mut fastrand::Rng, most: usize) -> Vec<u8> {
    let length = rng.usize(..=most);
    (0..length).map(|_| rng.u8(..)).collect()
}

async fn join(addr: SocketAddr, token: &str) -> Result<NodeCertificate, ControlError> {
    let csr = new_csr().unwrap();
    let addr = addr.to_string();
    let joining = CaClient::join(&addr, token, &csr, Availability::Active);
    within("an end of the join", joining).await
}

async fn token(control: &ControlClient, role: Role) -> String {
    let root = control.cluster().await.unwrap().root_ca;
    swarm_core::ca::join_token(&root, role).unwrap().to_string()
}

/// A server that reads a little and then says `answer` to everybody, or nothing.
async fn says(answer: Option<&'static [u8]>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut silent = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            match answer {
                Some(answer) => {
                    let mut some = [0; 64];
                    drop(stream.read(&mut some).await);
                    drop(stream.write_all(answer).await);
                }
                None => silent.push(stream),
            }
        }
    });
    addr
}

#[tokio::test(flavor = "multi_thread")]
async fn joining_where_no_manager_is_ends_soon_and_says_what_is_there() {
    let host = Host::start(40).await;
    host.init().await;
    let token = token(&host.control(), Role::Worker).await;
    let web = says(Some(b"HTTP/1.1 400 Bad Request\r\n\r\n")).await;
    let garbage = says(Some(&[0x5a; 300])).await;
    for addr in [web, garbage] {
        let refused = join(addr, &token).await.unwrap_err();
        let text = format!("{addr} does not answer as a swarm manager does");
        assert!(refused.message.starts_with(&text), "{refused}");
        assert_eq!(refused.code, Code::FailedPrecondition);
    }
    // Nobody there, and somebody who says nothing: another attempt may succeed.
    let nobody: SocketAddr = "127.0.0.1:1".parse().unwrap();
    for addr in [nobody, says(None).await] {
        let refused = join(addr, &token).await.unwrap_err();
        let again = matches!(refused.code, Code::Unavailable | Code::DeadlineExceeded);
        assert!(again, "{addr}: {refused}");
    }
}

/// A manager whose clock is wrong, as a joiner sees it.
struct WrongClock {
    ca_pem: String,
    ahead: Duration,
}

#[tonic::async_trait]
impl ca_server::Ca for WrongClock {
    async fn get_root_certificate(
        &self,
        _request: Request<wire::Empty>,
    ) -> Result<Response<wire::RootCertificate>, Status> {
        let now = SystemTime::now() + self.ahead;
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Ok(Response::new(wire::RootCertificate {
            cert_pem: self.ca_pem.clone(),
            now_ns: u64::try_from(now.as_nanos()).unwrap(),
        }))
    }

    async fn issue_node_certificate(
        &self,
        _request: Request<wire::IssueNodeCertificateRequest>,
    ) -> Result<Response<wire::NodeCertificate>, Status> {
        Err(Status::internal("nobody may ask this"))
    }

    async fn renew_node_certificate(
        &self,
        _request: Request<wire::RenewNodeCertificateRequest>,
    ) -> Result<Response<wire::NodeCertificate>, Status> {
        Err(Status::internal("nobody may ask this"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joiner_whose_clock_is_hours_off_is_told_so_before_anything_is_asked() {
    let host = Host::start(41).await;
    host.init().await;
    let control = host.control();
    let token = token(&control, Role::Worker).await;
    let identity = host.join_as(&control, Role::Manager).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(identity.server_config().unwrap()));
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener)
        .then(move |stream| {
            let acceptor = acceptor.clone();
            async move { acceptor.accept(stream?).await }
        })
        .filter(Result::is_ok);
    let ca = ca_server::CaServer::new(WrongClock {
        ca_pem: identity.ca_pem(),
        ahead: Duration::from_secs(3 * 3600 + 30),
    });
    let server = tonic::transport::Server::builder().add_service(ca);
    tokio::spawn(server.serve_with_incoming(incoming));
    let refused = join(addr, &token).await.unwrap_err();
    assert_eq!(refused.code, Code::FailedPrecondition);
    let text = "the clock of this host is 3h0m behind the manager's";
    assert!(refused.message.starts_with(text), "{refused}");
}

/// Whether the manager still does its work.
async fn assert_serves(host: &mut Host, what: &str) {
    let nodes = within(what, host.control().nodes()).await;
    assert!(nodes.is_ok(), "after {what}: {nodes:?}");
    assert!(host.lives(), "after {what}");
}

/// Sends bytes and gives the other side a moment to say something.
async fn throw(
    stream: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin),
    bytes: &[u8],
) {
    let exchange = async {
        stream.write_all(bytes).await?;
        stream.flush().await?;
        let mut answer = [0; 256];
        stream.read(&mut answer).await
    };
    drop(tokio::time::timeout(Duration::from_millis(30), exchange).await);
}

/// One HTTP/2 frame (RFC 9113 section 4.1); the length it states need not be true.
fn frame(length: usize, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(length).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn random_bytes_on_the_port_stop_nobody() {
    let mut host = Host::start(42).await;
    host.init().await;
    let mut rng = fastrand::Rng::with_seed(1);
    // The start of a real handshake, so that some get further than the first byte.
    let hello = [
        0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03,
    ];
    for round in 0..100 {
        let mut stream = TcpStream::connect(host.addr).await.unwrap();
        let mut bytes = if round % 2 == 0 {
            hello.to_vec()
        } else {
            Vec::new()
        };
        bytes.extend(some_bytes(&mut rng, 2000));
        throw(&mut stream, &bytes).await;
    }
    assert_serves(&mut host, "random bytes").await;
    // Many that connect and say nothing, more than handshakes may run at a time.
    let mut silent = Vec::new();
    for _ in 0..400 {
        silent.push(TcpStream::connect(host.addr).await.unwrap());
    }
    let token = token(&host.control(), Role::Worker).await;
    within("a join beside them", async {
        while join(host.addr, &token).await.is_err() {}
    })
    .await;
    drop(silent);
    assert_serves(&mut host, "silent connections").await;
    let log = host.stop().await;
    assert!(!log.contains("panicked"), "{log}");
}

async fn with_certificate(
    addr: SocketAddr,
    identity: &Arc<Identity>,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let connector = TlsConnector::from(Arc::new(identity.client_config().unwrap()));
    let name = rustls::pki_types::ServerName::try_from(tls::MANAGER_NAME).unwrap();
    connector
        .connect(name, TcpStream::connect(addr).await?)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_frames_of_a_peer_with_a_certificate_stop_nobody() {
    let mut host = Host::start(43).await;
    host.init().await;
    let identity = host.join_as(&host.control(), Role::Manager).await;
    let mut rng = fastrand::Rng::with_seed(2);
    for round in 0..150 {
        let mut bytes = PREFACE.to_vec();
        bytes.extend(frame(0, 4, 0, 0, &[])); // SETTINGS
        match round % 6 {
            0 => bytes.extend(some_bytes(&mut rng, 3000)),
            // A frame of a random kind that states a wrong length.
            1 => {
                let payload = some_bytes(&mut rng, 200);
                let kind = rng.u8(..12);
                let length = rng.usize(..1 << 24);
                bytes.extend(frame(length, kind, 0xff, 1, &payload));
            }
            // Headers that never end.
            2 => {
                bytes.extend(frame(1, 1, 0, 1, &[0x82]));
                for _ in 0..200 {
                    let more = some_bytes(&mut rng, 300);
                    bytes.extend(frame(more.len(), 9, 0, 1, &more));
                }
            }
            // Streams opened and reset at once (CVE-2023-44487).
            3 => {
                for stream in (1..2001).step_by(2) {
                    bytes.extend(frame(3, 1, 4, stream, &[0x83, 0x86, 0x84]));
                    bytes.extend(frame(4, 3, 0, stream, &[0, 0, 0, 8]));
                }
            }
            // Settings and pings without end.
            4 => {
                for _ in 0..2000 {
                    bytes.extend(frame(6, 4, 0, 0, &[0, 3, 0, 0, 0, 1]));
                    bytes.extend(frame(8, 6, 0, 0, &[7; 8]));
                }
            }
            _ => bytes.truncate(rng.usize(..bytes.len())),
        }
        if let Ok(mut stream) = with_certificate(host.addr, &identity).await {
            throw(&mut stream, &bytes).await;
        }
    }
    assert_serves(&mut host, "malformed frames").await;
    let log = host.stop().await;
    assert!(!log.contains("panicked"), "{log}");
}

const CALLS: &[&str] = &[
    "Raft/Join",
    "Raft/AppendEntries",
    "Raft/Vote",
    "Raft/PreVote",
    "Raft/TransferLeader",
    "Raft/InstallSnapshot",
    "Dispatcher/Session",
    "Ca/GetRootCertificate",
    "Ca/IssueNodeCertificate",
    "Ca/RenewNodeCertificate",
    "Control/GetCluster",
    "Control/UpdateCluster",
    "Control/GetNode",
    "Control/UpdateNode",
    "Control/RemoveNode",
    "Control/CreateService",
    "Control/UpdateService",
    "Control/CreateNetwork",
    "Control/ListTasks",
    "Logs/Subscribe",
    "Logs/Publish",
    "Local/Init",
    "Nothing/AtAll",
];

/// A body: a gRPC message whose prefix may lie, with random, nested or truncated protobuf in it.
fn body(rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut message = match rng.usize(..4) {
        0 => some_bytes(rng, 400),
        // Fields with lengths that reach beyond the end.
        1 => vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x41],
        // A field in a field in a field, deeper than decoders go.
        2 => (0..300).flat_map(|_| [0x0a, 0x7f]).collect(),
        // A Raft message for member 0 with CBOR that promises a huge list.
        _ => {
            let mut cbor = vec![0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
            cbor.extend(some_bytes(rng, 50));
            let mut message = vec![0x12, u8::try_from(cbor.len()).unwrap()];
            message.extend(cbor);
            message
        }
    };
    let length = match rng.usize(..4) {
        0 => u32::MAX,
        1 => 17 * 1024 * 1024,
        _ => u32::try_from(message.len()).unwrap(),
    };
    let mut bytes = vec![u8::from(rng.usize(..8) == 0)];
    bytes.extend(length.to_be_bytes());
    bytes.append(&mut message);
    if rng.usize(..5) == 0 {
        bytes.truncate(rng.usize(..bytes.len()));
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn random_messages_to_every_service_are_refused_and_change_nothing() {
    let mut host = Host::start(44).await;
    host.init().await;
    let control = host.control();
    let identity = host.join_as(&control, Role::Manager).await;
    let before = control.nodes().await.unwrap().len();
    let ca_pem = identity.ca_pem();
    let channels = [
        tls::any_manager(host.addr.to_string(), &identity).unwrap(),
        tls::anonymous(host.addr.to_string(), &ca_pem).unwrap(),
    ];
    let mut rng = fastrand::Rng::with_seed(3);
    for round in 0..600 {
        let path = CALLS[rng.usize(..CALLS.len())];
        let request = http::Request::post(format!("http://swarm/swarm.v1.{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Body::new(Full::new(Bytes::from(body(&mut rng)))))
            .unwrap();
        let channel = channels[round % channels.len()].clone();
        let call = channel.oneshot(request);
        drop(tokio::time::timeout(Duration::from_millis(300), call).await);
    }
    assert_serves(&mut host, "random messages").await;
    assert_eq!(control.nodes().await.unwrap().len(), before);
    let leads = |node: &swarm_core::model::Node| node.manager.as_ref().is_some_and(|it| it.leader);
    assert!(control.nodes().await.unwrap().iter().any(leads));
    let log = host.stop().await;
    assert!(!log.contains("panicked"), "{log}");
}

/// A message that never ends, and one of a stranger that is too large, are cut off.
#[tokio::test(flavor = "multi_thread")]
async fn calls_are_bounded_in_bytes_and_in_time() {
    let mut host = Host::start(45).await;
    host.init().await;
    let identity = host.join_as(&host.control(), Role::Worker).await;
    let stranger = tls::anonymous(host.addr.to_string(), &identity.ca_pem()).unwrap();
    let large = CaClient::new(stranger.clone())
        .issue(&"x".repeat(200 * 1024), "token", Availability::Active)
        .await
        .unwrap_err();
    assert_eq!(large.code, Code::InvalidArgument, "{large}");
    let endless = futures::stream::pending::<Result<http_body::Frame<Bytes>, io::Error>>();
    let request = http::Request::post("http://swarm/swarm.v1.Ca/IssueNodeCertificate")
        .header("content-type", "application/grpc")
        .body(Body::new(http_body_util::StreamBody::new(endless)))
        .unwrap();
    let answer = within("an answer to what never ends", stranger.oneshot(request)).await;
    let answer = answer.unwrap();
    let status = Status::from_header_map(answer.headers()).unwrap();
    assert_eq!(status.code(), tonic::Code::DeadlineExceeded, "{status:?}");
    assert_serves(&mut host, "an endless call").await;
}
