//! What programs remember of the tables: it changes no result, and counts no longer than it is true.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure ends the test"
)]

use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use swarm_common::maps::{
    EndpointKey, EndpointValue, InterfaceKey, InterfaceValue, PeerKey, PeerValue, names,
};
use swarm_common::paths::{PathIn, PathOut, Stamp};
use swarm_common::verdict::{DropReason, Program, Verdict};
use swarm_common::{Addr, mac};
use swarm_tests_bpf::golden::Bench;
use swarm_tests_bpf::packet::{ACK, Body, Ip, ip};
use swarm_tests_bpf::world::{CLIENT, FAR, NODE_A, NODE_B, ONE, TWO, VNI, endpoint};

/// How often the slow clock may tick in between before something is wrong.
const DEADLINE: Duration = Duration::from_secs(20);

/// Another node, which the tables do not know.
const FORGED: [u8; 4] = [192, 0, 2, 99];

/// What is remembered is each CPU's own: the whole test runs on one.
fn bench(program: Program) -> Bench {
    let mut one = CpuSet::new();
    one.set(0).unwrap();
    sched_setaffinity(Pid::from_raw(0), &one).unwrap();
    Bench::new(program)
}

fn to_far() -> Ip {
    ip(ONE, FAR, Body::Tcp(1000, 80, ACK))
}

fn from_far() -> Ip {
    ip(FAR, TWO, Body::Tcp(80, 1000, ACK))
}

fn index_out() -> u32 {
    PathOut::index(1, Addr::v4(ONE), Addr::v4(FAR))
}

fn index_in() -> u32 {
    PathIn::index(Addr::v4(NODE_B), VNI, Addr::v4(TWO))
}

fn remembered_out(bench: &Bench) -> PathOut {
    bench
        .fixture
        .on_each_cpu(names::PATHS_OUT, index_out())
        .unwrap()[0]
}

fn remembered_in(bench: &Bench) -> PathIn {
    bench
        .fixture
        .on_each_cpu(names::PATHS_IN, index_in())
        .unwrap()[0]
}

fn send(bench: &mut Bench, name: &str) {
    let expected = to_far().wrapped(VNI, NODE_A, NODE_B, FAR);
    bench.sends(name, &to_far().sent(), Verdict::Encapsulate, &expected);
}

fn arrive(bench: &mut Bench, name: &str) {
    let packet = from_far().tunnelled(VNI, TWO);
    bench.sends(
        name,
        &packet,
        Verdict::DeliverLocal,
        &from_far().delivered(),
    );
}

#[test]
fn a_pair_that_goes_to_another_node_is_remembered() {
    let mut bench = bench(Program::TaskIngress);
    send(&mut bench, "first");
    let path = remembered_out(&bench);
    let expected = PathOut {
        stamp: path.stamp,
        src: Addr::v4(ONE),
        dst: Addr::v4(FAR),
        ifindex: 1,
        vni: VNI,
        node: Addr::v4(NODE_B),
        mac: mac::of(FAR),
        pad: [0; 2],
    };
    assert_eq!(path, expected);
    send(&mut bench, "second");
    let spoofed = to_far().from(TWO).sent();
    bench.drops("another source", &spoofed, DropReason::SourceSpoofed);
}

#[test]
fn what_is_remembered_of_a_pair_decides() {
    let mut bench = bench(Program::TaskIngress);
    let expected = to_far().wrapped(VNI, NODE_A, FORGED, FAR);
    while_the_clock_stands(|| {
        send(&mut bench, "from the tables");
        let forged = PathOut {
            node: Addr::v4(FORGED),
            ..remembered_out(&bench)
        };
        let name = names::PATHS_OUT;
        bench
            .fixture
            .set_on_each_cpu(name, index_out(), forged)
            .unwrap();
        let outcome = bench.run(&to_far().sent());
        let stands = remembered_out(&bench).stamp == forged.stamp;
        assert!(
            !stands || outcome.packet[14..] == expected[14..],
            "not by what is remembered"
        );
        stands
    });
}

#[test]
fn what_arrived_from_a_peer_is_remembered() {
    let mut bench = bench(Program::UnderlayIngress);
    arrive(&mut bench, "first");
    let path = remembered_in(&bench);
    let expected = PathIn {
        stamp: path.stamp,
        node: Addr::v4(NODE_B),
        dst: Addr::v4(TWO),
        vni: VNI,
        endpoint: EndpointValue {
            ifindex: 42,
            mac: mac::of(TWO),
            ..EndpointValue::default()
        },
        pad: 0,
    };
    assert_eq!(path, expected);
    arrive(&mut bench, "second");
    let mut stranger = from_far().wrapped(VNI, CLIENT, NODE_A, TWO);
    stranger[..12].fill(2);
    bench.drops(
        "a stranger to the same task",
        &stranger,
        DropReason::UnknownPeer,
    );
}

#[test]
fn what_is_remembered_of_a_peer_decides() {
    let mut bench = bench(Program::UnderlayIngress);
    while_the_clock_stands(|| {
        arrive(&mut bench, "from the tables");
        let mut forged = remembered_in(&bench);
        forged.endpoint.mac = [6; 6];
        let name = names::PATHS_IN;
        bench
            .fixture
            .set_on_each_cpu(name, index_in(), forged)
            .unwrap();
        let outcome = bench.run(&from_far().tunnelled(VNI, TWO));
        let stands = remembered_in(&bench).stamp == forged.stamp;
        assert!(
            !stands || outcome.packet[..6] == [6; 6],
            "not by what is remembered"
        );
        stands
    });
}

#[test]
fn a_new_generation_makes_it_void() {
    let mut sender = bench(Program::TaskIngress);
    send(&mut sender, "known");
    let removed = InterfaceKey { ifindex: 1 };
    sender
        .fixture
        .map::<InterfaceKey, InterfaceValue>(names::INTERFACES)
        .unwrap()
        .remove(&removed)
        .unwrap();
    let packet = to_far().sent();
    sender.drops(
        "the sender's veth is gone",
        &packet,
        DropReason::UnknownInterface,
    );

    let mut receiver = bench(Program::UnderlayIngress);
    arrive(&mut receiver, "known");
    let packet = from_far().tunnelled(VNI, TWO);
    receiver
        .fixture
        .map::<EndpointKey, EndpointValue>(names::ENDPOINTS)
        .unwrap()
        .remove(&endpoint(VNI, TWO))
        .unwrap();
    receiver.drops("the endpoint is gone", &packet, DropReason::UnknownVni);

    let mut receiver = bench(Program::UnderlayIngress);
    arrive(&mut receiver, "known");
    receiver
        .fixture
        .map::<PeerKey, PeerValue>(names::PEERS)
        .unwrap()
        .remove(&PeerKey {
            node: Addr::v4(NODE_B),
        })
        .unwrap();
    receiver.drops("the peer is gone", &packet, DropReason::UnknownPeer);
}

#[test]
fn the_slow_clock_makes_it_void() {
    let earlier = |stamp: Stamp| Stamp {
        moment: stamp.moment - 1,
        ..stamp
    };
    let mut sender = bench(Program::TaskIngress);
    send(&mut sender, "known");
    let known = remembered_out(&sender);
    let old = PathOut {
        stamp: earlier(known.stamp),
        node: Addr::v4(FORGED),
        ..known
    };
    sender
        .fixture
        .set_on_each_cpu(names::PATHS_OUT, index_out(), old)
        .unwrap();
    send(&mut sender, "the tables again");
    assert_eq!(remembered_out(&sender).node, Addr::v4(NODE_B));

    let mut receiver = bench(Program::UnderlayIngress);
    arrive(&mut receiver, "known");
    let mut old = remembered_in(&receiver);
    old.stamp = earlier(old.stamp);
    old.endpoint.mac = [6; 6];
    receiver
        .fixture
        .set_on_each_cpu(names::PATHS_IN, index_in(), old)
        .unwrap();
    arrive(&mut receiver, "the tables again");
    assert_eq!(remembered_in(&receiver).endpoint.mac, mac::of(TWO));
}

/// Repeats what is only meaningful within one moment of the slow clock until no tick came in between.
fn while_the_clock_stands(mut step: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !step() {
        assert!(Instant::now() < end, "the clock ticked in every step");
    }
}
