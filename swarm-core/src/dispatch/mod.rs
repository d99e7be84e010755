//! What each node must run and know: assignments as a snapshot and numbered deltas, heartbeats, sessions.

mod assignment;

pub use assignment::{
    Assignment, AssignmentKey, Assignments, Delta, EndpointInfo, Peer, ServiceInfo,
};
