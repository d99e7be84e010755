//! Before every call: who is it, may they, is their node still a member, and is it for the leader? Calls for the leader that
//! reach a follower are passed on whole, streams included, with the name of the original caller.

mod passing;
mod route;

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use swarm_core::{
    ca::{Disowned, Method, may_call, standing},
    control::{Code, ControlError, Reason},
    id::NodeId,
    model::Role,
    store::Store,
};
use swarm_manager_replica::{SharedStore, timing::LEADER_PATIENCE};
use swarm_proto::tls;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{body::Body, transport::Channel};
use tower::{Layer, Service};

use self::route::{Route, admit, denied, route};
use super::{
    caller::{Caller, Origin, Who},
    refuse,
};
use crate::{
    daemon::{Manager, Running},
    raft::{node::Leadership, types::Member},
};

/// How long a call may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(10);
/// Calls of callers without a certificate at a time.
const MAX_STRANGERS: usize = 128;

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
        check_removed(running.raft.store(), &caller, route)?;
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
            Leadership::Elsewhere(_) | Leadership::Nobody => Err(ControlError::no_leader()),
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
        Ok(false) | Err(_) => Err(ControlError::no_leader()),
    }
}

/// A node of which this manager itself knows that it was removed is refused before the leader is asked, also one that speaks for another: a
/// refusal has a node's agent throw its manager's state away, so what others say is not enough. What anybody may call is left to the
/// leader: it could come without its certificate.
fn check_removed(store: &SharedStore, caller: &Caller, route: Route) -> Result<(), ControlError> {
    if route.method.is_some_and(|method| may_call(None, method)) {
        return Ok(());
    }
    let own = match &caller.who {
        Who::Node { id, .. } => Some(id),
        Who::Local | Who::Anonymous => None,
    };
    if let Some(id) = own.filter(|id| store.knows_removed(id)) {
        return Err(disowned(id, Disowned::NoMember));
    }
    // The caller is told that nobody may speak for it, not that it was removed itself.
    match caller.via.as_ref().filter(|via| store.knows_removed(via)) {
        Some(via) => Err(disowned(via, Disowned::Demoted)),
        None => Ok(()),
    }
}

fn disowned(id: &NodeId, why: Disowned) -> ControlError {
    let denied = denied(&format!("node {id} {why}"));
    match why {
        Disowned::NoMember => denied.because(Reason::NotMember),
        Disowned::Demoted => denied,
    }
}

/// Removal and demotion take effect at once, whatever the certificate still says: who is no manager any more may speak for
/// itself only.
fn check_membership(store: &Store, caller: &Caller, route: Route) -> Result<(), ControlError> {
    let who = match &caller.who {
        Who::Node { id, role } => Some((id, *role)),
        Who::Local | Who::Anonymous => None,
    };
    if let Some(via) = &caller.via
        && who.is_none_or(|(id, _)| id != via)
        && standing(store, via, Role::Manager).is_err()
    {
        return Err(disowned(via, Disowned::Demoted));
    }
    let Some((id, role)) = who else {
        return Ok(());
    };
    let leaving = route.method == Some(Method::Raft); // a demoted manager may still leave raft
    let as_worker = route
        .method
        .is_some_and(|m| may_call(Some(Role::Worker), m));
    match standing(store, id, role) {
        Ok(()) => Ok(()),
        Err(Disowned::Demoted) if leaving || as_worker => Ok(()),
        Err(why) => Err(disowned(id, why)),
    }
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
