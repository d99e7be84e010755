//! Real packets between namespaces: what `BPF_PROG_TEST_RUN` cannot show (redirects, offloads,
//! checksums, neighbours).

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use swarm_tests_bpf::cluster::Cluster;
use swarm_tests_bpf::netns::Netns;
use swarm_tests_bpf::server::serve;
use swarm_tests_bpf::world;

const DEADLINE: Duration = Duration::from_secs(5);
const BULK: usize = 512 << 20;

fn at(addr: [u8; 4], port: u16) -> SocketAddr {
    (Ipv4Addr::from(addr), port).into()
}

/// Connects and returns the server's line.
fn ask(netns: &Netns, to: SocketAddr) -> Result<String> {
    netns.run(move || {
        let mut stream = TcpStream::connect_timeout(&to, DEADLINE)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        let mut line = String::new();
        let mut byte = [0];
        while stream.read(&mut byte)? == 1 && byte[0] != b'\n' {
            line.push(char::from(byte[0]));
        }
        Ok(line)
    })
}

fn ask_udp(netns: &Netns, to: SocketAddr) -> Result<String> {
    netns.run(move || {
        let socket = UdpSocket::bind(at([0; 4], 0))?;
        socket.set_read_timeout(Some(DEADLINE))?;
        socket.connect(to)?;
        socket.send(b"who?")?;
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).trim().to_owned())
    })
}

/// Sends many megabytes and returns gigabits per second.
fn bulk(netns: &Netns, to: SocketAddr) -> Result<f64> {
    netns.run(move || {
        let mut stream = TcpStream::connect_timeout(&to, DEADLINE)?;
        stream.set_write_timeout(Some(DEADLINE))?;
        let chunk = vec![0x5a; 1 << 18];
        let start = Instant::now();
        let mut sent = 0;
        while sent < BULK {
            stream.write_all(&chunk).context("bulk")?;
            sent += chunk.len();
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate for humans")]
        let bits = (sent * 8) as f64;
        Ok(bits / start.elapsed().as_secs_f64() / 1e9)
    })
}

fn report(cluster: &Cluster) -> Result<String> {
    let mut text = String::new();
    for (name, node) in [("a", &cluster.node_a), ("b", &cluster.node_b)] {
        for ((program, verdict), packets) in node.verdicts()? {
            if packets > 0 {
                writeln!(text, "{name} {program}: {verdict}: {packets}")?;
            }
        }
        for (reason, packets) in node.drops()? {
            if packets > 0 {
                writeln!(text, "{name} drop {reason}: {packets}")?;
            }
        }
    }
    Ok(text)
}

#[test]
fn every_path_carries_traffic() {
    let cluster = Cluster::new("p").unwrap();
    serve(&cluster.one, world::TARGET, "one").unwrap();
    serve(&cluster.two, world::TARGET, "two").unwrap();
    serve(&cluster.far, world::TARGET, "far").unwrap();
    serve(&cluster.client, world::TARGET, "client").unwrap();
    let result = paths(&cluster);
    let counted = report(&cluster).unwrap();
    assert!(result.is_ok(), "{:?}\n{counted}", result.err());
    #[expect(
        clippy::print_stderr,
        reason = "measured rates, shown with --nocapture"
    )]
    {
        eprintln!("{}\n{counted}", result.unwrap());
    }
}

/// Name, sender, destination address and port, the answers that must be seen.
type Path<'a> = (&'a str, &'a Netns, [u8; 4], u16, &'a [&'a str]);

#[expect(clippy::too_many_lines, reason = "a table")]
fn paths(cluster: &Cluster) -> Result<String> {
    let Cluster {
        one,
        two,
        far,
        client,
        ..
    } = cluster;
    let rows: Vec<Path<'_>> = vec![
        ("local", one, world::TWO, world::TARGET, &["two 10.0.1.3"]),
        ("remote", one, world::FAR, world::TARGET, &["far 10.0.1.3"]),
        (
            "virtual",
            one,
            world::VIP,
            world::TARGET,
            &["two 10.0.1.3", "far 10.0.1.3"],
        ),
        (
            "virtual, other node",
            far,
            world::VIP,
            world::TARGET,
            &["two 10.0.1.5", "far 10.0.1.1"],
        ),
        (
            "virtual, itself possible",
            two,
            world::VIP,
            world::TARGET,
            &["two 10.0.1.1", "far 10.0.1.4"],
        ),
        (
            "hairpin",
            one,
            world::VIP_SELF,
            world::TARGET,
            &["one 10.0.1.1"],
        ),
        (
            "published at a",
            client,
            world::NODE_A,
            world::PUBLISHED,
            &["two 192.0.2.3", "far 192.0.2.3"],
        ),
        (
            "published at b",
            client,
            world::NODE_B,
            world::PUBLISHED,
            &["two 192.0.2.3", "far 192.0.2.3"],
        ),
        (
            "masquerade",
            one,
            world::CLIENT,
            world::TARGET,
            &["client 192.0.2.1"],
        ),
        (
            "masquerade by ingress",
            far,
            world::CLIENT,
            world::TARGET,
            &["client 192.0.2.2"],
        ),
        (
            "task to published",
            one,
            world::NODE_B,
            world::PUBLISHED,
            &["two 192.0.2.1", "far 192.0.2.1"],
        ),
    ];
    let mut text = String::new();
    for (name, from, addr, port, expected) in rows {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..16 {
            seen.insert(ask(from, at(addr, port)).with_context(|| format!("{name} tcp"))?);
            seen.insert(ask_udp(from, at(addr, port)).with_context(|| format!("{name} udp"))?);
        }
        let expected: std::collections::BTreeSet<_> =
            expected.iter().map(|line| (*line).to_owned()).collect();
        ensure!(
            seen == expected,
            "{name}: saw {seen:?}, expected {expected:?}"
        );
        let rate = bulk(from, at(addr, port)).with_context(|| name.to_owned())?;
        writeln!(text, "{name}: {rate:.1} Gb/s")?;
        ensure!(rate > 0.5, "{name}: {rate} Gb/s");
    }
    Ok(text)
}
