//! Builds packets with correct checksums, and shows where two differ.

use std::fmt::Write as _;

use swarm_common::csum::checksum;
use swarm_common::flow::{FiveTuple, outer_sport_be};
use swarm_common::{Addr, mac};

use crate::world;

/// What an IP packet carries.
#[derive(Clone, Copy, Debug)]
pub enum Body {
    /// Ports and flags.
    Tcp(u16, u16, u8),
    /// Ports.
    Udp(u16, u16),
    /// Type and identifier.
    Icmp(u8, u16),
    /// Another protocol.
    Other(u8),
}

/// An IPv4 packet.
#[derive(Clone, Copy, Debug)]
pub struct Ip {
    /// Source.
    pub src: [u8; 4],
    /// Destination.
    pub dst: [u8; 4],
    /// Content.
    pub body: Body,
    /// Time to live.
    pub ttl: u8,
    /// Flags and fragment offset, native byte order.
    pub fragment: u16,
    /// Bytes after the transport header.
    pub payload: usize,
}

/// TCP flags.
pub const SYN: u8 = 2;
/// TCP flags.
pub const ACK: u8 = 16;
/// TCP flags.
pub const FIN: u8 = 1;

/// A packet from one end to another.
pub fn ip(src: [u8; 4], dst: [u8; 4], body: Body) -> Ip {
    Ip {
        src,
        dst,
        body,
        ttl: 64,
        fragment: 0x4000,
        payload: 6,
    }
}

impl Ip {
    /// The same packet from another address.
    pub fn from(self, src: [u8; 4]) -> Self {
        Self { src, ..self }
    }

    /// The same packet to another address.
    pub fn to(self, dst: [u8; 4]) -> Self {
        Self { dst, ..self }
    }

    /// The same packet with another content.
    pub fn with(self, body: Body) -> Self {
        Self { body, ..self }
    }

    /// Protocol and ports (an echo's identifier in both).
    pub fn tuple(&self) -> FiveTuple {
        let (proto, sport, dport) = match self.body {
            Body::Tcp(sport, dport, _) => (6, sport, dport),
            Body::Udp(sport, dport) => (17, sport, dport),
            Body::Icmp(_, id) => (1, id, id),
            Body::Other(proto) => (proto, 0, 0),
        };
        FiveTuple {
            src: Addr::v4(self.src),
            dst: Addr::v4(self.dst),
            sport_be: sport.to_be(),
            dport_be: dport.to_be(),
            proto,
        }
    }

    /// The IP packet.
    pub fn bytes(&self) -> Vec<u8> {
        let transport = self.transport();
        let length = u16::try_from(20 + transport.len()).expect("test packets are small");
        let mut bytes = vec![0x45, 0];
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&self.fragment.to_be_bytes());
        bytes.extend_from_slice(&[self.ttl, self.tuple().proto, 0, 0]);
        bytes.extend_from_slice(&self.src);
        bytes.extend_from_slice(&self.dst);
        let sum = checksum(&bytes);
        bytes[10..12].copy_from_slice(&sum.to_ne_bytes());
        bytes.extend_from_slice(&transport);
        bytes
    }

    fn transport(&self) -> Vec<u8> {
        let tuple = self.tuple();
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&tuple.sport_be.to_ne_bytes());
        bytes.extend_from_slice(&tuple.dport_be.to_ne_bytes());
        let payload = vec![0xab; self.payload];
        let sum_at = match self.body {
            Body::Tcp(_, _, flags) => {
                bytes.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 1, 0, 0, 0, 0, 0]);
                16
            }
            Body::Udp(..) => {
                let length = u16::try_from(8 + self.payload).expect("test packets are small");
                bytes.extend_from_slice(&length.to_be_bytes());
                bytes.extend_from_slice(&[0, 0]);
                6
            }
            Body::Icmp(kind, id) => {
                bytes = vec![kind, 0, 0, 0];
                bytes.extend_from_slice(&id.to_be_bytes());
                bytes.extend_from_slice(&[0, 1]);
                bytes.extend_from_slice(&payload);
                let sum = checksum(&bytes);
                bytes[2..4].copy_from_slice(&sum.to_ne_bytes());
                return bytes;
            }
            Body::Other(_) => return payload,
        };
        bytes.extend_from_slice(&payload);
        let length = u16::try_from(bytes.len()).expect("test packets are small");
        let mut pseudo = [self.src, self.dst].concat();
        pseudo.extend_from_slice(&[0, tuple.proto]);
        pseudo.extend_from_slice(&length.to_be_bytes());
        pseudo.extend_from_slice(&bytes);
        let sum = checksum(&pseudo);
        bytes[sum_at..sum_at + 2].copy_from_slice(&sum.to_ne_bytes());
        bytes
    }

    /// As a task sends it to the gateway or a neighbour.
    pub fn sent(&self) -> Vec<u8> {
        ethernet(mac::of(self.dst), mac::of(self.src), 0x0800, &self.bytes())
    }

    /// As a program delivers it to a local endpoint.
    pub fn delivered(&self) -> Vec<u8> {
        self.sent()
    }

    /// Wrapped for another node, as the program leaves it to the neighbour lookup.
    pub fn wrapped(&self, vni: u32, from: [u8; 4], to: [u8; 4], inner_dst: [u8; 4]) -> Vec<u8> {
        let inner = ethernet(mac::of(inner_dst), mac::of(self.src), 0x0800, &self.bytes());
        let sport = u16::from_be(outer_sport_be(self.tuple().hash()));
        vxlan(from, to, (sport, 4789), vni, &inner)
    }

    /// As it arrives from another node.
    pub fn tunnelled(&self, vni: u32, inner_dst: [u8; 4]) -> Vec<u8> {
        let mut packet = self.wrapped(vni, world::NODE_B, world::NODE_A, inner_dst);
        packet[0..12].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
        packet
    }
}

/// An Ethernet frame.
pub fn ethernet(dst: [u8; 6], src: [u8; 6], kind: u16, content: &[u8]) -> Vec<u8> {
    [&dst[..], &src[..], &kind.to_be_bytes()[..], content].concat()
}

/// A VXLAN packet without hardware addresses.
pub fn vxlan(from: [u8; 4], to: [u8; 4], ports: (u16, u16), vni: u32, inner: &[u8]) -> Vec<u8> {
    let outer = Ip {
        payload: 8 + inner.len(),
        ..ip(from, to, Body::Udp(ports.0, ports.1))
    };
    let mut bytes = outer.bytes();
    bytes[26..28].copy_from_slice(&[0, 0]);
    bytes.truncate(28);
    bytes.extend_from_slice(&[8, 0, 0, 0]);
    bytes.extend_from_slice(&(vni << 8).to_be_bytes());
    bytes.extend_from_slice(inner);
    ethernet([0; 6], [0; 6], 0x0800, &bytes)
}

/// An ARP message for IPv4.
pub fn arp(operation: u16, from: ([u8; 6], [u8; 4]), to: ([u8; 6], [u8; 4])) -> Vec<u8> {
    let mut bytes = vec![0, 1, 8, 0, 6, 4];
    bytes.extend_from_slice(&operation.to_be_bytes());
    bytes.extend_from_slice(&from.0);
    bytes.extend_from_slice(&from.1);
    bytes.extend_from_slice(&to.0);
    bytes.extend_from_slice(&to.1);
    bytes
}

/// Both packets in hexadecimal, sixteen bytes a line, differing lines marked.
pub fn diff(actual: &[u8], expected: &[u8]) -> String {
    let mut text = String::new();
    for at in (0..actual.len().max(expected.len())).step_by(16) {
        let line = |bytes: &[u8]| -> String {
            let end = bytes.len().min(at + 16);
            bytes
                .get(at..end)
                .unwrap_or_default()
                .iter()
                .fold(String::new(), |mut row, byte| {
                    write!(row, "{byte:02x} ").expect("strings take everything");
                    row
                })
        };
        let (one, other) = (line(actual), line(expected));
        let mark = if one == other { ' ' } else { '!' };
        writeln!(text, "{mark} {at:3}  {one:<48}  {other}").expect("strings take everything");
    }
    text
}
