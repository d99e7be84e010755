//! The sockets of one task's resolver: bound inside the task's namespace, served by the agent's
//! runtime. A socket belongs for life to the namespace it was opened in.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::answer::{Decision, Transport, decide, refuse};
use super::names::Names;
use super::upstream::{Upstreams, read_frame, write_frame};
use super::{RESOLVER_ADDRESS, RESOLVER_PORT};
use crate::error::NetError;
use crate::netns::Netns;

/// Connections one task may hold open at once.
const MAX_CONNECTIONS: usize = 64;
/// Requests one task may have under way at upstream servers.
const MAX_FORWARDS: usize = 128;
/// A connection without a request for this long is closed (RFC 7766 section 6.2.3).
const IDLE: Duration = Duration::from_secs(10);
/// The largest request: a question with options never comes near it.
const MAX_REQUEST_BYTES: usize = 4096;

/// A running resolver. Dropping it closes its sockets.
#[derive(Debug)]
pub struct Resolver {
    udp: JoinHandle<()>,
    tcp: JoinHandle<()>,
}

/// What both loops share.
struct Service {
    names: Arc<dyn Names>,
    upstreams: Upstreams,
    rotation: AtomicUsize,
}

impl Resolver {
    /// Starts a resolver at 127.0.0.11 port 53 inside `namespace`, whose `lo` must be up.
    pub async fn start(
        namespace: &Netns,
        names: Arc<dyn Names>,
        upstreams: Upstreams,
    ) -> Result<Self, NetError> {
        let runtime = tokio::runtime::Handle::current();
        let (udp, tcp) = namespace
            .run_in_async(move || {
                let _entered = runtime.enter();
                bind()
            })
            .await?
            .map_err(|source| NetError::System {
                action: "bind the resolver",
                source,
            })?;
        let service = Arc::new(Service {
            names,
            upstreams,
            rotation: AtomicUsize::new(0),
        });
        Ok(Self {
            udp: tokio::spawn(serve_udp(Arc::new(udp), Arc::clone(&service))),
            tcp: tokio::spawn(serve_tcp(tcp, service)),
        })
    }

    /// Stops the resolver and waits until its port is free again.
    pub async fn stop(mut self) {
        for task in [&mut self.udp, &mut self.tcp] {
            task.abort();
            // The only outcome of an aborted loop that never returns is cancellation.
            drop(task.await);
        }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.udp.abort();
        self.tcp.abort();
    }
}

impl Service {
    fn decide(&self, request: &[u8], transport: Transport) -> Decision {
        let rotation = self.rotation.fetch_add(1, Ordering::Relaxed);
        decide(request, self.names.as_ref(), rotation, transport)
    }

    async fn forward(&self, request: &[u8], transport: Transport) -> Decision {
        match self.upstreams.ask(request, transport).await {
            Some(reply) => Decision::Reply(reply),
            None => refuse(request, ResponseCode::ServFail),
        }
    }
}

fn bind() -> io::Result<(UdpSocket, TcpListener)> {
    let address = SocketAddr::from((RESOLVER_ADDRESS, RESOLVER_PORT));
    let udp = std::net::UdpSocket::bind(address)?;
    udp.set_nonblocking(true)?;
    // The standard library sets SO_REUSEADDR, so a restart is not held up by old connections.
    let tcp = std::net::TcpListener::bind(address)?;
    tcp.set_nonblocking(true)?;
    Ok((UdpSocket::from_std(udp)?, TcpListener::from_std(tcp)?))
}

async fn serve_udp(socket: Arc<UdpSocket>, service: Arc<Service>) {
    let mut buffer = vec![0; MAX_REQUEST_BYTES];
    let forwards = Arc::new(Semaphore::new(MAX_FORWARDS));
    // Dropped with this loop, which ends the requests under way.
    let mut under_way = JoinSet::new();
    loop {
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                // An ICMP error of an earlier answer surfaces here; the socket stays good.
                tracing::debug!(%error, "resolver cannot receive");
                tokio::task::yield_now().await;
                continue;
            }
        };
        while under_way.try_join_next().is_some() {}
        let request = buffer.get(..length).unwrap_or_default();
        match service.decide(request, Transport::Udp) {
            Decision::Drop => {}
            Decision::Reply(reply) => send(&socket, &reply, client).await,
            Decision::Forward => match Arc::clone(&forwards).try_acquire_owned() {
                Err(_) => answer(&socket, refuse(request, ResponseCode::Refused), client).await,
                Ok(permit) => {
                    let (socket, service) = (Arc::clone(&socket), Arc::clone(&service));
                    let request = request.to_vec();
                    under_way.spawn(async move {
                        let decision = service.forward(&request, Transport::Udp).await;
                        answer(&socket, decision, client).await;
                        drop(permit);
                    });
                }
            },
        }
    }
}

async fn answer(socket: &UdpSocket, decision: Decision, client: SocketAddr) {
    match decision {
        Decision::Reply(reply) => send(socket, &reply, client).await,
        Decision::Forward | Decision::Drop => {}
    }
}

async fn send(socket: &UdpSocket, reply: &[u8], client: SocketAddr) {
    if let Err(error) = socket.send_to(reply, client).await {
        tracing::debug!(%client, %error, "resolver cannot answer");
    }
}

async fn serve_tcp(listener: TcpListener, service: Arc<Service>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        // A connection beyond the limit waits in the listener's queue.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let service = Arc::clone(&service);
                connections.spawn(async move {
                    serve_connection(stream, &service).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "resolver cannot accept");
                tokio::task::yield_now().await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

/// Answers the requests of one connection in order until it closes, idles or misbehaves.
async fn serve_connection(mut stream: TcpStream, service: &Service) {
    while let Ok(Ok(request)) = timeout(IDLE, read_frame(&mut stream)).await {
        let decision = match service.decide(&request, Transport::Tcp) {
            Decision::Forward => service.forward(&request, Transport::Tcp).await,
            other @ (Decision::Reply(_) | Decision::Drop) => other,
        };
        let Decision::Reply(reply) = decision else {
            return;
        };
        if write_frame(&mut stream, &reply).await.is_err() {
            return;
        }
    }
}
