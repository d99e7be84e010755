//! Golden packets of `tc_task_ingress`: what a task of node a sends.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure ends the test"
)]

use swarm_common::maps::{
    INGRESS_RETURN_VNI, INGRESS_VNI, ServiceStats, ServiceStatsKey, SourceKey, SourceValue, names,
};
use swarm_common::verdict::{DropReason, Program, Verdict};
use swarm_common::{Addr, flow, lb, mac};
use swarm_tests_bpf::golden::Bench;
use swarm_tests_bpf::packet::{ACK, Body, FIN, Ip, SYN, arp, ethernet, ip};
use swarm_tests_bpf::world::{
    CLIENT, FAR, GATEWAY, HOST_B, NODE_A, NODE_B, ONE, PUBLISHED, TARGET, TWO, TWO_INGRESS, VIP,
    VIP_EMPTY, VIP_SELF, VNI,
};

/// A flow's content by its source port.
type Kind = fn(u16) -> Body;

const BROADCAST: [u8; 6] = [0xff; 6];

fn bench() -> Bench {
    Bench::new(Program::TaskIngress)
}

fn tcp(sport: u16, dport: u16, flags: u8) -> Body {
    Body::Tcp(sport, dport, flags)
}

/// Ports whose flow from `ONE` to the virtual address is given the first or second backend.
fn sport_for(backend: u64, body: impl Fn(u16) -> Body) -> u16 {
    (40_000..50_000)
        .find(|sport| {
            let hash = ip(ONE, VIP, body(*sport)).tuple().hash();
            lb::maglev_slot(hash) % 2 == backend
        })
        .expect("both backends are in the table")
}

#[test]
fn arp_is_answered_for_what_exists() {
    let mut bench = bench();
    let ask = |target| {
        let question = arp(1, (mac::of(ONE), ONE), ([0; 6], target));
        ethernet(BROADCAST, mac::of(ONE), 0x0806, &question)
    };
    for (name, target) in [
        ("gateway", GATEWAY),
        ("local endpoint", TWO),
        ("remote endpoint", FAR),
        ("virtual address", VIP),
        ("virtual address without backends", VIP_EMPTY),
    ] {
        let answer = arp(2, (mac::of(target), target), (mac::of(ONE), ONE));
        let expected = ethernet(mac::of(ONE), mac::of(target), 0x0806, &answer);
        bench.sends(name, &ask(target), Verdict::Arp, &expected);
    }
    bench.drops("nobody", &ask([10, 0, 1, 77]), DropReason::NoEndpoint);
    bench.drops("its own address", &ask(ONE), DropReason::NoEndpoint);
    let reply = arp(2, (mac::of(ONE), ONE), (mac::of(TWO), TWO));
    let reply = ethernet(BROADCAST, mac::of(ONE), 0x0806, &reply);
    bench.drops("unasked reply", &reply, DropReason::Protocol);
    bench.drops("cut off", &ask(TWO)[..30], DropReason::Truncated);
}

#[test]
fn sources_are_checked() {
    let mut bench = bench();
    let packet = ip(TWO, FAR, tcp(1, 2, SYN));
    bench.drops(
        "another task's address",
        &packet.sent(),
        DropReason::SourceSpoofed,
    );
    let key = SourceKey {
        ifindex: 1,
        addr: Addr::v4(TWO),
    };
    bench
        .fixture
        .put(names::SOURCES, key, SourceValue { vni: VNI })
        .unwrap();
    let expected = packet.wrapped(VNI, NODE_A, NODE_B, FAR);
    bench.sends(
        "another address of its own",
        &packet.sent(),
        Verdict::Encapsulate,
        &expected,
    );
}

#[test]
fn an_unknown_interface_sends_nothing() {
    let mut bench = bench();
    let packet = ip(ONE, TWO, Body::Udp(1, 2)).sent();
    bench
        .fixture
        .map::<swarm_common::maps::InterfaceKey, swarm_common::maps::InterfaceValue>(
            names::INTERFACES,
        )
        .unwrap()
        .remove(&swarm_common::maps::InterfaceKey { ifindex: 1 })
        .unwrap();
    bench.drops("no identity", &packet, DropReason::UnknownInterface);
}

#[test]
fn malformed_and_foreign_packets_are_dropped() {
    let mut bench = bench();
    let good = ip(ONE, TWO, tcp(1, 2, SYN));
    let mut options = good.sent();
    options[14] = 0x46;
    let mut version = good.sent();
    version[14] = 0x65;
    let rows: [(&str, Vec<u8>, DropReason); 7] = [
        ("ip options", options, DropReason::IpOptions),
        ("wrong version", version, DropReason::Truncated),
        (
            "no tcp header",
            good.sent()[..53].to_vec(),
            DropReason::Truncated,
        ),
        (
            "ipv6",
            ethernet(mac::of(TWO), mac::of(ONE), 0x86dd, &[0; 40]),
            DropReason::Protocol,
        ),
        (
            "multicast",
            good.to([224, 0, 0, 1]).sent(),
            DropReason::Multicast,
        ),
        ("broadcast", good.to([255; 4]).sent(), DropReason::Multicast),
        (
            "nobody there",
            good.to([10, 0, 1, 77]).sent(),
            DropReason::NoEndpoint,
        ),
    ];
    for (name, packet, reason) in rows {
        bench.drops(name, &packet, reason);
    }
}

#[test]
fn endpoints_are_reached_directly() {
    let mut bench = bench();
    for (name, body) in [
        ("tcp", tcp(1000, 80, ACK)),
        ("udp", Body::Udp(1000, 53)),
        ("echo", Body::Icmp(8, 77)),
        ("another protocol", Body::Other(132)),
    ] {
        let near = ip(ONE, TWO, body);
        bench.sends(name, &near.sent(), Verdict::DeliverLocal, &near.delivered());
        let far = ip(ONE, FAR, body);
        let wrapped = far.wrapped(VNI, NODE_A, NODE_B, FAR);
        bench.sends(name, &far.sent(), Verdict::Encapsulate, &wrapped);
    }
    let fragment = Ip {
        fragment: 100,
        ..ip(ONE, TWO, Body::Udp(1, 2))
    };
    bench.sends(
        "fragment",
        &fragment.sent(),
        Verdict::DeliverLocal,
        &fragment.delivered(),
    );
    let large = Ip {
        payload: 1460,
        ..ip(ONE, FAR, Body::Udp(1, 2))
    };
    bench.drops("larger than the tunnel", &large.sent(), DropReason::TooBig);
    bench.send_as(INGRESS_VNI, TWO_INGRESS);
    let to_host = ip(TWO_INGRESS, HOST_B, tcp(80, 1000, ACK));
    let wrapped = to_host.wrapped(INGRESS_VNI, NODE_A, NODE_B, HOST_B);
    bench.sends(
        "the other node itself",
        &to_host.sent(),
        Verdict::Encapsulate,
        &wrapped,
    );
}

#[test]
fn a_virtual_address_leads_to_the_backend_of_the_hash() {
    let mut bench = bench();
    let kinds: [(&str, Kind); 3] = [
        ("tcp", |sport| Body::Tcp(sport, 80, SYN)),
        ("udp", |sport| Body::Udp(sport, 53)),
        ("echo", |id| Body::Icmp(8, id)),
    ];
    for (name, body) in kinds {
        let near = ip(ONE, VIP, body(sport_for(0, body)));
        bench.sends(
            name,
            &near.sent(),
            Verdict::VipLocal,
            &near.to(TWO).delivered(),
        );
        let far = ip(ONE, VIP, body(sport_for(1, body)));
        let wrapped = far.to(FAR).wrapped(VNI, NODE_A, NODE_B, FAR);
        bench.sends(name, &far.sent(), Verdict::VipRemote, &wrapped);
    }
    let packet = ip(ONE, VIP_EMPTY, tcp(1, 80, SYN)).sent();
    bench.drops("no backend", &packet, DropReason::NoBackend);
    let fragment = Ip {
        fragment: 0x2000,
        ..ip(ONE, VIP, Body::Udp(1, 2))
    };
    bench.drops("fragment", &fragment.sent(), DropReason::Fragment);
    let error = ip(ONE, VIP, Body::Icmp(3, 0)).sent();
    bench.drops("error of no flow", &error, DropReason::NoFlow);
    let stats = stats(&mut bench, 7);
    assert_eq!(
        (stats.packets, stats.new_flows, stats.no_backend),
        (6, 6, 0)
    );
    assert_eq!(stats_no_backend(&mut bench), 1);
}

fn stats(bench: &mut Bench, service: u32) -> ServiceStats {
    use aya::maps::PerCpuHashMap;
    let map = bench.fixture.ebpf.map(names::SERVICE_STATS).unwrap();
    let map: PerCpuHashMap<_, ServiceStatsKey, ServiceStats> =
        PerCpuHashMap::try_from(map).unwrap();
    let mut sum = ServiceStats::default();
    for cpu in map.get(&ServiceStatsKey { service }, 0).unwrap().iter() {
        sum.packets += cpu.packets;
        sum.bytes += cpu.bytes;
        sum.new_flows += cpu.new_flows;
        sum.no_backend += cpu.no_backend;
    }
    sum
}

fn stats_no_backend(bench: &mut Bench) -> u64 {
    stats(bench, 8).no_backend
}

#[test]
fn a_flow_keeps_its_backend_until_a_new_connection_re_uses_its_port() {
    let mut bench = bench();
    let sport = sport_for(0, |sport| Body::Tcp(sport, 80, SYN));
    let packet = |flags| ip(ONE, VIP, tcp(sport, 80, flags));
    let near = |flags| packet(flags).to(TWO).delivered();
    let far = |flags| packet(flags).to(FAR).wrapped(VNI, NODE_A, NODE_B, FAR);
    bench.sends("opens", &packet(SYN).sent(), Verdict::VipLocal, &near(SYN));
    swarm_tests_bpf::world::table(&mut bench.fixture, 7, &[2]).unwrap();
    bench.sends(
        "table changed",
        &packet(ACK).sent(),
        Verdict::VipLocal,
        &near(ACK),
    );
    bench.sends(
        "syn repeated",
        &packet(SYN).sent(),
        Verdict::VipLocal,
        &near(SYN),
    );
    bench.sends("closes", &packet(FIN).sent(), Verdict::VipLocal, &near(FIN));
    bench.sends(
        "last ack",
        &packet(ACK).sent(),
        Verdict::VipLocal,
        &near(ACK),
    );
    bench.sends(
        "re-uses the port",
        &packet(SYN).sent(),
        Verdict::VipRemote,
        &far(SYN),
    );
    bench.sends(
        "goes on",
        &packet(ACK).sent(),
        Verdict::VipRemote,
        &far(ACK),
    );
}

#[test]
fn a_packet_in_the_middle_of_a_forgotten_flow_goes_where_the_hash_says() {
    let mut bench = bench();
    let sport = sport_for(1, |sport| Body::Tcp(sport, 80, ACK));
    let packet = ip(ONE, VIP, tcp(sport, 80, ACK));
    let wrapped = packet.to(FAR).wrapped(VNI, NODE_A, NODE_B, FAR);
    bench.sends("no entry", &packet.sent(), Verdict::VipRemote, &wrapped);
}

#[test]
fn a_backend_that_is_gone_is_replaced() {
    use swarm_common::maps::{EndpointKey, EndpointValue};
    let mut bench = bench();
    let sport = sport_for(0, |sport| Body::Udp(sport, 53));
    let packet = ip(ONE, VIP, Body::Udp(sport, 53));
    bench.sends(
        "first",
        &packet.sent(),
        Verdict::VipLocal,
        &packet.to(TWO).delivered(),
    );
    let two = swarm_tests_bpf::world::endpoint(VNI, TWO);
    let mut map = bench
        .fixture
        .map::<EndpointKey, EndpointValue>(names::ENDPOINTS)
        .unwrap();
    map.remove(&two).unwrap();
    bench.drops(
        "table still names it",
        &packet.sent(),
        DropReason::NoBackend,
    );
    swarm_tests_bpf::world::table(&mut bench.fixture, 7, &[2]).unwrap();
    let wrapped = packet.to(FAR).wrapped(VNI, NODE_A, NODE_B, FAR);
    bench.sends("new table", &packet.sent(), Verdict::VipRemote, &wrapped);
}

#[test]
fn a_local_backends_answer_comes_from_the_virtual_address() {
    let mut bench = bench();
    let sport = sport_for(0, |sport| Body::Tcp(sport, 80, SYN));
    let there = ip(ONE, VIP, tcp(sport, 80, SYN));
    bench.sends(
        "there",
        &there.sent(),
        Verdict::VipLocal,
        &there.to(TWO).delivered(),
    );
    bench.send_as(VNI, TWO);
    let back = ip(TWO, ONE, tcp(80, sport, SYN | ACK));
    bench.sends(
        "back",
        &back.sent(),
        Verdict::VipReply,
        &back.from(VIP).delivered(),
    );
    let other = ip(TWO, ONE, tcp(81, sport, ACK));
    bench.sends(
        "another flow",
        &other.sent(),
        Verdict::DeliverLocal,
        &other.delivered(),
    );
}

#[test]
fn a_task_reaches_itself_through_its_virtual_address() {
    let mut bench = bench();
    let there = ip(ONE, VIP_SELF, tcp(4000, 80, SYN));
    let seen = there.from(GATEWAY).to(ONE);
    bench.sends("there", &there.sent(), Verdict::VipLocal, &seen.delivered());
    let back = ip(ONE, GATEWAY, tcp(80, 4000, SYN | ACK));
    let expected = back.from(VIP_SELF).to(ONE);
    bench.sends(
        "back",
        &back.sent(),
        Verdict::VipReply,
        &expected.delivered(),
    );
    let stray = ip(ONE, GATEWAY, tcp(80, 4001, ACK)).sent();
    bench.drops("to the gateway, no flow", &stray, DropReason::NoEndpoint);
}

#[test]
fn the_gateway_answers_ping() {
    let mut bench = bench();
    let ask = ip(ONE, GATEWAY, Body::Icmp(8, 5));
    let answer = ip(GATEWAY, ONE, Body::Icmp(0, 5));
    bench.sends("echo", &ask.sent(), Verdict::Echo, &answer.sent());
}

/// The port the program picks first for a flow.
fn masquerade_port(packet: &Ip) -> u16 {
    61_000 + u16::try_from(packet.tuple().hash() % 4536).unwrap()
}

#[test]
fn the_outside_sees_the_node() {
    let mut bench = bench();
    for (name, body) in [
        ("tcp", tcp as fn(u16, u16, u8) -> Body),
        ("udp", |sport, dport, _| Body::Udp(sport, dport)),
        ("echo", |id, _, _| Body::Icmp(8, id)),
    ] {
        let packet = ip(ONE, CLIENT, body(5000, 443, SYN));
        // The time to live is not part of the hash.
        let port = masquerade_port(&packet);
        let mut expected = Ip {
            ttl: 63,
            ..packet.from(NODE_A).with(body(port, 443, SYN))
        }
        .sent();
        expected[0..12].copy_from_slice(&packet.sent()[0..12]);
        bench.sends(name, &packet.sent(), Verdict::MasqueradeOut, &expected);
        bench.sends("again", &packet.sent(), Verdict::MasqueradeOut, &expected);
    }
    let rows: [(&str, Ip, DropReason); 4] = [
        (
            "sctp",
            ip(ONE, CLIENT, Body::Other(132)),
            DropReason::Protocol,
        ),
        (
            "ttl",
            Ip {
                ttl: 1,
                ..ip(ONE, CLIENT, tcp(1, 2, SYN))
            },
            DropReason::TtlExpired,
        ),
        (
            "fragment",
            Ip {
                fragment: 9,
                ..ip(ONE, CLIENT, tcp(1, 2, SYN))
            },
            DropReason::Fragment,
        ),
        (
            "own node",
            ip(ONE, NODE_A, tcp(1, 2, SYN)),
            DropReason::OwnNode,
        ),
    ];
    for (name, packet, reason) in rows {
        bench.drops(name, &packet.sent(), reason);
    }
}

#[test]
fn two_tasks_with_the_same_port_get_different_ones() {
    let mut bench = bench();
    let first = bench.run(&ip(ONE, CLIENT, Body::Udp(5000, 53)).sent());
    // Every candidate of this flow but the last is taken by entries of other tasks.
    let packet = ip(ONE, CLIENT, Body::Udp(5001, 53));
    let hash = packet.tuple().hash();
    let mut taken = Vec::new();
    for attempt in 0..8_u32 {
        let candidate = hash.wrapping_add(1031 * attempt) % 4536;
        taken.push(61_000 + u16::try_from(candidate).unwrap());
    }
    for port in &taken[..7] {
        occupy(&mut bench, *port);
    }
    let second = bench.run(&packet.sent());
    assert_eq!(second.packet[34..36], taken[7].to_be_bytes());
    assert_ne!(first.packet[34..36], second.packet[34..36]);
    let third = ip(ONE, CLIENT, Body::Udp(5002, 53));
    for attempt in 0..8_u32 {
        let candidate = third.tuple().hash().wrapping_add(1031 * attempt) % 4536;
        occupy(&mut bench, 61_000 + u16::try_from(candidate).unwrap());
    }
    bench.drops("all taken", &third.sent(), DropReason::PortsExhausted);
}

/// Gives a masquerade port towards the client's port 53 to somebody else, just now.
fn occupy(bench: &mut Bench, port: u16) {
    use swarm_common::maps::{FlowValue, MASQUERADE_VNI};
    let uptime: f64 = std::fs::read_to_string("/proc/uptime")
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let outside = flow::FiveTuple {
        src: Addr::v4(CLIENT),
        dst: Addr::v4(NODE_A),
        sport_be: 53_u16.to_be(),
        dport_be: port.to_be(),
        proto: 17,
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "seconds"
    )]
    let seen_s = uptime as u32;
    let value = FlowValue {
        kind: 4,
        addr: Addr::v4([10, 0, 9, 9]),
        seen_s,
        ..FlowValue::default()
    };
    bench
        .fixture
        .put(names::CONNTRACK, outside.reply_key(MASQUERADE_VNI), value)
        .unwrap();
}

#[test]
fn a_published_ports_answer_goes_back_the_way_the_client_came() {
    use swarm_common::maps::FlowValue;
    let mut bench = bench();
    bench.send_as(INGRESS_VNI, TWO_INGRESS);
    let answer = ip(TWO_INGRESS, CLIENT, tcp(TARGET, 6000, SYN | ACK));
    let key = answer.tuple().reply_key(INGRESS_VNI);
    let mut value = FlowValue {
        kind: 3,
        port_be: PUBLISHED.to_be(),
        addr: Addr::v4(NODE_B),
        vni: INGRESS_VNI,
        node: Addr::v4(NODE_B),
        ..FlowValue::default()
    };
    bench.fixture.put(names::CONNTRACK, key, value).unwrap();
    let translated = answer.from(NODE_B).with(tcp(PUBLISHED, 6000, SYN | ACK));
    let wrapped = translated.wrapped(INGRESS_RETURN_VNI, NODE_A, NODE_B, CLIENT);
    bench.sends(
        "other node",
        &answer.sent(),
        Verdict::PublishedReturn,
        &wrapped,
    );

    value.node = Addr::NONE;
    value.addr = Addr::v4(NODE_A);
    bench.fixture.put(names::CONNTRACK, key, value).unwrap();
    let translated = answer.from(NODE_A).with(tcp(PUBLISHED, 6000, SYN | ACK));
    let mut expected = translated.sent();
    expected[0..12].copy_from_slice(&answer.sent()[0..12]);
    bench.sends(
        "this node",
        &answer.sent(),
        Verdict::PublishedReply,
        &expected,
    );
}

#[test]
fn the_node_itself_may_not_send_outside_through_the_overlay() {
    let mut bench = bench();
    let own = swarm_tests_bpf::world::host([10, 0, 0, 2], 1);
    swarm_tests_bpf::world::add_local(&mut bench.fixture, own).unwrap();
    let packet = ip([10, 0, 0, 2], CLIENT, tcp(1, 2, SYN)).sent();
    bench.drops("outside", &packet, DropReason::NoEndpoint);
    let near = ip([10, 0, 0, 2], TWO_INGRESS, tcp(1, 2, SYN));
    bench.sends(
        "a task",
        &near.sent(),
        Verdict::DeliverLocal,
        &near.delivered(),
    );
}
