//! One row of a table: a packet, what must become of it, and everything that must be counted.

use swarm_common::verdict::{DropReason, Program, Verdict};

use crate::fixture::{Fixture, Outcome};
use crate::packet::diff;
use crate::world::{self, Attachment, VNI};

/// A loaded node a and the program under test.
#[derive(Debug)]
pub struct Bench {
    /// Maps and programs.
    pub fixture: Fixture,
    program: Program,
}

/// Expected where the neighbour lookup writes the addresses after the program: they may be anything.
const NO_HARDWARE_ADDRESSES: [u8; 12] = [0; 12];

/// Local endpoints of node a besides the one that sends (test runs happen on interface 1).
const LOCAL: [(u32, [u8; 4], u32); 3] = [
    (VNI, world::ONE, 1),
    (VNI, world::TWO, 42),
    (4096, world::TWO_INGRESS, 43),
];

impl Bench {
    /// Node a of the shared world.
    pub fn new(program: Program) -> Self {
        let config = world::config(world::NODE_A, 1, 0);
        let mut fixture = Fixture::load(&config).expect("programs load");
        let mut local: Vec<_> = LOCAL
            .map(|(vni, addr, ifindex)| Attachment {
                vni,
                addr,
                ifindex,
                flags: 0,
            })
            .into();
        local.push(world::host(world::HOST_A, 44));
        let remote = [
            (VNI, world::FAR),
            (4096, world::FAR_INGRESS),
            (4096, world::HOST_B),
        ];
        world::fill(&mut fixture, world::NODE_A, world::NODE_B, &local, &remote)
            .expect("maps take the world");
        Self { fixture, program }
    }

    /// Makes interface 1 another endpoint of node a.
    pub fn send_as(&mut self, vni: u32, addr: [u8; 4]) {
        let attachment = Attachment {
            vni,
            addr,
            ifindex: 1,
            flags: 0,
        };
        world::add_local(&mut self.fixture, attachment).expect("maps take the endpoint");
    }

    /// Runs the packet and returns everything that happened.
    pub fn run(&mut self, packet: &[u8]) -> Outcome {
        self.fixture
            .run(self.program.text(), packet)
            .expect("test run")
    }

    /// The packet must be sent on, changed like this.
    pub fn sends(&mut self, name: &str, packet: &[u8], verdict: Verdict, expected: &[u8]) {
        let mut outcome = self.run(packet);
        let counted = (outcome.action, &outcome.verdicts[..], &outcome.drops[..]);
        assert_eq!(
            counted,
            (7, &[(self.program, verdict)][..], &[][..]),
            "{name}"
        );
        if expected.starts_with(&NO_HARDWARE_ADDRESSES) {
            outcome.packet[..NO_HARDWARE_ADDRESSES.len()].fill(0);
        }
        assert!(
            outcome.packet == expected,
            "{name}: actual | expected\n{}",
            diff(&outcome.packet, expected)
        );
    }

    /// The packet must be dropped for this reason.
    pub fn drops(&mut self, name: &str, packet: &[u8], reason: DropReason) {
        let outcome = self.run(packet);
        let counted = (outcome.action, &outcome.verdicts[..], &outcome.drops[..]);
        assert_eq!(
            counted,
            (2, &[(self.program, Verdict::Drop)][..], &[reason][..]),
            "{name}"
        );
    }

    /// The packet must be left to the kernel, untouched.
    pub fn passes(&mut self, name: &str, packet: &[u8]) {
        let outcome = self.run(packet);
        let counted = (outcome.action, &outcome.verdicts[..], &outcome.drops[..]);
        assert_eq!(
            counted,
            (-1, &[(self.program, Verdict::Pass)][..], &[][..]),
            "{name}"
        );
        assert!(
            outcome.packet == packet,
            "{name}\n{}",
            diff(&outcome.packet, packet)
        );
    }
}
