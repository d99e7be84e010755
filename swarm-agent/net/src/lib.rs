//! Everything the agent does to Linux networking outside eBPF: namespaces, virtual Ethernet
//! pairs, addresses, routes, sysctls and the resolver inside every task.
//!
//! This crate carries out; it decides nothing about which task gets which address. It never
//! forks, never calls a shell tool and never enters a namespace on a tokio worker thread.
//!
//! "The host" is the network namespace in which the calling thread lives, so an agent that was
//! started inside a namespace is a complete host of its own.

pub mod addr;
pub mod dns;
mod error;
pub mod files;
pub mod host_pair;
pub mod link;
pub mod netlink;
pub mod netns;
pub mod route;
pub mod sandbox;
pub mod sysctl;

pub use error::NetError;
pub use link::Mac;
pub use netlink::Netlink;
pub use netns::{Netns, NetnsDir};
pub use sandbox::{AppliedSandbox, Attachment, Sandboxes, TaskSandbox};
