//! The Docker Engine HTTP API on a unix socket: the one API for people, for our command line and for everybody else's
//! clients.
//!
//! ```text
//!   docker, swarm-manager, Portainer ─► unix socket ─► handlers ─► ControlPlane (the cluster, over a manager)
//!                                                              └─► Host (this node: containers, images, membership)
//! ```
//!
//! Handlers parse with `swarm-api`, ask one of the two traits and print with `swarm-api`; decisions are pure functions
//! there or in [`gate`]. Nothing here knows containerd, gRPC or Raft.
#![forbid(unsafe_code)]

mod containers;
mod control_plane;
mod error;
pub mod gate;
mod host;
mod images;
mod logs;
mod networks;
mod nodes;
mod references;
mod request;
mod server;
mod services;
mod swarm;
mod system;
mod tasks;

pub use control_plane::{ControlPlane, LogSelector, LogStream, TaskScope, TokenRotation};
pub use host::{Host, HostError, HostInit, HostJoin};
pub use server::{Api, ServeError, bind, serve};
