//! Passing a request on to the host's own resolvers, as raw bytes, from the host's namespace.
//!
//! Docker's rules: at most three servers, four seconds for each, the next one is asked when a
//! server is silent, fails or refuses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::answer::Transport;

const MAX_SERVERS: usize = 3;
const SERVER_TIMEOUT: Duration = Duration::from_secs(4);
/// Requests under way at once; more are refused, so that a flood cannot eat the host's ports.
const MAX_PENDING: usize = 1024;
/// The codes that make Docker ask the next server.
const SERVFAIL: u8 = 2;
const REFUSED: u8 = 5;

/// The servers that unknown names are passed on to. Cheap to clone; clones share the bound on
/// requests under way.
#[derive(Debug, Clone)]
pub struct Upstreams {
    servers: Vec<SocketAddr>,
    pending: Arc<Semaphore>,
}

impl Upstreams {
    /// Uses the first three of `servers`.
    pub fn new(servers: impl IntoIterator<Item = SocketAddr>) -> Self {
        let servers = servers.into_iter().take(MAX_SERVERS).collect();
        Self {
            servers,
            pending: Arc::new(Semaphore::new(MAX_PENDING)),
        }
    }

    /// The servers of a resolv.conf on their usual port. Our own address is left out: passing
    /// on to ourselves would be a loop.
    pub fn from_nameservers(servers: impl IntoIterator<Item = IpAddr>) -> Self {
        let own = IpAddr::V4(super::RESOLVER_ADDRESS);
        let others = servers.into_iter().filter(|address| *address != own);
        Self::new(others.map(|address| SocketAddr::new(address, super::RESOLVER_PORT)))
    }

    /// The same servers under the same bound, but with `servers` asked instead, for a task with
    /// resolvers of its own (`--dns`).
    pub fn with_servers(&self, servers: impl IntoIterator<Item = SocketAddr>) -> Self {
        let servers = servers.into_iter().take(MAX_SERVERS).collect();
        Self {
            servers,
            pending: Arc::clone(&self.pending),
        }
    }

    /// Asks the servers in turn; `None` if none of them answers.
    pub(crate) async fn ask(&self, request: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let _permit = self.pending.try_acquire().ok()?;
        let mut unwilling = None;
        for server in &self.servers {
            let exchange = async {
                match transport {
                    Transport::Udp => ask_udp(*server, request).await,
                    Transport::Tcp => ask_tcp(*server, request).await,
                }
            };
            match timeout(SERVER_TIMEOUT, exchange).await {
                Ok(Ok(reply)) if !is_unwilling(&reply) => return Some(reply),
                Ok(Ok(reply)) => unwilling = Some(reply),
                Ok(Err(error)) => tracing::debug!(%server, %error, "name server failed"),
                Err(_) => tracing::debug!(%server, "name server is silent"),
            }
        }
        unwilling
    }
}

fn is_unwilling(reply: &[u8]) -> bool {
    reply
        .get(3)
        .is_some_and(|flags| matches!(flags & 0x0f, SERVFAIL | REFUSED))
}

/// A connected socket on a fresh port takes datagrams from this server only; the id must match
/// as well, so that an answer cannot be forged blindly.
async fn ask_udp(server: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(request).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let reply = buffer.get(..length).unwrap_or_default();
        if length >= 12 && reply.get(..2) == request.get(..2) {
            return Ok(reply.to_vec());
        }
    }
}

async fn ask_tcp(server: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    write_frame(&mut stream, request).await?;
    read_frame(&mut stream).await
}

/// Reads one message with its two-byte length (RFC 1035 section 4.2.2).
pub(super) async fn read_frame(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Writes one message with its two-byte length in one segment.
pub(super) async fn write_frame(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let mut frame = Vec::with_capacity(message.len() + 2);
    frame.extend(length.to_be_bytes());
    frame.extend(message);
    stream.write_all(&frame).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failures_and_refusals_move_on_to_the_next_server() {
        for (flags, unwilling) in [(0x80, false), (0x82, true), (0x83, false), (0x85, true)] {
            assert_eq!(is_unwilling(&[0, 0, 0x81, flags]), unwilling, "{flags:#x}");
        }
    }

    #[test]
    fn at_most_three_servers_and_never_ourselves() {
        let list = ["127.0.0.11", "10.0.0.1", "10.0.0.2", "::1", "10.0.0.4"];
        let upstreams = Upstreams::from_nameservers(list.iter().map(|s| s.parse().unwrap()));
        let shown: Vec<_> = upstreams.servers.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["10.0.0.1:53", "10.0.0.2:53", "[::1]:53"]);
    }
}
