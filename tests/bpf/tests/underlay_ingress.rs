//! Golden packets of `tc_underlay_ingress`: what arrives at node a.

use swarm_common::Addr;
use swarm_common::maps::{
    FLOW_KIND_MASQUERADE, FLOW_KIND_VIP, FlowValue, INGRESS_FORWARD_VNI, INGRESS_RETURN_VNI,
    INGRESS_VNI, MASQUERADE_VNI, names,
};
use swarm_common::verdict::{DropReason, Program, Verdict};
use swarm_common::{lb, mac};
use swarm_tests_bpf::golden::Bench;
use swarm_tests_bpf::packet::{ACK, Body, Ip, SYN, ethernet, ip, vxlan};
use swarm_tests_bpf::world::{
    CLIENT, FAR, FAR_INGRESS, HOST_A, HOST_B, NODE_A, NODE_B, ONE, PUBLISHED, TARGET, TWO,
    TWO_INGRESS, VIP, VNI, publish,
};

/// A flow's content by its source port.
type Kind = fn(u16) -> Body;

fn bench() -> Bench {
    Bench::new(Program::UnderlayIngress)
}

fn tcp(sport: u16, dport: u16, flags: u8) -> Body {
    Body::Tcp(sport, dport, flags)
}

#[test]
fn what_is_not_ours_passes() {
    let mut bench = bench();
    let good = ip(CLIENT, NODE_A, tcp(1000, 22, SYN));
    let mut options = good.sent();
    options[14] = 0x46;
    let rows: [(&str, Vec<u8>); 9] = [
        ("ssh to the node", good.sent()),
        ("another destination", good.to([198, 51, 100, 1]).sent()),
        (
            "published port of another address",
            good.to(NODE_B).with(tcp(1, PUBLISHED, SYN)).sent(),
        ),
        ("arp", ethernet([0xff; 6], [2; 6], 0x0806, &[0; 28])),
        ("ipv6", ethernet([2; 6], [2; 6], 0x86dd, &[0; 40])),
        ("options", options),
        ("cut off", good.sent()[..40].to_vec()),
        ("echo to the node", good.with(Body::Icmp(8, 7)).sent()),
        (
            "masquerade port without a flow",
            good.with(Body::Udp(53, 61_500)).sent(),
        ),
    ];
    for (name, packet) in rows {
        bench.passes(name, &packet);
    }
}

#[test]
fn vxlan_is_unwrapped_for_endpoints_of_this_node() {
    let mut bench = bench();
    for (name, body) in [
        ("tcp", tcp(1, 2, ACK)),
        ("udp", Body::Udp(1, 2)),
        ("echo", Body::Icmp(8, 3)),
        ("another protocol", Body::Other(132)),
    ] {
        let packet = ip(FAR, ONE, body);
        let arrives = packet.tunnelled(VNI, ONE);
        bench.sends(name, &arrives, Verdict::DeliverLocal, &packet.delivered());
    }
    let to_host = ip(HOST_B, HOST_A, tcp(1, 2, ACK));
    let arrives = to_host.tunnelled(INGRESS_VNI, HOST_A);
    bench.sends(
        "the node itself",
        &arrives,
        Verdict::DeliverLocal,
        &to_host.delivered(),
    );
}

#[test]
fn vxlan_is_refused_from_strangers_and_for_others() {
    let mut bench = bench();
    let packet = ip(FAR, ONE, tcp(1, 2, ACK));
    let inner = ethernet(mac::of(ONE), mac::of(FAR), 0x0800, &packet.bytes());
    let mut no_vni = packet.tunnelled(VNI, ONE);
    no_vni[42] = 0;
    let mut not_ip = packet.tunnelled(VNI, ONE);
    not_ip[62] = 0x86;
    let stranger = vxlan(CLIENT, NODE_A, (50_000, 4789), VNI, &inner);
    let good = packet.tunnelled(VNI, ONE);
    let nobody = packet.to([10, 0, 1, 77]).tunnelled(VNI, ONE);
    let elsewhere = ip(ONE, FAR, tcp(1, 2, ACK)).tunnelled(VNI, FAR);
    let rows: [(&str, Vec<u8>, DropReason); 9] = [
        ("unknown node", stranger, DropReason::UnknownPeer),
        (
            "wrong network",
            packet.tunnelled(VNI + 1, ONE),
            DropReason::UnknownVni,
        ),
        ("no endpoint", nobody, DropReason::UnknownVni),
        ("no network number", no_vni, DropReason::UnknownVni),
        ("not ipv4 inside", not_ip, DropReason::Protocol),
        (
            "endpoint of the other node",
            elsewhere,
            DropReason::NotLocal,
        ),
        (
            "no vxlan header",
            good[..48].to_vec(),
            DropReason::Truncated,
        ),
        (
            "no inner ethernet",
            good[..60].to_vec(),
            DropReason::Truncated,
        ),
        ("no inner ip", good[..80].to_vec(), DropReason::Truncated),
    ];
    for (name, packet, reason) in rows {
        bench.drops(name, &packet, reason);
    }
}

#[test]
fn a_remote_backends_answer_comes_from_the_virtual_address() {
    let mut bench = bench();
    let rows = [
        ("tcp", tcp(80, 4000, SYN | ACK)),
        ("udp", Body::Udp(53, 4000)),
        ("echo", Body::Icmp(0, 9)),
    ];
    let remember = |bench: &mut Bench, back: &Ip| {
        let value = FlowValue {
            kind: FLOW_KIND_VIP,
            port_be: back.tuple().sport_be,
            addr: Addr::v4(VIP),
            vni: VNI,
            ..FlowValue::default()
        };
        let key = back.tuple().reply_key(VNI);
        bench.fixture.put(names::CONNTRACK, key, value).unwrap();
    };
    for (name, body) in rows {
        let back = ip(FAR, ONE, body);
        remember(&mut bench, &back);
        let arrives = back.tunnelled(VNI, ONE);
        // An endpoint that never sent to a virtual address is not looked up.
        bench.sends(name, &arrives, Verdict::DeliverLocal, &back.delivered());
    }
    bench.fixture.uses_virtual_addresses(1).unwrap();
    for (name, body) in rows {
        let back = ip(FAR, ONE, body);
        let arrives = back.tunnelled(VNI, ONE);
        bench.sends(
            name,
            &arrives,
            Verdict::VipReply,
            &back.from(VIP).delivered(),
        );
    }
}

/// A client's packet to the published port that is given the first or second backend.
fn to_published(backend: u64, body: Kind) -> Ip {
    (40_000..50_000)
        .map(|sport| ip(CLIENT, NODE_A, body(sport)))
        .find(|packet| lb::maglev_slot(packet.tuple().hash_published()) % 2 == backend)
        .expect("both backends are in the table")
}

fn with_target(packet: Ip) -> Ip {
    let body = match packet.body {
        Body::Tcp(sport, _, flags) => Body::Tcp(sport, TARGET, flags),
        Body::Udp(sport, _) => Body::Udp(sport, TARGET),
        Body::Icmp(..) | Body::Other(_) => packet.body,
    };
    packet.with(body)
}

#[test]
fn a_published_port_leads_to_the_backend_of_the_hash() {
    let mut bench = bench();
    let kinds: [(&str, Kind); 2] = [
        ("tcp", |sport| Body::Tcp(sport, PUBLISHED, SYN)),
        ("udp", |sport| Body::Udp(sport, PUBLISHED)),
    ];
    for (name, body) in kinds {
        let near = to_published(0, body);
        let expected = with_target(near.to(TWO_INGRESS)).delivered();
        bench.sends(name, &near.sent(), Verdict::PublishedLocal, &expected);
        let far = to_published(1, body);
        let wrapped = far.wrapped(INGRESS_FORWARD_VNI, NODE_A, NODE_B, FAR_INGRESS);
        bench.sends(name, &far.sent(), Verdict::PublishedForward, &wrapped);
    }
    let near = to_published(0, |sport| Body::Udp(sport, PUBLISHED));
    publish(&mut bench.fixture, 9, &[4]).unwrap();
    let expected = with_target(near.to(TWO_INGRESS)).delivered();
    bench.sends(
        "keeps its backend",
        &near.sent(),
        Verdict::PublishedLocal,
        &expected,
    );
    let fragment = Ip {
        fragment: 0x2000,
        ..near
    };
    bench.drops("first fragment", &fragment.sent(), DropReason::Fragment);
    publish(&mut bench.fixture, 9, &[]).unwrap();
    let late = near.with(Body::Udp(1, PUBLISHED)).sent();
    bench.drops("no backend", &late, DropReason::NoBackend);
}

#[test]
fn a_client_learns_what_fits_the_tunnel() {
    let mut bench = bench();
    let far = to_published(1, |sport| Body::Udp(sport, PUBLISHED));
    let fits = Ip {
        payload: 1450 - 28,
        ..far
    };
    let wrapped = fits.wrapped(INGRESS_FORWARD_VNI, NODE_A, NODE_B, FAR_INGRESS);
    bench.sends("largest", &fits.sent(), Verdict::PublishedForward, &wrapped);

    let large = Ip {
        payload: 1451 - 28,
        ..far
    };
    let quoted = &large.bytes()[..28];
    let mut message = vec![3, 4, 0, 0, 0, 0];
    message.extend_from_slice(&1450_u16.to_be_bytes());
    message.extend_from_slice(quoted);
    let sum = swarm_common::csum::checksum(&message);
    message[2..4].copy_from_slice(&sum.to_ne_bytes());
    let header = Ip {
        payload: message.len(),
        ..ip(NODE_A, CLIENT, Body::Other(1))
    };
    let packet = [&header.bytes()[..20], &message].concat();
    let expected = ethernet(mac::of(CLIENT), mac::of(NODE_A), 0x0800, &packet);
    bench.sends("too large", &large.sent(), Verdict::FragNeeded, &expected);
    let may_fragment = Ip {
        fragment: 0,
        ..large
    };
    bench.drops(
        "too large, without df",
        &may_fragment.sent(),
        DropReason::TooBig,
    );

    let near = to_published(0, |sport| Body::Udp(sport, PUBLISHED));
    let near = Ip {
        payload: 1451 - 28,
        ..near
    };
    let expected = with_target(near.to(TWO_INGRESS)).delivered();
    bench.sends(
        "local backend",
        &near.sent(),
        Verdict::PublishedLocal,
        &expected,
    );
}

#[test]
fn a_forwarded_packet_is_translated_on_the_backends_node() {
    let mut bench = bench();
    let packet = ip(CLIENT, NODE_B, tcp(6000, PUBLISHED, SYN));
    let arrives = packet.tunnelled(INGRESS_FORWARD_VNI, TWO_INGRESS);
    let expected = with_target(packet.to(TWO_INGRESS)).delivered();
    bench.sends("first", &arrives, Verdict::PublishedDeliver, &expected);
    bench.sends("second", &arrives, Verdict::PublishedDeliver, &expected);
    let answer = ip(TWO_INGRESS, CLIENT, tcp(TARGET, 6000, ACK)).tuple();
    let key = answer.reply_key(INGRESS_VNI);
    let mut map = bench.fixture.map(names::CONNTRACK).unwrap();
    let value: FlowValue = map.get(&key, 0).unwrap();
    assert_eq!(
        (value.addr, value.node),
        (Addr::v4(NODE_B), Addr::v4(NODE_B))
    );
    assert_eq!(value.port_be, PUBLISHED.to_be());
    map.remove(&key).unwrap();

    let other_port = packet.with(tcp(6000, 9999, SYN));
    let unknown = other_port.tunnelled(INGRESS_FORWARD_VNI, TWO_INGRESS);
    let fragment = Ip {
        fragment: 0x2000,
        ..packet
    };
    let rows: [(&str, Vec<u8>, DropReason); 4] = [
        ("port not published", unknown, DropReason::NotPublished),
        (
            "no such backend",
            packet.tunnelled(INGRESS_FORWARD_VNI, TWO),
            DropReason::NoEndpoint,
        ),
        (
            "other node's",
            packet.tunnelled(INGRESS_FORWARD_VNI, FAR_INGRESS),
            DropReason::NotLocal,
        ),
        (
            "fragment",
            fragment.tunnelled(INGRESS_FORWARD_VNI, TWO_INGRESS),
            DropReason::Fragment,
        ),
    ];
    for (name, packet, reason) in rows {
        bench.drops(name, &packet, reason);
    }
}

#[test]
fn a_returned_answer_goes_out_to_the_client() {
    let mut bench = bench();
    let answer = ip(NODE_A, CLIENT, tcp(PUBLISHED, 6000, ACK));
    let arrives = answer.tunnelled(INGRESS_RETURN_VNI, CLIENT);
    let mut expected = answer.sent();
    expected[0..12].copy_from_slice(&arrives[0..12]);
    bench.sends("answer", &arrives, Verdict::PublishedReply, &expected);
    let forged = answer.from(NODE_B).tunnelled(INGRESS_RETURN_VNI, CLIENT);
    bench.drops("not this node's address", &forged, DropReason::NoFlow);
}

#[test]
fn masqueraded_answers_reach_their_task() {
    let mut bench = bench();
    for (name, body, translated) in [
        ("tcp", tcp(443, 61_500, ACK), tcp(443, 5000, ACK)),
        ("udp", Body::Udp(53, 61_500), Body::Udp(53, 5000)),
        ("echo", Body::Icmp(0, 61_500), Body::Icmp(0, 5000)),
    ] {
        let answer = ip(CLIENT, NODE_A, body);
        let mut value = FlowValue {
            kind: FLOW_KIND_MASQUERADE,
            port_be: 5000_u16.to_be(),
            addr: Addr::v4(ONE),
            vni: VNI,
            ..FlowValue::default()
        };
        let key = answer.tuple().reply_key(MASQUERADE_VNI);
        bench.fixture.put(names::CONNTRACK, key, value).unwrap();
        let expected = answer.to(ONE).with(translated).delivered();
        bench.sends(name, &answer.sent(), Verdict::MasqueradeIn, &expected);
        value.addr = Addr::v4([10, 0, 1, 77]);
        bench.fixture.put(names::CONNTRACK, key, value).unwrap();
        bench.drops("task is gone", &answer.sent(), DropReason::NoEndpoint);
        value.addr = Addr::v4(FAR);
        bench.fixture.put(names::CONNTRACK, key, value).unwrap();
        bench.drops("task has moved", &answer.sent(), DropReason::NotLocal);
    }
}
