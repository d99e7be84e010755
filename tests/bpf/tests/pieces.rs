//! Packets whose headers are not in one piece: the programs bring them together and do what they do with any other.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure ends the test"
)]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result};
use swarm_common::mac;
use swarm_common::verdict::{Program, Verdict};
use swarm_tests_bpf::cluster::Cluster;
use swarm_tests_bpf::fixture::Fixture;
use swarm_tests_bpf::netns::Netns;
use swarm_tests_bpf::packet::{Body, Ip, ethernet, ip};
use swarm_tests_bpf::raw::send_in_pieces;
use swarm_tests_bpf::server::serve;
use swarm_tests_bpf::world::{CLIENT, FAR, NODE_A, NODE_B, ONE, PUBLISHED, TARGET, TWO, VIP, VNI};

const DEADLINE: Duration = Duration::from_secs(5);
/// Source port of what is sent.
const SPORT: u16 = 40_000;
/// The Ethernet header alone is in the first piece.
const ETHERNET: u16 = 14;

/// A datagram longer than a page, which fits the jumbo underlay when wrapped.
fn datagram(from: [u8; 4], to: [u8; 4], port: u16) -> Ip {
    Ip {
        payload: 5000,
        ..ip(from, to, Body::Udp(SPORT, port))
    }
}

/// Receives where the answer to a datagram from `SPORT` arrives.
fn answers(netns: &Netns) -> UdpSocket {
    netns
        .run(|| {
            let any: SocketAddr = (Ipv4Addr::UNSPECIFIED, SPORT).into();
            let socket = UdpSocket::bind(any)?;
            socket.set_read_timeout(Some(DEADLINE))?;
            Ok(socket)
        })
        .unwrap()
}

fn line(socket: &UdpSocket) -> Result<String> {
    let mut buffer = [0; 256];
    let (length, from) = socket.recv_from(&mut buffer).context("no answer")?;
    let text = String::from_utf8_lossy(&buffer[..length]);
    Ok(format!("{} from {}", text.trim(), from.ip()))
}

fn counted(node: &Fixture, program: Program, verdict: Verdict) -> u64 {
    let rows = node.verdicts().unwrap();
    let row = rows.iter().find(|(key, _)| *key == (program, verdict));
    row.unwrap().1
}

fn jumbo(label: &str) -> Cluster {
    let cluster = Cluster::with_mtu(label, 9000).unwrap();
    serve(&cluster.two, TARGET, "two").unwrap();
    serve(&cluster.far, TARGET, "far").unwrap();
    cluster
}

#[test]
fn what_a_task_sends_in_pieces_arrives() {
    let cluster = jumbo("q");
    let socket = answers(&cluster.one);
    for (name, to, expected) in [
        ("local", TWO, &["two 10.0.1.3 from 10.0.1.4"][..]),
        ("remote", FAR, &["far 10.0.1.3 from 10.0.1.5"]),
        (
            "virtual",
            VIP,
            &[
                "two 10.0.1.3 from 10.0.1.100",
                "far 10.0.1.3 from 10.0.1.100",
            ],
        ),
    ] {
        let frame = datagram(ONE, to, TARGET).sent();
        send_in_pieces(&cluster.one, "eth0", &frame, ETHERNET).unwrap();
        let answer = line(&socket).with_context(|| name.to_owned()).unwrap();
        assert!(expected.contains(&answer.as_str()), "{name}: {answer}");
    }
}

#[test]
fn what_a_peer_sends_in_pieces_is_unwrapped() {
    let cluster = jumbo("r");
    let socket = answers(&cluster.far);
    let wrapped = datagram(FAR, TWO, TARGET).wrapped(VNI, NODE_B, NODE_A, TWO);
    let frame = to_node(NODE_A, &wrapped);
    // In the first piece: Ethernet only, the outer headers without the VXLAN header, everything but the inner transport header.
    for first_piece in [ETHERNET, 42, 84] {
        send_in_pieces(&cluster.b, "under0", &frame, first_piece).unwrap();
        let answer = line(&socket)
            .with_context(|| first_piece.to_string())
            .unwrap();
        assert_eq!(answer, "two 10.0.1.5 from 10.0.1.4", "{first_piece}");
    }
}

#[test]
fn what_a_client_sends_in_pieces_reaches_a_backend_here_or_there() {
    let cluster = jumbo("s");
    let socket = answers(&cluster.client);
    for addr in [NODE_A, NODE_B] {
        let packet = datagram(CLIENT, addr, PUBLISHED);
        let frame = to_node(addr, &packet.sent());
        send_in_pieces(&cluster.client, "under0", &frame, ETHERNET).unwrap();
        let answer = line(&socket).unwrap();
        let from = format!(" {} from {}", Ipv4Addr::from(CLIENT), Ipv4Addr::from(addr));
        assert!(answer.ends_with(&from), "{answer}");
    }
    let program = Program::UnderlayIngress;
    let both = [&cluster.node_a, &cluster.node_b];
    let sum = |verdict| -> u64 {
        both.iter()
            .map(|node| counted(node, program, verdict))
            .sum()
    };
    // Both nodes chose the same backend, so it was here once and there once.
    let verdicts = [
        Verdict::PublishedLocal,
        Verdict::PublishedForward,
        Verdict::PublishedDeliver,
    ];
    assert_eq!(verdicts.map(sum), [1, 1, 1]);
}

/// The frame as a neighbour on the underlay sends it to a node.
fn to_node(node: [u8; 4], frame: &[u8]) -> Vec<u8> {
    ethernet(mac::of(node), mac::of(CLIENT), 0x0800, &frame[14..])
}
