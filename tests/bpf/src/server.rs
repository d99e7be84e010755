//! A server inside a namespace that tells its name and whom it sees.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use anyhow::Result;

use crate::netns::Netns;

/// Answers every TCP connection and every datagram with one line "name client-address"; whatever
/// else a connection sends is read and forgotten. Ends with the process.
pub fn serve(netns: &Netns, port: u16, name: &'static str) -> Result<()> {
    let any = (Ipv4Addr::UNSPECIFIED, port);
    let listener = netns.run(move || Ok(TcpListener::bind(any)?))?;
    let udp = netns.run(move || Ok(UdpSocket::bind(any)?))?;
    std::thread::spawn(move || -> Result<()> {
        loop {
            let (mut stream, peer) = listener.accept()?;
            std::thread::spawn(move || -> Result<()> {
                writeln!(stream, "{name} {}", peer.ip())?;
                let mut buffer = vec![0; 1 << 18];
                while stream.read(&mut buffer)? > 0 {}
                Ok(())
            });
        }
    });
    std::thread::spawn(move || -> Result<()> {
        let mut buffer = [0; 2048];
        loop {
            let (_, peer) = udp.recv_from(&mut buffer)?;
            udp.send_to(format!("{name} {}\n", peer.ip()).as_bytes(), peer)?;
        }
    });
    Ok(())
}
