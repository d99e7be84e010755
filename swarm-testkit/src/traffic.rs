//! Traffic between two namespaces of a lab, made and judged in this process: a bulk transfer
//! checked by hash, a request/response exchange that counts what was lost and how long each
//! round took, and one-shot probes.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::mpsc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

use crate::netns::Netns;

/// How long one message may take before it counts as lost.
const MESSAGE_AT_MOST: Duration = Duration::from_secs(2);
/// How long a stalled transfer is waited for.
const STALL_AT_MOST: Duration = Duration::from_secs(15);
const CHUNK: usize = 256 * 1024;

/// A place where something listens.
#[derive(Debug, Clone)]
pub struct Place {
    pub netns: Netns,
    pub address: Ipv4Addr,
}

/// What a bulk transfer came to.
#[derive(Debug, Clone, Copy)]
pub struct Bulk {
    pub bytes: u64,
    pub took: Duration,
}

impl Bulk {
    pub fn gigabits_per_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a rate to show")]
        let bits = (self.bytes * 8) as f64;
        bits / self.took.as_secs_f64() / 1e9
    }
}

/// Sends `bytes` over one TCP stream and compares the hashes of what went in and came out.
pub fn bulk(from: &Netns, to: &Place, bytes: u64) -> anyhow::Result<Bulk> {
    transfer(from, to, bytes, true)
}

/// Sends `bytes` over one TCP stream as fast as it goes; only the count is checked.
pub fn bulk_unchecked(from: &Netns, to: &Place, bytes: u64) -> anyhow::Result<Bulk> {
    transfer(from, to, bytes, false)
}

fn transfer(from: &Netns, to: &Place, bytes: u64, hashed: bool) -> anyhow::Result<Bulk> {
    let (listener, address) = listen_tcp(to)?;
    let receiver = to.netns.spawn(move || {
        let (mut stream, _) = accept(&listener)?;
        stream.set_read_timeout(Some(STALL_AT_MOST))?;
        receive(&mut stream, hashed)
    });
    let start = Instant::now();
    let sent = from.run(|| {
        let mut stream = TcpStream::connect_timeout(&address, MESSAGE_AT_MOST)
            .with_context(|| format!("connecting to {address}"))?;
        stream.set_write_timeout(Some(STALL_AT_MOST))?;
        send(&mut stream, bytes, hashed)
    })?;
    let (received, hash) = join(receiver)?;
    let took = start.elapsed();
    if received != bytes {
        bail!("{bytes} bytes were sent and {received} arrived");
    }
    if hash != sent {
        bail!("{bytes} bytes arrived, but not the ones that were sent");
    }
    Ok(Bulk { bytes, took })
}

fn send(stream: &mut TcpStream, bytes: u64, hashed: bool) -> anyhow::Result<Vec<u8>> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0x5a; CHUNK];
    let mut left = bytes;
    let mut round = 0_u64;
    while left > 0 {
        let size = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
        if hashed {
            // Every chunk differs, so one that is lost, doubled or moved shows.
            for (offset, word) in chunk.chunks_exact_mut(8).enumerate() {
                let value = (round << 20) ^ (offset as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                word.copy_from_slice(&value.to_le_bytes());
            }
            hash.update(&chunk[..size]);
        }
        stream.write_all(&chunk[..size]).context("sending")?;
        left -= size as u64;
        round += 1;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    Ok(hash.finalize().to_vec())
}

fn receive(stream: &mut TcpStream, hashed: bool) -> anyhow::Result<(u64, Vec<u8>)> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    let mut received = 0;
    loop {
        let size = stream.read(&mut chunk).context("receiving")?;
        if size == 0 {
            return Ok((received, hash.finalize().to_vec()));
        }
        if hashed {
            hash.update(&chunk[..size]);
        }
        received += size as u64;
    }
}

/// What a request/response run came to.
#[derive(Debug, Clone)]
pub struct Rounds {
    /// Every round's time, in order.
    pub times: Vec<Duration>,
    /// Requests that were not answered in time.
    pub lost: usize,
}

impl Rounds {
    /// The time that `percent` of the rounds stayed within.
    pub fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.times.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(at).copied().unwrap_or_default()
    }
}

/// Echoes datagrams at a place until dropped.
#[derive(Debug)]
pub struct UdpEcho {
    pub address: SocketAddr,
    stop: mpsc::Sender<()>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl UdpEcho {
    /// Listens on every address of the namespace, so that a virtual address reaches it too.
    pub fn start(at: &Place, port: u16) -> anyhow::Result<Self> {
        let socket = at
            .netns
            .run(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?))?;
        let address = SocketAddr::from((at.address, socket.local_addr()?.port()));
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::spawn(move || echo_datagrams(&socket, &stopped));
        Ok(Self {
            address,
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for UdpEcho {
    fn drop(&mut self) {
        // A thread that ended with an error has hung up already: nothing to stop.
        if self.stop.send(()).is_ok()
            && let Some(thread) = self.thread.take()
            && !std::thread::panicking()
        {
            join(thread).expect("an echo ends without an error");
        }
    }
}

fn echo_datagrams(socket: &UdpSocket, stopped: &mpsc::Receiver<()>) -> anyhow::Result<()> {
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    let mut datagram = [0; 2048];
    while stopped.try_recv().is_err() {
        match socket.recv_from(&mut datagram) {
            Ok((size, sender)) => {
                socket.send_to(&datagram[..size], sender)?;
            }
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Sends numbered datagrams one after the other until told to stop, each answered before the
/// next; one that is not answered in time is lost.
pub fn ping_until(
    from: &Netns,
    to: SocketAddr,
    stop: mpsc::Receiver<()>,
) -> JoinHandle<anyhow::Result<Rounds>> {
    from.spawn(move || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(MESSAGE_AT_MOST))?;
        let mut rounds = Rounds {
            times: Vec::new(),
            lost: 0,
        };
        let mut number = 0_u64;
        while matches!(stop.try_recv(), Err(mpsc::TryRecvError::Empty)) {
            number += 1;
            let start = Instant::now();
            socket.send(&number.to_be_bytes())?;
            let mut answer = [0; 8];
            match socket.recv(&mut answer) {
                Ok(_) if u64::from_be_bytes(answer) == number => {
                    rounds.times.push(start.elapsed());
                }
                // The answer to one that was given up before.
                Ok(_) => {}
                Err(error) if is_timeout(&error) => rounds.lost += 1,
                Err(error) => return Err(error).with_context(|| format!("pinging {to}")),
            }
        }
        Ok(rounds)
    })
}

/// One datagram and its answer.
pub fn ask_udp(from: &Netns, to: SocketAddr) -> anyhow::Result<()> {
    from.run(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        // Connected: an answer from any other address than the one asked does not count.
        socket.connect(to)?;
        socket.set_read_timeout(Some(MESSAGE_AT_MOST))?;
        socket.send(b"hello")?;
        let mut answer = [0; 16];
        let size = socket
            .recv(&mut answer)
            .with_context(|| format!("datagram to {to}"))?;
        if &answer[..size] != b"hello" {
            bail!("{to} answered {:?}", &answer[..size]);
        }
        Ok(())
    })
}

/// Opens a TCP connection and gives the address that the other side saw it come from.
pub fn seen_source(from: &Netns, at: &Place) -> anyhow::Result<SocketAddr> {
    let (listener, address) = listen_tcp(at)?;
    let acceptor = at.netns.spawn(move || {
        let (mut stream, peer) = accept(&listener)?;
        stream.write_all(b"k")?;
        Ok(peer)
    });
    from.run(|| {
        let mut stream = TcpStream::connect_timeout(&address, MESSAGE_AT_MOST)
            .with_context(|| format!("connecting to {address}"))?;
        stream.set_read_timeout(Some(MESSAGE_AT_MOST))?;
        let mut answer = [0];
        Ok(stream.read_exact(&mut answer)?)
    })?;
    join(acceptor)
}

/// A TCP request/response exchange of one byte over one connection, `count` times.
pub fn exchange_tcp(from: &Netns, to: &Place, count: usize) -> anyhow::Result<Rounds> {
    let (listener, address) = listen_tcp(to)?;
    let server = to.netns.spawn(move || {
        let (mut stream, _) = accept(&listener)?;
        stream.set_nodelay(true)?;
        let mut byte = [0];
        while stream.read(&mut byte)? == 1 {
            stream.write_all(&byte)?;
        }
        Ok(())
    });
    let times = from.run(|| {
        let mut stream = TcpStream::connect_timeout(&address, MESSAGE_AT_MOST)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(MESSAGE_AT_MOST))?;
        let mut times = Vec::with_capacity(count);
        let mut byte = [1];
        for _ in 0..count {
            let start = Instant::now();
            stream.write_all(&byte)?;
            stream.read_exact(&mut byte)?;
            times.push(start.elapsed());
        }
        Ok(times)
    })?;
    join(server)?;
    Ok(Rounds { times, lost: 0 })
}

fn listen_tcp(at: &Place) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = at.netns.run(|| Ok(TcpListener::bind((at.address, 0))?))?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Accepts one connection, or says that none came.
fn accept(listener: &TcpListener) -> anyhow::Result<(TcpStream, SocketAddr)> {
    use std::os::fd::AsFd as _;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut waited = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    if poll(&mut waited, PollTimeout::try_from(STALL_AT_MOST)?)? == 0 {
        bail!("no connection came to {}", listener.local_addr()?);
    }
    Ok(listener.accept()?)
}

fn join<T>(thread: JoinHandle<anyhow::Result<T>>) -> anyhow::Result<T> {
    match thread.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> Place {
        Place {
            netns: Netns::of_process(std::process::id()),
            address: Ipv4Addr::LOCALHOST,
        }
    }

    #[test]
    fn a_percentile_is_the_time_that_many_rounds_stayed_within() {
        let times = (1..=100).map(Duration::from_micros).rev().collect();
        let rounds = Rounds { times, lost: 0 };
        assert_eq!(rounds.percentile(50), Duration::from_micros(51));
        assert_eq!(rounds.percentile(99), Duration::from_micros(100));
        assert_eq!(
            Rounds {
                times: Vec::new(),
                lost: 3
            }
            .percentile(50),
            Duration::ZERO
        );
    }

    #[test]
    fn traffic_within_one_namespace_is_whole_and_loses_nothing() {
        let place = here();
        let moved = bulk(&place.netns, &place, 3_000_001).unwrap();
        assert_eq!(moved.bytes, 3_000_001);
        let rounds = exchange_tcp(&place.netns, &place, 10).unwrap();
        assert_eq!(rounds.times.len(), 10);
        assert!(
            seen_source(&place.netns, &place)
                .unwrap()
                .ip()
                .is_loopback()
        );
        let echo = UdpEcho::start(&place, 0).unwrap();
        ask_udp(&place.netns, echo.address).unwrap();
        let (stop, stopped) = mpsc::channel();
        let pinging = ping_until(&place.netns, echo.address, stopped);
        drop(stop);
        assert_eq!(join(pinging).unwrap().lost, 0);
    }
}
