//! Before every call: who is it, may they, is their node still a member, and is it for the leader? Calls for the leader that
//! reach a follower are passed on whole, streams included, with the name of the original caller.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use openraft::async_runtime::watch::WatchReceiver as _;
use swarm_core::{
    ca::{Method, may_call},
    control::{Code, ControlError},
    id::NodeId,
    model::Role,
};
use swarm_proto::{MAX_MESSAGE_BYTES, tls};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tonic::{Status, body::Body, transport::Channel};
use tower::{Layer, Service, ServiceExt as _};

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
/// How long a manager that turned out not to lead may take to notice it.
const NEWS_PATIENCE: Duration = Duration::from_secs(1);
/// Leaders a call is offered to.
const FORWARD_ATTEMPTS: u32 = 4;
/// How long a call is offered to leaders before the answer is that there is none; shorter than what callers wait.
const ANSWER_PATIENCE: Duration = Duration::from_secs(8);
/// How long a call may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(10);
/// Largest message of a caller without a certificate: a certificate request and a token.
const MAX_ANONYMOUS_BYTES: usize = 64 * 1024;
/// Calls of callers without a certificate at a time.
const MAX_STRANGERS: usize = 128;
/// How long a leader that was replaced may still take to answer: it may have handed over on purpose.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// Says that an answer will not come.
const REPLACED: &str = "the leader was replaced before it answered";
/// What gRPC puts before a message.
const FRAME_BYTES: usize = 5;

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
    strangers: Arc<Semaphore>,
}

impl GateLayer {
    pub(crate) fn new(manager: Arc<Manager>) -> Self {
        Self {
            manager,
            leader: Arc::default(),
            strangers: Arc::new(Semaphore::new(MAX_STRANGERS)),
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

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let layer = self.layer.clone();
        // The clone may not be ready; the one that was polled is.
        let waiting = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, waiting);
        Box::pin(async move {
            let streams = matches!(
                request.uri().path(),
                "/swarm.v1.Dispatcher/Session"
                    | "/swarm.v1.Logs/Publish"
                    | "/swarm.v1.Raft/InstallSnapshot"
            );
            if streams {
                return layer.once(inner, request).await;
            }
            let _permit = match layer.let_in(&request) {
                Ok(permit) => permit,
                Err(refusal) => return Ok(refuse(refusal).into_http()),
            };
            match whole(request).await {
                Ok(request) => layer.until_answered(inner, request).await,
                Err(refusal) => Ok(refuse(refusal).into_http()),
            }
        })
    }
}

/// Takes in a call's message, once the caller may make the call at all: a stranger's bytes are not kept, and nobody may
/// take for ever to send them.
async fn whole(request: http::Request<Body>) -> Result<http::Request<Bytes>, ControlError> {
    let (parts, body) = request.into_parts();
    let Some(origin) = parts.extensions.get::<Origin>() else {
        return Err(denied("the connection has no origin"));
    };
    let caller = Caller::of(origin, &parts.headers);
    if let Some(route) = route(parts.uri.path()) {
        admit(&caller, route)?;
    }
    let largest = match caller.who {
        Who::Anonymous => MAX_ANONYMOUS_BYTES,
        Who::Local | Who::Node { .. } => MAX_MESSAGE_BYTES + FRAME_BYTES,
    };
    let limited = http_body_util::Limited::new(body, largest);
    match tokio::time::timeout(BODY_PATIENCE, limited.collect()).await {
        Ok(Ok(body)) => Ok(http::Request::from_parts(parts, body.to_bytes())),
        Ok(Err(error)) => {
            let text = format!("the message cannot be read: {error}");
            Err(ControlError::new(Code::InvalidArgument, text))
        }
        Err(_elapsed) => Err(ControlError::new(
            Code::DeadlineExceeded,
            "the message did not arrive in time",
        )),
    }
}

impl GateLayer {
    /// Strangers share a small number of places, so that they cannot take all of our memory.
    fn let_in(
        &self,
        request: &http::Request<Body>,
    ) -> Result<Option<OwnedSemaphorePermit>, ControlError> {
        let stranger = matches!(
            request.extensions().get::<Origin>(),
            Some(Origin::Remote { peer: None, .. })
        );
        if !stranger {
            return Ok(None);
        }
        let permit = Arc::clone(&self.strangers).try_acquire_owned();
        permit.map(Some).map_err(|_full| {
            let text = "too many nodes are joining at the same time; try again";
            ControlError::new(Code::Unavailable, text)
        })
    }

    /// A call that streams: it has one chance.
    async fn once<S>(&self, mut inner: S, mut request: http::Request<Body>) -> Answer
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    {
        match self.decide(&mut request, LEADER_PATIENCE).await {
            Ok(Way::Here) => inner.call(request).await,
            Ok(Way::Leader(channel, leader)) => Ok(self.passed_on(channel, leader, request).await),
            Err(refusal) => Ok(refuse(refusal).into_http()),
        }
    }

    /// A call with one message: goes to the next leader when the one it was meant for cannot be reached. A write is not sent
    /// again once a connection carried it: nobody knows whether it took effect.
    async fn until_answered<S>(&self, inner: S, request: http::Request<Bytes>) -> Answer
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
            + Clone,
    {
        let give_up = Instant::now() + ANSWER_PATIENCE;
        let mut attempt = 1;
        loop {
            let mut try_this = request.clone().map(|body| Body::new(Full::new(body)));
            let left = give_up.saturating_duration_since(Instant::now());
            let sent = match self.decide(&mut try_this, left.min(LEADER_PATIENCE)).await {
                Ok(Way::Here) => Ok(inner.clone().oneshot(try_this).await?),
                Ok(Way::Leader(channel, leader)) => {
                    let sent = tokio::select! {
                        sent = channel.oneshot(try_this) => sent.map_err(Unanswered::from),
                        () = self.replaced(&leader) => Err(Unanswered::Replaced),
                    };
                    sent.map_err(|error| (error, leader))
                }
                Err(refusal) => return Ok(refuse(refusal).into_http()),
            };
            let (error, leader) = match sent {
                Ok(answer) => {
                    let refused = answer.headers().contains_key(super::NOT_LEADER);
                    if !refused || attempt == FORWARD_ATTEMPTS || Instant::now() >= give_up {
                        return Ok(answer);
                    }
                    attempt += 1;
                    self.await_news().await;
                    continue;
                }
                Err(failed) => failed,
            };
            let unsent = error.was_not_sent();
            let again = unsent || is_read(request.uri().path());
            if again && (attempt == FORWARD_ATTEMPTS || Instant::now() >= give_up) {
                tracing::debug!(%error, addr = %leader.addr, "the leader was not reached");
                return Ok(refuse(ControlError::new(Code::Unavailable, NO_LEADER)).into_http());
            }
            if !again {
                let text = format!(
                    "the connection to the leader broke, look whether the request took effect: {error}"
                );
                return Ok(Status::unavailable(text).into_http());
            }
            attempt += 1;
            self.await_other_leader(&leader, give_up).await;
        }
    }

    /// Waits until something changes about who leads, or a while.
    async fn await_news(&self) {
        let Ok(running) = self.manager.running() else {
            return;
        };
        let mut metrics = running.raft.raft().server_metrics();
        let changed = tokio::time::timeout(NEWS_PATIENCE, metrics.changed()).await;
        tracing::debug!(
            changed = changed.is_ok(),
            "asked a manager that does not lead"
        );
    }

    /// Waits until somebody else than `leader` leads, or a while.
    async fn await_other_leader(&self, leader: &Member, give_up: Instant) {
        *self.leader.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let Ok(running) = self.manager.running() else {
            return;
        };
        let change = running.raft.until_replaced(leader);
        if tokio::time::timeout_at(give_up, change).await.is_err() {
            tracing::debug!(addr = %leader.addr, "the leader cannot be reached and still leads");
        }
    }

    /// Returns when `leader` was replaced and had its time to answer what it still knows. One that is cut off or frozen
    /// would be waited for in vain.
    fn replaced(&self, leader: &Member) -> impl Future<Output = ()> + Send + use<> {
        let (running, leader) = (self.manager.running(), leader.clone());
        async move {
            if let Ok(running) = running {
                running.raft.until_replaced(&leader).await;
                tokio::time::sleep(LAST_WORDS).await;
            }
        }
    }

    /// Passes a stream on; it ends when the leader is replaced, so that a session does not hang on one that is cut off.
    async fn passed_on(
        &self,
        channel: Channel,
        leader: Member,
        request: http::Request<Body>,
    ) -> http::Response<Body> {
        let replaced = self.replaced(&leader);
        tokio::pin!(replaced);
        let answer = tokio::select! {
            answer = channel.oneshot(request) => answer,
            () = &mut replaced => return Status::unavailable(REPLACED).into_http(),
        };
        match answer {
            Ok(response) => response.map(|body| {
                let until = UntilReplaced {
                    body,
                    replaced: Box::pin(self.replaced(&leader)),
                };
                Body::new(until)
            }),
            Err(error) => Status::from_error(Box::new(error)).into_http(),
        }
    }
}

/// The body of an answer that ends with an error when the leader it comes from is replaced.
struct UntilReplaced {
    body: Body,
    replaced: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl http_body::Body for UntilReplaced {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        match self.replaced.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err(Status::unavailable(REPLACED)))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// Why a call that was passed on has no answer.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error(transparent)]
    Connection(#[from] tonic::transport::Error),
    #[error("{REPLACED}")]
    Replaced,
}

impl Unanswered {
    /// Whether the call never left this host.
    fn was_not_sent(&self) -> bool {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = match self {
            Self::Connection(error) => Some(error),
            Self::Replaced => None,
        };
        while let Some(error) = cause {
            if error.is::<tonic::ConnectError>() {
                return true;
            }
            cause = error.source();
        }
        false
    }
}

/// Whether a call changes nothing.
fn is_read(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.starts_with("Get") || name.starts_with("List") || name == "Subscribe"
}

/// Where a call is answered.
enum Way {
    Here,
    Leader(Channel, Member),
}

impl GateLayer {
    /// Admits a call, or refuses it; waits for a leader for so long.
    async fn decide(
        &self,
        request: &mut http::Request<Body>,
        patience: Duration,
    ) -> Result<Way, ControlError> {
        let Some(origin) = request.extensions().get::<Origin>().cloned() else {
            return Err(denied("the connection has no origin"));
        };
        let caller = Caller::of(&origin, request.headers());
        let Some(route) = route(request.uri().path()) else {
            return Ok(Way::Here); // the router says that there is no such call
        };
        admit(&caller, route)?;
        if !route.leader {
            request.extensions_mut().insert(caller);
            return Ok(Way::Here);
        }
        let running = self.manager.running()?;
        match running.raft.await_speaking_leader(patience).await {
            Leadership::Here { .. } => {
                if check_membership(&running, &caller, route).is_err() {
                    // A leader that has just started has not applied all it has: what it misses may be there.
                    running.raft.linearize().await?;
                    check_membership(&running, &caller, route)?;
                }
                request.extensions_mut().insert(caller);
                Ok(Way::Here)
            }
            Leadership::Elsewhere(member) if !caller.forwarded => {
                caller.name_in(request.headers_mut(), &running.node_id());
                let channel = self.way_to(&running, &member)?;
                Ok(Way::Leader(channel, member))
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
