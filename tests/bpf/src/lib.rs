//! Tests of the eBPF programs: golden packets through `BPF_PROG_TEST_RUN`, and real packets between
//! network namespaces.
//!
//! [`packet`] builds and explains packets, [`fixture`] loads the programs and runs one packet, [`world`] fills
//! the maps with a small cluster every table of tests shares, [`netns`] builds real hosts, [`raw`]
//! sends frames the way no socket of a task would.

pub mod cluster;
pub mod cookie;
pub mod fixture;
pub mod golden;
pub mod netns;
pub mod packet;
pub mod raw;
pub mod server;
pub mod world;
