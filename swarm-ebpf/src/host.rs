//! Connections of the node's own processes to published ports: `localhost:PORT` and the node's own
//! addresses.
//!
//! The root cgroup sees every process of the machine, containers and other nodes on it included; what
//! counts is the network namespace of the socket. Without a backend the address stays as it is and
//! the kernel refuses the connection.

use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::helpers::{bpf_get_netns_cookie, bpf_get_socket_cookie};
use swarm_common::Addr;
use swarm_common::flow::FiveTuple;
use swarm_common::hdr::ipv4;
use swarm_common::maps::{HostFlowKey, HostFlowValue, LocalAddressKey};
use swarm_common::verdict::{Program, Verdict};

use crate::count::{self, Served};
use crate::maps::{self, HOST_FLOWS};
use crate::{balance, config, published};

/// A socket address a program may rewrite.
#[derive(Clone, Copy)]
pub struct SockAddr {
    context: *mut bpf_sock_addr,
}

impl SockAddr {
    #[inline(always)]
    pub fn new(context: *mut bpf_sock_addr) -> Self {
        Self { context }
    }

    #[inline(always)]
    fn addr(self) -> Addr {
        // SAFETY: the kernel passes a valid context.
        Addr::from_be32(unsafe { (*self.context).user_ip4 })
    }

    #[inline(always)]
    fn port_be(self) -> u16 {
        // SAFETY: the kernel passes a valid context; the port is in the lower half.
        (unsafe { (*self.context).user_port }) as u16
    }

    #[inline(always)]
    fn proto(self) -> u8 {
        // SAFETY: the kernel passes a valid context.
        (unsafe { (*self.context).protocol }) as u8
    }

    #[inline(always)]
    fn set(self, addr: Addr, port_be: u16) {
        // SAFETY: the kernel passes a valid context whose address is writable.
        unsafe { (*self.context).user_ip4 = addr.to_be32() };
        // SAFETY: as above.
        unsafe { (*self.context).user_port = u32::from(port_be) };
    }

    #[inline(always)]
    fn cookie(self) -> u64 {
        // SAFETY: valid context.
        unsafe { bpf_get_socket_cookie(self.context.cast()) }
    }

    #[inline(always)]
    fn is_of_this_node(self) -> bool {
        // SAFETY: valid context.
        (unsafe { bpf_get_netns_cookie(self.context.cast()) }) == config::host_netns_cookie()
    }
}

/// Sends a connection or datagram for a published port of this node to a backend.
#[inline(always)]
pub fn to_backend(sock: SockAddr, program: Program) {
    if !sock.is_of_this_node() {
        return;
    }
    let verdict = if rewrite(sock) {
        Verdict::HostRewrite
    } else {
        Verdict::Pass
    };
    count::verdict(program, verdict, 0);
}

#[inline(always)]
fn rewrite(sock: SockAddr) -> bool {
    let (addr, port_be, proto) = (sock.addr(), sock.port_be(), sock.proto());
    let is_own = ipv4::is_loopback(addr.v4_octets())
        || maps::local_address(&LocalAddressKey { addr }).is_some();
    if !is_own {
        return false;
    }
    let Some(published) = published::lookup(proto, port_be) else {
        return false;
    };
    let cookie = sock.cookie();
    let hash = FiveTuple {
        src: Addr::NONE,
        dst: addr,
        sport_be: (cookie as u16).to_be(),
        dport_be: port_be,
        proto,
    }
    .hash();
    let Ok(backend) = balance::choose(published.service, hash) else {
        count::service(published.service, 0, Served::Refused);
        return false;
    };
    let key = HostFlowKey {
        cookie,
        addr: backend.addr,
        port_be: published.target_port_be,
        proto,
        pad: [0; 5],
    };
    let asked = HostFlowValue {
        addr,
        port_be,
        pad: 0,
    };
    // A full map evicts; then the process sees the backend's address as its peer.
    let _full = HOST_FLOWS.insert(key, asked, 0);
    count::service(published.service, 0, Served::New);
    sock.set(backend.addr, published.target_port_be);
    true
}

/// Shows the process the address it asked for instead of the backend's.
#[inline(always)]
pub fn from_backend(sock: SockAddr, program: Program) {
    if !sock.is_of_this_node() {
        return;
    }
    let key = HostFlowKey {
        cookie: sock.cookie(),
        addr: sock.addr(),
        port_be: sock.port_be(),
        proto: sock.proto(),
        pad: [0; 5],
    };
    let verdict = match maps::host_flow(&key) {
        Some(asked) => {
            sock.set(asked.addr, asked.port_be);
            Verdict::HostRewrite
        }
        None => Verdict::Pass,
    };
    count::verdict(program, verdict, 0);
}
