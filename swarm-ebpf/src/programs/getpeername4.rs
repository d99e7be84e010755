//! Shows the address the process had connected to.
//!
//! - acts only on sockets of the agent's network namespace;
//! - never refuses: 1 is the only result.

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use swarm_common::verdict::Program;

use crate::host::{self, SockAddr};

#[cgroup_sock_addr(getpeername4)]
fn getpeername4(context: SockAddrContext) -> i32 {
    host::from_backend(SockAddr::new(context.sock_addr), Program::Getpeername4);
    1
}
