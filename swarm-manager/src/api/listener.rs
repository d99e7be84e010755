//! Connections with their origin: the unix socket, and the TCP port with mutual TLS. Each handshake runs in its own task with
//! a deadline, so that a silent client stops nobody.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use swarm_proto::tls::{Identity, Peer, TlsError, handshake_error};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use super::caller::Origin;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Handshakes at a time; more connections wait in the kernel.
const MAX_HANDSHAKES: usize = 256;
/// Connections of peers without a certificate at a time. A joiner needs two, for less than a second.
const MAX_STRANGERS: usize = 512;
/// Accepted connections that wait for the server.
const BACKLOG: usize = 64;
/// Pause after the system could not give a connection (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection that knows where it comes from.
#[derive(Debug)]
pub(crate) struct Connection<S> {
    stream: S,
    origin: Origin,
    /// The place of a peer without a certificate; given back with the connection.
    _place: Option<OwnedSemaphorePermit>,
}

/// Accepted connections, as tonic wants them.
pub(crate) type Incoming<S> = ReceiverStream<io::Result<Connection<S>>>;

impl<S> Connected for Connection<S> {
    type ConnectInfo = Origin;

    fn connect_info(&self) -> Origin {
        self.origin.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Connections of the unix socket.
pub(crate) fn accept_local(
    listener: UnixListener,
    stop: CancellationToken,
) -> Incoming<tokio::net::UnixStream> {
    let (sender, receiver) = mpsc::channel(BACKLOG);
    tokio::spawn(stop.run_until_cancelled_owned(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _addr)) => {
                    let origin = Origin::Local;
                    let connection = Connection {
                        stream,
                        origin,
                        _place: None,
                    };
                    if sender.send(Ok(connection)).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept on the unix socket");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }));
    ReceiverStream::new(receiver)
}

/// Connections of the TCP port, after their handshake.
pub(crate) fn accept_remote(
    listener: TcpListener,
    identity: &Arc<Identity>,
    stop: CancellationToken,
) -> Result<Incoming<tokio_rustls::server::TlsStream<TcpStream>>, TlsError> {
    let acceptor = TlsAcceptor::from(Arc::new(identity.server_config()?));
    let (sender, receiver) = mpsc::channel(BACKLOG);
    let strangers = Arc::new(Semaphore::new(MAX_STRANGERS));
    tokio::spawn(stop.run_until_cancelled_owned(async move {
        let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
        loop {
            let Ok(turn) = Arc::clone(&handshakes).acquire_owned().await else {
                return; // never closed
            };
            match listener.accept().await {
                Ok((stream, addr)) => {
                    let (acceptor, sender) = (acceptor.clone(), sender.clone());
                    let strangers = Arc::clone(&strangers);
                    tokio::spawn(async move {
                        let made = handshake(&acceptor, stream, addr.ip(), &strangers).await;
                        drop(turn);
                        match made {
                            Ok(connection) => {
                                if sender.send(Ok(connection)).await.is_err() {
                                    tracing::debug!(%addr, "connection came while stopping");
                                }
                            }
                            Err(error) => tracing::debug!(%addr, %error, "handshake failed"),
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept on the TCP port");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }));
    Ok(ReceiverStream::new(receiver))
}

async fn handshake(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    addr: std::net::IpAddr,
    strangers: &Arc<Semaphore>,
) -> io::Result<Connection<tokio_rustls::server::TlsStream<TcpStream>>> {
    stream.set_nodelay(true)?;
    let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream))
        .await?
        .map_err(handshake_error)?;
    let leaf = stream.get_ref().1.peer_certificates();
    let peer = leaf
        .and_then(|chain| chain.first())
        .map(|leaf| Peer::from_der(leaf))
        .transpose()
        .map_err(io::Error::other)?;
    let place = match peer {
        Some(_) => None,
        None => Some(
            Arc::clone(strangers)
                .try_acquire_owned()
                .map_err(|_full| io::Error::other("too many peers without a certificate"))?,
        ),
    };
    Ok(Connection {
        stream,
        origin: Origin::Remote { addr, peer },
        _place: place,
    })
}
