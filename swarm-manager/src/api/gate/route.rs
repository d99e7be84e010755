//! What each path is: who may call it, who answers it, how much it may carry.

use swarm_core::{
    ca::{Method, may_call},
    control::{Code, ControlError},
};
use swarm_proto::MAX_MESSAGE_BYTES;

use crate::api::caller::{Caller, Who};

/// Largest message of the calls that need no large one.
const MAX_SMALL_BYTES: usize = 64 * 1024;
/// What gRPC puts before a message.
const FRAME_BYTES: usize = 5;

/// What a path means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    /// `None`: for the local agent only.
    pub(super) method: Option<Method>,
    /// The leader answers.
    pub(super) leader: bool,
    /// Messages come one after the other as long as the caller likes.
    pub(super) streams: bool,
}

impl Route {
    /// Largest message that is kept of a caller. Certificate requests, tokens and what managers tell of themselves are small.
    pub(super) fn largest(self, caller: &Who) -> usize {
        let large = match self.method {
            Some(Method::Control) => true,
            Some(Method::Raft) => !self.leader,
            Some(_) | None => *caller == Who::Local,
        };
        FRAME_BYTES
            + if large {
                MAX_MESSAGE_BYTES
            } else {
                MAX_SMALL_BYTES
            }
    }
}

/// The table of paths; an unknown one is answered by the router ("unimplemented").
pub(super) fn route(path: &str) -> Option<Route> {
    let (service, name) = path.strip_prefix("/swarm.v1.")?.split_once('/')?;
    let (method, leader) = match (service, name) {
        ("Local", _) => (None, false),
        ("Control", _) => (Some(Method::Control), true),
        ("Dispatcher", _) => (Some(Method::DispatcherSession), true),
        ("Logs", "Subscribe") => (Some(Method::LogsSubscribe), true),
        ("Logs", _) => (Some(Method::LogsPublish), true),
        ("Ca", "GetRootCertificate") => (Some(Method::CaGetRoot), false),
        ("Ca", "IssueNodeCertificate") => (Some(Method::CaIssue), true),
        ("Ca", "RenewNodeCertificate") => (Some(Method::CaRenew), true),
        ("Raft", "Join" | "Leave") => (Some(Method::Raft), true),
        ("Raft", _) => (Some(Method::Raft), false),
        (_, _) => return None,
    };
    let streams = matches!(
        (service, name),
        ("Dispatcher", "Session") | ("Logs", "Publish") | ("Raft", "InstallSnapshot")
    );
    Some(Route {
        method,
        leader,
        streams,
    })
}

/// Whether a call changes nothing.
pub(super) fn is_read(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.starts_with("Get") || name.starts_with("List") || name == "Subscribe"
}

/// Refuses a call that the caller's role does not allow.
pub(super) fn admit(caller: &Caller, route: Route) -> Result<(), ControlError> {
    let allowed = match route.method {
        None => caller.who == Who::Local,
        Some(method) => may_call(caller.role(), method),
    };
    if allowed {
        return Ok(());
    }
    Err(match caller.who {
        Who::Anonymous => ControlError::new(
            Code::Unauthenticated,
            "this call needs the certificate of a node",
        ),
        Who::Local | Who::Node { .. } => denied("the role of the caller does not allow this call"),
    })
}

pub(super) fn denied(text: &str) -> ControlError {
    ControlError::new(Code::PermissionDenied, text)
}

#[cfg(test)]
mod tests {
    use swarm_core::{id::NodeId, model::Role};

    use super::*;

    fn outcome(who: Who, path: &str) -> Result<(), Code> {
        let caller = Caller {
            who,
            addr: None,
            via: None,
        };
        let route = route(path).expect("the path is known");
        admit(&caller, route).map_err(|error| error.code)
    }

    #[test]
    fn every_service_admits_only_its_callers() {
        let node = |role| Who::Node {
            id: NodeId::default(),
            role,
        };
        let rows = [
            // path, nobody, worker, manager, local
            ("/swarm.v1.Ca/GetRootCertificate", true, true, true, true),
            ("/swarm.v1.Ca/IssueNodeCertificate", true, true, true, true),
            ("/swarm.v1.Ca/RenewNodeCertificate", false, true, true, true),
            ("/swarm.v1.Dispatcher/Session", false, true, true, true),
            ("/swarm.v1.Logs/Publish", false, true, true, true),
            ("/swarm.v1.Logs/Subscribe", false, false, true, true),
            ("/swarm.v1.Control/GetCluster", false, false, true, true),
            ("/swarm.v1.Raft/AppendEntries", false, false, true, true),
            ("/swarm.v1.Local/Init", false, false, false, true),
        ];
        for (path, nobody, worker, manager, local) in rows {
            let seen = [
                outcome(Who::Anonymous, path).is_ok(),
                outcome(node(Role::Worker), path).is_ok(),
                outcome(node(Role::Manager), path).is_ok(),
                outcome(Who::Local, path).is_ok(),
            ];
            assert_eq!(seen, [nobody, worker, manager, local], "{path}");
        }
        let refusal = outcome(Who::Anonymous, "/swarm.v1.Control/GetCluster");
        assert_eq!(refusal, Err(Code::Unauthenticated));
    }
}
