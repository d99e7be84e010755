//! A process of a node, for the cgroup programs' tests: asks the address it is given who is there, over TCP and over UDP without a
//! connection, and prints each answer with the address it believes it talks to.

#![expect(clippy::print_stdout, reason = "the test that started it reads it")]

use std::{
    io::Read as _,
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result};

const DEADLINE: Duration = Duration::from_secs(5);

fn main() -> Result<()> {
    let to: SocketAddr = std::env::args()
        .nth(1)
        .context("usage: swarm-bpf-client ADDRESS:PORT")?
        .parse()?;
    let mut stream = TcpStream::connect_timeout(&to, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut line = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte)? == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    answer("tcp", &line, stream.peer_addr()?);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(DEADLINE))?;
    socket.send_to(b"who?", to)?;
    let mut buffer = [0; 256];
    let (length, from) = socket.recv_from(&mut buffer)?;
    answer("udp", buffer[..length].trim_ascii(), from);
    Ok(())
}

fn answer(kind: &str, line: &[u8], from: SocketAddr) {
    println!(
        "answer {kind} {} from {from}",
        String::from_utf8_lossy(line)
    );
}
