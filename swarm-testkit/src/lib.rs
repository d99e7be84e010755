//! Test support, never shipped: a whole swarm on one machine as values. A [`lab::Lab`] is an
//! underlay segment with hosts in network namespaces, a client outside the swarm, a private
//! containerd and a registry; dropping it leaves nothing behind.

pub mod http;
pub mod lab;
pub mod netns;
pub mod processes;
pub mod supervise;
pub mod traffic;
pub mod wait;
