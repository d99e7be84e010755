//! The kernel side of the data plane: parse, look up, act.
//!
//! ```text
//! task --veth--> tc_task_ingress ------> another task's veth (redirect_peer)
//!                  |  arp, source check, virtual address, masquerade
//!                  +--VXLAN--> underlay (redirect_neigh)
//! underlay ------> tc_underlay_ingress -> task's veth | forward to backend's node | client
//! node's own processes --> cgroup connect4, sendmsg4, recvmsg4, getpeername4
//! ```
//!
//! Nothing is decided here: tables come from the agent, arithmetic from `swarm-common`. Every packet
//! that is handled moves one counter, every drop has a reason. Built for the BPF target only
//! (`cargo xtask ebpf`); for the host this is an empty program.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(
    target_arch = "bpf",
    expect(
        unsafe_code,
        reason = "kernel helpers and map sections; every block says why it is sound"
    ),
    expect(unreachable_pub, reason = "nothing links against a program"),
    expect(
        clippy::inline_always,
        reason = "a call costs stack, and a pointer argument loses its bounds"
    ),
    expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "helpers take and return other widths than Rust; a checked conversion brings code the verifier refuses"
    ),
    expect(
        clippy::needless_pass_by_value,
        reason = "the context is a pointer that the macro hands over"
    )
)]

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
mod arp;
#[cfg(target_arch = "bpf")]
mod balance;
#[cfg(target_arch = "bpf")]
mod config;
#[cfg(target_arch = "bpf")]
mod conntrack;
#[cfg(target_arch = "bpf")]
mod count;
#[cfg(target_arch = "bpf")]
mod deliver;
#[cfg(target_arch = "bpf")]
mod echo;
#[cfg(target_arch = "bpf")]
mod frag_needed;
#[cfg(target_arch = "bpf")]
mod host;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod masquerade;
#[cfg(target_arch = "bpf")]
mod packet;
#[cfg(target_arch = "bpf")]
mod parse;
#[cfg(target_arch = "bpf")]
mod paths;
#[cfg(target_arch = "bpf")]
mod programs;
#[cfg(target_arch = "bpf")]
mod published;
#[cfg(target_arch = "bpf")]
mod rewrite;
#[cfg(target_arch = "bpf")]
mod vip;

/// The kernel offers most helpers to GPL-compatible programs only.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
