//! Before every call: who is it, may they, is their node still a member, and is it for the leader? Calls for the leader that
//! reach a follower are passed on whole, streams included, with the name of the original caller.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use swarm_core::{
    ca::{Method, may_call},
    control::{Code, ControlError},
    id::NodeId,
    model::Role,
};
use swarm_proto::tls;
use tonic::{Status, body::Body, transport::Channel};
use tower::{Layer, Service};

use super::{
    caller::{Caller, Origin, Who},
    refuse,
};
use crate::{
    daemon::{Manager, Running},
    raft::{
        node::{Leadership, NO_LEADER},
        types::Member,
    },
};

/// How long a call waits for a leader to be elected.
const LEADER_PATIENCE: Duration = Duration::from_secs(5);

/// What a path means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Route {
    /// `None`: for the local agent only.
    method: Option<Method>,
    /// The leader answers.
    leader: bool,
}

/// The table of paths; an unknown one is answered by the router ("unimplemented").
fn route(path: &str) -> Option<Route> {
    let (method, leader) = match path.strip_prefix("/swarm.v1.")?.split_once('/')? {
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
    Some(Route { method, leader })
}

/// Puts the gate before a router.
#[derive(Clone, Debug)]
pub(crate) struct GateLayer {
    manager: Arc<Manager>,
    leader: Arc<Mutex<Option<(Member, Channel)>>>,
}

impl GateLayer {
    pub(crate) fn new(manager: Arc<Manager>) -> Self {
        Self {
            manager,
            leader: Arc::default(),
        }
    }
}

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;

    fn layer(&self, inner: S) -> Gate<S> {
        Gate {
            layer: self.clone(),
            inner,
        }
    }
}

/// The gate before a router.
#[derive(Clone, Debug)]
pub(crate) struct Gate<S> {
    layer: GateLayer,
    inner: S,
}

type Answer = Result<http::Response<Body>, Infallible>;

impl<S> Service<http::Request<Body>> for Gate<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let layer = self.layer.clone();
        // The clone may not be ready; the one that was polled is.
        let waiting = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, waiting);
        Box::pin(async move {
            match layer.decide(&mut request).await {
                Ok(None) => inner.call(request).await,
                Ok(Some(mut channel)) => Ok(match channel.call(request).await {
                    Ok(response) => response,
                    Err(error) => Status::from_error(Box::new(error)).into_http(),
                }),
                Err(refusal) => Ok(refuse(refusal).into_http()),
            }
        })
    }
}

impl GateLayer {
    /// Admits a call (`None`), passes it on (the way to the leader) or refuses it.
    async fn decide(
        &self,
        request: &mut http::Request<Body>,
    ) -> Result<Option<Channel>, ControlError> {
        let Some(origin) = request.extensions().get::<Origin>().cloned() else {
            return Err(denied("the connection has no origin"));
        };
        let caller = Caller::of(&origin, request.headers());
        let Some(route) = route(request.uri().path()) else {
            return Ok(None); // the router says that there is no such call
        };
        admit(&caller, route)?;
        if !route.leader {
            request.extensions_mut().insert(caller);
            return Ok(None);
        }
        let running = self.manager.running()?;
        let leadership = match running.raft.leadership() {
            Leadership::Nobody => running.raft.await_leader(LEADER_PATIENCE).await,
            known @ (Leadership::Here { .. } | Leadership::Elsewhere(_)) => known,
        };
        match leadership {
            Leadership::Here { .. } => {
                check_membership(&running, &caller, route)?;
                request.extensions_mut().insert(caller);
                Ok(None)
            }
            Leadership::Elsewhere(member) if !caller.forwarded => {
                caller.name_in(request.headers_mut(), &running.node_id());
                self.way_to(&running, &member).map(Some)
            }
            // passed on to us by a manager that does not know of the new leader yet
            Leadership::Elsewhere(_) | Leadership::Nobody => {
                Err(ControlError::new(Code::Unavailable, NO_LEADER))
            }
        }
    }

    fn way_to(&self, running: &Running, member: &Member) -> Result<Channel, ControlError> {
        let mut known = self.leader.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, channel)) = &*known
            && at == member
        {
            return Ok(channel.clone());
        }
        let unusable =
            |reason: String| ControlError::new(Code::Unavailable, format!("the leader: {reason}"));
        let node_id: NodeId = member
            .node_id
            .parse()
            .map_err(|_| unusable("its node is not named".to_owned()))?;
        let channel = tls::exact_node(member.addr.clone(), &node_id, &running.identity)
            .map_err(|error| unusable(error.to_string()))?;
        *known = Some((member.clone(), channel.clone()));
        Ok(channel)
    }
}

/// Removal and demotion take effect at once, whatever the certificate still says.
fn check_membership(running: &Running, caller: &Caller, route: Route) -> Result<(), ControlError> {
    let Who::Node { id, role } = &caller.who else {
        return Ok(());
    };
    let store = running.raft.store().read();
    let node = store
        .node(id)
        .ok_or_else(|| denied(&format!("node {id} is not a member of this swarm")))?;
    let demoted = *role == Role::Manager && node.spec.role == Role::Worker;
    let leaving = route.method == Some(Method::Raft); // a demoted manager may still leave raft
    if demoted
        && !leaving
        && !route
            .method
            .is_some_and(|m| may_call(Some(Role::Worker), m))
    {
        return Err(denied(&format!("node {id} is no longer a manager")));
    }
    Ok(())
}

fn admit(caller: &Caller, route: Route) -> Result<(), ControlError> {
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

fn denied(text: &str) -> ControlError {
    ControlError::new(Code::PermissionDenied, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(who: Who, path: &str) -> Result<(), Code> {
        let caller = Caller {
            who,
            addr: None,
            forwarded: false,
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
