//! Sends a connection of a node's own process to a backend of the published port it names.
//!
//! - acts only on sockets of the agent's network namespace;
//! - never refuses: 1 is the only result.

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use swarm_common::verdict::Program;

use crate::host::{self, SockAddr};

#[cgroup_sock_addr(connect4)]
fn connect4(context: SockAddrContext) -> i32 {
    host::to_backend(SockAddr::new(context.sock_addr), Program::Connect4);
    1
}
