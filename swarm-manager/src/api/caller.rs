//! Who calls. A connection has an origin; a follower that passes a call on names the original caller in headers, which count
//! only when they come from a manager, and only while that is one (see `gate`): its certificate outlives its removal.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue};
use swarm_core::{
    control::{Code, ControlError},
    id::NodeId,
    model::Role,
};
use swarm_proto::tls::Peer;
use tonic::{Request, Status};

const NODE: &str = "swarm-forwarded-node";
const ROLE: &str = "swarm-forwarded-role";
const ADDR: &str = "swarm-forwarded-addr";
const FORWARDED: &str = "swarm-forwarded";

/// Where a connection comes from.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// The unix socket: the agent of this host, trusted by the permissions of the file.
    Local,
    /// The TCP port; without a certificate for a node that joins.
    Remote { addr: IpAddr, peer: Option<Peer> },
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) who: Who,
    /// The host the call comes from; `None` for this one.
    pub(crate) addr: Option<IpAddr>,
    /// The manager that passed the call on and vouches for who makes it.
    pub(crate) via: Option<NodeId>,
}

/// Identity of a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// This host's agent.
    Local,
    /// A node with a certificate.
    Node { id: NodeId, role: Role },
    /// Nobody we know yet.
    Anonymous,
}

impl Caller {
    /// Who is at the other end of the connection.
    pub(crate) fn direct(origin: &Origin) -> Self {
        let (addr, peer) = match origin {
            Origin::Local => (None, None),
            Origin::Remote { addr, peer } => (Some(*addr), peer.as_ref()),
        };
        let node = |peer: &Peer| Who::Node {
            id: peer.node_id.clone(),
            role: peer.role,
        };
        let stranger = match origin {
            Origin::Local => Who::Local,
            Origin::Remote { .. } => Who::Anonymous,
        };
        Self {
            who: peer.map_or(stranger, node),
            addr,
            via: None,
        }
    }

    /// The same, or whom the headers name if the other end is a manager.
    pub(crate) fn of(origin: &Origin, headers: &HeaderMap) -> Self {
        let direct = Self::direct(origin);
        match direct.who {
            Who::Node {
                id,
                role: Role::Manager,
            } if headers.contains_key(FORWARDED) => Self::from_headers(headers, id),
            Who::Local | Who::Node { .. } | Who::Anonymous => direct,
        }
    }

    fn from_headers(headers: &HeaderMap, via: NodeId) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let role = match text(ROLE) {
            Some("manager") => Some(Role::Manager),
            Some("worker") => Some(Role::Worker),
            Some(_) | None => None,
        };
        let id = text(NODE).and_then(|id| id.parse::<NodeId>().ok());
        Self {
            who: match (id, role) {
                (Some(id), Some(role)) if !id.is_empty() => Who::Node { id, role },
                (_, _) => Who::Anonymous,
            },
            addr: text(ADDR).and_then(|addr| addr.parse().ok()),
            via: Some(via),
        }
    }

    /// Names this caller in the headers of a call that is passed on. `this_node` stands for the local agent, whose calls are
    /// those of its manager.
    pub(crate) fn name_in(&self, headers: &mut HeaderMap, this_node: &NodeId) {
        for name in [NODE, ROLE, ADDR, FORWARDED] {
            headers.remove(name);
        }
        let mut set = |name: &'static str, text: &str| {
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name, value);
            }
        };
        set(FORWARDED, "1");
        match &self.who {
            Who::Local => {
                set(NODE, this_node.as_str());
                set(ROLE, "manager");
            }
            Who::Node { id, role } => {
                set(NODE, id.as_str());
                set(
                    ROLE,
                    match role {
                        Role::Manager => "manager",
                        Role::Worker => "worker",
                    },
                );
            }
            Who::Anonymous => {}
        }
        if let Some(addr) = self.addr {
            set(ADDR, &addr.to_string());
        }
    }

    /// The role that decides what may be called; the local agent's is its manager's.
    pub(crate) fn role(&self) -> Option<Role> {
        match &self.who {
            Who::Local => Some(Role::Manager),
            Who::Node { role, .. } => Some(*role),
            Who::Anonymous => None,
        }
    }

    /// The calling node; a refusal if there is none.
    pub(crate) fn node(&self) -> Result<&NodeId, ControlError> {
        match &self.who {
            Who::Node { id, .. } => Ok(id),
            Who::Local | Who::Anonymous => Err(ControlError::new(
                Code::Unauthenticated,
                "this call needs the certificate of a node",
            )),
        }
    }
}

/// The caller that `gate` found.
pub(crate) fn of_request<T>(request: &Request<T>) -> Result<Caller, Status> {
    request
        .extensions()
        .get::<Caller>()
        .cloned()
        .ok_or_else(|| Status::internal("the call did not pass the gate"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(role: Option<Role>) -> Origin {
        Origin::Remote {
            addr: IpAddr::from([10, 0, 0, 9]),
            peer: role.map(|role| Peer {
                node_id: "a".repeat(25).parse().unwrap(),
                role,
                cluster: String::new(),
                not_before_secs: 0,
                not_after_secs: 0,
            }),
        }
    }

    /// A worker that claims to be somebody else stays who it is; a manager may speak for others.
    #[test]
    fn only_managers_may_name_another_caller() {
        let other: NodeId = "b".repeat(25).parse().unwrap();
        let caller = Caller {
            who: Who::Node {
                id: other.clone(),
                role: Role::Worker,
            },
            addr: Some(IpAddr::from([10, 0, 0, 3])),
            via: None,
        };
        let own: NodeId = "a".repeat(25).parse().unwrap();
        let mut headers = HeaderMap::new();
        caller.name_in(&mut headers, &NodeId::default());
        let seen = |origin: &Origin| Caller::of(origin, &headers);
        let passed_on = Caller {
            via: Some(own.clone()),
            ..caller
        };
        assert_eq!(seen(&remote(Some(Role::Manager))), passed_on);
        assert_eq!(seen(&remote(Some(Role::Worker))).node(), Ok(&own));
        assert_eq!(seen(&remote(None)).who, Who::Anonymous);
    }
}
