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
use swarm_core::{
    ca::{Method, may_call},
    control::{Code, ControlError},
    id::NodeId,
    model::Role,
    store::Store,
};
use swarm_manager_replica::timing::LEADER_PATIENCE;
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

/// How long the news of another leader may take after one said that it does not lead.
const NEWS_PATIENCE: Duration = Duration::from_secs(1);
/// Times a call is offered to leaders that cannot be reached.
const FORWARD_ATTEMPTS: u32 = 4;
/// How long a call is offered to leaders before the answer is that there is none; shorter than what callers wait.
const ANSWER_PATIENCE: Duration = Duration::from_secs(8);
/// How long a call may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(10);
/// Largest message of the calls that need no large one.
const MAX_SMALL_BYTES: usize = 64 * 1024;
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
    /// Messages come one after the other as long as the caller likes.
    streams: bool,
}

impl Route {
    /// Largest message that is kept of a caller. Certificate requests, tokens and what managers tell of themselves are small.
    fn largest(self, caller: &Who) -> usize {
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
fn route(path: &str) -> Option<Route> {
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
            let Some(route) = route(request.uri().path()) else {
                let mut inner = inner;
                return inner.call(request).await; // says that there is no such call
            };
            if route.streams {
                return layer.once(inner, route, request).await;
            }
            let _permit = match layer.let_in(&request) {
                Ok(permit) => permit,
                Err(refusal) => return Ok(refuse(refusal).into_http()),
            };
            match whole(route, request).await {
                Ok(request) => layer.until_answered(inner, route, request).await,
                Err(refusal) => Ok(refuse(refusal).into_http()),
            }
        })
    }
}

/// Takes in a call's message, once the caller may make the call at all: a stranger's bytes are not kept, and nobody may
/// take for ever to send them.
async fn whole(
    route: Route,
    request: http::Request<Body>,
) -> Result<http::Request<Bytes>, ControlError> {
    let (parts, body) = request.into_parts();
    let caller = caller(route, &parts.extensions, &parts.headers)?;
    let limited = http_body_util::Limited::new(body, route.largest(&caller.who));
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
    async fn once<S>(&self, mut inner: S, route: Route, mut request: http::Request<Body>) -> Answer
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    {
        match self.decide(route, &mut request, LEADER_PATIENCE).await {
            Ok(Way::Here) => inner.call(request).await,
            Ok(Way::Leader(channel, leader)) => Ok(self.passed_on(channel, leader, request).await),
            Err(refusal) => Ok(refuse(refusal).into_http()),
        }
    }

    /// A call with one message: goes to the next leader when the one it was meant for cannot be reached. A write is not sent
    /// again once a connection carried it: nobody knows whether it took effect.
    async fn until_answered<S>(
        &self,
        inner: S,
        route: Route,
        request: http::Request<Bytes>,
    ) -> Answer
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
            + Clone,
    {
        let give_up = Instant::now() + ANSWER_PATIENCE;
        let mut failures = 0;
        loop {
            let mut try_this = request.clone().map(|body| Body::new(Full::new(body)));
            let left = give_up.saturating_duration_since(Instant::now());
            let patience = left.min(LEADER_PATIENCE);
            let (leader, sent) = match self.decide(route, &mut try_this, patience).await {
                Ok(Way::Here) => (None, Ok(inner.clone().oneshot(try_this).await?)),
                Ok(Way::Leader(channel, leader)) => {
                    let sent = self.send(channel, &leader, try_this).await;
                    (Some(leader), sent)
                }
                Err(refusal) => return Ok(refuse(refusal).into_http()),
            };
            let is_late = Instant::now() >= give_up;
            let news_by = match sent {
                Ok(answer) => {
                    if is_late || !answer.headers().contains_key(super::NOT_LEADER) {
                        return Ok(answer);
                    }
                    give_up.min(Instant::now() + NEWS_PATIENCE)
                }
                Err(error) => {
                    failures += 1;
                    let is_last = is_late || failures == FORWARD_ATTEMPTS;
                    if let Some(refusal) = error.refusal(is_read(request.uri().path()), is_last) {
                        return Ok(refusal.into_http());
                    }
                    give_up
                }
            };
            self.await_other_leader(leader.as_ref(), news_by).await;
        }
    }

    /// Passes a call on; nothing is waited for from a leader that was replaced.
    async fn send(
        &self,
        channel: Channel,
        leader: &Member,
        request: http::Request<Body>,
    ) -> Result<http::Response<Body>, Unanswered> {
        tokio::select! {
            sent = channel.oneshot(request) => Ok(sent?),
            () = self.replaced(leader) => Err(Unanswered::Replaced),
        }
    }

    /// Waits until somebody else leads than who was asked (`None`: this manager), or a while.
    async fn await_other_leader(&self, asked: Option<&Member>, until: Instant) {
        *self.leader.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let Ok(running) = self.manager.running() else {
            return;
        };
        let change = async {
            match (asked, running.raft.leadership()) {
                (Some(leader), _) => running.raft.until_replaced(leader).await,
                (None, Leadership::Here { term }) => running.raft.until_deposed(term).await,
                (None, Leadership::Elsewhere(_) | Leadership::Nobody) => {}
            }
        };
        if tokio::time::timeout_at(until, change).await.is_err() {
            tracing::debug!(?asked, "nobody else leads yet");
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
    /// What the caller is told; `None` if the call is to be made again. A write that may have taken effect is not.
    fn refusal(&self, is_read: bool, is_last: bool) -> Option<Status> {
        if !self.was_not_sent() && !is_read {
            return Some(Status::unavailable(format!(
                "the connection to the leader broke, look whether the request took effect: {self}"
            )));
        }
        tracing::debug!(error = %self, "the leader was not reached");
        is_last.then(|| refuse(ControlError::new(Code::Unavailable, NO_LEADER)))
    }

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
        route: Route,
        request: &mut http::Request<Body>,
        patience: Duration,
    ) -> Result<Way, ControlError> {
        let caller = caller(route, request.extensions(), request.headers())?;
        if !route.leader {
            request.extensions_mut().insert(caller);
            return Ok(Way::Here);
        }
        let running = self.manager.running()?;
        match running.raft.await_speaking_leader(patience).await {
            Leadership::Here { term } => {
                await_lead(&running, term, patience).await?;
                check_membership(&running.raft.store().read(), &caller, route)?;
                request.extensions_mut().insert(caller);
                Ok(Way::Here)
            }
            Leadership::Elsewhere(member) if caller.via.is_none() => {
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

/// Waits until this leader has everything that earlier ones committed: before, it may not know who was removed.
async fn await_lead(running: &Running, term: u64, patience: Duration) -> Result<(), ControlError> {
    let mut leading = running.drive.leading();
    let begun = async {
        tokio::select! {
            begun = leading.wait_for(|leads| *leads) => begun.is_ok(),
            () = running.raft.until_deposed(term) => false,
        }
    };
    match tokio::time::timeout(patience, begun).await {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(ControlError::new(Code::Unavailable, NO_LEADER)),
    }
}

/// Removal and demotion take effect at once, whatever the certificate still says: who is no manager any more may speak for
/// itself only.
fn check_membership(store: &Store, caller: &Caller, route: Route) -> Result<(), ControlError> {
    let who = match &caller.who {
        Who::Node { id, role } => Some((id, role)),
        Who::Local | Who::Anonymous => None,
    };
    if let Some(via) = &caller.via
        && who.is_none_or(|(id, _)| id != via)
    {
        let vouches = store.node(via);
        if vouches.is_none_or(|node| node.spec.role != Role::Manager) {
            return Err(denied(&format!("node {via} is no longer a manager")));
        }
    }
    let Some((id, role)) = who else {
        return Ok(());
    };
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

/// Who makes a call, if they may make such calls at all. Only what goes to the leader is passed on by managers.
fn caller(
    route: Route,
    extensions: &http::Extensions,
    headers: &http::HeaderMap,
) -> Result<Caller, ControlError> {
    let Some(origin) = extensions.get::<Origin>() else {
        return Err(denied("the connection has no origin"));
    };
    let caller = if route.leader {
        Caller::of(origin, headers)
    } else {
        Caller::direct(origin)
    };
    admit(&caller, route)?;
    Ok(caller)
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
