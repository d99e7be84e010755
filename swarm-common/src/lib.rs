//! The contract between the kernel programs and user space.
//!
//! Everything both sides must agree on is defined here exactly once: the bytes in the maps
//! ([`maps`]), the read-only configuration ([`config`]), the reasons and verdicts that are counted
//! ([`verdict`]), packet headers ([`hdr`]) and the arithmetic over them ([`csum`], [`flow`], [`lb`],
//! [`mac`]). No allocation, no I/O, no policy: what a packet should experience is decided by the
//! planner in `swarm-core`, and carried out by the programs in `swarm-ebpf`.
#![no_std]
#![expect(
    clippy::inline_always,
    reason = "the kernel side inlines: a call costs stack, and a pointer argument loses its bounds"
)]

pub mod addr;
pub mod config;
pub mod csum;
pub mod flow;
pub mod hdr;
pub mod layout;
pub mod lb;
pub mod mac;
pub mod maps;
pub mod paths;
pub mod verdict;

pub use addr::Addr;
